"""Objectives: values and gradients against closed forms and exact enumeration, under every scale, part and program."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import pyrovae as pv
from pyrovae import guides, likelihoods, networks, objectives, priors
from pyrovae.distributions import Bits
from pyrovae.objectives import Beta, DReG, ImportanceWeighted, Renyi
from pyrovae.objectives._terms import draw_terms
from pyrovae.program import Batch
from pyrovae.structure import inspect_program
from pyrovae.svi.loss import Loss
from tests.programs import gaussian, hierarchy, linear_vae, shared_mean, tutorial
from tests.registry import FEATURES, GUIDES, LATENTS, LIKELIHOODS, PRIORS
from tests.registry._part import Part, decoder
from tests.registry.objectives import OBJECTIVES, Objective

SUMMED = {"enumerate": "parallel"}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Closed forms are compared in double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    pyro.clear_param_store()


def agrees(found: Tensor, exact: Tensor | float) -> None:
    """Means over the first dimension are the exact values within 4 standard errors."""
    error = found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - exact).abs() <= 4 * error + 1e-12).all()), (found.mean(0), exact, error)


# The linear Gaussian program, whose weights are known


class Linear:
    """z ~ N(0, I), x | z ~ N(W z, σ² I) and q(z|x) = N(A x + shift, diag s²), on raw Pyro, its plate subsampled or not.

    ``noise`` (K, N, 2), if given, is what its draws are made of.
    """

    def __init__(self, n: int = 80, *, factor: float | None = None, noise: Tensor | None = None) -> None:
        torch.manual_seed(1)
        self.w, self.sigma, self.n = torch.randn(3, 2), 0.8, n
        self.x = torch.randn(n, 2) @ self.w.T + self.sigma * torch.randn(n, 3)
        precision = self.w.T @ self.w / self.sigma**2 + torch.eye(2)
        self.a = torch.linalg.solve(precision, self.w.T / self.sigma**2)
        if factor is None:
            self.shift, self.tril = torch.tensor([0.3, -0.2]), torch.diag(torch.tensor([0.9, 0.6]))
        else:  # the posterior, wider by a factor
            self.shift, self.tril = torch.zeros(2), factor * torch.linalg.cholesky(torch.linalg.inv(precision))
        self.noise = noise

    @property
    def evidence(self) -> Tensor:
        """log p(x) of each datum."""
        return MultivariateNormal(torch.zeros(3), self.w @ self.w.T + self.sigma**2 * torch.eye(3)).log_prob(self.x)

    def model(self, rows: Tensor | None = None) -> None:
        with pyro.plate("data", self.n, subsample=rows) as index:
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.w.T, self.sigma).to_event(1), obs=self.x[index])

    def guide(self, rows: Tensor | None = None) -> None:
        with pyro.plate("data", self.n, subsample=rows) as index:
            loc = self.x[index] @ self.a.T + self.shift
            if self.noise is None:
                pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=self.tril))
            else:
                pyro.sample("z", Given(loc, self.tril.diagonal(), self.noise[:, index]).to_event(1))


class Given(dist.Normal):
    """A Normal with draws made of given noise: values with and without subsampling are compared to the last digit."""

    def __init__(self, loc: Tensor, scale: Tensor, noise: Tensor) -> None:
        super().__init__(loc, scale)
        self.noise = noise

    def expand(self, batch_shape: Any, _instance: Any = None) -> Given:
        return Given(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.noise)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + self.scale * (self.noise if self.loc.dim() == 3 else self.noise[0])


@pytest.mark.parametrize("program", ["linear", "bits", "tutorial"])
def test_one_draw_is_the_elbo(program: str) -> None:
    """Value and gradients, on the same random numbers; those of the score function in expectation alone."""
    made: Any = {"linear": linear_vae, "bits": bits_vae, "tutorial": tutorial}[program]
    p, x = made().double(), torch.bernoulli(torch.full((7, 4 if program == "linear" else 6), 0.4))
    found = []
    for objective in (Trace_ELBO(), ImportanceWeighted(1), Renyi(0.3, 1), Renyi(-2, 1)):
        p.zero_grad()
        torch.manual_seed(0)
        with p.scope():
            loss = objective.differentiable_loss(p.model, p.guide, x)
        loss.backward()
        compared = [] if program == "bits" else [parameter.grad.clone() for parameter in p.parameters()]
        found.append([loss.detach(), *compared])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-10, atol=1e-10)


def bits_vae() -> pv.VAE:
    return pv.VAE(
        priors.Bernoulli(3), likelihoods.Bernoulli(networks.MLP(3, (), 6)), guides.Bernoulli(networks.MLP(6, (), 3))
    )


def test_the_bound_rises_in_k_and_stays_below_the_evidence() -> None:
    linear = Linear(4000)
    gaps = []
    for k in (1, 2, 5, 20):
        terms = ImportanceWeighted(k, vectorize=True).terms(linear.model, linear.guide)
        bound = torch.logsumexp(terms.log_weight, 0) - math.log(k)
        gaps.append(linear.evidence - bound)
        value = ImportanceWeighted(k).value(terms)
        torch.testing.assert_close(value, bound.sum())
    for gap in gaps:
        assert gap.mean() > 4 * gap.std() / 4000**0.5
    for larger, smaller in itertools.pairwise(gaps):
        assert (larger - smaller).mean() > 4 * (larger - smaller).std() / 4000**0.5


def test_the_bias_is_half_the_variance_of_the_weights_over_k() -> None:
    """With the next term of the series, and q wider than the posterior, whose weights have known moments."""
    k, c = 20, 1.2
    linear = Linear(20_000, factor=c)
    terms = ImportanceWeighted(k, vectorize=True).terms(linear.model, linear.guide)
    delta = (terms.log_weight - linear.evidence).exp().mean(0) - 1
    moment = [(c**m / math.sqrt(m * c**2 - m + 1)) ** 2 for m in (2, 3)]
    second, third = moment[0] - 1, moment[1] - 3 * moment[0] + 2
    leading = -second / (2 * k)
    exact = leading + (third / 3 - 3 * second**2 / 4) / k**2
    found = delta.log1p() - delta  # of the same mean, as E delta = 0, and less noise
    agrees(found, exact)
    assert exact == pytest.approx(leading, rel=0.1)
    agrees(delta, 0.0)


def test_renyi_bounds_fall_in_alpha_around_the_evidence() -> None:
    """As K grows 1/(1 − α) log E w^(1 − α), known for a Gaussian posterior and a wider q."""
    c = 1.3
    linear = Linear(4000, factor=c)
    terms = ImportanceWeighted(250, vectorize=True).terms(linear.model, linear.guide)
    gaps = {}
    for alpha in (-0.5, 0.0, 0.5, 0.9, 1.5):
        m = 1 - alpha
        exact = math.log(c**m / math.sqrt(m * c**2 - m + 1)) * 2 / m
        found = Renyi(alpha, 250).value(terms) - linear.evidence.sum()
        gaps[alpha] = float(found) / 4000
        assert gaps[alpha] == pytest.approx(exact, abs=2e-3)
    assert list(gaps.values()) == sorted(gaps.values(), reverse=True)
    assert gaps[-0.5] > 0 > gaps[0.5]


# Subsampling

BATCHES = [torch.arange(start, start + 8) for start in range(0, 80, 8)]
WEIGHED = {
    "ImportanceWeighted": lambda: ImportanceWeighted(5, vectorize=True),
    "Renyi": lambda: Renyi(0.5, 5, vectorize=True),
    "DReG": lambda: DReG(5, vectorize=True),
    "Beta": lambda: Beta(3.0),
}


@pytest.mark.parametrize("name", WEIGHED)
def test_the_mean_over_batches_is_the_value_of_all_data(name: str) -> None:
    linear, objective = Linear(noise=torch.randn(5, 80, 2)), WEIGHED[name]()
    whole = objective.loss(linear.model, linear.guide)
    batches = [objective.loss(linear.model, linear.guide, rows) for rows in BATCHES]
    assert np.mean(batches) == pytest.approx(whole, rel=1e-12)
    svi = SVI(linear.model, linear.guide, pyro.optim.Adam({}), objective)
    assert np.mean([svi.evaluate_loss(rows) for rows in BATCHES]) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("name", WEIGHED)
def test_the_mean_over_batches_of_fit_is_the_value_of_all_data(name: str) -> None:
    linear, objective = Linear(noise=torch.randn(5, 80, 2)), WEIGHED[name]()

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ linear.w.T, linear.sigma).to_event(1), obs=x)

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        noise = torch.zeros(5, len(x), 2) if index is None else linear.noise[:, index]
        with pyro.plate("data", len(x)):
            loc = x @ linear.a.T + linear.shift
            pyro.sample("z", Given(loc, linear.tril.diagonal(), noise).to_event(1))

    program = pv.Program(model, guide)
    loss = Loss(objective, program, inspect_program(program, Batch(linear.x)), 80)
    found = [loss.value(Batch(linear.x[rows], None, rows)) for rows in BATCHES]
    assert 80 * np.mean(found) == pytest.approx(objective.loss(linear.model, linear.guide), rel=1e-12)


def test_pyros_renyi_is_another_thing_under_subsampling() -> None:
    """The reason for ours: with a scale inside its logsumexp it is not the value of all data."""
    linear = Linear(noise=torch.randn(20, 80, 2))
    elbo = RenyiELBO(alpha=0, num_particles=20, vectorize_particles=True, max_plate_nesting=1)
    ours = ImportanceWeighted(20, vectorize=True)
    whole = ours.loss(linear.model, linear.guide)
    assert elbo.loss(linear.model, linear.guide) == pytest.approx(whole, rel=1)  # one mean over all data's weights
    batches = np.mean([elbo.loss(linear.model, linear.guide, rows) for rows in BATCHES])
    assert batches < whole - 5
    assert np.mean([ours.loss(linear.model, linear.guide, rows) for rows in BATCHES]) == pytest.approx(whole)


def test_gradients_are_scaled_with_the_plate() -> None:
    vae, x = linear_vae().double(), gaussian(8).double()
    for objective in (ImportanceWeighted(3), Renyi(0.5, 3), DReG(3), Beta(2.0), Beta(2.0, capacity=1.0)):
        found = []
        for scale in (1.0, 10.0):
            vae.zero_grad()
            torch.manual_seed(0)
            with vae.scope(), poutine.scale(scale=scale):
                objective.differentiable_loss(vae.model, vae.guide, x).backward()
            found.append([scale, *(p.grad / scale for p in vae.parameters())])
        torch.testing.assert_close(found[0][1:], found[1][1:])


# Gradients with draws that have one: by hand on the same draws, then in expectation


MADE = {
    "Normal": lambda: guides.Normal(networks.MLP(4, (5,), 4)),
    "MultivariateNormal": lambda: guides.MultivariateNormal(networks.MLP(4, (), guides.MultivariateNormal.outputs(2))),
    "Mixture": lambda: guides.Mixture(networks.MLP(4, (), guides.Mixture.outputs(2, 2)), components=2),
    "positive": lambda: guides.Normal(networks.MLP(4, (), 4), support=dist.constraints.positive),
    "Flow": lambda: guides.Flow(
        networks.MLP(4, (), guides.Flow.outputs(2, 3)), guides.inverse_autoregressive(2, 3, hidden_features=(8,))
    ),
    "dropout": lambda: guides.Normal(networks.MLP(4, (16,), 4, dropout=0.5)),
}


@pytest.mark.parametrize("name", MADE)
def test_dreg_by_hand_on_the_same_draws(name: str) -> None:
    prior = priors.LogNormal(2) if name == "positive" else priors.Normal(2)
    vae = pv.VAE(prior, likelihoods.Normal(networks.MLP(2, (5,), 4), learn_scale=True), MADE[name]()).double()
    prior, likelihood, guide = vae._three
    x, objective = torch.randn(6, 4), DReG(3)
    torch.manual_seed(0)
    with vae.scope():
        objective.differentiable_loss(vae.model, vae.guide, x).backward()
    torch.manual_seed(0)
    q = guide(x)
    z = q.expand((3, 6)).rsample()
    if name == "Flow":  # whose networks run when it is asked
        frozen = [p.requires_grad_(False) for p in guide.parameters()]
        expected_of = lambda v: guide(x).log_prob(v)  # noqa: E731
    else:
        with torch.no_grad():
            torch.manual_seed(0)  # the same dropout
            fixed = guide(x)
        frozen, expected_of = [], fixed.log_prob

    def log_weight(v: Tensor) -> Tensor:
        return prior().log_prob(v) + likelihood(v).log_prob(x) - expected_of(v)

    with torch.no_grad():
        weights = log_weight(z).softmax(0)
    own = list(guide.parameters())
    slope = torch.autograd.grad(log_weight(leaf := z.detach().requires_grad_()).sum(), leaf)[0]
    for p in frozen:
        p.requires_grad_(True)
    hand = torch.autograd.grad(z, own, -slope * weights.unsqueeze(-1) ** 2)
    torch.testing.assert_close([p.grad for p in own], list(hand), rtol=1e-9, atol=1e-10)
    model = [*prior.parameters(), *likelihood.parameters()]
    joint = prior().log_prob(leaf.detach()) + likelihood(leaf.detach()).log_prob(x)
    plain = torch.autograd.grad(-(weights * joint).sum(), model)
    torch.testing.assert_close([p.grad for p in model], list(plain), rtol=1e-9, atol=1e-10)


class Chain:
    """z2 then z1 given it, x from z1; each of n rows has parameters of its own, whose gradients are a sample of n."""

    def __init__(self, n: int) -> None:
        self.x = torch.full((n,), 1.5)
        values = {"w": 0.8, "t": 0.7, "a": 0.4, "s": 0.9, "b": 0.5, "c": 0.3, "u": 0.6}
        self.parameters = {name: torch.full((n,), value, requires_grad=True) for name, value in values.items()}

    def model(self) -> None:
        p = self.parameters
        with pyro.plate("data", len(self.x)):
            z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
            z1 = pyro.sample("z1", dist.Normal(p["t"] * z2, 1.0))
            pyro.sample("x", dist.Normal(p["w"] * z1, 0.5), obs=self.x)

    def guide(self) -> None:
        p = self.parameters
        with pyro.plate("data", len(self.x)):
            z2 = pyro.sample("z2", dist.Normal(p["a"] * self.x, p["s"]))
            noise = nn.functional.dropout(torch.ones_like(self.x), 0.3)  # between the two: drawn again as it was
            pyro.sample("z1", dist.Normal(p["b"] * self.x + p["c"] * z2 * noise, p["u"]))

    def gradients(self, objective: Any) -> Tensor:
        """(n, parameters)."""
        for p in self.parameters.values():
            p.grad = None
        objective.differentiable_loss(self.model, self.guide).backward()
        return torch.stack([p.grad for p in self.parameters.values()], -1)


@pytest.mark.parametrize("vectorize", [False, True])
def test_dreg_of_two_sites_by_hand(vectorize: bool) -> None:
    chain, p = Chain(5), None
    torch.manual_seed(0)
    found = chain.gradients(DReG(3, vectorize=vectorize))
    torch.manual_seed(0)
    p, x = chain.parameters, chain.x
    with torch.no_grad():
        held = {name: value.clone() for name, value in p.items()}
    draws = []
    if vectorize:  # the run that counts the plates comes first
        chain.guide()
    for _ in range(1 if vectorize else 3):
        shape = (3, 5) if vectorize else (1, 5)
        z2 = p["a"] * x + p["s"] * torch.randn(shape)
        noise = nn.functional.dropout(torch.ones_like(x), 0.3)
        draws.append((z2, p["b"] * x + p["c"] * z2 * noise + p["u"] * torch.randn(shape), noise.expand(shape)))
    z2, z1, noise = (torch.cat(parts) for parts in zip(*draws, strict=True))
    f2, f1 = z2.detach().requires_grad_(), z1.detach().requires_grad_()
    log_w = dist.Normal(0.0, 1.0).log_prob(f2) + dist.Normal(held["t"] * f2, 1.0).log_prob(f1)
    log_w = log_w + dist.Normal(held["w"] * f1, 0.5).log_prob(x) - dist.Normal(held["a"] * x, held["s"]).log_prob(f2)
    log_w = log_w - dist.Normal(held["b"] * x + held["c"] * f2 * noise, held["u"]).log_prob(f1)
    slopes = torch.autograd.grad(log_w.sum(), [f2, f1])
    square = log_w.detach().softmax(0) ** 2
    own = [p[name] for name in "asbcu"]
    hand = torch.autograd.grad([z2, z1], own, [-g * square for g in slopes])
    torch.testing.assert_close(found[:, 2:], torch.stack(hand, -1))


@pytest.mark.parametrize("k", [2, 20])
def test_dreg_is_the_gradient_of_the_bound_with_less_noise(k: int) -> None:
    chain = Chain(100_000 // k)
    plain = chain.gradients(ImportanceWeighted(k, vectorize=True))
    doubly = chain.gradients(DReG(k, vectorize=True))
    error = ((plain.var(0) + doubly.var(0)) / len(plain)).sqrt()
    assert bool(((plain.mean(0) - doubly.mean(0)).abs() < 4 * error).all())
    ratio = plain.var(0)[2:] / doubly.var(0)[2:]
    print(f"K = {k}: variance of the plain gradient of the guide / DReG's: {ratio.tolist()}")
    assert bool((ratio > 1).all())


def test_the_plain_gradients_signal_fades_with_k_more_than_dregs() -> None:
    """The ratio of mean and spread falls as 1/√K (Rainforth et al. 2018)."""
    ratios = {}
    for family in (ImportanceWeighted, DReG):
        for k in (4, 64):
            found = Chain(2000).gradients(family(k, vectorize=True))[:, 2:]
            ratios[family, k] = float((found.mean(0).abs() / found.std(0)).mean())
    assert ratios[ImportanceWeighted, 64] < 0.5 * ratios[ImportanceWeighted, 4]
    assert ratios[DReG, 64] > 0.5 * ratios[DReG, 4]
    assert ratios[DReG, 64] > 5 * ratios[ImportanceWeighted, 64]


def test_dreg_has_no_noise_at_the_posterior() -> None:
    linear = Linear(10, factor=1.0)
    linear.tril.requires_grad_()
    for k in (1, 4):
        linear.tril.grad = None
        DReG(k).loss_and_grads(linear.model, linear.guide)
        assert float(linear.tril.grad.abs().max()) < 1e-12


def test_dreg_leaves_parameters_as_they_were() -> None:
    vae = linear_vae().double()
    state = [(p.requires_grad, p.detach().clone()) for p in vae.parameters()]
    with vae.scope():
        DReG(3).differentiable_loss(vae.model, vae.guide, torch.randn(4, 4))
        with pytest.raises(ValueError, match="5"):
            DReG(3).differentiable_loss(vae.model, vae.guide, torch.randn(4, 5))
    assert all(
        p.requires_grad == had and torch.equal(p, v) for p, (had, v) in zip(vae.parameters(), state, strict=True)
    )


# Gradients of draws that have none, against exact enumeration; each row has parameters of its own


class States:
    """A discrete latent with S states, p(z) and q(z|x) by logits, x | z ~ N(loc[z], 1); exact values by enumeration."""

    def __init__(self, kind: str, n: int, infer: dict[str, Any] | None = None) -> None:
        self.kind, self.n, self.infer = kind, n, infer or {}
        torch.manual_seed(3)
        size = 2 if kind == "bits" else 3
        self.q, self.p, self.loc = (torch.randn(size).expand(n, size).clone().requires_grad_() for _ in range(3))
        self.x = torch.tensor(0.7)

    def fn(self, logits: Tensor) -> Any:
        return Bits(logits=logits) if self.kind == "bits" else dist.OneHotCategorical(logits=logits)

    def model(self) -> None:
        with pyro.plate("data", self.n):
            z = pyro.sample("z", self.fn(self.p))
            pyro.sample("x", dist.Normal((z * self.loc).sum(-1), 1.0), obs=self.x.expand(self.n))

    def guide(self) -> None:
        with pyro.plate("data", self.n):
            pyro.sample("z", self.fn(self.q), infer=self.infer)

    def exact(self, value: Callable[[Tensor, Tensor, Tensor, int], Tensor], k: int) -> list[Tensor]:
        """∇E value(log p(x|z), log p(z), log q(z|x)), each (k,), by enumeration of k draws, for the first row."""
        q, p, loc = (t[0].detach().requires_grad_() for t in (self.q, self.p, self.loc))
        states = self.fn(q).enumerate_support()
        log_q, log_p = self.fn(q).log_prob(states), self.fn(p).log_prob(states)
        log_lik = dist.Normal((states * loc).sum(-1), 1.0).log_prob(self.x)
        total = torch.zeros(())
        for chosen in itertools.product(range(len(states)), repeat=k):
            at = list(chosen)
            total = total + log_q[at].sum().exp() * value(log_lik[at], log_p[at], log_q[at], k)
        return [total.detach(), *torch.autograd.grad(total, [q, p, loc])]

    def check(self, objective: Any, exact: list[Tensor]) -> None:
        """The mean over rows is the exact gradient."""
        for t in (self.q, self.p, self.loc):
            t.grad = None
        loss = objective.differentiable_loss(self.model, self.guide)
        loss.backward()
        for found, expected in zip((self.q, self.p, self.loc), exact[1:], strict=True):
            agrees(-found.grad, expected)


def power_mean(alpha: float) -> Callable[..., Tensor]:
    def value(log_lik: Tensor, log_p: Tensor, log_q: Tensor, k: int) -> Tensor:
        m = 1 - alpha
        return (torch.logsumexp(m * (log_lik + log_p - log_q), 0) - math.log(k)) / m

    return value


@pytest.mark.parametrize("kind", ["bits", "one of three"])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0, 2.0])
def test_the_score_functions_gradient_is_exact_on_average(kind: str, k: int, alpha: float) -> None:
    states = States(kind, 40_000)
    objective = Renyi(alpha, k, vectorize=True) if alpha else ImportanceWeighted(k, vectorize=True)
    states.check(objective, states.exact(power_mean(alpha), k))


def test_baselines_made_of_the_other_draws_reduce_noise() -> None:
    """VIMCO beside the plain score function, which it is at a baseline of 0."""
    states, spread = States("bits", 20_000), []
    for vimco in (True, False):
        states.q.grad = None
        terms = ImportanceWeighted(5, vectorize=True).terms(states.model, states.guide)
        bound = torch.logsumexp(terms.log_weight, 0)
        if vimco:
            ImportanceWeighted(5).value(terms).backward()
        else:
            ((bound - math.log(5)).detach() * terms.score + bound / 5).sum().backward()
        spread.append(states.q.grad.var(0))
    assert bool((spread[0] < 0.5 * spread[1]).all())


def test_a_discrete_and_a_continuous_latent_together() -> None:
    """b a bit, z | b Normal; the exact gradient by enumeration of b and quadrature of z, two draws each."""
    n = 100_000
    torch.manual_seed(2)
    own = {name: torch.full((n,), v, requires_grad=True) for name, v in {"logit": 0.3, "loc": 0.4, "step": 0.8}.items()}

    def model() -> None:
        with pyro.plate("data", n):
            b = pyro.sample("b", dist.Bernoulli(0.4))
            z = pyro.sample("z", dist.Normal(b, 1.0))
            pyro.sample("x", dist.Normal(z, 0.7), obs=torch.tensor(1.2).expand(n))

    def guide() -> None:
        with pyro.plate("data", n):
            b = pyro.sample("b", dist.Bernoulli(logits=own["logit"]))
            pyro.sample("z", dist.Normal(own["loc"] + own["step"] * b, 0.9))

    ImportanceWeighted(2, vectorize=True).loss_and_grads(model, guide)
    one = {name: t[0].detach().requires_grad_() for name, t in own.items()}
    nodes, masses = np.polynomial.hermite_e.hermegauss(40)
    eps, mass = torch.tensor(nodes), torch.tensor(masses / masses.sum())
    b = torch.tensor([[0.0], [1.0]])
    z = one["loc"] + one["step"] * b + 0.9 * eps
    log_b = dist.Bernoulli(logits=one["logit"]).log_prob(b)
    log_w = (
        dist.Bernoulli(0.4).log_prob(b)
        + dist.Normal(b, 1.0).log_prob(z)
        + dist.Normal(z, 0.7).log_prob(torch.tensor(1.2))
    )
    log_w = (log_w - log_b - dist.Normal(one["loc"] + one["step"] * b, 0.9).log_prob(z)).flatten()
    share = (log_b.exp() * mass).flatten()
    bound = torch.logaddexp(log_w[:, None], log_w[None]) - math.log(2)
    exact = torch.autograd.grad((share[:, None] * share * bound).sum(), list(one.values()))
    for t, expected in zip(own.values(), exact, strict=True):
        agrees(-t.grad, expected)


# β-ELBO


def beta_elbo(beta: float) -> Callable[..., Tensor]:
    return lambda log_lik, log_p, log_q, k: (log_lik + beta * (log_p - log_q)).sum()


@pytest.mark.parametrize("kind", ["bits", "one of three"])
@pytest.mark.parametrize("beta", [0.0, 0.3, 4.0])
def test_betas_gradient_by_each_estimator(kind: str, beta: float) -> None:
    exact = States(kind, 1).exact(beta_elbo(beta), 1)
    states = States(kind, 40_000)
    states.check(Beta(beta), exact)
    states.infer = {"baseline": {"baseline_value": torch.full((40_000,), -1.0)}}
    states.check(Beta(beta, elbo=TraceGraph_ELBO()), exact)
    summed = States(kind, 3, SUMMED)
    loss = Beta(beta, elbo=TraceEnum_ELBO(max_plate_nesting=1)).differentiable_loss(summed.model, summed.guide)
    loss.backward()
    assert float(-loss.detach()) / 3 == pytest.approx(float(exact[0]), rel=1e-6)  # the schedule's value is a float32
    for t, expected in zip((summed.q, summed.p, summed.loc), exact[1:], strict=True):
        torch.testing.assert_close(-t.grad, expected.expand(t.shape), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("capacity", [0.05, 3.0])
def test_capacity_by_each_estimator(capacity: float) -> None:
    """E log p(x|z) − β |KL − C|: KL is .3 nats, above and below C."""
    states, gamma = States("bits", 3, SUMMED), 2.0
    with_kl, without = (States("bits", 1).exact(beta_elbo(b), 1) for b in (1.0, 0.0))
    kl = float(without[0] - with_kl[0])
    sign = 1.0 if kl > capacity else -1.0
    assert 0.1 < kl < 3
    exact = [d - gamma * sign * (d - e) for d, e in zip(without, with_kl, strict=True)]
    value = float(without[0]) - gamma * abs(kl - capacity)
    objective = Beta(gamma, capacity=capacity, elbo=TraceEnum_ELBO(max_plate_nesting=1))
    for scale in (1.0, 10.0):
        for t in (states.q, states.p, states.loc):
            t.grad = None
        with poutine.scale(scale=scale):
            loss = objective.differentiable_loss(states.model, states.guide)
        loss.backward()
        assert float(-loss.detach()) / 3 / scale == pytest.approx(value, rel=1e-6)
        for t, expected in zip((states.q, states.p, states.loc), exact[1:], strict=True):
            torch.testing.assert_close(-t.grad / scale, expected.expand(t.shape), rtol=1e-6, atol=1e-7)
    many = States("bits", 40_000)
    for infer, elbo in (({}, None), ({"baseline": {"baseline_value": torch.full((40_000,), -1.0)}}, TraceGraph_ELBO())):
        many.infer = infer
        many.check(Beta(gamma, capacity=capacity, elbo=elbo), exact)


def test_betas_kl_in_closed_form() -> None:
    vae, x = linear_vae().double(), gaussian(5).double()
    with torch.no_grad():
        q = vae.encode(x)
        kl = float(torch.distributions.kl_divergence(q, vae._p().expand((5,))).sum())
    found = [Beta(b, elbo=TraceMeanField_ELBO()) for b in (0.0, 1.0, 5.0)]
    losses = []
    for objective in found:
        torch.manual_seed(0)
        losses.append(objective.loss(vae.model, vae.guide, x))
    assert losses[1] - losses[0] == pytest.approx(kl)
    assert losses[2] - losses[0] == pytest.approx(5 * kl)
    torch.manual_seed(0)
    capped = Beta(2.0, capacity=0.5, elbo=TraceMeanField_ELBO())
    assert float(capped.terms(vae.model, vae.guide, x).kl.sum().detach()) == pytest.approx(kl)
    torch.manual_seed(1)
    loss = capped.loss(vae.model, vae.guide, x)
    torch.manual_seed(1)
    torch.randn(5, 2)  # of the run that compares KL and C
    distortion = found[0].loss(vae.model, vae.guide, x)
    assert loss == pytest.approx(distortion + 2 * abs(kl - 5 * 0.5))


# Draws of all at once are those of one at a time, for the whole vocabulary

N, K = 5, 3


def same_as_one_by_one(vae: pv.VAE, *args: Tensor | None) -> None:
    """The densities of K draws by one run are those of a run for each, given the same z."""
    vae.eval()
    with vae.scope(), torch.no_grad(), pyro.validation_enabled(False):
        assert vae.broadcasts
        terms = draw_terms(vae.model, vae.guide, args, {}, particles=K)
        assert len(terms.pairs) == 1
        z = terms.pairs[0][0].nodes["z"]["value"]
        assert z.shape[:2] == (K, N)
        for k in range(K):
            trace = poutine.Trace()
            trace.add_node("z", name="z", type="sample", value=z[k], is_observed=False, infer={})
            replayed = poutine.replay(vae.guide, trace=trace)
            one = draw_terms(lambda *given: vae.model(*given), replayed, args, {}, plate="data")
            for name in ("log_lik", "log_prior", "log_q", "kl"):
                found, expected = getattr(terms, name), getattr(one, name)
                assert found.shape == (K, N)
                assert bool(torch.isfinite(found).all())
                torch.testing.assert_close(found[k], expected[0], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(terms.codes()[k], one.codes()[0])


def drawn_from(part: Any, context: Tensor | None) -> Tensor:
    with torch.no_grad():
        told = {} if context is None else {"context": context}
        x: Tensor = part.eval()(torch.randn(N, LATENTS), **told).sample().double()
        return x


class Flat(nn.Module):
    """An encoder of data of any shape."""

    def __init__(self, event: tuple[int, ...], mask: bool) -> None:
        super().__init__()
        self.network = networks.MLP(math.prod(event), (4,), 2 * LATENTS, mask=mask)
        self.takes = frozenset({"mask"} if mask else ())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.network(x.flatten(1), mask=None if mask is None else mask.flatten(1))


@pytest.mark.parametrize(
    ("part", "missing"),
    [(p, missing) for p in LIKELIHOODS for missing in (False, True) if not (missing and "ultinomial" in p.name)],
    ids=str,
)
def test_each_likelihood_takes_all_draws_at_once(part: Part, missing: bool) -> None:
    likelihood = part.make().double()
    context = part.inputs(N, dtype=torch.float64).get("context")
    x = drawn_from(likelihood, context)
    if missing:
        x[torch.rand(x.shape) < 0.3] = torch.nan
    same_as_one_by_one(pv.VAE(priors.Normal(LATENTS), likelihood, guides.Normal(Flat(part.event, missing))), x, context)


@pytest.mark.parametrize("part", PRIORS, ids=str)
def test_each_prior_takes_all_draws_at_once(part: Part) -> None:
    """With itself as the guide, which is a function of the user's."""
    prior = part.make().double()
    context = part.inputs(N, dtype=torch.float64).get("context")

    def conditional(x: Tensor, context: Tensor) -> Any:
        return prior(context=context)

    def guide(x: Tensor) -> Any:
        return prior().expand([len(x)])

    vae = pv.VAE(prior, likelihoods.Normal(decoder()), guide if context is None else conditional)
    same_as_one_by_one(vae, torch.randn(N, FEATURES), context)


