"""The plain autoencoder: Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks".

z = E(x), x̂ = D(z), and in one equation −Σ log p(x|D(E(x))), of the reconstruction, is low: with a Bernoulli their cross
entropy, with a Normal the squared error. As a program: a guide that is a point, and an objective without a KL, in which
the prior has no part. Draws of the prior decode to nothing in particular.

Their settings: sigmoid layers of 1000, 500 and 250 units, 30 linear codes for MNIST, pretrained layer by layer as
Boltzmann machines.

What differs: SiLU layers, no pretraining, Adam, and the likelihood suits the data.
"""

from __future__ import annotations

import pyrovae as pv


def build(data: pv.Data, *, latents: int = 8, hidden: tuple[int, ...] = (128, 128), likelihood: str = "auto") -> pv.VAE:
    """The program for data of one event dimension; ``likelihood`` as in `pyrovae.likelihoods.suited`."""
    features = pv.data.features(data)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Delta(pv.networks.MLP(features, hidden[::-1], latents)),
        loss=pv.objectives.Beta(0),
    )
