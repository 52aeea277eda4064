"""What the columns of a table hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["CODED", "KINDS", "Column", "check_cells", "check_columns", "columns_of", "plain"]

KINDS = ("real", "positive", "count", "binary", "categorical", "ordinal")
CODED = ("binary", "categorical", "ordinal")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    name
        Its name.
    kind
        ``"real"``, ``"positive"`` (above 0), ``"count"`` (0, 1, 2, …), ``"binary"``, ``"categorical"`` or ``"ordinal"``
        (categories in an order).
    levels
        Of the last three, the labels in the order of their codes 0, 1, …; or how many there are, if the codes are the
        labels. Binary columns have 0 and 1 unless given.

    Raises
    ------
    ValueError
        An unknown kind, or levels that do not fit it.

    Examples
    --------
    >>> Column("stage", "ordinal", ("I", "II", "III"))
    Column(name='stage', kind='ordinal', levels=('I', 'II', 'III'))
    >>> Column("stage", "ordinal", 4).levels
    (0, 1, 2, 3)
    """

    name: str
    kind: str
    levels: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"a column's name must be a string, not {self.name!r}")
        if self.kind not in KINDS:
            raise ValueError(f"column {self.name!r}: expected a kind of {', '.join(KINDS)}, got {self.kind!r}")
        levels: Any = self.levels
        if isinstance(levels, str) or not isinstance(levels, (Sequence, int, np.integer, np.ndarray)):
            raise ValueError(f"column {self.name!r}: expected levels as a tuple of labels, got {levels!r}")
        levels = range(int(levels)) if isinstance(levels, (int, np.integer)) else levels
        levels = tuple(plain(level) for level in levels)
        if self.kind == "binary" and not levels:
            levels = (0, 1)
        object.__setattr__(self, "levels", levels)
        if self.kind not in CODED:
            if levels:
                raise ValueError(f"column {self.name!r} is {self.kind}: expected no levels, got {_list(levels)}")
            return
        fits = len(levels) == 2 if self.kind == "binary" else len(levels) >= 2
        if not fits or len(set(levels)) < len(levels):
            raise ValueError(
                f"column {self.name!r} is {self.kind}: expected {'2' if self.kind == 'binary' else 'at least 2'} "
                f"different levels, got {_list(levels) or 'none'}; "
                + (
                    "give them, as in ('ordinal', ('low', 'high'))"
                    if not levels
                    else "drop a column with one value, it tells nothing"
                    if len(levels) == 1
                    else "make it categorical if it has more, and each label one level"
                )
            )


