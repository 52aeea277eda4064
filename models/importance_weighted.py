"""The importance-weighted autoencoder: Burda, Grosse & Salakhutdinov 2015, "Importance Weighted Autoencoders",
arXiv 1509.00519.

The program of `vae.py`, trained on L_K = E log (1/K) Σ_k p(x, z_k) / q(z_k|x) with K draws of each datum (eq. 8), which
rises in K from the ELBO to log p(x) (theorem 1): so the guide may be wrong where weights can mend it. On request the
same bound with the doubly reparameterised gradient (Tucker et al. 2018, 1810.04152), or Rényi's bound of order α (Li &
Turner 2016, 1602.02311).

Their settings (section 5): K of 1, 5 and 50; one stochastic layer of 50 latents under two tanh layers of 200, Bernoulli
pixels of MNIST, binarised anew each time; Glorot's initial weights; batches of 20; Adam with ε = 1e-4, at rates of
.001 · 10^(−i/7) for 3^i epochs, i = 0 … 7. The networks are those of ``--binarize dynamic --set latents=50 --set
"hidden=(200, 200)" --set activation=tanh --set glorot=True``.

What differs: PyTorch's initial weights unless asked for Glorot's, one cosine for the rate, likelihoods for other data,
a guide that standardises its input; no model with two stochastic layers.
"""

from __future__ import annotations

from torch import nn

import pyrovae as pv

OBJECTIVES = ("iwae", "dreg", "renyi")
ACTIVATIONS = {"silu": nn.SiLU, "tanh": nn.Tanh, "relu": nn.ReLU}


def build(
    data: pv.Data,
    *,
    k: int = 5,
    objective: str = "iwae",
    alpha: float = 0.5,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    activation: str = "silu",
    glorot: bool = False,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension; NaN means missing.

    ``objective``: "iwae", "dreg" or "renyi", whose order is ``alpha``; ``k`` draws of each datum. ``activation``:
    "silu", "tanh" or "relu". ``glorot``: initial weights of Glorot & Bengio 2010, as in the paper, which tanh layers
    learn faster from. ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    for name, value, known in (("objective", objective, OBJECTIVES), ("activation", activation, [*ACTIVATIONS])):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    features = pv.data.features(data)
    act, missing = ACTIVATIONS[activation], bool(data.x.isnan().any())
    bound: pv.objectives.Objective
    if objective == "renyi":
        bound = pv.objectives.Renyi(alpha, k)
    else:
        bound = pv.objectives.DReG(k) if objective == "dreg" else pv.objectives.ImportanceWeighted(k)
    encoder = pv.networks.MLP(features, hidden[::-1], 2 * latents, activation=act, mask=missing)
    decoder = pv.networks.MLP(latents, hidden, features, activation=act)
    for layer in (*encoder.modules(), *decoder.modules()) if glorot else ():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, decoder, likelihood),
        guide=pv.guides.Normal(encoder),
        loss=bound,
    )
