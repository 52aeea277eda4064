"""Labels as a context: of all data, or of a few chosen to be known."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from pyrovae._numbers import at_least
from pyrovae.data._container import Data
from pyrovae.data._one_hot import one_hot

__all__ = ["labels_as_context"]

MOST_HELD_OUT = 0.5


def labels_as_context(data: Data, labelled: int | None = None, seed: int = 0) -> Data:
    """The same set with its labels as the context, one column of 0 and 1 for each class in their order.

    A row of zeros says that a label is not known. ``labels`` themselves stay, for scoring.

    Parameters
    ----------
    data
        With labels, before they are split or the training part alone.
    labelled
        How many data keep their label, as many of each class (the first classes have one more where it is not a
        multiple of their number); 0 for held-out data. None: all of them do, those held out too, as covariates that
        are always known.
    seed
        Chooses which.

    Returns
    -------
    Data
        With ``context`` (n, classes).

    Notes
    -----
    Those that keep a label are in the training set of ``split()``, and of ``split(test=…)`` that holds out up to half
    of the data: no held-out datum has a label in its context. With another ``seed=`` of `Data.split`, or to choose
    among all training data, split first, and label the training part: ``labels_as_context(train, 100)`` and
    ``labels_as_context(test, 0)``.

    Raises
    ------
    TypeError
        If it is no `Data`.
    ValueError
        If there are no labels, fewer than two classes, or too few of a class; if a number is no whole one from 0.

    Examples
    --------
    >>> import pyrovae as pv
    >>> train, test = labels_as_context(pv.data.load("digits"), labelled=100).split()
    >>> train.context.sum(0)
    tensor([10., 10., 10., 10., 10., 10., 10., 10., 10., 10.])
    >>> float(test.context.sum())
    0.0
    """
    if not isinstance(data, Data):
        raise TypeError(f"labels_as_context: expected a pyrovae.Data with labels, got {type(data).__name__}")
    if data.labels is None:
        raise ValueError(
            f"{data.name} has no labels to make a context of: give them, pv.Data(x, labels=…), or a context of your "
            "own, pv.Data(x, context=…)"
        )
    context = one_hot(data.labels)
    if labelled is None:
        return dataclasses.replace(data, context=context)
    labelled, seed, classes = at_least("labelled", labelled, 0), at_least("seed", seed, 0), context.shape[1]
    if 0 < labelled < classes:
        raise ValueError(f"labelled={labelled}: expected 0, or one for each of the {classes} classes at least")
    known = torch.zeros(len(data), dtype=torch.bool)
    if labelled:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
        order = order[torch.from_numpy(_trained_on(data))[order]]
        for code in range(classes):
            rows = order[context[order, code] == 1]
            wanted = labelled // classes + (code < labelled % classes)
            if len(rows) < wanted:
                raise ValueError(
                    f"labelled={labelled} asks for {wanted} data of the class {np.unique(data.labels)[code]}, and "
                    f"{len(rows)} of it are sure to be trained on: ask for fewer, or split the data first"
                )
            known[rows[:wanted]] = True
    return dataclasses.replace(data, context=context * known.unsqueeze(-1))


def _trained_on(data: Data) -> np.ndarray:
    """Which rows are in the training set however much of the data, up to half, is held out (n,)."""
    n = len(data)
    rows = Data(torch.arange(n).unsqueeze(-1), test=data.test, test_size=data.test_size)
    splits = [rows, dataclasses.replace(rows, test=None, test_size=MOST_HELD_OUT)] if n > 1 else []
    kept = [split.split()[0].x[:, 0] for split in splits]
    return np.array([np.isin(np.arange(n), part) for part in kept]).all(0) if kept else np.ones(n, dtype=bool)
