"""Every likelihood. A new one is tested by being listed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import special, stats

from pyrovae import likelihoods, networks
from tests.registry._part import COVARIATES, FEATURES, IMAGE, LATENTS, Part, cells, decoder, network_output, softplus


def _bernoulli(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return cells(part, stats.bernoulli.logpmf(value, special.expit(network_output(part, inputs))))


def _binomial(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return cells(part, stats.binom.logpmf(value, 6, special.expit(network_output(part, inputs))))


def _normal(scale: Any) -> Callable[..., np.ndarray]:
    def reference(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
        sd = scale if not callable(scale) else scale(part, inputs)
        return cells(part, stats.norm.logpdf(value, network_output(part, inputs), sd))

    return reference


LIKELIHOODS = (
    Part(
        "Bernoulli",
        lambda: likelihoods.Bernoulli(decoder()),
        (FEATURES,),
        _bernoulli,
        given=(LATENTS,),
        off=0.5,
    ),
    Part(
        "Bernoulli, images",
        lambda: likelihoods.Bernoulli(networks.Conv(LATENTS, (4,), IMAGE)),
        IMAGE,
        _bernoulli,
        given=(LATENTS,),
        off=-1.0,
    ),
    Part(
        "Binomial",
        lambda: likelihoods.Binomial(6, decoder(context=COVARIATES)),
        (FEATURES,),
        _binomial,
        given=(LATENTS,),
        context=COVARIATES,
        off=7.0,
    ),
    Part("Normal", lambda: likelihoods.Normal(decoder(), 0.5), (FEATURES,), _normal(0.5), given=(LATENTS,)),
    Part(
        "Normal, one learned scale",
        lambda: likelihoods.Normal(decoder(), 0.5, learn_scale=True),
        (FEATURES,),
        _normal(lambda part, _: np.exp(part.log_scale.item())),
        given=(LATENTS,),
        learned=True,
    ),
    Part(
        "Normal, a learned scale per feature",
        lambda: likelihoods.Normal(decoder(), torch.tensor([0.5, 1.0, 2.0, 3.0]), learn_scale=True),
        (FEATURES,),
        _normal(lambda part, _: np.exp(part.log_scale.detach().numpy())),
        given=(LATENTS,),
        learned=True,
    ),
    Part(
        "Normal, a scale network",
        lambda: likelihoods.Normal(decoder(), decoder(context=COVARIATES)),
        (FEATURES,),
        lambda part, inputs, value: stats.norm.logpdf(
            value,
            network_output(part, {"input": inputs["input"]}),
            softplus(network_output(part, inputs, "scale_network")),
        ).sum(-1),
        given=(LATENTS,),
        context=COVARIATES,
    ),
)
