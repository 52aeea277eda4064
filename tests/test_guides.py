"""Guides: supports, estimators of discrete ones, flows, and those that infer each datum by itself."""

from __future__ import annotations

import copy
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO
from scipy import optimize
from torch import nn
from torch.distributions import constraints

import pyrovae as pv
from pyrovae import guides, networks, schedules
from pyrovae.guides._local import bound, refine

F64 = torch.float64


class Linear:
    """z ~ N(0, I), x ~ N(z W, σ² I): log p(x) and the posterior are known."""

    latents, features, scale = 3, 5, 0.75

    def __init__(self, n: int) -> None:
        self.weight = torch.randn(self.latents, self.features, dtype=F64)
        self.x = torch.randn(n, self.latents, dtype=F64) @ self.weight + self.scale * torch.randn(n, self.features)
        precision = self.weight @ self.weight.T / self.scale**2 + torch.eye(self.latents)
        self.covariance = torch.linalg.inv(precision)
        self.mean = self.x @ self.weight.T @ self.covariance / self.scale**2
        noise = self.scale**2 * torch.eye(self.features, dtype=F64)
        zeros = torch.zeros(self.features, dtype=F64)
        self.log_p = dist.MultivariateNormal(zeros, self.weight.T @ self.weight + noise).log_prob(self.x)

    def joint(self, z: torch.Tensor) -> torch.Tensor:
        prior = dist.Normal(0.0, 1.0).expand([self.latents]).to_event(1)
        return prior.log_prob(z) + dist.Normal(z @ self.weight, self.scale).to_event(1).log_prob(self.x)

    def vae(self, guide: nn.Module) -> pv.VAE:
        decoder = networks.MLP(self.latents, (), self.features)
        likelihood = pv.likelihoods.Normal(decoder, self.scale)
        vae = pv.VAE(pv.priors.Normal(self.latents), likelihood, guide).double()
        with torch.no_grad():
            decoder.layers[0].weight.copy_(self.weight.T)
            decoder.layers[0].bias.zero_()
        return vae


def gap(linear: Linear, q: dist.TorchDistribution, draws: int = 2_000) -> torch.Tensor:
    """log p(x) − ELBO of each datum."""
    with torch.no_grad():
        z = q.sample((draws,))
        return linear.log_p - (linear.joint(z) - q.log_prob(z)).mean(0)


def encoder(outputs: int) -> networks.MLP:
    return networks.MLP(Linear.features, (), outputs)


@pytest.fixture
def unchecked():
    """Training without validation, as `fit` trains."""
    with pyro.validation_enabled(False):
        yield


# Supports


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "support",
    [
        constraints.positive,
        constraints.unit_interval,
        constraints.interval(1000.0, 1001.0),
        constraints.greater_than(5.0),
        constraints.less_than(-2.0),
        constraints.interval(torch.tensor([0.0, -1.0, 2.0]), torch.tensor([1.0, 0.0, 5.0])),
        constraints.simplex,
    ],
    ids=str,
)
def test_draws_do_not_round_onto_the_boundary(support, dtype):
    size = 2 if support is constraints.simplex else 3
    loc = torch.tensor([-300.0, -30.0, 0.0, 30.0, 300.0]).to(dtype).unsqueeze(-1).expand(5, size)
    raw = torch.cat([loc, torch.ones_like(loc)], -1).requires_grad_()
    with pyro.validation_enabled(True):
        q = guides.Normal(nn.Identity(), support=support).distribution(raw)
        z = q.rsample((50,))
        own, foreign = q.log_prob(z), q.log_prob(z.detach().clone())
    low, high = (getattr(support, f"{end}_bound", bound) for end, bound in (("lower", 0.0), ("upper", math.inf)))
    assert (z > (-math.inf if "less" in type(support).__name__.lower() else low)).all()
    assert (z < high).all()
    assert z.isfinite().all()
    for log_prob in (own, foreign):
        assert log_prob.shape == (50, 5)
        assert log_prob.isfinite().all()
    own.sum().backward()
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda s: guides.Normal(encoder(guides.Normal.outputs(3, support=s)), support=s),
        lambda s: guides.MultivariateNormal(encoder(guides.MultivariateNormal.outputs(3, support=s)), support=s),
        lambda s: guides.LowRankMultivariateNormal(
            encoder(guides.LowRankMultivariateNormal.outputs(3, rank=1, support=s)), rank=1, support=s
        ),
        lambda s: guides.Mixture(encoder(guides.Mixture.outputs(3, components=2, support=s)), components=2, support=s),
        lambda s: guides.Flow(
            encoder(guides.Flow.outputs(3, 4, s)),
            guides.inverse_autoregressive(2 if s is constraints.simplex else 3, 4),
            support=s,
        ),
    ],
    ids=["Normal", "MultivariateNormal", "LowRank", "Mixture", "Flow"],
)
@pytest.mark.parametrize("support", [constraints.positive, constraints.simplex], ids=str)
def test_every_family_on_the_reals_can_be_pushed_onto_a_support(make, support):
    q = make(support)(torch.randn(4, Linear.features))
    assert q.event_shape == (3,)
    assert q.has_rsample
    z = q.expand((2, 4)).sample((6,))
    assert z.shape == (6, 2, 4, 3)
    assert q.support.check(z).all()
    assert q.expand((2, 4)).log_prob(z).shape == (6, 2, 4)
    if support is constraints.positive:  # a density over (0, ∞)³: the mean weight of draws from another is 1
        p = dist.LogNormal(torch.zeros(3, dtype=F64), 2.0).to_event(1)
        z = p.sample((200_000,)).unsqueeze(1)
        with torch.no_grad():
            weight = (make(support).double()(torch.zeros(1, 5, dtype=F64)).log_prob(z) - p.log_prob(z)).exp()[:, 0]
        assert (weight.mean() - 1).abs() < 4 * weight.std() / math.sqrt(len(weight))


