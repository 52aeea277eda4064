"""Whether what was once read is as it was, by what it is and not by what it is worth."""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from itertools import chain, islice
from operator import is_
from typing import Any

from torch import Tensor

from pyrovae.svi.engines.contents import contents

__all__ = ["Watch"]

ITEMS = 100  # of a container that are looked at
# Containers of other types may tell of themselves what they like: these are read again each time.
KNOWN = (dict, OrderedDict, defaultdict, Counter, types.MappingProxyType, list, deque, set)
MISSING = object()


class Watch:
    """The objects that were read, to be compared with what stands in their places now.

    That takes a fifth of the time of reading them again. If nothing differs, to read again would come to the same. If
    something does, it may still: an equal number may be another object.
    """

    def __init__(self) -> None:
        self.objects: list[Any] = []  # of which the class and the attributes are looked at
        self.functions: list[types.FunctionType] = []
        self.tensors: list[Tensor] = []  # of which it is looked at where they are
        self.fixed: list[Tensor] = []  # those that training does not change
        self.arrays: list[Any] = []  # and generators and sets
        self._sized: list[Any] = []
        self._items: list[Iterable[Any]] = []
        self._first: list[Iterable[Any]] = []  # of large containers
        self._named: list[tuple[Any, Any]] = []
        self._then: tuple[list[Any], list[Any]] = [], []
        self.able = True  # to tell without reading

    def container(self, value: Any, *, whole: bool = False) -> None:
        """Watch the items of a set, a list, a deque or a dict; of a large one the first, unless ``whole``."""
        if type(value) not in KNOWN:
            self.able = False
            return
        self._sized.append(value)
        if isinstance(value, set):
            self.arrays += [value] if value else []
        elif value:
            items = self._items if whole or len(value) <= ITEMS else self._first
            items.append(value)
            if isinstance(value, (dict, types.MappingProxyType)):
                items.append(value.values())

    def named(self, holder: Any, key: Any) -> None:
        """Watch what a dict has under a key, or what is in a cell."""
        self._named.append((holder, key))

    def begin(self) -> None:
        """Everything is as it will be compared with."""
        self._then = self._now()

    def same(self) -> bool:
        """Whether nothing is another object, has another length, or is elsewhere; False where that cannot be told."""
        if not self.able:
            return False
        (objects, values), (objects_then, values_then) = self._now(), self._then
        return values == values_then and len(objects) == len(objects_then) and all(map(is_, objects, objects_then))

    def _now(self) -> tuple[list[Any], list[Any]]:
        objects = [
            *chain.from_iterable(self._items),
            *chain.from_iterable(islice(items, ITEMS) for items in self._first),
            *map(type, self.objects),
            *map(vars, self.objects),
            *chain.from_iterable((f.__code__, f.__defaults__, f.__kwdefaults__) for f in self.functions),
            *(_found(*place) for place in self._named),
        ]
        values = [
            *map(len, self._sized),
            *((t.data_ptr(), t.stride()) for t in self.tensors),
            *(t.requires_grad for t in self.tensors),
            *(t._version for t in self.fixed),
            *map(contents, self.arrays),
        ]
        return objects, values


def _found(holder: Any, key: Any) -> Any:
    if isinstance(holder, types.CellType):
        try:
            return holder.cell_contents
        except ValueError:  # a variable that is not assigned yet
            return MISSING
    return holder.get(key, MISSING)
