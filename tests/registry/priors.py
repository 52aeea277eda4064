"""Every prior. A new one is tested by being listed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from torch import nn

from pyrovae import guides, networks, priors, schedules
from tests.registry._part import COVARIATES, FEATURES, LATENTS, Part, network_output, softplus


def _held(part: Any, *names: str) -> list[np.ndarray]:
    return [part.held(name).detach().double().numpy() for name in names]


def _cells(log_density: Callable[..., np.ndarray], *names: str) -> Callable[..., np.ndarray]:
    """The sum over independent cells of a log density of z and of these numbers of the part."""

    def reference(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
        return log_density(value, *_held(part, *names)).sum(-1)

    return reference


def _full_covariance(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, diagonal, below = _held(part, "loc", "diagonal", "below")
    factor = np.tril(below, -1) + np.diag(diagonal)
    return stats.multivariate_normal.logpdf(value, loc, factor @ factor.T)


def _dirichlet(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    (a,) = _held(part, "concentration")
    return special.gammaln(a.sum()) - special.gammaln(a).sum() + ((a - 1) * np.log(value)).sum(-1)


def _logistic_normal(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    """By hand: share k is a σ(y_k − log of how many come after it) of what is left, y Normal."""
    loc, scale = _held(part, "loc", "scale")
    left = 1 - np.concatenate([np.zeros_like(value[..., :1]), value.cumsum(-1)[..., :-2]], -1)
    broken = value[..., :-1] / left
    y = special.logit(broken) + np.log(np.arange(value.shape[-1] - 1, 0, -1))
    jacobian = np.log(broken * (1 - broken) * left)  # dz/dy is triangular
    return (stats.norm.logpdf(y, loc, scale) - jacobian).sum(-1)


def _one_hot(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    (probs,) = _held(part, "probs")
    return np.log((value * probs).sum(-1) / probs.sum())


def _relaxed_bernoulli(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    """Maddison et al. 2016, equation 24."""
    (probs,), t = _held(part, "probs"), part.temperature.value.item()
    a, odds = probs / (1 - probs), value / (1 - value)
    return (np.log(t * a) - np.log(value * (1 - value)) - t * np.log(odds) - 2 * np.log1p(a * odds**-t)).sum(-1)


def _relaxed_one_hot(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    """Maddison et al. 2016, equation 10."""
    (probs,), t, n = _held(part, "probs"), part.temperature.value.item(), value.shape[-1]
    terms = np.log(probs) - t * np.log(value)
    constant = special.gammaln(n) + (n - 1) * np.log(t)
    return constant + (terms - np.log(value)).sum(-1) - n * special.logsumexp(terms, -1)


def _horseshoe(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    (scale,) = _held(part, "scale")
    u = (value / scale) ** 2 / 2
    log = np.where(u < 500, np.log(special.exp1(np.minimum(u, 500))) + u, np.log1p(-1 / u + 2 / u**2) - np.log(u))
    return (log - np.log(scale) - np.log(2 * np.pi**3) / 2).sum(-1)


def _spike_and_slab(z: np.ndarray, probs: np.ndarray, spike: np.ndarray, slab: np.ndarray) -> np.ndarray:
    return np.log((1 - probs) * stats.norm.pdf(z, 0, spike) + probs * stats.norm.pdf(z, 0, slab))


def _mixture(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    probs, loc, scale = _held(part, "probs", "loc", "scale")
    logs = stats.norm.logpdf(value[..., None, :], loc, scale).sum(-1)
    return special.logsumexp(np.log(probs / probs.sum()) + logs, -1)


def _power_spherical(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, kappa = _held(part, "loc", "concentration")
    beta = (LATENTS - 1) / 2
    alpha = beta + kappa
    log = (alpha + beta) * np.log(2) + beta * np.log(np.pi) + special.gammaln(alpha) - special.gammaln(alpha + beta)
    return kappa * np.log1p(value @ (loc / np.linalg.norm(loc))) - log


class Vamp(nn.Module):
    """A VampPrior with the guide that a program would tell it of."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.prior = priors.VampPrior(5, FEATURES, **settings)
        self.guide = guides.Normal(networks.MLP(FEATURES, (8,), 2 * LATENTS))

    def forward(self) -> Any:
        return self.prior(self.guide)


