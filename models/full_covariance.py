"""The VAE with a full covariance: Kingma & Welling 2019, "An Introduction to Variational Autoencoders", 1906.02691.

q(z|x) = N(μ(x), L(x) L(x)ᵀ) with L lower triangular and of positive diagonal, so that z = μ + L ε and
log q(z|x) = −½|ε|² − Σ_j log L_jj − (m/2) log 2π (section 2.5.1, whose algorithm is numbered 2). Where latents depend
on each other given x, as under a linear decoder that is turned, a diagonal covariance leaves a gap below log p(x), and
this one closes it.

Their settings: none; it is an introduction.

What differs: softplus makes the diagonal of L positive, not a mask and an exponential; the likelihood suits the data.
"""

from __future__ import annotations

import pyrovae as pv


def build(data: pv.Data, *, latents: int = 8, hidden: tuple[int, ...] = (128, 128), likelihood: str = "auto") -> pv.VAE:
    """The program for data of one event dimension; ``likelihood`` as in `pyrovae.likelihoods.suited`."""
    features = pv.data.features(data)
    family = pv.guides.MultivariateNormal
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=family(pv.networks.MLP(features, hidden[::-1], family.outputs(latents))),
    )
