"""The sliced Wasserstein autoencoder: Kolouri, Pope, Martin & Rohde 2018, "Sliced-Wasserstein Autoencoder: An
Embarrassingly Simple Generative Model", arXiv 1804.01947.

A deterministic encoder z = E(x), and reconstruction error + λ · SW²(codes, prior): the codes and as many draws of the
prior are projected on random directions, sorted, and compared one by one (algorithm 1). Any prior that can be drawn
from will do. There is no bound on log p(x).

Their settings, for MNIST (their code): 50 directions, batches of 500, two latents with a uniform prior,
convolutional networks, cross entropy and absolute error together.

What differs: a N(0, I) prior with 8 latents, two SiLU layers of 128; the error is −log p(x|z) of a likelihood that
suits the data, so that the weight is in nats per datum. On request (``closed``) the draws of the prior are replaced by
its quantiles, which takes away their noise.
"""

from __future__ import annotations

import pyrovae as pv


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    likelihood: str = "auto",
    weight: float = 100.0,
    projections: int = 50,
    closed: bool = False,
) -> pv.VAE:
    """The program for data of one event dimension; ``weight`` of SW² in nats per datum.

    ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    features = pv.data.features(data)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Delta(pv.networks.MLP(features, hidden[::-1], latents)),
        loss=pv.objectives.Discrepancy(pv.objectives.SlicedWasserstein(projections, closed=closed), weight),
    )
