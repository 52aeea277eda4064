"""Normal guide with a full covariance."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._support import free, pushed

__all__ = ["MultivariateNormal"]


class MultivariateNormal(NetworkGuide):
    """q(z|x) = N(loc(x), L(x) L(x)ᵀ) through its Cholesky factor, z = loc + L ε (Kingma & Welling 2019, 1906.02691,
    section 2.5.1).

    Parameters
    ----------
    network
        x (n, *event) → (n, m + m(m + 1)/2) for m latents: the means, then the lower triangle of L by rows, whose
        diagonal softplus makes positive. `outputs` gives that number.
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
        If the network's output has a length that fits no m, or ``support`` is discrete or cannot be reached from the
        reals.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> MultivariateNormal(MLP(64, (32,), MultivariateNormal.outputs(8)))(torch.zeros(5, 64)).event_shape
    torch.Size([8])
    """

    @staticmethod
    def outputs(latents: int, support: constraints.Constraint = constraints.real) -> int:
        """How many outputs the network needs for so many latents."""
        size = free(latents, support)
        return size + size * (size + 1) // 2

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, m + m(m + 1)/2)."""
        size = (math.isqrt(9 + 8 * raw.shape[-1]) - 3) // 2
        if size < 1 or size * (size + 3) // 2 != raw.shape[-1]:
            raise ValueError(
                "guides.MultivariateNormal: expected a network with m + m(m + 1)/2 outputs for m latents "
                f"(2, 5, 9, 14, …; MultivariateNormal.outputs(m)), got {raw.shape[-1]} outputs"
            )
        rows, columns = torch.tril_indices(size, size, device=raw.device)
        loc, triangle = raw[..., :size], raw[..., size:]
        factor = raw.new_zeros(*raw.shape[:-1], size, size)
        factor[..., rows, columns] = torch.where(rows == columns, softplus(triangle), triangle)
        return pushed(dist.MultivariateNormal(loc, scale_tril=factor), self.support)
