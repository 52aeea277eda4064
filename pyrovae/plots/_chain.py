"""Which restart a plot shows where it shows one."""

from __future__ import annotations

from typing import Any

import xarray as xr

from pyrovae.diagnostics._tree import best_chain

__all__ = ["chosen"]


def chosen(tree: xr.DataTree, values: xr.Dataset | xr.DataArray) -> int:
    """The position in ``values`` of the restart that the fit chose; the first one if it was cut away.

    Raises
    ------
    ValueError
        If there is no dimension ``chain``.
    """
    if "chain" not in values.dims:
        raise ValueError(f"expected the dimension chain, as pv.posterior makes it, got {tuple(map(str, values.dims))}")
    best = best_chain(tree)
    labels: list[Any] = values["chain"].values.tolist() if "chain" in values.coords else [*range(values.sizes["chain"])]
    return labels.index(best) if best in labels else 0
