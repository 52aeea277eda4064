"""Autoregressive prior over categories."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae._part import Part
from pyrovae.distributions import Categorical
from pyrovae.distributions import CategoricalSequence as Distribution

__all__ = ["CategoricalSequence"]


class CategoricalSequence(Part):
    """p(z) = Π_i p(z_i | z_1, …, z_i−1), each of z one of K categories, by a recurrent network (a GRU, Cho et al. 2014,
    1406.1078) along the positions: a learned prior over discrete codes, as those of van den Oord et al. 2017
    (1711.00937).

    Parameters
    ----------
    length
        Number of positions.
    categories
        K.
    hidden
        Units of the network; 0 for none, where each position has probabilities of its own, equal at first.

    Shapes
    ------
    Event (length,), batch (); support: whole numbers from 0 to K − 1, as floating-point numbers.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, or K is below 2.

    Examples
    --------
    >>> prior = CategoricalSequence(8, 32)
    >>> prior
    CategoricalSequence(8 of 32; support: integer interval (0, 31))
    >>> prior().sample((5,)).shape
    torch.Size([5, 8])
    """

    def __init__(self, length: int, categories: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.length = at_least("priors.CategoricalSequence: length (the number of positions)", length, 1)
        self.categories = at_least("priors.CategoricalSequence: categories", categories, 2)
        self.hidden = at_least("priors.CategoricalSequence: hidden", hidden, 0)
        self.support = constraints.independent(constraints.integer_interval(0, self.categories - 1), 1)
        if self.hidden:
            self.recurrent = nn.GRU(self.categories, self.hidden, batch_first=True)
            self.output = nn.Linear(self.hidden, self.categories)
        else:
            self.hold("logits", 0.0, shape=(self.length, self.categories), learned=True)

    def logits_after(self, before: Tensor) -> Tensor:
        """Logits (n, length, K), of one-hot codes (n, length, K) that were moved on by one position."""
        logits: Tensor = self.output(self.recurrent(before.to(self.output.weight))[0])
        return logits

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        if not self.hidden:
            return Categorical(logits=self.held("logits")).to_event(1)
        return Distribution(self.logits_after, self.length, self.categories)

    def details(self) -> str:
        """Its sizes."""
        return f"{self.length} of {self.categories}" + ("" if self.hidden else ", independent")
