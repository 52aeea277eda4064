"""Mixture of discretised logistic distributions in each cell."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae._numbers import at_least
from pyrovae.distributions import DiscretizedLogistic as Family
from pyrovae.likelihoods._likelihood import NetworkLikelihood, by_cell, cells

__all__ = ["DiscretizedLogisticMixture"]


class DiscretizedLogisticMixture(NetworkLikelihood):
    """Whole numbers 0, …, levels − 1: in each cell a mixture of K discretised logistic distributions, as in PixelCNN++.

    Σ_k softmax(a)_k P_k(x) with medians c (1 + m_k + b_k) and scales c softplus(s_k), where the network makes a, b, s,
    c = (levels − 1)/2, and the m_k stand evenly between −1 and 1 (Salimans et al. 2017, 1701.05517, equation 2; there
    the channels of a pixel also depend on each other: here they are independent given z).

    Parameters
    ----------
    components
        K.
    network
        z (..., latents) → 3 K outputs for each cell, a, then b, then s: (..., cells · 3 K) cell by cell,
        (..., 3 K · channels, height, width) channel by channel, or (..., *event, 3 K).
    levels
        How many there are: 256 for bytes.

    Raises
    ------
    ValueError
        If ``components`` or ``levels`` are no whole numbers of at least 1 and 2, or the network has another number of
        outputs.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> DiscretizedLogisticMixture(5, MLP(8, (32,), 64 * 15))(torch.zeros(3, 8)).event_shape
    torch.Size([64])
    """

    def __init__(self, components: int, network: Callable[..., Tensor], *, levels: int = 256) -> None:
        super().__init__(network)
        self.components = at_least("likelihoods.DiscretizedLogisticMixture: components", components, 1)
        self.levels = at_least("likelihoods.DiscretizedLogisticMixture: levels", levels, 2)
        self.support = constraints.integer_interval(0, self.levels - 1)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        out = by_cell(self, self.parameters_of(z, context), z, 3 * self.components)
        logits, shift, raw = out.split(self.components, -1)
        half, place = (self.levels - 1) / 2, torch.arange(self.components, dtype=out.dtype, device=out.device)
        parts = Family(half * ((2 * place + 1) / self.components + shift), half * softplus(raw), self.levels)
        return cells(dist.MixtureSameFamily(dist.Categorical(logits=logits), parts), z)

    def details(self) -> str:
        """How many components, and the network."""
        return f"{self.components} components, {super().details()}"
