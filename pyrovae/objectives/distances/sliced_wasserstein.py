"""The sliced Wasserstein distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least, check_flag, positive
from pyrovae.objectives.distances._samples import check_samples

__all__ = ["SlicedWasserstein", "directions", "sliced", "sliced_from_normal"]


class SlicedWasserstein(nn.Module):
    """The mean over directions θ of W_p^p of the codes' projections on θ from the prior's.

    In one dimension W_p^p is the mean of |F⁻¹(u) − G⁻¹(u)|^p over u: of samples of one size, the sorted projections
    are compared one by one (Kolouri et al. 2018, 1804.01947); of two sizes, their quantile functions. The directions
    are drawn anew each time. It is never negative, and not 0 on average where the laws agree: two samples differ.

    Parameters
    ----------
    projections
        Number of directions, drawn evenly from the sphere.
    p
        1 or more; 2 makes the squared distance.
    closed
        Take the quantiles of the prior exactly, for a N(0, I), every projection of which is a N(0, 1), and p = 2: the
        noise of the prior's draws is gone, and with it the bias that they make. The draws are not looked at then.

    Shapes
    ------
    codes (n, L), draws (m, L) → ().

    Raises
    ------
    ValueError
        If ``projections`` is no whole number of at least 1, p below 1, or ``closed`` asked for with another p than 2;
        in use, for shapes that do not agree.

    Examples
    --------
    >>> SlicedWasserstein()(torch.zeros(3, 1), torch.tensor([[1.0], [2.0], [3.0]]))
    tensor(4.6667)
    >>> SlicedWasserstein(100)
    SlicedWasserstein(100)
    """

    least = 1

    def __init__(self, projections: int = 50, *, p: float = 2, closed: bool = False) -> None:
        super().__init__()
        self.projections = at_least("objectives.SlicedWasserstein: projections", projections, 1)
        self.p = positive("objectives.SlicedWasserstein: p", p)
        if self.p < 1:
            raise ValueError(f"objectives.SlicedWasserstein: p: expected a number of at least 1, got {p!r}")
        self.closed = check_flag("objectives.SlicedWasserstein: closed", closed)
        if closed and self.p != 2:
            raise ValueError(f"objectives.SlicedWasserstein: closed=True needs p = 2, got {p!r}: leave closed out")

    def forward(self, codes: Tensor, draws: Tensor | None = None) -> Tensor:
        """The mean of W_p^p."""
        draws = check_samples("SlicedWasserstein", codes, codes if self.closed else draws, self.least)
        theta = directions(self.projections, codes)
        return sliced_from_normal(codes, theta) if self.closed else sliced(codes, draws, theta, self.p)

    def __repr__(self) -> str:
        settings = [f"{self.projections}", *[f"p={self.p:g}"] * (self.p != 2), *["closed=True"] * self.closed]
        return f"SlicedWasserstein({', '.join(settings)})"


def directions(number: int, codes: Tensor) -> Tensor:
    """So many points of the sphere, (L, number)."""
    theta = torch.randn(codes.shape[-1], number, dtype=codes.dtype, device=codes.device)
    return theta / theta.norm(dim=0)


def sliced(codes: Tensor, draws: Tensor, theta: Tensor, p: float) -> Tensor:
    """The mean over the columns of θ (L, projections) of W_p^p of the projections."""
    own, other = (codes @ theta).sort(0).values, (draws @ theta).sort(0).values
    n, m = len(own), len(other)
    if n == m:
        return (own - other).abs().pow(p).mean()
    steps = [torch.arange(a + 1, device=codes.device) * b for a, b in ((n, m), (m, n))]
    cuts = torch.cat(steps).unique()  # of u, times n · m: where either quantile function jumps
    gaps = (own[cuts[:-1] // m] - other[cuts[:-1] // n]).abs().pow(p).mean(1)
    return (gaps * cuts.diff()).sum() / (n * m)


def sliced_from_normal(codes: Tensor, theta: Tensor) -> Tensor:
    """The mean over the columns of θ of W_2² of the projections from N(0, 1).

    With sorted projections s_i it is mean s² − 2 Σ s_i ∫ Φ⁻¹(u) du + 1, the integral over [(i − 1)/n, i/n], where it is
    φ(Φ⁻¹((i − 1)/n)) − φ(Φ⁻¹(i/n)).
    """
    own = (codes @ theta).sort(0).values
    ends = torch.special.ndtri(torch.linspace(0, 1, len(own) + 1, dtype=torch.float64))
    density = torch.exp(-0.5 * ends.square()) / math.sqrt(2 * math.pi)
    weights = -density.diff().to(own).unsqueeze(-1)
    return own.square().mean() - 2 * (own * weights).sum(0).mean() + 1
