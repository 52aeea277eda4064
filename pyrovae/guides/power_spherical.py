"""Guide on the sphere."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pyro.distributions as dist
from pyro.distributions import constraints
from torch import Tensor
from torch.nn.functional import normalize

from pyrovae import distributions
from pyrovae.guides._guide import NetworkGuide

__all__ = ["PowerSpherical"]


class PowerSpherical(NetworkGuide):
    """q(z|x) ∝ (1 + loc(x)ᵀz)^κ(x), z on the unit sphere of R^m (De Cao & Aziz 2020, 2006.04437): draws are pathwise,
    where the von Mises-Fisher needs rejections.

    Parameters
    ----------
    network
        x (n, *event) → (n, m + 1): the direction, of any length, then log κ. `outputs` gives that number.

    Shapes
    ------
    x (n, *event) → batch (n,), event (m,); support: the sphere |z| = 1.

    Raises
    ------
    ValueError
        If the network has fewer than 3 outputs.

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
        return latents + 1

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, m + 1)."""
        if raw.shape[-1] < 3:
            raise ValueError(
                "guides.PowerSpherical: expected a network with m + 1 outputs for the sphere in m ≥ 2 dimensions "
                f"(PowerSpherical.outputs(m)), got {raw.shape[-1]}"
            )
        return distributions.PowerSpherical(normalize(raw[..., :-1], dim=-1), raw[..., -1].exp())
