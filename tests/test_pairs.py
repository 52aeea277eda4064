"""Every prior with every guide on its support: trained on draws from that prior, against the evidence by quadrature.

x = z + noise, z a draw of the prior: log p(x) is an integral over two dimensions, taken on a grid, or a sum of states.
Each pair must stay below it, come up to it where the guide's family holds the posterior, and describe the data better
than the best Normal prior could, where they are not Normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import zuko
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.distributions import biject_to, constraints

import pyrovae as pv

N, DRAWS, STEPS = 500, 200, 125
CHECKED = 40  # data whose evidence is integrated
REAL, POSITIVE, UNIT, SIMPLEX = (
    constraints.real,
    constraints.positive,
    constraints.unit_interval,
    constraints.simplex,
)
SPHERE = dist.constraints.sphere
EFFORT = {POSITIVE: 1.6, UNIT: 2.4}  # how many times the steps: posteriors of many widths
# A gradient is large before the first widths are learned, and is forgotten in fifty steps instead of a thousand.
ADAM = partial(torch.optim.Adam, betas=(0.9, 0.98))


@dataclass(frozen=True)
class Prior:
    """``make()`` is fitted, ``truth(c)`` draws z, given a covariate (n, 1). ``normal``: the posterior is Normal, with a
    full covariance or a diagonal one."""

    name: str
    make: Callable[[], nn.Module]
    truth: Callable[[Tensor], Any]
    support: Any = REAL
    cells: int = 2
    noise: float = 0.1
    normal: str | None = None
    context: bool = False
    most: int = 500  # steps
    cold: bool = False  # so close to the corners that only relaxed guides fit

    @property
    def discrete(self) -> bool:
        return getattr(self.support, "is_discrete", False)

    @property
    def fixed(self) -> bool:
        """Whether it learns nothing."""
        return not any(True for _ in self.make().parameters())

    @property
    def hidden(self) -> tuple[int, ...]:
        """Layers of the guide's network: none where the posterior's parameters are affine in x."""
        return () if self.normal or self.discrete else (32, 32) if self.support is UNIT else (16,)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Guide:
    """``make(cells, support, hidden)``; ``normal``: which Normal posteriors it holds; ``relaxed``: it is never narrower
    than its temperature allows, so that it gains nothing where the posterior is narrow inside its support."""

    name: str
    make: Callable[[int, Any, tuple[int, ...]], nn.Module]
    supports: tuple[Any, ...] = (REAL,)
    normal: tuple[str, ...] = ()
    relaxed: bool = False
    lr: float = 7.5e-2
    steps: int = STEPS
    batch: int = 100
    draws: int = 4  # of a datum in each step

    def __str__(self) -> str:
        return self.name


def of(*shape: Any, event: int = 1) -> Callable[[Tensor], Any]:
    """A distribution of two independent cells, whatever the covariate."""
    family, *arguments = shape
    return lambda c: family(*(torch.full((2,), float(a)) for a in arguments)).to_event(1)


def two_modes(c: Tensor) -> Any:
    centres = torch.tensor([[-1.5, -1.0], [1.5, 1.0]])
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(centres, 0.3).to_event(1))


def correlated() -> Any:
    return dist.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))


class Sparse(pv.distributions.Horseshoe):
    """Draws of the horseshoe of scale .3 within ±3: those of the Cauchy's tails would be all that a network sees."""

    def __init__(self) -> None:
        super().__init__(torch.full((2,), 0.3))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        z = super().sample(sample_shape)
        while (wild := z.abs() > 3).any():
            z = torch.where(wild, super().sample(sample_shape), z)
        return z


