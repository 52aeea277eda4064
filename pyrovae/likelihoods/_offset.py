"""Likelihoods of counts and positive numbers: the unit of the data is taken from the training data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrovae.likelihoods._likelihood import NetworkLikelihood

__all__ = ["OffsetLikelihood"]

LEAST = 1e-30  # keeps the logarithm of what is off the support finite until it is refused


class OffsetLikelihood(NetworkLikelihood):
    """Adds an intercept to the network's output, which `adapt` sets once before the first epoch; 0 until then."""

    offset: Tensor
    adapted: Tensor

    def __init__(self, network: Callable[..., Tensor]) -> None:
        super().__init__(network)
        self.register_buffer("offset", torch.tensor(0.0))
        self.register_buffer("adapted", torch.tensor(False))

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the intercept of each cell from its observed values, unless it was taken before.

        A cell that is never observed gets that of all cells.

        Raises
        ------
        ValueError
            If no cell of x is observed.
        """
        if self.adapted:
            return
        observed = ~torch.isnan(x)
        if not observed.any():
            raise ValueError(f"every value of the data, of shape {tuple(x.shape)}, is missing (NaN): check the data")
        weight = observed.double()
        size = self.size_of(context)
        if size is not None:
            weight = weight * size.double().reshape(-1, *[1] * (x.dim() - 1))
        total, weight = torch.where(observed, self.measure(x.double()), 0.0).sum(0), weight.sum(0)
        overall = self.intercept(total.sum(), weight.sum())
        self.offset = torch.where(weight > 0, self.intercept(total, weight), overall).to(self.offset)
        self.adapted.fill_(True)

    def size_of(self, context: Tensor | None) -> Tensor | None:
        """What multiplies the mean of each datum, (n,)."""
        return None

    def measure(self, x: Tensor) -> Tensor:
        """What is averaged over the data."""
        return x.clamp_min(LEAST)

    def intercept(self, total: Tensor, weight: Tensor) -> Tensor:
        """The network's output for all data alike."""
        return (total / weight).log()

    def parameters_of(self, z: Tensor, context: Tensor | None) -> Tensor:
        """The network's output plus the intercept."""
        out = super().parameters_of(z, context)
        event = tuple(out.shape[z.dim() - 1 :])
        if self.offset.dim() and tuple(self.offset.shape) != event:
            raise ValueError(
                f"likelihoods.{type(self).__name__}: the network makes data of shape {event}, the training data have "
                f"shape {tuple(self.offset.shape)}: change the sizes of the networks so that they agree"
            )
        return out + self.offset

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}offset")
        if saved is not None and saved.shape != self.offset.shape:
            self.offset = self.offset.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
