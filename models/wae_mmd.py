"""The Wasserstein autoencoder with an MMD: Tolstikhin, Bousquet, Gelly & Schölkopf 2018, "Wasserstein Auto-Encoders",
arXiv 1711.01558.

The cost of carrying the data to the model's draws is the mean reconstruction error of an encoder whose aggregate of
codes is the prior (theorem 1). What is minimised is that error + λ · MMD²(codes, prior) (eq. 4, algorithm 2),
the MMD as a U-statistic with the kernel C/(C + |a − b|²), C = 2 L s. The encoder may be deterministic: z = E(x). Then
there is no bound on log p(x).

Their settings, for MNIST: 8 latents, N(0, I), squared error, λ = 10, batches of 100, Adam with a rate of .001 and
β₁ = .5, convolutional networks with batch normalisation; s in {.1, .2, .5, 1, 2, 5, 10}, summed (their code).

What differs: two SiLU layers of 128; the error is −log p(x|z), in nats. Their λ is weight = λ/2σ² here, σ the scale of
a Normal likelihood: λ = 10 is a weight of 500 for σ = .1, and means nothing for counts. The default, 100, matches the
prior on the digits up to the noise.
"""

from __future__ import annotations

import pyrovae as pv

ENCODERS = ("deterministic", "normal")


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    likelihood: str = "auto",
    encoder: str = "deterministic",
    weight: float = 100.0,
) -> pv.VAE:
    """The program for data of one event dimension; ``weight`` of the MMD² in nats per datum.

    ``encoder``: "deterministic", or "normal" for q(z|x) = N(μ(x), diag σ²(x)). ``likelihood`` as in
    `pyrovae.likelihoods.suited`.
    """
    features = pv.data.features(data)
    if encoder not in ENCODERS:
        raise ValueError(f"encoder: expected one of {', '.join(ENCODERS)}, got {encoder!r}")
    guide = pv.guides.Delta if encoder == "deterministic" else pv.guides.Normal
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=guide(pv.networks.MLP(features, hidden[::-1], guide.outputs(latents))),
        loss=pv.objectives.Discrepancy(pv.objectives.MMD(pv.objectives.InverseMultiquadratic()), weight),
    )
