"""The VAE: parts of the user's, contexts, missing data, its ELBO against the formula, and Pyro's own SVI."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from scipy import stats
from torch import nn
from torch.distributions import kl_divergence

import pyrovae as pv
from pyrovae._missing import masked
from pyrovae.program import Batch

LATENTS, FEATURES = 2, 4
N, D = dist.Normal, torch.float64


@pytest.fixture(autouse=True)
def store_is_cleared() -> Iterator[None]:
    """A VAE that runs under Pyro itself tells its store of the parameters."""
    yield
    pyro.clear_param_store()


def standard() -> dist.TorchDistribution:
    return N(torch.zeros(LATENTS), 1.0).to_event(1)


def decoder(**settings) -> pv.likelihoods.Normal:
    return pv.likelihoods.Normal(pv.networks.MLP(LATENTS, (8,), FEATURES, **settings), 0.5)


def encoder(**settings) -> pv.guides.Normal:
    return pv.guides.Normal(pv.networks.MLP(FEATURES, (8,), 2 * LATENTS, **settings))


def small() -> pv.VAE:
    return pv.VAE(pv.priors.Normal(LATENTS), decoder(), encoder())


def weights(module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


# The ELBO


@pytest.mark.parametrize("scale", [1, 7.5])
def test_the_elbo_is_the_formula_on_the_same_draw(scale):
    vae, x = small().double(), torch.randn(6, FEATURES, dtype=D)
    with poutine.scale(scale=scale):
        torch.manual_seed(1)
        elbo = -Trace_ELBO().loss(vae.model, vae.guide, x)
    torch.manual_seed(1)
    q = vae.encode(x)
    z = q.sample()
    log_q = stats.norm.logpdf(z, q.base_dist.loc.detach(), q.base_dist.scale.detach()).sum()
    log_prior = stats.norm.logpdf(z).sum()
    mean = vae.parts["likelihood"].network(z).detach()
    log_likelihood = stats.norm.logpdf(x, mean, 0.5).sum()
    assert elbo == pytest.approx(scale * (log_likelihood + log_prior - log_q), abs=1e-10)


def test_the_analytic_kl_agrees_in_expectation():
    vae, n = small().double(), 20_000
    x = torch.randn(1, FEATURES, dtype=D).expand(n, -1)
    bounds = []
    for elbo in (Trace_ELBO(), TraceMeanField_ELBO()):
        torch.manual_seed(1)
        bounds.append(-elbo.loss(vae.model, vae.guide, x) / n)
    torch.manual_seed(1)
    q, p = vae.encode(x), N(torch.zeros(LATENTS, dtype=D), 1.0).to_event(1)
    z = q.sample()
    difference = p.log_prob(z) - q.log_prob(z) + kl_divergence(q, p.expand((n,)))  # its mean is 0
    assert bounds[0] - bounds[1] == pytest.approx(difference.mean().item(), abs=1e-10)
    assert abs(bounds[0] - bounds[1]) < 4 * difference.std().item() / math.sqrt(n)
    assert difference.std() > 0.01


def test_the_sites_and_the_plate():
    vae, x = small(), torch.randn(5, FEATURES)
    model = poutine.trace(vae.model).get_trace(x)
    guide = poutine.trace(vae.guide).get_trace(x)
    assert [n for n, s in model.nodes.items() if s["type"] == "sample"] == ["data", "z", "x"]
    assert [n for n, s in guide.nodes.items() if s["type"] == "sample"] == ["data", "z"]
    assert torch.equal(model.nodes["x"]["value"], x)
    assert model.nodes["z"]["value"].shape == (5, LATENTS)


def test_encode_is_the_guide():
    vae, x = small(), torch.randn(5, FEATURES)
    fn = poutine.trace(vae.guide).get_trace(x).nodes["z"]["fn"]
    z = torch.randn(5, LATENTS)
    torch.testing.assert_close(vae.encode(x).log_prob(z), fn.log_prob(z))


def test_draws_of_the_guide_are_those_of_each_datum():
    vae, x, draws = small().double(), torch.randn(5, FEATURES, dtype=D), 4000
    trace, copies = vae.draw_guide(Batch(x), draws)
    assert copies == draws
    z, q = trace.nodes["z"]["value"].unflatten(0, (draws, 5)), vae.encode(x)
    torch.testing.assert_close(trace.nodes["z"]["log_prob"], q.log_prob(z).flatten(), rtol=0, atol=1e-10)
    error = q.stddev / math.sqrt(draws)
    assert ((z.mean(0) - q.mean).abs() < 4 * error).all()


def test_dimension_kl_is_the_closed_form():
    vae, x = small().double(), torch.randn(5, FEATURES, dtype=D)
    q = vae.encode(x).base_dist
    by_hand = -0.5 * (1 + q.scale.square().log() - q.loc.square() - q.scale.square())
    torch.testing.assert_close(vae.dimension_kl(Batch(x)), by_hand, rtol=0, atol=1e-10)


def test_dimension_kl_of_a_full_covariance_is_that_of_its_marginals():
    guide = pv.guides.MultivariateNormal(pv.networks.MLP(FEATURES, (8,), 5))
    vae, x = pv.VAE(pv.priors.Normal(LATENTS), decoder(), guide).double(), torch.randn(5, FEATURES, dtype=D)
    q = vae.encode(x)
    mu, s = q.mean, q.stddev
    by_hand = -0.5 * (1 + s.square().log() - mu.square() - s.square())
    torch.testing.assert_close(vae.dimension_kl(Batch(x)), by_hand, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "prior",
    [
        lambda: dist.MultivariateNormal(torch.zeros(LATENTS), torch.eye(LATENTS)),  # not independent by dimension
        lambda: dist.StudentT(3.0, torch.zeros(LATENTS), 1.0).to_event(1),  # no closed form
    ],
)
def test_dimension_kl_is_none_where_there_is_no_closed_form(prior):
    assert pv.VAE(prior, decoder(), encoder()).dimension_kl(Batch(torch.randn(5, FEATURES))) is None


# Parts of the user's


class UserLikelihood(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(LATENTS, FEATURES)

    def forward(self, z):
        return N(self.net(z), 1.0).to_event(1)


class UserObject:
    """A part that is no module and whose method is one of its functions."""

    def __init__(self) -> None:
        self.net = nn.Linear(LATENTS, FEATURES)

    def decode(self, z):
        return N(self.net(z), 1.0).to_event(1)


def closing_over(net):
    return lambda z: N(net(z), 1.0).to_event(1)


def taking(net, z):
    return N(net(z), 1.0).to_event(1)


NET = nn.Linear(LATENTS, FEATURES)


def of_a_global(z):
    return N(NET(z), 1.0).to_event(1)


def user_likelihoods():
    net, module, thing = nn.Linear(LATENTS, FEATURES), UserLikelihood(), UserObject()
    return {
        "module": (module, module.net),
        "method of a module": (module.forward, module.net),
        "method of an object": (thing.decode, thing.net),
        "closure": (closing_over(net), net),
        "partial": (functools.partial(taking, net), net),
        "global": (of_a_global, NET),
    }


@pytest.mark.parametrize("kind", user_likelihoods())
def test_the_networks_of_a_users_part_are_trained(kind):
    likelihood, net = user_likelihoods()[kind]
    vae = pv.VAE(standard, likelihood, encoder())
    before, x = weights(net), torch.randn(20, FEATURES)
    assert {id(p) for p in net.parameters()} <= {id(p) for p in vae.parameters()}
    pv.fit(vae, x, epochs=1, progress=False)
    for name, value in net.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_a_laplace_prior_in_a_line():
    prior = lambda: dist.Laplace(torch.zeros(8), 1.0).to_event(1)  # noqa: E731
    vae = pv.VAE(
        prior,
        pv.likelihoods.Bernoulli(pv.networks.MLP(8, (16,), 9)),
        pv.guides.Normal(pv.networks.MLP(9, (16,), 16)),
    )
    x = (torch.rand(20, 9) > 0.5).float()
    trace = poutine.trace(poutine.replay(vae.model, poutine.trace(vae.guide).get_trace(x))).get_trace(x)
    trace.compute_log_prob()
    z = trace.nodes["z"]["value"]
    np.testing.assert_allclose(
        trace.nodes["z"]["log_prob"].detach(), stats.laplace.logpdf(z.detach()).sum(-1), rtol=1e-5
    )
    fit = pv.fit(vae, x, epochs=2, progress=False)
    assert np.isfinite(fit.history["elbo"]).all()


def test_a_network_shared_by_two_parts_is_one():
    net = nn.Linear(FEATURES, FEATURES)
    vae = pv.VAE(
        lambda: N(torch.zeros(FEATURES), 1.0).to_event(1),
        lambda z: N(net(z), 1.0).to_event(1),
        lambda x: N(net(x), 1.0).to_event(1),
    )
    assert len(list(vae.parameters())) == 2
    pv.fit(vae, torch.randn(20, FEATURES), epochs=1, progress=False)


def test_what_it_shows():
    text = repr(pv.VAE(standard, decoder(), encoder()))
    assert text.startswith("VAE(\n    prior=standard,\n    likelihood=Normal(MLP(")
    assert text.endswith("; support: real),\n)")
    assert "\n    guide=Normal(MLP(" in text


def test_making_a_vae_changes_nothing_else():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.net = nn.BatchNorm1d(LATENTS), nn.Linear(LATENTS, FEATURES)
            self.frozen = nn.Dropout().eval()

        def forward(self, z):
            return N(self.net(self.frozen(self.norm(z))), 1.0).to_event(1)

    likelihood, guide = Noisy(), encoder()
    mean, state = likelihood.norm.running_mean.clone(), torch.get_rng_state()
    vae = pv.VAE(standard, likelihood, guide)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(likelihood.norm.running_mean, mean)
    assert likelihood.norm.num_batches_tracked == 0
    assert vae.training
    assert likelihood.training
    assert not likelihood.frozen.training


# Context

LABELS = torch.tensor([0, 1, 2, 1, 0])
CONTEXT = torch.nn.functional.one_hot(LABELS, 3).float()
CENTRES = torch.tensor([[-3.0, 0.0], [0.0, 3.0], [3.0, 3.0]])
LIFT = torch.ones(LATENTS, FEATURES)


def plain_likelihood(z):
    return N(z @ LIFT, 1.0).to_event(1)


def plain_guide(x):
    return N(x[:, :LATENTS], 1.0).to_event(1)


CONDITIONAL = {
    "prior": {
        "by name": lambda context: N(context @ CENTRES, 1.0).to_event(1),
        "by name, optional": lambda context=None: N(
            torch.zeros(LATENTS) if context is None else context @ CENTRES, 1.0
        ).to_event(1),
        "by position": lambda labels: N(labels @ CENTRES, 1.0).to_event(1),
    },
    "likelihood": {
        "by name": lambda z, context: N((z + context @ CENTRES) @ LIFT, 1.0).to_event(1),
        "by name, optional": lambda z, context=None: N(
            (z if context is None else z + context @ CENTRES) @ LIFT, 1.0
        ).to_event(1),
        "by keyword only": lambda z, *, context: N((z + context @ CENTRES) @ LIFT, 1.0).to_event(1),
        "by position": lambda z, labels: N((z + labels @ CENTRES) @ LIFT, 1.0).to_event(1),
    },
    "guide": {
        "by name": lambda x, context: N(context @ CENTRES, 1.0).to_event(1),
        "by name, optional": lambda x, context=None: N(
            x[:, :LATENTS] if context is None else context @ CENTRES, 1.0
        ).to_event(1),
        "by name, with a mask": lambda x, mask, context: N(context @ CENTRES, 1.0).to_event(1),
        "by position": lambda x, labels: N(labels @ CENTRES, 1.0).to_event(1),
        "by position, with a mask": lambda x, labels, mask=None: N(labels @ CENTRES, 1.0).to_event(1),
    },
}
CASES = [(part, how) for part, ways in CONDITIONAL.items() for how in ways]


@pytest.mark.parametrize(("part", "how"), CASES, ids=[f"{p}, {h}" for p, h in CASES])
def test_a_context_reaches_the_part_that_takes_it(part, how):
    parts = {"prior": standard, "likelihood": plain_likelihood, "guide": plain_guide}
    vae = pv.VAE(**{**parts, part: CONDITIONAL[part][how]})
    assert vae.takes_context
    x, centres = torch.randn(5, FEATURES), CENTRES[LABELS]
    guide = poutine.trace(vae.guide).get_trace(x, CONTEXT)
    model = poutine.trace(poutine.replay(vae.model, guide)).get_trace(x, CONTEXT)
    z = guide.nodes["z"]["value"]
    means = {
        "prior": model.nodes["z"]["fn"].mean,
        "likelihood": model.nodes["x"]["fn"].mean,
        "guide": guide.nodes["z"]["fn"].mean,
    }
    expected = {"prior": torch.zeros(5, LATENTS), "likelihood": z @ LIFT, "guide": x[:, :LATENTS]}
    expected[part] = (z + centres) @ LIFT if part == "likelihood" else centres
    for name, mean in means.items():
        torch.testing.assert_close(mean.expand_as(expected[name]), expected[name], msg=name)
    pv.posterior(vae, x, context=CONTEXT, draws=2)


@pytest.mark.parametrize("part", CONDITIONAL)
def test_an_optional_context_may_be_left_out(part):
    parts = {"prior": standard, "likelihood": plain_likelihood, "guide": plain_guide}
    vae = pv.VAE(**{**parts, part: CONDITIONAL[part]["by name, optional"]})
    tree = pv.posterior(vae, torch.randn(5, FEATURES), draws=2)
    assert np.isfinite(tree["sample_stats"]["log_weight"]).all()
    assert "constant_data" not in tree.children


def test_context_in_all_networks():
    vae = pv.VAE(
        CONDITIONAL["prior"]["by name"],
        decoder(context=3),
        pv.guides.Normal(pv.networks.MLP(FEATURES, (8,), 2 * LATENTS, context=3)),
    )
    x = torch.randn(5, FEATURES)
    fit = pv.fit(vae, x, context=CONTEXT, epochs=2, progress=False)
    tree = pv.posterior(fit, x, context=CONTEXT, draws=3)
    np.testing.assert_array_equal(tree["constant_data"]["context"], CONTEXT)


def test_a_network_of_the_users_inside_a_part_of_ours_takes_a_context():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Linear(3, FEATURES)

        def forward(self, z, labels):
            return z @ LIFT + self.shift(labels)

    network = Shifted()
    vae = pv.VAE(standard, pv.likelihoods.Normal(network), encoder())
    assert vae.takes_context
    before, x = weights(network), torch.randn(5, FEATURES)
    z = torch.randn(5, LATENTS)
    mean = pv.likelihoods.Normal(network)(z, context=CONTEXT).mean
    torch.testing.assert_close(mean, z @ LIFT + network.shift(CONTEXT))
    pv.fit(vae, x, context=CONTEXT, epochs=1, progress=False)
    assert not torch.equal(network.shift.weight, before["shift.weight"])


# Missing data: a linear Gaussian model, whose posterior given any of its cells is known

W = torch.tensor([[1.0, 0.5, -0.3, 0.8], [0.2, -1.0, 0.7, 0.4]], dtype=D)
B = torch.tensor([0.3, -0.2, 0.1, 0.5], dtype=D)
SIGMA = 0.6
HOLES = torch.tensor(
    [[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool
)  # where observed


class Linear(nn.Module):
    """p(x|z) = N(zW + b, σ²), all learned."""

    def __init__(self):
        super().__init__()
        self.w, self.b = nn.Parameter(W.clone()), nn.Parameter(B.clone())
        self.log_sigma = nn.Parameter(torch.tensor(math.log(SIGMA), dtype=D))

    def forward(self, z):
        return N(z @ self.w + self.b, self.log_sigma.exp()).to_event(1)


def exact_guide(x, mask):
    """p(z|observed cells of x) of that model, through its Cholesky factor."""
    o = mask.to(D)
    precision = torch.eye(LATENTS, dtype=D) + torch.einsum("if,nf,jf->nij", W, o, W) / SIGMA**2
    mean = torch.linalg.solve(precision, ((x - B) * o @ W.T / SIGMA**2).unsqueeze(-1)).squeeze(-1)
    return dist.MultivariateNormal(mean, precision_matrix=precision)


def loose_guide(x, mask):
    return N(0.1 * (x * mask).sum(-1, keepdim=True) * torch.ones(LATENTS, dtype=D), 0.7).to_event(1)


def gaussian_prior():
    return N(torch.zeros(LATENTS, dtype=D), 1.0).to_event(1)


def with_holes(seed=3):
    x = torch.randn(len(HOLES), FEATURES, dtype=D, generator=torch.Generator().manual_seed(seed))
    return x, torch.where(HOLES, x, torch.nan)


def test_with_the_exact_guide_every_weight_is_the_evidence_of_the_observed_cells():
    x, holed = with_holes()
    vae = pv.VAE(gaussian_prior, Linear(), exact_guide)
    evidence = []
    for row, seen in zip(x, HOLES, strict=True):
        w = W[:, seen].numpy()
        covariance = w.T @ w + SIGMA**2 * np.eye(w.shape[1])
        evidence.append(stats.multivariate_normal.logpdf(row[seen], B[seen], covariance) if w.shape[1] else 0.0)
    assert -Trace_ELBO().loss(vae.model, vae.guide, holed) == pytest.approx(sum(evidence), abs=1e-10)
    tree = pv.posterior(vae, holed, draws=7)
    expected = np.broadcast_to(evidence, (1, 7, len(HOLES)))
    np.testing.assert_allclose(tree["sample_stats"]["log_weight"], expected, rtol=0, atol=1e-10)


def test_missing_cells_are_cells_deleted():
    """Value and gradients equal those of each datum in a model that has its observed features only."""
    x, holed = with_holes()
    vae = pv.VAE(gaussian_prior, Linear(), loose_guide)
    torch.manual_seed(5)
    loss = Trace_ELBO().differentiable_loss(vae.model, vae.guide, holed)
    loss.backward()
    torch.manual_seed(5)
    q = loose_guide(torch.nan_to_num(holed), HOLES)
    z = q.rsample()
    other = Linear()
    by_hand = (gaussian_prior().log_prob(z) - q.log_prob(z)).sum()
    for i, seen in enumerate(HOLES):
        if seen.any():
            fn = N(z[i] @ other.w[:, seen] + other.b[seen], other.log_sigma.exp()).to_event(1)
            by_hand = by_hand + fn.log_prob(x[i, seen])
    (-by_hand).backward()
    assert loss.item() == pytest.approx(-by_hand.item(), abs=1e-10)
    ours = dict(vae.parts["likelihood"].named_parameters())
    for name, value in other.named_parameters():
        torch.testing.assert_close(ours[name].grad, value.grad, rtol=0, atol=1e-10, msg=name)


def test_the_guide_is_told_which_cells_are_observed():
    told = []

    def guide(x, mask):
        told.append((x.clone(), mask.clone()))
        return loose_guide(x, mask)

    x, holed = with_holes()
    vae = pv.VAE(gaussian_prior, Linear(), guide)
    assert vae.takes_mask
    told.clear()
    vae.guide(holed)
    seen, mask = told[0]
    assert torch.equal(mask, HOLES)
    assert torch.equal(seen, torch.where(HOLES, x, 0))


def test_a_network_with_a_mask_learns_from_incomplete_data():
    torch.manual_seed(0)
    z = torch.randn(300, LATENTS, dtype=D)
    x = (z @ W + B + SIGMA * torch.randn(300, FEATURES, dtype=D)).float()
    x[torch.rand(x.shape) < 0.3] = torch.nan
    vae = pv.VAE(standard, decoder(), encoder(mask=True))
    fit = pv.fit(vae, x, epochs=20, lr=5e-3, progress=False)
    elbo = fit.history["elbo"].values[0]
    assert elbo[-1] > elbo[0] + 0.5
    tree = pv.posterior(fit, x[:20], draws=5)
    np.testing.assert_array_equal(tree["constant_data"]["mask"], ~x[:20].isnan())
    np.testing.assert_array_equal(np.isnan(tree["observed_data"]["x"]), x[:20].isnan())
    assert np.isfinite(tree["sample_stats"]["log_weight"]).all()


FAMILIES = [
    N(torch.zeros(3, 2), 1.0),
    dist.Bernoulli(0.5 * torch.ones(3, 2)),
    dist.Binomial(5, 0.5 * torch.ones(3, 2)),
    dist.Poisson(torch.ones(3, 2)),
    dist.Gamma(torch.ones(3, 2), 1.0),
    dist.LogNormal(torch.zeros(3, 2), 1.0),
    dist.Beta(2 * torch.ones(3, 2), 2.0),
    dist.Uniform(torch.tensor([[0.0, 10.0]]).expand(3, 2), torch.tensor([[1.0, 11.0]]).expand(3, 2)),
    dist.Pareto(5 * torch.ones(3, 2), 2.0),
    dist.VonMises(torch.zeros(3, 2), 1.0),
    dist.Categorical(logits=torch.zeros(3, 2, 4)),
    dist.Geometric(0.5 * torch.ones(3, 2)),
    dist.ContinuousBernoulli(0.3 * torch.ones(3, 2)),
]


@pytest.mark.parametrize("fn", FAMILIES, ids=lambda fn: type(fn).__name__)
def test_any_family_leaves_cells_out(fn):
    x, mask = fn.sample(), torch.tensor([[True, False], [True, True], [False, False]])
    with pyro.validation_enabled(True):
        left, filled = masked(fn.to_event(1), torch.where(mask, x, 0), mask)
        log_prob = left.log_prob(filled)
    assert tuple(left.batch_shape) == (3,)
    assert torch.equal(filled[mask], x[mask])
    assert fn.support.check(filled).all()
    torch.testing.assert_close(log_prob, torch.where(mask, fn.log_prob(x), 0.0).sum(1))


def test_images_leave_cells_out():
    fn, x, mask = N(torch.zeros(3, 1, 4, 5), 1.0).to_event(3), torch.randn(3, 1, 4, 5), torch.rand(3, 1, 4, 5) > 0.4
    left, filled = masked(fn, x, mask)
    torch.testing.assert_close(left.log_prob(filled), (mask * fn.base_dist.log_prob(x)).sum((1, 2, 3)))


def test_a_likelihood_of_dependent_cells_takes_complete_data_only():
    def likelihood(z):
        return dist.Dirichlet((z @ LIFT).exp())

    vae = pv.VAE(standard, likelihood, encoder(mask=True))
    x = torch.randn(20, FEATURES).softmax(-1)
    pv.fit(vae, x, epochs=1, progress=False)
    x[7, 1] = torch.nan
    with pytest.raises(ValueError, match=r"Dirichlet cannot leave missing cells out.*to_event"):
        pv.fit(vae, x, epochs=1, progress=False)


# Under Pyro's own SVI


def test_pyros_own_svi_changes_every_weight():
    vae, x = small(), torch.randn(50, FEATURES)
    before = weights(vae)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    losses = [svi.step(x) for _ in range(60)]
    for name, value in vae.named_parameters():
        assert not torch.equal(value, before[name]), name
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 20


def test_pyros_own_svi_takes_the_step_that_fit_takes():
    """One full batch, one step of Adam: the direction is the sign of the gradient, whatever its scale."""
    vae, x = small(), torch.randn(50, FEATURES)
    start = weights(vae)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01, "eps": 1e-12}), Trace_ELBO())
    torch.manual_seed(1)
    svi.step(x)
    moved = {name: value.detach() - start[name] for name, value in vae.named_parameters()}
    torch.manual_seed(1)
    twin = small()
    twin.load_state_dict({**twin.state_dict(), **start})
    torch.manual_seed(1)
    Trace_ELBO().differentiable_loss(twin.model, twin.guide, x).backward()
    for name, value in twin.named_parameters():
        torch.testing.assert_close(moved[name], -0.01 * value.grad.sign(), rtol=0, atol=1e-5, msg=name)


def test_two_vaes_do_not_share_parameters_in_pyros_store():
    first, second = small(), small()
    x = torch.randn(5, FEATURES)
    before = weights(second)
    SVI(first.model, first.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()).step(x)
    SVI(second.model, second.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    assert all(torch.equal(value, before[name]) for name, value in second.named_parameters())
    Trace_ELBO().loss(second.model, second.guide, x)
    assert all(torch.equal(value, before[name]) for name, value in second.named_parameters())


def test_a_vae_keeps_its_weights_whatever_pyros_store_knows():
    """An object may have the address of one that is gone, and a copy the attributes of its original."""
    x = torch.randn(5, FEATURES)
    for _ in range(20):
        vae = small()
        before = weights(vae)
        Trace_ELBO().loss(vae.model, vae.guide, x)
        assert all(torch.equal(value, before[name]) for name, value in vae.named_parameters())
    twin = copy.deepcopy(vae)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    moved = weights(twin)
    Trace_ELBO().loss(twin.model, twin.guide, x)
    assert all(torch.equal(value, moved[name]) for name, value in twin.named_parameters())