@pytest.mark.parametrize("part", GUIDES, ids=str)
def test_each_guide_takes_all_draws_at_once(part: Part) -> None:
    guide, inputs = part.make().double(), part.inputs(N, dtype=torch.float64)
    x, context = inputs.pop("input"), inputs.get("context")
    raw = guide.parameters_of(x, **inputs)[0].detach()
    prior: Any = lambda: guide.distribution(raw)  # noqa: E731
    if "Flow" in part.name:
        prior = priors.Uniform(LATENTS) if "unit" in part.name else priors.Normal(LATENTS)
    if "mask" in inputs:
        x = torch.where(inputs["mask"], x, torch.nan)
    network = networks.MLP(LATENTS, (), FEATURES) if x.dim() == 2 else networks.Conv(LATENTS, (4,), tuple(x.shape[1:]))
    same_as_one_by_one(pv.VAE(prior, likelihoods.Normal(network), guide), x, context)


LOCAL = {
    "Table": lambda: guides.Table(N, LATENTS),
    "SemiAmortized": lambda: guides.SemiAmortized(guides.Normal(networks.MLP(FEATURES, (), 2 * LATENTS)), steps=2),
    "Laplace": lambda: guides.Laplace(LATENTS),
}


@pytest.mark.parametrize("name", LOCAL)
def test_each_guide_with_parameters_by_datum_takes_all_draws_at_once(name: str) -> None:
    vae = pv.VAE(priors.Normal(LATENTS), likelihoods.Normal(decoder()), LOCAL[name]())
    same_as_one_by_one(vae, torch.randn(N, FEATURES), None, torch.arange(N) if name == "Table" else None)