def test_elementwise_supports_keep_a_divergence_by_dimension():
    q = guides.Normal(nn.Identity(), support=constraints.positive)(torch.zeros(5, 6))
    assert isinstance(q, dist.Independent)
    assert q.base_dist.batch_shape == (5, 3)
    whole = guides.Normal(nn.Identity(), support=constraints.independent(constraints.positive, 1))
    assert whole(torch.zeros(5, 6)).support.check(q.sample()).all()
    assert repr(whole).endswith("support: greater than (0))")


def test_outputs_count_the_numbers_behind_a_simplex():
    assert guides.Normal.outputs(4) == 8
    assert guides.Normal.outputs(4, support=constraints.simplex) == 6
    assert guides.MultivariateNormal.outputs(4, support=constraints.simplex) == 3 + 6
    assert guides.LowRankMultivariateNormal.outputs(4, rank=2, support=constraints.simplex) == 12
    assert guides.Mixture.outputs(4, components=5, support=constraints.simplex) == 35


# Mixtures


def test_gradients_of_a_mixtures_draws_are_those_of_its_moments():
    part, n = guides.Mixture(nn.Identity(), components=3), 100_000
    raw = 0.5 * torch.randn(part.outputs(2, components=3), dtype=F64)

    def moment(q) -> torch.Tensor:  # E z1² + z1 z2 − z2
        locs, scales = q.locs, q.coord_scale
        terms = locs[..., 0].square() + scales[..., 0].square() + locs[..., 0] * locs[..., 1] - locs[..., 1]
        return (q.probs * terms).sum(-1)

    exact = torch.autograd.functional.jacobian(lambda r: moment(part.distribution(r.unsqueeze(0))).sum(), raw)
    each = raw.expand(n, -1).clone().requires_grad_()
    z = part.distribution(each).rsample()
    (gradient,) = torch.autograd.grad((z[:, 0].square() + z[:, 0] * z[:, 1] - z[:, 1]).sum(), each)
    assert ((gradient.mean(0) - exact).abs() < 4 * gradient.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_mixtures_gradient_is_finite_where_densities_underflow_and_means_coincide(size):
    raw = torch.zeros(5, guides.Mixture.outputs(size, components=3)).requires_grad_()
    z = guides.Mixture(nn.Identity(), components=3)(raw).rsample((7,))
    assert z.shape == (7, 5, size)
    z.square().sum().backward()
    assert raw.grad.isfinite().all()
    assert raw.grad.abs().sum() > 0


def test_draws_of_a_batch_of_mixtures_come_from_their_own_components():
    locs = 100.0 * torch.arange(4).reshape(4, 1, 1).expand(4, 2, 3)
    raw = torch.cat([locs.flatten(1), torch.zeros(4, 6), torch.tensor([[0.0, 3.0]]).expand(4, 2)], -1)
    q = guides.Mixture(nn.Identity(), components=2)(raw)
    z = q.expand((6, 4)).sample((5,))
    assert ((z - locs[:, 0]).abs() < 20).all()
    torch.testing.assert_close(q.mean, locs[:, 0])
    variance = guides.Mixture(nn.Identity(), components=2)(torch.tensor([[-2.0, 2.0, 0.0, 0.0, 0.0, 0.0]])).variance
    torch.testing.assert_close(variance, torch.tensor([[4 + math.log(2) ** 2]]))  # softplus(0) = log 2


@pytest.mark.usefixtures("unchecked")
def test_a_mixture_has_two_modes_where_a_normal_has_one():
    means = torch.tensor([[-1.2, -1.2], [1.2, 1.2]], dtype=F64)

    def joint(z):
        return torch.logsumexp(dist.Normal(means, 0.5).to_event(1).log_prob(z.unsqueeze(-2)), -1) - math.log(2)

    normal, mixture = guides.Normal(nn.Identity()), guides.Mixture(nn.Identity(), components=2)
    start = torch.tensor([[-1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]], dtype=F64)
    one = refine(normal.distribution, torch.randn(1, 4, dtype=F64), joint, steps=300, lr=0.1, draws=16)
    two = refine(mixture.distribution, start, joint, steps=300, lr=0.1, draws=16)
    # the modes are 7 standard deviations apart: the Normal has one of them
    assert -bound(normal.distribution, one, joint, 5_000).item() == pytest.approx(math.log(2), abs=0.02)
    assert -bound(mixture.distribution, two, joint, 5_000).item() < 0.01


@pytest.mark.usefixtures("unchecked")
def test_a_mixture_learns_its_weights_through_its_draws():
    weights, means = torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 1.0])
    mixture = guides.Mixture(nn.Identity(), components=2)
    raw = refine(
        mixture.distribution,
        torch.tensor([[-0.5, 0.5, 0.0, 0.0, 0.0, 0.0]]),
        lambda z: torch.logsumexp(weights.log() + dist.Normal(means, 0.5).log_prob(z), -1),
        steps=300,
        lr=0.1,
        draws=64,
    )
    q = mixture.distribution(raw)
    torch.testing.assert_close(q.probs[0], weights, rtol=0, atol=2e-3)
    torch.testing.assert_close(q.locs[0, :, 0], means, rtol=0, atol=5e-3)
    torch.testing.assert_close(q.coord_scale[0, :, 0], torch.full((2,), 0.5), rtol=0, atol=5e-3)


