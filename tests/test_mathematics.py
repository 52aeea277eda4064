"""Formulas of the vocabulary against quadrature, finite differences and closed forms made here."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko
from scipy import integrate, stats
from torch import Tensor, nn
from torch.distributions import biject_to, constraints

import pyrovae as pv

D, G, L, P = pv.distributions, pv.guides, pv.likelihoods, pv.priors
DOUBLE = torch.float64
IDENTITY = nn.Identity()

# A linear Gaussian model, whose evidence and whose ELBO of any Normal q are known

W = torch.tensor([[1.0, 0.5, -0.7], [0.3, -1.2, 0.4]], dtype=DOUBLE)
SIGMA = 0.6


def linear_gaussian(guide: nn.Module) -> pv.VAE:
    prior = dist.Normal(torch.zeros(2, dtype=DOUBLE), 1.0).to_event(1)
    return pv.VAE(lambda: prior, lambda z: dist.Normal(z @ W, SIGMA).to_event(1), guide).eval()


def evidence(x: Tensor) -> Tensor:
    return dist.MultivariateNormal(x.new_zeros(3), W.T @ W + SIGMA**2 * torch.eye(3, dtype=DOUBLE)).log_prob(x)


def elbo(x: Tensor, q: dist.TorchDistribution) -> Tensor:
    precision = torch.eye(2, dtype=DOUBLE) + W @ W.T / SIGMA**2
    mean = torch.linalg.solve(precision, W @ x.T / SIGMA**2).T
    q = q if isinstance(q, dist.MultivariateNormal) else dist.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    exact = dist.MultivariateNormal(mean, precision_matrix=precision)
    return evidence(x) - torch.distributions.kl_divergence(q, exact)


class Constant(nn.Module):
    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=DOUBLE))

    def forward(self, x: Tensor) -> Tensor:
        return self.values.to(x.dtype).expand(*x.shape[:-1], -1)


START = (0.5, -0.4, 0.2, 0.6)
CLIMBING = {
    "Adam, one draw": lambda: G.SemiAmortized(G.Normal(Constant(*START)), steps=5, lr=0.3, draws=1),
    "ascent": lambda: G.SemiAmortized(G.Normal(Constant(*START)), steps=3, lr=0.1, draws=1, optimizer="ascent"),
    "full covariance": lambda: G.SemiAmortized(G.MultivariateNormal(Constant(*START, 0.1)), steps=5, lr=0.2, draws=1),
    "new data of a table": lambda: G.Table(3, 2, steps=20, lr=0.3, draws=1).double(),
    "Laplace": lambda: G.Laplace(2),
}


@pytest.mark.parametrize("make", CLIMBING.values(), ids=CLIMBING)
@pytest.mark.parametrize("by", ["pv.posterior", "seed 0"])
def test_the_bound_of_a_guide_that_climbs_is_not_too_good(make, by):
    """Draws that the steps have seen would be: with the same seed for both, by two nats and more."""
    torch.manual_seed(3)
    x = torch.randn(3000, 2, dtype=DOUBLE) @ W + SIGMA * torch.randn(3000, 3, dtype=DOUBLE)
    vae = linear_gaussian(make())
    torch.manual_seed(11)
    q = vae.encode(x)
    if by == "seed 0":
        torch.manual_seed(0)
        q0 = vae.encode(x)
        z = q0.sample()
        log_weight = vae._p().log_prob(z) + vae._likelihood(z).log_prob(x) - q0.log_prob(z)
        torch.testing.assert_close(q0.mean, q.mean, rtol=0, atol=0)  # whatever the global random state is
    else:
        tree = pv.posterior(vae, x, draws=1, predictive=0)
        log_weight = torch.as_tensor(tree["sample_stats"]["log_weight"].values)[0, 0]
    off = (log_weight - elbo(x, q)).detach()
    assert abs(off.mean()) < 4 * off.std() / math.sqrt(3000) + 1e-8
    ratio = (log_weight - evidence(x)).exp().detach()
    assert ratio.mean() < 1 + 4 * ratio.std() / math.sqrt(3000) + 1e-8


# Pathwise gradients and densities on other supports

STEP = 0.06
LINE = torch.arange(-9, 9 + STEP, STEP, dtype=DOUBLE)
PLANE = torch.cartesian_prod(LINE, LINE)
FAMILIES = {
    "Normal": (lambda s: G.Normal(IDENTITY, support=s), 4),
    "MultivariateNormal": (lambda s: G.MultivariateNormal(IDENTITY, support=s), 5),
    "LowRankMultivariateNormal": (lambda s: G.LowRankMultivariateNormal(IDENTITY, rank=1, support=s), 6),
    "Mixture": (lambda s: G.Mixture(IDENTITY, components=2, support=s), 10),
}
SUPPORTS = {
    "positive": constraints.positive,
    "interval": constraints.interval(-1.0, 3.0),
    "simplex": constraints.simplex,
}


@pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_gradients_through_draws_are_those_of_the_integral(family, support):
    make, size = family
    torch.manual_seed(5)
    raw, onto = 0.5 * torch.randn(size, dtype=DOUBLE), biject_to(support)
    z = onto(PLANE)
    volume = onto.log_abs_det_jacobian(PLANE, z)
    volume = volume.sum(-1) if volume.dim() == 2 else volume

    def f(z: Tensor) -> Tensor:
        return torch.sin(z @ torch.linspace(0.5, -1.0, z.shape[-1], dtype=DOUBLE)) + (z[..., 0] - 0.3).tanh().square()

    def integral(raw: Tensor, f=f) -> Tensor:
        return (
            (make(support).distribution(raw.unsqueeze(0)).log_prob(z.unsqueeze(1))[:, 0] + volume).exp() * f(z)
        ).sum()

    assert abs(integral(raw, lambda z: 1.0) * STEP**2 - 1) < 1e-4
    moves = 1e-4 * torch.eye(size, dtype=DOUBLE)
    exact = torch.stack([integral(raw + move) - integral(raw - move) for move in moves]) * STEP**2 / 2e-4
    copies, draws = 500, 60  # each copy of the parameters has its own gradient
    raws = raw.expand(copies, -1).clone().requires_grad_()
    (found,) = torch.autograd.grad(f(make(support).distribution(raws).rsample((draws,))).mean(0).sum(), raws)
    assert (abs(found.mean(0) - exact) < 4.5 * found.std(0) / math.sqrt(copies) + 1e-4).all()


@pytest.mark.parametrize("name", ["MAF", "NICE", "RealNVP", "NSF", "NAF"])
@pytest.mark.parametrize("support", [constraints.real, constraints.positive], ids=["real", "positive"])
def test_the_density_kept_from_a_draw_is_the_density(name, support):
    flow = getattr(zuko.flows, name)(2, context=3, hidden_features=(8,)).double()
    q = G.Flow(IDENTITY, flow, support=support).distribution(torch.randn(5, 7, dtype=DOUBLE))
    z = q.rsample((20,))
    assert z.shape == (20, 5, 2)
    torch.testing.assert_close(
        q.log_prob(z), q.log_prob(z.detach().clone()), rtol=0, atol=1e-5 if name == "NAF" else 1e-9
    )


VAMP = {
    "Normal": lambda: G.Normal(pv.networks.MLP(4, (8,), 4)),
    "positive": lambda: G.Normal(pv.networks.MLP(4, (8,), 4), support=constraints.positive),
    "mask": lambda: G.Normal(pv.networks.MLP(4, (8,), 4, mask=True)),
    "MultivariateNormal": lambda: G.MultivariateNormal(pv.networks.MLP(4, (8,), 5)),
    "Mixture": lambda: G.Mixture(pv.networks.MLP(4, (8,), 10), components=2),
    "Flow": lambda: G.Flow(pv.networks.MLP(4, (8,), 7), G.inverse_autoregressive(2, 3, hidden_features=(8,))),
    "PowerSpherical": lambda: G.PowerSpherical(pv.networks.MLP(4, (8,), 2)),
}


@pytest.mark.parametrize("make", VAMP.values(), ids=VAMP)
@pytest.mark.parametrize("training", [True, False])
def test_the_vamp_prior_is_the_guide_at_its_inputs(make, training):
    prior = P.VampPrior(5, 4, learn_weights=True)
    vae = pv.VAE(prior, L.Normal(pv.networks.MLP(2, (), 4)), make()).double()
    with torch.no_grad():
        prior.raw_logits.copy_(torch.randn(5))
    vae.adapt(3 * torch.randn(20, 4, dtype=DOUBLE) + 1)
    vae.train(training)
    p = vae._p()
    z = p.sample((30,))
    each = [vae._of_whole_data(prior.inputs[k : k + 1]).log_prob(z.unsqueeze(1))[:, 0] for k in range(5)]
    by_hand = (torch.stack(each, -1) + prior.raw_logits.log_softmax(0)).logsumexp(-1)
    torch.testing.assert_close(p.log_prob(z), by_hand, rtol=0, atol=1e-10)


# Distributions where float32 or a limit is hard


@pytest.mark.parametrize("prior", [P.LogisticNormal(3, scale=5.0), P.Dirichlet(3)], ids=["LogisticNormal", "Dirichlet"])
def test_a_share_next_to_one_leaves_the_others_exact_in_float32(prior):
    """Those were taken from its difference to 1: the bound was nats too good or too bad."""
    guide, raw = G.Normal(IDENTITY, support=constraints.simplex), torch.tensor([16.0, 0.5, 0.3, 0.1]).repeat(200, 1)
    single, double = guide.distribution(raw), guide.distribution(raw.double())
    u = single.base_dist.sample()
    found = []
    for q, p, at in ((single, prior.float()(), u), (double, prior.double()(), u.double())):
        z = q.transforms[0](at)
        assert (z.sum(-1) - 1).abs().max() < 1e-6
        torch.testing.assert_close(q.transforms[0].inv(z.clone()), at, rtol=0, atol=1e-4)
        found.append((p.log_prob(z).double(), q.log_prob(z).double()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)


def test_the_logistic_normal_has_a_closed_divergence_from_guides_of_ours():
    p = P.LogisticNormal(3, loc=0.3, scale=0.7)()
    q = G.Normal(IDENTITY, support=constraints.simplex).distribution(torch.randn(5, 4))
    z = q.sample((20_000,))
    terms = q.log_prob(z) - p.log_prob(z)
    kl = torch.distributions.kl_divergence(q, p.expand((5,)))
    assert ((terms.mean(0) - kl).abs() < 4 * terms.std(0) / math.sqrt(20_000)).all()


@pytest.mark.parametrize("eta", [-200.0, -20.0, -1.0, -0.05, 0.0, 1e-3, 0.3, 5.0, 20.0, 40.0])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_variance_entropy_and_distribution_function_of_the_continuous_bernoulli(eta, dtype):
    fn = D.ContinuousBernoulli(logits=torch.tensor(eta, dtype=dtype))
    away = np.concatenate([[0.0], np.geomspace(1e-9, 1, 4000)])  # from the end that it leans on
    density = np.exp(-abs(eta) * away)
    x = 1 - away if eta > 0 else away
    total = integrate.simpson(density, x=away)
    mean = integrate.simpson(density * x, x=away) / total
    variance = integrate.simpson(density * (x - mean) ** 2, x=away) / total
    tight = {"rel": 1e-5 if dtype == torch.float32 else 1e-7}
    assert float(fn.variance) == pytest.approx(variance, **tight)
    assert float(fn.entropy()) == pytest.approx(
        math.log(total) + abs(eta) * float(fn.mean if eta < 0 else 1 - fn.mean), abs=2e-5
    )
    for value in (0.1, 0.5, 0.9):
        expected = math.expm1(eta * value) / math.expm1(eta) if eta else value
        assert float(fn.cdf(torch.tensor(value, dtype=dtype))) == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("df", [0.3, 3.0, 99.0, 101.0, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_student_t_however_many_degrees_of_freedom(df, dtype):
    x = torch.linspace(-4, 4, 41, dtype=dtype)
    found = D.StudentT(torch.tensor(df, dtype=dtype), x.new_zeros(41), x.new_ones(())).log_prob(x).double().numpy()
    reference = stats.t(float(torch.tensor(df, dtype=dtype))) if df < 1e5 else stats.norm
    np.testing.assert_allclose(
        found, reference.logpdf(x.double().numpy()), rtol=0, atol=2e-5 if df < 1e6 else 2e-6 + 100 / df
    )


@pytest.mark.parametrize("size", [2, 3, 16])
@pytest.mark.parametrize("concentration", [0.0, 10.0, 1e4, 1e6])
def test_power_spherical_in_float32(size, concentration):
    loc = torch.nn.functional.normalize(torch.randn(size), dim=0)
    q = D.PowerSpherical(loc, torch.tensor(concentration))
    z = q.sample((500,))
    unit = (t.double() / t.double().norm(dim=-1, keepdim=True) for t in (loc, z))
    loc64, z64 = unit
    beta = (size - 1) / 2
    alpha = beta + concentration
    normaliser = 2 * beta * math.log(2) + beta * math.log(math.pi) + math.lgamma(alpha) - math.lgamma(alpha + beta)
    exact = concentration * torch.log1p(-(z64 - loc64).square().sum(-1) / 4) - normaliser
    torch.testing.assert_close(q.log_prob(z).double(), exact, rtol=0, atol=1e-4)
    assert abs(q.entropy() + exact.mean()) < 4 * exact.std() / math.sqrt(500) + 1e-4


@pytest.mark.parametrize(
    ("loc", "scale"), [(200.0, 0.01), (200.3, 0.05), (127.5, 0.1), (250.0, 1.0), (3.0, 30.0), (300.0, 5.0)]
)
def test_variance_of_the_discretized_logistic_in_float32(loc, scale):
    fn, levels = D.DiscretizedLogistic(torch.tensor(loc), torch.tensor(scale)), np.arange(256)
    cdf = stats.logistic(loc, np.float32(scale)).cdf(levels[:-1] + 0.5)
    p = np.diff(np.concatenate([[0], cdf, [1]]))
    mean = (p * levels).sum()
    assert float(fn.variance) == pytest.approx((p * (levels - mean) ** 2).sum(), rel=1e-3, abs=1e-9)
    assert float(fn.variance) >= 0


def test_counts_of_a_table_may_be_almost_poisson():
    part = L.Columns({"visits": "count"}, Constant(0.0)).float()
    part.adapt(torch.tensor([[49.0], [51.0]]))
    with torch.no_grad():
        part.log_dispersion.fill_(math.log(1e8))
    x = torch.arange(30.0, 80.0).unsqueeze(-1)
    found = part(torch.zeros(50, 1)).log_prob(x).detach()
    np.testing.assert_allclose(found, stats.poisson(50).logpmf(x[:, 0].numpy()), rtol=0, atol=1e-3)


# Latents that all data share, with a guide that is not the posterior


def test_the_terms_of_the_bound_with_shared_latents_and_a_guide_that_is_off():
    """μ ~ N(0, 2²), y ~ N(μ, 1.5²), z_i ~ N(μ, .7²), x_i ~ N(z_i, .5²); q(z_i|μ) = N(.6 x_i + .2 μ + .1, .4²)."""
    n, draws, y = 15, 1000, torch.tensor(0.4, dtype=DOUBLE)
    a, s = torch.tensor(0.9, dtype=DOUBLE), 0.35
    x = torch.randn(n, 1, dtype=DOUBLE) + 1.3

    def model(x: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=DOUBLE), 2.0))
        pyro.sample("y", dist.Normal(mu, 1.5), obs=y)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mu, 0.7))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(a, s))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.6 * x[:, 0] + 0.2 * mu + 0.1, 0.4))

    tree = pv.posterior(pv.Program(model, guide), x, draws=draws, predictive=400)
    found = pv.diagnostics.elbo_terms(tree)
    cell, spread = x[:, 0].numpy(), s**2
    told = -0.5 * math.log(2 * math.pi * 1.5**2) - ((0.4 - 0.9) ** 2 + spread) / (2 * 1.5**2)
    kl_global = math.log(2 / s) + (spread + 0.9**2) / 8 - 0.5 - told
    mean, variance = 0.6 * cell + 0.2 * 0.9 + 0.1, 0.4**2 + 0.2**2 * spread
    log_lik = -0.5 * math.log(2 * math.pi * 0.25) - ((cell - mean) ** 2 + variance) / 0.5
    gap = 0.6 * cell + 0.1 - 0.8 * 0.9
    kl = math.log(0.7 / 0.4) + (0.4**2 + gap**2 + 0.8**2 * spread) / (2 * 0.49) - 0.5
    for name, exact in (
        ("kl_global", kl_global),
        ("log_lik", log_lik),
        ("kl", kl),
        ("elbo", log_lik - kl),
        ("elbo_total", (log_lik - kl).sum() - kl_global),
    ):
        assert (abs(found[name].values[0] - exact) < 4 * found[f"{name}_mcse"].values[0]).all(), name
    drawn = tree["posterior_predictive"]["x"].values[0, :, :, 0]
    assert (abs(drawn.mean(0) - mean) < 4 * math.sqrt((variance + 0.25) / 400)).all()
    log_ratio = (tree["sample_stats"]["log_p"] - tree["sample_stats"]["log_q"]).sum("obs_id").values[0]
    log_ratio = log_ratio + (tree["sample_stats"]["log_p_global"] - tree["sample_stats"]["log_q_global"]).values[0]
    covariance = 4.0 + np.diag([2.25] + [0.74] * n)
    exact = stats.multivariate_normal(np.zeros(n + 1), covariance).logpdf(np.concatenate([[0.4], cell]))
    ratio = np.exp(log_ratio - exact)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(draws)
