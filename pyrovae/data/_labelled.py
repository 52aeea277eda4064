"""xarray's labelled arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrovae.data._container import Data
from pyrovae.data._values import standard_array

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["from_array", "from_dataset", "from_variables"]


def from_array(array: xr.DataArray, context: Any = None, labels: Any = None) -> Data:
    """A data set from an array: its first dimension, or one called ``obs_id``, counts the data.

    That dimension is renamed to ``obs_id``; the others and all coordinates are kept. The levels
    of a multi-index become coordinates of their own.
    """
    import pandas as pd

    name = str(array.name) if array.name is not None else "data"
    datum = _datum_dim(array)
    array = array.transpose(datum, ...)
    stacked = [dim for dim, index in array.indexes.items() if isinstance(index, pd.MultiIndex)]
    dims = [dim for dim in stacked if dim in array.dims]
    array = array.reset_index(dims) if dims else array
    if datum != "obs_id":
        array = array.rename({datum: "obs_id"})
    coords = {str(key): (tuple(map(str, value.dims)), value.values) for key, value in array.coords.items()}
    x = torch.from_numpy(standard_array(array.values, f"the array {name!r}"))
    return Data(
        x,
        name=name,
        dims=tuple(str(dim) for dim in array.dims[1:]),
        coords=coords,
        context=context,
        labels=labels,
    )


def from_dataset(dataset: xr.Dataset) -> Data:
    """A data set from a Dataset with exactly one variable."""
    found = [str(key) for key in dataset.data_vars]
    if len(found) != 1:
        raise ValueError(
            f"the Dataset has {len(found)} variables {found}: expected exactly one; pass the one "
            "that holds the data, dataset[name]"
        )
    return from_array(dataset[found[0]])


def from_variables(dataset: xr.Dataset) -> Data:
    """A data set from one variable, or from ``x`` with ``context`` and ``labels`` beside it."""
    found = sorted(str(key) for key in dataset.data_vars)
    if len(found) == 1:
        return from_dataset(dataset)
    foreign = sorted(set(found) - {"x", "context", "labels", "label"})
    if "x" not in found or foreign or {"labels", "label"} <= set(found):
        raise ValueError(
            f"found the variables {found}: expected exactly one, or 'x' with 'context' and 'labels' beside it"
        )
    datum = _datum_dim(dataset["x"])
    extra: dict[str, Any] = {}
    for key in found:
        if key == "x":
            continue
        array = dataset[key]
        if datum not in array.dims:
            raise ValueError(
                f"the variable {key!r} has dimensions {array.dims}: expected {datum!r}, which "
                "counts the data, among them"
            )
        values: Any = array.transpose(datum, ...).values
        if key == "context":
            values = torch.from_numpy(standard_array(np.asarray(values), "context"))
        extra["context" if key == "context" else "labels"] = values
    return from_array(dataset["x"], **extra)


def _datum_dim(array: xr.DataArray) -> Any:
    if not array.dims:
        raise ValueError(f"the array {array.name!r} has no dimension: expected data along the first one")
    return "obs_id" if "obs_id" in array.dims else array.dims[0]
