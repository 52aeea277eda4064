"""What a datum and its replicate are compared by: averages over the data of functions of x and z."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from pyrovae.diagnostics._observed import feature_names
from pyrovae.diagnostics._pairs import Pairs
from pyrovae.diagnostics._statistics import FEW, Statistic, statistics
from pyrovae.diagnostics._tree import variable

__all__ = ["Discrepancy", "discrepancies"]

LOWEST = 0.05
"""The share of the pooled log likelihoods that is their tail."""
DIRECTIONS = 5
UNITS = 100
"""Random features of the latents, at most, that the decoder is approximated by."""
RIDGE = 1e-5
POWER_STEPS = 6

Values = tuple[np.ndarray, np.ndarray]


class Discrepancy(NamedTuple):
    """T(x, z) = Σ_i t(x_i, z_i)/n, for one t or several, of which the worst counts.

    ``values(r)`` are t(x_i, z_i^r) and t(x̃_i^r, z_i^r), each (n, column), 0 in both where x is missing. What they
    depend on besides is symmetric in the datum and the replicate of set 0. ``show`` puts T in the reader's units.
    """

    name: str
    columns: list[str]
    values: Callable[[int], Values]
    show: Callable[[float], float] = float


def discrepancies(tree: xr.DataTree, pairs: Pairs, rng: np.random.Generator) -> list[Discrepancy]:
    """Those that every program has, and of a program that sums nothing out those of log p(x|z)."""
    found = _of_log_lik(pairs)
    some = statistics(tree, var_name=pairs.name)
    for statistic in some:
        found += _of_statistic(statistic, pairs)
    names = feature_names(variable(tree, "observed_data", pairs.name))
    if len(names) > FEW:
        found.append(_means(pairs, names))
    return found + _of_residuals(pairs, names, rng)


def _root(value: float) -> float:
    return float(np.sqrt(max(value, 0.0)))


def _one(name: str, values: Callable[[int], Values], show: Callable[[float], float] = float) -> Discrepancy:
    def columns(r: int) -> Values:
        own, made = values(r)
        return own[:, None], made[:, None]

    return Discrepancy(name, [""], columns, show)


def _squared(values: Callable[[int], Values], centre: float) -> Callable[[int], Values]:
    def squares(r: int) -> Values:
        own, made = values(r)
        return (own - centre) ** 2, (made - centre) ** 2

    return squares


def _of_log_lik(pairs: Pairs) -> list[Discrepancy]:
    if pairs.log_lik is None or pairs.made_log_lik is None:
        return []
    own, made = pairs.log_lik, pairs.made_log_lik
    first = np.concatenate([pairs.take(own, 0), pairs.take(made, 0)])
    finite = first[np.isfinite(first)]
    low, high = (float(finite.min()) - 1, float(finite.max()) + 1) if len(finite) else (-1.0, 1.0)

    def pair(r: int) -> Values:
        both = (pairs.take(own, r), pairs.take(made, r))
        a, b = (np.nan_to_num(v, nan=low, neginf=low, posinf=high) for v in both)
        return a, b

    def tail(r: int) -> Values:
        a, b = pair(r)
        return np.minimum(a - limit, 0), np.minimum(b - limit, 0)

    def upper(r: int) -> Values:
        a, b = pair(r)
        return (a > middle).astype(float), (b > middle).astype(float)

    first = np.concatenate(pair(0))
    middle, limit = float(np.median(first)), float(np.quantile(first, LOWEST))
    return [
        _one("log p(x|z), mean", pair),
        _one("log p(x|z), spread", _squared(pair, float(first.mean())), _root),
        _one("log p(x|z), upper half", upper),  # counted, not weighed: flips of a few far outliers say nothing
        _one(f"log p(x|z), lowest {100 * LOWEST:.0f} %", tail),
    ]


def _of_statistic(statistic: Statistic, pairs: Pairs) -> list[Discrepancy]:
    rows, n = statistic.rows, len(pairs.x)

    def pair(r: int) -> Values:
        return statistic.observed, statistic.predicted[pairs.pick[r, rows], np.arange(len(rows))]

    def placed(values: Callable[[int], Values]) -> Callable[[int], Values]:
        def wide(r: int) -> Values:
            out = np.zeros((2, n))
            out[:, rows] = values(r)
            return out[0], out[1]

        return wide

    centre = float(np.concatenate(pair(0)).mean())
    return [
        _one(f"{statistic.name}, average", placed(pair), lambda value: value * n / len(rows)),
        _one(f"{statistic.name}, spread", placed(_squared(pair, centre)), lambda value: _root(value * n / len(rows))),
    ]


def _flat(pairs: Pairs, r: int) -> Values:
    n = len(pairs.x)
    return pairs.x.reshape(n, -1).astype(float), pairs.replicate(r).reshape(n, -1).astype(float)


def _means(pairs: Pairs, names: list[str]) -> Discrepancy:
    def values(r: int) -> Values:
        x, made = _flat(pairs, r)
        return np.nan_to_num(x), np.nan_to_num(made)

    return Discrepancy("means of features", names, values)


def _of_residuals(pairs: Pairs, names: list[str], rng: np.random.Generator) -> list[Discrepancy]:
    """Variances of the residuals of x about what z says of it, by feature and along the directions where they differ.

    What z says is a regression of the data and the replicates of set 0 together on functions of z.
    """
    x, made = _flat(pairs, 0)
    there = np.isfinite(x)
    count = np.maximum(there.sum(0), 1)
    centre = (np.where(there, x, 0).sum(0) + np.where(there, made, 0).sum(0)) / (2 * count)
    basis = _basis(pairs, rng)
    features = basis(0)
    gram = 2 * features.T @ features + RIDGE * 2 * len(x) * np.eye(features.shape[1])
    target = np.where(there, x - centre, 0) + np.where(there, made - centre, 0)
    slope = np.linalg.solve(gram, features.T @ target)
    scale = np.sqrt((np.where(there, x - made, 0) ** 2).mean(0) / 2)
    scale[scale == 0] = 1.0

    def residuals(r: int) -> Values:
        own, replicate = _flat(pairs, r)
        said = centre + basis(r) @ slope
        return np.where(there, (own - said) / scale, 0), np.where(there, (replicate - said) / scale, 0)

    def squares(r: int) -> Values:
        own, replicate = residuals(r)
        return own**2, replicate**2

    found = [Discrepancy("noise of features", names, squares, _root)]
    if x.shape[1] > 1:
        first = residuals(0)
        axes = _directions(first[0] - first[1], min(DIRECTIONS, x.shape[1]), rng)

        def along(r: int) -> Values:
            own, replicate = residuals(r)
            return (own @ axes) ** 2, (replicate @ axes) ** 2

        found.append(Discrepancy("noise along directions", [str(k) for k in range(axes.shape[1])], along, _root))
    return found


def _basis(pairs: Pairs, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """Functions of z (n, function): the latents themselves, and smooth ones with random weights."""
    n, dims = pairs.latents.shape[1:]
    if not 0 < dims < n:
        return lambda r: np.zeros((n, 1))
    first = pairs.take(pairs.latents, 0)
    centre, spread = first.mean(0), first.std(0)
    spread[spread == 0] = 1.0
    units = min(UNITS, n // 5)
    weights, bias = rng.normal(size=(dims, units)) / np.sqrt(dims), rng.normal(size=units)

    def functions(r: int) -> np.ndarray:
        z = np.clip((pairs.take(pairs.latents, r) - centre) / spread, -5, 5)
        return np.concatenate([z, np.tanh(1.5 * z @ weights + bias)], 1)

    return functions


def _directions(differences: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """The leading principal directions (cell, number) of x − x̃, which no exchange of the two changes."""
    out = rng.normal(size=(differences.shape[1], number + 5))[:, : differences.shape[1]]
    for _ in range(POWER_STEPS):
        out = np.linalg.qr(differences.T @ (differences @ out))[0]
    _, _, turn = np.linalg.svd(differences @ out, full_matrices=False)
    axes: np.ndarray = out @ turn.T[:, :number]
    return axes
