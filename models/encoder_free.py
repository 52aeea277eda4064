"""The VAE without an encoder: Hoffman, Blei, Wang & Paisley 2013, "Stochastic Variational Inference", arXiv 1206.7051.

Each datum has variational parameters of its own, the local ones of their algorithm SVI, and none is shared: so there is
no amortisation gap, and q(z|x) of a new datum is inferred by steps on its own ELBO, which needs the model and no
encoder. Between this and an encoder stands one that proposes, followed by a few steps for each datum (Kim, Wiseman,
Miller, Sontag & Rush 2018, "Semi-Amortized Variational Autoencoders", 1802.02550).

Settings: Hoffman et al. step by natural gradients, with local parameters at their optimum before each step of the
global ones. Kim et al. take 20 local steps.

What differs: the decoder is a network, so that nothing is in closed form, and Adam moves rows of a table and decoder
together. A row takes one step an epoch: it wants a larger rate than an encoder, ``lr=.02``, and hundreds of epochs.
"""

from __future__ import annotations

import pyrovae as pv

GUIDES = ("table", "semi_amortized")


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    guide: str = "table",
    steps: int | None = None,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension.

    ``guide``: "table" (parameters for each datum) or "semi_amortized" (an encoder and steps after it); ``steps`` of
    local inference: of data that the table has not seen, 50 by default (each validation takes them), or after the
    encoder, 5. ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    if guide not in GUIDES:
        raise ValueError(f"guide: expected one of {', '.join(GUIDES)}, got {guide!r}")
    features = pv.data.features(data)
    told = {"steps": 50 if guide == "table" else 5} if steps is None else {"steps": steps}
    family = pv.guides.Normal
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Table(len(data), latents, family, **told)
        if guide == "table"
        else pv.guides.SemiAmortized(
            family(pv.networks.MLP(features, hidden[::-1], family.outputs(latents))), through=False, **told
        ),
    )
