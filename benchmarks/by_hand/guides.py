"""A draw of every guide and its log q(z|x), from the network's output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, logsigmoid, normalize, pad, softplus

from by_hand._case import BATCH, LATENTS, PIXELS, TABLE, Case, rest_of_a_step
from pyrovae import guides
from pyrovae.guides.mixture import _Implicit
from pyrovae.networks import MLP

LOG_2PI = math.log(2 * math.pi)
M = LATENTS
Drawn = tuple[Tensor, Tensor]
BELOW = torch.tril_indices(M, M)
DIAGONAL = BELOW[0] == BELOW[1]


def noise(eps: Tensor) -> Tensor:
    return -0.5 * eps.square().sum(-1) - 0.5 * LOG_2PI * eps.shape[-1]


def normal_of(raw: Tensor) -> Drawn:
    loc, scale = raw.chunk(2, -1)
    scale = softplus(scale)
    eps = torch.randn_like(loc)
    return loc + scale * eps, noise(eps) - scale.log().sum(-1)


def normal(part: Any, x: Tensor) -> Drawn:
    return normal_of(part.network.layers(x))


def positive_normal(part: Any, x: Tensor) -> Drawn:
    y, log_q = normal(part, x)
    return y.exp(), log_q - y.sum(-1)


def unit_normal(part: Any, x: Tensor) -> Drawn:
    y, log_q = normal(part, x)
    return y.sigmoid(), log_q - (logsigmoid(y) + logsigmoid(-y)).sum(-1)


def simplex_normal(part: Any, x: Tensor) -> Drawn:
    y, log_q = normal(part, x)
    y = y - torch.arange(M - 1, 0, -1).log()
    log_left = logsigmoid(-y).cumsum(-1)
    before = pad(log_left[..., :-1], (1, 0))
    z = pad(y.sigmoid(), (0, 1), value=1.0) * pad(log_left.exp(), (1, 0), value=1.0)
    return z, log_q - (before + logsigmoid(y) + logsigmoid(-y)).sum(-1)


def multivariate_normal(part: Any, x: Tensor) -> Drawn:
    loc, triangle = part.network.layers(x).split([M, M * (M + 1) // 2], -1)
    scale = softplus(triangle[..., DIAGONAL])
    factor = triangle.new_zeros(*loc.shape, M)
    factor[..., BELOW[0], BELOW[1]] = torch.where(DIAGONAL, softplus(triangle), triangle)
    eps = torch.randn_like(loc)
    return loc + (factor @ eps.unsqueeze(-1)).squeeze(-1), noise(eps) - scale.log().sum(-1)


def low_rank_multivariate_normal(part: Any, x: Tensor) -> Drawn:
    loc, scale, factor = part.network.layers(x).split([M, M, M * part.rank], -1)
    factor, scale = factor.unflatten(-1, (M, part.rank)), softplus(scale)
    y = (factor @ torch.randn(len(x), part.rank, 1)).squeeze(-1) + scale * torch.randn_like(loc)
    variance = scale.square()
    weighted = factor / variance.unsqueeze(-1)
    inner = torch.linalg.cholesky(torch.eye(part.rank) + factor.mT @ weighted)
    u = torch.linalg.solve_triangular(inner, weighted.mT @ y.unsqueeze(-1), upper=False)
    log_det = 2 * (inner.diagonal(dim1=-2, dim2=-1).log().sum(-1) + scale.log().sum(-1))
    square = (y.square() / variance).sum(-1) - u.square().sum((-2, -1))
    return loc + y, -0.5 * (square + log_det + M * LOG_2PI)


def mixture(part: Any, x: Tensor) -> Drawn:
    k = part.components
    locs, scales, logits = part.network.layers(x).split([k * M, k * M, k], -1)
    locs, scales, log_w = locs.unflatten(-1, (k, M)), softplus(scales).unflatten(-1, (k, M)), log_softmax(logits, -1)
    with torch.no_grad():
        which = torch.multinomial(log_w.exp(), 1)[..., None].expand(-1, 1, M)
        z = locs.gather(-2, which).squeeze(-2) + scales.gather(-2, which).squeeze(-2) * torch.randn(len(x), M)
    z = _Implicit.apply(locs, scales, log_w, z)  # the gradient of the draw, the same function on both sides
    each = noise((z.unsqueeze(-2) - locs) / scales) - scales.log().sum(-1)
    return z, torch.logsumexp(log_w + each, -1)


def flow(part: Any, x: Tensor) -> Drawn:
    loc, scale, features = part.network.layers(x).tensor_split((M, 2 * M), -1)
    y, log_q = part.flow(features).rsample_and_log_prob()  # zuko's own
    scale = softplus(scale)
    return loc + scale * y, log_q - scale.log().sum(-1)


def power_spherical(part: Any, x: Tensor) -> Drawn:
    raw = part.network.layers(x)
    length = raw.norm(dim=-1, keepdim=True)
    loc, k = raw / length, length.squeeze(-1).expm1()
    b = (M - 1) / 2
    gammas = torch._standard_gamma(torch.stack([k + b, torch.full_like(k, b)], -1))
    share = gammas / gammas.sum(-1, keepdim=True)
    along = share[..., :1] - share[..., 1:]
    across = 2 * (share[..., :1] * share[..., 1:]).clamp_min(1e-30).sqrt()
    y = torch.cat([along, across * normalize(torch.randn(len(x), M - 1), dim=-1)], -1)
    axis = torch.eye(M)[0] - loc
    z = y - 2 * axis * (axis * y).sum(-1, keepdim=True) / axis.square().sum(-1, keepdim=True)
    total = k + 2 * b
    normaliser = total * math.log(2) + b * math.log(math.pi) + torch.lgamma(k + b) - torch.lgamma(total)
    return z, k * torch.log1p((loc * z).sum(-1)) - normaliser


def bernoulli(part: Any, x: Tensor) -> Drawn:
    logits = part.network.layers(x)
    z = torch.bernoulli(logits.detach().sigmoid())
    return z, -binary_cross_entropy_with_logits(logits, z, reduction="none").sum(-1)


def one_hot(part: Any, x: Tensor) -> Drawn:
    log_p = log_softmax(part.network.layers(x), -1)
    which = torch.multinomial(log_p.detach().exp(), 1)
    return torch.nn.functional.one_hot(which.squeeze(-1), M).to(x), log_p.gather(-1, which).squeeze(-1)


def relaxed_bernoulli(part: Any, x: Tensor) -> Drawn:
    logits, t = part.network.layers(x), part.temperature.value
    u = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
    y = (logits + u.log() - torch.log1p(-u)) / t
    v = logits - t * y
    return y.sigmoid(), (t.log() + v - 2 * softplus(v) - logsigmoid(y) - logsigmoid(-y)).sum(-1)


def relaxed_one_hot(part: Any, x: Tensor) -> Drawn:
    logits, t = part.network.layers(x), part.temperature.value
    u = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
    log_z = log_softmax((logits - (-u.log()).log()) / t, -1)
    score = log_softmax(logits - t * log_z, -1)
    return log_z.exp(), (score - log_z).sum(-1) + math.lgamma(M) + (M - 1) * t.log()


def table(part: Any, index: Tensor) -> Drawn:
    return normal_of(part.raw[index])


class Climbing(nn.Module):
    """A guide of the joint, and the joint of a Bernoulli decoder, written by hand on both sides."""

    def __init__(self, guide: nn.Module, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.guide = guide
        self.decoder = MLP(M, (sizes[1],), sizes[0]).layers

    def joint(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        def joint(z: Tensor) -> Tensor:
            out = self.decoder(z)
            cells = binary_cross_entropy_with_logits(out, x.expand_as(out), reduction="none")
            return noise(z) - cells.sum(-1)

        return joint

    def forward(self, x: Tensor) -> Any:
        return self.guide(x, joint=self.joint(x))


def semi_amortized(part: Climbing, x: Tensor) -> Drawn:
    guide, joint = part.guide, part.joint(x)
    raw = guide.guide.network.layers(x)
    first = second = torch.zeros_like(raw)
    for step in range(1, guide.steps + 1):
        loc, scale = raw.chunk(2, -1)
        scale = softplus(scale)
        eps = torch.randn(guide.draws, *loc.shape)
        bound = joint(loc + scale * eps).mean(0) + scale.log().sum(-1)
        (gradient,) = torch.autograd.grad(bound.sum(), raw, create_graph=True)
        first, second = 0.9 * first + 0.1 * gradient, 0.95 * second + 0.05 * gradient.square()
        rate = guide.lr * (1 - (step - 1) / guide.steps) / (1 - 0.9**step)
        raw = raw + rate * first / (second / (1 - 0.95**step) + 1e-16).sqrt()
    return normal_of(raw)


def laplace(part: Climbing, x: Tensor) -> Drawn:
    joint, guide = part.joint(x), part.guide
    z, lengths = torch.zeros(len(x), M), 0.5 ** torch.arange(12.0).reshape(-1, 1, 1)

    def curvature(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(joint(z).sum(), z, create_graph=True)
        rows = [torch.autograd.grad(g.sum(), z, retain_graph=True)[0] for g in gradient.unbind(-1)]
        values, vectors = torch.linalg.eigh(-torch.stack(rows, -2))
        return gradient.detach(), vectors, values.abs().clamp_min(guide.floor)

    for _ in range(guide.steps):
        gradient, vectors, values = curvature(z)
        step = (vectors @ ((vectors.mT @ gradient.unsqueeze(-1)) / values.unsqueeze(-1))).squeeze(-1)
        tried = torch.cat([z.unsqueeze(0), z + lengths * step])
        with torch.no_grad():
            z = tried[joint(tried).argmax(0), torch.arange(len(x))]
    _, vectors, values = curvature(z)
    factor = torch.linalg.cholesky((vectors / values.unsqueeze(-2)) @ vectors.mT)
    eps = torch.randn_like(z)
    return z + (factor @ eps.unsqueeze(-1)).squeeze(-1), noise(eps) - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def spline() -> nn.Module:
    import zuko

    return zuko.flows.NSF(M, context=32, transforms=2, hidden_features=(64, 64), passes=2)


# name, the part of a network, the draw and its log density, outputs of the network
GUIDES: list[tuple[str, Callable[..., nn.Module], Callable[..., Drawn], int]] = [
    ("Normal", guides.Normal, normal, 2 * M),
    ("Normal, positive", lambda net: guides.Normal(net, support=constraints.positive), positive_normal, 2 * M),
    ("Normal, unit interval", lambda net: guides.Normal(net, support=constraints.unit_interval), unit_normal, 2 * M),
    ("Normal, simplex", lambda net: guides.Normal(net, support=constraints.simplex), simplex_normal, 2 * (M - 1)),
    (
        "MultivariateNormal",
        guides.MultivariateNormal,
        multivariate_normal,
        guides.MultivariateNormal.outputs(M),
    ),
    (
        "LowRankMultivariateNormal",
        lambda net: guides.LowRankMultivariateNormal(net, rank=2),
        low_rank_multivariate_normal,
        4 * M,
    ),
    ("Mixture", lambda net: guides.Mixture(net, components=3), mixture, 3 * (2 * M + 1)),
    ("Flow, spline", lambda net: guides.Flow(net, spline()), flow, 2 * M + 32),
    (
        "Flow, inverse autoregressive",
        lambda net: guides.Flow(net, guides.inverse_autoregressive(M, 32)),
        flow,
        2 * M + 32,
    ),
    ("PowerSpherical", guides.PowerSpherical, power_spherical, M),
    ("Bernoulli", guides.Bernoulli, bernoulli, M),
    ("OneHotCategorical", guides.OneHotCategorical, one_hot, M),
    ("RelaxedBernoulli", guides.RelaxedBernoulli, relaxed_bernoulli, M),
    ("RelaxedOneHotCategorical", guides.RelaxedOneHotCategorical, relaxed_one_hot, M),
    (
        "SemiAmortized",
        lambda net: Climbing(guides.SemiAmortized(guides.Normal(net), steps=2, draws=1), PIXELS),
        semi_amortized,
        2 * M,
    ),
]


def cases() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Every guide's name, and what makes its case."""
    features, hidden = PIXELS
    for name, make, formula, outputs in GUIDES:

        def build(name: Any = name, make: Any = make, formula: Any = formula, outputs: Any = outputs) -> Case:
            part = make(MLP(features, (hidden,), outputs))
            return _case(name, part, part, formula, torch.rand(BATCH, features).round())

        yield name, build
    yield "Laplace", _laplace
    yield "Table", _table


