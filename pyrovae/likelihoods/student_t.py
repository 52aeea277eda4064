"""Student's t likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions import StudentT as Family
from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["StudentT"]


class StudentT(NetworkLikelihood):
    """p(x|z) = Π_i t_df((x_i − network(z)_i) / scale_i) / scale_i: as the Normal, less moved by outliers.

    Parameters
    ----------
    network
        z (..., latents) → location (..., *event).
    scale
        A number, a tensor of one datum's shape (or that broadcasts to it), or a second network of z, whose output
        softplus makes positive.
    df
        Degrees of freedom: a number above 0, or a tensor of one datum's shape. There is a mean above 1 and a variance
        above 2; learned ones stay above 1.
    learn_scale, learn_df
        Learn the number or the tensor, from the value given.

    Raises
    ------
    ValueError
        If a scale or df is not positive (df to be learned: not above 1) and finite, or has another shape than the
        location.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> StudentT(MLP(8, (32,), 64), 0.5, df=3.0)(torch.zeros(5, 8)).event_shape
    torch.Size([64])
    """

    support = constraints.real

    def __init__(
        self,
        network: Callable[..., Tensor],
        scale: Any = 1.0,
        *,
        df: Any = 4.0,
        learn_scale: bool = False,
        learn_df: bool = False,
    ) -> None:
        super().__init__(network)
        self.stand_beside("scale", scale, learned=learn_scale)
        self.hold("df", df, constraints.greater_than(1.0) if learn_df else constraints.positive, learned=learn_df)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        loc = self.parameters_of(z, context)
        event = tuple(loc.shape[z.dim() - 1 :])
        return cells(Family(self.beside("df", z, context, event), loc, self.beside("scale", z, context, event)), z)
