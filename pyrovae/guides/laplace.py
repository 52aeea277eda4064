"""Laplace's approximation as a guide."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae._calls import Call
from pyrovae._numbers import at_least, positive
from pyrovae._part import Part

__all__ = ["Laplace"]


class Laplace(Part):
    """q(z|x) = N(ẑ, (−∇²log p(x, ẑ))⁻¹) at the mode ẑ of log p(x, z): exact where the posterior is Normal.

    The mode is found for all data at once by Newton's method: the eigenvalues λ of −∇² are taken as max(|λ|, floor),
    so that each step climbs, and of the step and its halves the best is taken. There is nothing to train: the model
    is trained with q as it stands, no gradient running through mode and curvature (a generalised EM algorithm). It
    costs ``latents`` backward passes a step; a network of rectified linear units has no curvature of its own: use
    smooth activations.

    Parameters
    ----------
    latents
        Number of latents, on the reals.
    steps
        Of Newton's method.
    network
        x (n, *event) → (n, latents): where it starts, else at 0. It learns as if the mean of q were its output.
    floor
        Least curvature of log p(x, z) in any direction: q is never wider than 1/√floor.

    Shapes
    ------
    x (n, *event) → batch (n,), event (latents,); support: the reals.

    Raises
    ------
    ValueError
        If a number is out of range, the network has another number of outputs, or it is called outside of a `VAE`,
        which provides ``joint``.

    Examples
    --------
    >>> q = Laplace(2)(torch.zeros(5, 64), joint=lambda z: -2 * (z - 1).square().sum(-1))
    >>> q.loc[0], q.variance[0]
    (tensor([1., 1.]), tensor([0.2500, 0.2500]))
    """

    support = constraints.real_vector

    def __init__(
        self, latents: int, *, steps: int = 20, network: Callable[..., Tensor] | None = None, floor: float = 1e-4
    ) -> None:
        super().__init__()
        self.latents = at_least("guides.Laplace: latents", latents, 1)
        self.steps = at_least("guides.Laplace: steps", steps, 1)
        self.floor = positive("guides.Laplace: floor", floor)
        if network is not None and (not callable(network) or isinstance(network, type)):
            raise TypeError(f"guides.Laplace: network: expected a network of x, got {network!r}")
        self.network = network
        self._call = None if network is None else Call(network, own=1)
        self.takes = frozenset({"joint"} | (self._call.takes if self._call else set()))

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let a network that adapts itself take what it needs from the training data."""
        if callable(own := getattr(self.network, "adapt", None)):
            own(x)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        joint: Callable[[Tensor], Tensor] | None = None,
    ) -> dist.TorchDistribution:
        """q(z|x)."""
        if joint is None:
            raise ValueError(
                "guides.Laplace: the mode of log p(x, z) needs the model: use the guide inside pv.VAE, or pass joint=, "
                "z (…, n, latents) → log p(x, z) (…, n)"
            )
        start = x.new_zeros(len(x), self.latents) if self._call is None else self._call(x, context=context, mask=mask)
        if start.shape != (len(x), self.latents):
            raise ValueError(
                f"guides.Laplace: expected a network with {self.latents} outputs, one for each latent, got shape "
                f"{tuple(start.shape)}"
            )
        z = start.detach()
        lengths = 0.5 ** torch.arange(12, dtype=z.dtype, device=z.device).reshape(-1, 1, 1)
        for _ in range(self.steps):
            gradient, vectors, values = self._curvature(joint, z)
            step = (vectors @ ((vectors.mT @ gradient.unsqueeze(-1)) / values.unsqueeze(-1))).squeeze(-1)
            tried = torch.cat([z.unsqueeze(0), z + lengths * step])
            with torch.no_grad():
                best = joint(tried).nan_to_num(-torch.inf).argmax(0)
            moved = tried[best, torch.arange(len(z), device=z.device)]
            still, z = bool((moved == z).all()), moved
            if still:
                break
        _, vectors, values = self._curvature(joint, z)
        if not self.training and not bool(values.isfinite().all()):
            lost = int((~values.isfinite()).any(-1).sum())
            raise ValueError(
                f"guides.Laplace: log p(x, z) has no mode with a curvature for {lost} of {len(z)} data, as where the "
                "prior's density is unbounded: use another guide, or a smooth prior"
            )
        factor = torch.linalg.cholesky((vectors / values.unsqueeze(-2)) @ vectors.mT)
        return dist.MultivariateNormal(start + (z - start).detach(), scale_tril=factor)

    def _curvature(self, joint: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient (n, m) of the joint, eigenvectors (n, m, m) and floored eigenvalues (n, m) of its curvature."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(joint(z).sum(), z, create_graph=True)
            if gradient.requires_grad:
                rows = [
                    torch.autograd.grad(part.sum(), z, retain_graph=True, materialize_grads=True)[0]
                    for part in gradient.unbind(-1)
                ]
            else:  # linear in z
                rows = [torch.zeros_like(z)] * self.latents
        hessian = torch.stack(rows, -2)
        finite = hessian.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
        values, vectors = torch.linalg.eigh(torch.where(finite, -(hessian + hessian.mT) / 2, 0.0))
        values = torch.where(finite.squeeze(-1), values.abs().clamp_min(self.floor), torch.inf)
        return gradient.detach().nan_to_num(0.0), vectors, values

    def details(self) -> str:
        """The number of latents and of steps."""
        start = "" if self.network is None else f", {self.network!r}"
        return f"{self.latents}, steps={self.steps}{start}"
