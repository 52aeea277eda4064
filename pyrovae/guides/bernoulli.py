"""Guide of binary latents."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.distributions import Bits
from pyrovae.distributions.bits import MOST_BITS as MOST
from pyrovae.guides._discrete import DiscreteGuide

__all__ = ["Bernoulli"]


class Bernoulli(DiscreteGuide):
    """q(z|x) = Π_h Bernoulli(z_h; σ(network(x)_h)), z in {0, 1}^H (Mnih & Gregor 2014, 1402.0030).

    Parameters
    ----------
    network
        x (n, *event) → (n, H): log odds.
    estimator
        ``"score"``: the score function's gradient, for any H. ``"enumerate"``: exact, by the sum over all 2^H states,
        for H of at most 16; the objective is then `pyro.infer.TraceEnum_ELBO`.
    baseline
        For ``"score"``: a network x → (n, 1) that learns the cost of each datum, which is subtracted from it; the
        objective is then `pyro.infer.TraceGraph_ELBO`.

    Shapes
    ------
    x (n, *event) → batch (n,), event (H,); support: 0 and 1.

    Raises
    ------
    ValueError
        If ``estimator`` is neither, or a baseline comes with ``"enumerate"`` or has not one output.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> guide = Bernoulli(MLP(64, (32,), 8), baseline=MLP(64, (32,), 1))
    >>> guide(torch.zeros(5, 64)).event_shape
    torch.Size([8])
    """

    support = constraints.independent(constraints.boolean, 1)

    @staticmethod
    def outputs(latents: int) -> int:
        """How many outputs the network needs for so many latents."""
        return at_least("outputs: latents", latents, 1)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these log odds (n, H)."""
        if self.estimator == "enumerate" and raw.shape[-1] > MOST:
            raise ValueError(
                f"guides.Bernoulli: estimator='enumerate' is for at most {MOST} latents, got {raw.shape[-1]}: use "
                "fewer, or estimator='score' with a baseline"
            )
        return Bits(logits=raw)
