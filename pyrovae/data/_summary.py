"""What has to be known of all data, from one pass over those that memory does not hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Summary", "summarise"]

Place = tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """Of data (n, *event).

    Parameters
    ----------
    total
        The sum of all values that are not missing.
    largest
        The largest absolute value of whole numbers.
    missing
        How many values are missing (NaN).
    first_missing, first_infinite
        Where the first of them is: the datum and the cell; None if there is none.
    seen
        Which cells are observed in any datum (*event).
    """

    total: float
    largest: int
    missing: int
    first_missing: Place | None
    first_infinite: Place | None
    seen: Tensor


def summarise(blocks: Iterable[tuple[int, Tensor]], event: torch.Size) -> Summary:
    """Of blocks of data, each with the number of its first datum.

    Examples
    --------
    >>> block = torch.tensor([[1.0, torch.nan], [2.0, torch.nan]])
    >>> summarise([(0, block), (2, block)], torch.Size([2]))
    Summary(total=6.0, largest=0, missing=4, first_missing=(0, 1), first_infinite=None, seen=tensor([ True, False]))
    """
    total, largest, missing = 0.0, 0, 0
    first: dict[str, Place] = {}
    seen = torch.zeros(event, dtype=torch.bool)
    for start, block in blocks:
        if not block.is_floating_point():
            total += float(block.sum(dtype=torch.float64))
            largest = max(largest, *(abs(int(value)) for value in block.aminmax()))
            seen.fill_(True)
            continue
        added = float(block.sum(dtype=torch.float64))
        if math.isfinite(added):  # so that nothing is missing or infinite
            total += added
            seen.fill_(True)
            continue
        holes = block.isnan()
        total += float(block.nan_to_num().sum(dtype=torch.float64))
        missing += int(holes.sum())
        seen |= ~holes.all(0)
        for what, flags in (("missing", holes), ("infinite", block.isinf())):
            if what not in first and bool(flags.any()):
                row, *cell = flags.nonzero()[0].tolist()
                first[what] = (start + row, *cell)
    return Summary(total, largest, missing, first.get("missing"), first.get("infinite"), seen)