def test_dreg_of_a_semi_amortised_guide() -> None:
    """Its steps are taken again with parameters held fixed."""
    vae = pv.VAE(priors.Normal(LATENTS), likelihoods.Normal(decoder()), LOCAL["SemiAmortized"]()).double()
    x, found = torch.randn(400, FEATURES), []
    for objective in (DReG(50), ImportanceWeighted(50)):
        vae.zero_grad()
        torch.manual_seed(0)
        with vae.scope():
            loss = objective.differentiable_loss(vae.model, vae.guide, x)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in vae.parts["likelihood"].parameters())])
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-10, atol=0)
    for doubly, plain in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(doubly, plain, rtol=0.1, atol=0.1 * float(plain.abs().max()))


class Rows(nn.Module):
    """A decoder of the user's that knows of one dimension of data alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(LATENTS, 8), nn.BatchNorm1d(8), nn.Linear(8, FEATURES))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.inner(z.reshape(z.shape[0], -1))
        return out


@pytest.mark.parametrize(
    ("network", "known"),
    [
        (Rows, False),
        (lambda: lambda z: z.sum(-1, keepdim=True).expand(len(z), FEATURES), False),
        (lambda: nn.Sequential(nn.Linear(LATENTS, 8), nn.BatchNorm1d(8), nn.Linear(8, FEATURES)), False),
        (lambda: nn.Sequential(nn.Linear(LATENTS, 8), nn.Tanh(), nn.Linear(8, FEATURES)), True),
        (lambda: networks.MLP(LATENTS, (8,), FEATURES, norm="batch"), True),
    ],
)
def test_networks_of_the_users_that_may_not_take_all_draws_get_one_at_a_time(network: Any, known: bool) -> None:
    guide = guides.Normal(networks.MLP(FEATURES, (), 2 * LATENTS))
    vae = pv.VAE(priors.Normal(LATENTS), likelihoods.Normal(network()), guide)
    assert vae.broadcasts == known
    with vae.scope():
        terms = ImportanceWeighted(3).terms(vae.model, vae.guide, torch.randn(8, FEATURES))
    assert terms.log_weight.shape == (3, 8)
    assert len(terms.pairs) == (1 if known else 3)


def inner_plates() -> pv.Program:
    """A latent for each pair of datum and group, values left out by a mask, and a context."""

    def model(x: Tensor, context: Tensor) -> None:
        seen = ~torch.isnan(x)
        with pyro.plate("rows", len(x), dim=-1):
            m = pyro.sample("m", dist.Normal(context[:, 0], 1.0))
            with pyro.plate("groups", 3, dim=-2):
                z = pyro.sample("z", dist.Normal(m, 1.0))
                with poutine.mask(mask=seen.T):
                    pyro.sample("x", dist.Normal(z, 0.5), obs=torch.nan_to_num(x).T)
            pyro.factor("more", -0.1 * m**2)

    def guide(x: Tensor, context: Tensor) -> None:
        with pyro.plate("rows", len(x), dim=-1):
            m = pyro.sample("m", dist.Normal(0.3 * context[:, 0], 0.7))
            with pyro.plate("groups", 3, dim=-2):
                pyro.sample("z", dist.Normal(0.5 * torch.nan_to_num(x).T + 0.1 * m, 0.9))

    return pv.Program(model, guide)


def users() -> dict[str, tuple[Any, tuple[Tensor, ...]]]:
    holes = torch.randn(6, 3)
    holes[0, 1] = torch.nan
    return {
        "tutorial": (tutorial().double(), (torch.bernoulli(torch.full((6, 6), 0.4)),)),
        "hierarchy": (hierarchy(), (torch.randn(6, 4),)),
        "inner plates": (inner_plates(), (holes, torch.randn(6, 1))),
    }


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("name", ["tutorial", "hierarchy", "inner plates"])
def test_programs_of_the_users_own_have_the_densities_that_pyro_finds(name: str, vectorize: bool) -> None:
    """The mean of the log weights is Pyro's ELBO on the same random numbers."""
    program, args = users()[name]
    settings: dict[str, Any] = {"num_particles": 3}
    if vectorize:
        nesting = 2 if name == "inner plates" else 1
        settings |= {"vectorize_particles": True, "max_plate_nesting": nesting}
    with program.scope(), poutine.scale(scale=10.0):
        torch.manual_seed(0)
        expected = Trace_ELBO(**settings).loss(program.model, program.guide, *args)
        with torch.no_grad():
            torch.manual_seed(0)
            if vectorize:
                program.guide(*args)  # the run that counts the plates comes first
            torch.manual_seed(0)
            terms = draw_terms(program.model, program.guide, args, {}, particles=3, vectorize=False)
            if vectorize:
                torch.manual_seed(0)
                wide = draw_terms(program.model, program.guide, args, {}, particles=3, vectorize=True)
                torch.manual_seed(0)
                poutine.trace(program.guide).get_trace(*args)
                expected = Trace_ELBO(**settings).loss(program.model, program.guide, *args)
                terms = wide
    assert len(terms.pairs) == (1 if vectorize else 3)
    assert terms.log_weight.shape == (3, 6)
    assert -10 * float(terms.log_weight.mean(0).sum()) == pytest.approx(expected, rel=1e-9)
    assert terms.scale == 10