def _laplace() -> Case:
    part = Climbing(guides.Laplace(M, steps=2), TABLE)
    return _case("Laplace", part, part, laplace, torch.rand(BATCH, TABLE[0]).round())


def _table() -> Case:
    part = guides.Table(1000, M)
    index = torch.randperm(1000)[:BATCH]
    x = torch.zeros(BATCH, 1)
    case = _case("Table", part, lambda i: part(x, index=i), table, index)
    z = torch.randn(BATCH, M, requires_grad=True)
    rest, parameters = rest_of_a_step(z)
    return Case(case.name, case.ours, case.by_hand, case.agree, [*case.leaves, z, *parameters], rest)


def _case(name: str, part: nn.Module, call: Callable[[Tensor], Any], formula: Callable[..., Drawn], x: Tensor) -> Case:
    part.train()

    def ours() -> Tensor:
        q = call(x)
        z = q.rsample() if q.has_rsample else q.sample()
        return q.log_prob(z).sum() + z.sum()

    def by_hand() -> Tensor:
        z, log_q = formula(part, x)
        return log_q.sum() + z.sum()

    def agree() -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        z, log_q = formula(part, x)
        torch.manual_seed(1)
        return call(x).log_prob(z.detach()).sum(), log_q.sum()

    return Case(name, ours, by_hand, agree, list(part.parameters()))
