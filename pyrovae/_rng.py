"""Random streams: one seed gives every stream that a run needs, and the caller's state is handed back untouched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro.util
import torch

__all__ = ["derive", "preserved", "seed_all", "seeded"]


def derive(seed: int, *stream: int) -> int:
    """A 63-bit seed for a stream, independent of the seeds of all other streams.

    Examples
    --------
    >>> derive(0, 1) == derive(0, 1), derive(0, 1) == derive(0, 2)
    (True, False)
    """
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed: expected a whole number of at least 0, got {seed!r}")
    words = np.random.SeedSequence([int(seed), *stream]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def seed_all(seed: int) -> None:
    """Seed torch (all devices), numpy's and python's global generators: programs of users may draw from each."""
    torch.manual_seed(seed)
    import random

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - it is the global generator that users' programs draw from


@contextmanager
def preserved() -> Iterator[None]:
    """Hand the global random state back as it was, whatever the block draws."""
    state: dict[str, Any] = pyro.util.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        pyro.util.set_rng_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def seeded(seed: int, *stream: int) -> Iterator[None]:
    """A block whose draws depend on ``seed`` and ``stream`` alone and leave no trace outside."""
    with preserved():
        seed_all(derive(seed, *stream))
        yield
