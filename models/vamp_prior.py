"""The VampPrior: Tomczak & Welling 2018, "VAE with a VampPrior", arXiv 1705.07120.

The prior that makes the ELBO highest, all else given, is the average of q(z|x) over the data, which overfits. Theirs is
a mixture of it in K places, p(z) = (1/K) Σ_k q(z|u_k), where the pseudo-inputs u_k are learned with the rest by the
same ELBO: those are their equations of the prior. The KL has no closed form, so it is averaged over draws.

Their settings: 500 pseudo-inputs for MNIST, 40 latents, two gated layers of 300 units, Adam with a step of 5e-4, 100
epochs of warm-up, stopped early. In their second model the prior stands on a hierarchy of two latents.

What differs: one layer of latents, two SiLU layers of 128, no warm-up; the pseudo-inputs start at data and are free to
leave their range (theirs are clipped to it); the likelihood suits the data; with ``weights`` the mixture's are learned.
"""

from __future__ import annotations

import pyrovae as pv


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    components: int = 50,
    hidden: tuple[int, ...] = (128, 128),
    weights: bool = False,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension, of which there must be as many as ``components``.

    ``weights`` learns those of the mixture; ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    features = pv.data.features(data)
    return pv.VAE(
        prior=pv.priors.VampPrior(components, features, learn_weights=weights),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], pv.guides.Normal.outputs(latents))),
    )
