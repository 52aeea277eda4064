"""Prior predictive check: whether new draws of x are distributed as the data."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._observed import feature_names, has_context, observed_name
from pyrovae.diagnostics._tree import NotAvailable, chosen, shared_sites, variable
from pyrovae.diagnostics._two_sample import two_sample

__all__ = ["prior_predictive_check"]


def prior_predictive_check(
    tree: xr.DataTree, *, var_name: str | None = None, most: int = 1000, permutations: int = 999, seed: int = 0
) -> xr.Dataset:
    """Whether new draws of x, given latents drawn from the prior, are distributed as the data: an energy test.

    Features are divided by their standard deviation in both samples together. Data with a context or missing cells are
    each compared with a draw that has the same context and lacks the same cells, as if they lacked them by chance.

    Parameters
    ----------
    tree
        Of held-out data. Reads ``prior_predictive``, of the chain that the fit chose, and ``observed_data``.
    var_name
        Which observed variable; the first by default.
    most
        At most so many data and draws are compared, taken by the seed.
    permutations, seed
        Of the test.

    Returns
    -------
    xarray.Dataset
        ``energy`` = 2 E|x − x̃| − E|x − x′| − E|x̃ − x̃′|, unbiased; ``effect``, its share of 2 E|x − x̃|, in [0, 1] and
        not growing with the number of data; ``p_value``; by ``feature``, ``shift`` = (mean x̃ − mean x)/sd x and
        ``ratio`` = sd x̃/sd x, NaN of a feature that does not vary in the data.

    Raises
    ------
    NotAvailable
        If a group is missing, a draw or datum is infinite, or data share latents, of which each draw of x has its own;
        of some of a tree's data, where they have a context.
    ValueError
        If there is no such variable.

    References
    ----------
    Székely & Rizzo 2013, "Energy statistics: a class of statistics based on distances", sections 4 and 8.
    """
    if shared := shared_sites(tree):
        raise NotAvailable(
            f"the data share {', '.join(map(repr, shared))}, of which each draw of x has a value of its own: such "
            "draws are not distributed as the data"
        )
    most, permutations = at_least("most", most, 2), at_least("permutations", permutations, 99)
    name = observed_name(tree, "observed_data", var_name)
    data = variable(tree, "observed_data", name).transpose("obs_id", ...)
    new = variable(tree, "prior_predictive", name)
    new = new.isel(chain=chosen(tree, new)).transpose("draw", ...)
    if min(data.sizes["obs_id"], new.sizes["draw"]) < 2:
        raise NotAvailable("two samples need at least two data and two draws of prior_predictive")
    rng = np.random.default_rng(derive(seed, Stream.PERMUTATION, 1))
    gone = data.isnull().any() if data.dtype.kind == "f" else False
    paired = has_context(tree, data.sizes["obs_id"]) or bool(gone)
    rows, draws = _take(data.sizes["obs_id"], new.sizes["draw"], most, paired, rng)
    x, y = (v[some].values.reshape(len(some), -1).astype(float) for v, some in ((data, rows), (new, draws)))
    if bad := int((~np.isfinite(y)).sum()):
        raise NotAvailable(f"{bad} of {y.size} values in prior_predictive/{name} are infinite or NaN")
    if bad := int(np.isinf(x).sum()):
        raise NotAvailable(f"{bad} of {x.size} values in observed_data/{name} are infinite")
    if gone:
        y[np.isnan(x)] = np.nan
    shift, ratio = _by_feature(x, y)
    found = two_sample(*_standardised(x, y), "energy", permutations, rng, paired=paired)
    names = feature_names(data)
    return xr.Dataset(
        {
            "energy": found.statistic,
            "effect": found.effect,
            "p_value": found.p_value,
            "shift": ("feature", shift),
            "ratio": ("feature", ratio),
        },
        coords={"feature": names},
        attrs={"data": len(x), "draws": len(y), "paired": int(paired)},
    )


def _take(n: int, drawn: int, most: int, paired: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which data and which draws; draw d has the context of datum d mod n."""
    if paired:
        n = drawn = min(n, drawn)
    rows, draws = (np.sort(rng.choice(size, min(size, most), replace=False)) for size in (n, drawn))
    return rows, rows if paired else draws


def _standardised(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In pooled standard deviations from the pooled mean, which stands in missing cells."""
    both = np.ma.masked_invalid(np.concatenate([x, y]))
    centre, spread = both.mean(0).filled(0.0), both.std(0).filled(0.0)
    spread[spread == 0] = 1.0
    a, b = (np.nan_to_num((v - centre) / spread) for v in (x, y))
    return a, b


def _by_feature(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    own, new = np.ma.masked_invalid(x), np.ma.masked_invalid(y)
    spread = np.ma.masked_equal(own.std(0), 0)
    return ((new.mean(0) - own.mean(0)) / spread).filled(np.nan), (new.std(0) / spread).filled(np.nan)
