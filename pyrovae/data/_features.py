"""The number of features of data that are vectors."""

from __future__ import annotations

from typing import Any

from pyrovae.data._container import Data

__all__ = ["features"]


def features(data: Any) -> int:
    """How many numbers a datum has, of data of one event dimension: what a model file builds its networks for.

    Raises
    ------
    TypeError
        If it is no `Data`.
    ValueError
        If a datum is no vector, such as an image.

    Examples
    --------
    >>> import pyrovae as pv
    >>> features(pv.data.load("digits"))
    64
    """
    if not isinstance(data, Data):
        raise TypeError(f"expected a pyrovae.Data, got {type(data).__name__}: make one, pyrovae.data.as_data(x)")
    if len(data.event_shape) != 1:
        raise ValueError(
            f"expected data of one event dimension, got {tuple(data.event_shape)} of {data.name}: flatten them first, "
            "x.reshape(len(x), -1)"
        )
    return data.event_shape[0]
