"""The denoising VAE: Im, Ahn, Memisevic & Bengio 2017, "Denoising Criterion for Variational Auto-Encoding Framework".

arXiv 1511.06406. In training the encoder sees x̃ ~ c(x̃|x), a corrupted copy, and the model must explain the clean x:
the equation is L = E_c(x̃|x) E_q(z|x̃) [log p(x, z) − log q(z|x̃)].

What the figure means: q(z|x̃) is some distribution of z for every x̃, so L is a mean of ELBOs of the clean x and a lower
bound on log p(x). The tightest one with these draws has the mixture q̃(z|x) = E_c q(z|x̃) in place of q(z|x̃): it lies
between L and log p(x), by the concavity of the logarithm, and its density has no closed form. What training reports is
L. Everything after training, validation included, has no corruption: the ELBO of q(z|x), a bound as well, of another
guide. The two are not to be compared with each other.

Their settings: MNIST and Frey Face, 50 latents, one or two layers of 200 units, salt-and-pepper or Gaussian noise on
the input, Adam.

What differs: two SiLU layers of 128; Gaussian noise in units of the data's standard deviation, or cells put to 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import pyrovae as pv

KINDS = ("gaussian", "masking")


class Denoising(pv.guides.Normal):
    """A Normal guide that sees a corrupted x while it trains."""

    def __init__(self, network: Any, kind: str, level: float) -> None:
        super().__init__(network)
        self.kind, self.level = kind, level

    def corrupted(self, x: Tensor) -> Tensor:
        """A draw of c(x̃|x)."""
        if self.kind == "gaussian":
            return x + self.level * self.spread * torch.randn_like(x)
        return x * (torch.rand_like(x) >= self.level)

    def parameters_of(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The network's output for x̃ in training, for x after it."""
        return super().parameters_of(self.corrupted(x) if self.training else x, context, mask)


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    corruption: str = "gaussian",
    level: float = 0.3,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension.

    ``corruption``: "gaussian" (noise of ``level`` standard deviations of all cells) or "masking" (each cell is put to 0
    with probability ``level``); ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    if corruption not in KINDS:
        raise ValueError(f"corruption: expected one of {', '.join(KINDS)}, got {corruption!r}")
    if not 0 <= level < (1 if corruption == "masking" else float("inf")):
        raise ValueError(f"level: expected a number of at least 0, below 1 for masking, got {level!r}")
    features = pv.data.features(data)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=Denoising(
            pv.networks.MLP(features, hidden[::-1], pv.guides.Normal.outputs(latents)), corruption, float(level)
        ),
    )
