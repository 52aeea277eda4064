"""The cells of a table's row, each of the kind of its column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints

from pyrovae._missing import _inside as inside

__all__ = ["Columns", "TableCells"]


class TableCells(constraints.Constraint):
    """The support of each cell of a row, (…, d): ``check`` returns a truth value for each cell.

    ``names`` are the columns', ``cell(index)`` is the support of one; cells outside ``mask`` may hold anything.
    """

    def __init__(
        self, names: Sequence[str], groups: Sequence[tuple[Tensor, Any]], order: Tensor, mask: Tensor | None = None
    ) -> None:
        self.names, self._groups, self._order, self._mask = tuple(names), tuple(groups), order, mask

    def check(self, value: Tensor) -> Tensor:
        """Whether each cell lies in its column's support."""
        ok = torch.cat([support.check(value[..., index]) for index, support in self._groups], -1)[..., self._order]
        return ok if self._mask is None else ok | ~self._mask

    def cell(self, index: int) -> constraints.Constraint:
        """The support of one column."""
        for members, support in self._groups:
            at = members.tolist()
            if index in at:
                high = getattr(support, "upper_bound", None)
                if isinstance(high, Tensor):
                    return constraints.integer_interval(0, int(high[at.index(index)]))
                return support
        raise IndexError(f"no column {index}: there are {len(self.names)}")


class Columns(dist.TorchDistribution):
    """Independent cells of a row, in groups of one family each: p(x) = Π_j p_j(x_j).

    Parameters
    ----------
    groups
        For each family the columns it describes, (k,), its distribution, batch (…, k) and event (), and its support:
        one for all, or an interval of whole numbers with a bound for each.
    names
        Of the columns; ``str`` of their place by default.
    mask
        Which cells are observed, broadcasting with (…, d); the others count nothing in ``log_prob``, whatever stands
        there, and are drawn like all. See `marginal`.

    Shapes
    ------
    Event (d,), batch that of the groups.

    Raises
    ------
    ValueError
        If the groups do not hold each column once.

    Examples
    --------
    >>> real, count = dist.Normal(torch.zeros(4, 2), 1.0), dist.Poisson(torch.ones(4, 1))
    >>> fn = Columns([(torch.tensor([0, 2]), real, real.support), (torch.tensor([1]), count, count.support)])
    >>> fn.event_shape, fn.log_prob(torch.zeros(4, 3)).shape
    (torch.Size([3]), torch.Size([4]))
    """

    arg_constraints: Mapping[str, constraints.Constraint] = MappingProxyType({})
    independent_cells = True

    def __init__(
        self,
        groups: Sequence[tuple[Tensor, dist.TorchDistribution, Any]],
        names: Sequence[str] | None = None,
        *,
        mask: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.groups, self.mask_ = tuple(groups), mask
        count = sum(len(index) for index, _, _ in self.groups)
        self.names = tuple(map(str, range(count))) if names is None else tuple(names)
        if validate_args and self._members.sort().values.tolist() != list(range(len(self.names))):
            raise ValueError(
                f"distributions.Columns: expected groups that hold each of {len(self.names)} columns once, got "
                f"{self._members.tolist()}"
            )
        batch = torch.Size(broadcast_shape(*(fn.batch_shape[:-1] for _, fn, _ in self.groups)))
        super().__init__(batch, torch.Size([count]), validate_args=validate_args)

    @property
    def _members(self) -> Tensor:
        return torch.cat([index for index, _, _ in self.groups])

    @property
    def _order(self) -> Tensor:
        return self._members.argsort()

    @property
    def has_rsample(self) -> bool:
        """Whether all cells are continuous."""
        return all(fn.has_rsample for _, fn, _ in self.groups)

    @property
    def support(self) -> constraints.Constraint:
        """That of each cell, `TableCells`."""
        cells = TableCells(self.names, [(index, support) for index, _, support in self.groups], self._order, self.mask_)
        return constraints.independent(cells, 1)

    def cell_log_prob(self, value: Tensor) -> Tensor:
        """The log density of each cell, (…, d); 0 where it is not observed."""
        return self._gather(self._terms(value))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of the observed cells, (…)."""
        if self._validate_args:
            self._validate_sample(value)
        first, *rest = (term.sum(-1) for term in self._terms(value))
        return sum(rest, first)

    def _terms(self, value: Tensor) -> list[Tensor]:
        """The log density of each cell, by group."""
        terms = []
        for index, fn, support in self.groups:
            cells = value.index_select(-1, index)
            if self.mask_ is None:
                terms.append(fn.log_prob(cells))
                continue
            seen = self.mask_.index_select(-1, index)
            cells = torch.where(seen, cells, inside(support).to(cells))
            terms.append(torch.where(seen, fn.log_prob(cells), 0.0))
        return terms

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of all cells."""
        with torch.no_grad():
            return self._draw("sample", sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of all cells with a gradient, where all are continuous."""
        return self._draw("rsample", sample_shape)

    @property
    def mean(self) -> Tensor:
        """The expected value of each cell; NaN where that is none, of categories."""
        return self._gather([_moment(fn, "mean") for _, fn, _ in self.groups]).expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """The variance of each cell; NaN where that is none, of categories."""
        return self._gather([_moment(fn, "variance") for _, fn, _ in self.groups]).expand(self._extended_shape())

    def marginal(self, mask: Tensor) -> Columns:
        """The distribution of the observed cells: the others, which may hold any number, count nothing."""
        return self._like(self.groups, mask if self.mask_ is None else mask & self.mask_, self.batch_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Columns:
        """The same with a larger batch."""
        batch = torch.Size(batch_shape)
        groups = tuple((index, fn.expand((*batch, *index.shape)), support) for index, fn, support in self.groups)
        return self._like(groups, self.mask_, batch)

    def _like(self, groups: tuple[Any, ...], mask: Tensor | None, batch: torch.Size) -> Columns:
        new = Columns.__new__(Columns)
        new.groups, new.mask_, new.names = groups, mask, self.names
        dist.TorchDistribution.__init__(new, batch, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _draw(self, how: str, sample_shape: Any) -> Tensor:
        shape = torch.Size(sample_shape)
        batch = (*shape, *self.batch_shape)
        parts = [getattr(fn, how)(shape).expand(*batch, *index.shape) for index, fn, _ in self.groups]
        return self._gather(parts)

    def _gather(self, parts: Sequence[Tensor]) -> Tensor:
        lead = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
        dtype = next((p.dtype for p in parts if p.is_floating_point()), torch.get_default_dtype())
        return torch.cat([p.expand(*lead, p.shape[-1]).to(dtype) for p in parts], -1).index_select(-1, self._order)


def _moment(fn: dist.TorchDistribution, name: str) -> Tensor:
    """NaN of a family that has none."""
    try:
        moment: Tensor = getattr(fn, name)
    except NotImplementedError:
        return torch.full(fn.batch_shape, torch.nan, device=fn.logits.device)
    return moment
