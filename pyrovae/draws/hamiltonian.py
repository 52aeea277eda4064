"""Leapfrog steps of Hamiltonian dynamics, for many data and copies at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.draws.replay import Replay

__all__ = ["Density", "Slope", "finite_or_none", "leapfrog", "slope_of"]

Density = Callable[[Tensor], Tensor]
"""u (copies, n, dim) → log density (copies, n), differentiable."""

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]
"""u (copies, n, dim) → log density (copies, n) and its gradient (copies, n, dim)."""


def slope_of(density: Density) -> Slope:
    """A density with its gradient; where it is not finite, −∞ and 0. Asked often, it is recorded."""

    def differentiated(u: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            value = density(u)
            (gradient,) = torch.autograd.grad(value.sum(), u)
        return finite_or_none(value.detach().to(u.dtype), gradient)

    replay = Replay(differentiated)

    def slope(u: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = replay(u)
        return value, gradient

    return slope


def finite_or_none(value: Tensor, gradient: Tensor) -> list[Tensor]:
    """Both, where both are finite, else −∞ and 0."""
    finite = torch.isfinite(value) & torch.isfinite(gradient).all(-1)
    return [torch.where(finite, value, -torch.inf), torch.where(finite[..., None], gradient, 0.0)]


def leapfrog(
    slope: Slope, u: Tensor, momentum: Tensor, gradient: Tensor, step: Tensor, inverse_mass: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step: position, momentum, log density and gradient after it.

    ``step`` broadcasts over (copies, n), negative to go back; ``inverse_mass`` over (copies, n, dim), the variances of
    a diagonal metric.
    """
    step = step[..., None]
    momentum = momentum + 0.5 * step * gradient
    u = u + step * inverse_mass * momentum
    value, gradient = slope(u)
    return u, momentum + 0.5 * step * gradient, value, gradient
