"""How a part, ours or the user's, is called: with a context and a mask only if it takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["Call", "takes"]


class Call:
    """A part and what it can be told.

    A part takes ``context`` if one of its parameters has that name or if it has one more required positional
    parameter than ``own``; it takes ``mask`` if a parameter has that name. A part of ours whose network decides
    says so itself in an attribute ``takes``, a set of these names. It needs the context unless its parameter of that
    name has a default.

    Parameters
    ----------
    part
        Any callable.
    own
        How many positional arguments it is always given: 0 for a prior, 1 for a likelihood, a guide or a network.

    Raises
    ------
    TypeError
        If it requires more arguments than it will be given.

    Examples
    --------
    >>> Call(lambda z, c: z + c, own=1)(1, context=2)
    3
    >>> Call(lambda z, scale=1.0: z * scale, own=1)(1, context=2)
    1.0
    """

    def __init__(self, part: Callable[..., Any], own: int) -> None:
        self.part = part
        self.takes = takes(part, own)
        named = _parameters(part).get("context")
        self._context_by_name = named is not None
        declared = isinstance(getattr(part, "takes", None), (set, frozenset))
        optional = named is not None and named.default is not named.empty and not declared
        self.needs_context = "context" in self.takes and not optional

    def __call__(self, *args: Any, context: Tensor | None = None, mask: Tensor | None = None) -> Any:
        keywords = {}
        if context is not None and "context" in self.takes:
            if self._context_by_name:
                keywords["context"] = context
            else:
                args = (*args, context)
        if mask is not None and "mask" in self.takes:
            keywords["mask"] = mask
        return self.part(*args, **keywords)


def takes(part: Callable[..., Any], own: int) -> frozenset[str]:
    """Which of ``context`` and ``mask`` a part can be told (see `Call`)."""
    declared = getattr(part, "takes", None)
    if isinstance(declared, (set, frozenset)):
        return frozenset(declared)
    parameters = _parameters(part)
    required = [
        p
        for p in parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.default is p.empty
        and p.name not in ("context", "mask")
    ]
    told = {name for name in ("context", "mask") if name in parameters}
    most = own if "context" in told else own + 1
    if len(required) > most:
        names = ", ".join(p.name for p in required)
        raise TypeError(
            f"{getattr(part, '__name__', type(part).__name__)} requires the arguments ({names}), and is given "
            f"{'one' if own else 'none'}, a context and a mask at most: give the others defaults, or bind them with "
            "functools.partial"
        )
    return frozenset(told | ({"context"} if len(required) > own else set()))


def _parameters(part: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    function = part.forward if isinstance(part, nn.Module) else part
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return {}
