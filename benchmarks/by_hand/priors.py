"""log p(z) of every prior, beside a decoder: a prior alone has no network, and is a small part of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, pad, softplus

from by_hand._case import BATCH, LATENTS, PIXELS, Case, fixed_or_learned, rest_of_a_step
from pyrovae import guides, networks, priors

LOG_2PI = math.log(2 * math.pi)
D = LATENTS


def real(part: Any, name: str) -> Tensor:
    raw = getattr(part, f"raw_{name}", None)
    return getattr(part, f"_{name}") if raw is None else raw


def unit(part: Any, name: str) -> Tensor:
    raw = getattr(part, f"raw_{name}", None)
    return getattr(part, f"_{name}") if raw is None else raw.sigmoid()


def broken_stick(raw: Tensor) -> Tensor:
    """From R^(K−1) to the simplex, as torch's StickBreakingTransform."""
    left = torch.arange(raw.shape[-1], 0, -1)
    part = torch.sigmoid(raw - left.log())
    return pad(part, (0, 1), value=1.0) * pad((1 - part).cumprod(-1), (1, 0), value=1.0)


def simplex(part: Any, name: str) -> Tensor:
    raw = getattr(part, f"raw_{name}", None)
    return getattr(part, f"_{name}") if raw is None else broken_stick(raw)


