"""Multinomial likelihood."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions import Multinomial as Family
from pyrovae.likelihoods._totals import TotalLikelihood

__all__ = ["Multinomial"]


class Multinomial(TotalLikelihood):
    """p(x|z) = Multinomial(x; total, softmax(b + network(z))): how a given total is shared out among K cells.

    b is the log of each cell's mean count in the training data: ``pyrovae.fit`` sets it before the first epoch
    (`adapt`); it is 0 until then. A datum with missing cells is refused: its total is not known.

    Parameters
    ----------
    network
        z (..., latents) → logits − b (..., K).
    total
        The total, if it is the same for every datum.
    total_column
        Which column of the context holds each datum's total: p(x|z) is conditional on it, and a new datum is drawn with
        the total of its context.

    Raises
    ------
    ValueError
        If not exactly one of ``total`` and ``total_column`` is given, the context has no such column, or a total is not
        a whole number (looked at when not training).

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> x = torch.tensor([[3.0, 0.0, 4.0], [1.0, 1.0, 0.0]])
    >>> part = Multinomial(MLP(2, (), 3), total_column=0)
    >>> part(torch.zeros(2, 2), x.sum(-1, keepdim=True)).log_prob(x).shape
    torch.Size([2])
    """

    def __init__(
        self, network: Callable[..., Tensor], *, total: int | None = None, total_column: int | None = None
    ) -> None:
        super().__init__(network, total, total_column)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        return Family(self.total_of(context), logits=self.logits(z, context))
