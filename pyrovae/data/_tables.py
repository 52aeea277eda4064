"""Data frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrovae.data._columns import CODED, KINDS, Column, _list, _same_names, columns_of, plain
from pyrovae.data._container import Data
from pyrovae.data._values import standard_array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["decode", "from_frame", "numbers"]

MOST_LEVELS = 100  # of a column of texts that nobody called categorical


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


def from_frame(frame: pd.DataFrame, labels: Any = None, kinds: Any = None, columns: Any = None) -> Data:
    """A data set with a datum per row: the index is ``obs_id``, the columns are ``column``.

    The levels of a multi-index become coordinates over ``obs_id``, which is then 0..n−1; the
    levels of column names are joined by a slash. ``kinds`` and ``columns`` are those of `as_data`.
    """
    if not frame.shape[1]:
        raise ValueError("the data frame has no columns of values")
    if columns is not None:
        known = columns_of(columns)
        names = [str(name) for name in _names(frame.columns)]
        _same_names([c.name for c in known], names, "add them, empty (NaN) where they were not measured")
        if len(names) > len(known):
            raise ValueError(f"the data frame has {len(names)} columns, two of one name: expected {len(known)}")
        frame = frame.iloc[:, [names.index(c.name) for c in known]]
    else:
        known = _kinds(frame, kinds)
    coords = {"column": (("column",), _names(frame.columns))}
    index: Any = frame.index
    if index.nlevels == 1:
        coords["obs_id"] = (("obs_id",), index.to_numpy())
    else:
        for level, name in enumerate(index.names):
            values = index.get_level_values(level).to_numpy()
            coords[str(name) if name is not None else f"level_{level}"] = (("obs_id",), values)
    arrays = [_encode(frame.iloc[:, position], column) for position, column in enumerate(known)]
    x = torch.from_numpy(np.require(np.column_stack(arrays), requirements=["C", "W"]))
    return Data(x, dims=("column",), coords=coords, labels=labels, columns=known)


def _kinds(frame: pd.DataFrame, kinds: Any) -> tuple[Column, ...]:
    """What each column holds: by hand where ``kinds`` says so, else by its dtype."""
    names = [str(name) for name in _names(frame.columns)]
    chosen: dict[str, tuple[Any, ...]] = {}
    if kinds is not None and not isinstance(kinds, Mapping):
        raise TypeError(f'kinds: expected a mapping such as {{"income": "positive"}}, got {kinds!r}')
    for name, kind in (kinds or {}).items():
        pair = (kind,) if isinstance(kind, str) else tuple(kind) if isinstance(kind, (tuple, list)) else (kind,)
        if str(name) not in names:
            raise ValueError(f"kinds: no column {name!r}; expected some of {_list(names)}")
        if not 1 <= len(pair) <= 2 or pair[0] not in KINDS:
            raise ValueError(
                f"kinds: column {name!r}: expected a kind of {', '.join(KINDS)}, or (kind, levels), got {kind!r}"
            )
        chosen[str(name)] = pair
    return tuple(_kind(name, frame.iloc[:, i], *chosen.get(name, ())) for i, name in enumerate(names))


def _kind(name: str, column: pd.Series, kind: str | None = None, levels: Any = None) -> Column:
    import pandas as pd

    if levels is not None or (kind is not None and kind not in CODED):
        return Column(name, str(kind), () if levels is None else levels)
    dtype: Any = column.dtype
    category = isinstance(dtype, pd.CategoricalDtype)
    array = None if category else _column(column)
    if array is not None and kind is None:
        whole = np.asarray(array).dtype.kind in "ui" or pd.api.types.is_integer_dtype(dtype)
        if pd.api.types.is_bool_dtype(dtype):
            return Column(name, "binary", (False, True))
        return Column(name, "count" if whole and not bool(np.nanmin(array, initial=0) < 0) else "real")
    present = column.dropna()
    texts = all(isinstance(value, str) for value in present) if not category and array is None else False
    truths = all(isinstance(value, bool) for value in present) if not category and array is None else False
    if not (category or array is not None or texts or truths) or (not category and not len(present)):
        raise TypeError(
            f"the column {name!r} of the data frame has dtype {dtype}"
            + ("" if len(present) else " and no value")
            + ": expected numbers, truth values, texts or a category; encode it as one of them, or drop it"
        )
    if truths:
        found: list[Any] = [False, True]
    elif category:
        found = [plain(level) for level in dtype.categories]
    else:
        found = sorted({plain(value) for value in present})
        if found and all(isinstance(value, float) and value.is_integer() for value in found):
            found = [int(value) for value in found]  # whole numbers beside missing ones
    if kind == "ordinal" and texts:
        raise ValueError(
            f"column {name!r} holds texts, whose order is not known: give it, "
            f'kinds={{"{name}": ("ordinal", ({_list(found)}))}} in the order meant'
        )
    if kind is None:
        if texts and len(found) > MOST_LEVELS:
            raise ValueError(
                f"column {name!r} holds {len(found):,} different texts: make it the index or drop it, or say that they "
                f'are categories, kinds={{"{name}": "categorical"}}'
            )
        kind = "ordinal" if category and dtype.ordered else "binary" if len(found) == 2 else "categorical"
    return Column(name, kind, tuple(found))


def _encode(column: pd.Series, what: Column) -> np.ndarray:
    """The numbers that stand for the column's values, NaN where they are missing."""
    import pandas as pd

    numeric = None if isinstance(column.dtype, pd.CategoricalDtype) else _column(column)
    if what.kind not in CODED or (numeric is not None and pd.api.types.is_bool_dtype(column.dtype)):
        if numeric is None and column.isna().all():
            numeric = np.full(len(column), np.nan)
        if numeric is None:
            raise TypeError(
                f"the column {what.name!r} of the data frame has dtype {column.dtype}, and is {what.kind}: expected "
                "numbers; encode it as numbers, or choose another kind"
            )
        if what.kind not in CODED or what.levels == (0, 1):
            return standard_array(numeric, f"the column {what.name!r} of the data frame")
    places, values = pd.factorize(column)
    code = {level: float(index) for index, level in enumerate(what.levels)}
    for position, value in enumerate(values):
        if plain(value) not in code:
            row = column.index[int((places == position).argmax())]
            raise ValueError(
                f"column {what.name!r}: the value {plain(value)!r} in row {row!r} is none of its levels: "
                f"{_list(what.levels)}; map it to one of them, make it missing (NaN), or train with it"
            )
    codes = np.array([*(code[plain(value)] for value in values), np.nan])[places]
    return codes if np.isnan(codes).any() else codes.astype(np.int64)


