"""Statistics of each datum, observed and predicted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from pyrovae.diagnostics._observed import event_dims, feature_names, observed_name
from pyrovae.diagnostics._tree import chosen, variable

__all__ = ["FEW", "Statistic", "statistics"]

FEW = 4
"""Features up to which each is looked at by itself."""


class Statistic(NamedTuple):
    """A statistic of each datum: ``observed`` (datum), ``predicted`` (draw, datum), and what its axis is called.

    ``rows`` are the positions in the tree of the data that have it: those that are not missing.
    """

    name: str
    axis: str
    observed: np.ndarray
    predicted: np.ndarray
    rows: np.ndarray = np.empty(0, int)


def statistics(tree: xr.DataTree, *, var_name: str | None = None) -> list[Statistic]:
    """What `plot_ppc` and `predictive_check` compare; missing values are left out of both sides.

    Raises
    ------
    ValueError
        If a group is missing, or no value is observed.
    """
    name = observed_name(tree, "observed_data", var_name)
    x = variable(tree, "observed_data", name).transpose("obs_id", ...)
    rep = variable(tree, "posterior_predictive", name)
    rep = rep.isel(chain=chosen(tree, rep)).transpose("draw", "obs_id", ...)
    names, dims = feature_names(x), event_dims(x)
    seen: Any = x.values.reshape(x.sizes["obs_id"], -1).astype(float)
    made: Any = rep.values.reshape(rep.sizes["draw"], x.sizes["obs_id"], -1)
    there = np.isfinite(seen)
    if not there.any():
        raise ValueError(f"observed_data/{name}: expected at least one observed value, all are missing")
    if len(names) <= FEW:
        titles = names if len(names) == 1 or not names[0].isdigit() else [f"{dims[0]} = {n}" for n in names]
        return [
            Statistic(
                title, "value", seen[there[:, j], j], made[:, there[:, j], j].astype(float), np.flatnonzero(there[:, j])
            )
            for j, title in enumerate(titles)
            if there[:, j].any()
        ]
    rows = np.flatnonzero(there.any(1))
    seen, made, there = seen[rows], made[:, rows], there[rows]
    count = there.sum(1)
    over = dims[0] if len(dims) == 1 else "features"

    def mean(values: Any) -> np.ndarray:
        return np.where(there, values, 0).sum(-1, dtype=float) / count

    centre_seen, centre_made = mean(seen), mean(made)
    found = [Statistic("mean of each datum", f"mean over {over}", centre_seen, centre_made, rows)]
    zeros = (seen == 0)[there].mean()
    if not np.isin(seen[there], (0, 1)).all():
        spread = [np.sqrt(mean((v - c[..., None]) ** 2)) for v, c in ((seen, centre_seen), (made, centre_made))]
        found.append(Statistic("spread of each datum", f"standard deviation over {over}", spread[0], spread[1], rows))
        if 0.05 < zeros < 0.95 and (made == 0).any():  # a continuous family never gives a zero
            share = mean(seen == 0), mean(made == 0)
            found.append(Statistic("zeros in each datum", f"share of zeros over {over}", share[0], share[1], rows))
    return found
