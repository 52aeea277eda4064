"""Data that stay where they are stored, in a memory-mapped file or an array of zarr or HDF5, and are read in parts."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data._summary import Summary, summarise
from pyrovae.data._values import standard_array

__all__ = ["BUFFER", "Rows", "is_stored"]

BUFFER = 64 * 2**20  # bytes: data of more stay where they are stored, and are read so many at a time
BLOCK = 256 * 2**10  # bytes of neighbours that are read at once; a whole chunk at least
FEWEST = 4  # blocks that are shuffled together, however large they are
RELEASE = getattr(mmap, "MADV_DONTNEED", None)  # not on every system
Step = Callable[[Tensor], Tensor]


def is_stored(obj: Any) -> bool:
    """Whether it is an array on disk, memory-mapped or of zarr or HDF5, of more than a buffer."""
    if isinstance(obj, np.memmap):
        return _mapping(obj) is not None and obj.nbytes > BUFFER
    found = (getattr(sys.modules.get(module), name, None) for module, name in (("zarr", "Array"), ("h5py", "Dataset")))
    large: Any = obj if isinstance(obj, tuple(kind for kind in found if kind is not None)) else None
    return large is not None and math.prod(large.shape) * large.dtype.itemsize > BUFFER


def _mapping(source: Any) -> mmap.mmap | None:
    """The mapped file that an array is a part of; None if it is in memory."""
    if not isinstance(source, np.memmap):
        return None
    root: Any = source
    while isinstance(root, np.ndarray):
        root = root.base
    return root if isinstance(root, mmap.mmap) else None


class Rows:
    """Data (n, *event) that stay where they are stored and are read in parts.

    It has what of a tensor a data set needs: ``shape``, ``dtype``, ``device``, a length, and its rows, by a slice or by
    their numbers, as tensors. Whatever needs all of them at once is refused, with what to do.

    Parameters
    ----------
    source
        What is read by slices of its first axis, in chunks if it has ``chunks``: see `is_stored`.
    index
        Which rows of it, by default all.
    steps
        Functions of (m, *event) that make of each part that is read what is wanted of it.
    what
        What it is called in errors.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    """

    def __init__(
        self, source: Any, index: np.ndarray | None = None, steps: tuple[Step, ...] = (), *, what: str = "x"
    ) -> None:
        self.source, self.index, self.steps, self.what = source, index, steps, what
        mapping = _mapping(source)
        self._mapping = (
            None if mapping is None or source.mode == "c" else mapping
        )  # "c": what was written is there only
        none = self._made(np.empty((0, *source.shape[1:]), source.dtype))
        self.dtype, self.device = none.dtype, none.device
        self.shape = torch.Size((source.shape[0] if index is None else len(index), *none.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """How many dimensions there are, with that of the data."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """What all would take in memory."""
        return self.numel() * self.dtype.itemsize

    def numel(self) -> int:
        """How many numbers there are."""
        return self.shape.numel()

    def map(self, step: Step) -> Rows:
        """The same data with a function applied to each part that is read."""
        return Rows(self.source, self.index, (*self.steps, step), what=self.what)

    def part(self, rows: np.ndarray) -> Tensor | Rows:
        """Some of the data, by their numbers: in memory if a buffer holds them."""
        some = Rows(self.source, rows if self.index is None else self.index[rows], self.steps, what=self.what)
        return some[:] if some.nbytes <= BUFFER else some

    def __getitem__(self, key: Any) -> Tensor:
        if isinstance(key, int | np.integer):
            return self[[int(key) % len(self) if -len(self) <= key < 0 else int(key)]][0]
        if isinstance(key, tuple):
            raise TypeError(self._refusal("x[…, …]"))
        if isinstance(key, slice):
            rows = np.arange(*key.indices(len(self)))
        else:
            rows = np.asarray(key.cpu() if isinstance(key, Tensor) else key)
            if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
                raise IndexError(f"expected rows from 0 to {len(self) - 1:,}, got {rows.min()} to {rows.max()}")
        rows = rows if self.index is None else self.index[rows]
        if not len(rows):
            return self._made(np.empty((0, *self.source.shape[1:]), self.source.dtype))
        first, span = int(rows[0]), int(rows[-1] - rows[0]) + 1
        if span <= 4 * len(rows) and bool((np.diff(rows) > 0).all()):  # neighbours: what lies between is read as well
            block = self._read(slice(first, first + span))
            return self._made(block if span == len(rows) else block[rows - first])
        rows, back = np.unique(rows, return_inverse=True)
        return self._made(self._read(rows)[back])

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        source = self.source if isinstance(rows, slice) else getattr(self.source, "oindex", self.source)
        block = np.array(source[rows])
        if self._mapping is not None and RELEASE is not None:
            self._mapping.madvise(RELEASE)  # the system may keep the pages, they are no longer counted as ours
        return block

    def _made(self, block: np.ndarray) -> Tensor:
        out = torch.from_numpy(standard_array(block, self.what))
        for step in self.steps:
            out = step(out)
        return out

    @cached_property
    def edges(self) -> np.ndarray:
        """Where the blocks of neighbours begin that are read at once, and n."""
        chunk = (getattr(self.source, "chunks", None) or (1,))[0]
        stored = chunk * self.source.dtype.itemsize * math.prod(self.source.shape[1:])
        size = chunk * max(1, BLOCK // max(1, stored))
        ends = np.append(np.arange(0, self.source.shape[0], size), self.source.shape[0])
        if self.index is None:
            return ends
        if bool((np.diff(self.index) > 0).all()):
            return np.unique(np.searchsorted(self.index, ends))
        return np.append(np.arange(0, len(self), size), len(self))

    def buffers(self, generator: torch.Generator | None = None) -> Iterator[list[slice]]:
        """Blocks that are held in memory together: all of them once, in order, or as the generator draws them."""
        edges, count = self.edges.tolist(), len(self.edges) - 1
        most = max(1 if generator is None else FEWEST, BUFFER * count // max(1, self.nbytes))
        order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
        for group in order.split(most):
            yield [slice(edges[b], edges[b + 1]) for b in group.tolist()]

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """All data in order, each block with the number of its first."""
        for group in self.buffers():
            for block in group:
                yield block.start, self[block]

    @cached_property
    def summary(self) -> Summary:
        """What is known of all of them after one pass."""
        return summarise(self.blocks(), self.shape[1:])

    def __deepcopy__(self, memo: Any) -> Rows:
        return self  # nothing of it changes, and a copy would hold all data

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(self._refusal("an array of x"))

    __iter__ = None  # else numpy and list() would read them one by one

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._refusal(f"x.{name}") if hasattr(Tensor, name) and name[0] != "_" else name)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rows = next(value for value in (*args, *(kwargs or {}).values()) if isinstance(value, cls))
        raise TypeError(rows._refusal(f"torch.{getattr(function, '__name__', function)}"))

    def _refusal(self, what: str) -> str:
        return (
            f"{what} needs all data in memory, and these {len(self):,} ({self.nbytes / 1e9:.3g} GB) stay on disk: take "
            "a part, data.take(slice(0, 1000)), or read them all, pyrovae.data.as_data(data.x[:])"
        )