def test_a_factor_of_the_guide_is_part_of_its_density() -> None:
    """As in Pyro's own estimators: an energy-based q, normalised by the user."""

    def model() -> None:
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=torch.ones(4))

    def guide() -> None:
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0))
            pyro.factor("tilt", 0.3 * z, has_rsample=True)

    torch.manual_seed(0)
    expected = Trace_ELBO().loss(model, guide)
    torch.manual_seed(0)
    assert ImportanceWeighted(1).loss(model, guide) == pytest.approx(expected)


# Every objective, however it is used


@pytest.mark.parametrize("objective", [o for o in OBJECTIVES if o.by_datum], ids=str)
def test_svi_of_pyros_trains_a_program_of_the_users_with_it(objective: Objective) -> None:
    """A program with pyro.param, and modules registered by pyro.module."""
    made, program = objective.make(3, 4), hierarchy()
    model, guide = program._functions
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), made)
    x = torch.randn(8, 4)
    first = svi.step(x)
    before = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    assert math.isfinite(first)
    assert {"w", "noise", "a", "b", "s"} <= before.keys()
    svi.step(x)
    after = pyro.get_param_store()
    assert all(not torch.equal(after[name].detach(), value) for name, value in before.items())
    assert math.isfinite(svi.evaluate_loss(x))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_svi_of_pyros_trains_a_vae_with_it(objective: Objective) -> None:
    vae = linear_vae(learn_scale=False).double()
    before = [p.detach().clone() for p in vae.parameters()]
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), objective.make(2, 4))
    for _ in range(2):
        svi.step(gaussian(8).double())
    assert all(not torch.equal(p, value) for p, value in zip(vae.parameters(), before, strict=True))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_it_makes_an_elbo_module(objective: Objective) -> None:
    vae, x = linear_vae(learn_scale=False).double(), gaussian(8).double()
    module = objective.make(2, 4)(vae.model, vae.guide)
    assert isinstance(module, nn.Module)
    torch.manual_seed(0)
    loss = module(x)
    loss.backward()
    torch.manual_seed(0)
    again = objective.make(2, 4).differentiable_loss(vae.model, vae.guide, x)
    if objective.by_datum:  # others hold networks with weights of their own
        torch.testing.assert_close(loss, again)
    assert all(p.grad is not None for p in vae.parameters())


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_fit_trains_with_it_and_goes_on_to_the_same_bits(objective: Objective, tmp_path: Path) -> None:
    """Two chains, validation data, a smaller last batch, and a run that is cut off in the second chain."""
    torch.set_default_dtype(torch.float32)
    x, held_out = gaussian(37), gaussian(9, seed=1)

    def run(folder: Path | None, *callbacks: Any) -> pv.Fit:
        torch.manual_seed(0)
        return pv.fit(
            linear_vae(learn_scale=False),
            x,
            loss=objective.make(2, 4),
            validation=held_out,
            epochs=3,
            batch_size=10,
            restarts=2,
            resume=folder,
            checkpoint_seconds=0,
            callbacks=callbacks,
            progress=False,
        )

    whole = run(None)
    cut = []

    def stop(end: Any) -> None:
        if end.chain == 1 and end.epoch == 1 and not cut:
            cut.append(end)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", stop)
    resumed = run(tmp_path / "run")
    for ours, theirs in zip(resumed.chains, whole.chains, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in whole.history.data_vars:
        if whole.history[name].dtype.kind == "f" and "seconds" not in name:
            np.testing.assert_array_equal(resumed.history[name], whole.history[name], err_msg=name)


def test_a_global_latent_is_refused_where_weights_are_by_datum() -> None:
    program, x = shared_mean(torch.randn(8, 1)), torch.randn(8, 1)
    for objective in OBJECTIVES:
        made = objective.make(1, 1)
        if objective.weighs:
            with pytest.raises(ValueError, match=r"no bound when sites stand outside the data plate \(m"):
                made.loss(program.model, program.guide, x)
            with pytest.raises(ValueError, match=r"no bound when sites stand outside the data plate \(m"):
                Loss(made, program, inspect_program(program, Batch(x)), 8)
        elif objective.by_datum:
            assert math.isfinite(made.loss(program.model, program.guide, x))


# The list, and what is refused


def test_every_objective_is_listed() -> None:
    families = {
        f
        for name in objectives.__all__
        if inspect.isclass(f := getattr(objectives, name)) and issubclass(f, objectives.Objective)
    }
    assert families - {objectives.Objective} == {objective.family for objective in OBJECTIVES}


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_each_objective_tells_what_it_is(objective: Objective) -> None:
    made = objective.make(2, 4)
    assert type(made) is objective.family
    assert repr(made).startswith(f"{objective.family.__name__}(")
    assert made.label.split(" (")[0].strip()
    assert made.whole == objective.weighs
    assert "References" in (objective.family.__doc__ or "") or any(c.isdigit() for c in objective.family.__doc__ or "")


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_draws_without_a_gradient_are_refused_when_the_vae_is_built_or_trained(objective: Objective) -> None:
    def build() -> pv.VAE:
        network = likelihoods.Bernoulli(networks.MLP(3, (), 6))
        return pv.VAE(priors.Bernoulli(3), network, guides.Bernoulli(networks.MLP(6, (), 3)), loss=objective.make(3, 6))

    if not objective.scored:
        with pytest.raises(ValueError, match="gradient"):
            build()
        return
    torch.set_default_dtype(torch.float32)
    fit = pv.fit(build(), torch.bernoulli(torch.full((12, 6), 0.4)), epochs=3, progress=False)
    assert np.isfinite(fit.history["elbo"]).all()


def test_dreg_without_a_check_before_says_so_too() -> None:
    states = States("bits", 3)
    with pytest.raises(ValueError, match=r"DReG needs a gradient through each draw.*ImportanceWeighted"):
        DReG(2).loss(states.model, states.guide)


@pytest.mark.parametrize("family", [ImportanceWeighted, DReG, lambda k: Renyi(0.5, k)])
@pytest.mark.parametrize("k", [0, -1, 2.0, True, "5", None, math.nan])
def test_k_must_be_a_whole_number_from_1(family: Any, k: Any) -> None:
    with pytest.raises(ValueError, match=r"objectives\.\w+: k: expected a whole number of at least 1, got"):
        family(k)


def test_alpha_must_be_a_number_other_than_1() -> None:
    for alpha in (math.nan, math.inf, -math.inf, True, "0.5", None):
        with pytest.raises(ValueError, match=r"objectives.Renyi: alpha: expected a finite number other than 1"):
            Renyi(alpha, 5)
    with pytest.raises(ValueError, match="at 1 it is the ELBO: use pyro.infer.Trace_ELBO"):
        Renyi(1, 5)
    assert repr(Renyi(-0.25, 5)) == "Renyi(alpha=-0.25, k=5)"
    assert Renyi(2, 5).label == "Rényi bound (α = 2, K = 5)"


def test_what_beta_refuses() -> None:
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="objectives.Beta: beta: expected"):
            Beta(weight)
        with pytest.raises(ValueError, match="objectives.Beta: capacity: expected"):
            Beta(1.0, capacity=weight)
    for elbo in (RenyiELBO(), Beta(1.0), Trace_ELBO, "Trace_ELBO", pyro.infer.JitTrace_ELBO()):
        with pytest.raises(TypeError, match="objectives.Beta: elbo: expected one of Pyro's estimators"):
            Beta(1.0, elbo=elbo)