P = pv.priors
PRIORS = (
    Prior("Normal", lambda: P.Normal(2), of(dist.Normal, 0, 1), noise=0.5, normal="diagonal"),
    Prior(
        "Normal, learned", lambda: P.Normal(2, learned=True), of(dist.Normal, 0.5, 1.5), noise=0.5, normal="diagonal"
    ),
    Prior("MultivariateNormal", lambda: P.MultivariateNormal(2), lambda c: correlated(), noise=0.5, normal="full"),
    Prior("Laplace", lambda: P.Laplace(2), of(dist.Laplace, 0, 1)),
    Prior("StudentT", lambda: P.StudentT(2, df=3.0), of(dist.StudentT, 3, 0, 1)),
    Prior("Horseshoe", lambda: P.Horseshoe(2, scale=0.3), of(Sparse)),
    Prior("SpikeAndSlab", lambda: P.SpikeAndSlab(2), lambda c: P.SpikeAndSlab(2)()),
    Prior("GaussianMixture", lambda: P.GaussianMixture(4, 2), two_modes),
    Prior("VampPrior", lambda: P.VampPrior(6, (2,)), two_modes, most=120),
    Prior("Flow", lambda: P.Flow(zuko.flows.NSF(2, transforms=1, hidden_features=(16,))), two_modes, most=100),
    Prior(
        "Conditional",
        lambda: P.Conditional(pv.guides.Normal(pv.networks.MLP(1, (), 4))),
        lambda c: dist.Normal(2 * c.expand(-1, 2), 0.5).to_event(1),
        noise=0.5,
        context=True,
    ),
    Prior("LogNormal", lambda: P.LogNormal(2), of(dist.LogNormal, 0, 1), POSITIVE, noise=0.3),
    Prior("Gamma", lambda: P.Gamma(2, concentration=0.7, rate=1.0), of(dist.Gamma, 0.7, 1), POSITIVE, noise=0.2),
    Prior("Beta", lambda: P.Beta(2, concentration1=0.5, concentration0=0.5), of(dist.Beta, 0.5, 0.5), UNIT, noise=0.03),
    Prior("Uniform", lambda: P.Uniform(2), of(dist.Uniform, 0, 1), UNIT, noise=0.03),
    Prior(
        "RelaxedBernoulli",
        lambda: P.RelaxedBernoulli(2, temperature=0.5),
        lambda c: dist.RelaxedBernoulli(torch.tensor(0.5), logits=torch.zeros(2)).to_event(1),
        UNIT,
        noise=0.03,
    ),
    Prior(
        "Dirichlet",
        lambda: P.Dirichlet(3, concentration=0.7),
        lambda c: dist.Dirichlet(torch.full((3,), 0.7)),
        SIMPLEX,
        3,
    ),
    Prior("LogisticNormal", lambda: P.LogisticNormal(3), lambda c: P.LogisticNormal(3)(), SIMPLEX, 3),
    Prior(
        "RelaxedOneHotCategorical",
        lambda: P.RelaxedOneHotCategorical(3, temperature=0.7),
        lambda c: dist.RelaxedOneHotCategorical(torch.tensor(0.7), logits=torch.zeros(3)),
        SIMPLEX,
        3,
    ),
    Prior("PowerSpherical", lambda: P.PowerSpherical(3), lambda c: P.PowerSpherical(3)(), SPHERE, 3, 0.3),
    Prior(
        "Bernoulli",
        lambda: P.Bernoulli(2, probs=0.3),
        of(dist.Bernoulli, 0.3),
        constraints.boolean,
        noise=0.4,
    ),
    Prior(
        "OneHotCategorical",
        lambda: P.OneHotCategorical(3),
        lambda c: dist.OneHotCategorical(torch.ones(3)),
        constraints.one_hot,
        3,
        noise=0.4,
    ),
)


class Network(nn.Module):
    """Outputs of a guide. Its locations, the first outputs, are nearly affine in where x lies on the real line once it
    is on the support: an affine map of it stands beside the perceptron, and alone where nothing is hidden."""

    def __init__(
        self, cells: int, hidden: tuple[int, ...], outputs: int, support: Any, locations: int | None = None
    ) -> None:
        super().__init__()
        self.support, self.outputs = support, outputs
        line, bent = self.features(torch.zeros(1, cells))
        self.linear = nn.Linear(line.shape[-1], locations if hidden and locations else outputs)
        self.bent = pv.networks.MLP(bent.shape[-1], hidden, outputs) if hidden else None

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """For the linear map and for the perceptron; few of them are large where x is."""
        if self.support is POSITIVE:
            more = (nn.functional.softplus(4 * x) / 4).log()
            return more, more
        if self.support is UNIT:
            more = x.clamp(0.02, 0.98).logit()
        elif self.support is SIMPLEX:
            inside = x.clamp(min=0.03)
            more = biject_to(SIMPLEX).inv(inside / inside.sum(-1, keepdim=True))
        elif self.support is SPHERE:
            more = nn.functional.normalize(x, dim=-1)
        else:
            return x, x
        both = torch.cat([x, more], -1)
        return both, both

    def forward(self, x: Tensor) -> Tensor:
        line, bent = self.features(x)
        line = self.linear(line)
        line = nn.functional.pad(line, (0, self.outputs - line.shape[-1]))
        return line if self.bent is None else line + self.bent(bent)


