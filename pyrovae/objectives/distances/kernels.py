"""Kernels for the maximum mean discrepancy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae._numbers import positive
from pyrovae.objectives.distances._samples import pairwise

__all__ = ["RBF", "InverseMultiquadratic"]


class RBF(nn.Module):
    """k(a, b) = Σ_γ exp(−|a − b|²/2γ), the Gaussian kernel or a sum of several.

    Parameters
    ----------
    bandwidth
        γ, the squared width: a number, or several; by default L, the number of latents. The mean squared distance of
        two draws of N(0, I) is 2L, where the kernel is then 1/e: it neither vanishes nor is flat, in any number of
        latents.

    Shapes
    ------
    a (n, L), b (m, L) → (n, m).

    Raises
    ------
    ValueError
        If a width is no positive number.

    Examples
    --------
    >>> RBF((1, 4))(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 2.0]]))
    tensor([[0.7419]])
    """

    def __init__(self, bandwidth: float | Sequence[float] | None = None) -> None:
        super().__init__()
        self.bandwidth = None if bandwidth is None else _positives("RBF: bandwidth", bandwidth)

    def widths(self, latents: int) -> tuple[float, ...]:
        """γ in so many dimensions."""
        return (float(latents),) if self.bandwidth is None else self.bandwidth

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """k(a, b)."""
        squared = pairwise(a, b).square()
        return torch.stack([torch.exp(-squared / (2 * g)) for g in self.widths(a.shape[-1])]).sum(0)

    def normal_means(self, codes: Tensor) -> tuple[Tensor, float]:
        """E k(z, Y) of each code (n,), and E k(Y, Y′), for Y, Y′ ~ N(0, I) (Rustamov 2019, 1901.03227)."""
        latents = codes.shape[-1]
        squared = codes.square().sum(-1)
        widths = self.widths(latents)
        of_codes = [(g / (1 + g)) ** (latents / 2) * torch.exp(-squared / (2 * (1 + g))) for g in widths]
        return torch.stack(of_codes).sum(0), sum((g / (g + 2)) ** (latents / 2) for g in widths)

    def __repr__(self) -> str:
        return f"RBF({_shown(self.bandwidth)})"


class InverseMultiquadratic(nn.Module):
    """k(a, b) = Σ_s C/(C + |a − b|²), C = 2 L s, whose tails are heavy: codes far from the prior are drawn in too.

    2L is the mean squared distance of two draws of N(0, I); for a prior with variance σ² multiply the scales by σ²
    (Tolstikhin et al. 2018, 1711.01558, section 4; the sum over s is that of their code).

    Parameters
    ----------
    scales
        s, a number or several.

    Shapes
    ------
    a (n, L), b (m, L) → (n, m).

    Raises
    ------
    ValueError
        If a scale is no positive number.

    Examples
    --------
    >>> InverseMultiquadratic(1)(torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]))
    tensor([[0.5000]])
    """

    def __init__(self, scales: float | Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)) -> None:
        super().__init__()
        self.scales = _positives("InverseMultiquadratic: scales", scales)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """k(a, b)."""
        squared = pairwise(a, b).square()
        sizes = [2 * a.shape[-1] * s for s in self.scales]
        return torch.stack([c / (c + squared) for c in sizes]).sum(0)

    def __repr__(self) -> str:
        return f"InverseMultiquadratic({_shown(self.scales)})"


def _positives(name: str, value: Any) -> tuple[float, ...]:
    name = f"objectives.{name}"
    several = isinstance(value, Sequence) and not isinstance(value, str)
    if several and not value:
        raise ValueError(f"{name}: expected at least one positive number, got {value!r}")
    return tuple(positive(name, v) for v in value) if several else (positive(name, value),)


def _shown(values: tuple[float, ...] | None) -> str:
    numbers = [f"{v:g}" for v in values or ()]
    return f"({', '.join(numbers)})" if len(numbers) > 1 else "".join(numbers)
