"""Distributions of ours against quadrature, enumeration, closed forms and draws."""

from __future__ import annotations

import gc
import itertools
import math
import weakref

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from scipy import integrate, special, stats
from torch.distributions import constraints, kl_divergence

from pyrovae.distributions import Bits, FlowDistribution, Horseshoe, PowerSpherical, RelaxedOneHotCategorical
from pyrovae.distributions.horseshoe import log_scaled_exponential_integral


def directions(n: int, size: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, size, dtype=torch.float64), dim=-1)


# Power spherical


@pytest.mark.parametrize("concentration", [0.0, 0.3, 4.0, 60.0])
def test_power_spherical_integrates_to_one_on_the_circle(concentration):
    loc = torch.tensor([math.cos(1.1), math.sin(1.1)], dtype=torch.float64)
    q = PowerSpherical(loc, torch.tensor(concentration))

    def density(angle):
        return q.log_prob(torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)).exp().item()

    total, _ = integrate.quad(density, 1.1 - math.pi, 1.1 + math.pi, points=[1.1], limit=200)
    assert total == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("concentration", [0.0, 0.3, 4.0, 60.0])
def test_power_spherical_integrates_to_one_on_the_sphere(concentration):
    q = PowerSpherical(directions(1, 3)[0], torch.tensor(concentration))
    basis, _ = torch.linalg.qr(torch.stack([q.loc, *directions(2, 3)], 1))
    basis = basis * (basis[:, 0] @ q.loc)  # its first column is loc, not −loc

    def around(height):
        """The density on the ring at this height over loc, where it is level, times 2π."""
        angle = torch.arange(5, dtype=torch.float64) * 1.3
        ring = math.sqrt(1 - height**2) * torch.stack([angle.cos(), angle.sin()], -1)
        points = torch.cat([torch.full((5, 1), height, dtype=torch.float64), ring], -1) @ basis.T
        return 2 * math.pi * q.log_prob(points).exp().mean().item()

    total, _ = integrate.quad(around, -1, 1, limit=200)
    assert total == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("size", [2, 3, 4, 9])
def test_power_spherical_without_concentration_is_uniform(size):
    q = PowerSpherical(directions(1, size)[0], torch.tensor(0.0))
    surface = math.log(2) + size / 2 * math.log(math.pi) - special.gammaln(size / 2)
    x = torch.cat([q.sample((5,)), q.loc.expand(1, size), -q.loc.expand(1, size)])
    torch.testing.assert_close(q.log_prob(x), torch.full((7,), -surface, dtype=torch.float64))
    assert q.entropy().item() == pytest.approx(surface)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_power_spherical_draws_have_the_mean_the_height_and_the_entropy_of_closed_form(size):
    q = PowerSpherical(directions(6, size), torch.tensor([0.0, 0.5, 2.0, 5.0, 20.0, 100.0], dtype=torch.float64))
    x = q.sample((20_000,))
    error = x.std(0) / math.sqrt(len(x))
    assert ((x.mean(0) - q.mean).abs() < 4 * error).all()
    density = -q.log_prob(x)
    assert ((density.mean(0) - q.entropy()).abs() <= 4 * density.std(0) / math.sqrt(len(x)) + 1e-12).all()
    beta = (size - 1) / 2
    for k, concentration in enumerate(q.concentration.tolist()):
        height = (1 + x[:, k] @ q.loc[k]) / 2
        assert stats.kstest(height.numpy(), stats.beta(beta + concentration, beta).cdf).pvalue > 1e-3


def test_power_spherical_mean_by_hand():
    """E locᵀx = κ/(κ + d − 1)."""
    q = PowerSpherical(directions(3, 5), torch.tensor([0.0, 1.0, 6.0], dtype=torch.float64))
    torch.testing.assert_close((q.mean * q.loc).sum(-1), torch.tensor([0.0, 0.2, 0.6], dtype=torch.float64))