def amortised(family: Any, cells: int, support: Any, hidden: tuple[int, ...], **settings: Any) -> nn.Module:
    pushed = {} if support is REAL else {"support": support}
    outputs = family.outputs(cells, **settings, **pushed)
    locations = (cells - 1 if support is SIMPLEX else cells) * settings.get("components", 1)
    return family(Network(cells, hidden, outputs, support, locations), **settings, **pushed)


def flow(cells: int, support: Any, hidden: tuple[int, ...], *, inverse: bool = False) -> nn.Module:
    free = cells - 1 if support is SIMPLEX else cells
    made = (
        pv.guides.inverse_autoregressive(free, 16, transforms=2, hidden_features=(16,))
        if inverse
        else zuko.flows.NSF(free, context=16, transforms=1, hidden_features=(16,))
    )
    pushed = {} if support is REAL else {"support": support}
    return pv.guides.Flow(Network(cells, hidden, G.Flow.outputs(cells, 16, support), support), made, **pushed)


def table(cells: int, support: Any, hidden: tuple[int, ...]) -> nn.Module:
    pushed = {} if support is REAL else {"support": support}
    return pv.guides.Table(N, cells, family=pv.guides.Normal, **pushed)


def semi_amortised(cells: int, support: Any, hidden: tuple[int, ...]) -> nn.Module:
    return pv.guides.SemiAmortized(amortised(pv.guides.Normal, cells, support, hidden), steps=2)


def plain(family: Any, **settings: Any) -> Callable[..., nn.Module]:
    return lambda cells, support, hidden: family(Network(cells, hidden, family.outputs(cells), support), **settings)


G = pv.guides
CONTINUOUS = (REAL, POSITIVE, UNIT, SIMPLEX)
EACH: dict[str, Any] = {"lr": 0.2, "steps": 400, "batch": N, "draws": 8}  # for parameters of each datum's own
LOGITS: dict[str, Any] = {"lr": 0.2, "batch": N}
GUIDES = (
    Guide("Normal", partial(amortised, G.Normal), CONTINUOUS, ("diagonal",)),
    Guide(
        "MultivariateNormal",
        partial(amortised, G.MultivariateNormal),
        CONTINUOUS,
        ("diagonal", "full"),
        lr=5e-2,
        batch=N,
    ),
    Guide(
        "LowRankMultivariateNormal",
        partial(amortised, G.LowRankMultivariateNormal, rank=1),
        CONTINUOUS,
        ("diagonal", "full"),
    ),
    Guide("Mixture", partial(amortised, G.Mixture, components=2), CONTINUOUS),
    Guide("Flow", flow, CONTINUOUS, lr=5e-2),
    Guide("Flow, inverse autoregressive", partial(flow, inverse=True), CONTINUOUS),
    Guide("Table", table, CONTINUOUS, ("diagonal",), **EACH),
    Guide("SemiAmortized", semi_amortised, (REAL, POSITIVE, UNIT, SIMPLEX)),
    Guide(
        "Laplace",
        lambda cells, support, hidden: G.Laplace(cells),
        normal=("diagonal", "full"),
        lr=0.2,
        steps=30,
        batch=N,
    ),
    Guide("RelaxedBernoulli", plain(G.RelaxedBernoulli, temperature=0.1), (UNIT,), relaxed=True),
    Guide("RelaxedOneHotCategorical", plain(G.RelaxedOneHotCategorical, temperature=0.2), (SIMPLEX,), relaxed=True),
    Guide("PowerSpherical", plain(G.PowerSpherical), (SPHERE,)),
    Guide(
        "Table, PowerSpherical",
        lambda cells, support, hidden: G.Table(N, cells, family=G.PowerSpherical),
        (SPHERE,),
        **EACH,
    ),
    Guide("Bernoulli, score", plain(G.Bernoulli), (constraints.boolean,), **LOGITS),
    Guide(
        "Bernoulli, baseline",
        lambda cells, support, hidden: G.Bernoulli(
            Network(cells, hidden, cells, support), baseline=pv.networks.MLP(cells, (8,), 1)
        ),
        (constraints.boolean,),
        **LOGITS,
    ),
    Guide(
        "Bernoulli, enumerated",
        plain(G.Bernoulli, estimator="enumerate"),
        (constraints.boolean,),
        ("states",),
        **LOGITS,
    ),
    Guide("OneHotCategorical, score", plain(G.OneHotCategorical), (constraints.one_hot,), **LOGITS),
    Guide(
        "OneHotCategorical, enumerated",
        plain(G.OneHotCategorical, estimator="enumerate"),
        (constraints.one_hot,),
        ("states",),
        **LOGITS,
    ),
)
MATCHED = [(p, g) for p in PRIORS for g in GUIDES if p.support in g.supports and (g.relaxed or not p.cold)]
REFUSED = [  # the posterior has no mode; the prior, made of the guide, cannot be told of one datum
    (p, g)
    for p, g in MATCHED
    if (p.name == "Horseshoe" and g.name == "Laplace")
    or (p.name == "VampPrior" and g.name in ("Table", "SemiAmortized", "Laplace"))
]
PAIRS = [pytest.param(p, g, id=f"{p}-{g}") for p, g in MATCHED if (p, g) not in REFUSED]


