"""Normal guide whose covariance is a diagonal and a few directions."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae._numbers import at_least
from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._support import free, pushed

__all__ = ["LowRankMultivariateNormal"]


class LowRankMultivariateNormal(NetworkGuide):
    """q(z|x) = N(loc(x), diag(d(x)) + W(x) W(x)ᵀ) with W (m, rank) (Ong, Nott & Smith 2017, 1701.03208; Rezende et al.
    2014, 1401.4082, have the inverse in this form).

    Parameters
    ----------
    network
        x (n, *event) → (n, m (2 + rank)) for m latents: the means, then what softplus makes the standard deviations
        √d, then W by rows. `outputs` gives that number.
    rank
        How many directions.
    support
        Constraint of the latent onto which z is pushed, as for `Normal`; the reals by default.

    Shapes
    ------
    x (n, *event) → batch (n,), event (m,); support: the reals, or the one given.

    Raises
    ------
    TypeError
        If ``support`` is no constraint.
    ValueError
        If ``rank`` is not a whole number of at least 1, the network's output has a length that fits no m, or
        ``support`` is discrete or cannot be reached from the reals.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> outputs = LowRankMultivariateNormal.outputs(8, rank=2)
    >>> LowRankMultivariateNormal(MLP(64, (32,), outputs), rank=2)(torch.zeros(5, 64)).event_shape
    torch.Size([8])
    """

    def __init__(
        self, network: Callable[..., Tensor], *, rank: int, support: constraints.Constraint | None = None
    ) -> None:
        super().__init__(network, support=support)
        self.rank = at_least("guides.LowRankMultivariateNormal: rank", rank, 1)

    @staticmethod
    def outputs(latents: int, rank: int, support: constraints.Constraint = constraints.real) -> int:
        """How many outputs the network needs for so many latents."""
        return free(latents, support) * (2 + at_least("outputs: rank", rank, 1))

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, m (2 + rank))."""
        size, surplus = divmod(raw.shape[-1], 2 + self.rank)
        if surplus or not size:
            raise ValueError(
                f"guides.LowRankMultivariateNormal: expected a network with m (2 + rank) = {2 + self.rank} m outputs "
                f"for m latents (LowRankMultivariateNormal.outputs(m, rank={self.rank})), got {raw.shape[-1]} outputs"
            )
        loc, scale, factor = raw.split([size, size, size * self.rank], -1)
        q = dist.LowRankMultivariateNormal(loc, factor.unflatten(-1, (size, self.rank)), softplus(scale).square())
        return pushed(q, self.support)

    def details(self) -> str:
        """The network and the rank."""
        return f"{super().details()}, rank={self.rank}"
