"""Data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrovae.data._container import Data
from pyrovae.data._values import standard_array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["from_frame", "numbers"]


def numbers(frame: pd.DataFrame, what: str = "the data frame") -> np.ndarray:
    """The values of a data frame, shape (rows, columns), in the narrowest common stored type.

    Missing values (NaN, pandas' NA) become NaN; integers without them stay integers.

    Raises
    ------
    TypeError
        A column that does not hold real numbers, named with its dtype.
    ValueError
        No columns.
    """
    if not frame.shape[1]:
        raise ValueError(f"{what} has no columns of values")
    arrays = []
    for position, name in enumerate(frame.columns):
        column = frame.iloc[:, position]
        array = _column(column)
        if array is None:
            raise TypeError(
                f"the column {name!r} of {what} has dtype {column.dtype}: expected numbers; encode "
                "it as numbers, or drop it"
            )
        arrays.append(standard_array(array, f"the column {name!r} of {what}"))
    return np.column_stack(arrays)


def _column(column: pd.Series) -> np.ndarray | None:
    import pandas as pd

    dtype: Any = column.dtype
    if not pd.api.types.is_numeric_dtype(dtype):
        return None
    if isinstance(dtype, pd.SparseDtype):
        return np.asarray(column)
    plain = np.dtype(getattr(dtype, "numpy_dtype", dtype))
    if plain.kind not in "buif":
        return None
    if isinstance(dtype, np.dtype):
        return column.to_numpy()
    if column.isna().any():
        wide = plain if plain.kind == "f" else np.dtype(np.float64)
        return column.to_numpy(dtype=wide, na_value=np.nan)
    return column.to_numpy(dtype=plain)


def from_frame(frame: pd.DataFrame, labels: Any = None) -> Data:
    """A data set with a datum per row: the index is ``obs_id``, the columns are ``column``.

    The levels of a multi-index become coordinates over ``obs_id``, which is then 0..n−1; the
    levels of column names are joined by a slash.
    """
    coords = {"column": (("column",), _names(frame.columns))}
    index: Any = frame.index
    if index.nlevels == 1:
        coords["obs_id"] = (("obs_id",), index.to_numpy())
    else:
        for level, name in enumerate(index.names):
            values = index.get_level_values(level).to_numpy()
            coords[str(name) if name is not None else f"level_{level}"] = (("obs_id",), values)
    x = torch.from_numpy(np.require(numbers(frame), requirements=["C", "W"]))
    return Data(x, dims=("column",), coords=coords, labels=labels)


def _names(columns: Any) -> np.ndarray:
    if columns.nlevels == 1:
        return columns.to_numpy()
    return np.array(["/".join(map(str, column)) for column in columns])
