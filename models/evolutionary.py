"""The autoencoder without an encoder: Guiraud, Drefs & Lücke 2020, "Direct Evolutionary Optimization of Variational
Autoencoders with Binary Latents" (TVAE), arXiv 2011.13704.

z ~ Bernoulli(π), x | z ~ N(μ(z), σ² I) with a network μ. q(z|x_n) is in proportion to p(x_n, z) on a set K_n of binary
states and 0 elsewhere; the algorithm evolves each K_n, with log p(x, z) as the fitness, and the network climbs the
gradient of the bound, Σ_n Σ_{z ∈ K_n} q_n(z) ∇log p(x_n, z). The bound is F = Σ_n log Σ_{z ∈ K_n} p(x_n, z): nothing is
sampled, nothing reparameterised, and no second network can be at fault.

Their settings: small networks, up to hundreds of latents; a single noisy image, whose patches are the data.

What differs: π and σ climb the gradient with the network, where they have a step in closed form; SiLU layers, Adam at a
constant rate; the likelihood suits the data; parents, crossover and flips are those of `guides.Truncated`.
"""

from __future__ import annotations

import pyrovae as pv


def build(
    data: pv.Data,
    *,
    latents: int = 16,
    hidden: tuple[int, ...] = (128,),
    states: int = 32,
    children: int = 32,
    active: float = 2.0,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension; ``hidden=()`` is binary sparse coding, a linear decoder.

    ``active`` bits of a datum are expected to be 1 at first; ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    features = pv.data.features(data)
    return pv.VAE(
        prior=pv.priors.Bernoulli(latents, probs=min(active / max(latents, 1), 0.5), learned=True),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Truncated(len(data), latents, states=states, children=children, active=active),
    )
