"""Guide of relaxed binary latents."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions import RelaxedBernoulli as Relaxed
from pyrovae.guides._relaxed import RelaxedGuide

__all__ = ["RelaxedBernoulli"]


class RelaxedBernoulli(RelaxedGuide):
    """q(z|x) = Π_h BinConcrete(z_h; network(x)_h, temperature): z = σ((network(x) + logit u)/temperature), u uniform,
    which tends to `Bernoulli` as the temperature falls to 0 (Maddison et al. 2016, 1611.00712; Jang et al. 2016,
    1611.01144), censored where numbers end (`pyrovae.distributions.RelaxedBernoulli`).

    Parameters
    ----------
    network
        x (n, *event) → (n, H): log odds.
    temperature
        A positive number, or a schedule of the epoch, such as ``pv.schedules.exponential(1, 0.3, epochs=100)``.

    Shapes
    ------
    x (n, *event) → batch (n,), event (H,); support: the unit interval.

    Raises
    ------
    TypeError
        If ``temperature`` is neither a number nor a schedule.
    ValueError
        If it is not positive.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> RelaxedBernoulli(MLP(64, (32,), 8), temperature=0.5)(torch.zeros(5, 64)).event_shape
    torch.Size([8])
    """

    support = constraints.independent(constraints.unit_interval, 1)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these log odds (n, H)."""
        return Relaxed(self.temperature.value, logits=raw).to_event(1)
