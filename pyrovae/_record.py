"""A function of tensors as the graph of the operations that it ran, to be run again without its Python."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyro
import pyro.util
from torch import Tensor, fx
from torch.fx.graph import CodeGen
from torch.overrides import TorchFunctionMode

from pyrovae._recording import recording
from pyrovae._rng import preserved
from pyrovae._simplify import simplify

__all__ = ["NotRecordable", "record"]

OUTWARDS = (Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.data_ptr, Tensor.storage, Tensor.untyped_storage)


class NotRecordable(RuntimeError):
    """A function that cannot be run as a graph, and why."""


def record(function: Callable[..., Sequence[Tensor]], *arguments: Tensor) -> fx.GraphModule:
    """The graph of what a function did with these tensors, from tensors of the same shapes to a list of tensors.

    It is run once, handlers, distributions and autograd included; what it draws at random is drawn anew whenever the
    graph runs, in the same order, from the global generator. The random state is left as it was; tensors that the
    function writes to in place are written to.

    Raises
    ------
    NotRecordable
        If the function asks for the value of a tensor, draws with numpy or python, or does what has no graph.

    Examples
    --------
    >>> import torch
    >>> def slope(x):
    ...     return torch.autograd.grad((x**2 + torch.randn(3)).sum(), x)
    >>> graph = record(slope, torch.ones(3, requires_grad=True))
    >>> graph(torch.tensor([1.0, 2.0, 3.0]))
    [tensor([2., 4., 6.])]
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # slow to import

    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - a program of the user's may draw from it
    with preserved(), _without_values():
        try:
            graph = make_fx(lambda *given: list(function(*given)), _error_on_data_dependent_ops=True)(*arguments)
        except Exception as error:  # whatever it is, the function can still be run as it is
            raise NotRecordable(_reason(error)) from error
        drawn = random.getstate() != states[0] or not _equal(np.random.get_state(), states[1])  # noqa: NPY002
    if drawn:
        raise NotRecordable("it draws with numpy or python, whose numbers a recording would repeat")
    graph.graph.set_codegen(CodeGen())  # a list in, a list out
    return simplify(graph)


class _Values(TorchFunctionMode):
    """``x.item()`` as x itself: what Pyro's estimators add up beside the gradient. A branch on it still fails.

    So does what leaves torch, which nothing else would notice.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in OUTWARDS:
            raise RuntimeError(f"data-dependent: Tensor.{func.__name__}")
        return args[0].detach() if func is Tensor.item else func(*args, **(kwargs or {}))


@contextmanager
def _without_values() -> Iterator[None]:
    """A block in which Pyro does not look whether a number is finite; `fit` does."""
    never = mock.Mock(return_value=False)
    before = recording.set(True)
    with (
        _Values(),
        mock.patch.object(pyro.util, "torch_isnan", never),
        mock.patch.object(pyro.util, "torch_isinf", never),
    ):
        try:
            yield
        finally:
            recording.reset(before)


def _equal(ours: Any, theirs: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _reason(error: Exception) -> str:
    """What happened and where, for people: the last line that is neither torch's nor Pyro's.

    If that line is the call of the objective, it happened in Pyro's own code, whose file is named.
    """
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not any(part in Path(f.filename).parts for part in ("torch", "unittest", "contextlib.py"))
        and Path(f.filename).name not in ("_record.py", "contextlib.py")
    ]
    theirs = ["pyro" in Path(f.filename).parts for f in frames]
    last = max((i for i, pyros in enumerate(theirs) if not pyros), default=-1)
    where = ""
    if last >= 0:
        file = Path(frames[last].filename)
        where = f" at {file.name}, line {frames[last].lineno}: {frames[last].line}"
        if file.parts[-3:-1] == ("pyrovae", "svi") and len(frames) > last + 1:
            where = f" in Pyro's {Path(frames[last + 1].filename).name}"
    said = str(error).split("\n")[0]
    if "_local_scalar_dense" in said or "data-dependent" in said or "is_nonzero" in said:
        return f"it asks for the value of a tensor{where}"
    return f"{type(error).__name__}: {said[:160]}{where}"
