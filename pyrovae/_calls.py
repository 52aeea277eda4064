"""How a part, ours or the user's, is called: what it is told beside its own argument, if it takes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["TOLD", "Call", "parameters", "takes"]

TOLD = ("context", "mask", "index", "joint", "guide")


class Call:
    """A part and what it can be told.

    A part takes what one of its parameters has the name of:

    - ``context``: the covariates (n, c); also one required positional parameter more than ``own``, of any name;
    - ``mask``: which cells of x are observed;
    - ``index``: which rows (n,) of the training data these are, while it trains;
    - ``joint``: the function z (…, n, *latent) → log p(x, z) (…, n) of these data;
    - ``guide``: the function x → q(z|x) of the program.

    A part of ours whose network decides says so itself in an attribute ``takes``, a set of these names. It needs the
    context unless its parameter of that name has a default.

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
        known = parameters(part)
        named = known.get("context")
        self._context_by_name = named is not None
        self.context_name = "context" if named is not None or "context" not in self.takes else [*known][own:][0]
        declared = isinstance(getattr(part, "takes", None), (set, frozenset))
        optional = named is not None and named.default is not named.empty and not declared
        self.needs_context = "context" in self.takes and not optional

    def __call__(self, *args: Any, **told: Any) -> Any:
        given = {name: value for name, value in told.items() if value is not None and name in self.takes}
        if "context" in given and not self._context_by_name:
            args = (*args, given.pop("context"))
        return self.part(*args, **given)


def takes(part: Callable[..., Any], own: int) -> frozenset[str]:
    """Which of `TOLD` a part can be told (see `Call`)."""
    declared = getattr(part, "takes", None)
    if isinstance(declared, (set, frozenset)):
        return frozenset(declared)
    known = parameters(part)
    required = [
        p
        for p in known.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty and p.name not in TOLD
    ]
    told = {name for name in TOLD if name in known}
    most = own if "context" in told else own + 1
    if len(required) > most:
        names = ", ".join(p.name for p in required)
        raise TypeError(
            f"{getattr(part, '__name__', type(part).__name__)} requires the arguments ({names}), and is given "
            f"{'one' if own else 'none'}, a context and a mask at most: give the others defaults, or bind them with "
            "functools.partial"
        )
    return frozenset(told | ({"context"} if len(required) > own else set()))


def parameters(part: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a callable by name; none where it does not tell."""
    function = part.forward if isinstance(part, nn.Module) else part
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return {}
