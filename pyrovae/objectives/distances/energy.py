"""The energy distance, which is the Radon–Sobolev distance of Turinici."""

from __future__ import annotations

from torch import Tensor, nn

from pyrovae._numbers import check_flag
from pyrovae.objectives.distances._normal import distance_from_normal, half_distance_of_normals
from pyrovae.objectives.distances._samples import check_samples, mean_of_pairs, pairwise

__all__ = ["Energy"]


class Energy(nn.Module):
    """d² = E|z − y| − ½ E|z − z′| − ½ E|y − y′|, of codes z and draws y of the prior.

    It is half the energy distance of Székely and Rizzo, and 0 only where the two laws are the same. It has no width to
    choose. As a U-statistic its mean is d², so it may be negative; as a V-statistic, which counts the distance 0 of a
    point from itself, it is never negative, and too large by ½ E|z − z′|/n + ½ E|y − y′|/m.

    Parameters
    ----------
    closed
        Take both means over the prior in closed form, for a N(0, I): the same mean with less noise. E|z − Y| is
        Kummer's function, and ½ E|Y − Y′| = Γ((L + 1)/2)/Γ(L/2). The draws are not looked at then.
    unbiased
        Take the U-statistic, which needs two codes.

    Shapes
    ------
    codes (n, L), draws (m, L) → ().

    Raises
    ------
    ValueError
        In use, for shapes that do not agree or too few codes.

    References
    ----------
    Turinici 2021, "Radon-Sobolev variational auto-encoders", 1911.13135; Székely & Rizzo 2013, "Energy statistics: a
    class of statistics based on distances".

    Examples
    --------
    >>> import torch
    >>> Energy(unbiased=False)(torch.zeros(2, 1), torch.ones(2, 1))
    tensor(1.)
    >>> Energy(closed=True)
    Energy(closed=True)
    """

    def __init__(self, *, closed: bool = False, unbiased: bool = True) -> None:
        super().__init__()
        self.closed = check_flag("objectives.Energy: closed", closed)
        self.unbiased = check_flag("objectives.Energy: unbiased", unbiased)

    @property
    def least(self) -> int:
        """The fewest codes that it compares."""
        return 2 if self.unbiased else 1

    def forward(self, codes: Tensor, draws: Tensor | None = None) -> Tensor:
        """d²."""
        draws = check_samples("Energy", codes, codes if self.closed else draws, self.least)
        own = 0.5 * mean_of_pairs(pairwise(codes, codes), unbiased=self.unbiased)
        if self.closed:
            latents = codes.shape[-1]
            across = distance_from_normal(codes.square().sum(-1), latents).mean()
            return across - own - half_distance_of_normals(latents)
        rest = 0.5 * mean_of_pairs(pairwise(draws, draws), unbiased=self.unbiased)
        return pairwise(codes, draws).mean() - own - rest

    def __repr__(self) -> str:
        return f"Energy({', '.join(['closed=True'] * self.closed + ['unbiased=False'] * (not self.unbiased))})"
