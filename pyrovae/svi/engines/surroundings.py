"""What a program and its objective refer to: the Python and the tensors that a recording takes as given."""

from __future__ import annotations

import functools
import operator
import sys
import types
from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from pyrovae._modules import _globals
from pyrovae.svi.engines.contents import GENERATORS, PLAIN, Some, contents, fill, put_into, taken
from pyrovae.svi.engines.watch import ITEMS, Watch
from pyrovae.svi.loss import Loss

__all__ = ["Surroundings"]

LIBRARIES = {*sys.stdlib_module_names, "matplotlib", "numpy", "pandas", "pyro", "pyrovae", "torch", "xarray", "zuko"}
OPEN = ("argparse", "collections", "types", "pyro.distributions", "pyro.infer", "torch.distributions")
OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket, operator.itemgetter, operator.attrgetter)
FIXED = (types.BuiltinFunctionType, types.MethodDescriptorType, np.ufunc, *OPERATORS)
VALUES = (slice, range, frozenset)
PARTS = {"_parameters", "_buffers", "_modules"}
DEPTH, COPIED = 5, 100_000  # of containers in each other; cells of a tensor


class Surroundings:
    """What is there now, a few levels deep, to be compared with what is there later, and to be put back.

    That is: modules and their attributes, the functions and classes of the user's, what these name, and lists, dicts
    and plain objects. ``places`` are where parameters and buffers are held, as (holder, key, tensor); of them it is
    noted which they are, and not what is in them. ``iterators`` are what no copy can be made of.
    """

    def __init__(self, loss: Loss) -> None:
        self.modules: list[nn.Module] = []
        self.iterators: list[str] = []
        self.state: list[Any] = []  # names and what they are now
        self.places: list[tuple[Any, Any, Tensor]] = []
        self._others: list[tuple[str, Any, Any, Tensor]] = []
        self._holders: list[tuple[Any, Any]] = []  # containers and what is in them
        self._copies: list[tuple[Any, Any, Any]] = []  # tensors, arrays and generators, what is in them, and a version
        self._met: dict[int, int] = {}  # by number, and which it was of those met
        self._alive: list[Any] = []  # as long as they are, no other has their number
        self._watch = Watch()
        self._visit("", None, None, loss.program, 0)
        self._visit("", None, None, loss.elbo, 0)
        self._params = pyro.get_param_store()._params
        self._watch.container(self._params, whole=True)
        self.places += [(self._params, name, value) for name, value in self._params.items()]
        own = {id(value) for *_, value in self.places}
        self._watch.tensors += [t for *_, t in self.places] + [t for *_, t in self._others]
        for _, key, value in self.places:
            self.state.append((str(key), id(value), value.requires_grad, value.data_ptr(), value.stride()))
        for name, holder, key, value in self._others:
            self.state.append((name, id(value), value.requires_grad, value.data_ptr()))
            if id(value) in own:
                self.places.append((holder, key, value))
            elif id(value) not in self._met:
                self._meet(value)
                self._watch.fixed.append(value)
                self.state.append((name, value._version))
                if value.numel() <= COPIED:
                    self._copies.append((value, value.detach().clone(), value._version))
        self._watch.begin()

    def stands(self) -> bool:
        """Whether nothing is another object than it was, so that `Surroundings` would find the same again."""
        return pyro.get_param_store()._params is self._params and self._watch.same()

    def changed(self, before: Surroundings | None) -> str | None:
        """The first of what is no longer the same, in words; None if nothing."""
        old = [] if before is None else before.state
        if old == self.state:
            return None
        names = (now[0] for then, now in zip(old, self.state, strict=False) if then != now)
        name = next(names, "")
        return name if isinstance(name, str) and name else "what it is made of or trains"

    def restore(self) -> None:
        """Put everything back but the values of parameters and buffers."""
        for holder, kept in self._holders:
            fill(holder, kept)
        for value, kept, version in self._copies:
            if not isinstance(value, Tensor):
                put_into(value, kept)
            elif value._version != version:
                with torch.no_grad():
                    value.copy_(kept)

    def _visit(self, name: str, holder: Any, key: Any, value: Any, depth: int) -> None:
        if isinstance(value, PLAIN):
            self.state.append((name, type(value), repr(value) if value != value else value))
        elif isinstance(value, Tensor):
            self._others.append((name, holder, key, value))
        elif id(value) in self._met:
            self.state.append((name, self._met[id(value)]))
        else:
            self._meet(value)
            if isinstance(value, nn.Module):
                self._module(value)
            elif depth < DEPTH:
                self._rest(name, value, depth)

    def _meet(self, value: Any) -> None:
        self._met[id(value)] = len(self._met)
        self._alive.append(value)

    def _module(self, module: nn.Module) -> None:
        inside = vars(module)
        self.modules.append(module)
        self.state.append(("", id(module)))
        self._watch.objects.append(module)
        for part in (inside, module._parameters, module._buffers, module._modules):
            self._watch.container(part, whole=True)
        for part in (module._parameters, module._buffers):
            self.places += [(part, name, value) for name, value in part.items() if value is not None]
        self._holders.append((inside, dict(inside)))
        for name, value in list(inside.items()):
            kind = type(value)
            if kind is bool or kind is int or kind is float or kind is str:
                self.state.append((name, kind, value))  # most are
            elif kind in (dict, OrderedDict) and not value:
                self._watch.container(value)
            elif name not in PARTS:
                self._visit(name, inside, name, value, 1)
        for name, child in module._modules.items():
            self._visit(name, None, None, child, 0)
        self._class(type(module), 0)

    def _class(self, kind: type, depth: int) -> None:
        """What the user wrote in a class, and in those that it extends."""
        for own in _users_classes(kind):
            if id(own) not in self._met:
                self._meet(own)
                self._watch.container(vars(own), whole=True)
                inside = {k: v for k, v in vars(own).items() if not k.startswith("__") or callable(v)}
                self._holders.append((own, {k: v for k, v in inside.items() if isinstance(v, PLAIN)}))
                for name, value in inside.items():
                    function = getattr(value, "fget", getattr(value, "__func__", value))
                    self._visit(name, None, None, function, depth + 1)

    def _rest(self, name: str, value: Any, depth: int) -> None:
        if isinstance(value, types.FunctionType):
            self._watch.functions.append(value)
            self.state.append((name, id(value.__code__)))
            self._alive.append(value.__code__)
            if not _is_library(value.__module__):
                self._function(value, depth)
        elif isinstance(value, types.MethodType):
            self._visit(name, None, None, value.__self__, depth)
            self._visit(name, None, None, value.__func__, depth)
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self._visit(name, None, None, part, depth)
        elif isinstance(value, dict):
            self._dict(name, value, depth)
        elif isinstance(value, (list, tuple, deque)):
            self._sequence(name, value, depth)
        elif isinstance(value, set):
            self._watch.container(value)
            self.state.append((name, contents(value)))
            self._holders.append((value, set(value)))
        elif isinstance(value, (np.ndarray, *GENERATORS)):
            if isinstance(value, np.ndarray) and (value.size > COPIED or value.dtype == object):
                self.state.append((name, id(value)))
            else:
                self._watch.arrays.append(value)
                self.state.append((name, id(value), contents(value)))
                self._copies.append((value, taken(value), None))
        elif isinstance(value, type):
            self.state.append((name, id(value)))
            self._class(value, depth)
        elif isinstance(value, FIXED):
            self.state.append((name, id(value)))
        elif isinstance(value, VALUES):
            self.state.append((name, value))
        elif hasattr(value, "__next__"):
            self.iterators.append(name)
        elif hasattr(value, "__dict__") and (not _is_library(type(value).__module__) or _is_open(type(value))):
            self.state.append((name, type(value)))
            self._watch.objects.append(value)
            self._dict(name, vars(value), depth)
            self._slots(name, value, depth)
            self._class(type(value), depth)
        elif not _is_library(type(value).__module__):
            self.state.append((name, type(value)))
            self._slots(name, value, depth)
            self._class(type(value), depth)

    def _slots(self, name: str, value: Any, depth: int) -> None:
        """Attributes that are in no dict, which have to be read to be compared."""
        kind: type = type(value)
        for own in _users_classes(kind):
            slots = vars(own).get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else tuple(slots):
                if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                    self._watch.able = False
                    self._visit(f"{name}.{slot}", None, None, getattr(value, slot), depth + 1)

    def _dict(self, name: str, inside: dict[Any, Any], depth: int) -> None:
        self._watch.container(inside)
        if len(inside) <= ITEMS:
            self._holders.append((inside, dict(inside)))
        self.state.append((name, len(inside)))
        for key, value in list(inside.items())[:ITEMS]:
            self._visit(f"{name}[{key!r}]", inside, key, value, depth + 1)

    def _sequence(self, name: str, value: Any, depth: int) -> None:
        self.state.append((name, len(value)))
        holder = value if isinstance(value, list) and len(value) <= ITEMS else None
        if not isinstance(value, tuple):
            self._watch.container(value)
            if len(value) <= ITEMS:
                self._holders.append((value, list(value)))
        for key in range(min(len(value), ITEMS)):
            self._visit(f"{name}[{key}]", holder, key, value[key], depth + 1)

    def _function(self, function: types.FunctionType, depth: int) -> None:
        known = function.__globals__
        self._watch.container(vars(function))
        for name in _globals(function.__code__):
            self._watch.named(known, name)
            value = known.get(name)
            if isinstance(value, types.ModuleType):
                if not _is_library(value.__name__):  # a file of constants: those that the function names
                    for inner in _attributes(function.__code__):
                        self._watch.named(vars(value), inner)
                        if inner in vars(value):
                            self._named(inner, vars(value), inner, vars(value)[inner], depth)
            elif name in known:
                self._named(name, known, name, value, depth)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._watch.named(cell, None)
            try:
                self._named(name, cell, None, cell.cell_contents, depth)
            except ValueError:  # a variable that is not assigned yet
                continue
        for more in (function.__defaults__, function.__kwdefaults__, vars(function)):
            if more:
                self._visit(function.__name__, None, None, more, depth)

    def _named(self, name: str, holder: Any, key: Any, value: Any, depth: int) -> None:
        if isinstance(value, (*PLAIN, Tensor)):
            self._holders.append((holder, value if key is None else Some({key: value})))
        self._visit(name, holder, key, value, depth + 1)


def _is_library(name: str | None) -> bool:
    return (name or "").partition(".")[0] in LIBRARIES


@functools.lru_cache(maxsize=1024)
def _users_classes(kind: type) -> tuple[type, ...]:
    return tuple(own for own in kind.__mro__ if not _is_library(own.__module__))


def _is_open(kind: type) -> bool:
    """Whether all that such an object does is in what it was given."""
    return kind.__module__.startswith(OPEN)


@functools.lru_cache(maxsize=1024)
def _attributes(code: types.CodeType) -> frozenset[str]:
    """The names that code reads, and the code in it."""
    inner = [_attributes(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return frozenset(code.co_names).union(*inner)
