"""What containers, arrays and generators hold: noted, taken and put back."""

from __future__ import annotations

import random
import types
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["GENERATORS", "PLAIN", "Some", "contents", "fill", "put_into", "taken"]

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, np.generic)
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)


class Some(dict[Any, Any]):
    """Some of the items of a dict."""


def contents(value: Any) -> Any:
    """What is in an array, a set or a generator, to be compared.

    Examples
    --------
    >>> import numpy as np
    >>> contents(np.arange(3)) == contents(np.arange(3)), contents({1, 2}) == contents({1, 3})
    (True, False)
    """
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, set):
        return frozenset(value)
    kept = taken(value)
    return str(kept.tolist() if isinstance(kept, Tensor) else kept)


def taken(value: Any) -> Any:
    """A copy of the state of a generator, or of an array."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    return value.getstate() if isinstance(value, random.Random) else value.get_state()


def put_into(value: Any, kept: Any) -> None:
    """Put back what was `taken`."""
    if isinstance(value, np.ndarray):
        if value.flags.writeable and value.shape == kept.shape:
            np.copyto(value, kept)
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = kept
    elif isinstance(value, random.Random):
        value.setstate(kept)
    else:
        value.set_state(kept)


def fill(holder: Any, kept: Any) -> None:
    """Put back what a container held, and touch none that holds it."""
    if isinstance(holder, types.CellType):
        holder.cell_contents = kept
    elif isinstance(holder, type):
        for name, value in kept.items():
            if vars(holder).get(name) is not value:
                setattr(holder, name, value)
    elif isinstance(holder, dict):
        for key in [] if isinstance(kept, Some) else [k for k in holder if k not in kept]:
            del holder[key]
        for key, value in kept.items():
            if key not in holder or holder[key] is not value:
                holder[key] = value
    elif isinstance(holder, set):
        holder ^= holder ^ kept
    elif len(holder) != len(kept) or any(a is not b for a, b in zip(holder, kept, strict=True)):
        holder.clear()
        holder.extend(kept)
