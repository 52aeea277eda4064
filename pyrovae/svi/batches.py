"""Data as the program takes them: its type and device, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae.data import Data, as_data
from pyrovae.data._columns import check_columns
from pyrovae.program import Batch, Program

__all__ = ["Batches", "prepare"]


@dataclass(frozen=True)
class Batches:
    """Data on the program's device. ``numbered``: they are the training data, and the program is told which rows."""

    data: Data
    x: Tensor
    context: Tensor | None
    numbered: bool = False

    def __len__(self) -> int:
        return self.x.shape[0]

    def take(self, rows: Tensor | slice) -> Batch:
        """Rows of x, drawn anew where the data are random (dynamic binarisation), and of the context."""
        x = self.x[rows]
        if self.data.draw is not None:
            x = self.data.draw(x)
        index = torch.arange(len(self), device=x.device)[rows] if self.numbered else None
        return Batch(x, None if self.context is None else self.context[rows], index)

    def blocks(self, size: int) -> Iterator[tuple[slice, Batch]]:
        """All rows in order."""
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            yield rows, self.take(rows)


def prepare(program: Program, data: Any, context: Any = None, *, training: bool = False) -> Batches:
    """Convert data to the type and device of the program's parameters; where it has none, floats stay as they are.

    ``training``: these are the data whose rows a program may have parameters for.

    Raises
    ------
    ValueError
        If whole numbers are too large for the program's type to hold exactly, or the columns are not those that the
        program was made for.
    """
    columns = getattr(program, "columns", None)
    data = as_data(data, context=context, columns=columns)
    check_columns(columns, data)
    tensors = [t for t in (*program.parameters(), *program.buffers()) if t.is_floating_point()]
    device = tensors[0].device if tensors else data.x.device
    dtype = tensors[0].dtype if tensors else None
    return Batches(
        data,
        _cast(data.x, dtype, device),
        None if data.context is None else _cast(data.context, dtype, device),
        numbered=training and program.takes_index,
    )


def _cast(x: Tensor, dtype: torch.dtype | None, device: torch.device) -> Tensor:
    if x.is_floating_point():
        return x.to(device=device, dtype=dtype or x.dtype)
    dtype = dtype or torch.get_default_dtype()
    exact = 2 / torch.finfo(dtype).eps
    largest = x.abs().max().item() if x.dtype != torch.bool else 1
    if largest > exact:
        raise ValueError(
            f"the data hold whole numbers up to {largest}, and {dtype} is exact only up to {exact:.0f}: build the "
            "program in float64 (program.double())"
        )
    return x.to(device=device, dtype=dtype)
