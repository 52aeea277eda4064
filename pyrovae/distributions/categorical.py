"""Categorical distribution whose draws are of the type of data."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Categorical"]


class Categorical(dist.Categorical):
    """P(x = k) ∝ exp(logits_k), with draws 0, …, K − 1 as floating-point numbers, which data and networks are.

    Categories have no mean: ``mean`` raises `NotImplementedError`, where that of torch is NaN.

    Parameters
    ----------
    probs, logits
        One of them, (..., K).

    Examples
    --------
    >>> Categorical(logits=torch.zeros(2, 3)).sample().dtype
    torch.float32
    """

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
