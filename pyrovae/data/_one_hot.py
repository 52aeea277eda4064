"""Classes as covariates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pyrovae.data._values import text_safe

__all__ = ["one_hot"]


def one_hot(labels: Any, levels: Sequence[Any] | None = None) -> torch.Tensor:
    """Classes as covariates of 0 and 1, one column for each level: a context for a conditional program.

    Parameters
    ----------
    labels
        Classes (n,), of any plain type: ``train.labels``, a column of a DataFrame.
    levels
        The classes in the order of the columns; by default those of a categorical column, else those that occur, in
        their order. Give those of the training data for other data.

    Returns
    -------
    torch.Tensor
        (n, levels), floats.

    Raises
    ------
    ValueError
        If a label is none of the levels, is missing, or the levels are fewer than two or not different.

    Examples
    --------
    >>> one_hot(["b", "a", "b"], levels=["a", "b"])
    tensor([[0., 1.],
            [1., 0.],
            [0., 1.]])
    """
    if levels is None:
        categories = getattr(getattr(labels, "dtype", None), "categories", None)
        levels = None if categories is None else list(categories)
    values = text_safe(labels)
    if values.ndim != 1:
        raise ValueError(f"one_hot: expected labels of shape (n,), got {values.shape}")
    missing = np.array([value is None or value != value for value in np.asarray(labels, dtype=object)])
    if missing.any():
        raise ValueError(f"one_hot: label {int(missing.argmax())} is missing: fill it, or leave its datum out")
    known = np.unique(values) if levels is None else text_safe(levels)
    if len(known) < 2 or len(np.unique(known)) < len(known):
        raise ValueError(f"one_hot: expected at least two different levels, got {known.tolist()}")
    hits = values[:, None] == known
    if not hits.any(1).all():
        row = int((~hits.any(1)).argmax())
        raise ValueError(
            f"one_hot: label {row} is {values[row].item()!r}, none of the levels {known.tolist()}: a class that was "
            "not seen in training has no covariate; leave its data out, or train with it"
        )
    return torch.from_numpy(hits).to(torch.get_default_dtype())
