"""Probabilities of some listed binary states, and of no others."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ListedStates"]


class ListedStates(TorchDistribution):
    """p(z) ∝ exp(logits_s) of state s of a list of z in {0, 1}^H, 0 of a z that is not listed.

    Each member of the batch has a list of its own. `enumerate_support` gives the list: sampled in a guide under
    ``infer={"enumerate": "parallel"}``, `pyro.infer.TraceEnum_ELBO` takes the expectation over z exactly.

    Parameters
    ----------
    states
        Zeros and ones (*batch, S, H), as floating numbers; no state twice in a list.
    logits
        Log weights (*batch, S), not necessarily normalised.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> p = ListedStates(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([0.0, 0.0]))
    >>> p.log_prob(torch.tensor([[1.0, 1.0], [1.0, 0.0]])).exp()
    tensor([0.5000, 0.0000])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012  as torch has it
    support = constraints.independent(constraints.boolean, 1)
    has_enumerate_support = True

    def __init__(self, states: Tensor, logits: Tensor, validate_args: bool | None = None) -> None:
        if states.dim() < 2 or states.shape[:-1] != logits.shape or not states.shape[-2]:
            raise ValueError(
                "distributions.ListedStates: expected states (*batch, S, H) and logits (*batch, S), S of at least 1, "
                f"got {tuple(states.shape)} and {tuple(logits.shape)}"
            )
        self.states, self.logits = states, logits.log_softmax(-1)
        self._listed: Tensor | None = None
        super().__init__(logits.shape[:-1], states.shape[-1:], validate_args=validate_args)

    @property
    def truncated(self) -> bool:
        """Whether a state is left out."""
        return self.states.shape[-1] > 62 or self.states.shape[-2] < 2 ** self.states.shape[-1]

    @property
    def probs(self) -> Tensor:
        """Probability of each state, (*batch, S)."""
        return self.logits.exp()

    @property
    def mean(self) -> Tensor:
        """Probability of a 1, (*batch, H)."""
        return (self.probs.unsqueeze(-2) @ self.states).squeeze(-2)

    @property
    def variance(self) -> Tensor:
        """Variance of each bit, (*batch, H)."""
        return self.mean * (1 - self.mean)

    def entropy(self) -> Tensor:
        """−Σ p log p, (*batch,)."""
        return torch.special.entr(self.probs).sum(-1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ListedStates:
        """The same with another batch shape."""
        shape = torch.Size(batch_shape)
        new = self._get_checked_instance(ListedStates, _instance)
        new.states = self.states.expand(shape + self.states.shape[-2:])
        new.logits = self.logits.expand(shape + self.logits.shape[-1:])
        new._listed = None
        TorchDistribution.__init__(new, shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, (*sample_shape, *batch, H)."""
        with torch.no_grad():
            which = dist.Categorical(logits=self.logits).sample(torch.Size(sample_shape))
            states = self.states.expand(which.shape + self.states.shape[-2:])
            return states.gather(-2, which[..., None, None].expand(*which.shape, 1, *self.event_shape)).squeeze(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, −∞ of a state that is not listed."""
        if value is self._listed:
            return self.logits.movedim(-1, 0)
        if self._validate_args:
            self._validate_sample(value)
        differ = value.unsqueeze(-2) @ (1 - 2 * self.states).mT  # bits, less the ones of the state
        same = differ.squeeze(-2) + self.states.sum(-1) == 0
        return torch.where(same, self.logits, -torch.inf).amax(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """The states, (S, *batch, H): they differ over the batch, so that there is nothing to expand."""
        self._listed = self.states.movedim(-2, 0)
        return self._listed
