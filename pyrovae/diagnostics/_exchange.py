"""The exact test of exchangeable pairs: what a statistic is after a datum and its replicate changed places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

__all__ = ["exchange_test", "flip_tests"]

WORK = 5e9
"""Multiplications, beyond which fewer permutations are made."""
LEAST = 999
BLOCK = 2**22
"""Signs that are held at a time."""
ROUNDING = 1e-9


def flip_tests(
    differences: Sequence[np.ndarray], permutations: int, rng: np.random.Generator
) -> list[tuple[float, int]]:
    """The p-value of each array of differences t(x_i) − t(x̃_i), (n, column), and its worst column.

    Exchanging x_i and x̃_i turns the sign of row i. The statistic is the largest over columns of
    |Σ_i d_ij| / √Σ_i d_ij², so that the p-value is one of all columns together (the maximum of Westfall & Young 1993).
    """
    n = len(differences[0])
    scaled = [d / np.where((norm := np.sqrt((d**2).sum(0))) > 0, norm, 1) for d in differences]
    edges = np.cumsum([0] + [d.shape[1] for d in scaled])[:-1]
    joined = np.concatenate(scaled, 1)
    observed = np.abs(joined.sum(0))
    worst = [int(part.argmax()) for part in np.split(observed, edges[1:])]
    largest = np.maximum.reduceat(observed, edges)
    made = int(min(permutations, max(WORK / joined.size, LEAST)))
    as_large = np.zeros(len(scaled))
    for signs in _signs(made, n, rng):
        flipped = np.maximum.reduceat(np.abs(signs @ joined), edges, axis=1)
        as_large += (flipped >= largest * (1 - ROUNDING)).sum(0)
    return [((1 + float(count)) / (1 + made), column) for count, column in zip(as_large, worst, strict=True)]


def exchange_test(
    statistic: Callable[[np.ndarray], float],
    x: np.ndarray,
    replicate: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """The p-value of |T(x) − T(x̃)| for any T of a data set, and the root mean square of what exchanges make of it."""
    observed = statistic(x) - statistic(replicate)
    made = min(permutations, LEAST)
    values = []
    for signs in _signs(made, len(x), rng):
        for stays in signs.reshape(-1, len(x), *[1] * (x.ndim - 1)) > 0:
            values.append(statistic(np.where(stays, x, replicate)) - statistic(np.where(stays, replicate, x)))
    changed = np.abs(values)
    as_large = int((changed >= abs(observed) * (1 - ROUNDING)).sum())
    return (1 + as_large) / (1 + made), float(np.sqrt((changed**2).mean()))


def _signs(permutations: int, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    step = max(1, BLOCK // n)
    for start in range(0, permutations, step):
        yield 2.0 * rng.integers(0, 2, (min(step, permutations - start), n), dtype=np.int8) - 1
