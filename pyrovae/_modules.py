"""The modules that a callable uses, wherever it keeps them."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

__all__ = ["modules_of"]


def modules_of(function: Any, depth: int = 3) -> Iterator[tuple[str, nn.Module]]:
    """Modules that a callable is, belongs to, or refers to by name, with that name."""
    if isinstance(function, nn.Module):
        yield "", function
    elif isinstance(function, types.MethodType):
        if isinstance(function.__self__, nn.Module):
            yield "", function.__self__
        else:
            held = getattr(function.__self__, "__dict__", {})
            yield from ((name, value) for name, value in held.items() if isinstance(value, nn.Module))
            yield from modules_of(function.__func__, depth)
    elif isinstance(function, functools.partial):
        yield from modules_of(function.func, depth)
        for index, value in enumerate((*function.args, *function.keywords.values())):
            if isinstance(value, nn.Module):
                yield f"argument_{index}", value
    elif isinstance(function, types.FunctionType):
        for name, value in _references(function):
            if isinstance(value, nn.Module):
                yield name, value
            elif isinstance(value, (dict, list, tuple)):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                yield from ((f"{name}_{key}", item) for key, item in items if isinstance(item, nn.Module))
            elif depth and isinstance(value, types.FunctionType) and value.__module__ == function.__module__:
                yield from modules_of(value, depth - 1)
    elif not isinstance(function, type) and callable(function):
        yield from ((n, value) for n, value in vars(function).items() if isinstance(value, nn.Module))


def _references(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name in _globals(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a variable that is not assigned yet
            continue


@functools.lru_cache(maxsize=1024)
def _globals(code: types.CodeType) -> list[str]:
    """The global names that code reads, and the code in it."""
    names: set[str] = set()
    codes = [code]
    while codes:
        code = codes.pop()
        names |= {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return sorted(names)
