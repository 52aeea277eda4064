"""Random streams: one seed gives every stream that a run needs, and the caller's state is handed back untouched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import pyro.util
import torch

from pyrovae._numbers import at_least

__all__ = ["Stream", "derive", "preserved", "seed_all", "seeded"]


class Stream(IntEnum):
    """What a stream of random numbers is for: the first word of its key."""

    CHECK = 1
    INITIAL = 2
    EPOCH = 3
    VALIDATION = 4
    DATA = 5
    POSTERIOR = 6
    PRIOR = 7
    RECONSTRUCTION = 8
    CODES = 9
    ADAPT = 10
    IMPUTATION = 11
    NUTS = 12
    ANNEALING = 13
    REFINEMENT = 14
    CALIBRATION = 15
    PERMUTATION = 16
    RESAMPLING = 17
    IMPORTANCE = 18


def derive(seed: int, stream: Stream, *key: int) -> int:
    """A 63-bit seed for one stream and key, independent of the seeds of all others.

    Examples
    --------
    >>> derive(0, Stream.EPOCH, 1) == derive(0, Stream.EPOCH, 1), derive(0, Stream.EPOCH) == derive(0, Stream.EPOCH, 0)
    (True, False)
    """
    seed = at_least("seed", seed, 0)
    # the length comes first: numpy fills entropy up with zeros, so that [1] and [1, 0] would be the same
    words = np.random.SeedSequence([1 + len(key), stream, *key, seed]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def seed_all(seed: int) -> None:
    """Seed torch (all devices), numpy's and python's global generators: programs of users may draw from each."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # the same, without a stack trace for each kind of device that is not here
        torch.default_generator.manual_seed(seed)
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
def seeded(seed: int, stream: Stream, *key: int) -> Iterator[None]:
    """A block whose draws depend on these numbers alone and leave no trace outside."""
    with preserved():
        seed_all(derive(seed, stream, *key))
        yield
