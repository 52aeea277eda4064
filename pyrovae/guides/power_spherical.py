"""Guide on the sphere."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor

from pyrovae import distributions
from pyrovae._numbers import at_least
from pyrovae.guides._guide import NetworkGuide

__all__ = ["PowerSpherical"]


class PowerSpherical(NetworkGuide):
    """q(z|x) ∝ (1 + loc(x)ᵀz)^κ(x), z on the unit sphere of R^m (De Cao & Aziz 2020, 2006.04437): draws are pathwise,
    where the von Mises-Fisher needs rejections.

    Parameters
    ----------
    network
        x (n, *event) → (n, m): a vector v in the direction loc = v/|v|, with κ = e^|v| − 1: one that points the wrong
        way can turn round through the uniform distribution at v = 0.

    Shapes
    ------
    x (n, *event) → batch (n,), event (m,); support: the sphere |z| = 1.

    Raises
    ------
    ValueError
        If the network has fewer than 2 outputs.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> PowerSpherical(MLP(64, (32,), PowerSpherical.outputs(8)))(torch.zeros(5, 64)).event_shape
    torch.Size([8])
    """

    support = constraints.sphere
    twice: ClassVar[bool] = False

    def __init__(self, network: Callable[..., Tensor]) -> None:
        super().__init__(network)

    @staticmethod
    def outputs(latents: int) -> int:
        """How many outputs the network needs for a sphere in so many dimensions."""
        return at_least("outputs: latents", latents, 2)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, m)."""
        if raw.shape[-1] < 2:
            raise ValueError(
                "guides.PowerSpherical: expected a network with m outputs for the sphere in m ≥ 2 dimensions, got "
                f"{raw.shape[-1]}"
            )
        length = raw.norm(dim=-1, keepdim=True)
        axis = torch.eye(raw.shape[-1], dtype=raw.dtype, device=raw.device)[0]  # where v = 0, any will do
        loc = torch.where(length > 0, raw / length.clamp_min(torch.finfo(raw.dtype).tiny), axis)
        return distributions.PowerSpherical(loc, length.squeeze(-1).expm1())