@pytest.mark.parametrize("size", [2, 5])
def test_power_spherical_divergence_from_the_uniform_is_that_of_draws(size):
    q = PowerSpherical(directions(4, size), torch.tensor([0.0, 1.0, 8.0, 50.0], dtype=torch.float64))
    p = PowerSpherical(directions(1, size)[0], torch.tensor(0.0, dtype=torch.float64))
    exact = kl_divergence(q, p)
    x = q.sample((20_000,))
    ratio = q.log_prob(x) - p.log_prob(x)
    assert ((ratio.mean(0) - exact).abs() <= 4 * ratio.std(0) / math.sqrt(len(x)) + 1e-12).all()
    assert exact[0].abs() < 1e-12
    with pytest.raises(NotImplementedError):
        kl_divergence(q, q)


@pytest.mark.parametrize("start", ["anywhere", "first axis", "opposite"])
@pytest.mark.parametrize("size", [2, 3, 6])
def test_power_spherical_gradients_of_draws_are_numerical_ones(size, start):
    """Of draws with the same noise, by the direction, also where it is the axis that is reflected to it."""
    axis = torch.eye(size, dtype=torch.float64)[0]
    raw = {"anywhere": torch.randn(size, dtype=torch.float64), "first axis": axis, "opposite": -axis}[start]
    concentration = torch.tensor(3.0, dtype=torch.float64)

    def draws(raw, concentration, n=7):
        torch.manual_seed(2)
        return PowerSpherical(raw / raw.norm(), concentration, validate_args=False).rsample((n,))

    assert torch.autograd.gradcheck(lambda r: draws(r, concentration), raw.requires_grad_(), atol=1e-6)


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_power_spherical_gradient_of_an_expectation(axis):
    """d E locᵀx / dκ = (d − 1)/(κ + d − 1)², and of the direction d E x / d loc = κ/(κ + d − 1) on the tangent."""
    loc = directions(1, 4)[0] if axis is None else torch.eye(4, dtype=torch.float64)[axis]
    kappa = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    copies = kappa.expand(40_000)
    leaf = copies.detach().requires_grad_()
    (slope,) = torch.autograd.grad((PowerSpherical(loc, leaf).rsample() @ loc).sum(), leaf)
    assert abs(slope.mean() - 3 / 25) < 4 * slope.std() / 200
    raw = loc.expand(40_000, 4).clone().requires_grad_()
    tangent = directions(1, 4)[0]
    tangent = tangent - (tangent @ loc) * loc
    x = PowerSpherical(raw / raw.norm(dim=-1, keepdim=True), kappa.detach()).rsample()
    (slope,) = torch.autograd.grad((x @ tangent).sum(), raw)
    slope = slope @ tangent
    assert abs(slope.mean() - 2 / 5 * tangent.square().sum()) < 4 * slope.std() / 200


@pytest.mark.parametrize("size", [2, 3, 50, 1000])
@pytest.mark.parametrize("concentration", [0.0, 1.0, 1e4])
def test_power_spherical_draws_in_float32_lie_on_the_sphere_with_finite_gradients(size, concentration):
    loc = directions(200, size).float().requires_grad_()
    kappa = torch.full((200,), concentration, requires_grad=True)
    with pyro.validation_enabled(True):
        q = PowerSpherical(loc, kappa)
        x = q.rsample((10,))
        assert q.support.check(x).all()
        (q.log_prob(x).sum() + x.sum()).backward()
    assert loc.grad.isfinite().all()
    assert kappa.grad.isfinite().all()
    exact = PowerSpherical(loc.double(), kappa.double(), validate_args=False)
    torch.testing.assert_close(q.entropy().double(), exact.entropy(), rtol=1e-5, atol=5e-4)


def test_power_spherical_broadcasts_and_expands():
    q = PowerSpherical(directions(5, 3), torch.ones(4, 1))
    assert (q.batch_shape, q.event_shape) == ((4, 5), (3,))
    e = q.expand((2, 4, 5))
    assert e.sample((7,)).shape == (7, 2, 4, 5, 3)
    x = q.sample()
    torch.testing.assert_close(e.log_prob(x), q.log_prob(x).expand(2, 4, 5))
    torch.testing.assert_close(e.mean[1], q.mean)


@pytest.mark.parametrize("loc", [torch.tensor(1.0), torch.tensor([1.0])])
def test_power_spherical_needs_a_circle_at_least(loc):
    with pytest.raises(ValueError, match="unit vectors with 2 coordinates or more as loc, got shape"):
        PowerSpherical(loc, torch.tensor(1.0))


# Horseshoe


