"""Data sets by name."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pyrovae.data import _images
from pyrovae.data._container import Data
from pyrovae.data._files import SUFFIXES, read

__all__ = ["Known", "load", "names"]

Directory = str | os.PathLike[str] | None


class Known(NamedTuple):
    """What `names` says of a data set: a line on it, and whether it is here already."""

    description: str
    local: bool


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A named set; `largest` is the largest possible value, by which binarising divides."""

    description: str
    load: Callable[[Directory], Data]
    local: Callable[[Directory], bool]
    largest: int = 1


def load(
    name: str | os.PathLike[str],
    *,
    binarize: str | None = None,
    columns: Sequence[str] | None = None,
    directory: Directory = None,
    seed: int = 0,
) -> Data:
    """Load a data set by its name, or from a file (see `read`).

    Parameters
    ----------
    name
        ``"digits"``: 1,797 scans of handwritten digits, 8 × 8 pixels, integers 0..16, bundled with scikit-learn;
        ``"mnist"``, ``"fashion-mnist"``: 70,000 images of 28 × 28 pixels as floats in [0, 1], of which the last
        10,000 are the published test set; or a path. Images are flattened to the dimension ``pixel``, with
        coordinates ``row`` and ``column``; the classes are in `labels`.
    binarize
        ``"dynamic"``, ``"static"`` or ``"threshold"``, see `Data.binarize`; the digits are divided by 16 first.
    columns
        Of a table in a file, the columns to take (see `read`).
    directory
        Where to look first for ``<name>/train-images-idx3-ubyte`` and its three companions, plain or ``.gz`` (or in
        this folder itself, if it has the set's name). Then come the folder in the environment variable
        ``PYROVAE_DATA_DIR`` and that of Debian's package; what is found nowhere is fetched, checked and kept in the
        user's cache.
    seed
        Seeds static binarisation.

    Raises
    ------
    ValueError
        An unknown name or `binarize`, a damaged file, values that cannot be binarised.
    FileNotFoundError
        No such file or folder, or a set that is not here and cannot be fetched.

    Examples
    --------
    >>> train, test = load("digits").split(seed=0)
    >>> train, len(test)
    (Data(digits: 1,500 × pixel 64, int64, labels), 297)
    """
    text = os.fspath(name)
    entry = _ENTRIES.get(text)
    if entry is not None:
        if columns is not None:
            raise ValueError(f"columns: {text!r} is no table; columns can be chosen of .csv and .parquet files only")
        data = entry.load(directory)
    elif _looks_like_path(text):
        data = read(text, columns=columns)
    else:
        close = difflib.get_close_matches(text.lower(), _ENTRIES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(
            f"unknown data set {text!r}{hint}: expected one of "
            f"{', '.join(map(repr, _ENTRIES))}, or a path to a file ({', '.join(SUFFIXES)})"
        )
    if binarize is None:
        return data
    if entry is not None and entry.largest > 1:
        x = data.x.to(torch.get_default_dtype()) / entry.largest
        data = dataclasses.replace(data, x=x)
    return data.binarize(binarize, seed=seed)


def names(directory: Directory = None) -> dict[str, Known]:
    """The named data sets: for each a line on it, and whether it loads without fetching.

    Examples
    --------
    >>> names()["digits"].local
    True
    """
    return {name: Known(entry.description, entry.local(directory)) for name, entry in _ENTRIES.items()}


def _looks_like_path(text: str) -> bool:
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return (
        any(separator in text for separator in separators)
        or Path(text).suffix.lower() in SUFFIXES
        or Path(text).exists()
    )


def _digits(directory: Directory = None) -> Data:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return Data(
        torch.from_numpy(bundle.data.astype(np.int64)),
        name="digits",
        dims=("pixel",),
        coords=_images.grid_coords(8, 8),
        labels=bundle.target,
        test_size=297,
    )


def _entry(images: _images.Images, description: str) -> _Entry:
    def read_images(directory: Directory) -> Data:
        return _images.load_images(images, directory)

    def is_local(directory: Directory) -> bool:
        return _images.locate(images, directory) is not None or _images.cached(images)

    return _Entry(description, read_images, is_local)


_ENTRIES = {
    "digits": _Entry(
        "1,797 handwritten digits, 8 × 8 pixels, integers 0 to 16",
        _digits,
        lambda directory: True,
        largest=16,
    ),
    "mnist": _entry(
        _images.MNIST,
        "60,000 + 10,000 handwritten digits, 28 × 28 pixels in [0, 1]",
    ),
    "fashion-mnist": _entry(
        _images.FASHION_MNIST,
        "60,000 + 10,000 images of clothing, 28 × 28 pixels in [0, 1]",
    ),
}