def test_a_point_is_refused_where_draws_are_weighed() -> None:
    for objective in OBJECTIVES:
        if objective.weighs:
            with pytest.raises(ValueError, match="a point has none"):
                pv.VAE(
                    priors.Normal(2),
                    likelihoods.Normal(networks.MLP(2, (), 4)),
                    guides.Delta(networks.MLP(4, (), 2)),
                    loss=objective.make(2, 4),
                )


def scaled(where: str) -> tuple[Any, Any]:
    def model() -> None:
        with pyro.plate("data", 4):
            with poutine.scale(scale=0.5 if where == "prior" else 1.0):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("cells", 6, subsample_size=3, dim=-2) if where == "cells" else pyro.plate("cells", 3):
                pyro.sample("x", dist.Normal(z, 1.0), obs=torch.ones(3, 4))

    def guide() -> None:
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Normal(torch.zeros(4), 1.0))

    return model, guide


@pytest.mark.parametrize("where", ["prior", "cells"])
def test_sites_of_unequal_weight_are_refused(where: str) -> None:
    """Weighted by hand, or by subsampling the cells of a datum: the logarithm of a mean weight would be another."""
    for objective in (ImportanceWeighted(2), DReG(2), Renyi(0.5, 2)):
        with pytest.raises(ValueError, match=r"different weights \(poutine.scale\).*Trace_ELBO"):
            objective.loss(*scaled(where))
    assert math.isfinite(ImportanceWeighted(2).loss(*scaled("nowhere")))