def test_exponential_integral_is_that_of_scipy_and_its_expansion():
    u = np.concatenate([np.geomspace(1e-12, 1e8, 3001), [2 - 1e-9, 2, 2 + 1e-9]])
    near = u < 500
    terms = sum((-1) ** k * special.factorial(k) / np.where(near, 1e9, u) ** k for k in range(15))
    expected = np.where(near, np.exp(np.where(near, u, 0)) * special.exp1(np.where(near, u, 1)), terms / u)
    x = torch.tensor(u, requires_grad=True)
    log = log_scaled_exponential_integral(x)
    np.testing.assert_allclose(log.detach().exp().numpy(), expected, rtol=1e-10)
    (slope,) = torch.autograd.grad(log.sum(), x)
    far = u > 50  # where 1 − 1/(u f) loses digits: its expansion, −1/u + 1/u² − 3/u³ …
    by_hand = np.where(far, (-1 + 1 / u - 3 / u**2 + 13 / u**3 - 71 / u**4 + 461 / u**5) / u, 1 - 1 / (u * expected))
    np.testing.assert_allclose(slope.numpy(), by_hand, rtol=1e-6)
    np.testing.assert_allclose(slope.numpy()[u < 10], by_hand[u < 10], rtol=1e-10)


def test_exponential_integral_in_float32():
    u = torch.from_numpy(np.geomspace(1e-12, 1e8, 500))
    exact = log_scaled_exponential_integral(u)
    torch.testing.assert_close(log_scaled_exponential_integral(u.float()).double(), exact, rtol=0, atol=5e-6)


