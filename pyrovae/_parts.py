"""What a part returns, and the errors where it is not the distribution that was expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch

__all__ = ["call_part", "expect_shapes", "refuse_uncallable", "shape_message"]


def refuse_uncallable(name: str, part: Any) -> None:
    """A Pyro distribution can be called (it draws), and so can a class: neither is a part."""
    mend = ""
    if isinstance(part, torch.distributions.Distribution):
        came = f"the distribution {type(part).__name__}"
        mend = f"; write {name}={'lambda: …' if name == 'prior' else 'a function that makes it'}"
    elif isinstance(part, type):
        came = f"the class {part.__name__}"
        mend = f"; write {name}={part.__name__}(…), or a function that returns a distribution"
    elif callable(part):
        return
    else:
        came = type(part).__name__
    raise TypeError(f"VAE: expected {name} to be callable and return a distribution, got {came}{mend}")


def call_part(name: str, call: Callable[..., Any], what: str, *args: Any, **keywords: Any) -> dist.TorchDistribution:
    """What a part returns, or a `ValueError` that names the part if it raises or returns no Pyro distribution."""
    try:
        fn = call(*args, **keywords)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
        given = f", given {what} of shape {tuple(args[0].shape)}," if args else ""
        mend = (
            ". All parts must compute in one type: program.double() or program.float(), and dtype= where a function "
            "makes tensors"
            if "dtype" in str(error)
            else ""
        )
        raise ValueError(f"the {name}{given} raised {type(error).__name__}: {error}{mend}") from error
    if not isinstance(fn, dist.torch_distribution.TorchDistributionMixin):
        hint = (
            f": use pyro.distributions.{type(fn).__name__}"
            if isinstance(fn, torch.distributions.Distribution)
            else ": return a distribution of pyro.distributions"
        )
        raise ValueError(
            f"the {name} returned {type(fn).__module__}.{type(fn).__name__}, expected a Pyro distribution{hint}"
        )
    return fn


def expect_shapes(
    name: str, fn: dist.TorchDistribution, batch: tuple[int, ...], event: tuple[int, ...] | None, why: str
) -> None:
    """Raise `ValueError` unless the distribution has these shapes; ``why`` says where the event shape comes from."""
    if tuple(fn.batch_shape) != batch or (event is not None and tuple(fn.event_shape) != event):
        raise ValueError(shape_message(name, fn, str(batch), f"{event} ({why})" if event is not None else None))


def shape_message(name: str, fn: dist.TorchDistribution, batch: str, event: str | None) -> str:
    """What came, what was expected, and how to mend it."""
    surplus = len(fn.batch_shape) - (0 if name == "prior" else 1)
    if surplus > 0:
        last = "dimension is" if surplus == 1 else f"{surplus} dimensions are"
        mend = f"add .to_event({surplus}) so that the last {last} one event"
    elif surplus < 0:
        mend = "its first dimension must count the data: lower the k of .to_event(k), or add .expand([x.shape[0]])"
    else:
        mend = "change the sizes of the networks so that they agree"
    return (
        f"the {name} returned batch shape {tuple(fn.batch_shape)} and event shape {tuple(fn.event_shape)}, expected "
        f"batch shape {batch}" + (f" and event shape {event}" if event else "") + f"; {mend}"
    )
