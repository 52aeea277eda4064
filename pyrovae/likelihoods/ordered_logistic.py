"""Ordered logistic likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyrovae._numbers import at_least
from pyrovae.distributions import Categorical as Family
from pyrovae.distributions.discretized_logistic import log_sigmoid_difference
from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["OrderedLogistic"]


class OrderedLogistic(NetworkLikelihood):
    """logit P(x_i ≤ k) = c_ik − network(z)_i with learned c_i1 < … < c_i,K−1, for levels 0, …, K − 1 (McCullagh 1980).

    The cutpoints start where the levels are equally likely at network(z) = 0.

    Parameters
    ----------
    levels
        K, the same for every cell.
    network
        z (..., latents) → (..., *event).
    features
        How many cells have cutpoints of their own: their number, or one datum's shape. Without it all share the same.

    Raises
    ------
    ValueError
        If ``levels`` or ``features`` are no whole numbers, or the network makes data of another shape.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> OrderedLogistic(5, MLP(8, (32,), 10), features=10)(torch.zeros(3, 8)).event_shape
    torch.Size([10])
    """

    def __init__(
        self, levels: int, network: Callable[..., Tensor], *, features: int | Sequence[int] | None = None
    ) -> None:
        super().__init__(network)
        self.levels = at_least("likelihoods.OrderedLogistic: levels", levels, 2)
        self.support = constraints.integer_interval(0, self.levels - 1)
        sizes = () if features is None else features if isinstance(features, Sequence) else (features,)
        event = tuple(at_least("likelihoods.OrderedLogistic: features", size, 1) for size in sizes)
        start = (torch.arange(1, self.levels) / self.levels).logit()
        self.hold("cutpoints", start, constraints.ordered_vector, shape=(*event, self.levels - 1), learned=True)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        out, cuts = self.parameters_of(z, context), self.held("cutpoints")
        self.expect_fit("features", tuple(cuts.shape[:-1]), tuple(out.shape[z.dim() - 1 :]))
        above = cuts - out.unsqueeze(-1)
        inner = log_sigmoid_difference(above[..., :-1], above[..., 1:], cuts.diff(dim=-1))
        log_p = torch.cat([logsigmoid(above[..., :1]), inner, logsigmoid(-above[..., -1:])], -1)
        return cells(Family(logits=log_p, normalised=True), z)

    def details(self) -> str:
        """How many levels, and the network."""
        return f"{self.levels} levels, {super().details()}"