def plain(value: Any) -> Any:
    """A label as a plain number, truth value or text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def columns_of(columns: Any) -> tuple[Column, ...]:
    """Columns, or a mapping by hand such as ``{"age": "real", "stage": ("ordinal", 4)}``, as columns.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If a kind is unknown, levels do not fit it, or a name appears twice.
    """
    if isinstance(columns, Mapping):
        made = []
        for name, kind in columns.items():
            pair = (kind,) if isinstance(kind, str) else tuple(kind) if isinstance(kind, Sequence) else (kind,)
            if not 1 <= len(pair) <= 2:
                raise ValueError(f"column {name!r}: expected a kind, or (kind, levels), got {kind!r}")
            made.append(Column(str(name), *pair))
        columns = made
    if not isinstance(columns, Sequence) or not columns or not all(isinstance(c, Column) for c in columns):
        raise TypeError(
            "columns: expected those of a table (pv.data.as_data(frame).columns), or a mapping of names to kinds such "
            f'as {{"age": "real", "stage": ("ordinal", 4)}}, got {_came(columns)}'
        )
    names = [column.name for column in columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"columns: the name {repeated[0]!r} appears twice: rename one of the columns")
    return tuple(columns)


def _came(columns: Any) -> str:
    if columns is None or isinstance(columns, (str, Sequence)):
        return "none" if columns is None else repr(columns)
    return f"a {type(columns).__name__}"


def check_columns(own: tuple[Column, ...] | None, data: Any) -> None:
    """Refuse `Data` whose columns differ from a program's: their codes would mean something else.

    Data without columns, such as a tensor of codes, are only asked for their number. A program that knows of no
    columns (``own`` None) would take codes for numbers: none may stand for a label that is not the code itself.

    Raises
    ------
    ValueError
        With the first difference, in number, names, order, kinds or levels, and how to encode the data.
    """
    if own is None:
        for column in data.columns or ():
            if column.levels != tuple(range(len(column.levels))):
                raise ValueError(
                    f"column {column.name!r} holds the categories {_list(column.levels)}, stored as codes, and the "
                    "program expected numbers: use pv.likelihoods.Columns(data.columns, network) with "
                    "pv.networks.Columns, set program.columns = data.columns if it knows what the codes mean, or leave "
                    "the column out"
                )
        return
    mend = "encode the data as the training data were: pv.data.as_data(frame, columns=train.columns)"
    if data.columns is None:
        if tuple(data.event_shape) != (len(own),):
            raise ValueError(
                f"the program models a table of {len(own)} columns, and a datum has shape {tuple(data.event_shape)}: "
                f"{mend}"
            )
        return
    known, came = [c.name for c in own], [c.name for c in data.columns]
    _same_names(known, came, mend)
    if known != came:
        at = next(i for i, (a, b) in enumerate(zip(known, came, strict=True)) if a != b)
        raise ValueError(
            f"the columns are in another order than the program's: {came[at]!r} stands where {known[at]!r} is "
            f"expected; {mend}"
        )
    for mine, other in zip(own, data.columns, strict=True):
        if mine.kind != other.kind:
            raise ValueError(
                f"column {mine.name!r} is {mine.kind} in the program and {other.kind} in the data: {mend}, or choose "
                f'kinds={{"{mine.name}": "{mine.kind}"}}'
            )
        if mine.levels != other.levels:
            raise ValueError(
                f"column {mine.name!r} has the levels {_list(mine.levels)} in the program and {_list(other.levels)} in "
                f"the data, so that their codes differ: {mend}"
            )


def _same_names(known: Sequence[str], came: Sequence[str], mend: str) -> None:
    lacking, surplus = [n for n in known if n not in came], [n for n in came if n not in known]
    if lacking:
        raise ValueError(f"the data lack the column{'s' * (len(lacking) > 1)} {_list(lacking)}: {mend}")
    if surplus:
        raise ValueError(
            f"the data have the column{'s' * (len(surplus) > 1)} {_list(surplus)}, which the training data had not: "
            "drop them, or train with them"
        )


def check_cells(x: torch.Tensor, columns: tuple[Column, ...], where: Any) -> None:
    """Refuse values that are none of their column's kind; ``where`` says in words where the first true element is."""
    for index, column in enumerate(columns):
        if column.kind == "real":
            continue
        values = x[:, index]
        bad = values <= 0 if column.kind == "positive" else (values < 0) | (values % 1 != 0) & ~values.isnan()
        if column.levels:
            bad |= values >= len(column.levels)
        if not bool(bad.any()):
            continue
        flags = torch.zeros(x.shape, dtype=torch.bool)
        flags[:, index] = bad
        came = f"got {values[bad][0].item():g} at {where(flags)}"
        if column.levels:
            raise ValueError(
                f"column {column.name!r} is {column.kind} with {len(column.levels)} levels: expected codes 0 to "
                f"{len(column.levels) - 1} or NaN, {came}; let pv.data.as_data(frame, columns=train.columns) encode "
                "it, or give it its levels"
            )
        what = "values above 0" if column.kind == "positive" else "the whole numbers 0, 1, 2, …"
        raise ValueError(
            f"column {column.name!r} is {column.kind}: expected {what}, {came}; correct it, make it missing (NaN), or "
            f'choose kinds={{"{column.name}": "real"}}'
        )


def _list(values: Sequence[Any]) -> str:
    shown = ", ".join(repr(v) for v in values[:8])
    return f"{shown}, … ({len(values)} in all)" if len(values) > 8 else shown
