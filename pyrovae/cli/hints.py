"""Settings against the annotations of a model file: whole numbers, numbers, texts, truth values, tuples of them."""

from __future__ import annotations

import numbers
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["misfit"]

PLAIN = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", types.NoneType: "None"}


def misfit(function: Callable[..., Any], name: str, value: Any) -> str | None:
    """What a parameter expected, in words, if a value is surely not that; None where it may be.

    >>> def build(data, *, hidden: tuple[int, ...] = (128, 128), beta: float | None = None): ...
    >>> misfit(build, "hidden", 64)
    'a tuple such as (64, 64)'
    >>> misfit(build, "hidden", [64, 64]), misfit(build, "beta", 4)
    (None, None)
    """
    try:
        hint = typing.get_type_hints(function).get(name, Any)
    except Exception:  # of the user's: an annotation that cannot be evaluated
        return None
    return None if _fits(hint, value) else _words(hint)


def _fits(hint: Any, value: Any) -> bool:
    parts, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(part, value) for part in parts)
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        if len(parts) == 2 and parts[1] is ...:
            return all(_fits(parts[0], v) for v in value)
        return len(value) == len(parts) and all(_fits(p, v) for p, v in zip(parts, value, strict=True))
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    return hint not in PLAIN or isinstance(value, hint)


def _words(hint: Any) -> str:
    parts, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is tuple:
        size = 2 if parts[-1] is ... else len(parts)
        example = "64" if parts[0] is int else "0.5"
        return f"a tuple such as ({', '.join([example] * size)})"
    return PLAIN.get(hint, str(hint))
