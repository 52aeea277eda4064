"""The Radon–Sobolev autoencoder: Turinici 2021, "Radon-Sobolev Variational Auto-Encoders", arXiv 1911.13135.

A deterministic encoder z = E(x), and reconstruction error + λ d²(codes, prior), with the energy distance

    d² = E|z − Y| − ½ E|z − z′| − ½ E|Y − Y′|,

z and z′ codes of the batch, Y and Y′ draws of the prior. For N(0, I) the first and the last mean are known: Kummer's
function 1F1(−½; L/2; −|z|²/2) and a quotient of gamma functions, so that these two equations leave no draw of the
prior to be made. There is no width to choose. There is no bound on log p(x).

Their settings, for MNIST (their code): 8 latents, three layers of 200 ReLU units, squared error, λ = 100, Adam;
√(|z|² + c) and a constant in place of Kummer's function, and the pairs z = z′ counted.

What differs: two SiLU layers of 128; the error is −log p(x|z) of a likelihood that suits the data, so that the weight
is in nats per datum; Kummer's function itself; pairs z = z′ are left out, so that the estimate of d² is unbiased and
may be negative.
"""

from __future__ import annotations

import pyrovae as pv


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    likelihood: str = "auto",
    weight: float = 100.0,
    closed: bool = True,
) -> pv.VAE:
    """The program for data of one event dimension; ``weight`` of d² in nats per datum.

    ``closed``: take the means over the prior in closed form. ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    features = pv.data.features(data)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Delta(pv.networks.MLP(features, hidden[::-1], latents)),
        loss=pv.objectives.Discrepancy(pv.objectives.Energy(closed=closed), weight),
    )
