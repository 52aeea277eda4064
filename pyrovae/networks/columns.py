"""A table's columns made ready for a network that reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae._calls import Call
from pyrovae.data import Column
from pyrovae.data._columns import columns_of

__all__ = ["Columns"]


class Columns(nn.Module):
    """Features of a table's rows, of about unit size, before a network that reads them.

    Real columns are standardised, positive ones and counts in their logarithms (log(1 + x) of counts); binary ones
    become −1 and 1, categorical ones one-hot, ordinal ones a thermometer: feature k is 1 where x > k. A missing cell
    gives 0 in all its features. After them stands for each column whether it is observed, 1 or 0.

    Parameters
    ----------
    columns
        As for `pyrovae.likelihoods.Columns`.
    network
        (..., `features`) → (..., outputs), and a context if it takes one.

    Shapes
    ------
    (..., columns), mask (..., columns) → (..., outputs).

    Raises
    ------
    TypeError
        If ``network`` cannot be called.
    ValueError
        If a kind is unknown, levels do not fit it, or the data have another number of columns.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> columns = {"age": "real", "stage": ("ordinal", 4), "city": ("categorical", ("Bonn", "Köln", "Ulm"))}
    >>> network = Columns(columns, MLP(Columns.features(columns), (16,), 4))
    >>> Columns.features(columns), network(torch.zeros(5, 3)).shape
    (10, torch.Size([5, 4]))
    """

    shift: Tensor
    spread: Tensor
    adapted: Tensor
    _is_positive: Tensor
    _is_count: Tensor
    _numbers: Tensor
    _source: Tensor
    _binary: Tensor
    _categorical: Tensor
    _categorical_level: Tensor
    _ordinal: Tensor
    _ordinal_level: Tensor

    def __init__(self, columns: Any, network: Callable[..., Tensor]) -> None:
        super().__init__()
        self.columns: tuple[Column, ...] = columns_of(columns)
        if not callable(network) or isinstance(network, type):
            raise TypeError(
                "networks.Columns: expected a network of the features, such as MLP(Columns.features(columns), hidden, "
                f"outputs), got {getattr(network, '__name__', type(network).__name__)}"
            )
        self.network = network
        self._call = Call(network, own=1)
        self.takes = frozenset({"mask"} | (self._call.takes & {"context"}))
        d = len(self.columns)
        self.register_buffer("shift", torch.zeros(d))
        self.register_buffer("spread", torch.ones(d))
        self.register_buffer("adapted", torch.tensor(False))
        coded = {
            "binary": [(j, 0) for j, c in enumerate(self.columns) if c.kind == "binary"],
            "categorical": _levels(self.columns, "categorical", 0),
            "ordinal": _levels(self.columns, "ordinal", 1),
        }
        for kind, pairs in coded.items():
            places = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
            self.register_buffer(f"_{kind}", places[:, 0].clone(), persistent=False)
            self.register_buffer(f"_{kind}_level", places[:, 1].clone(), persistent=False)
        for kind in ("positive", "count"):
            at = torch.tensor([c.kind == kind for c in self.columns])
            self.register_buffer(f"_is_{kind}", at, persistent=False)
        numbers = torch.tensor([j for j, c in enumerate(self.columns) if not c.levels], dtype=torch.long)
        self.register_buffer("_numbers", numbers, persistent=False)
        source = torch.cat([numbers, *(self.get_buffer(f"_{kind}") for kind in coded)])
        self.register_buffer("_source", source, persistent=False)

    @staticmethod
    def features(columns: Any) -> int:
        """How many inputs the network needs."""
        own = columns_of(columns)
        width = {"categorical": lambda c: len(c.levels), "ordinal": lambda c: len(c.levels) - 1}
        return len(own) + sum(width.get(c.kind, lambda c: 1)(c) for c in own)

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the units of each column from the training data (n, columns), NaN where missing; once."""
        if self.adapted:
            return
        values = torch.where(x.isnan(), torch.nan, self._scale_of(x.detach())).double()
        seen = ~values.isnan()
        n = seen.sum(0).clamp_min(1)
        mean = values.nan_to_num(0.0).sum(0) / n
        sd = ((values - mean).nan_to_num(0.0).square().sum(0) / n).sqrt()
        self.shift.copy_(mean)
        self.spread.copy_(torch.where(sd > 0, sd, 1.0))
        self.adapted.fill_(True)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The network of the features."""
        if x.shape[-1] != len(self.columns):
            raise ValueError(
                f"networks.Columns: expected the {len(self.columns)} columns it was built for in the last dimension, "
                f"got shape {tuple(x.shape)}"
            )
        mask = ~x.isnan() if mask is None else mask.expand(x.shape)
        x = torch.where(mask, x, 0.0)
        numbers = ((self._scale_of(x) - self.shift) / self.spread)[..., self._numbers]
        features = torch.cat(
            [
                numbers,
                2 * x[..., self._binary] - 1,
                (x[..., self._categorical] == self._categorical_level).to(x.dtype),
                (x[..., self._ordinal] > self._ordinal_level).to(x.dtype),
            ],
            -1,
        )
        features = torch.where(mask[..., self._source], features, 0.0)
        out: Tensor = self._call(torch.cat([features, mask.to(x.dtype)], -1), context=context)
        return out

    def __repr__(self) -> str:
        kinds = [c.kind for c in self.columns]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        return f"Columns({counts}, {self.network if isinstance(self.network, nn.Module) else 'a function'}, mask)"

    def _scale_of(self, x: Tensor) -> Tensor:
        """Logarithms where they are meant; what is off the support is left to the check of the data."""
        least = torch.finfo(x.dtype).tiny
        x = torch.where(self._is_positive, x.clamp_min(least).log(), x)
        return torch.where(self._is_count, x.clamp_min(0).log1p(), x)


def _levels(columns: tuple[Column, ...], kind: str, fewer: int) -> list[tuple[int, int]]:
    """(column, code) for each feature."""
    return [(j, k) for j, c in enumerate(columns) if c.kind == kind for k in range(len(c.levels) - fewer)]
