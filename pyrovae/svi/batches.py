"""Data as the program takes them: its type and device, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Data, as_data
from pyrovae.data._columns import check_columns
from pyrovae.data._rows import Rows
from pyrovae.program import Batch, Program

__all__ = ["Batches", "prepare"]

GATHERED = 1 << 20  # bytes of batches that are brought together at once


@dataclass(frozen=True)
class Batches:
    """Data on the program's device, or `Rows` of them that are brought there in parts.

    ``numbered``: they are the training data, and the program is told which rows.
    """

    data: Data
    x: Any
    context: Any
    numbered: bool = False

    def __len__(self) -> int:
        return self.x.shape[0]

    def take(self, rows: Tensor | slice) -> Batch:
        """Rows of x, drawn anew where the data are random (dynamic binarisation), and of the context."""
        return self._drawn(self._rows(rows))

    def _rows(self, rows: Tensor | slice) -> Batch:
        index = torch.arange(len(self), device=self.x.device)[rows] if self.numbered else None
        return Batch(self.x[rows], None if self.context is None else self.context[rows], index)

    def blocks(self, size: int) -> Iterator[tuple[slice, Batch]]:
        """All rows in order."""
        if self.stored is None:
            for start in range(0, len(self), size):
                rows = slice(start, min(start + size, len(self)))
                yield rows, self.take(rows)
            return
        start = 0
        for batch in self._read(size):
            yield slice(start, start + len(batch)), batch
            start += len(batch)

    def shuffled(self, size: int) -> Iterator[Batch]:
        """All rows once, in batches, in an order that torch's generator decides now.

        Any order is as likely as any other of data in memory. Of those on disk blocks are permuted, and the rows of
        the blocks that a buffer holds among each other; the next buffer is filled while one is used.
        """
        if self.stored is None:
            return self._gathered(torch.randperm(len(self)).to(self.x.device), size)
        return self._read(size, _generator())

    def _gathered(self, order: Tensor, size: int) -> Iterator[Batch]:
        """Data in memory in this order: the rows of some small batches are brought together at once."""
        batch = size * self.x.shape[1:].numel() * self.x.element_size()
        for rows in order.split(size * max(1, GATHERED // max(1, batch))):
            x = _selected(self.x, rows).split(size)
            nothing = (None,) * len(x)
            contexts = nothing if self.context is None else _selected(self.context, rows).split(size)
            indices = rows.split(size) if self.numbered else nothing
            whole = map(Batch, x, contexts, indices)
            yield from whole if self.data.draw is None else map(self._drawn, whole)

    def sample(self) -> tuple[Tensor, Tensor | None]:
        """x and context for what a program takes from its data once; of those on disk the first buffer of an epoch."""
        if self.stored is None:
            return self.x, self.context
        generator = _generator()
        some = self._buffer(next(self.stored.buffers(generator)), generator)
        return some.x, some.context

    @cached_property
    def stored(self) -> Rows | None:
        """What of them stays on disk."""
        return next((values for values in (self.x, self.context) if isinstance(values, Rows)), None)

    @cached_property
    def first_missing(self) -> tuple[int, ...] | None:
        """The datum and the cell of the first NaN."""
        if isinstance(self.data.x, Rows):
            return self.data.x.summary.first_missing
        missing = torch.isnan(self.x).cpu().numpy()
        place = np.unravel_index(int(missing.argmax()), missing.shape)
        return tuple(map(int, place)) if missing[place] else None

    @cached_property
    def unseen(self) -> Tensor:
        """Which cells are missing in all of them, (*event)."""
        x = self.data.x
        return ~x.summary.seen if isinstance(x, Rows) else torch.isnan(self.x).all(0).cpu()

    @cached_property
    def sums(self) -> list[float]:
        """Figures that tell data sets apart: the sums of x and of the context."""
        pairs = [(self.data.x, self.x), (self.data.context, self.context)]
        return [
            values.summary.total if isinstance(values, Rows) else float(torch.nan_to_num(cast.double()).sum())
            for values, cast in pairs
            if values is not None
        ]

    def _drawn(self, batch: Batch) -> Batch:
        return batch if self.data.draw is None else Batch(self.data.draw(batch.x), batch.context, batch.index)

    def _read(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        for some in _ahead(self._buffers(size, generator)):
            for start in range(0, len(some), size):
                yield self._drawn(some.take(slice(start, start + size)))

    def _buffers(self, size: int, generator: torch.Generator | None) -> Iterator[Batch]:
        """All data, a buffer at a time, each but the last of whole batches: what is left over begins the next one."""
        rest = None
        for blocks in self.stored.buffers(generator) if self.stored else ():
            some = self._buffer(blocks, generator, rest)
            whole = len(some) // size * size
            rest = some.take(torch.arange(whole, len(some), device=some.x.device))  # a copy: a view would hold it all
            if whole:
                yield some.take(slice(0, whole))
        if rest is not None and len(rest):
            yield rest

    def _buffer(self, blocks: list[slice], generator: torch.Generator | None, rest: Batch | None = None) -> Batch:
        """What was left over, then the rows of these blocks, in the order that a generator draws if there is one."""
        sizes = [block.stop - block.start for block in blocks]
        n = sum(sizes)
        places = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)

        def filled(values: Any, first: Tensor | None) -> Tensor:
            lead = 0 if first is None else len(first)
            out = torch.empty(lead + n, *values.shape[1:], dtype=values.dtype, device=values.device)
            if first is not None:
                out[:lead] = first
            for block, place in zip(blocks, places.split(sizes), strict=True):
                out[lead + place.to(out.device)] = values[block]
            return out

        x = filled(self.x, None if rest is None else rest.x)
        return Batch(x, None if self.context is None else filled(self.context, None if rest is None else rest.context))


def _selected(values: Tensor, rows: Tensor) -> Tensor:
    """These rows, laid out as they are, in a third of the time of ``values[rows]`` where they lie one after another."""
    return values.index_select(0, rows) if values.is_contiguous() else values[rows]


def _generator() -> torch.Generator:
    """A generator seeded from torch's own, for a thread that runs beside it."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))


