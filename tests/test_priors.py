"""What is peculiar to each prior; what all share is in test_parts.py."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import biject_to, kl_divergence

import pyrovae as pv
from pyrovae import guides, networks, priors, schedules
from pyrovae._support import check_reach
from tests.registry import PRIORS, call


@pytest.mark.parametrize("part", [p for p in PRIORS if not p.context], ids=str)
def test_densities_of_latents_with_one_and_two_leading_dimensions(part):
    """As a program calls it: expanded to a plate of n, for z of shape (n, …) and (S, n, …)."""
    made = part.make()
    for validation in (True, False):
        with torch.no_grad(), pyro.validation_enabled(validation):
            p = call(made, {})
            wide = p.expand((6,))
            z = wide.sample((4,))
            assert z.shape == (4, 6, *part.event)
            expected = torch.stack([p.log_prob(row) for row in z.flatten(0, 1)]).reshape(4, 6)
            for fn in (p, wide, p.expand((4, 6))):
                torch.testing.assert_close(fn.log_prob(z), expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(wide.log_prob(z[1]), expected[1], rtol=1e-5, atol=1e-5)
            assert fn.has_rsample in (True, False)


@pytest.mark.parametrize("part", [p for p in PRIORS if not p.context], ids=str)
def test_the_support_of_a_prior_is_reached_by_its_own_draws_and_by_a_pushed_normal(part):
    made = part.make()
    p = call(made, {})
    support = getattr(made, "support", None)
    if support is None:
        return
    assert support.check(p.sample((200,))).all()
    assert support.event_dim == 1
    try:
        bijection = biject_to(support)
    except NotImplementedError:  # discrete, or a sphere
        return
    base = torch.zeros(bijection.inverse_shape(torch.Size(part.event)))
    check_reach("z", p, dist.TransformedDistribution(dist.Normal(base, 1.0).to_event(1), [bijection]))


@pytest.mark.parametrize(
    ("prior", "says"),
    [
        (priors.Normal(8), "Normal(8; support: real)"),
        (priors.StudentT(8, learn_df=True), "StudentT(8, learned; support: real)"),
        (priors.Gamma(8, learned=True), "Gamma(8, learned; support: greater than (0))"),
        (priors.Uniform(8, low=-2, high=3), "Uniform(8; support: interval (-2, 3))"),
        (priors.Bernoulli(8), "Bernoulli(8; support: boolean)"),
        (priors.PowerSpherical(8), "PowerSpherical(8; support: sphere)"),
        (priors.VampPrior(10, (1, 8, 8)), "VampPrior(10 of (1, 8, 8))"),
        (priors.RelaxedBernoulli(8, temperature=1), "RelaxedBernoulli(8, temperature 1; support: interval (0, 1))"),
    ],
)
def test_how_a_prior_prints(prior, says):
    assert repr(prior) == says


# Mixtures


def test_spike_and_slab_has_the_variance_of_its_halves():
    p = priors.SpikeAndSlab(2, probs=torch.tensor([0.2, 0.9]), spike=0.1, slab=torch.tensor([2.0, 3.0])).double()()
    expected = torch.tensor([0.8 * 0.01 + 0.2 * 4, 0.1 * 0.01 + 0.9 * 9], dtype=torch.float64)
    torch.testing.assert_close(p.variance, expected, rtol=1e-6, atol=0)
    z = p.sample((20_000,))
    assert ((z.square().mean(0) - expected).abs() < 4 * z.square().std(0) / math.sqrt(len(z))).all()


def test_gaussian_mixture_starts_with_components_that_differ_and_restarts_with_others():
    torch.manual_seed(0)
    prior = priors.GaussianMixture(2000, 2)
    loc = prior.held("loc").detach().clone()
    assert len(loc.unique(dim=0)) == 2000
    assert stats.kstest(loc.flatten().numpy(), stats.norm(scale=math.sqrt(0.5)).cdf).pvalue > 1e-3
    variance = prior().variance
    assert ((variance - 1).abs() < 4 * math.sqrt(2 * 0.25 / 2000)).all()
    prior.reset_parameters()
    assert not torch.equal(prior.held("loc"), loc)
    given = priors.GaussianMixture(2, 2, loc=torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    with torch.no_grad():
        given.raw_loc += 1
    given.reset_parameters()
    assert given.held("loc").tolist() == [[0, 1], [2, 3]]


def test_vamp_prior_starts_at_rows_of_the_data():
    x = torch.randn(40, 4)
    x[:, 2] += 5
    prior = priors.VampPrior(40, 4)
    shuffled = x[torch.randperm(40)]
    prior.adapt(shuffled)
    assert {tuple(u.tolist()) for u in prior.inputs} == {tuple(row.tolist()) for row in x}
    before = prior.inputs.detach().clone()
    prior.adapt(x + 1)
    assert torch.equal(prior.inputs, before)
    prior.reset_parameters()
    prior.adapt(x + 1)
    assert {tuple(u.tolist()) for u in prior.inputs} == {tuple(row.tolist()) for row in x + 1}


def test_vamp_prior_puts_the_mean_where_a_cell_is_missing():
    x = torch.tensor([[1.0, torch.nan, torch.nan], [3.0, 4.0, torch.nan], [torch.nan, 8.0, torch.nan]])
    prior = priors.VampPrior(3, 3)
    prior.adapt(x)
    assert {tuple(u.tolist()) for u in prior.inputs} == {(1, 6, 0), (3, 4, 0), (2, 8, 0)}


def test_vamp_prior_of_images_and_counts():
    x = torch.randint(0, 5, (20, 1, 5, 7))
    prior = priors.VampPrior(6, (1, 5, 7))
    prior.adapt(x)
    assert prior.inputs.shape == (6, 1, 5, 7)
    guide = guides.Normal(networks.Conv((1, 5, 7), (4,), 2 * 3))
    assert prior(guide).sample((2,)).shape == (2, 3)


def test_vamp_prior_with_every_datum_is_the_aggregate_posterior():
    x = torch.randn(30, 4)
    guide = guides.Normal(networks.MLP(4, (8,), 2 * 2))
    prior = priors.VampPrior(30, 4)
    prior.adapt(x)
    z = torch.randn(5, 2)
    expected = guide(x).log_prob(z.unsqueeze(1)).logsumexp(-1) - math.log(30)
    torch.testing.assert_close(prior(guide).log_prob(z), expected)


def test_vamp_prior_trains_the_guide_through_the_prior():
    guide = guides.Normal(networks.MLP(4, (8,), 2 * 2))
    prior = priors.VampPrior(7, 4, learn_weights=True)
    prior(guide).log_prob(torch.randn(5, 2)).sum().backward()
    for parameter in (*guide.parameters(), *prior.parameters()):
        assert parameter.grad.abs().sum() > 0


# Relaxed and discrete


@pytest.mark.parametrize("make", [priors.RelaxedBernoulli, priors.RelaxedOneHotCategorical])
def test_a_temperature_follows_its_schedule(make):
    prior = make(3, temperature=schedules.linear(1, 0.1, epochs=10))
    assert prior.temperature.value == 1
    for module in prior.modules():
        if hasattr(module, "advance"):
            module.advance(9)
    fn = prior().base_dist if make is priors.RelaxedBernoulli else prior()
    assert fn.temperature.item() == pytest.approx(0.1)
    assert f"priors.{make.__name__}: temperature" in prior.temperature.unfinished(5)


def test_relaxed_bits_are_on_the_side_of_their_probability():
    p = priors.RelaxedBernoulli(2, temperature=0.3, probs=torch.tensor([0.2, 0.7]))()
    share = (p.sample((20_000,)) > 0.5).double().mean(0)
    assert ((share - torch.tensor([0.2, 0.7])).abs() < 4 * torch.tensor([0.16, 0.21]).sqrt() / math.sqrt(20_000)).all()


def test_relaxed_classes_are_largest_with_their_probability():
    probs = torch.tensor([0.1, 0.3, 0.6])
    z = priors.RelaxedOneHotCategorical(3, temperature=0.3, probs=probs)().sample((20_000,))
    share = torch.bincount(z.argmax(-1), minlength=3) / len(z)
    assert ((share - probs).abs() < 4 * (probs * (1 - probs) / len(z)).sqrt()).all()


# Divergences between priors and guides of the same family


def test_a_pushed_normal_has_a_closed_divergence_from_the_logistic_normal():
    p = priors.LogisticNormal(4, loc=0.3, scale=0.7)()
    base = dist.Normal(torch.randn(5, 3), 0.5).to_event(1)
    q = dist.TransformedDistribution(base, [biject_to(priors.LogisticNormal.support)])
    expected = kl_divergence(base, dist.Normal(torch.full((5, 3), 0.3), 0.7).to_event(1))
    torch.testing.assert_close(kl_divergence(q, p.expand((5,))), expected)


def test_the_multivariate_normal_starts_at_the_identity():
    p = priors.MultivariateNormal(4)()
    assert torch.equal(p.covariance_matrix, torch.eye(4))
    assert torch.equal(p.loc, torch.zeros(4))


# Conditional


def test_a_conditional_prior_of_a_guide_standardises_its_context():
    prior = priors.Conditional(guides.Normal(nn.Identity()))
    context = 10 + 3 * torch.randn(100, 4)
    prior.adapt(torch.zeros(100, 2), context)
    p = prior(context)
    torch.testing.assert_close(p.base_dist.loc, ((context - context.mean()) / context.std())[:, :2])


def test_a_conditional_prior_of_a_function():
    prior = priors.Conditional(lambda c: dist.Normal(c[:, :2], 1.0).to_event(1))
    assert prior.support is None
    assert prior(torch.zeros(5, 3)).batch_shape == (5,)
    prior.adapt(torch.zeros(5, 2))


# In a VAE


def vae(prior, latents=2, guide=None, **settings):
    guide = guide or guides.Normal(networks.MLP(4, (8,), 2 * latents))
    return pv.VAE(prior, pv.likelihoods.Normal(networks.MLP(latents, (8,), 4, **settings)), guide)


def zuko_flow():
    import zuko

    return zuko.flows.NSF(2, transforms=1, hidden_features=(8,))


@pytest.mark.parametrize(
    "make",
    [
        lambda: priors.MultivariateNormal(2),
        lambda: priors.StudentT(2, learn_df=True),
        lambda: priors.Horseshoe(2, learned=True),
        lambda: priors.SpikeAndSlab(2),
        lambda: priors.GaussianMixture(3, 2),
        lambda: priors.VampPrior(5, 4),
        lambda: priors.Flow(zuko_flow()),
    ],
    ids=["MultivariateNormal", "StudentT", "Horseshoe", "SpikeAndSlab", "GaussianMixture", "VampPrior", "Flow"],
)
def test_a_vae_with_this_prior_trains(make):
    x = torch.randn(60, 4)
    program = vae(make())
    before = [p.detach().clone() for p in program.parameters()]
    fit = pv.fit(program, x, epochs=3, batch_size=20, progress=False, seed=0)
    assert np.isfinite(fit.history["elbo"]).all()
    assert all(not torch.equal(a, b) for a, b in zip(before, program.parameters(), strict=True))


def test_a_vae_with_a_conditional_prior_trains():
    x, context = torch.randn(60, 4), torch.randn(60, 3)
    program = vae(priors.Conditional(guides.Normal(networks.MLP(3, (8,), 2 * 2))))
    pv.fit(program, x, context=context, epochs=2, batch_size=20, progress=False, seed=0)
    assert program.parts["prior"].part.adapted


# What is refused


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: priors.Laplace(0), ValueError, r"priors.Laplace: size \(the number of latents\): .*at least 1, got 0"),
        (lambda: priors.Laplace(2, scale=-1), ValueError, r"priors.Laplace: scale: .*greater than \(0\), got -1"),
        (lambda: priors.StudentT(2, df=0), ValueError, "priors.StudentT: df: expected a finite value"),
        (lambda: priors.Gamma(2, rate="1"), TypeError, "priors.Gamma: rate: expected a number or a tensor, got '1'"),
        (lambda: priors.Gamma(2, rate=torch.ones(3)), ValueError, r"one number or shape \(2,\), got \(3,\)"),
        (lambda: priors.Beta(2, concentration0=0), ValueError, "priors.Beta: concentration0"),
        (lambda: priors.Uniform(2, low=1, high=1), ValueError, "priors.Uniform: expected low below high, got low=1"),
        (lambda: priors.Dirichlet(1), ValueError, "priors.Dirichlet: size .*at least 2, got 1"),
        (lambda: priors.LogisticNormal(1), ValueError, "priors.LogisticNormal: size .*at least 2, got 1"),
        (lambda: priors.Bernoulli(2, probs=1.5), ValueError, r"priors.Bernoulli: probs: .*interval \(0, 1\), got 1.5"),
        (lambda: priors.OneHotCategorical(2, probs=[0.5, 0.6]), ValueError, "OneHotCategorical: probs: .*simplex"),
        (lambda: priors.RelaxedBernoulli(2, temperature=0), ValueError, "temperature: expected a positive number"),
        (lambda: priors.RelaxedBernoulli(2, temperature="1"), TypeError, "a number or a schedule"),
        (
            lambda: priors.RelaxedOneHotCategorical(2, temperature=schedules.linear(1, 0, 5)),
            ValueError,
            "priors.RelaxedOneHotCategorical: temperature: expected a positive number, got 0",
        ),
        (lambda: priors.Horseshoe(2, scale=0), ValueError, "priors.Horseshoe: scale"),
        (lambda: priors.SpikeAndSlab(2, spike=1, slab=0.5), ValueError, "expected spike below slab, got spike=1"),
        (lambda: priors.MultivariateNormal(2, scale_tril=-torch.eye(2)), ValueError, "scale_tril: .*lower cholesky"),
        (lambda: priors.MultivariateNormal(2, scale_tril=torch.eye(3)), ValueError, r"shape \(2, 2\), got \(3, 3\)"),
        (lambda: priors.GaussianMixture(1, 2), ValueError, "priors.GaussianMixture: components: .*at least 2, got 1"),
        (
            lambda: priors.GaussianMixture(3, 2, learned=False),
            ValueError,
            r"expected loc of shape \(components, size\)",
        ),
        (lambda: priors.PowerSpherical(1), ValueError, "priors.PowerSpherical: size .*at least 2, got 1"),
        (lambda: priors.PowerSpherical(3, loc=0.0), ValueError, "loc: expected a direction, got 0.0"),
        (lambda: priors.PowerSpherical(3, learned=True), ValueError, r"concentration: .*greater than \(0\), got 0.0"),
        (lambda: priors.VampPrior(0, 4), ValueError, "priors.VampPrior: components: .*at least 1, got 0"),
        (lambda: priors.VampPrior(5, (1, 0)), ValueError, "priors.VampPrior: shape: .*at least 1, got 0"),
        (
            lambda: priors.VampPrior(5, 4).adapt(torch.zeros(4, 4)),
            ValueError,
            r"expected at least 5 data of shape \(4,\), got 4 of shape \(4,\)",
        ),
        (lambda: priors.VampPrior(5, 4).adapt(torch.zeros(9, 3)), ValueError, r"got 9 of shape \(3,\)"),
        (lambda: priors.Flow(3), TypeError, r"expected a flow of zuko, such as zuko.flows.NSF\(8\), got int"),
        (lambda: priors.Flow(nn.Linear), TypeError, "got Linear"),
        (lambda: priors.Flow(nn.Linear(2, 2)), TypeError, "got Linear"),
        (lambda: priors.Flow(type(zuko_flow())(2, 3)), ValueError, "NSF could not be drawn from without a context"),
        (lambda: priors.Conditional(3), TypeError, "expected a function of the context, .*got int"),
        (lambda: priors.Conditional(guides.Normal), TypeError, "got Normal"),
    ],
)
def test_what_cannot_be_a_prior_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_building_a_flow_prior_draws_nothing_from_the_caller_s_stream():
    flow, state = zuko_flow(), torch.get_rng_state()
    priors.Flow(flow)
    assert torch.equal(torch.get_rng_state(), state)
