"""Observed variables: which one, and how its data are laid out."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pyrovae.diagnostics._tree import NotAvailable, variable

__all__ = ["LEAD", "event_dims", "feature_names", "has_context", "observed_name"]

LEAD = ("chain", "draw", "obs_id")


def observed_name(tree: Any, group: str, name: str | None) -> str:
    """The observed variable asked for, or the first one, of the data's own if there is such.

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
    own = [n for n in names if "obs_id" in tree[group][n].dims]
    return name or (own or names)[0]


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


def has_context(tree: Any, n: int) -> bool:
    """Whether the program has a context, so that draw d of the prior has that of datum d mod n of the n there are.

    Raises
    ------
    NotAvailable
        If the tree holds some of the data that it was made of: which draws have their contexts is not known.
    """
    if "constant_data" not in tree.children or "context" not in tree["constant_data"].dataset:
        return False
    if (made := tree.attrs.get("data_size", n)) != n:
        raise NotAvailable(
            f"the draws of the prior have the contexts of the {made} data that the tree was made of, and it holds {n} "
            "of them: make a tree of these data with pv.posterior"
        )
    return True