def gaussian(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * ((z - loc) / scale).square() - scale.log() - 0.5 * LOG_2PI


def normal(part: Any, z: Tensor) -> Tensor:
    return gaussian(z, real(part, "loc"), fixed_or_learned(part, "scale")).sum()


def multivariate_normal(part: Any, z: Tensor) -> Tensor:
    diagonal = fixed_or_learned(part, "diagonal")
    factor = real(part, "below").tril(-1) + diagonal.diag()
    y = torch.linalg.solve_triangular(factor, (z - real(part, "loc")).mT, upper=False)
    return -0.5 * y.square().sum() - len(z) * (diagonal.log().sum() + 0.5 * D * LOG_2PI)


def laplace(part: Any, z: Tensor) -> Tensor:
    scale = fixed_or_learned(part, "scale")
    return (-(z - real(part, "loc")).abs() / scale - (2 * scale).log()).sum()


def student_t(part: Any, z: Tensor) -> Tensor:
    df, scale = fixed_or_learned(part, "df"), fixed_or_learned(part, "scale")
    y = (z - real(part, "loc")) / scale
    normaliser = scale.log() + 0.5 * (df * math.pi).log() + torch.lgamma(df / 2) - torch.lgamma((df + 1) / 2)
    return (-(df + 1) / 2 * torch.log1p(y.square() / df) - normaliser).sum()


def log_normal(part: Any, z: Tensor) -> Tensor:
    y = z.log()
    return (gaussian(y, real(part, "loc"), fixed_or_learned(part, "scale")) - y).sum()


def gamma(part: Any, z: Tensor) -> Tensor:
    a, rate = fixed_or_learned(part, "concentration"), fixed_or_learned(part, "rate")
    return (a * rate.log() - torch.lgamma(a) + (a - 1) * z.log() - rate * z).sum()


def beta(part: Any, z: Tensor) -> Tensor:
    a, b = fixed_or_learned(part, "concentration1"), fixed_or_learned(part, "concentration0")
    normaliser = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    return ((a - 1) * z.log() + (b - 1) * torch.log1p(-z) - normaliser).sum()


def uniform(part: Any, z: Tensor) -> Tensor:
    inside = (z >= part._low) & (z < part._high)
    return torch.where(inside, -(part._high - part._low).log(), -torch.inf).sum() + 0 * z.sum()


def dirichlet(part: Any, z: Tensor) -> Tensor:
    a = fixed_or_learned(part, "concentration")
    return ((a - 1) * z.log()).sum() + len(z) * (torch.lgamma(a.sum()) - torch.lgamma(a).sum())


def logistic_normal(part: Any, z: Tensor) -> Tensor:
    left = 1 - z.cumsum(-1)[..., :-1]  # of the stick, after each piece
    piece = z[..., :-1]
    y = piece.log() - left.log() + torch.arange(D - 1, 0, -1).log()
    density = gaussian(y, real(part, "loc"), fixed_or_learned(part, "scale"))
    before = left + piece
    return (density - piece.log() - left.log() + before.log()).sum()


def bernoulli(part: Any, z: Tensor) -> Tensor:
    p = unit(part, "probs")
    logits = p.log() - torch.log1p(-p)
    return (z * logits - softplus(logits)).sum()


def one_hot(part: Any, z: Tensor) -> Tensor:
    return (z * simplex(part, "probs").log()).sum()


def relaxed_bernoulli(part: Any, z: Tensor) -> Tensor:
    p, t = unit(part, "probs"), part.temperature.value
    y = z.log() - torch.log1p(-z)
    u = p.log() - torch.log1p(-p) - t * y
    return (t.log() + u - 2 * softplus(u) - z.log() - torch.log1p(-z)).sum()


def relaxed_one_hot(part: Any, z: Tensor) -> Tensor:
    log_z, t = z.log(), part.temperature.value
    score = log_softmax(simplex(part, "probs").log() - t * log_z, -1)
    return (score - log_z).sum() + len(z) * (math.lgamma(D) + (D - 1) * t.log())


def horseshoe(part: Any, z: Tensor) -> Tensor:
    scale = fixed_or_learned(part, "scale")
    u = (z / scale).square() / 2
    below = u < 2
    near, far = torch.where(below, u, 1.0), torch.where(below, 2.0, u)
    series = torch.ones_like(near)
    for k in range(15, 1, -1):
        series = 1 - near * series * ((k - 1) / k**2)
    level = far + 25
    for k in range(12, 0, -1):
        level = far + (2 * k - 1) - k * k / level
    log_integral = torch.where(below, near + (near * series - 0.5772156649 - near.log()).log(), -level.log())
    return (log_integral - scale.log() - 0.5 * math.log(2 * math.pi**3)).sum()


def spike_and_slab(part: Any, z: Tensor) -> Tensor:
    p = unit(part, "probs")
    spike = gaussian(z, torch.zeros(()), fixed_or_learned(part, "spike")) + torch.log1p(-p)
    slab = gaussian(z, torch.zeros(()), fixed_or_learned(part, "slab")) + p.log()
    return torch.logaddexp(spike, slab).sum()


def gaussian_mixture(part: Any, z: Tensor) -> Tensor:
    scale = fixed_or_learned(part, "scale")
    each = -0.5 * ((z.unsqueeze(-2) - real(part, "loc")) / scale).square().sum(-1)
    each = each - scale.log().sum(-1) + simplex(part, "probs").log()
    return torch.logsumexp(each, -1).sum() - 0.5 * D * LOG_2PI * len(z)


def power_spherical(part: Any, z: Tensor) -> Tensor:
    loc, k = normalize(real(part, "loc"), dim=-1), fixed_or_learned(part, "concentration")
    b = (D - 1) / 2
    total = k + 2 * b
    normaliser = total * math.log(2) + b * math.log(math.pi) + torch.lgamma(k + b) - torch.lgamma(total)
    return (k * torch.log1p(z @ loc)).sum() - len(z) * normaliser


def vamp_prior(both: Any, z: Tensor) -> Tensor:
    prior, guide = both.prior, both.guide
    loc, raw = guide.network.layers(prior.inputs).chunk(2, -1)
    scale = softplus(raw)
    each = -0.5 * ((z.unsqueeze(-2) - loc) / scale).square().sum(-1) - scale.log().sum(-1)
    return torch.logsumexp(each, -1).sum() - len(z) * (0.5 * D * LOG_2PI + math.log(len(loc)))


def flow(part: Any, z: Tensor) -> Tensor:
    return part.flow().log_prob(z).sum()  # zuko's own


def conditional(both: Any, z: Tensor) -> Tensor:
    loc, raw = both.prior.part.network.layers(both.context).chunk(2, -1)
    return gaussian(z, loc, softplus(raw)).sum()


class Vamp(nn.Module):
    """The prior with its guide."""

    def __init__(self) -> None:
        super().__init__()
        features, hidden = PIXELS
        self.prior = priors.VampPrior(50, features)
        self.guide = guides.Normal(networks.MLP(features, (hidden,), 2 * D))

    def forward(self) -> Any:
        return self.prior(self.guide)


class Conditional(nn.Module):
    """The prior with its context."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = priors.Conditional(guides.Normal(networks.MLP(10, (64,), 2 * D)))
        self.context = torch.randn(BATCH, 10)

    def forward(self) -> Any:
        return self.prior(self.context)


def spline() -> nn.Module:
    import zuko

    return priors.Flow(zuko.flows.NSF(D, transforms=2, hidden_features=(64, 64)))


BOTH: list[tuple[str, Callable[..., nn.Module], Callable[..., Tensor]]] = [
    ("Normal", priors.Normal, normal),
    ("MultivariateNormal", priors.MultivariateNormal, multivariate_normal),
    ("Laplace", priors.Laplace, laplace),
    ("StudentT", priors.StudentT, student_t),
    ("LogNormal", priors.LogNormal, log_normal),
    ("Gamma", lambda d, **k: priors.Gamma(d, concentration=2.0, **k), gamma),
    ("Beta", lambda d, **k: priors.Beta(d, concentration1=2.0, concentration0=3.0, **k), beta),
    ("Dirichlet", lambda d, **k: priors.Dirichlet(d, concentration=2.0, **k), dirichlet),
    ("LogisticNormal", priors.LogisticNormal, logistic_normal),
    ("Bernoulli", lambda d, **k: priors.Bernoulli(d, probs=0.3, **k), bernoulli),
    ("OneHotCategorical", priors.OneHotCategorical, one_hot),
    ("RelaxedBernoulli", lambda d, **k: priors.RelaxedBernoulli(d, probs=0.3, **k), relaxed_bernoulli),
    ("RelaxedOneHotCategorical", priors.RelaxedOneHotCategorical, relaxed_one_hot),
    ("Horseshoe", priors.Horseshoe, horseshoe),
    ("SpikeAndSlab", priors.SpikeAndSlab, spike_and_slab),
    ("PowerSpherical", lambda d, **k: priors.PowerSpherical(d, concentration=2.5, **k), power_spherical),
]
ONCE: list[tuple[str, Callable[..., nn.Module], Callable[..., Tensor]]] = [
    ("Uniform", priors.Uniform, uniform),
    ("GaussianMixture", lambda d: priors.GaussianMixture(10, d), gaussian_mixture),
    ("VampPrior", lambda d: Vamp(), vamp_prior),
    ("Flow", lambda d: spline(), flow),
    ("Conditional", lambda d: Conditional(), conditional),
]


def cases() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Every prior's name, and what makes its case."""
    for name, make, formula in BOTH:
        yield name, lambda args=(name, make, formula): _case(*args, learned=False)
        yield f"{name}, learned", lambda args=(f"{name}, learned", make, formula): _case(*args, learned=True)
    for name, make, formula in ONCE:
        yield name, lambda args=(name, make, formula): _case(*args)


def _case(name: str, make: Callable[..., nn.Module], formula: Callable[..., Tensor], **settings: Any) -> Case:
    part = make(D, **settings)
    made = part()
    z = made.sample((BATCH,) if not made.batch_shape else ()).requires_grad_()
    rest, parameters = rest_of_a_step(z)

    def ours() -> Tensor:
        return part().log_prob(z).sum()

    def by_hand() -> Tensor:
        return formula(part, z)

    return Case(name, ours, by_hand, lambda: (ours(), by_hand()), [z, *part.parameters(), *parameters], rest)
