"""Gaussian mixture prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.priors._sized import SizedPrior

__all__ = ["GaussianMixture"]


class GaussianMixture(SizedPrior):
    """p(z) = Σ_k probs_k N(z; loc_k, diag(scale_k²)), learned (clusters of Dilokthanakul et al. 2016, 1611.02648,
    and of Jiang et al. 2016, 1611.05148).

    By default means drawn from N(0, ½) and variances ½, so that it starts near N(0, I) with components that differ.

    Parameters
    ----------
    components
        Number of components K, at least 2.
    size
        Number of latents.
    probs
        Weights: a tensor (K,) that sums to 1; equal by default.
    loc, scale
        Means and standard deviations: numbers, or tensors (K, size).
    learned
        Learn all three; if not, ``loc`` must be given.

    Shapes
    ------
    Event (size,), batch (); support: the reals.

    Raises
    ------
    ValueError
        If a number is out of its domain, or ``loc`` is missing where nothing is learned.

    Examples
    --------
    >>> GaussianMixture(10, 8)
    GaussianMixture(10 components of 8, learned; support: real)
    """

    support = constraints.real_vector

    def __init__(
        self,
        components: int,
        size: int,
        *,
        probs: Any = None,
        loc: Any = None,
        scale: Any = 0.5**0.5,
        learned: bool = True,
    ) -> None:
        super().__init__(size, learned=learned)
        self.components = at_least("priors.GaussianMixture: components", components, 2)
        if loc is None and not learned:
            raise ValueError("priors.GaussianMixture: expected loc of shape (components, size) where learned is False")
        self.drawn = loc is None
        shape = (components, size)
        probs = torch.full((components,), 1 / components) if probs is None else probs
        self.hold("probs", probs, constraints.simplex, shape=(components,), learned=learned)
        self.hold("loc", 0.0 if loc is None else loc, shape=shape, learned=learned)
        self.hold("scale", scale, constraints.positive, shape=shape, learned=learned)
        self.reset_parameters()

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        parts = dist.Normal(self.held("loc"), self.held("scale")).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(self.held("probs")), parts)

    def reset_parameters(self) -> None:
        """Back to the values that were given, with means drawn anew if none were."""
        super().reset_parameters()
        if self.drawn:
            torch.nn.init.normal_(self.held("loc"), std=0.5**0.5)

    def details(self) -> str:
        """Its sizes."""
        return f"{self.components} components of {super().details()}"
