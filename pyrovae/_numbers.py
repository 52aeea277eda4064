"""Checks of numbers that a user gives."""

from __future__ import annotations

import math
import numbers
from typing import Any

__all__ = ["at_least", "check_flag", "positive"]


def at_least(name: str, value: Any, least: int) -> int:
    """A whole number, Python's or numpy's, of at least ``least``.

    >>> at_least("draws", 0, 1)
    Traceback (most recent call last):
        ...
    ValueError: draws: expected a whole number of at least 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """True or False.

    Raises
    ------
    TypeError
        For anything else: a text such as "no" would count as True.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


def positive(name: str, value: Any) -> float:
    """A finite number above 0.

    >>> positive("lr", "0.1")
    Traceback (most recent call last):
        ...
    ValueError: lr: expected a positive number, got '0.1'
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name}: expected a positive number, got {value!r}")
    return float(value)
