"""What the likelihoods of counts share: a log mean, an exposure, a gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.likelihoods._offset import OffsetLikelihood

__all__ = ["CountLikelihood"]


class CountLikelihood(OffsetLikelihood):
    """log μ = network(z) + offset + log exposure; the offset is the log mean count per exposure of each cell."""

    support = constraints.nonnegative_integer

    def __init__(self, network: Callable[..., Tensor], exposure: int | None) -> None:
        super().__init__(network)
        self.exposure = exposure
        if exposure is not None:
            name = f"likelihoods.{type(self).__name__}: exposure (the column of the context)"
            self.exposure = at_least(name, exposure, 0)
            self.takes = self.takes | {"context"}

    def log_mean(self, z: Tensor, context: Tensor | None) -> Tensor:
        """log μ, (…, *event)."""
        out = self.parameters_of(z, context)
        size = self.size_of(context)
        return out if size is None else out + size.log().reshape(*size.shape, *[1] * (out.dim() - (z.dim() - 1)))

    def size_of(self, context: Tensor | None) -> Tensor | None:
        """The exposure, (n,)."""
        if self.exposure is None:
            return None
        return self.column(context, self.exposure, "positive exposures", lambda e: e > 0)

    def measure(self, x: Tensor) -> Tensor:
        """The counts."""
        return x.clamp_min(0)

    def intercept(self, total: Tensor, weight: Tensor) -> Tensor:
        """The log mean count; half a count more, so that a cell that is always 0 has one."""
        return ((total + 0.5) / weight).log()

    def stand_gate(self, gate: Any, *, learned: bool) -> None:
        """Keep the probability of an extra zero, as its logit.

        Raises
        ------
        ValueError
            If it is not between 0 and 1.
        """
        if not callable(gate):
            try:
                start = torch.as_tensor(gate, dtype=torch.get_default_dtype())
            except (TypeError, ValueError, RuntimeError):
                raise TypeError(
                    f"likelihoods.{type(self).__name__}: expected a number, a tensor or a network of z as gate, got "
                    f"{gate!r}"
                ) from None
            if not bool(((start > 0) & (start < 1)).all()):
                raise ValueError(
                    f"likelihoods.{type(self).__name__}: expected a gate between 0 and 1, the probability of an extra "
                    f"zero, got {gate!r}"
                )
            gate = start.logit()
        self.stand_beside("gate", gate, constraints.real, learned=learned)

    def gate_logits(self, z: Tensor, context: Tensor | None, event: tuple[int, ...]) -> Tensor:
        """The logit of the probability of an extra zero."""
        return self.beside("gate", z, context, event, lambda raw: raw)

    def details(self) -> str:
        """The network, and where the exposure stands."""
        own = super().details()
        return own if self.exposure is None else f"{own}, exposure: column {self.exposure} of the context"
