"""WAE-GAN: Tolstikhin, Bousquet, Gelly & Schölkopf 2018, "Wasserstein Auto-Encoders", arXiv 1711.01558.

Their algorithm 1: codes z = E(x), a point, are decoded, and a critic tells them from draws of N(0, I). Encoder and
decoder lower the reconstruction error − λ log σ(T(z)), the critic its cross entropy. With a guide that has a density
it is the adversarial autoencoder of Makhzani et al. 2015, 1511.05644, which has the same game.

Their settings: MNIST with 8 latents, λ = 10, squared errors, convolutions with batch normalisation, batches of 100,
Adam with β₁ = .5; the critic has layers of 512, and half the learning rate.

What differs: SiLU layers without normalisation, two of 128 for the critic, and a likelihood that suits the data, in
nats per datum: |x − x̂|² and λ are −log p(x|z) and λ/2σ² of a Normal with scale σ. It is no bound on log p(x), and a
guide that is a point has no density: it has no evidence.
"""

from __future__ import annotations

import pyrovae as pv

GUIDES = ("delta", "normal")


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    weight: float = 10.0,
    critic: tuple[int, ...] = (128, 128),
    rate: float = 0.5,
    likelihood: str = "auto",
    guide: str = "delta",
) -> pv.VAE:
    """The program for data of one event dimension; ``likelihood`` as in `pyrovae.likelihoods.suited`.

    ``weight`` is λ in nats, ``rate`` the critic's learning rate as a multiple of that of the run; ``guide``: "delta", a
    point, or "normal".
    """
    if guide not in GUIDES:
        raise ValueError(f"guide: expected one of {', '.join(GUIDES)}, got {guide!r}")
    features = pv.data.features(data)
    family = pv.guides.Delta if guide == "delta" else pv.guides.Normal
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=family(pv.networks.MLP(features, hidden[::-1], family.outputs(latents))),
        loss=pv.objectives.Adversarial(pv.networks.MLP(latents, critic, 1), weight=weight, rate=rate),
    )
