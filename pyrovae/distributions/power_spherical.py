"""Power spherical distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import register_kl

__all__ = ["PowerSpherical"]


class PowerSpherical(dist.TorchDistribution):
    """p(x) ∝ (1 + locᵀx)^concentration on the sphere S^(d−1) = {x in R^d: |x| = 1} (De Cao & Aziz 2020, 2006.04437).

    With α = (d − 1)/2 + concentration and β = (d − 1)/2 its normaliser is 2^(α+β) π^β Γ(α)/Γ(α + β); concentration 0
    is the uniform distribution. Like the von Mises-Fisher, it is sampled without rejection: (1 + locᵀx)/2 is
    Beta(α, β), the rest uniform on the sphere around ``loc``, to which a Householder reflection takes it.

    Parameters
    ----------
    loc
        The mode, unit vectors (*batch, d) with d at least 2.
    concentration
        Tensor (*batch,), 0 or more; batches broadcast.

    Raises
    ------
    ValueError
        If ``loc`` has no dimension, or fewer than 2 coordinates.

    Examples
    --------
    >>> q = PowerSpherical(torch.tensor([0.0, 1.0]), torch.tensor(3.0))
    >>> q.mean
    tensor([0.0000, 0.7500])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.sphere,
        "concentration": constraints.nonnegative,
    }
    support = constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        if loc.dim() < 1 or loc.shape[-1] < 2:
            raise ValueError(
                "distributions.PowerSpherical: expected unit vectors with 2 coordinates or more as loc, got shape "
                f"{tuple(loc.shape)}"
            )
        concentration = torch.as_tensor(concentration, dtype=loc.dtype, device=loc.device)
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch_shape, loc.shape[-1])
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PowerSpherical:
        """The same with another batch shape."""
        new = self._get_checked_instance(PowerSpherical, _instance)
        new.loc = self.loc.expand(*batch_shape, *self.event_shape)
        new.concentration = self.concentration.expand(batch_shape)
        dist.TorchDistribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The centre of mass, inside the sphere: loc · (α − β)/(α + β)."""
        alpha, beta = self._alpha_beta()
        return self.loc * ((alpha - beta) / (alpha + beta)).unsqueeze(-1)

    @property
    def mode(self) -> Tensor:
        """The mode."""
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density with respect to the sphere's surface."""
        if self._validate_args:
            self._validate_sample(value)
        below = (self.loc - value).square().sum(-1) / 4  # (1 − locᵀx)/2, of which nothing is rounded away next to loc
        below = below.clamp(max=1 - torch.finfo(below.dtype).eps / 2)
        return self.concentration * torch.log1p(-below) - self._log_normaliser()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws, whose gradients pass through the Beta's."""
        alpha, beta = self._alpha_beta()
        pair = dist.Dirichlet(torch.stack([alpha, beta.expand_as(alpha)], -1), validate_args=False).rsample(
            torch.Size(sample_shape)
        )  # as a pair: 1 − t would be rounded away
        along = pair[..., :1] - pair[..., 1:]
        across = 2 * (pair[..., :1] * pair[..., 1:]).clamp(min=torch.finfo(pair.dtype).tiny).sqrt()
        noise = torch.randn(*pair.shape[:-1], self.event_shape[0] - 1, dtype=pair.dtype, device=pair.device)
        noise = torch.where(noise == 0, 1.0, noise)  # a draw that rounds to 0 would have no direction
        y = torch.cat([along, across * noise / torch.linalg.norm(noise, dim=-1, keepdim=True)], -1)
        # −H takes e1 to loc, with the reflection along loc ± e1 of the sign that cancels nothing
        sign = torch.where(self.loc[..., :1] < 0, -1.0, 1.0).to(y.dtype)
        normal = torch.cat([self.loc[..., :1] + sign, self.loc[..., 1:]], -1)
        reflected = y - 2 * normal * (normal * y).sum(-1, keepdim=True) / normal.square().sum(-1, keepdim=True)
        return -sign * reflected

    def entropy(self) -> Tensor:
        """−E log p(x) in nats."""
        alpha, beta = (t.double() for t in self._alpha_beta())
        log_height = torch.digamma(alpha) - torch.digamma(alpha + beta)
        return self._log_normaliser() - (self.concentration.double() * log_height).to(self.loc.dtype)

    def _alpha_beta(self) -> tuple[Tensor, Tensor]:
        beta = self.concentration.new_tensor((self.event_shape[0] - 1) / 2)
        return beta + self.concentration, beta

    def _log_normaliser(self) -> Tensor:
        """Of ((1 + locᵀx)/2)^concentration; in double precision, as of two large log Γ their difference is left."""
        alpha, beta = (t.double() for t in self._alpha_beta())
        log = beta * math.log(4 * math.pi) + torch.lgamma(alpha) - torch.lgamma(alpha + beta)
        return log.to(self.loc.dtype)


@register_kl(PowerSpherical, PowerSpherical)
def _kl_to_the_uniform(q: PowerSpherical, p: PowerSpherical) -> Tensor:
    """log |S^(d−1)| − H(q), where p is uniform."""
    if bool((p.concentration != 0).any()):
        raise NotImplementedError
    return p._log_normaliser() - q.entropy()