def test_exponential_integral_can_be_differentiated_twice():
    u = torch.tensor([1e-3, 0.5, 1.9, 2.1, 30.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_scaled_exponential_integral, u)
    assert torch.autograd.gradgradcheck(log_scaled_exponential_integral, u)


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_horseshoe_density_is_the_integral_over_its_local_scale(scale):
    fn = Horseshoe(torch.tensor(scale, dtype=torch.float64))
    for theta in (0.01, 0.3, 1.0, 4.0, 50.0):
        mixed, _ = integrate.quad(
            lambda t, theta=theta: (
                stats.norm.pdf(theta, 0, scale * np.exp(t)) * 2 / np.pi / (1 + np.exp(2 * t)) * np.exp(t)
            ),
            -25,
            25,
            points=[0, np.log(theta / scale)],
            limit=400,
        )
        assert fn.log_prob(torch.tensor(theta, dtype=torch.float64)).exp().item() == pytest.approx(mixed, rel=1e-8)


def test_horseshoe_draws_have_its_distribution():
    fn = Horseshoe(torch.tensor([0.5, 3.0], dtype=torch.float64))
    x = fn.sample((20_000,))
    for k, scale in enumerate((0.5, 3.0)):
        edges = scale * np.array([0.05, 0.3, 1.0, 4.0])
        for edge in edges:
            mass, _ = integrate.quad(
                lambda t, k=k: fn.log_prob(torch.tensor([math.exp(t)] * 2).double())[k].exp().item() * math.exp(t),
                -40,
                math.log(edge),
                limit=200,
            )
            share = (x[:, k].abs() < edge).double().mean().item()
            assert abs(share - 2 * mass) < 4 * math.sqrt(2 * mass * (1 - 2 * mass) / len(x))


def test_horseshoe_reparameterises_its_scale_and_has_no_mean():
    scale = torch.tensor([0.5, 3.0], requires_grad=True)
    x = Horseshoe(scale).rsample((5,))
    (slope,) = torch.autograd.grad(x.sum(), scale)
    torch.testing.assert_close(slope, (x / scale).sum(0))
    assert Horseshoe(scale).mean.isnan().all()
    assert Horseshoe(scale).log_prob(torch.zeros(2)).isfinite().all()
    assert Horseshoe(scale).expand((4, 2)).sample((3,)).shape == (3, 4, 2)


# Bits


@pytest.mark.parametrize("batch", [(), (4,), (3, 4)])
def test_bits_enumerate_their_states(batch):
    fn = Bits(torch.rand(*batch, 5, dtype=torch.float64))
    states = fn.enumerate_support()
    assert states.shape == (32, *batch, 5)
    assert states.dtype == torch.float64
    ones = [1] * len(batch)
    narrow = fn.enumerate_support(expand=False)
    assert list(narrow.shape) == [32, *ones, 5]
    assert narrow.reshape(32, 5).tolist() == [list(map(float, s)) for s in itertools.product((0, 1), repeat=5)]
    torch.testing.assert_close(fn.log_prob(states).logsumexp(0), torch.zeros(batch, dtype=torch.float64))
    torch.testing.assert_close((fn.log_prob(states).exp().unsqueeze(-1) * states).sum(0), fn.mean)


def test_bits_are_an_independent_bernoulli():
    probs = torch.rand(4, 5)
    fn, plain = Bits(probs), dist.Bernoulli(probs).to_event(1)
    x = plain.sample()
    torch.testing.assert_close(fn.log_prob(x), plain.log_prob(x))
    torch.testing.assert_close(fn.entropy(), plain.entropy())
    other = Bits(logits=torch.randn(5)).expand((4,))
    torch.testing.assert_close(kl_divergence(fn, other), kl_divergence(plain, other))
    torch.testing.assert_close(kl_divergence(fn.base_dist, other.base_dist).sum(-1), kl_divergence(fn, other))
    assert fn.has_enumerate_support
    expanded = fn.expand((2, 4))
    assert isinstance(expanded, Bits)
    assert expanded.enumerate_support().shape == (32, 2, 4, 5)
    with pyro.validation_enabled(True), pytest.raises(ValueError, match="within the support"):
        fn.log_prob(x + 0.5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Bits(), r"expected probs or logits of shape \(\*batch, bits\), got 0 of them"),
        (lambda: Bits(torch.ones(2), torch.ones(2)), "got 2 of them"),
        (lambda: Bits(torch.tensor(0.5)), r"got 1 of them, of shape \(\)"),
        (lambda: Bits(torch.full((17,), 0.5)).enumerate_support(), "17 bits have 131,072 states, at most 16"),
    ],
)
def test_what_are_no_bits_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_enumerated_bits_give_the_exact_elbo_and_gradient():
    n, bits = 6, 3
    x = torch.randn(n, 2, dtype=torch.float64)
    weight = torch.randn(bits, 2, dtype=torch.float64)
    logits = torch.randn(n, bits, dtype=torch.float64, requires_grad=True)
    prior = Bits(torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64))

    def likelihood(z):
        return dist.Normal(z @ weight, 0.7).to_event(1)

    def model():
        with pyro.plate("data", n):
            pyro.sample("x", likelihood(pyro.sample("z", prior)), obs=x)

    def guide():
        with pyro.plate("data", n):
            pyro.sample("z", Bits(logits=logits), infer={"enumerate": "parallel"})

    with pyro.validation_enabled(True):
        loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model, guide)
    (slope,) = torch.autograd.grad(loss, logits)
    exact = torch.zeros((), dtype=torch.float64)
    probs = logits.sigmoid()
    for state in itertools.product((0.0, 1.0), repeat=bits):
        z = torch.tensor(state, dtype=torch.float64)
        log_q = (z * probs.log() + (1 - z) * (1 - probs).log()).sum(-1)
        exact = exact + (log_q.exp() * (likelihood(z).log_prob(x) + prior.log_prob(z) - log_q)).sum()
    torch.testing.assert_close(loss, -exact)
    torch.testing.assert_close(slope, torch.autograd.grad(-exact, logits)[0])


# Relaxed one-hot


def test_relaxed_one_hot_stays_finite_at_a_low_temperature():
    logits = torch.randn(200, 10, requires_grad=True)
    q = RelaxedOneHotCategorical(torch.tensor(0.05), logits=logits)
    with pyro.validation_enabled(True):
        x = q.rsample((50,))
        log_prob = q.log_prob(x)
    assert not dist.RelaxedOneHotCategorical(torch.tensor(0.05), logits=logits).rsample((50,)).all()
    assert (x > 0).all()
    assert log_prob.isfinite().all()
    (log_prob.sum() + x.sum()).backward()
    assert logits.grad.isfinite().all()
    assert isinstance(q.expand((3, 200)), RelaxedOneHotCategorical)


# Flows


def flow(name: str = "MAF", **settings):
    import zuko

    return getattr(zuko.flows, name)(**{"features": 3, **settings})


