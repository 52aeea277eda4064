"""Data sets: the container, conversions, named sets and files.

Examples
--------
>>> from pyrovae import data
>>> data.load("digits")
Data(digits: 1,797 × pixel 64, int64, labels)
"""

from __future__ import annotations

from pyrovae.data._columns import Column, check_columns
from pyrovae.data._complete import complete
from pyrovae.data._container import Data
from pyrovae.data._convert import as_data
from pyrovae.data._features import features
from pyrovae.data._files import read
from pyrovae.data._label_context import labels_as_context
from pyrovae.data._named import load, names
from pyrovae.data._one_hot import one_hot
from pyrovae.data._tables import decode

__all__ = [
    "Column",
    "Data",
    "as_data",
    "check_columns",
    "complete",
    "decode",
    "features",
    "labels_as_context",
    "load",
    "names",
    "one_hot",
    "read",
]