# Flows


def test_an_inverse_autoregressive_flow_draws_in_one_pass():
    flow = guides.inverse_autoregressive(4, 6, transforms=3, hidden_features=(16,))
    calls = []
    for step in flow.transform.transforms:
        step.transform.hyper.register_forward_hook(lambda *_: calls.append(1))
    guide = guides.Flow(nn.Identity(), flow).double()
    raw = torch.randn(5, 2 * 4 + 6, dtype=F64)
    guide(raw)  # the first call tries whether features fit
    calls.clear()
    q = guide(raw)
    z = q.rsample((3,))
    fast = q.log_prob(z)
    assert len(calls) == 3
    slow = q.log_prob(z.detach().clone())
    assert len(calls) > 3 + 3 * 4
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)

    def onto(e):
        return raw[:, :4] + nn.functional.softplus(raw[:, 4:8]) * q.base_dist.dist.transform.inv(e)

    jacobian = torch.autograd.functional.jacobian(lambda e: onto(e).sum(0), e := torch.randn(5, 4).double())
    pushed = onto(e)
    by_hand = dist.Normal(0.0, 1.0).log_prob(e).sum(-1) - torch.linalg.slogdet(jacobian.transpose(0, 1))[1]
    torch.testing.assert_close(q.log_prob(pushed), by_hand, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("unchecked")
def test_a_flow_bends_where_a_normal_cannot():
    def joint(z):  # a banana: z1 ~ N(0, 1), z2 ~ N(z1², 0.3²)
        return dist.Normal(0.0, 1.0).log_prob(z[..., 0]) + dist.Normal(z[..., 0] ** 2, 0.3).log_prob(z[..., 1])

    flow = guides.Flow(nn.Identity(), guides.inverse_autoregressive(2, 1, hidden_features=(32, 32)))
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, 500)
    raw = torch.zeros(1, 2 * 2 + 1)
    for _ in range(500):
        optimizer.zero_grad()
        (-bound(flow.distribution, raw, joint, 64).sum()).backward()
        optimizer.step()
        decay.step()
    full = guides.MultivariateNormal(nn.Identity())
    raw_full = refine(full.distribution, torch.zeros(1, 5), joint, steps=500, lr=0.05, draws=64)
    with torch.no_grad():
        straight, bent = (-bound(q.distribution, r, joint, 20_000).item() for q, r in ((full, raw_full), (flow, raw)))
    assert straight > 0.6
    assert bent < 0.1