def _ahead(items: Iterator[Batch]) -> Iterator[Batch]:
    """The same, each made in a thread of its own while the one before it is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def prepare(program: Program, data: Any, context: Any = None, *, training: bool = False) -> Batches:
    """Convert data to the type and device of the program's parameters; where it has none, floats stay as they are.

    ``training``: these are the data whose rows a program may have parameters for.

    Raises
    ------
    ValueError
        If whole numbers are too large for the program's type to hold exactly, or the columns are not those that the
        program was made for; if data that stay on disk are to train a program that needs all at once.
    """
    columns = getattr(program, "columns", None)
    data = as_data(data, context=context, columns=columns)
    check_columns(columns, data)
    tensors = [t for t in (*program.parameters(), *program.buffers()) if t.is_floating_point()]
    device = tensors[0].device if tensors else data.x.device
    dtype = tensors[0].dtype if tensors else None
    batches = Batches(
        data,
        _cast(data.x, dtype, device),
        None if data.context is None else _cast(data.context, dtype, device),
        numbered=training and program.takes_index,
    )
    if training and batches.stored is not None and (program.takes_index or program.updates):
        why = "is told the rows of its data" if program.takes_index else "takes a step in closed form on all data"
        raise ValueError(
            f"the program {why}, and these {len(batches):,} stay on disk: read them into memory, "
            "pv.data.as_data(data.x[:]), or train on a part, data.take(slice(0, 100_000))"
        )
    return batches


def _cast(x: Any, dtype: torch.dtype | None, device: torch.device) -> Any:
    def cast(part: Tensor) -> Tensor:
        return part.to(device=device, dtype=dtype)

    dtype = dtype or (x.dtype if x.dtype.is_floating_point else torch.get_default_dtype())
    if not x.dtype.is_floating_point:
        exact = 2 / torch.finfo(dtype).eps
        largest = x.summary.largest if isinstance(x, Rows) else x.abs().max().item() if x.dtype != torch.bool else 1
        if largest > exact:
            raise ValueError(
                f"the data hold whole numbers up to {largest}, and {dtype} is exact only up to {exact:.0f}: build the "
                "program in float64 (program.double())"
            )
    return x.map(cast) if isinstance(x, Rows) else cast(x)
