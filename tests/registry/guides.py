"""Every guide. A new one is tested by being listed here."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from pyrovae import guides, networks
from tests.registry._part import COVARIATES, FEATURES, IMAGE, LATENTS, Part, network_output, softplus


def _mean_field(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, raw = np.split(network_output(part, inputs), 2, -1)
    return stats.norm.logpdf(value, loc, softplus(raw)).sum(-1)


def _full_covariance(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    out = network_output(part, inputs)
    loc, raw = out[..., :LATENTS], out[..., LATENTS:]
    flat = []
    for mean, row, z in zip(
        loc.reshape(-1, LATENTS), raw.reshape(-1, raw.shape[-1]), value.reshape(-1, LATENTS), strict=True
    ):
        factor = np.zeros((LATENTS, LATENTS))
        factor[np.tril_indices(LATENTS)] = row
        np.fill_diagonal(factor, softplus(np.diag(factor)))
        flat.append(stats.multivariate_normal.logpdf(z, mean, factor @ factor.T))
    return np.reshape(flat, value.shape[:-1])


GUIDES = (
    Part(
        "Normal",
        lambda: guides.Normal(networks.MLP(FEATURES, (8,), 2 * LATENTS)),
        (LATENTS,),
        _mean_field,
        given=(FEATURES,),
    ),
    Part(
        "Normal, images",
        lambda: guides.Normal(networks.Conv(IMAGE, (4,), 2 * LATENTS)),
        (LATENTS,),
        _mean_field,
        given=IMAGE,
    ),
    Part(
        "MultivariateNormal",
        lambda: guides.MultivariateNormal(
            networks.MLP(FEATURES, (8,), guides.MultivariateNormal.outputs(LATENTS), context=COVARIATES, mask=True)
        ),
        (LATENTS,),
        _full_covariance,
        given=(FEATURES,),
        context=COVARIATES,
        mask=True,
    ),
)
