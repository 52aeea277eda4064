"""Mixture of Normals as a guide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae._numbers import at_least
from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._support import free, pushed

__all__ = ["Mixture"]


class Mixture(NetworkGuide):
    """q(z|x) = Σ_k π_k(x) N(loc_k(x), diag(scale_k(x)²)): several modes, skewed or heavy tails.

    Draws carry gradients to all parameters, the weights included, by implicit reparameterisation: with S_i the
    distribution function of z_i given z_1 … z_{i−1}, dz = −(∂S/∂z)⁻¹ (∂S/∂parameters) (Figurnov et al. 2018,
    1805.08498). The further apart the modes, the noisier
    they are: draws never pass between modes that are many standard deviations apart, whose weights then hardly move.

    Parameters
    ----------
    network
        x (n, *event) → (n, K (2 m + 1)) for m latents and K components: the means by component, then what softplus
        makes the standard deviations, then the logits of the weights. `outputs` gives that number.
    components
        K.
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
        If ``components`` is not a whole number of at least 1, the network's output has a length that fits no m, or
        ``support`` is discrete or cannot be reached from the reals.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> outputs = Mixture.outputs(8, components=3)
    >>> Mixture(MLP(64, (32,), outputs), components=3)(torch.zeros(5, 64)).rsample((2,)).shape
    torch.Size([2, 5, 8])
    """

    twice: ClassVar[bool] = False

    def __init__(
        self, network: Callable[..., Tensor], *, components: int, support: constraints.Constraint | None = None
    ) -> None:
        super().__init__(network, support=support)
        self.components = at_least("guides.Mixture: components", components, 1)

    @staticmethod
    def outputs(latents: int, components: int, support: constraints.Constraint = constraints.real) -> int:
        """How many outputs the network needs for so many latents."""
        return at_least("outputs: components", components, 1) * (2 * free(latents, support) + 1)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, K (2 m + 1))."""
        each, surplus = divmod(raw.shape[-1], self.components)
        if surplus or each < 3 or each % 2 == 0:
            raise ValueError(
                f"guides.Mixture: expected a network with K (2 m + 1) outputs for m latents and K = {self.components} "
                f"components (Mixture.outputs(m, components={self.components})), got {raw.shape[-1]} outputs"
            )
        size = self.components * (each // 2)
        locs, scales, logits = raw.split([size, size, self.components], -1)
        locs, scales = (part.unflatten(-1, (self.components, each // 2)) for part in (locs, softplus(scales)))
        return pushed(_Mixture(locs, scales, logits), self.support)

    def details(self) -> str:
        """The network and the number of components."""
        return f"{super().details()}, components={self.components}"


class _Mixture(dist.MixtureOfDiagNormals):
    """Pyro's mixture with its mean and variance, and with draws of any sample shape, of one latent or of hundreds.

    Pyro's own draws of a batch fail or take their means from other data where a sample shape is given, and its
    gradients are NaN where densities underflow or two means coincide.
    """

    @property
    def mean(self) -> Tensor:
        return (self.probs.unsqueeze(-1) * self.locs).sum(-2)

    @property
    def variance(self) -> Tensor:
        spread = self.coord_scale.square() + (self.locs - self.mean.unsqueeze(-2)).square()
        return (self.probs.unsqueeze(-1) * spread).sum(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_density: Tensor = super().log_prob(value)
        return log_density

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            which = self.categorical.sample(torch.Size(sample_shape))[..., None, None].expand(*shape[:-1], 1, shape[-1])
            loc, scale = (
                values.expand(*shape[:-1], *values.shape[-2:]).gather(-2, which).squeeze(-2)
                for values in (self.locs, self.coord_scale)
            )
            z = loc + scale * torch.randn_like(loc)
        value: Tensor = _Implicit.apply(self.locs, self.coord_scale, self.categorical.logits, z)
        return value


class _Implicit(torch.autograd.Function):
    """z itself, with the gradient of the draw with respect to locs (…, K, m), scales (…, K, m) and log weights."""

    @staticmethod
    def forward(ctx: Any, locs: Tensor, scales: Tensor, log_weights: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(locs, scales, log_weights, z)
        return z.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *parameters, z = ctx.saved_tensors
        with torch.enable_grad():
            locs, scales, log_weights = own = [p.detach().requires_grad_() for p in parameters]
            u = (z.unsqueeze(-2) - locs) / scales
            log_density = -u.square() / 2 - scales.log()
            # weights of the components given the elements before this one, (…, K, m)
            weights = (log_weights.unsqueeze(-1) + log_density.cumsum(-1) - log_density).softmax(-2)
            with torch.no_grad():  # the smaller tail, so that differences of it keep their digits
                side = torch.where((weights * torch.special.ndtr(u)).sum(-2, keepdim=True) > 0.5, -1.0, 1.0).to(u.dtype)
            tails = side * torch.special.ndtr(side * u)
            below = (weights * tails).sum(-2)
        w, density = weights.detach(), log_density.detach().exp() * 0.3989422804014327
        slope = (w * density).sum(-2).clamp_min(torch.finfo(z.dtype).tiny)
        jacobian = ((w * (tails.detach() - below.detach().unsqueeze(-2))).mT @ (-u / scales).detach()).tril(-1)
        jacobian = jacobian + torch.diag_embed(slope)
        back = torch.linalg.solve_triangular(jacobian.mT, gradient.unsqueeze(-1), upper=True).squeeze(-1)
        return *torch.autograd.grad(below, own, -back), None