def test_sites_that_cannot_be_weighed_are_refused() -> None:
    def model(latent: bool = True, seen: bool = True, inside: bool = True) -> None:
        if not inside:
            pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        with pyro.plate("data", 4), pyro.plate("other", 1):
            if latent and inside:
                pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.ones(1, 4) if seen else None)

    def guide(latent: bool = True, **_: bool) -> None:
        with pyro.plate("data", 4), pyro.plate("other", 1):
            pyro.sample("z" if latent else "y", dist.Normal(0.0, 1.0))

    bound = ImportanceWeighted(2, plate="data")
    with pytest.raises(ValueError, match=r"could not be told \(found: 'data', 'other'\).*plate='…'"):
        ImportanceWeighted(2).loss(model, guide)
    assert math.isfinite(bound.loss(model, guide))
    with pytest.raises(ValueError, match="the sites y are in the guide alone"):
        bound.loss(model, guide, latent=False)
    with pytest.raises(ValueError, match="the model observes nothing in the plate 'data'"):
        bound.loss(model, guide, seen=False)
    with pytest.raises(ValueError, match="the guide draws no latent in the plate 'rows'"):
        ImportanceWeighted(2, plate="rows").loss(model, guide)
    with pytest.raises(ValueError, match=r"the sites z stand inside the plate 'data' in one of guide and model"):
        bound.loss(model, guide, inside=False)