def simulate(prior: Prior) -> tuple[Tensor, Tensor | None]:
    """x (n, cells), and the covariate of a conditional prior."""
    torch.manual_seed(1)
    c = torch.randn(N, 1)
    fn = prior.truth(c)
    z = fn.sample() if fn.batch_shape else fn.sample((N,))
    return z + prior.noise * torch.randn(N, prior.cells), c if prior.context else None


def grid(prior: Prior, x: Tensor) -> tuple[Tensor, Tensor]:
    """Points z (points, n or 1, cells) and the logarithms of their weights, with which a sum is an integral."""
    if prior.support in (REAL, POSITIVE):
        width = 0.1 if prior.fixed else 0.25  # what is learned is smooth: the sums agree within 1e-5
        step = torch.arange(-6, 6.05, width, dtype=torch.float64)
        t = torch.cartesian_prod(step, step).unsqueeze(1)
        z = x + prior.noise * t
        inside = z.gt(0).all(-1) if prior.support is POSITIVE else torch.ones(z.shape[:-1], dtype=torch.bool)
        return torch.where(inside.unsqueeze(-1), z, 1.0), torch.where(
            inside, 2 * math.log(width * prior.noise), -math.inf
        )
    if prior.support in (UNIT, SIMPLEX):
        step = torch.arange(-30, 30.05, 0.2, dtype=torch.float64)
        u = torch.cartesian_prod(step, step).unsqueeze(1)
        onto = biject_to(prior.support)
        z = onto(u)
        jacobian = onto.log_abs_det_jacobian(u, z)
        return z, (jacobian.sum(-1) if jacobian.dim() == 3 else jacobian) + 2 * math.log(0.2)
    if prior.support is constraints.boolean:
        z = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 2).unsqueeze(1)
    elif prior.support is constraints.one_hot:
        z = torch.eye(3, dtype=torch.float64).unsqueeze(1)
    else:  # the sphere, by the lattice of Fibonacci
        points = 40_000
        k = torch.arange(points, dtype=torch.float64) + 0.5
        height, angle = 1 - 2 * k / points, math.pi * (1 + math.sqrt(5)) * k
        radius = (1 - height**2).sqrt()
        z = torch.stack([radius * angle.cos(), radius * angle.sin(), height], -1).unsqueeze(1)
        return z, torch.full((points, 1), math.log(4 * math.pi / points), dtype=torch.float64)
    return z, torch.zeros(len(z), 1, dtype=torch.float64)


