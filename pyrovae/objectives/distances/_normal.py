"""The mean distance of a point from a standard normal variable, in closed form up to a sum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["distance_from_normal", "half_distance_of_normals"]

NODES = 64
STEP = 0.5
"""Between nodes, in units of the integrand's width."""


def half_distance_of_normals(latents: int) -> float:
    """½ E|Y − Y′| = Γ((L + 1)/2)/Γ(L/2), of two independent N(0, I) variables in L dimensions.

    >>> round(half_distance_of_normals(1) * math.pi**0.5, 6)
    1.0
    """
    return math.exp(math.lgamma((latents + 1) / 2) - math.lgamma(latents / 2))


def distance_from_normal(squared: Tensor, latents: int) -> Tensor:
    """E|z − Y| of Y ~ N(0, I) in L dimensions, a function of |z|².

    It is √2 Γ((L + 1)/2)/Γ(L/2) · M(−½; L/2; −|z|²/2), with Kummer's function M = 1F1. Its series alternates and loses
    all digits where |z| is large; so does its asymptotic form where it is small. From |v| = (4π)^−½ ∫ (1 − exp(−s v²))
    s^−3/2 ds, integrated by parts and with 2s = sinh² t,

        E|z − Y| = (2π)^−½ ∫ sech(t)^(L+1) exp(−½ |z|² tanh² t) (L + |z|² sech² t) dt over the real line,

    in which nothing cancels. The integrand is smooth and even and falls off at both ends, so that the trapezoidal rule
    converges exponentially: 64 nodes leave a relative error of 2e-9 in double precision, whatever L and |z|.

    Parameters
    ----------
    squared
        |z|², any shape.
    latents
        L.
    """
    width = (squared.detach() + (latents + 1)).rsqrt()
    step = torch.clamp(STEP * width, max=0.4)
    t = step.unsqueeze(-1) * torch.arange(NODES, dtype=squared.dtype, device=squared.device)
    log_cosh = 0.5 * torch.log1p(t.sinh().square())
    r2 = squared.unsqueeze(-1)
    terms = torch.exp(-(latents + 1) * log_cosh - 0.5 * r2 * t.tanh().square())
    terms = terms * (latents + r2 * torch.exp(-2 * log_cosh))
    return math.sqrt(2 / math.pi) * step * (terms.sum(-1) - 0.5 * terms[..., 0])