def decode(data: Any, columns: Any = None) -> pd.DataFrame:
    """The data frame that a table stands for: labels in place of codes.

    Parameters
    ----------
    data
        `Data` with columns, or an array of their values (n, columns).
    columns
        Of an array, its columns.

    Raises
    ------
    ValueError
        If there are no columns, the shape is not theirs, or a code is none of a column's levels.

    Examples
    --------
    >>> from pyrovae.data import as_data
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"city": ["Bonn", "Köln", "Bonn", "Ulm"], "rooms": [2, 3, 1, 2]})
    >>> decode(as_data(frame))
       city  rooms
    0  Bonn      2
    1  Köln      3
    2  Bonn      1
    3   Ulm      2
    """
    import pandas as pd

    index = None
    if isinstance(data, Data):
        columns = data.columns if columns is None else columns
        index, data = data.coords["obs_id"][1], data.x
    known = columns_of(columns)
    x = data.detach().cpu() if isinstance(data, torch.Tensor) else torch.as_tensor(np.asarray(data))
    if x.ndim != 2 or x.shape[1] != len(known):
        raise ValueError(f"expected an array (n, {len(known)}), one column for each of columns, got {tuple(x.shape)}")
    Data(x, dims=("column",), columns=known)  # refuses values that are none of their kind
    out = {}
    for position, column in enumerate(known):
        values = x[:, position].numpy()
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        if column.levels and all(isinstance(level, bool) for level in column.levels):
            truths = np.where(missing, 0, values).astype(np.int64) == column.levels.index(True)
            out[column.name] = pd.array(truths, dtype="boolean") if missing.any() else truths
            if missing.any():
                out[column.name][missing] = pd.NA
        elif column.levels:
            codes = np.where(missing, -1, values).astype(np.int64)
            levels = pd.Index(list(column.levels))
            out[column.name] = pd.Categorical.from_codes(codes, levels, ordered=column.kind == "ordinal")
        elif column.kind == "count":
            whole = np.where(missing, 0, values).astype(np.int64)
            out[column.name] = pd.array(whole, dtype="Int64") if missing.any() else whole
            if missing.any():
                out[column.name][missing] = pd.NA
        else:
            out[column.name] = values
    return pd.DataFrame(out, index=index)


def _names(columns: Any) -> np.ndarray:
    if columns.nlevels == 1:
        return columns.to_numpy()
    return np.array(["/".join(map(str, column)) for column in columns])
