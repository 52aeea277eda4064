"""The conditional VAE: Sohn, Lee & Yan 2015, "Learning Structured Output Representation using Deep Conditional
Generative Models" (NIPS 28).

Given y (their x; what is described is x here, their y): z from p(z|y), x from a network of (z, y), q(z|x, y) from
one of (x, y), on the equation of their section 4, log p(x|y) ≥ E_q log p(x|z, y) − KL(q(z|x, y) ‖ p(z|y)). The labels
y are the context, one column for each class; covariates of any kind do as well. They may have no part in the prior,
which is then p(z), so that z and y are independent before x is seen.

Their settings: quadrants of MNIST digits given the other ones, and segments of photographs.

What differs: y is a label, not an image, so that there is no network that guesses x from y for the others to start
from, and no hybrid with draws of the prior (their GSNN); two SiLU layers of 128, Adam; the likelihood suits the data.
"""

from __future__ import annotations

import pyrovae as pv

PRIORS = ("normal", "conditional")


def prepare(data: pv.Data) -> pv.Data:
    """The data with their labels as the context, unless they have a context."""
    if data.context is None and data.labels is None:
        raise ValueError(
            "models/conditional.py: expected labels or a context to describe the data given: pv.Data(x, "
            "labels=…) or pv.Data(x, context=…)"
        )
    return data if data.context is not None else pv.data.labels_as_context(data)


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    prior: str = "normal",
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension with a context, such as `prepare` gives them.

    ``prior``: "normal", N(0, I), or "conditional", N(μ(y), diag σ²(y)) from a network of y. ``likelihood`` as in
    `pyrovae.likelihoods.suited`.
    """
    if data.context is None:
        raise ValueError("models/conditional.py: expected data with a context: build(prepare(data))")
    if prior not in PRIORS:
        raise ValueError(f"prior: expected one of {', '.join(PRIORS)}, got {prior!r}")
    features, given = pv.data.features(data), data.context.shape[1]
    normal = pv.priors.Normal(latents)
    conditional = pv.priors.Conditional(pv.guides.Normal(pv.networks.MLP(given, hidden, 2 * latents)))
    return pv.VAE(
        prior=normal if prior == "normal" else conditional,
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features, context=given), likelihood),
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], 2 * latents, context=given)),
    )
