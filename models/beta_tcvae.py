"""β-TCVAE: Chen, Li, Grosse & Duvenaud 2018, "Isolating Sources of Disentanglement in VAEs", arXiv 1802.04942.

The KL of the ELBO is the information of codes about data, the total correlation of the codes and the KL of each
dimension (eq. 2); of these the total correlation alone gets a weight β. Densities of the aggregate q(z) are estimated
within the batch, by minibatch-weighted sampling or, with ``stratified``, by minibatch-stratified sampling (appendix C).

Their settings: α = γ = 1 and β chosen by the data, 6 for dSprites; 10 latents; batches of 2,048 with Adam at 1e-3.

What differs: β = 6 for all data, SiLU layers, a likelihood that suits the data, batches of 100 unless `fit` is told.
"""

from __future__ import annotations

import pyrovae as pv


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    beta: float = 6.0,
    alpha: float = 1.0,
    gamma: float = 1.0,
    stratified: bool = False,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension; ``likelihood`` as in `pyrovae.likelihoods.suited`."""
    features = pv.data.features(data)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], 2 * latents)),
        loss=pv.objectives.TotalCorrelation(beta, alpha=alpha, gamma=gamma, stratified=stratified),
    )
