"""log p(x|z) of every likelihood, from the network's output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    log_softmax,
    logsigmoid,
    poisson_nll_loss,
    softplus,
)

from by_hand._case import BATCH, LATENTS, PIXELS, TABLE, Case, fixed_or_learned
from pyrovae import likelihoods
from pyrovae.networks import MLP

LOG_2PI = math.log(2 * math.pi)
COLUMNS = {
    **{f"real {i}": "real" for i in range(16)},
    **{f"positive {i}": "positive" for i in range(8)},
    **{f"count {i}": "count" for i in range(8)},
    **{f"binary {i}": "binary" for i in range(16)},
    **{f"categorical {i}": ("categorical", 5) for i in range(8)},
    **{f"ordinal {i}": ("ordinal", 5) for i in range(8)},
}


def network(part: Any, z: Tensor, name: str = "network") -> Tensor:
    return getattr(part, name).layers(z)


def bernoulli(part: Any, z: Tensor, x: Tensor) -> Tensor:
    return -binary_cross_entropy_with_logits(network(part, z), x, reduction="sum")


def continuous_bernoulli(part: Any, z: Tensor, x: Tensor) -> Tensor:
    logits = network(part, z)
    size = logits.abs()
    small = size < 0.1
    a = torch.where(small, 1.0, size)
    square = torch.where(small, size, 0.0).square()
    normaliser = torch.where(small, square / 24 - square.square() / 2880, a / 2 + torch.log1p(-torch.exp(-a)) - a.log())
    return (logits * (x - 0.5) - normaliser).sum()


def binomial(part: Any, z: Tensor, x: Tensor) -> Tensor:
    logits, n = network(part, z), part.total
    ways = math.lgamma(n + 1) - torch.lgamma(x + 1) - torch.lgamma(n - x + 1)
    return (x * logits - n * softplus(logits) + ways).sum()


def categorical(part: Any, z: Tensor, x: Tensor) -> Tensor:
    logits = network(part, z).reshape(-1, part.classes)
    return -cross_entropy(logits, x.long().flatten(), reduction="sum")


def ordered(part: Any, z: Tensor, x: Tensor) -> Tensor:
    raw = part.raw_cutpoints
    cuts = torch.cat([raw[..., :1], raw[..., :1] + raw[..., 1:].exp().cumsum(-1)], -1)
    above = cuts - network(part, z).unsqueeze(-1)
    inner = logsigmoid(above[..., 1:]) + logsigmoid(-above[..., :-1]) + torch.log(-torch.expm1(-cuts.diff(dim=-1)))
    log_p = torch.cat([logsigmoid(above[..., :1]), inner, logsigmoid(-above[..., -1:])], -1)
    return log_p.gather(-1, x.long().unsqueeze(-1)).sum()


def gaussian(loc: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    return (-0.5 * ((x - loc) / scale).square() - scale.log()).sum() - 0.5 * LOG_2PI * x.numel()


def normal(part: Any, z: Tensor, x: Tensor) -> Tensor:
    return gaussian(network(part, z), part.log_scale.exp() if part.learn_scale else part.scale, x)


def normal_network(part: Any, z: Tensor, x: Tensor) -> Tensor:
    return gaussian(network(part, z), softplus(network(part, z, "scale_network")), x)


def laplace(part: Any, z: Tensor, x: Tensor) -> Tensor:
    scale = fixed_or_learned(part, "scale")
    return (-(x - network(part, z)).abs() / scale - (2 * scale).log()).sum()


def student_t(part: Any, z: Tensor, x: Tensor) -> Tensor:
    scale = fixed_or_learned(part, "scale")
    df = part._df if part._df is not None else 1 + part.raw_df.exp()
    y = (x - network(part, z)) / scale
    normaliser = scale.log() + 0.5 * (df * math.pi).log() + torch.lgamma(df / 2) - torch.lgamma((df + 1) / 2)
    return (-(df + 1) / 2 * torch.log1p(y.square() / df) - normaliser).sum()


def log_normal(part: Any, z: Tensor, x: Tensor) -> Tensor:
    y = x.log()
    return gaussian(network(part, z) + part.offset, fixed_or_learned(part, "scale"), y) - y.sum()


def gamma(part: Any, z: Tensor, x: Tensor) -> Tensor:
    a, out = fixed_or_learned(part, "concentration"), network(part, z) + part.offset
    return (a * (a.log() - out) - torch.lgamma(a) + (a - 1) * x.log() - a * torch.exp(-out) * x).sum()


def beta(part: Any, z: Tensor, x: Tensor) -> Tensor:
    c, out = fixed_or_learned(part, "concentration"), network(part, z)
    a, b = c * out.sigmoid(), c * (-out).sigmoid()
    ends = (a - 1) * x.log() + (b - 1) * torch.log1p(-x)
    return (ends + torch.lgamma(c) - torch.lgamma(a) - torch.lgamma(b)).sum()


def poisson(part: Any, z: Tensor, x: Tensor) -> Tensor:
    out = network(part, z) + part.offset
    return -poisson_nll_loss(out, x, reduction="sum") - torch.lgamma(x + 1).sum()


def negative_binomial_cells(log_mean: Tensor, r: Tensor, x: Tensor) -> Tensor:
    logits = log_mean - r.log()
    ways = torch.lgamma(r + x) - torch.lgamma(r) - torch.lgamma(x + 1)
    return ways + x * logits - (r + x) * softplus(logits)


def negative_binomial(part: Any, z: Tensor, x: Tensor) -> Tensor:
    r = fixed_or_learned(part, "inverse_dispersion")
    return negative_binomial_cells(network(part, z) + part.offset, r, x).sum()


def inflated(gate_logits: Tensor, log_p: Tensor, x: Tensor) -> Tensor:
    zero = torch.where(x == 0, softplus(log_p - gate_logits) + gate_logits, log_p)
    return (zero - softplus(gate_logits)).sum()


def zero_inflated_poisson(part: Any, z: Tensor, x: Tensor) -> Tensor:
    out = network(part, z) + part.offset
    return inflated(part.raw_gate, x * out - out.exp() - torch.lgamma(x + 1), x)


def zero_inflated_negative_binomial(part: Any, z: Tensor, x: Tensor) -> Tensor:
    r = fixed_or_learned(part, "inverse_dispersion")
    return inflated(part.raw_gate, negative_binomial_cells(network(part, z) + part.offset, r, x), x)


def multivariate_normal(part: Any, z: Tensor, x: Tensor) -> Tensor:
    scale = fixed_or_learned(part, "scale")
    factor = torch.diag(scale).index_put(tuple(part._below), part.raw_lower)
    y = torch.linalg.solve_triangular(factor, (x - network(part, z)).mT, upper=False)
    return -0.5 * y.square().sum() - len(x) * scale.log().sum() - 0.5 * LOG_2PI * x.numel()


def low_rank_multivariate_normal(part: Any, z: Tensor, x: Tensor) -> Tensor:
    factor, variance = part.raw_factor, fixed_or_learned(part, "scale").square()
    y = x - network(part, z)
    weighted = factor / variance.unsqueeze(-1)
    inner = torch.linalg.cholesky(torch.eye(part.rank) + factor.mT @ weighted)
    u = torch.linalg.solve_triangular(inner, (y @ weighted).mT, upper=False)
    log_det = 2 * inner.diagonal().log().sum() + variance.log().sum()
    square = (y.square() / variance).sum() - u.square().sum()
    return -0.5 * (square + len(x) * log_det + LOG_2PI * x.numel())


def multinomial(part: Any, z: Tensor, x: Tensor) -> Tensor:
    log_p = log_softmax((network(part, z) + part.offset).double(), -1)
    x = x.double()
    return (x * log_p - torch.lgamma(x + 1)).sum() + len(x) * math.lgamma(part.total + 1)


def dirichlet_multinomial(part: Any, z: Tensor, x: Tensor) -> Tensor:
    a = (fixed_or_learned(part, "concentration") * (network(part, z) + part.offset).softmax(-1)).double()
    x, whole = x.double(), a.sum(-1)
    cells = torch.lgamma(x + a) - torch.lgamma(a) - torch.lgamma(x + 1)
    rest = math.lgamma(part.total + 1) + torch.lgamma(whole) - torch.lgamma(part.total + whole)
    return cells.sum() + rest.sum()


def discretized(loc: Tensor, scale: Tensor, x: Tensor, levels: int) -> Tensor:
    low, high = (x - 0.5 - loc) / scale, (x + 0.5 - loc) / scale
    inner = logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(-1 / scale))
    return torch.where(x == 0, logsigmoid(high), torch.where(x == levels - 1, logsigmoid(-low), inner))


def discretized_logistic(part: Any, z: Tensor, x: Tensor) -> Tensor:
    half = (part.levels - 1) / 2
    loc, scale = half * (1 + network(part, z)), half * fixed_or_learned(part, "scale")
    return discretized(loc, scale, x, part.levels).sum()


def discretized_logistic_mixture(part: Any, z: Tensor, x: Tensor) -> Tensor:
    half, k = (part.levels - 1) / 2, part.components
    logits, shift, raw = network(part, z).unflatten(-1, (-1, 3 * k)).split(k, -1)
    loc = half * ((2 * torch.arange(k) + 1) / k + shift)
    each = discretized(loc, half * softplus(raw), x.unsqueeze(-1), part.levels)
    return torch.logsumexp(log_softmax(logits, -1) + each, -1).sum()


def columns(part: Any, z: Tensor, x: Tensor) -> Tensor:
    real, positive, count, binary, categories, steps = network(part, z).split([16, 8, 8, 16, 40, 8], -1)
    x_real, x_positive, x_count, x_binary, x_category, x_step = x.split([16, 8, 8, 16, 8, 8], -1)
    scale_real, scale_positive = (0.3 * part.log_scale.exp() + 1e-3).split([16, 8])
    shift, spread, logits, y = part.shift, part.spread, part.logits, x_positive.log()
    cuts = part.cutpoints
    gaps = cuts.diff(dim=-1) * part.log_gaps.exp()
    cuts = torch.cat([cuts[:, :1], cuts[:, :1] + gaps.cumsum(-1)], -1) - steps.unsqueeze(-1)
    between = logsigmoid(cuts[..., 1:]) + logsigmoid(-cuts[..., :-1]) + torch.log(-torch.expm1(-gaps))
    levels = torch.cat([logsigmoid(cuts[..., :1]), between, logsigmoid(-cuts[..., -1:])], -1)
    return (
        gaussian(shift[:16] + spread[:16] * real, spread[:16] * scale_real, x_real)
        + gaussian(shift[16:24] + spread[16:24] * positive, spread[16:24] * scale_positive, y)
        - y.sum()
        + negative_binomial_cells(shift[24:32] + count, part.log_dispersion.exp(), x_count).sum()
        - binary_cross_entropy_with_logits(logits[:16] + binary, x_binary, reduction="sum")
        - cross_entropy((logits[16:] + categories).reshape(-1, 5), x_category.long().flatten(), reduction="sum")
        + levels.gather(-1, x_step.long().unsqueeze(-1)).sum()
    )


# name, the part of a network and a number of features, log density, outputs of the network per feature, sizes
LIKELIHOODS: list[tuple[str, Callable[..., nn.Module], Callable[..., Tensor], int, tuple[int, int]]] = [
    ("Bernoulli", lambda net, d: likelihoods.Bernoulli(net), bernoulli, 1, PIXELS),
    ("ContinuousBernoulli", lambda net, d: likelihoods.ContinuousBernoulli(net), continuous_bernoulli, 1, PIXELS),
    ("Binomial", lambda net, d: likelihoods.Binomial(16, net), binomial, 1, PIXELS),
    ("Categorical", lambda net, d: likelihoods.Categorical(16, net), categorical, 16, TABLE),
    ("OrderedLogistic", lambda net, d: likelihoods.OrderedLogistic(5, net, features=d), ordered, 1, TABLE),
    ("Normal", lambda net, d: likelihoods.Normal(net, 0.5), normal, 1, PIXELS),
    (
        "Normal, a scale per feature",
        lambda net, d: likelihoods.Normal(net, torch.ones(d), learn_scale=True),
        normal,
        1,
        PIXELS,
    ),
    (
        "Normal, a scale network",
        lambda net, d: likelihoods.Normal(net, MLP(LATENTS, (PIXELS[1],), d)),
        normal_network,
        1,
        PIXELS,
    ),
    ("Laplace", lambda net, d: likelihoods.Laplace(net, torch.ones(d), learn_scale=True), laplace, 1, PIXELS),
    ("StudentT", lambda net, d: likelihoods.StudentT(net, torch.ones(d), learn_scale=True), student_t, 1, PIXELS),
    ("LogNormal", lambda net, d: likelihoods.LogNormal(net, torch.ones(d), learn_scale=True), log_normal, 1, PIXELS),
    ("Gamma", lambda net, d: likelihoods.Gamma(net, torch.full((d,), 2.0)), gamma, 1, PIXELS),
    ("Beta", lambda net, d: likelihoods.Beta(net, torch.full((d,), 4.0)), beta, 1, PIXELS),
    ("Poisson", lambda net, d: likelihoods.Poisson(net), poisson, 1, PIXELS),
    (
        "NegativeBinomial",
        lambda net, d: likelihoods.NegativeBinomial(net, torch.ones(d)),
        negative_binomial,
        1,
        PIXELS,
    ),
    (
        "ZeroInflatedPoisson",
        lambda net, d: likelihoods.ZeroInflatedPoisson(net, torch.full((d,), 0.1)),
        zero_inflated_poisson,
        1,
        PIXELS,
    ),
    (
        "ZeroInflatedNegativeBinomial",
        lambda net, d: likelihoods.ZeroInflatedNegativeBinomial(net, torch.ones(d), torch.full((d,), 0.1)),
        zero_inflated_negative_binomial,
        1,
        PIXELS,
    ),
    ("MultivariateNormal", lambda net, d: likelihoods.MultivariateNormal(d, net), multivariate_normal, 1, TABLE),
    (
        "LowRankMultivariateNormal",
        lambda net, d: likelihoods.LowRankMultivariateNormal(d, net, rank=4),
        low_rank_multivariate_normal,
        1,
        PIXELS,
    ),
    ("Multinomial", lambda net, d: likelihoods.Multinomial(net, total=200), multinomial, 1, PIXELS),
    (
        "DirichletMultinomial",
        lambda net, d: likelihoods.DirichletMultinomial(net, total=200),
        dirichlet_multinomial,
        1,
        PIXELS,
    ),
    (
        "DiscretizedLogistic",
        lambda net, d: likelihoods.DiscretizedLogistic(net, torch.full((d,), 0.2)),
        discretized_logistic,
        1,
        PIXELS,
    ),
    (
        "DiscretizedLogisticMixture",
        lambda net, d: likelihoods.DiscretizedLogisticMixture(5, net),
        discretized_logistic_mixture,
        15,
        TABLE,
    ),
]


def cases() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Every likelihood's name, and what makes its case."""
    for name, make, formula, per_feature, (features, hidden) in LIKELIHOODS:
        yield name, lambda args=(name, make, formula, features * per_feature, features, hidden): _case(*args)
    outputs = likelihoods.Columns.outputs(COLUMNS)
    for name, hidden in (("Columns", TABLE[1]), ("Columns, 400 hidden units", PIXELS[1])):
        args = name, lambda net, d: likelihoods.Columns(COLUMNS, net), columns, outputs, TABLE[0], hidden
        yield name, lambda args=args: _case(*args)


def _case(
    name: str,
    make: Callable[..., nn.Module],
    formula: Callable[..., Tensor],
    outputs: int,
    features: int,
    hidden: int,
) -> Case:
    part = make(MLP(LATENTS, (hidden,), outputs), features)
    z = torch.randn(BATCH, LATENTS, requires_grad=True)
    x = part(z).sample()

    def ours() -> Tensor:
        return part(z).log_prob(x).sum()

    def by_hand() -> Tensor:
        return formula(part, z, x)

    return Case(name, ours, by_hand, lambda: (ours(), by_hand()), [z, *part.parameters()])
