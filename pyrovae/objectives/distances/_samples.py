"""What the distances share: checks of two samples, the distances between their points, and means over pairs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_samples", "mean_of_pairs", "pairwise"]


def check_samples(name: str, codes: Tensor, draws: Tensor | None, least: int) -> Tensor:
    """The draws (m, L) of the prior, if they and the codes (n, L) are what they should be; at least so many of each.

    Raises
    ------
    ValueError
        With the shapes that came.
    """
    for what, sample in (("codes", codes), ("draws of the prior", draws)):
        if not isinstance(sample, Tensor) or sample.dim() != 2 or sample.shape[-1] != codes.shape[-1]:
            came = tuple(sample.shape) if isinstance(sample, Tensor) else type(sample).__name__
            raise ValueError(f"objectives.{name}: expected {what} (number, latents) as a tensor, got {came}")
        if not sample.is_floating_point() or sample.dtype != codes.dtype:
            raise ValueError(f"objectives.{name}: expected {what} as real numbers of one type, got {sample.dtype}")
        if len(sample) < least:
            raise ValueError(
                f"objectives.{name}: expected at least {least} {what}, got {len(sample)}: choose larger batches"
                + (", or unbiased=False" if least == 2 else "")
            )
    return codes if draws is None else draws


def pairwise(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (n, m) by differences, 0 with gradient 0 where points are the same."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def mean_of_pairs(values: Tensor, *, unbiased: bool) -> Tensor:
    """Mean of a matrix (n, n) over all pairs, or over those of two different points."""
    n = len(values)
    if not unbiased:
        return values.mean()
    return (values.sum() - values.diagonal().sum()) / (n * (n - 1))
