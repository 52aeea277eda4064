"""FactorVAE: Kim & Mnih 2018, "Disentangling by Factorising", arXiv 1802.05983.

ELBO − γ TC(z), TC(z) = KL(q(z) ‖ Π_j q(z_j)) the total correlation of the codes (eq. 2). Their algorithm 2 estimates it
by the density ratio of a critic, which tells codes from codes of which each dimension is permuted over the batch.

Their settings: γ chosen for each data set; a critic of 6 layers of 1000 leaky ReLU units with two logits, Adam at
1e-4 for the program and for the critic, with β₁ = .5 there; batches of 64; 10 latents.

What differs: SiLU layers, two of 128 for the critic, γ = 10, one learning rate, and the batch's own codes are permuted
instead of those of a second batch.
"""

from __future__ import annotations

import pyrovae as pv


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    gamma: float = 10.0,
    critic: tuple[int, ...] = (128, 128),
    rate: float = 1.0,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension; ``likelihood`` as in `pyrovae.likelihoods.suited`.

    ``critic`` are the critic's hidden layers, in the paper ``(1000,) * 6``; ``rate`` is its learning rate as a multiple
    of that of the run.
    """
    features = pv.data.features(data)
    ratio = pv.networks.MLP(latents, critic, 2)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], 2 * latents)),
        loss=pv.objectives.TotalCorrelation(gamma, critic=ratio, rate=rate),
    )