# Discrete latents


class Bitwise:
    """Three bits, or one of three states, and one datum: the ELBO and its gradient by enumeration."""

    prior = torch.tensor([0.3, 0.5, 0.2], dtype=F64)
    weight = torch.tensor([[1.0, -0.5], [0.3, 0.8], [-1.2, 0.4]], dtype=F64)
    x = torch.tensor([0.4, -0.3], dtype=F64)

    def __init__(self, kind: str) -> None:
        self.make = guides.Bernoulli if kind == "bits" else guides.OneHotCategorical
        self.p = pv.distributions.Bits(probs=self.prior) if kind == "bits" else dist.OneHotCategorical(probs=self.prior)
        self.raw = torch.tensor([0.5, -0.8, 0.2], dtype=F64)

    def vae(self, raw: torch.Tensor, **settings) -> pv.VAE:
        return pv.VAE(
            lambda: self.p,
            lambda z: dist.Normal(z @ self.weight, 1.0).to_event(1),
            self.make(lambda x: raw[: len(x)], **settings),
        ).double()

    def exact(self, raw: torch.Tensor) -> torch.Tensor:
        states = self.p.enumerate_support()
        q = self.make(nn.Identity()).distribution(raw)
        log_q = q.log_prob(states)
        log_p = self.p.log_prob(states) + dist.Normal(states @ self.weight, 1.0).to_event(1).log_prob(self.x)
        return (log_q.exp() * (log_p - log_q)).sum()

    @property
    def gradient(self) -> torch.Tensor:
        return torch.autograd.functional.jacobian(self.exact, self.raw)


@pytest.mark.parametrize("kind", ["bits", "states"])
def test_enumeration_is_exact(kind):
    case = Bitwise(kind)
    raw = case.raw.expand(4, 3).clone().requires_grad_()
    vae = case.vae(raw, estimator="enumerate")
    loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(vae.model, vae.guide, case.x.expand(4, 2))
    (gradient,) = torch.autograd.grad(loss, raw)
    torch.testing.assert_close(loss, -4 * case.exact(case.raw), rtol=0, atol=1e-10)
    torch.testing.assert_close(gradient, -case.gradient.expand(4, 3), rtol=0, atol=1e-10)
    pyro.clear_param_store()


@pytest.mark.parametrize("kind", ["bits", "states"])
def test_the_score_function_is_unbiased_and_a_baseline_calms_it(kind):
    case, n = Bitwise(kind), 40_000
    x, variance = case.x.expand(n, 2), {}
    for baseline in (False, True):
        network = networks.MLP(2, (), 1)
        with torch.no_grad():
            network.layers[0].weight.zero_()
            network.layers[0].bias.fill_(case.exact(case.raw))
        raw = case.raw.expand(n, 3).clone().requires_grad_()
        vae = case.vae(raw, baseline=network if baseline else None)
        if baseline:
            TraceGraph_ELBO().loss_and_grads(vae.model, vae.guide, x)
            gradient = raw.grad
            q = guides.Bernoulli(nn.Identity()) if kind == "bits" else guides.OneHotCategorical(nn.Identity())
            assert q.infer(x) == {}
            # the baseline regresses on the cost: at its mean the gradient of the squares is 0
            slope = vae._three[2].baseline.layers[0].bias.grad
            assert slope.abs() < 4 * 2 * 2.0 * math.sqrt(n)
        else:
            loss = Trace_ELBO().differentiable_loss(vae.model, vae.guide, x)
            (gradient,) = torch.autograd.grad(loss, raw)
        error = gradient.std(0) / math.sqrt(n)
        assert ((-gradient.mean(0) - case.gradient).abs() < 4 * error).all()
        variance[baseline] = gradient.var(0).sum()
    assert variance[True] < 0.5 * variance[False]
    pyro.clear_param_store()


def test_a_baseline_is_told_what_the_network_is_told():
    baseline = networks.MLP(4, (), 1, context=2, mask=True)
    guide = guides.Bernoulli(networks.MLP(4, (), 3), baseline=baseline)
    assert guide.takes == {"context", "mask"}
    x, context, mask = torch.randn(5, 4), torch.randn(5, 2), torch.rand(5, 4) > 0.5
    guide.adapt(10 + 3 * torch.randn(100, 4))
    told = guide.infer(x, context, mask)["baseline"]
    seen = torch.where(mask, (x - guide.shift) / guide.spread, 0.0)
    expected = baseline(seen, context=context, mask=mask)[:, 0]
    torch.testing.assert_close(told["nn_baseline"](told["nn_baseline_input"]), expected)


