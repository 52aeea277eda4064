"""Every guide. A new one is tested by being listed here."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats
from torch import nn
from torch.distributions import constraints

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


def _low_rank(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, scale, factor = np.split(network_output(part, inputs), [LATENTS, 2 * LATENTS], -1)
    return np.array(
        [
            stats.multivariate_normal.logpdf(z, m, np.diag(softplus(s) ** 2) + (w := f.reshape(LATENTS, -1)) @ w.T)
            for z, m, s, f in zip(value, loc, scale, factor, strict=True)
        ]
    )


def _mixture(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    out = network_output(part, inputs)
    locs, scales, logits = np.split(out, [part.components * LATENTS, 2 * part.components * LATENTS], -1)
    locs, scales = (p.reshape(len(out), part.components, LATENTS) for p in (locs, softplus(scales)))
    each = stats.norm.logpdf(value[:, None], locs, scales).sum(-1)
    return special.logsumexp(special.log_softmax(logits, -1) + each, -1)


def _power_spherical(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    out = network_output(part, inputs)
    length = np.linalg.norm(out, axis=-1)
    loc, k = out / length[:, None], np.expm1(length)
    b = (LATENTS - 1) / 2
    normaliser = (2 * b + k) * np.log(2) + b * np.log(np.pi) + special.gammaln(b + k) - special.gammaln(2 * b + k)
    return k * np.log1p((loc * value).sum(-1)) - normaliser


def _bits(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return stats.bernoulli.logpmf(value, special.expit(network_output(part, inputs))).sum(-1)


def _one_hot(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return (value * special.log_softmax(network_output(part, inputs), -1)).sum(-1)


def _relaxed_bits(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    t = float(part.temperature.value)
    density = stats.logistic.logpdf(special.logit(value), network_output(part, inputs) / t, 1 / t)
    return (density - np.log(value) - np.log1p(-value)).sum(-1)


def _relaxed_one_hot(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    t, log_p = float(part.temperature.value), special.log_softmax(network_output(part, inputs), -1)
    terms = (log_p - (t + 1) * np.log(value)).sum(-1) + (LATENTS - 1) * np.log(t) + special.gammaln(LATENTS)
    return terms - LATENTS * special.logsumexp(log_p - t * np.log(value), -1)


def _positive(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, raw = np.split(network_output(part, inputs), 2, -1)
    return stats.lognorm.logpdf(value, softplus(raw), scale=np.exp(loc)).sum(-1)


def _interval(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    share = (value + 1) / 4  # from (-1, 3)
    return _full_covariance(part, inputs, special.logit(share)) - np.log(4 * share * (1 - share)).sum(-1)


def _simplex(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    left = 1 - np.cumsum(value, -1) + value  # of the stick, before each cell
    share, left = (value / left)[:, :-1], left[:, :-1]
    x = special.logit(share) + np.log(np.arange(LATENTS - 1, 0, -1))
    loc, raw = np.split(network_output(part, inputs), 2, -1)
    return (stats.norm.logpdf(x, loc, softplus(raw)) - np.log(left * share * (1 - share))).sum(-1)


def _mlp(outputs: int, **settings: Any) -> networks.MLP:
    return networks.MLP(FEATURES, (8,), outputs, **settings)


def _spline() -> nn.Module:
    from zuko.flows import NSF

    return NSF(LATENTS, context=5, transforms=2, hidden_features=(8,))


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
    Part(
        "positive Normal",
        lambda: guides.Normal(_mlp(2 * LATENTS), support=constraints.positive),
        (LATENTS,),
        _positive,
        given=(FEATURES,),
    ),
    Part(
        "simplex Normal",
        lambda: guides.Normal(
            _mlp(guides.Normal.outputs(LATENTS, support=constraints.simplex)), support=constraints.simplex
        ),
        (LATENTS,),
        _simplex,
        given=(FEATURES,),
    ),
    Part(
        "interval MultivariateNormal",
        lambda: guides.MultivariateNormal(
            _mlp(guides.MultivariateNormal.outputs(LATENTS)), support=constraints.interval(-1.0, 3.0)
        ),
        (LATENTS,),
        _interval,
        given=(FEATURES,),
    ),
    Part(
        "LowRankMultivariateNormal",
        lambda: guides.LowRankMultivariateNormal(
            _mlp(guides.LowRankMultivariateNormal.outputs(LATENTS, rank=2)), rank=2
        ),
        (LATENTS,),
        _low_rank,
        given=(FEATURES,),
    ),
    Part(
        "Mixture",
        lambda: guides.Mixture(_mlp(guides.Mixture.outputs(LATENTS, components=2)), components=2),
        (LATENTS,),
        _mixture,
        given=(FEATURES,),
    ),
    Part(
        "positive Mixture",
        lambda: guides.Mixture(
            _mlp(guides.Mixture.outputs(LATENTS, components=2), mask=True),
            components=2,
            support=constraints.greater_than(1.0),
        ),
        (LATENTS,),
        None,
        given=(FEATURES,),
        mask=True,
    ),
    Part(
        "Flow, spline",
        lambda: guides.Flow(_mlp(guides.Flow.outputs(LATENTS, features=5)), _spline()),
        (LATENTS,),
        None,
        given=(FEATURES,),
    ),
    Part(
        "Flow, inverse autoregressive",
        lambda: guides.Flow(
            _mlp(guides.Flow.outputs(LATENTS, features=5), context=COVARIATES),
            guides.inverse_autoregressive(LATENTS, 5, hidden_features=(8,)),
        ),
        (LATENTS,),
        None,
        given=(FEATURES,),
        context=COVARIATES,
    ),
    Part(
        "unit Flow",
        lambda: guides.Flow(
            _mlp(guides.Flow.outputs(LATENTS, features=5)), _spline(), support=constraints.unit_interval
        ),
        (LATENTS,),
        None,
        given=(FEATURES,),
    ),
    Part(
        "PowerSpherical",
        lambda: guides.PowerSpherical(_mlp(guides.PowerSpherical.outputs(LATENTS))),
        (LATENTS,),
        _power_spherical,
        given=(FEATURES,),
    ),
    Part("Bernoulli", lambda: guides.Bernoulli(_mlp(LATENTS)), (LATENTS,), _bits, given=(FEATURES,), off=0.5),
    Part(
        "OneHotCategorical",
        lambda: guides.OneHotCategorical(_mlp(LATENTS), estimator="enumerate"),
        (LATENTS,),
        _one_hot,
        given=(FEATURES,),
        off=0.5,
    ),
    Part(
        "RelaxedBernoulli",
        lambda: guides.RelaxedBernoulli(_mlp(LATENTS), temperature=0.7),
        (LATENTS,),
        _relaxed_bits,
        given=(FEATURES,),
        off=1.5,
    ),
    Part(
        "RelaxedOneHotCategorical",
        lambda: guides.RelaxedOneHotCategorical(_mlp(LATENTS), temperature=0.7),
        (LATENTS,),
        _relaxed_one_hot,
        given=(FEATURES,),
        off=1.5,
    ),
)