# Latents outside of the plate; what an objective is told before and between runs


@pytest.mark.parametrize("capacity", [0.05, 3.0])
def test_a_capacity_is_not_one_of_latents_outside_the_plate(capacity: float) -> None:
    """−½ (the data's, known) − 2 |KL of the data − C| − 2 · KL of w, whichever side of C the data are on."""
    loc, w = (torch.tensor(t, requires_grad=True) for t in (0.7, 1.5))

    def model() -> None:
        pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 40, subsample=torch.arange(4)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(4))

    def guide() -> None:
        pyro.sample("w", dist.Normal(w, 1.0))
        with pyro.plate("data", 40, subsample=torch.arange(4)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    loss = Beta(2, capacity=capacity, elbo=TraceMeanField_ELBO()).differentiable_loss(model, guide)
    exact = 40 * (math.log(2 * math.pi) / 2 + 2 * (loc**2 / 2 - capacity).abs()) + 2 * w**2 / 2
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=1e-12)
    for found, expected in zip(torch.autograd.grad(loss, (loc, w)), torch.autograd.grad(exact, (loc, w)), strict=True):
        assert float(found) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 2.0, 6.0])
def test_renyi_bounds_of_positive_order_are_below_that_of_order_0_draw_by_draw(alpha: float) -> None:
    """A power mean rises in its power: so for α ≥ 0 it is below log p(x) in expectation for every K, α > 1 too."""
    linear = Linear(200, factor=0.6)
    terms = draw_terms(linear.model, linear.guide, (), {}, particles=4)
    for n in range(200):
        one = terms.log_weight[:, n]
        lower = torch.logsumexp((1 - alpha) * one, 0) - math.log(4)
        assert lower / (1 - alpha) <= torch.logsumexp(one, 0) - math.log(4) + 1e-12


def test_the_first_epoch_is_told_of_that_epoch_alone() -> None:
    """What a run that was broken off, or Pyro's own SVI, has noted is not counted."""
    x = gaussian(40)

    def distortion(left: float) -> float:
        torch.manual_seed(0)
        vae = pv.VAE(
            pv.priors.Normal(2),
            pv.likelihoods.Normal(pv.networks.MLP(2, (), 4), 1.0),
            pv.guides.Normal(pv.networks.MLP(4, (), 4)),
            loss=objectives.Discrepancy(objectives.MMD()),
        ).double()
        vae.loss.note(7, distortion=torch.tensor(left))
        fit = pv.fit(vae, x, epochs=1, progress=False)
        return float(fit.history["distortion"][0, 0])

    assert distortion(1e6) == distortion(0.0)


def test_networks_of_an_objective_are_moved_to_the_data_before_they_are_tried() -> None:
    class Moved(ImportanceWeighted):
        at: Any = None

        def to(self, device: Any) -> Any:
            self.at = device
            return super().to(device)

        def check(self, *pq: Any) -> None:
            assert self.at == torch.device("cpu")

        adapt = check

    pv.fit(linear_vae(), gaussian(20), loss=Moved(2), epochs=1, progress=False)
