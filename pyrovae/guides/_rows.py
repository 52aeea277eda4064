"""Guides that hold something for each training datum, and know it again after training."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae._part import Part

__all__ = ["SKETCH", "RowGuide", "nearest", "sketched"]

SKETCH = 32  # numbers kept of a datum, to tell which are near
BLOCK = 2**24  # distances that are held together


class RowGuide(Part):
    """Knows a training datum by its values (x, context and mask, by a hash of 128 bits): see `rows_of`."""

    keys: Tensor
    order: Tensor
    unit: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = at_least(f"{self._where}: rows (the number of training data)", rows, 1)
        self.register_buffer("keys", torch.zeros(self.rows, 2, dtype=torch.int64))
        self.register_buffer("order", torch.full((self.rows,), -1))
        self.register_buffer("unit", torch.empty(0), persistent=False)  # of the type that the program works in

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Learn to know the training data again.

        Raises
        ------
        ValueError
            If they are not as many as there are rows.
        """
        if len(x) != self.rows:
            raise ValueError(
                f"{self._where}: made for {self.rows} training data, got {len(x)}: build it with rows={len(x)}"
            )
        keys = self._keys(torch.nan_to_num(x) if x.is_floating_point() else x, context, ~torch.isnan(x))
        order = np.argsort(keys[:, 0], kind="stable")
        self.keys.copy_(torch.from_numpy(keys[order]))
        self.order.copy_(torch.from_numpy(order))

    def rows_of(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        """Where each datum stands in the training data (n,), −1 for others."""
        keys = torch.from_numpy(self._keys(x, context, mask)).to(self.keys.device)
        place = torch.searchsorted(self.keys[:, 0].contiguous(), keys[:, 0].contiguous()).clamp_max(self.rows - 1)
        return torch.where((self.keys[place] == keys).all(-1), self.order[place], -1)

    def _keys(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> np.ndarray:
        """128 bits for each datum, (n, 2)."""
        parts = [x.detach().flatten(1).to(self.unit.dtype) + 0.0]  # −0 is 0
        if context is not None:
            parts.append(context.detach().flatten(1).to(self.unit.dtype) + 0.0)
        missing = torch.zeros_like(parts[0], dtype=torch.bool) if mask is None else ~mask.expand_as(x).flatten(1)
        rows = np.concatenate(
            [np.ascontiguousarray(part.cpu().numpy()).view(np.uint8) for part in (*parts, missing)], axis=1
        )
        digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
        return np.frombuffer(digests, np.int64).reshape(-1, 2).copy()


def sketched(x: Tensor, context: Tensor | None = None) -> Tensor:
    """Numbers (n, 32) whose distances are near those of the data and their context, missing values as 0.

    They are the values, or as many random projections of them, the same each time (Johnson & Lindenstrauss 1984).
    """
    values = torch.cat([torch.nan_to_num(part.flatten(1).double()) for part in (x, context) if part is not None], 1)
    size = values.shape[1]
    if size <= SKETCH:
        return torch.nn.functional.pad(values, (0, SKETCH - size))
    fixed = torch.Generator().manual_seed(size)
    return values @ (torch.randn(size, SKETCH, generator=fixed, dtype=values.dtype) / SKETCH**0.5).to(values.device)


def nearest(points: Tensor, among: Tensor, count: int) -> Tensor:
    """Which so many of the rows are nearest to each point, the nearest first, (n, count)."""
    blocks = points.split(max(1, BLOCK // len(among)))
    return torch.cat([torch.cdist(block, among).topk(count, 1, largest=False).indices for block in blocks])
