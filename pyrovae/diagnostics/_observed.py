"""Observed variables: which one, how its data are laid out, and whether two trees have the same."""

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


def refuse_other_data(first: str, reference: xr.DataTree, name: str, tree: xr.DataTree, order: np.ndarray) -> None:
    """Refuse observed data that differ: the names of sites may, if each has one.

    Row ``order[i]`` of ``tree`` is row i of ``reference``.
    """
    ours, theirs = (_by_site(label, t) for label, t in ((first, reference), (name, tree)))
    if set(ours) != set(theirs) and not len(ours) == len(theirs) == 1:
        raise ValueError(f"{first!r} observes {', '.join(ours)} but {name!r} {', '.join(theirs)}: which is which?")
    for site in ours:
        x = ours[site].values
        other = theirs[site] if site in theirs else next(iter(theirs.values()))
        y = other.values[order]
        if x.shape != y.shape:
            raise ValueError(f"the data {site!r} of {first!r} have the shape {x.shape}, of {name!r} {y.shape}")
        if x.dtype.kind == y.dtype.kind == "f":  # the coarser type of the two
            x, y = (v.astype(min(x.dtype, y.dtype, key=lambda d: d.itemsize)) for v in (x, y))
        missing = [np.isnan(v) if v.dtype.kind == "f" else np.zeros(v.shape, bool) for v in (x, y)]
        differ = ~((x == y) | (missing[0] & missing[1]))
        rows = differ.reshape(len(x), -1).any(1)
        if rows.any():
            raise ValueError(
                f"the data {site!r} of {first!r} and {name!r} differ in {rows.sum()} of {len(rows)}, first at obs_id "
                f"{ours[site]['obs_id'].values[rows.argmax()] if 'obs_id' in ours[site].coords else rows.argmax()}: "
                "compare what is of the same data, on the same scale"
            )


def _by_site(name: str, tree: xr.DataTree) -> dict[str, xr.DataArray]:
    if "observed_data" not in tree.children:
        raise NotAvailable(f"{name!r} has no group 'observed_data': it cannot be seen whether the data are the same")
    sites = [str(n) for n, v in tree["observed_data"].dataset.items() if "obs_id" in v.dims]
    found = {site: variable(tree, "observed_data", site) for site in sites}
    return {n: v.transpose("obs_id", ...) for n, v in found.items()}