@pytest.mark.parametrize("name", ["MAF", "NICE", "NSF", "NCSF", "RealNVP", "NAF", "BPF"])
def test_flows_of_every_kind(name):
    q = FlowDistribution(flow(name, transforms=2, hidden_features=(8,)).double()())
    with pyro.validation_enabled(True):
        x = q.sample((2000,))
        assert q.support.check(x).all()
        kept = q.log_prob(q.rsample((50,)))
        assert kept.requires_grad
        x = q.rsample((50,))
        torch.testing.assert_close(q.log_prob(x), q.log_prob(x.clone()), rtol=0, atol=1e-4)
        e = q.expand((4,))
        assert (e.batch_shape, e.event_shape, e.sample((5,)).shape) == ((4,), (3,), (5, 4, 3))
        assert e.log_prob(x[:4]).shape == (4,)
    assert q.has_rsample
    with pytest.raises(NotImplementedError):
        _ = q.mean


def test_a_flow_on_a_box_has_its_support():
    q = FlowDistribution(flow("NCSF", transforms=1, hidden_features=(8,))())
    with pyro.validation_enabled(True), pytest.raises(ValueError, match="within the support"):
        q.log_prob(torch.full((3,), 4.0))


def test_a_mixture_of_zuko_has_no_reparameterised_draws():
    import zuko

    q = FlowDistribution(zuko.mixtures.GMM(3, components=2)())
    assert not q.has_rsample
    assert q.log_prob(q.sample((5,))).shape == (5,)
    assert q.support is constraints.real_vector


def test_the_density_of_a_draw_is_kept_only_while_it_is_right():
    q = FlowDistribution(flow(transforms=1, hidden_features=(8,))())
    x = q.rsample((5,))
    assert q.log_prob(x) is q.log_prob(x)
    with torch.no_grad():
        x += 1
    assert torch.equal(q.log_prob(x), q.log_prob(x.clone()))
    first, second = q.rsample((5,)), q.rsample((5,))
    assert q.log_prob(first) is not q.log_prob(first)
    assert q.log_prob(second) is q.log_prob(second)
    drawn = q.sample((5,))
    assert q.log_prob(drawn).requires_grad
    with torch.no_grad():
        assert not q.log_prob(drawn).requires_grad


def test_a_flow_keeps_its_last_draw_only():
    q = FlowDistribution(flow(transforms=1, hidden_features=(8,))())
    draws = [weakref.ref(q.rsample((5,))) for _ in range(4)]
    gc.collect()
    assert [ref() is None for ref in draws] == [True, True, True, False]


def test_a_flow_with_a_context_has_a_batch():
    context = torch.randn(6, 2)
    q = FlowDistribution(flow(context=2, transforms=1, hidden_features=(8,))(context))
    assert (q.batch_shape, q.event_shape) == ((6,), (3,))
    z = q.expand((4, 6)).rsample((2,))
    assert z.shape == (2, 4, 6, 3)
    torch.testing.assert_close(q.log_prob(z), q.expand((4, 6)).log_prob(z), rtol=0, atol=1e-5)
    torch.testing.assert_close(q.log_prob(z)[1, 2, 3], q.log_prob(z[1, 2])[3])


def test_zuko_leaves_validation_as_it_was():
    import zuko

    assert zuko
    assert torch.distributions.Distribution._validate_args is True


def test_what_is_no_flow_is_refused():
    with pytest.raises(TypeError, match=r"expected what a flow returns, flow\(\) or flow\(context\), got Linear"):
        FlowDistribution(torch.nn.Linear(2, 2))


# Divergences


def test_divergence_of_a_full_covariance_from_an_independent_normal():
    factor = torch.randn(5, 3, 3, dtype=torch.float64).tril(-1) + torch.eye(3, dtype=torch.float64)
    q = dist.MultivariateNormal(torch.randn(5, 3, dtype=torch.float64), scale_tril=factor)
    p = dist.Normal(torch.randn(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 0.5).to_event(1)
    full = dist.MultivariateNormal(p.base_dist.loc, torch.diag(p.base_dist.variance))
    torch.testing.assert_close(kl_divergence(q, p.expand((5,))), kl_divergence(q, full))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(q, full))
    with pytest.raises(NotImplementedError):
        kl_divergence(q, dist.Laplace(torch.zeros(3), 1.0).to_event(1))