def test_a_temperature_follows_its_schedule():
    guide = guides.RelaxedBernoulli(nn.Identity(), temperature=schedules.linear(1.0, 0.5, epochs=3))
    assert guide(torch.zeros(2, 3)).base_dist.temperature == 1.0
    guide.temperature.advance(9)
    assert guide(torch.zeros(2, 3)).base_dist.temperature == 0.5
    assert "linear(1, 0.5, epochs=3)" in repr(guide)


@pytest.mark.parametrize("make", [guides.RelaxedBernoulli, guides.RelaxedOneHotCategorical])
def test_cold_draws_stay_inside(make):
    raw = torch.tensor([[-40.0, 0.0, 40.0]]).requires_grad_()
    q = make(nn.Identity(), temperature=0.01)(raw)
    z = q.rsample((200,))
    assert (z > 0).all()
    log_prob = q.log_prob(z)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert raw.grad.isfinite().all()


# Inference of each datum


@pytest.mark.usefixtures("unchecked")
def test_a_table_reaches_the_posterior_of_its_rows():
    linear = Linear(20)
    table = guides.Table(20, linear.latents, guides.MultivariateNormal).double()
    index, optimizer = torch.arange(20), torch.optim.Adam([table.raw], 0.1)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 500)
    for _ in range(500):
        optimizer.zero_grad()
        q = table(linear.x, index=index)
        z = q.rsample((64,))
        (-(linear.joint(z) - q.log_prob(z)).mean(0).sum()).backward()
        optimizer.step()
        decay.step()
    assert gap(linear, table(linear.x, index=index)).mean() < 2e-3


@pytest.mark.parametrize(
    ("family", "options"),
    [(guides.MultivariateNormal, {}), (guides.LowRankMultivariateNormal, {"rank": 2})],
    ids=["MultivariateNormal", "LowRank"],
)
def test_a_table_infers_new_data(family, options):
    linear = Linear(20)
    table = guides.Table(7, linear.latents, family, steps=300, **options).double()
    assert gap(linear, table(linear.x, joint=linear.joint)).mean() < 2e-3


def test_a_table_knows_its_rows_again():
    x, context = torch.randn(6, 4), torch.randn(6, 2)
    x[1, 2] = torch.nan
    x[4] = x[3]  # the same values in another row, under another context
    table = guides.Table(6, 2)
    with torch.no_grad():
        table.raw.copy_(torch.randn(6, 4))
    table.adapt(x, context)
    seen, mask = torch.nan_to_num(x), ~x.isnan()
    for order in (torch.arange(6), torch.tensor([5, 1, 3])):
        q = table(seen[order], context[order], mask[order])
        assert torch.equal(q.mean, table.raw[order, :2])
    fresh = guides.Table(6, 2)
    fresh.load_state_dict(table.state_dict())
    assert torch.equal(fresh(seen, context, mask).mean, table.raw[:, :2])
    zero = torch.zeros(6, 4)
    zero[:, 0] = torch.arange(6)
    table.adapt(zero)
    assert torch.equal(table(torch.where(zero == 0, -0.0, zero)).mean, table.raw[:, :2])


@pytest.mark.parametrize(
    "change",
    [
        lambda x, c, m: (x + 1e-6, c, m),
        lambda x, c, m: (x, c + 1.0, m),
        lambda x, c, m: (x, None, m),
        lambda x, c, m: (x, c, ~m),
    ],
    ids=["x", "context", "no context", "mask"],
)
def test_what_differs_from_a_row_is_inferred(change):
    x, context, mask = torch.randn(3, 4), torch.randn(3, 2), torch.ones(3, 4, dtype=torch.bool)
    table = guides.Table(3, 2, steps=1)
    table.adapt(x, context)
    with pytest.raises(ValueError, match="use the guide inside pv.VAE, or pass joint="):
        table(*change(x, context, mask))


def test_known_and_new_data_in_one_batch():
    linear = Linear(8)
    table = guides.Table(4, linear.latents, guides.MultivariateNormal, steps=400).double()
    with torch.no_grad():
        table.raw.add_(torch.randn_like(table.raw))
    table.adapt(linear.x[:4])
    q = table(linear.x, joint=linear.joint)
    expected = table.family.distribution(table.raw)
    torch.testing.assert_close(q.loc[:4], expected.loc, rtol=0, atol=0)
    assert gap(linear, q)[4:].mean() < 2e-3


