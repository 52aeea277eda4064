"""VAE-GAN: Larsen, Sønderby, Larochelle & Winther 2016, "Autoencoding beyond pixels using a learned similarity metric".

arXiv 1512.09300, algorithm 1. A critic learns to tell data from decoded codes and from decoded draws of the prior. The
encoder raises log N(f(x); f(x̂), I) − KL, with f a hidden layer of the critic; the decoder raises γ times the first
and the reward for fooling the critic.

Their settings: 64 × 64 faces, convolutions with batch normalisation, 128 latents, RMSProp at 3e-4, batches of 64.

What differs: SiLU layers without normalisation, Adam, the reward −log σ in place of log(1 − σ), and a default of γ that
suits the digits. Posterior draws and evidence are those of a likelihood p(x|z) that suits the data and of which only
the mean is trained: the scale of a Normal stays at the spread of the data. On counts and binary data the critic has it
easy, as means are not whole numbers.
"""

from __future__ import annotations

import pyrovae as pv


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    gamma: float = 1.0,
    kl: float = 1.0,
    critic: tuple[int, ...] = (128, 64),
    rate: float = 0.1,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension; ``likelihood`` as in `pyrovae.likelihoods.suited`.

    ``critic`` are the critic's layers, the last of which is compared; ``rate`` is its learning rate as a multiple of
    that of the run.
    """
    features = pv.data.features(data)
    if not critic:
        raise ValueError("critic: expected its layers, the last of which is compared, such as (128, 64), got none")
    own = pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood)
    for name, parameter in own.named_parameters():
        parameter.requires_grad_(name.startswith("network."))
    seen, told = pv.networks.MLP(features, critic[:-1], critic[-1]), pv.networks.MLP(critic[-1], (32,), 1)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=own,
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], 2 * latents)),
        loss=pv.objectives.LearnedSimilarity(seen, told, weight=gamma, kl=kl, rate=rate),
    )