def _vamp(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    (logits,) = _held(part.prior, "logits")
    loc, raw = np.split(part.guide.network(part.prior.inputs).detach().numpy(), 2, -1)
    logs = stats.norm.logpdf(value[..., None, :], loc, softplus(raw)).sum(-1)
    return special.logsumexp(special.log_softmax(logits) + logs, -1)


def _flow() -> nn.Module:
    import zuko  # after pyrovae, which keeps it from turning validation off

    return priors.Flow(zuko.flows.MAF(LATENTS, transforms=2, hidden_features=(8,)))


def _by_its_jacobian(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    transform, out = part.flow().transform, []
    for z in torch.from_numpy(value):
        jacobian = torch.autograd.functional.jacobian(transform, z).numpy()
        out.append(stats.norm.logpdf(transform(z).detach().numpy()).sum() + np.linalg.slogdet(jacobian)[1])
    return np.array(out)


def _conditional(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, raw = np.split(network_output(part.part, {"input": inputs["context"]}), 2, -1)
    return stats.norm.logpdf(value, loc, softplus(raw)).sum(-1)


def _sequence(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    """Position by position, the network run anew on what stands before it."""
    out = []
    for codes in torch.from_numpy(value).long():
        total, unit = 0.0, torch.eye(part.categories, dtype=torch.float64)
        for i, code in enumerate(codes):
            before = torch.cat([torch.zeros(1, part.categories, dtype=torch.float64), unit[codes[:i]]])
            logits = part.output(part.recurrent(before)[0])[-1].detach().numpy()
            total += special.log_softmax(logits)[code]
        out.append(total)
    return np.array(out)


def _both(name: str, make: Callable[..., nn.Module], reference: Any, **settings: Any) -> tuple[Part, Part]:
    """The prior with fixed and with learned numbers."""
    return (
        Part(name, lambda: make(LATENTS), (LATENTS,), reference, **settings),
        Part(f"{name}, learned", lambda: make(LATENTS, learned=True), (LATENTS,), reference, learned=True, **settings),
    )


PRIORS = (
    *_both("Normal", priors.Normal, _cells(stats.norm.logpdf, "loc", "scale")),
    *_both(
        "MultivariateNormal",
        lambda n, learned=False: priors.MultivariateNormal(
            n, loc=0.5, scale_tril=torch.tensor([[1.0, 0, 0], [0.5, 0.8, 0], [-0.2, 0.3, 1.2]]), learned=learned
        ),
        _full_covariance,
    ),
    *_both("Laplace", priors.Laplace, _cells(stats.laplace.logpdf, "loc", "scale")),
    *_both(
        "StudentT",
        lambda n, learned=False: priors.StudentT(n, learned=learned, learn_df=learned),
        _cells(lambda z, df, loc, scale: stats.t.logpdf(z, df, loc, scale), "df", "loc", "scale"),
    ),
    *_both(
        "LogNormal",
        priors.LogNormal,
        _cells(lambda z, loc, scale: stats.lognorm.logpdf(z, scale, scale=np.exp(loc)), "loc", "scale"),
        off=-1.0,
    ),
    *_both(
        "Gamma",
        lambda n, **learned: priors.Gamma(n, concentration=2, rate=torch.tensor([0.5, 1.0, 2.0]), **learned),
        _cells(lambda z, a, rate: stats.gamma.logpdf(z, a, scale=1 / rate), "concentration", "rate"),
        off=-1.0,
    ),
    *_both(
        "Beta",
        lambda n, **learned: priors.Beta(n, concentration1=2, concentration0=0.7, **learned),
        _cells(stats.beta.logpdf, "concentration1", "concentration0"),
        off=1.5,
    ),
    Part(
        "Uniform",
        lambda: priors.Uniform(LATENTS, low=-1, high=torch.tensor([1.0, 2.0, 3.0])),
        (LATENTS,),
        _cells(lambda z, low, high: stats.uniform.logpdf(z, low, high - low), "low", "high"),
        off=-1.5,
    ),
    *_both(
        "Dirichlet",
        lambda n, **learned: priors.Dirichlet(n, concentration=torch.tensor([0.7, 1.0, 3.0]), **learned),
        _dirichlet,
        off=0.9999,
    ),
    *_both("LogisticNormal", priors.LogisticNormal, _logistic_normal, off=-0.5),
    *_both(
        "Bernoulli",
        lambda n, **learned: priors.Bernoulli(n, probs=torch.tensor([0.1, 0.5, 0.8]), **learned),
        _cells(stats.bernoulli.logpmf, "probs"),
        off=0.5,
    ),
    *_both(
        "OneHotCategorical",
        lambda n, **learned: priors.OneHotCategorical(n, probs=torch.tensor([0.1, 0.2, 0.7]), **learned),
        _one_hot,
        off=0.5,
    ),
    *_both(
        "RelaxedBernoulli",
        lambda n, **learned: priors.RelaxedBernoulli(n, probs=0.3, **learned),
        _relaxed_bernoulli,
        off=-0.5,
    ),
    *_both(
        "RelaxedOneHotCategorical",
        lambda n, **learned: priors.RelaxedOneHotCategorical(
            n, temperature=schedules.linear(1, 0.5, 10), probs=torch.tensor([0.1, 0.2, 0.7]), **learned
        ),
        _relaxed_one_hot,
        off=-0.5,
    ),
    *_both("Horseshoe", priors.Horseshoe, _horseshoe),
    *_both("SpikeAndSlab", priors.SpikeAndSlab, _cells(_spike_and_slab, "probs", "spike", "slab")),
    Part("GaussianMixture", lambda: priors.GaussianMixture(5, LATENTS), (LATENTS,), _mixture),
    Part(
        "GaussianMixture, fixed",
        lambda: priors.GaussianMixture(2, LATENTS, loc=torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]), learned=False),
        (LATENTS,),
        _mixture,
    ),
    *_both(
        "PowerSpherical",
        lambda n, **learned: priors.PowerSpherical(n, loc=torch.tensor([1.0, -2.0, 0.5]), concentration=2.5, **learned),
        _power_spherical,
        off=lambda z: 1.01 * z,
    ),
    Part(
        "PowerSpherical, uniform",
        lambda: priors.PowerSpherical(LATENTS),
        (LATENTS,),
        _power_spherical,
        off=lambda z: 1.01 * z,
    ),
    Part("VampPrior", Vamp, (LATENTS,), _vamp),
    Part("VampPrior, weights learned", lambda: Vamp(learn_weights=True), (LATENTS,), _vamp),
    Part("Flow", _flow, (LATENTS,), _by_its_jacobian),
    Part(
        "CategoricalSequence",
        lambda: priors.CategoricalSequence(LATENTS, 4, hidden=6),
        (LATENTS,),
        _sequence,
        off=0.5,
    ),
    Part(
        "CategoricalSequence, independent",
        lambda: priors.CategoricalSequence(LATENTS, 4, hidden=0),
        (LATENTS,),
        lambda part, inputs, value: special.log_softmax(_held(part, "logits")[0], -1)[
            np.arange(LATENTS), value.astype(int)
        ].sum(-1),
        off=0.5,
        learned=True,
    ),
    Part(
        "Conditional",
        lambda: priors.Conditional(guides.Normal(networks.MLP(COVARIATES, (8,), 2 * LATENTS))),
        (LATENTS,),
        _conditional,
        context=COVARIATES,
    ),
)