def test_inference_is_repeatable_and_leaves_no_trace():
    linear = Linear(5)
    vae = linear.vae(guides.Table(3, linear.latents, steps=20))
    for parameter in vae.parameters():
        parameter.grad = None
    state = torch.get_rng_state()
    with torch.no_grad():
        first = vae.encode(linear.x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.randn(7)
    second = vae.encode(linear.x)
    assert torch.equal(first.base_dist.loc, second.base_dist.loc)
    assert all(p.grad is None for p in vae.parameters())


def test_a_table_is_trained_by_fit_and_evaluated_on_new_data():
    linear = Linear(60)
    vae = linear.vae(guides.Table(40, linear.latents, guides.MultivariateNormal, steps=300))
    for parameter in vae.parts["likelihood"].parameters():
        parameter.requires_grad_(False)
    loss = Trace_ELBO(num_particles=16, vectorize_particles=True)
    fit = pv.fit(vae, linear.x[:40], loss=loss, epochs=300, batch_size=40, lr=0.1, seed=0, progress=False)
    with torch.no_grad():
        q = fit.program.encode(linear.x)
    below = gap(linear, q)
    assert below[:40].mean() < 0.02
    assert below[40:].mean() < 0.02


def test_semi_amortized_steps_raise_the_elbo():
    linear = Linear(30)
    for optimizer, lr in (("adam", 0.05), ("ascent", 0.01)):
        guide = guides.SemiAmortized(
            guides.Normal(encoder(6)), steps=5, lr=lr, draws=4, optimizer=optimizer, through=False
        ).double()
        better = gap(linear, guide.guide(linear.x)) - gap(linear, guide(linear.x, joint=linear.joint))
        assert better.mean() > 0.5
        assert (better > 0).float().mean() > 0.9
    more = guides.SemiAmortized(guide.guide, steps=50, lr=0.05, draws=4, through=False).double()
    assert (
        gap(linear, more(linear.x, joint=linear.joint)).mean() < gap(linear, guide(linear.x, joint=linear.joint)).mean()
    )


@pytest.mark.parametrize("optimizer", ["adam", "ascent"])
def test_the_gradient_through_the_steps_is_that_of_finite_differences(optimizer):
    linear = Linear(4)
    guide = guides.SemiAmortized(
        guides.Normal(encoder(6)), steps=3, lr=0.03, draws=2, optimizer=optimizer, through=True
    ).double()
    linear.weight.requires_grad_()

    def refined() -> torch.Tensor:
        torch.manual_seed(3)
        q = guide(linear.x, joint=linear.joint)
        z = q.rsample((3,))
        return (linear.joint(z) - q.log_prob(z)).mean()

    bias, step = guide.guide.network.layers[0].bias, 1e-5
    own = torch.autograd.grad(refined(), (bias, linear.weight))
    for tensor, gradient in zip((bias, linear.weight), own, strict=True):
        for place in [(1,), (4,)] if tensor is bias else [(0, 1), (2, 4)]:
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    tensor[place] += sign * step
                values.append(refined().item())
                with torch.no_grad():
                    tensor[place] -= sign * step
            assert (values[0] - values[1]) / (2 * step) == pytest.approx(gradient[place].item(), rel=1e-5, abs=1e-7)


def test_without_through_the_network_has_the_gradient_at_the_outcome():
    linear = Linear(4)
    guide = guides.SemiAmortized(guides.Normal(nn.Identity()), steps=3, through=False)
    start = torch.randn(4, 6, dtype=F64, requires_grad=True)
    torch.manual_seed(3)
    q = guide(start, joint=linear.joint)
    (gradient,) = torch.autograd.grad(q.base_dist.loc.square().sum(), start)
    torch.testing.assert_close(gradient[:, :3], 2 * q.base_dist.loc.detach())
    assert not torch.equal(q.base_dist.loc, start[:, :3])


def test_a_semi_amortized_guide_is_fitted_and_then_repeatable():
    linear = Linear(50)
    vae = linear.vae(guides.SemiAmortized(guides.Normal(encoder(6)), steps=2))
    fit = pv.fit(vae, linear.x, epochs=2, batch_size=25, seed=0, progress=False)
    fit.program.eval()
    first, second = fit.program.encode(linear.x), fit.program.encode(linear.x)
    assert torch.equal(first.base_dist.loc, second.base_dist.loc)
    assert vae._guide.takes == {"joint"}


def test_laplace_is_the_posterior_of_a_linear_model():
    linear = Linear(20)
    vae = linear.vae(guides.Laplace(linear.latents))
    with torch.no_grad():
        q = vae.encode(linear.x)
    torch.testing.assert_close(q.loc, linear.mean, rtol=0, atol=1e-8)
    torch.testing.assert_close(q.covariance_matrix, linear.covariance.expand(20, 3, 3), rtol=0, atol=1e-8)
    z = q.sample((10,))
    torch.testing.assert_close(linear.joint(z) - q.log_prob(z), linear.log_p.expand(10, 20), rtol=0, atol=1e-8)


@pytest.mark.parametrize("network", [None, encoder(3)], ids=["from 0", "from a network"])
def test_laplace_finds_the_mode_of_a_binary_model(network):
    weight, x = 2 * torch.randn(3, 5, dtype=F64), (torch.rand(6, 5) > 0.5).double()

    def joint(z):
        return dist.Normal(0.0, 1.0).log_prob(z).sum(-1) + dist.Bernoulli(logits=z @ weight).log_prob(x).sum(-1)

    q = guides.Laplace(3, network=network).double()(x, joint=joint)
    w = weight.numpy()

    def probabilities(z):
        return 1 / (1 + np.exp(-z @ w))

    for i in range(6):
        mode = optimize.root(lambda z, i=i: w @ (x[i].numpy() - probabilities(z)) - z, np.zeros(3), tol=1e-13).x
        p = probabilities(mode)
        covariance = np.linalg.inv(w @ np.diag(p * (1 - p)) @ w.T + np.eye(3))
        np.testing.assert_allclose(q.loc[i].detach().numpy(), mode, atol=1e-8)
        np.testing.assert_allclose(q.covariance_matrix[i].detach().numpy(), covariance, atol=1e-8)


def test_laplace_leaves_a_place_that_is_no_mode():
    q = guides.Laplace(1, network=lambda x: x)(
        torch.tensor([[0.1], [-0.2], [3.0]]), joint=lambda z: -(z.square() - 1).square().sum(-1)
    )
    torch.testing.assert_close(q.loc, torch.tensor([[1.0], [-1.0], [1.0]]))
    torch.testing.assert_close(q.variance, torch.full((3, 1), 1 / 8))


def test_laplace_trains_the_model_with_q_fixed():
    linear = Linear(50)
    vae = linear.vae(guides.Laplace(linear.latents, steps=2))
    before = copy.deepcopy(vae.state_dict())
    fit = pv.fit(vae, linear.x, epochs=2, batch_size=25, seed=0, progress=False)
    assert any(not torch.equal(before[name], value) for name, value in fit.program.state_dict().items())
    flat = guides.Laplace(2, floor=0.25)(torch.zeros(3, 1), joint=lambda z: z.sum(-1) * 0.0)
    torch.testing.assert_close(flat.variance, torch.full((3, 2), 4.0))


# What cannot be


class _Featuriser(nn.Module):
    def adapt(self, x):
        self.seen = len(x)

    def forward(self, x):
        return x


def test_a_network_that_adapts_itself_sees_the_data_as_they_are():
    guide = guides.Normal(_Featuriser())
    guide.adapt(5 + 3 * torch.randn(20, 4))
    assert guide.network.seen == 20
    assert (guide.shift, guide.spread) == (0, 1)
    start = guides.Laplace(4, network=_Featuriser())
    start.adapt(torch.randn(30, 4))
    assert start.network.seen == 30


NETWORK = nn.Identity()


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: guides.Normal(NETWORK, support="positive"), TypeError, "expected a constraint, .*got 'positive'"),
        (lambda: guides.Normal(NETWORK, support=constraints.boolean), ValueError, "use guides.Bernoulli"),
        (
            lambda: guides.Normal(NETWORK, support=dist.constraints.sphere),
            ValueError,
            "no bijection from the reals onto sphere.*: use guides.PowerSpherical",
        ),
        (
            lambda: guides.LowRankMultivariateNormal(NETWORK, rank=2)(torch.zeros(5, 6)),
            ValueError,
            r"m \(2 \+ rank\) = 4 m outputs .*got 6",
        ),
        (lambda: guides.LowRankMultivariateNormal(NETWORK, rank=0), ValueError, "rank: expected a whole number"),
        (
            lambda: guides.Mixture(NETWORK, components=2)(torch.zeros(5, 8)),
            ValueError,
            r"K \(2 m \+ 1\) outputs .*K = 2 components .*got 8",
        ),
        (lambda: guides.Mixture(NETWORK, components=0), ValueError, "components: expected a whole number"),
        (lambda: guides.PowerSpherical(NETWORK)(torch.zeros(5, 1)), ValueError, r"m outputs .*got 1"),
        (lambda: guides.Flow(NETWORK, lambda c: c), TypeError, "expected a flow, such as zuko.flows.NSF"),
        (
            lambda: guides.Flow(NETWORK, guides.inverse_autoregressive(3, 4))(torch.zeros(5, 12)),
            ValueError,
            "the network has 12 outputs, .*build it with context=6",
        ),
        (lambda: guides.inverse_autoregressive(0, 4), ValueError, "latents: expected a whole number of at least 1"),
        (
            lambda: guides.Bernoulli(NETWORK, estimator="reinforce"),
            ValueError,
            "Bernoulli: estimator: expected 'score' or 'enumerate', got 'reinforce'",
        ),
        (
            lambda: guides.Bernoulli(NETWORK, estimator="enumerate", baseline=NETWORK),
            ValueError,
            "a baseline is for estimator='score'",
        ),
        (lambda: guides.OneHotCategorical(NETWORK, baseline=3), TypeError, "baseline: expected a network"),
        (
            lambda: guides.Bernoulli(NETWORK, baseline=NETWORK)._cost((torch.zeros(5, 3), None, None)),
            ValueError,
            r"a baseline with 1 output, got shape \(5, 3\)",
        ),
        (lambda: guides.RelaxedBernoulli(NETWORK, temperature=0.0), ValueError, "temperature: expected a positive"),
        (lambda: guides.RelaxedOneHotCategorical(NETWORK, temperature="1"), TypeError, "a number or a schedule"),
        (lambda: guides.Table(0, 2), ValueError, "rows .*at least 1, got 0"),
        (lambda: guides.Table(3, 2, guides.Normal(NETWORK)), TypeError, "give the class"),
        (lambda: guides.Table(3, 2, guides.Normal, rank=2), TypeError, "guides.Normal takes no rank"),
        (lambda: guides.Table(3, 2, guides.Bernoulli), ValueError, "draws of guides.Bernoulli have no gradient"),
        (lambda: guides.Table(3, 2).adapt(torch.zeros(4, 5)), ValueError, "made for 3 training data, got 4: .*rows=4"),
        (lambda: guides.SemiAmortized(NETWORK), TypeError, "expected an amortised guide, .*got Identity"),
        (lambda: guides.SemiAmortized(guides.Normal(NETWORK), lr=0), ValueError, "lr: expected a positive number"),
        (lambda: guides.SemiAmortized(guides.Normal(NETWORK), optimizer="sgd"), ValueError, "'adam' or 'ascent'"),
        (lambda: guides.SemiAmortized(guides.Normal(NETWORK))(torch.zeros(5, 4)), ValueError, "use the guide inside"),
        (
            lambda: guides.SemiAmortized(guides.Mixture(NETWORK, components=2)),
            ValueError,
            "cannot be differentiated twice: use through=False",
        ),
        (
            lambda: guides.SemiAmortized(guides.Bernoulli(NETWORK))(torch.zeros(5, 4), joint=lambda z: z.sum(-1)),
            ValueError,
            "draws of guides.Bernoulli have no gradient",
        ),
        (lambda: guides.Laplace(2)(torch.zeros(5, 4)), ValueError, "use the guide inside pv.VAE"),
        (lambda: guides.Laplace(2, network=3), TypeError, "network: expected a network of x"),
        (
            lambda: guides.Laplace(2, network=NETWORK)(torch.zeros(5, 4), joint=lambda z: z.sum(-1)),
            ValueError,
            r"a network with 2 outputs, one for each latent, got shape \(5, 4\)",
        ),
    ],
)
def test_what_cannot_be_a_guide_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize(
    ("guide", "says"),
    [
        (guides.LowRankMultivariateNormal(networks.MLP(2, (), 8), rank=2), "rank=2; support: real)"),
        (guides.Mixture(networks.MLP(2, (), 10), components=2), "components=2; support: real)"),
        (guides.Table(5, 2, guides.MultivariateNormal), "Table(5 rows of 5, MultivariateNormal, steps=200, lr=0.1; "),
        (guides.SemiAmortized(guides.Normal(NETWORK)), "; support: real), steps=5, adam, lr=0.01; support: real)"),
        (guides.Laplace(2), "Laplace(2, steps=20; support: real)"),
        (guides.Bernoulli(NETWORK), "Bernoulli(Identity(), score; support: boolean)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_guides_say_what_they_are(guide, says):
    assert says in repr(guide)