@lru_cache(maxsize=1)
def integrand(prior: Prior) -> tuple[Tensor, Tensor]:
    """The points of the grid for the checked data, and log(weight · p(x|z)) there: the same for every guide."""
    x = simulate(prior)[0][:CHECKED].double()
    z, log_weights = grid(prior, x)
    return z, log_weights + dist.Normal(z, prior.noise).to_event(1).log_prob(x)


@lru_cache
def fixed_evidence(prior: Prior) -> Tensor:
    """log p(x) (n,) of a prior that learns nothing."""
    z, rest = integrand(prior)
    return torch.logsumexp(prior.make().double()().log_prob(z) + rest, 0)


def evidence(vae: pv.VAE, prior: Prior, context: Tensor | None) -> Tensor:
    """log p(x) (n,) of the checked data, by quadrature."""
    if prior.fixed:
        return fixed_evidence(prior)
    z, rest = integrand(prior)
    p = vae.double()._p(context)
    with torch.no_grad():
        return torch.logsumexp(p.log_prob(z.expand(-1, CHECKED, -1) if context is not None else z) + rest, 0)


def trained(prior: Prior, guide: Guide) -> tuple[pv.VAE, Any, Tensor, Tensor | None]:
    """The pair after training on draws from the prior; as it is, where there is nothing to train."""
    x, context = simulate(prior)
    torch.manual_seed(2)
    vae = pv.VAE(
        prior.make(),
        pv.likelihoods.Normal(nn.Identity(), prior.noise),
        guide.make(prior.cells, prior.support, prior.hidden),
    )
    steps = min(guide.steps * EFFORT.get(prior.support, 1), prior.most)
    settings: dict[str, Any] = {
        "epochs": round(steps * guide.batch / N),
        "batch_size": guide.batch,
        "optimizer": ADAM,
        "lr": guide.lr,
        "clip_norm": 2.0,
        "progress": False,
    }
    if not prior.discrete:
        settings["loss"] = Trace_ELBO(num_particles=guide.draws, vectorize_particles=True, max_plate_nesting=1)
    return vae, pv.fit(vae, x, context=context, **settings) if list(vae.parameters()) else vae, x, context


def weighted(tree: Any, exact: Tensor) -> tuple[float, float]:
    """How far the log mean weight lies above the evidence, over the checked data, and its standard error: it does so by
    chance alone, as the ELBO does, and comes closer. A density that is wrong by so many nats is found: most often 0.05,
    0.2 at the most."""
    log_weight = tree["sample_stats"]["log_weight"].isel(chain=0).transpose("draw", "obs_id").values[:, :CHECKED]
    log_weight = torch.from_numpy(log_weight).double()
    log_mean = log_weight.logsumexp(0) - math.log(DRAWS)
    variance = (log_weight - log_mean).exp().var(0) / DRAWS
    return (log_mean - exact).mean().item(), variance.sum().sqrt().item() / CHECKED


@pytest.mark.parametrize(("prior", "guide"), PAIRS)
def test_pair(prior: Prior, guide: Guide) -> None:
    vae, fit, x, context = trained(prior, guide)
    tree = pv.posterior(fit, x, context=context, draws=DRAWS, predictive=0)
    assert np.isfinite(tree["sample_stats"]["log_weight"].values).all()
    terms = pv.diagnostics.elbo_terms(tree).isel(chain=0)
    elbo, mcse = (torch.from_numpy(terms[name].values).double() for name in ("elbo", "elbo_mcse"))

    some = slice(0, CHECKED)
    exact = evidence(vae, prior, None if context is None else context[some].double())
    gap, error = (exact - elbo[some]).mean().item(), mcse[some].square().sum().sqrt().item() / CHECKED
    assert gap > -4 * error - 1e-3, f"above the evidence by {-gap:.4f} ± {error:.4f}"
    above, its_error = weighted(tree, exact)
    assert above < 4 * its_error + 1e-3, f"above the evidence by {above:.4f} ± {its_error:.4f}, by its weights"
    if prior.normal in guide.normal or "states" in guide.normal:
        assert gap < 2e-3 + 4 * error, f"{gap:.4f} ± {error:.4f} below the evidence"
    if prior.normal is None and (prior.cold or not guide.relaxed):
        best_normal = dist.Normal(x.mean(0), x.std(0)).to_event(1).log_prob(x).double()
        gain, error = elbo - best_normal, (elbo - best_normal).std().item() / math.sqrt(N)
        assert gain.mean() > 4 * error, f"{gain.mean():.3f} ± {error:.3f} over the best Normal"


