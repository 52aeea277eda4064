"""Memory that could not be had: how it is told, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["is_out_of_memory", "memory_told"]

SAID = ("can't allocate memory", "not enough memory")  # by torch, of a processor's


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, on any device, or Python had not the memory that was asked for.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("the sizes differ"))
    (True, False)
    """
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        return any(words in str(error) for words in SAID)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError))


@contextmanager
def memory_told(what: str, mend: str) -> Iterator[None]:
    """A block that, if it fails for lack of memory, says what needed it and what would need less.

    Raises
    ------
    torch.OutOfMemoryError, MemoryError, RuntimeError
        As the error that it is told of.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        kinds = (torch.OutOfMemoryError, MemoryError, RuntimeError)
        kind = next(kind for kind in kinds if isinstance(error, kind))
        said = next(iter(str(error).splitlines()), "")[:160]
        raise kind(f"{what} needs more memory than there is: {mend}" + (f" ({said})" if said else "")) from error
