"""Spike-and-slab prior, the continuous one."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch.distributions import constraints

from pyrovae.priors._sized import SizedPrior

__all__ = ["SpikeAndSlab"]


class SpikeAndSlab(SizedPrior):
    """p(z_j) = (1 − probs_j) N(0, spike_j²) + probs_j N(0, slab_j²) (George & McCulloch 1993, JASA 88, 881-889).

    A latent is either next to 0, in the narrow spike, or in use, in the wide slab. The spike has a width because a
    point mass at 0 has no density in common with a continuous guide: the ELBO between them is −∞.

    Parameters
    ----------
    size
        Number of latents.
    probs
        Probability of the slab.
    spike, slab
        Standard deviations. Each is a number, or a tensor (size,).
    learned
        Learn all three, from the values given. Nothing keeps the learned spike the narrower.

    Shapes
    ------
    Event (size,), batch (); support: the reals.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1, ``probs`` not between 0 and 1, or not 0 < spike < slab.

    Examples
    --------
    >>> SpikeAndSlab(8, probs=0.2, spike=0.05)
    SpikeAndSlab(8; support: real)
    """

    support = constraints.real_vector

    def __init__(
        self, size: int, *, probs: Any = 0.5, spike: Any = 0.1, slab: Any = 1.0, learned: bool = False
    ) -> None:
        super().__init__(size, learned=learned)
        self.hold("probs", probs, constraints.unit_interval, shape=(size,), learned=learned)
        self.hold("spike", spike, constraints.positive, shape=(size,), learned=learned)
        self.hold("slab", slab, constraints.positive, shape=(size,), learned=learned)
        if not bool((self.held("spike") < self.held("slab")).all()):
            raise ValueError(f"priors.SpikeAndSlab: expected spike below slab, got spike={spike!r} and slab={slab!r}")

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        weights = torch.stack([1 - self.held("probs"), self.held("probs")], -1)
        scales = torch.stack([self.held("spike"), self.held("slab")], -1)
        both = dist.Normal(torch.zeros_like(scales), scales)
        return dist.MixtureSameFamily(dist.Categorical(weights), both).to_event(1)