# Posteriors that are not Normal under a Normal prior: what x says of z, and the guides that can follow it
SHAPES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, ...]]] = {
    "correlated": (
        lambda z: z.sum(-1, keepdim=True).expand(*z.shape[:-1], 2),
        ("MultivariateNormal", "LowRankMultivariateNormal", "Flow, inverse autoregressive", "Laplace"),
    ),
    "two modes": (lambda z: z.square(), ("Mixture", "Flow")),
    "banana": (
        lambda z: torch.stack([z[..., 1] + z[..., 0] ** 2, z[..., 1]], -1),
        ("MultivariateNormal", "Mixture", "Flow", "Flow, inverse autoregressive"),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_richer_guide_comes_closer_where_the_posterior_is_not_normal(shape: str) -> None:
    decoder, richer = SHAPES[shape]
    torch.manual_seed(1)
    z = torch.randn(N, 2)
    noise = torch.tensor([0.3, 1.5]) if shape == "banana" else torch.tensor(0.3)
    x = decoder(z) + noise * torch.randn(N, 2)
    grid = torch.cartesian_prod(*[torch.arange(-6, 6.02, 0.03)] * 2).unsqueeze(1)
    log_p = dist.Normal(decoder(grid), noise).to_event(1).log_prob(x[:CHECKED])
    exact = torch.logsumexp(log_p + dist.Normal(0.0, 1.0).log_prob(grid).sum(-1), 0) + 2 * math.log(0.03)
    gaps = {}
    for guide in GUIDES:
        if guide.name in ("Normal", *richer):
            torch.manual_seed(2)
            likelihood = pv.likelihoods.Normal(decoder, noise)
            vae = pv.VAE(pv.priors.Normal(2), likelihood, guide.make(2, REAL, (32,)))
            fit = vae
            if list(vae.parameters()):
                loss = Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
                fit = pv.fit(vae, x, loss=loss, epochs=400, batch_size=N, lr=2e-2, clip_norm=10.0, progress=False)
            tree = pv.posterior(fit, x[:CHECKED], draws=DRAWS, predictive=0)
            terms = pv.diagnostics.elbo_terms(tree).isel(chain=0)
            gaps[guide.name] = exact.double().numpy() - terms["elbo"].values, terms["elbo_mcse"].values
    plain, noise_of_plain = gaps.pop("Normal")
    assert gaps.keys() == set(richer)
    for name, (gap, mcse) in gaps.items():
        error = math.sqrt((mcse**2 + noise_of_plain**2).sum()) / CHECKED
        assert plain.mean() - gap.mean() > 4 * error, name
        assert gap.mean() > -4 * error - 1e-3, name


@pytest.mark.parametrize(("prior", "guide"), REFUSED, ids=lambda part: part.name)
def test_a_pair_that_cannot_be_is_refused_with_the_reason(prior: Prior, guide: Guide) -> None:
    with pytest.raises(ValueError, match="use an amortised guide, or another prior|no mode with a curvature"):
        pv.posterior(trained(prior, guide)[1], simulate(prior)[0], draws=2)


MISMATCHED = [
    pytest.param(p, g, id=f"{p}-{g}")
    for p in PRIORS
    for g in GUIDES
    if p.support not in g.supports and not p.cold and p.name != "VampPrior"  # which lives where the guide does
]


@pytest.mark.parametrize(("prior", "guide"), MISMATCHED)
def test_a_pair_of_other_supports_is_refused(prior: Prior, guide: Guide) -> None:
    """At construction, naming both supports and a guide that would do; with a context, before the first epoch."""
    x, context = simulate(prior)
    parts = prior.make(), pv.likelihoods.Normal(nn.Identity(), prior.noise)
    q = guide.make(prior.cells, guide.supports[0], (16,))
    vae = pv.VAE(*parts, q) if prior.context else None
    with pytest.raises(ValueError, match=r"site 'z': the model's latent has support .*the guide's .*Use .*guide"):
        pv.VAE(*parts, q) if vae is None else pv.fit(vae, x, context=context, epochs=1, progress=False)
