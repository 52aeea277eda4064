"""Sequences of categories, each of which depends on those before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["CategoricalSequence"]


class CategoricalSequence(dist.TorchDistribution):
    """p(z) = Π_i p(z_i | z_1, …, z_i−1), z_i one of 0, …, K − 1 as a floating-point number.

    Draws take one call of the network for each position. There is no gradient through them.

    Parameters
    ----------
    network
        One-hot codes (n, length, K), moved on by one position, 0 in the first → logits (n, length, K). The logits of a
        position may depend on what stands in it and before it, on nothing after it.
    length, categories
        How many positions, and K.

    Examples
    --------
    >>> p = CategoricalSequence(lambda before: before.float().cumsum(1), 4, 3)
    >>> p.sample((5,)).shape, p.log_prob(torch.zeros(5, 4)).shape
    (torch.Size([5, 4]), torch.Size([5]))
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = False

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        length: int,
        categories: int,
        batch_shape: Any = (),
        validate_args: bool | None = None,
    ) -> None:
        self.network, self.categories = network, categories
        super().__init__(torch.Size(batch_shape), torch.Size((length,)), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Whole numbers below K."""
        return constraints.independent(constraints.integer_interval(0, self.categories - 1), 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> CategoricalSequence:
        """The same with another batch shape."""
        new = CategoricalSequence(self.network, self.event_shape[0], self.categories, batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, position by position."""
        shape = self.shape(sample_shape)
        with torch.no_grad():
            codes = torch.zeros(shape[:-1].numel(), shape[-1], dtype=torch.long)
            for i in range(shape[-1]):
                logits = self._logits(codes[:, : i + 1])[:, i]
                codes = codes.to(logits.device)
                codes[:, i] = torch.distributions.Categorical(logits=logits).sample()
            return codes.reshape(shape).to(logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        if self._validate_args:
            self._validate_sample(value)
        codes = value.detach().long().reshape(-1, *self.event_shape)
        chosen = self._logits(codes).log_softmax(-1).gather(-1, codes.unsqueeze(-1)).squeeze(-1)
        log_prob = chosen.sum(-1).reshape(value.shape[:-1])
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    def _logits(self, codes: Tensor) -> Tensor:
        """Logits (n, length, K) of codes (n, length)."""
        one_hot = codes.unsqueeze(-1) == torch.arange(self.categories, device=codes.device)
        before = torch.nn.functional.pad(one_hot.long()[:, :-1], (0, 0, 1, 0))
        return self.network(before)
