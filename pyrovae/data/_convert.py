"""Whatever holds data, as a data set."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pyrovae.data._columns import check_columns, columns_of
from pyrovae.data._container import Data
from pyrovae.data._rows import Rows, is_stored
from pyrovae.data._values import standard_array, standard_tensor

__all__ = ["as_data"]


def as_data(obj: Any, context: Any = None, name: str | None = None, *, kinds: Any = None, columns: Any = None) -> Data:
    """Convert whatever holds data to `Data`.

    Parameters
    ----------
    obj
        One of

        - `Data`, returned as it is, or with the given context and name in place of its own;
        - a tensor, an array or nested lists of shape (n, *event);
        - an array on disk, which stays there and is read in parts if it has more than 64 MiB, and is read into memory
          else: memory-mapped (``np.load(path, mmap_mode="r")``), of zarr (``zarr.open(path)``) or of h5py;
        - a pandas DataFrame: the index becomes the coordinate ``obs_id``, the columns the event dimension ``column``;
          NA becomes NaN, integers without NA stay exact. `Data.columns` says what they hold, by their dtypes: floats
          are real, integers counts unless one is negative, truth values binary, an ordered category ordinal, other
          categories and texts categorical, or binary where there are two;
        - an xarray DataArray: the first dimension (or one named ``obs_id``) counts the data; the other dimensions and
          all coordinates are kept;
        - an xarray Dataset with exactly one variable;
        - a map-style `torch.utils.data.Dataset` with items ``x`` or ``(x, label)``, or a `DataLoader` of batches of
          these. Each is read once, into memory: what its random transforms drew then stays. Fresh randomness belongs
          in `Data.draw`. A loader that shuffles fixes the order in which it was read; the random state is left as it
          was.
    context
        Covariates for a conditional model: a tensor, array, DataFrame or Series of length n; one-dimensional ones
        become (n, 1).
    name
        What the set is called.
    kinds
        Of a DataFrame, what some columns hold, by hand: ``{"income": "positive", "stage": ("ordinal", ("I", "II"))}``.
    columns
        Those of other data, such as ``train.columns``: a DataFrame is encoded by them, its columns brought into their
        order; other data are checked against them.

    Notes
    -----
    Data that stay on disk are read through once here, for infinite and missing values, and once more before a fit, for
    the support of the likelihood. Each epoch reads them once, 64 MiB at a time, the next part while one is used:
    blocks of 256 KiB of neighbouring rows (whole chunks of zarr and HDF5, which are best some MB at most) come in an
    order that is drawn anew, and rows in an order drawn among the blocks read together. So rows that lie together in
    the file come within some batches of each other; of data in memory every order is as likely as any other. What a
    program takes from its data once, such as the units of a guide's input, it takes from the first 64 MiB of such an
    order. Numbers of data that are chosen by ``split`` or ``take`` are held in memory, and so are labels. What needs
    all data at once (missing cells drawn by `impute`, guides with a parameter for each datum, steps in closed form) is
    refused.

    Raises
    ------
    TypeError
        An object of another kind, or values that are not real numbers.
    ValueError
        Empty or infinite data, ragged lists, lengths that do not match, several variables, covariates that are not
        finite or whose index is not the data's; a category that is none of the column's levels, a column that is
        missing or of another kind.

    Examples
    --------
    >>> as_data([[1, 2], [3, 4]], context=[.5, .7], name="toy")
    Data(toy: 2 × x_dim_0 2, int64, context 1)
    """
    if _is(obj, "pandas", "DataFrame"):
        from pyrovae.data._tables import from_frame

        if kinds is not None and columns is not None:
            raise ValueError("kinds and columns were both given: columns say what kinds there are")
        data = from_frame(obj, kinds=kinds, columns=columns)
    else:
        if kinds is not None:
            raise ValueError(f"kinds describe the columns of a DataFrame, got {type(obj).__name__}: pass columns")
        data = obj if isinstance(obj, Data) else _convert(obj)
        if columns is not None:
            known = columns_of(columns)
            check_columns(known, data)
            data = dataclasses.replace(data, columns=known) if data.columns is None else data
    if context is not None:
        _check_index(obj, context)
        data = dataclasses.replace(data, context=_context(context))
    return data if name is None else dataclasses.replace(data, name=name)


def _is(obj: Any, module: str, *names: str) -> bool:
    """Whether `obj` is of a class of `module`, without importing it."""
    found = sys.modules.get(module)
    return found is not None and isinstance(obj, tuple(getattr(found, name) for name in names))


def _convert(obj: Any) -> Data:
    if isinstance(obj, torch.Tensor):
        return Data(obj)
    if _is(obj, "pandas", "Series"):
        raise ValueError("a Series has one number per datum and no event dimension: pass series.to_frame()")
    if _is(obj, "xarray", "DataArray", "Dataset"):
        from pyrovae.data._labelled import from_array, from_dataset

        return from_array(obj) if _is(obj, "xarray", "DataArray") else from_dataset(obj)
    if isinstance(obj, DataLoader):
        return _from_loader(obj)
    if isinstance(obj, Dataset):
        return _from_items(obj)
    return Data(_tensor(obj, "x"))


def _tensor(obj: Any, what: str) -> Any:
    if isinstance(obj, torch.Tensor):
        return standard_tensor(obj, what)
    if is_stored(obj):
        return Rows(obj, what=what)
    if isinstance(obj, list | tuple) and obj and all(isinstance(o, torch.Tensor) for o in obj):
        if len({o.shape for o in obj}) > 1:
            raise ValueError(f"{what} is a list of tensors of several shapes: expected one shape")
        return standard_tensor(torch.stack(tuple(obj)), what)
    if type(obj).__name__ == "DataTree":
        raise TypeError(f"cannot take {what} from a tree of draws; expected data, such as tree['observed_data']['x']")
    arraylike = isinstance(obj, list | tuple | np.ndarray) or hasattr(obj, "__array__")
    if not arraylike:
        hint = ": use pyrovae.data.load for names and paths" if isinstance(obj, str) else ""
        raise TypeError(
            f"cannot take {what} from a {type(obj).__name__}{hint}; expected a tensor, an "
            "array, a DataFrame, a DataArray, or a torch Dataset or DataLoader"
        )
    try:
        array = obj if isinstance(obj, np.ma.MaskedArray) else np.asarray(obj)
    except ValueError as error:
        raise ValueError(f"{what} is not a rectangular array of numbers: {error}") from None
    return torch.from_numpy(standard_array(array, what))


def _context(context: Any) -> Any:
    if _is(context, "pandas", "Series"):
        context = context.to_frame()
    if _is(context, "pandas", "DataFrame"):
        from pyrovae.data._tables import numbers

        context = numbers(context, "context")
    return _tensor(context, "context")


def _check_index(obj: Any, context: Any) -> None:
    if not (_is(obj, "pandas", "DataFrame") and _is(context, "pandas", "DataFrame", "Series")):
        return
    if len(obj) == len(context) and not obj.index.equals(context.index):
        raise ValueError(
            "the index of context is not the data's: bring it into their order with "
            "context.loc[data.index], or match by position with context.to_numpy()"
        )


def _from_items(dataset: Any) -> Data:
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise TypeError(
            f"{type(dataset).__name__} is not a map-style Dataset (with a length): wrap it in a "
            "DataLoader, which is read once"
        )
    with torch.random.fork_rng(devices=[]):
        pairs = [_pair(dataset[index], f"item {index}") for index in range(len(dataset))]
    if not pairs:
        raise ValueError(f"the {type(dataset).__name__} is empty: expected at least one datum")
    items = [_tensor(np.asarray(x) if np.isscalar(x) else x, "item 0") for x, _ in pairs]
    for index, item in enumerate(items):
        if item.shape != items[0].shape:
            raise ValueError(
                f"item {index} has shape {tuple(item.shape)}, item 0 {tuple(items[0].shape)}: "
                "expected items of one shape"
            )
    labels = None
    if pairs[0][1] is not None:
        labels = [np.asarray(_plain(label)) for _, label in pairs]
        if any(label.ndim for label in labels):
            raise ValueError("the second part of an item must be a scalar label: pass covariates as context=…")
    return Data(torch.stack(items), labels=None if labels is None else np.stack(labels))


def _from_loader(loader: DataLoader[Any]) -> Data:
    if loader.batch_sampler is None and not isinstance(loader.dataset, IterableDataset):
        raise ValueError("the DataLoader does not batch (batch_size=None): pass its dataset")
    with torch.random.fork_rng(devices=[]):
        pairs = list(_batches(loader))
    if not pairs:
        raise ValueError("the DataLoader gave no batch: expected at least one datum")
    batches = [_tensor(x, "batch 0") for x, _ in pairs]
    for index, batch in enumerate(batches):
        if batch.ndim < 1 or batch.shape[1:] != batches[0].shape[1:]:
            raise ValueError(
                f"batch {index} has shape {tuple(batch.shape)}, batch 0 "
                f"{tuple(batches[0].shape)}: expected data of one shape"
            )
    labels = None
    if pairs[0][1] is not None:
        labels = np.concatenate([np.atleast_1d(np.asarray(_plain(part))) for _, part in pairs])
    return Data(torch.cat(batches), labels=labels)


def _batches(loader: DataLoader[Any]) -> Iterator[tuple[Any, Any]]:
    for index, batch in enumerate(loader):
        yield _pair(batch, f"batch {index}")


def _plain(label: Any) -> Any:
    return label.detach().cpu().numpy() if isinstance(label, torch.Tensor) else label


def _pair(item: Any, what: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        raise TypeError(f"{what} is a mapping: expected x or (x, label), not {sorted(item)}")
    if isinstance(item, tuple | list):
        if not 1 <= len(item) <= 2:
            raise ValueError(f"{what} has {len(item)} parts: expected x or (x, label)")
        return item[0], item[1] if len(item) == 2 else None
    return item, None
