"""What the likelihoods of counts with a given total share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.distributions.multinomial import counts_of_total
from pyrovae.likelihoods._offset import OffsetLikelihood

__all__ = ["TotalLikelihood"]


class TotalLikelihood(OffsetLikelihood):
    """logits = network(z) + offset, and a total that is one number or a column of the context."""

    def __init__(self, network: Callable[..., Tensor], total: int | None, total_column: int | None) -> None:
        super().__init__(network)
        where = f"likelihoods.{type(self).__name__}"
        if (total is None) == (total_column is None):
            came = "neither" if total is None else "both"
            raise ValueError(
                f"{where}: expected either total, the same for every datum, or total_column, the column of the context "
                f"that holds each datum's (context=x.sum(-1, keepdim=True)), got {came}"
            )
        self.total = None if total is None else at_least(f"{where}: total", total, 1)
        self.total_column = None if total_column is None else at_least(f"{where}: total_column", total_column, 0)
        counts = constraints.independent(constraints.nonnegative_integer, 1)
        self.support = counts if self.total is None else counts_of_total(self.total)
        if total_column is not None:
            self.takes = self.takes | {"context"}

    def total_of(self, context: Tensor | None) -> Tensor | int:
        """The total, (n,) or one for all."""
        if self.total_column is None:
            return self.total  # type: ignore[return-value]
        return self.column(
            context, self.total_column, "the data's totals, whole numbers", lambda t: (t >= 0) & (t % 1 == 0)
        )

    def logits(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Of the cells, (…, K)."""
        out = self.parameters_of(z, context)
        if out.dim() != z.dim():
            raise ValueError(
                f"likelihoods.{type(self).__name__}: expected a network whose output is a vector, one logit for each "
                f"cell, got shape {tuple(out.shape[z.dim() - 1 :])}"
            )
        return out

    def measure(self, x: Tensor) -> Tensor:
        """The counts."""
        return x.clamp_min(0)

    def intercept(self, total: Tensor, weight: Tensor) -> Tensor:
        """The log mean count; half a count more, so that a cell that is always 0 has one."""
        return torch.log((total + 0.5) / weight)

    def details(self) -> str:
        """The network and where the total stands."""
        own = super().details()
        column = f"column {self.total_column} of the context"
        return f"{own}, total: {column if self.total is None else self.total}"
