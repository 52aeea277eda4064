"""Multinomial and Dirichlet-multinomial distributions whose totals differ between data."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints

__all__ = ["DirichletMultinomial", "Multinomial", "counts_of_total"]


class _CountsOfTotal(constraints.Constraint):
    """Whole numbers (..., K) of at least 0 whose sum over the last dimension is ``upper_bound`` (...)."""

    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: Tensor | int) -> None:
        self.upper_bound = upper_bound
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each vector is one."""
        ok: Tensor = ((value >= 0) & (value % 1 == 0)).all(-1) & (value.sum(-1) == self.upper_bound)
        return ok


counts_of_total = _CountsOfTotal


class _Shares(dist.TorchDistribution):
    """``total_count`` things, each put into one of K cells."""

    def __init__(self, total_count: Any, cells: Tensor, validate_args: bool | None) -> None:
        total = torch.as_tensor(total_count, dtype=cells.dtype, device=cells.device)
        batch = torch.Size(broadcast_shape(total.shape, cells.shape[:-1]))
        self.total_count, self._cells = total.expand(batch), cells.expand(*batch, cells.shape[-1])
        super().__init__(batch, cells.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Counts that sum to the total."""
        return counts_of_total(self.total_count)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same with a larger batch."""
        batch = torch.Size(batch_shape)
        new = type(self).__new__(type(self))
        new.total_count, new._cells = self.total_count.expand(batch), self._cells.expand(*batch, *self.event_shape)
        dist.TorchDistribution.__init__(new, batch, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def marginal(self, mask: Tensor) -> Any:
        """The distribution of the observed cells, which must be all.

        Raises
        ------
        ValueError
            If any is missing.
        """
        if bool(mask.all()):
            return self
        raise ValueError(
            f"{type(self).__name__}: cells are missing, and with one of them the total that they share is not known. "
            "Drop these data, or model the cells by themselves: likelihoods.Poisson or NegativeBinomial, with the "
            "total as exposure"
        )


class Multinomial(_Shares):
    """total! / Π_k x_k! · Π_k p_k^x_k, with a total for each datum.

    Sums are taken in double precision: large totals cost float32 a tenth of a nat and more.

    Parameters
    ----------
    total_count
        Whole numbers, (...).
    probs, logits
        One of them, (..., K).

    Shapes
    ------
    Batch (...), event (K,).

    Raises
    ------
    ValueError
        If not exactly one of ``probs`` and ``logits`` is given.

    Examples
    --------
    >>> fn = Multinomial(torch.tensor([3.0, 50.0]), logits=torch.zeros(2, 4))
    >>> fn.sample().sum(-1)
    tensor([ 3., 50.])
    """

    arg_constraints = {"total_count": constraints.nonnegative_integer, "logits": constraints.real_vector}  # noqa: RUF012

    def __init__(
        self,
        total_count: Any,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Multinomial: expected either probs or logits")
        super().__init__(total_count, probs.log() if logits is None else logits, validate_args)  # type: ignore[union-attr]

    @property
    def logits(self) -> Tensor:
        """As given, up to a constant."""
        return self._cells

    @property
    def probs(self) -> Tensor:
        """Of the cells."""
        return self._cells.softmax(-1)

    @property
    def mean(self) -> Tensor:
        """The total, shared out by the probabilities."""
        return self.total_count.unsqueeze(-1) * self.probs

    @property
    def variance(self) -> Tensor:
        """Of each cell."""
        return self.mean * (1 - self.probs)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if self._validate_args:
            self._validate_sample(value)
        x, log_p = value.double(), self._cells.double().log_softmax(-1)
        terms = torch.where(x == 0, 0.0, x * log_p) - torch.lgamma(x + 1)
        return (torch.lgamma(self.total_count.double() + 1) + terms.sum(-1)).to(self._cells.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws."""
        with torch.no_grad():
            shape = torch.Size(sample_shape)
            batch = (*shape, *self.batch_shape)
            return shared_out(self.total_count.expand(batch), self.probs.expand(*batch, *self.event_shape))


class DirichletMultinomial(_Shares):
    """A `Multinomial` whose probabilities are Dirichlet(``concentration``), integrated out (Pólya's urn).

    Parameters
    ----------
    concentration
        Positive, (..., K).
    total_count
        Whole numbers, (...).

    Shapes
    ------
    Batch (...), event (K,).

    Examples
    --------
    >>> fn = DirichletMultinomial(torch.ones(2, 4), torch.tensor([3.0, 50.0]))
    >>> fn.sample().sum(-1)
    tensor([ 3., 50.])
    """

    arg_constraints = {  # noqa: RUF012
        "total_count": constraints.nonnegative_integer,
        "concentration": constraints.independent(constraints.positive, 1),
    }

    def __init__(self, concentration: Tensor, total_count: Any, validate_args: bool | None = None) -> None:
        super().__init__(total_count, concentration, validate_args)

    @property
    def concentration(self) -> Tensor:
        """Of the Dirichlet distribution."""
        return self._cells

    @property
    def mean(self) -> Tensor:
        """The total, shared out by the concentrations."""
        return self.total_count.unsqueeze(-1) * self._cells / self._cells.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        """Of each cell."""
        n, a = self.total_count.unsqueeze(-1), self._cells.sum(-1, keepdim=True)
        return self.mean * (1 - self._cells / a) * (n + a) / (1 + a)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if self._validate_args:
            self._validate_sample(value)
        x, a, n = value.double(), self._cells.double(), self.total_count.double()
        whole = torch.lgamma(n + 1) + torch.lgamma(a.sum(-1)) - torch.lgamma(n + a.sum(-1))
        cells = torch.lgamma(x + a) - torch.lgamma(a) - torch.lgamma(x + 1)
        return (whole + cells.sum(-1)).to(self._cells.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws."""
        with torch.no_grad():
            probs = dist.Dirichlet(self._cells, validate_args=False).sample(torch.Size(sample_shape))
            return shared_out(self.total_count.expand(probs.shape[:-1]), probs)


def shared_out(total: Tensor, probs: Tensor) -> Tensor:
    """Multinomial draws (..., K): the total is split in two by a binomial, and each part again, log2 K times."""
    cells = probs.shape[-1]
    tree = [torch.nn.functional.pad(probs, (0, (1 << (cells - 1).bit_length()) - cells))]
    while tree[-1].shape[-1] > 1:
        tree.append(tree[-1].unflatten(-1, (-1, 2)).sum(-1))
    counts = total.unsqueeze(-1)
    for level in reversed(tree[:-1]):
        pairs = level.unflatten(-1, (-1, 2))
        both = pairs.sum(-1)
        left = torch.where(both > 0, pairs[..., 0] / both, 0.5)
        first = torch.binomial(counts, left)
        counts = torch.stack([first, counts - first], -1).flatten(-2)
    return counts[..., :cells]
