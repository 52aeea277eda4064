"""Data sets from files."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.data._container import Data
from pyrovae.data._convert import as_data
from pyrovae.data._rows import BUFFER

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SUFFIXES", "read"]


def read(path: str | os.PathLike[str], *, columns: Sequence[str] | None = None) -> Data:
    """Read a data set from a file; its name becomes the set's.

    Arrays of Python objects are refused: reading them could run code.

    Parameters
    ----------
    path
        By its suffix,

        - ``.npy``: an array of shape (n, *event); one of more than 64 MiB stays on disk (see `as_data`);
        - ``.npz``: one such array, or ``x`` with ``context`` and ``labels`` beside it;
        - ``.csv`` (with a header) and ``.parquet``: a datum per row; a column ``obs_id`` (or the unnamed first one
          that pandas writes) becomes the index, a column ``label`` (or ``labels``) the labels;
        - ``.nc`` (netCDF) and ``.zarr`` (a folder): one variable, or ``x`` with ``context`` and ``labels`` beside it,
          read into memory; dimensions and coordinates are kept. Of a ``.zarr`` folder that is one array, as of .npy.
    columns
        Of a table, the columns to take, by name and in this order; all by default.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        An unknown suffix, a damaged file, an unknown column, or contents that are no data set.
    TypeError
        Values that are not real numbers.
    ImportError
        A ``.parquet`` file without pyarrow.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise ValueError(
            f"{path} has the suffix {suffix!r}: expected one of {', '.join(SUFFIXES)}; convert the "
            "file, or read it yourself and pass the array to pyrovae.data.as_data"
        )
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir() != (suffix == ".zarr"):
        raise ValueError(f"{path} is {'not ' if suffix == '.zarr' else ''}a folder")
    if columns is None:
        data = _READERS[suffix](path)
    elif suffix in (".csv", ".parquet"):
        data = _READERS[suffix](path, columns)
    else:
        raise ValueError(f"{path} is no table: columns can be chosen of .csv and .parquet files only")
    return dataclasses.replace(data, name=path.stem)


def _damaged(path: Path, kind: str, error: BaseException) -> ValueError:
    if "Object arrays cannot be loaded" in str(error):
        return ValueError(
            f"{path} holds Python objects, which are not read because that could run code: save an array of numbers"
        )
    return ValueError(f"{path} cannot be read as {kind}: it is damaged or of another kind ({error})")


def _npy(path: Path) -> Data:
    try:
        if path.stat().st_size > BUFFER:
            array: np.ndarray = np.lib.format.open_memmap(path, "r")
        else:
            with path.open("rb") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _damaged(path, ".npy", error) from error
    return as_data(array)


def _npz(path: Path) -> Data:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array, not an archive: rename it to .npy")
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, ".npz", error) from error
    found = sorted(arrays)
    if len(arrays) == 1:
        return as_data(arrays[found[0]])
    labels = arrays.pop("labels", arrays.pop("label", None))
    context = arrays.pop("context", None)
    if set(arrays) != {"x"}:
        raise ValueError(f"{path} holds the arrays {found}: expected one, or 'x' with 'context' and 'labels' beside it")
    data = as_data(arrays["x"], context=context)
    return data if labels is None else dataclasses.replace(data, labels=labels)


def _csv(path: Path, columns: Sequence[str] | None = None) -> Data:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    except ValueError as error:  # the parser's errors and those of decoding are ValueErrors
        raise _damaged(path, ".csv", error) from error
    if len(frame.columns) > 1 and frame.columns[0] == "Unnamed: 0":
        frame = frame.rename(columns={"Unnamed: 0": "obs_id"})
    if _is_row(frame.columns):
        raise ValueError(
            f"{path} has numbers where its header should be ({', '.join(frame.columns[:4])}…): add "
            "a first line with the names of the columns"
        )
    return _table(frame, columns)


def _is_row(columns: Any) -> bool:
    """Whether column names look like a row of data: numbers, but not increasing integers."""
    try:
        values = [float(name) for name in columns]
    except ValueError:
        return False
    whole = all(value.is_integer() for value in values)
    return not (whole and all(a < b for a, b in itertools.pairwise(values)))


def _parquet(path: Path, columns: Sequence[str] | None = None) -> Data:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow: pip install pyarrow") from error
    except (ValueError, OSError) as error:
        raise _damaged(path, ".parquet", error) from error
    return _table(frame, columns)


def _table(frame: pd.DataFrame, columns: Sequence[str] | None) -> Data:
    from pyrovae.data._tables import from_frame

    if "obs_id" in frame.columns:
        frame = frame.set_index("obs_id")
    found = [key for key in ("label", "labels") if key in frame.columns]
    labels = frame.pop(found[0]).to_numpy() if found else None
    if columns is not None:
        for name in columns:
            if name not in frame.columns:
                close = difflib.get_close_matches(str(name), map(str, frame.columns), n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise ValueError(f"no column {name!r}{hint}: expected some of {', '.join(map(str, frame.columns))}")
        frame = frame[list(columns)]
    return from_frame(frame, labels=labels)


def _netcdf(path: Path) -> Data:
    import xarray as xr

    from pyrovae.data._labelled import from_variables

    try:
        dataset = xr.load_dataset(path)
    except (ValueError, OSError, RuntimeError) as error:
        raise _damaged(path, "netCDF", error) from error
    return from_variables(dataset)


def _zarr(path: Path) -> Data:
    import xarray as xr
    import zarr

    from pyrovae.data._labelled import from_variables

    try:
        found = zarr.open(path, mode="r")
        if isinstance(found, zarr.Group):
            with xr.open_zarr(path, consolidated=False) as dataset:
                found = dataset.load()
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        raise _damaged(path, "zarr", error) from error
    return as_data(found) if isinstance(found, zarr.Array) else from_variables(found)


_READERS: dict[str, Callable[..., Data]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    ".parquet": _parquet,
    ".nc": _netcdf,
    ".zarr": _zarr,
}
SUFFIXES = tuple(_READERS)
