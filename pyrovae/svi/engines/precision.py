"""In which numbers the matrix products of a step are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["PRECISIONS", "check_precision", "products_in"]

PRECISIONS = {"float32": None, "bf16": "medium"}


def check_precision(precision: str) -> str:
    """One of `PRECISIONS`.

    Raises
    ------
    ValueError
        If it is none.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    return precision


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """A block in which float32 products may be computed in another type; "float32" leaves torch's setting as it is."""
    wanted = PRECISIONS[precision]
    if wanted is None:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(wanted)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
