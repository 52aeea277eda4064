"""Leapfrog steps of Hamiltonian dynamics, for many data and copies at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Density", "leapfrog", "value_and_gradient"]

Density = Callable[[Tensor], Tensor]
"""u (copies, n, dim) → log density (copies, n), differentiable."""


def value_and_gradient(density: Density, u: Tensor) -> tuple[Tensor, Tensor]:
    """The log density (copies, n) and its gradient (copies, n, dim); where it is not finite, −∞ and 0."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        value = density(u)
        (gradient,) = torch.autograd.grad(value.sum(), u)
    value = value.detach().to(u.dtype)
    finite = torch.isfinite(value) & torch.isfinite(gradient).all(-1)
    return torch.where(finite, value, -torch.inf), torch.where(finite[..., None], gradient, 0.0)


def leapfrog(
    density: Density, u: Tensor, momentum: Tensor, gradient: Tensor, step: Tensor, inverse_mass: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step: position, momentum, log density and gradient after it.

    ``step`` broadcasts over (copies, n), negative to go back; ``inverse_mass`` over (copies, n, dim), the variances of
    a diagonal metric.
    """
    step = step[..., None]
    momentum = momentum + 0.5 * step * gradient
    u = u + step * inverse_mass * momentum
    value, gradient = value_and_gradient(density, u)
    return u, momentum + 0.5 * step * gradient, value, gradient
