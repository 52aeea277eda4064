"""Categorical distribution whose draws are of the type of data."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor

__all__ = ["Categorical"]


class Categorical(dist.Categorical):
    """P(x = k) ∝ exp(logits_k), with draws 0, …, K − 1 as floating-point numbers, which data and networks are.

    Categories have no mean: ``mean`` raises `NotImplementedError`, where that of torch is NaN.

    Parameters
    ----------
    probs, logits
        One of them, (..., K).
    normalised
        The logits are log probabilities already.

    Examples
    --------
    >>> Categorical(logits=torch.zeros(2, 3)).sample().dtype
    torch.float32
    """

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
        *,
        normalised: bool = False,
    ) -> None:
        if logits is None or probs is not None or not logits.dim():
            super().__init__(probs, logits, validate_args=validate_args)
            return
        # as torch's, whose normalisation is two passes forward and three backward
        self.logits = self._param = logits if normalised else logits.log_softmax(-1)
        self._num_events = logits.shape[-1]
        dist.TorchDistribution.__init__(self, logits.shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Categorical:
        """The same with a larger batch."""
        new: Categorical = super().expand(batch_shape, _instance=self._get_checked_instance(Categorical, _instance))
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if hasattr(value, "_pyro_categorical_support"):  # of enumeration, which needs no look-up
            out: Tensor = super().log_prob(value)
            return out
        if self._validate_args:
            self._validate_sample(value)
        place = value.long().unsqueeze(-1)
        shape = broadcast_shape(place.shape[:-1], self.batch_shape)
        return self.logits.expand(*shape, -1).gather(-1, place.expand(*shape, 1)).squeeze(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, of the type of the logits."""
        draws: Tensor = super().sample(torch.Size(sample_shape))
        return draws.to(self._param.dtype)

    @property
    def mean(self) -> Tensor:
        """None: categories are names."""
        raise NotImplementedError("Categorical: categories have no mean")

    @property
    def variance(self) -> Tensor:
        """None: categories are names."""
        raise NotImplementedError("Categorical: categories have no variance")
