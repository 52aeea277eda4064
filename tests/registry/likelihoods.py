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


def _held(part: Any, inputs: Any, name: str) -> np.ndarray:
    """What stands beside the network: a number, a tensor or a second network."""
    if hasattr(part, f"{name}_network"):
        out = network_output(part, inputs, f"{name}_network")
        return out if name == "gate" else softplus(out)
    return part.held(name).detach().numpy()


def _by_cell(out: np.ndarray, count: int) -> np.ndarray:
    if out.shape[-2:] == IMAGE[1:]:
        return np.moveaxis(out.reshape(*out.shape[:-3], -1, count, *IMAGE[1:]), -3, -1)
    return out.reshape(*out.shape[:-1], -1, count)


def _laplace(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return cells(part, stats.laplace.logpdf(value, network_output(part, inputs), _held(part, inputs, "scale")))


def _student_t(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    df, scale = _held(part, inputs, "df"), _held(part, inputs, "scale")
    return cells(part, stats.t.logpdf(value, df, network_output(part, inputs), scale))


def _log_normal(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    scale = _held(part, inputs, "scale")
    return cells(part, stats.lognorm.logpdf(value, scale, scale=np.exp(network_output(part, inputs))))


def _gamma(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    k = _held(part, inputs, "concentration")
    return cells(part, stats.gamma.logpdf(value, k, scale=np.exp(network_output(part, inputs)) / k))


def _beta(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    k, m = _held(part, inputs, "concentration"), special.expit(network_output(part, inputs))
    return cells(part, stats.beta.logpdf(value, m * k, (1 - m) * k))


def _continuous_bernoulli(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    eta = network_output(part, inputs)
    return cells(part, eta * value - np.log(np.expm1(eta) / eta))


def _categorical(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    log_p = special.log_softmax(_by_cell(network_output(part, inputs), 3), -1)
    return cells(part, np.take_along_axis(log_p, value[..., None].astype(int), -1)[..., 0])


def _ordered(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    cuts, out = part.held("cutpoints").detach().numpy(), network_output(part, inputs)
    below = special.expit(cuts - out[..., None])
    below = np.concatenate([np.zeros_like(below[..., :1]), below, np.ones_like(below[..., :1])], -1)
    return cells(part, np.log(np.take_along_axis(np.diff(below), value[..., None].astype(int), -1)[..., 0]))


def _mean_count(part: Any, inputs: Any) -> np.ndarray:
    own = {k: v for k, v in inputs.items() if k != "context" or part.exposure is None}
    exposure = 1.0 if part.exposure is None else inputs["context"][:, part.exposure].numpy()[:, None]
    return exposure * np.exp(network_output(part, own))


def _negative_binomial_terms(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    r = _held(part, {"input": inputs["input"]}, "inverse_dispersion")
    return stats.nbinom.logpmf(value, r, r / (r + _mean_count(part, inputs)))


def _poisson(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return cells(part, stats.poisson.logpmf(value, _mean_count(part, inputs)))


def _negative_binomial(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return cells(part, _negative_binomial_terms(part, inputs, value))


def _inflated(base: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def reference(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
        gate = special.expit(_held(part, {"input": inputs["input"]}, "gate"))
        return cells(part, np.log(gate * (value == 0) + (1 - gate) * np.exp(base(part, inputs, value))))

    return reference


def _by_datum(density: Callable[..., Any], value: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
    rows = zip(value, *parameters, strict=True)
    return np.array([density(*row) for row in rows])


def _multivariate_normal(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    scale = part.held("scale").detach().numpy()
    if hasattr(part, "rank"):
        factor = part.held("factor").detach().numpy()
        covariance = factor @ factor.T + np.diag(scale**2)
    else:
        factor = np.diag(scale)
        factor[np.tril_indices(len(scale), -1)] = part.held("lower").detach().numpy()
        covariance = factor @ factor.T
    loc = network_output(part, inputs)
    return _by_datum(lambda x, m: stats.multivariate_normal.logpdf(x, m, covariance), value, loc)


def _total(part: Any, inputs: Any) -> np.ndarray:
    n = len(inputs["input"])
    return np.full(n, part.total) if part.total else inputs["context"][:, part.total_column].long().numpy()


def _multinomial(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    p = special.softmax(network_output(part, {"input": inputs["input"]}), -1)
    return _by_datum(stats.multinomial.logpmf, value, _total(part, inputs), p)


def _dirichlet_multinomial(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    out = network_output(part, {"input": inputs["input"]})
    concentration = _held(part, {"input": inputs["input"]}, "concentration") * special.softmax(out, -1)
    return _by_datum(stats.dirichlet_multinomial.logpmf, value.astype(int), concentration, _total(part, inputs))


def _log_level(value: np.ndarray, loc: np.ndarray, scale: np.ndarray, levels: int) -> np.ndarray:
    above = np.where(value == levels - 1, 1.0, stats.logistic.cdf(value + 0.5, loc, scale))
    return np.log(above - np.where(value == 0, 0.0, stats.logistic.cdf(value - 0.5, loc, scale)))


def _discretized_logistic(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    half, scale = (part.levels - 1) / 2, _held(part, inputs, "scale")
    return cells(part, _log_level(value, half * (1 + network_output(part, inputs)), half * scale, part.levels))


def _logistic_mixture(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    k, half = part.components, (part.levels - 1) / 2
    logits, shift, raw = np.split(_by_cell(network_output(part, inputs), 3 * k), 3, -1)
    loc = half * (1 + (2 * np.arange(k) + 1) / k - 1 + shift)
    terms = _log_level(value[..., None], loc, half * softplus(raw), part.levels)
    return cells(part, special.logsumexp(terms + special.log_softmax(logits, -1), -1))


def _positive(n: int) -> torch.Tensor:
    return 0.5 + 20 * torch.rand(n, COVARIATES)


def _totals(n: int) -> torch.Tensor:
    return torch.randint(4, 40, (n, COVARIATES)).float()


def _entry(name: str, make: Callable[[], Any], reference: Any, **rest: Any) -> Part:
    return Part(name, make, rest.pop("event", (FEATURES,)), reference, given=(LATENTS,), **rest)


SOME = (0.5, 1.0, 2.0, 3.0)

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
    _entry("Laplace", lambda: likelihoods.Laplace(decoder(), 0.5), _laplace),
    _entry(
        "Laplace, a learned scale per feature",
        lambda: likelihoods.Laplace(decoder(), torch.tensor(SOME), learn_scale=True),
        _laplace,
        learned=True,
    ),
    _entry("Laplace, a scale network", lambda: likelihoods.Laplace(decoder(), decoder()), _laplace),
    _entry("StudentT", lambda: likelihoods.StudentT(decoder(), 0.5, df=3.0), _student_t),
    _entry(
        "StudentT, learned scale and df",
        lambda: likelihoods.StudentT(decoder(), torch.tensor(SOME), learn_scale=True, learn_df=True),
        _student_t,
        learned=True,
    ),
    _entry(
        "LogNormal",
        lambda: likelihoods.LogNormal(decoder(), torch.tensor(SOME), learn_scale=True),
        _log_normal,
        learned=True,
        off=0.0,
    ),
    _entry("LogNormal, a scale network", lambda: likelihoods.LogNormal(decoder(), decoder()), _log_normal, off=-1.0),
    _entry("Gamma", lambda: likelihoods.Gamma(decoder(), torch.tensor(SOME)), _gamma, learned=True, off=0.0),
    _entry("Gamma, a fixed shape", lambda: likelihoods.Gamma(decoder(), 2.0, learned=False), _gamma, off=-1.0),
    _entry("Beta", lambda: likelihoods.Beta(decoder(), torch.tensor(SOME) + 1), _beta, learned=True, off=0.0),
    _entry("Beta, a concentration network", lambda: likelihoods.Beta(decoder(), decoder()), _beta, off=1.0),
    _entry("ContinuousBernoulli", lambda: likelihoods.ContinuousBernoulli(decoder()), _continuous_bernoulli, off=1.5),
    _entry(
        "Categorical",
        lambda: likelihoods.Categorical(3, networks.MLP(LATENTS, (8,), 3 * FEATURES)),
        _categorical,
        off=3.0,
    ),
    _entry(
        "Categorical, images",
        lambda: likelihoods.Categorical(3, networks.Conv(LATENTS, (4,), (3 * IMAGE[0], *IMAGE[1:]))),
        _categorical,
        event=IMAGE,
        off=0.5,
    ),
    _entry("OrderedLogistic", lambda: likelihoods.OrderedLogistic(4, decoder()), _ordered, learned=True, off=4.0),
    _entry(
        "OrderedLogistic, cutpoints per feature",
        lambda: likelihoods.OrderedLogistic(4, decoder(), features=FEATURES),
        _ordered,
        learned=True,
        off=-1.0,
    ),
    _entry("Poisson", lambda: likelihoods.Poisson(decoder()), _poisson, off=0.5),
    _entry(
        "Poisson, images",
        lambda: likelihoods.Poisson(networks.Conv(LATENTS, (4,), IMAGE)),
        _poisson,
        event=IMAGE,
        off=-1.0,
    ),
    _entry(
        "Poisson, exposures",
        lambda: likelihoods.Poisson(decoder(), exposure=1),
        _poisson,
        context=COVARIATES,
        covariates=_positive,
        off=-1.0,
    ),
    _entry(
        "NegativeBinomial",
        lambda: likelihoods.NegativeBinomial(decoder(), torch.tensor(SOME)),
        _negative_binomial,
        learned=True,
        off=0.5,
    ),
    _entry(
        "NegativeBinomial, a dispersion network and exposures",
        lambda: likelihoods.NegativeBinomial(decoder(), decoder(), exposure=0),
        _negative_binomial,
        context=COVARIATES,
        covariates=_positive,
        off=-1.0,
    ),
    _entry(
        "ZeroInflatedPoisson",
        lambda: likelihoods.ZeroInflatedPoisson(decoder(), torch.tensor([0.1, 0.2, 0.5, 0.9])),
        _inflated(lambda *given: stats.poisson.logpmf(given[2], _mean_count(*given[:2]))),
        learned=True,
        off=0.5,
    ),
    _entry(
        "ZeroInflatedPoisson, a gate network and exposures",
        lambda: likelihoods.ZeroInflatedPoisson(decoder(), decoder(), exposure=0),
        _inflated(lambda *given: stats.poisson.logpmf(given[2], _mean_count(*given[:2]))),
        context=COVARIATES,
        covariates=_positive,
        off=-1.0,
    ),
    _entry(
        "ZeroInflatedNegativeBinomial",
        lambda: likelihoods.ZeroInflatedNegativeBinomial(decoder(), torch.tensor(SOME), 0.3),
        _inflated(_negative_binomial_terms),
        learned=True,
        off=0.5,
    ),
    _entry(
        "ZeroInflatedNegativeBinomial, networks and exposures",
        lambda: likelihoods.ZeroInflatedNegativeBinomial(decoder(), decoder(), decoder(), exposure=1),
        _inflated(_negative_binomial_terms),
        context=COVARIATES,
        covariates=_positive,
        off=-1.0,
    ),
    _entry(
        "MultivariateNormal",
        lambda: likelihoods.MultivariateNormal(FEATURES, decoder(), scale=0.5),
        _multivariate_normal,
        learned=True,
    ),
    _entry(
        "MultivariateNormal, fixed",
        lambda: likelihoods.MultivariateNormal(
            FEATURES, decoder(), scale=torch.diag(torch.tensor(SOME)) + torch.ones(4, 4).tril(-1), learned=False
        ),
        _multivariate_normal,
    ),
    _entry(
        "LowRankMultivariateNormal",
        lambda: likelihoods.LowRankMultivariateNormal(FEATURES, decoder(), rank=2, scale=torch.tensor(SOME)),
        _multivariate_normal,
        learned=True,
    ),
    _entry("Multinomial", lambda: likelihoods.Multinomial(decoder(), total=12), _multinomial, off=lambda x: x + 1),
    _entry(
        "Multinomial, totals by datum",
        lambda: likelihoods.Multinomial(decoder(), total_column=1),
        _multinomial,
        context=COVARIATES,
        covariates=_totals,
        off=0.5,
    ),
    _entry(
        "DirichletMultinomial",
        lambda: likelihoods.DirichletMultinomial(decoder(), 3.0, total=12),
        _dirichlet_multinomial,
        learned=True,
        off=lambda x: x + 1,
    ),
    _entry(
        "DirichletMultinomial, totals by datum and a network",
        lambda: likelihoods.DirichletMultinomial(decoder(), networks.MLP(LATENTS, (8,), 1), total_column=0),
        _dirichlet_multinomial,
        context=COVARIATES,
        covariates=_totals,
        off=-1.0,
    ),
    _entry(
        "DiscretizedLogistic",
        lambda: likelihoods.DiscretizedLogistic(decoder(), torch.tensor([0.1, 0.2, 0.3, 0.5])),
        _discretized_logistic,
        learned=True,
        off=256.0,
    ),
    _entry(
        "DiscretizedLogistic, a scale network",
        lambda: likelihoods.DiscretizedLogistic(decoder(), decoder(), levels=17),
        _discretized_logistic,
        off=0.5,
    ),
    _entry(
        "DiscretizedLogisticMixture",
        lambda: likelihoods.DiscretizedLogisticMixture(3, networks.MLP(LATENTS, (8,), 9 * FEATURES), levels=17),
        _logistic_mixture,
        off=17.0,
    ),
    _entry(
        "DiscretizedLogisticMixture, images",
        lambda: likelihoods.DiscretizedLogisticMixture(2, networks.Conv(LATENTS, (4,), (6 * IMAGE[0], *IMAGE[1:]))),
        _logistic_mixture,
        event=IMAGE,
        off=-1.0,
    ),
)
