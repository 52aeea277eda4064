"""Observed variables: which one, and how its data are laid out."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pyrovae.diagnostics._tree import variable

__all__ = ["LEAD", "event_dims", "feature_names", "observed_name"]

LEAD = ("chain", "draw", "obs_id")


def observed_name(tree: Any, group: str, name: str | None) -> str:
    """The observed variable asked for, or the first one.

    Raises
    ------
    TypeError, ValueError
        If there is no such group or variable.
    """
    if not isinstance(tree, xr.DataTree) or group not in tree.children:
        variable(tree, group, name or "x")
    names = [str(n) for n in tree[group].dataset]
    if not names or (name is not None and name not in names):
        raise ValueError(f"var_name: expected one of {names} in the group {group!r}, got {name!r}")
    return name or names[0]


def event_dims(values: xr.DataArray) -> list[str]:
    """A datum's own dimensions."""
    return [str(d) for d in values.dims if d not in LEAD]


def feature_names(values: xr.DataArray) -> list[str]:
    """A name for each feature of a datum, flattened."""
    dims = event_dims(values)
    if not dims:
        return [str(values.name)]
    if len(dims) == 1 and dims[0] in values.coords:
        return [str(v) for v in values[dims[0]].values]
    size = int(np.prod([values.sizes[d] for d in dims]))
    return [str(i) for i in range(size)]
