"""The β-VAE: Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework"
(ICLR), and Burgess et al. 2018, "Understanding disentangling in beta-VAE", arXiv 1804.03599.

E log p(x|z) − β KL(q(z|x) ‖ p(z)) (Higgins et al., eq. 4) with β > 1: latents are bought at a price, so that few are
used and each for a factor of its own. The weight may rise from 0 to β along a line, so that the decoder learns to use z
before z costs (Bowman et al. 2016, 1511.06349), or so again and again (Fu et al. 2019, 1903.10145). Or the KL is held
at a capacity C that grows, E log p(x|z) − β |KL − C| (Burgess et al., eq. 8).

Their settings: β = 4 for dSprites in dense networks of 1200 units with 10 latents (Higgins et al.); for C from 0 to
25 nats over 100,000 steps β = 1000 (Burgess et al.: γ), 10 latents, convolutions, Adam at 5e-4.

What differs: SiLU layers, likelihoods for other data, schedules by the epoch. Digits and photographs have no known
factors to be told apart; what can be seen of them is the KL of each latent.
"""

from __future__ import annotations

from typing import Any

import pyrovae as pv

SCHEDULES = ("constant", "annealed", "cyclical", "capacity")


def build(
    data: pv.Data,
    *,
    beta: float = 4.0,
    schedule: str = "constant",
    epochs: int = 50,
    cycles: int = 4,
    capacity: float = 10.0,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension; NaN means missing.

    ``schedule``: "constant"; "annealed", from 0 to ``beta`` over ``epochs``; "cyclical", the same in each of so many
    ``cycles`` that make up the ``epochs``; "capacity", a C from 0 to ``capacity`` nats over ``epochs`` at a constant
    ``beta``. Training that ends before its schedule does says so. ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    features = pv.data.features(data)
    missing = bool(data.x.isnan().any())
    weight: Any = beta
    if schedule == "annealed":
        weight = pv.schedules.linear(0, beta, epochs)
    elif schedule == "cyclical":
        weight = pv.schedules.cyclical(0, beta, epochs // max(cycles, 1), cycles)
    held = pv.schedules.linear(0, capacity, epochs) if schedule == "capacity" else None
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], 2 * latents, mask=missing)),
        loss=pv.objectives.Beta(weight, capacity=held),
    )
