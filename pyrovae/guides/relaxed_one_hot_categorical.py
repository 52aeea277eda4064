"""Guide of a relaxed categorical latent."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions import RelaxedOneHotCategorical as Concrete
from pyrovae.guides._relaxed import RelaxedGuide

__all__ = ["RelaxedOneHotCategorical"]


class RelaxedOneHotCategorical(RelaxedGuide):
    """q(z|x) = Concrete(z; network(x), temperature): z = softmax((network(x) + g)/temperature), g Gumbel noise, which
    tends to `OneHotCategorical` as the temperature falls to 0 (Maddison et al. 2016, 1611.00712; Jang et al. 2016,
    1611.01144), censored where numbers end (`pyrovae.distributions.RelaxedOneHotCategorical`).

    Parameters
    ----------
    network
        x (n, *event) → (n, K): logits.
    temperature
        A positive number, or a schedule of the epoch, such as ``pv.schedules.exponential(1, 0.3, epochs=100)``.

    Shapes
    ------
    x (n, *event) → batch (n,), event (K,); support: the simplex.

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
    >>> RelaxedOneHotCategorical(MLP(64, (32,), 10), temperature=0.5)(torch.zeros(5, 64)).event_shape
    torch.Size([10])
    """

    support = constraints.simplex

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these logits (n, K)."""
        return Concrete(self.temperature.value, logits=raw)
