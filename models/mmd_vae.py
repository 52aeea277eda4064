"""InfoVAE and its case the MMD-VAE: Zhao, Song & Ermon 2017, "InfoVAE: Information Maximizing Variational
Autoencoders", arXiv 1706.02262.

To the ELBO they add λ and α: a weight on KL(q(z) ‖ p(z)) of the aggregate, and one on the mutual information of x and
z. By their equations it is, in a form that can be computed,

    E log p(x|z) − (1 − α) E KL(q(z|x) ‖ p(z)) − (α + λ − 1) D(q(z), p(z)),

and D may be any divergence that is 0 only where both agree: here the MMD². With α = 1 no KL is left, and the objective
is the MMD-VAE's; with α = 0 and λ = 1 it is the ELBO. It is no bound on log p(x) else.

Their settings are chosen for each experiment, λ so large that D weighs about as much as the reconstruction.

What differs: two SiLU layers of 128, the likelihood suits the data, and the MMD is the U-statistic of a Gaussian kernel
exp(−|a − b|²/2L).
"""

from __future__ import annotations

import pyrovae as pv


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    likelihood: str = "auto",
    alpha: float = 1.0,
    lambda_: float = 100.0,
) -> pv.VAE:
    """The program for data of one event dimension; ``lambda_`` in nats per datum for an MMD² of 1.

    ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    features = pv.data.features(data)
    if alpha > 1 or alpha + lambda_ < 1:
        raise ValueError(f"expected alpha ≤ 1 and alpha + lambda_ ≥ 1, got alpha={alpha:g}, lambda_={lambda_:g}")
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], 2 * latents)),
        loss=pv.objectives.Discrepancy(pv.objectives.MMD(), weight=alpha + lambda_ - 1, kl=1 - alpha),
    )
