"""The tensors that a program and its objective hold."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrovae.svi.engines.surroundings import Surroundings
from pyrovae.svi.loss import Loss

__all__ = ["State", "overlaps", "put", "share_memory"]


class State:
    """Parameters and buffers by what holds them: the dicts of modules, Pyro's store, and whatever else refers to them.

    ``tensors`` are the distinct ones, in a fixed order.
    """

    def __init__(self, loss: Loss) -> None:
        found = Surroundings(loss)
        self.places = found.places
        lists = {id(holder) for holder, *_ in self.places if isinstance(holder, list)}
        attributes = [(vars(module), name, value) for module in found.modules for name, value in vars(module).items()]
        self.lists = [place for place in attributes if id(place[2]) in lists]  # an RNN makes its own anew
        self.tensors = list({id(value): value for *_, value in self.places}.values())

    @contextmanager
    def replaced(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """A block in which others stand in their places."""
        by = {id(old): new for old, new in zip(self.tensors, tensors, strict=True)}
        try:
            for holder, key, value in self.places:
                put(holder, key, by[id(value)])
            yield
        finally:
            for place in (*self.lists, *self.places):
                put(*place)

    def reassigned(self, tensors: Sequence[Tensor]) -> dict[int, Tensor]:
        """Inside of `replaced`: what the program has put in the place of these, by their number."""
        number = {id(value): i for i, value in enumerate(self.tensors)}
        return {
            number[id(value)]: holder[key]
            for holder, key, value in self.places
            if isinstance(holder, dict) and holder[key] is not tensors[number[id(value)]]
        }


def overlaps(tensor: Tensor) -> bool:
    """Whether cells of a tensor are the same memory, as of an expanded one."""
    return bool(torch._debug_has_internal_overlap(tensor) == 1)


def share_memory(tensors: Sequence[Tensor]) -> bool:
    """Whether one has memory of another, as a weight that is another one turned, or overlaps itself."""
    full = [t for t in tensors if t.numel()]
    return len({t.untyped_storage().data_ptr() for t in full}) < len(full) or any(map(overlaps, full))


def put(holder: Any, key: Any, value: Any) -> None:
    """Let a dict, a list or a cell hold this."""
    if isinstance(holder, types.CellType):
        holder.cell_contents = value
    elif holder is not None:
        holder[key] = value
