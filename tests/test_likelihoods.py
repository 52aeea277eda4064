"""What is particular to likelihoods: missing cells, exposures and totals, units, and a planted model found again."""

from __future__ import annotations

import math
import pickle
from itertools import pairwise

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import nn

import pyrovae as pv
from pyrovae import distributions, likelihoods, networks
from pyrovae._missing import masked
from tests.registry import LATENTS, LIKELIHOODS, call

every_likelihood = pytest.mark.parametrize("part", LIKELIHOODS, ids=str)
TOTALS = ("Multinomial", "DirichletMultinomial")
CLASSES = ("Categorical", "OrderedLogistic")
NORMALS = ("MultivariateNormal", "LowRankMultivariateNormal")


def starts(part, names) -> bool:
    return part.name.split(",")[0] in names


class Constant(nn.Module):
    """A network of z that takes no notice of it."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(values))

    def forward(self, z):
        return self.bias.expand(*z.shape[:-1], len(self.bias))


def zeros(features: int) -> Constant:
    return Constant(*[0.0] * features)


# Missing cells


def holes(event, *batch: int) -> torch.Tensor:
    mask = torch.rand(*batch, *event) > 0.4
    mask[0] = True
    mask[1] = False
    return mask


@pytest.mark.parametrize("batch", [(5,), (3, 5)], ids=["data", "draws of data"])
@pytest.mark.parametrize("part", [p for p in LIKELIHOODS if not starts(p, (*TOTALS, *NORMALS, "Columns"))], ids=str)
def test_missing_cells_are_left_out(part, batch):
    made = part.make().double()
    with pyro.validation_enabled(True):
        fn = call(made, part.inputs(*batch, dtype=torch.float64))
        x, mask = fn.sample(), holes(part.event, 5)
        hidden = torch.where(mask, x, 0.0)
        observed, inside = masked(fn, hidden, mask)
        assert (observed.batch_shape, observed.event_shape) == (fn.batch_shape, fn.event_shape)
        out = observed.log_prob(inside)
    by_cell = torch.where(mask, fn.base_dist.log_prob(x), 0.0)
    torch.testing.assert_close(out, by_cell.flatten(len(batch)).sum(-1), rtol=1e-12, atol=1e-12)
    assert (out[..., 1] == 0).all()
    gradients = torch.autograd.grad(out.sum(), [*made.parameters()], allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)
    if not starts(part, CLASSES):
        assert torch.equal(observed.mean, fn.mean)
    assert observed.sample().shape == x.shape


@pytest.mark.parametrize("batch", [(6,), (3, 6)], ids=["data", "draws of data"])
@pytest.mark.parametrize("part", [p for p in LIKELIHOODS if starts(p, NORMALS)], ids=str)
def test_missing_cells_of_a_multivariate_normal_are_integrated_out(part, batch):
    made = part.make().double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    fn = call(made, part.inputs(*batch, dtype=torch.float64))
    x, mask = fn.sample(), holes(part.event, 6)
    observed, inside = masked(fn, torch.where(mask, x, 1e3), mask)
    out = observed.log_prob(inside)
    assert (observed.batch_shape, observed.event_shape) == (fn.batch_shape, fn.event_shape)
    loc, covariance = fn.loc.detach().reshape(-1, 6, 4), fn.covariance_matrix.detach().reshape(-1, 6, 4, 4)
    expected = np.zeros((len(loc), 6))
    for s in range(len(loc)):
        for i in range(6):
            here = mask[i].numpy()
            if here.any():
                expected[s, i] = stats.multivariate_normal.logpdf(
                    x.reshape(-1, 6, 4)[s, i].numpy()[here],
                    loc[s, i].numpy()[here],
                    covariance[s, i].numpy()[np.ix_(here, here)],
                )
    np.testing.assert_allclose(out.detach().reshape(-1, 6), expected, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(out.sum(), [*made.parameters()])
    assert all(g.isfinite().all() for g in gradients)
    assert torch.equal(observed.mean, fn.mean)
    torch.testing.assert_close(observed.variance, fn.variance)
    larger = observed.expand((2, *observed.batch_shape))
    torch.testing.assert_close(larger.log_prob(inside)[1], out)
    assert observed.has_rsample
    assert observed.rsample((2,)).shape == (2, *x.shape)


@pytest.mark.parametrize("part", [p for p in LIKELIHOODS if starts(p, TOTALS)], ids=str)
def test_missing_cells_of_a_given_total_are_refused(part):
    fn = call(part.make(), part.inputs(5))
    x, mask = fn.sample(), holes(part.event, 5)
    with pytest.raises(ValueError, match="the total that they share is not known. Drop these data, or model the cells"):
        masked(fn, x, mask)
    whole, same = masked(fn, x, torch.ones_like(mask))
    assert torch.equal(whole.log_prob(same), fn.log_prob(x))


def test_cells_of_mixtures_and_of_no_dimension_are_left_out():
    logits, locs = torch.randn(5, 4, 3), torch.randn(5, 4, 3)
    fn = dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(locs, 1.0)).to_event(1)
    x, mask = fn.sample(), holes((4,), 5)
    observed, inside = masked(fn, torch.where(mask, x, 0.0), mask)
    terms = dist.Normal(locs, 1.0).log_prob(x.unsqueeze(-1)) + logits.log_softmax(-1)
    torch.testing.assert_close(observed.log_prob(inside), (mask * terms.logsumexp(-1)).sum(-1))
    scalar = dist.Normal(locs[:, 0, 0], 2.0)
    observed, inside = masked(scalar, x[:, 0], mask[:, 0])
    torch.testing.assert_close(observed.log_prob(inside), mask[:, 0] * scalar.log_prob(x[:, 0]))
    nested = dist.Normal(locs, 2.0).to_event(1).to_event(1)
    everywhere = holes((4, 3), 5)
    observed, inside = masked(nested, locs + 1, everywhere)
    torch.testing.assert_close(
        observed.log_prob(inside), (everywhere * dist.Normal(0.0, 2.0).log_prob(torch.tensor(1.0))).sum((-1, -2))
    )


def test_a_distribution_of_ones_own_says_what_its_observed_cells_are():
    class Own(dist.Delta):
        def marginal(self, mask):
            return dist.Normal(mask.sum(-1).float(), 1.0)

    fn, x = masked(Own(torch.zeros(2, 3), event_dim=1), torch.ones(2), torch.tensor([[True] * 3, [False] * 3]))
    torch.testing.assert_close(fn.mean, torch.tensor([3.0, 0.0]))
    assert torch.equal(x, torch.ones(2))


# Draws, means, shapes


@pytest.mark.parametrize("part", [p for p in LIKELIHOODS if not starts(p, ("Columns",))], ids=str)
def test_each_draw_of_z_is_told_of_the_same_covariates(part):
    made = part.make().double()
    inputs = part.inputs(3, 5, dtype=torch.float64)
    fn = call(made, inputs)
    x = fn.sample()
    each = [call(made, {**inputs, "input": z}).log_prob(v) for z, v in zip(inputs["input"], x, strict=True)]
    torch.testing.assert_close(fn.log_prob(x), torch.stack(each), rtol=1e-12, atol=1e-12)
    wider = fn.expand((2, *fn.batch_shape))
    torch.testing.assert_close(wider.log_prob(x)[1], fn.log_prob(x), rtol=1e-12, atol=1e-12)
    assert wider.sample().shape == (2, *x.shape)


@pytest.mark.parametrize("part", [p for p in LIKELIHOODS if not starts(p, ("Columns",))], ids=str)
def test_the_mean_is_that_of_draws(part):
    fn = call(part.make().double(), part.inputs(2, dtype=torch.float64))
    draws = fn.sample((20_000,))
    if starts(part, CLASSES):
        with pytest.raises(NotImplementedError, match="categories have no mean"):
            fn.mean  # noqa: B018
        return
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - fn.mean).abs() < 4.5 * error + 1e-12).all()  # of up to 70 cells at once: p < 1e-3


def test_supports_are_printed():
    z = networks.MLP(2, (), 3)
    shown = {
        "real": [likelihoods.Normal(z), likelihoods.Laplace(z), likelihoods.MultivariateNormal(3, z)],
        "boolean": [likelihoods.Bernoulli(z)],
        "integer interval (0, 16)": [likelihoods.Binomial(16, z), likelihoods.DiscretizedLogistic(z, levels=17)],
        "greater than (0)": [likelihoods.Gamma(z), likelihoods.LogNormal(z)],
        "open interval (0, 1)": [likelihoods.Beta(z)],
        "interval (0, 1)": [likelihoods.ContinuousBernoulli(z)],
        "integer of at least (0)": [likelihoods.Poisson(z), likelihoods.Multinomial(z, total_column=0)],
        "counts of total (7)": [likelihoods.DirichletMultinomial(z, total=7)],
    }
    for words, parts in shown.items():
        for part in parts:
            assert repr(part).endswith(f"support: {words})"), part
    assert "exposure: column 2 of the context" in repr(likelihoods.Poisson(z, exposure=2))
    assert f"gate: {z!r}" in repr(likelihoods.ZeroInflatedPoisson(z, z))


# Exposures and totals


def test_a_poisson_is_a_total_and_how_it_is_shared_out():
    z, x, e = (
        torch.zeros(3, 2),
        torch.tensor([[3.0, 0, 4], [1, 1, 0], [9, 2, 5]]).double(),
        torch.tensor([[2.0], [1], [9]]),
    )
    network, e = Constant(0.3, -0.4, 1.0).double(), e.double()
    whole = likelihoods.Poisson(network, exposure=0)(z, e).log_prob(x)
    total = dist.Poisson(e[:, 0] * network.bias.exp().sum()).log_prob(x.sum(-1))
    shares = likelihoods.Multinomial(network, total_column=0)(z, x.sum(-1, keepdim=True)).log_prob(x)
    torch.testing.assert_close(whole, total + shares, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "family", ["Poisson", "NegativeBinomial", "ZeroInflatedPoisson", "ZeroInflatedNegativeBinomial"]
)
def test_an_exposure_multiplies_the_mean(family):
    part = getattr(likelihoods, family)(Constant(0.3, -0.4), exposure=1).eval()
    z, context = torch.zeros(3, 2), torch.tensor([[-1.0, 1.0], [0.0, 2.0], [0.0, 10.0]])
    assert "context" in part.takes
    mean = part(z, context).mean
    torch.testing.assert_close(mean[1:], mean[:1] * context[1:, 1:])
    context[1, 1] = -3.0
    with pytest.raises(
        ValueError, match=rf"{family}: column 1 of the context is to hold positive exposures, got -3 \(1 "
    ):
        part(z, context)
    with pytest.raises(ValueError, match="column 1 of the context is to hold positive exposures, and it has 1"):
        part(z, context[:, :1])
    with pytest.raises(ValueError, match="and none was given: pass it with the data"):
        part(z)
    context[1, 1] = torch.inf
    with pytest.raises(ValueError, match="got inf"):
        part(z, context)


def test_totals_are_whole_numbers():
    part = likelihoods.Multinomial(zeros(3), total_column=0).eval()
    assert "context" in part.takes
    for bad in (2.5, -1.0):
        with pytest.raises(ValueError, match=f"the data's totals, whole numbers, got {bad:g}"):
            part(torch.zeros(2, 2), torch.tensor([[3.0], [bad]]))


# Units from the training data


def counts_data():
    torch.manual_seed(1)
    exposure = 1 + 9 * torch.rand(400, 1)
    x = torch.poisson(exposure * torch.tensor([100.0, 1.0, 0.01, 0.0]))
    x[3, 0] = torch.nan
    x[:, 3] = 0.0
    return x, exposure


@pytest.mark.parametrize(
    "family", ["Poisson", "NegativeBinomial", "ZeroInflatedPoisson", "ZeroInflatedNegativeBinomial"]
)
def test_counts_start_at_their_mean_per_exposure(family):
    x, exposure = counts_data()
    part = getattr(likelihoods, family)(zeros(4), exposure=0)
    part.adapt(x, exposure)
    observed = ~x.isnan()
    expected = (torch.nan_to_num(x).sum(0) + 0.5) / (observed * exposure).sum(0)
    torch.testing.assert_close(part.offset, expected.log())
    kept = part.offset.clone()
    part.adapt(2 * x, exposure)
    assert torch.equal(part.offset, kept)
    fresh = getattr(likelihoods, family)(zeros(4), exposure=0)
    fresh.load_state_dict(part.state_dict())
    z = torch.randn(7, 2)
    assert torch.equal(fresh(z, exposure[:7]).mean, part(z, exposure[:7]).mean)
    copy = pickle.loads(pickle.dumps(part))
    assert torch.equal(copy(z, exposure[:7]).mean, part(z, exposure[:7]).mean)


def test_positive_data_start_at_their_mean():
    x = torch.tensor([[1e6, 1e-6], [3e6, torch.nan], [2e6, 4e-6]])
    part = likelihoods.Gamma(zeros(2))
    part.adapt(x)
    torch.testing.assert_close(part(torch.zeros(1, 2)).mean, torch.tensor([[2e6, 2.5e-6]]))
    part = likelihoods.LogNormal(zeros(2))
    part.adapt(x)
    torch.testing.assert_close(part.offset, torch.tensor([x[:, 0].log().mean(), math.log(2e-6)]))
    part = likelihoods.Multinomial(zeros(3), total=8)
    part.adapt(torch.tensor([[1.0, 5, 2], [3, 4, 1]]))
    torch.testing.assert_close(part(torch.zeros(1, 2)).probs, torch.tensor([[4.5, 9.5, 3.5]]) / 17.5)


def test_a_cell_that_is_never_observed_starts_at_the_mean_of_all():
    x = torch.tensor([[4.0, torch.nan], [8.0, torch.nan]])
    part = likelihoods.Gamma(zeros(2))
    part.adapt(x)
    torch.testing.assert_close(part.offset, torch.full((2,), math.log(6.0)))
    part = likelihoods.Poisson(zeros(2))
    with pytest.raises(ValueError, match=r"every value of the data, of shape \(2, 2\), is missing"):
        part.adapt(torch.full((2, 2), torch.nan))
    assert not part.adapted


def test_networks_of_another_size_than_the_training_data_are_refused():
    part = likelihoods.Poisson(zeros(3))
    part.adapt(torch.ones(5, 4))
    with pytest.raises(
        ValueError, match=r"the network makes data of shape \(3,\), the training data have shape \(4,\)"
    ):
        part(torch.zeros(2, 2))


# A whole VAE


def test_a_vae_of_counts_with_exposures_and_missing_cells():
    x, exposure = counts_data()
    vae = pv.VAE(
        prior=pv.priors.Normal(2),
        likelihood=likelihoods.NegativeBinomial(networks.MLP(2, (8,), 4), torch.ones(4), exposure=0),
        guide=pv.guides.Normal(networks.MLP(4, (8,), 4, mask=True)),
    )
    fit = pv.fit(vae, x, context=exposure, epochs=2, seed=0, progress=False)
    assert np.isfinite(fit.history["elbo"].values).all()
    mean = pv.reconstruct(fit, x, context=exposure, draws=5)["x"].values[0]
    assert (np.abs(np.log(mean[:, 0].mean() / np.nanmean(x[:, 0]))) < 1).all()
    wrong = exposure.clone()
    wrong[5] = 0
    with pytest.raises(ValueError, match="column 0 of the context is to hold positive exposures, got 0"):
        pv.fit(vae, x, context=wrong, epochs=1, progress=False)


@pytest.mark.parametrize(
    "likelihood",
    [
        lambda: likelihoods.Categorical(3, networks.MLP(2, (8,), 12)),
        lambda: likelihoods.OrderedLogistic(3, networks.MLP(2, (8,), 4), features=4),
        lambda: likelihoods.DiscretizedLogisticMixture(2, networks.MLP(2, (8,), 24), levels=3),
        lambda: likelihoods.LowRankMultivariateNormal(4, networks.MLP(2, (8,), 4), rank=1),
    ],
    ids=["categorical", "ordered", "mixture", "low rank"],
)
def test_a_vae_of_levels_with_missing_cells(likelihood):
    x = torch.randint(0, 3, (50, 4)).float()
    x[3, 1] = x[7] = torch.nan
    vae = pv.VAE(pv.priors.Normal(2), likelihood(), pv.guides.Normal(networks.MLP(4, (8,), 4, mask=True)))
    fit = pv.fit(vae, x, epochs=2, seed=0, progress=False)
    tree = pv.posterior(fit, x, draws=3, seed=0)
    assert np.isfinite(tree["sample_stats"]["log_lik"].values).all()
    assert np.isfinite(tree["posterior_predictive"]["x"].values).all()
    assert np.isfinite(pv.reconstruct(fit, x, draws=3)["x"].values).all()


# A planted model


def test_a_planted_zero_inflated_negative_binomial_is_found_again():
    torch.manual_seed(0)
    n = 4000
    mean, r, gate = (
        torch.tensor(v, dtype=torch.float64)
        for v in ((1.0, 1.5, 2.0, 4.0, 8.0), (4.0, 1.5, 2.0, 3.0, 6.0), (0.5, 0.4, 0.3, 0.3, 0.15))
    )
    exposure = torch.exp(0.5 * torch.randn(n, 1, dtype=torch.float64)) * 3
    rate = exposure * mean * torch.distributions.Gamma(r, r).sample((n,))
    x = torch.poisson(rate) * (torch.rand(n, 5, dtype=torch.float64) > gate)
    part = likelihoods.ZeroInflatedNegativeBinomial(zeros(5), torch.ones(5), torch.full((5,), 0.2), exposure=0).double()
    part.adapt(x, exposure)
    z = torch.zeros(n, 1, dtype=torch.float64)
    parameters = [part.network.bias, part.raw_inverse_dispersion, part.raw_gate]
    optimizer = torch.optim.LBFGS(parameters, max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-8)

    def slope(of: torch.Tensor, **keep: bool) -> torch.Tensor:
        return torch.cat(torch.autograd.grad(of, parameters, **keep))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -part(z, exposure).log_prob(x).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    gradient = slope(-part(z, exposure).log_prob(x).sum(), create_graph=True)
    assert gradient.abs().max() < 1e-2
    information = torch.stack([slope(g, retain_graph=True) for g in gradient])
    error = torch.linalg.inv(information).diagonal().sqrt()
    truth = torch.cat([mean.log() - part.offset, r.log(), gate.logit()])
    found = torch.cat([p.detach() for p in parameters])
    assert ((found - truth).abs() < 4 * error).all()
    assert (error < torch.tensor([0.1, 0.3, 0.5]).repeat_interleave(5)).all()  # so that four of them say something


# Distributions of ours


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_discretized_logistic_against_scipy(levels):
    loc = torch.linspace(-0.5, 1.5, 9, dtype=torch.float64)[:, None] * (levels - 1)
    scale = torch.tensor([0.05, 0.3, 2.0, 30.0, 1e3], dtype=torch.float64)
    fn = distributions.DiscretizedLogistic(loc, scale, levels)
    k = torch.arange(levels, dtype=torch.float64)[:, None, None]
    log_p = fn.log_prob(k)
    torch.testing.assert_close(log_p.logsumexp(0), torch.zeros(9, 5).double(), rtol=0, atol=1e-10)
    above = stats.logistic.cdf(k + 0.5, loc, scale)
    above[-1] = 1
    p = np.diff(above, axis=0, prepend=0)
    np.testing.assert_allclose(log_p.exp(), p, rtol=0, atol=1e-12)
    torch.testing.assert_close(fn.mean, (k * log_p.exp()).sum(0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fn.variance, ((k - fn.mean).square() * log_p.exp()).sum(0), rtol=1e-8, atol=1e-8)


def test_draws_of_the_discretized_logistic_have_its_probabilities():
    fn = distributions.DiscretizedLogistic(torch.tensor([0.3, 2.5, 6.0]), torch.tensor([0.4, 1.0, 5.0]), 7)
    draws = fn.sample((40_000,))
    k = torch.arange(7.0)[:, None]
    p = fn.log_prob(k).exp()
    share = (draws == k[:, None]).float().mean(1)
    assert ((share - p).abs() < 4 * (p * (1 - p) / 40_000).sqrt() + 1e-6).all()


def test_discretized_logistic_is_finite_far_out():
    loc = torch.tensor([-1e5, -10.0, 0.0, 128.0, 255.0, 300.0, 1e6], requires_grad=True)
    scale = torch.tensor([1e-3, 0.1, 1.0, 100.0, 1e4])[:, None].requires_grad_()
    k = torch.tensor([0.0, 1.0, 128.0, 254.0, 255.0])[:, None, None]
    log_p = distributions.DiscretizedLogistic(loc, scale).log_prob(k)
    assert log_p.isfinite().all()
    assert (log_p <= 0).all()
    for gradient in torch.autograd.grad(log_p.sum(), (loc, scale)):
        assert gradient.isfinite().all()
    far = distributions.DiscretizedLogistic(loc[:1], scale[2]).log_prob(torch.tensor([100.0]))
    torch.testing.assert_close(  # σ(b) − σ(a) = e^-a (1 − e^(a−b)) there: a Laplace tail
        far, -(torch.tensor([100.0 + 1e5 - 0.5])) + math.log(-math.expm1(-1.0))
    )


def test_multinomials_against_scipy():
    torch.manual_seed(0)
    n = torch.tensor([0.0, 1.0, 7.0, 400.0]).double()
    logits = torch.randn(4, 6).double()
    probs = logits.softmax(-1).numpy()
    for fn, reference in (
        (distributions.Multinomial(n, logits=logits), lambda x, i: stats.multinomial.logpmf(x, int(n[i]), probs[i])),
        (
            distributions.DirichletMultinomial(logits.exp(), n),
            lambda x, i: stats.dirichlet_multinomial.logpmf(x.astype(int), logits[i].exp().numpy(), int(n[i])),
        ),
    ):
        x = fn.sample((5,))
        assert torch.equal(x.sum(-1), n.expand(5, 4))
        expected = [[reference(v.numpy(), i) for i, v in enumerate(row)] for row in x]
        np.testing.assert_allclose(fn.log_prob(x), expected, rtol=1e-10, atol=1e-10)
        draws = fn.sample((20_000,))
        error = draws.std(0) / math.sqrt(len(draws))
        assert ((draws.mean(0) - fn.mean).abs() <= 4 * error).all()
        spread = (draws - fn.mean).square()
        assert ((spread.mean(0) - fn.variance).abs() <= 4 * spread.std(0) / math.sqrt(len(draws))).all()


def test_all_ways_to_share_out_a_total_sum_to_one():
    ways = torch.tensor([[a, b, 5 - a - b] for a in range(6) for b in range(6 - a)]).float()
    for fn in (
        distributions.Multinomial(5, logits=torch.tensor([0.3, -1.0, 2.0])),
        distributions.DirichletMultinomial(torch.tensor([0.2, 3.0, 1.0]), 5),
    ):
        torch.testing.assert_close(fn.log_prob(ways).logsumexp(0), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_cells_of_no_probability_stay_empty():
    fn = distributions.Multinomial(torch.tensor([9.0, 4.0]), probs=torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0]))
    x = fn.sample((100,))
    assert (x[..., [0, 2, 4]] == 0).all()
    assert torch.equal(x.sum(-1), torch.tensor([9.0, 4.0]).expand(100, 2))
    torch.testing.assert_close(fn.log_prob(x), dist.Binomial(torch.tensor([9.0, 4.0]), 0.75).log_prob(x[..., 3]))
    impossible = torch.tensor([[0.0, 3.0, 0.0, 6.0, 0.0], [1.0, 3.0, 0.0, 0.0, 0.0]])
    assert fn.log_prob(impossible)[1] == -torch.inf
    for wrong in ([1.0, 2.0, 0.0, 0.0, 0.0], [0.5, 3.5, 0.0, 0.0, 0.0], [-1.0, 5.0, 0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="to be within the support"):
            fn.expand((1, 2)).log_prob(torch.tensor(wrong))


def test_large_totals_keep_their_precision_in_float32():
    torch.manual_seed(0)
    logits = torch.randn(3, 500)
    single = distributions.Multinomial(torch.full((3,), 100_000.0), logits=logits)
    x = single.sample()
    double = distributions.Multinomial(torch.full((3,), 100_000.0).double(), logits=logits.double())
    torch.testing.assert_close(single.log_prob(x), double.log_prob(x.double()).float(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("eta", [-300.0, -40.0, -0.11, -0.09, -1e-6, 0.0, 0.03, 5.0, 20.0, 1000.0])
def test_continuous_bernoulli_is_a_density_at_any_logit(eta):
    wide = distributions.ContinuousBernoulli(logits=torch.tensor(eta).double())
    grid = [0.0, *(10.0**-k for k in range(6, 0, -1)), *(1 - 10.0**-k for k in range(1, 7)), 1.0]
    nodes, weights = np.polynomial.legendre.leggauss(60)
    at = np.concatenate([a + (b - a) * (nodes + 1) / 2 for a, b in pairwise(grid)])
    mass = (
        np.concatenate([(b - a) / 2 * weights for a, b in pairwise(grid)])
        * wide.log_prob(torch.tensor(at)).exp().numpy()
    )
    assert mass.sum() == pytest.approx(1.0, abs=1e-10)
    assert (mass * at).sum() == pytest.approx(wide.mean.item(), abs=1e-10)
    leaf = torch.tensor(eta, requires_grad=True)
    narrow = distributions.ContinuousBernoulli(logits=leaf)
    x = torch.tensor([0.0, 0.3, 1.0])
    torch.testing.assert_close(narrow.log_prob(x).double(), wide.log_prob(x.double()), rtol=1e-6, atol=1e-6)
    (slope,) = torch.autograd.grad(narrow.log_prob(x)[1], leaf)  # x − E x
    torch.testing.assert_close(slope.double(), 0.3 - wide.mean, rtol=0, atol=1e-4)
    draws = wide.sample((20_000,))
    assert (draws.mean() - wide.mean).abs() < 4 * draws.std() / math.sqrt(20_000)
    assert stats.kstest(draws.numpy(), lambda v: cumulative(v, eta)).pvalue > 1e-3


def cumulative(x: np.ndarray, eta: float) -> np.ndarray:
    if abs(eta) < 1e-4:
        return x
    return np.expm1(eta * x) / np.expm1(eta) if eta < 0 else np.exp(eta * (x - 1)) - np.exp(-eta) * (1 - x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("r", [0.5, 99.0, 101.0, 1e4, 1e6])
def test_negative_binomial_however_large_r_is(r, dtype):
    """Against log Π_{k < x} (r + k) = log Γ(r + x) − log Γ(r), in which nothing cancels; scipy's p is 1 there."""
    means, counts = (0.01, 1.0, 50.0, 400.0), (0, 1, 60, 500)

    def by_hand(r: float, mean: float, x: int) -> float:
        rising = np.log((r + np.arange(x)) / (r + mean)).sum()
        return rising + x * math.log(mean) - math.lgamma(x + 1) - r * math.log1p(mean / r)

    mean, x = torch.tensor(means)[:, None], torch.tensor(counts)
    log_r = torch.tensor(math.log(r), dtype=dtype, requires_grad=True)
    log_p = distributions.NegativeBinomial(log_r.exp(), logits=mean.to(dtype).log() - log_r).log_prob(x.to(dtype))
    expected = [[by_hand(r, m, k) for k in counts] for m in mean.double()[:, 0].tolist()]
    tolerance = 3e-5 if dtype is torch.float32 else 1e-10
    np.testing.assert_allclose(log_p.detach(), expected, rtol=tolerance, atol=tolerance)
    (slope,) = torch.autograd.grad(log_p[2, 2], log_r)
    ahead, behind = (by_hand(r * math.exp(step), 50.0, 60) for step in (1e-3, -1e-3))
    assert slope.item() == pytest.approx((ahead - behind) / 2e-3, rel=1e-3, abs=2e-4)


def test_zero_inflated_counts_against_pyro_before_and_after_they_were_drawn():
    logits = torch.tensor([-30.0, 0.5, 30.0])
    fn = distributions.ZeroInflated(dist.Poisson(torch.tensor(2.0)), logits)
    same = dist.ZeroInflatedPoisson(torch.tensor(2.0), gate_logits=logits)
    x = torch.tensor([0.0, 3.0])[:, None]
    torch.testing.assert_close(fn.log_prob(x), same.log_prob(x))
    torch.testing.assert_close(fn.mean, same.mean)
    torch.testing.assert_close(fn.variance, same.variance)
    fn.sample((3,))
    torch.testing.assert_close(fn.expand((2, 3)).log_prob(x), fn.log_prob(x))


def test_ordered_levels_are_finite_far_out():
    network = Constant(-500.0, 0.0, 500.0)
    part = likelihoods.OrderedLogistic(4, network)
    levels = torch.arange(4.0)[:, None].expand(4, 3)
    log_p = part(torch.zeros(4, 1)).base_dist.log_prob(levels)
    assert log_p.isfinite().all()
    assert log_p[0, 2].item() == pytest.approx(part.held("cutpoints")[0].item() - 500, rel=1e-6)
    gradients = torch.autograd.grad(log_p.sum(), [*part.parameters()])
    assert all(g.isfinite().all() for g in gradients)
    assert gradients[1][0] != 0


def test_ordered_levels_start_equally_likely():
    part = likelihoods.OrderedLogistic(5, zeros(2))
    torch.testing.assert_close(part(torch.zeros(1, 1)).base_dist.probs, torch.full((1, 2, 5), 0.2))


@pytest.mark.parametrize("shape", [(12,), (3, 4, 5), (2, 4)], ids=["vector", "image", "last"])
def test_parameters_of_a_cell_lie_side_by_side(shape):
    torch.manual_seed(0)
    out = torch.randn(2, *(s * 4 if i == 0 and len(shape) != 2 else s for i, s in enumerate(shape)))
    fn = likelihoods.Categorical(4, nn.Identity())(out) if len(shape) == 1 else None
    if fn is not None:
        torch.testing.assert_close(fn.base_dist.logits, out.reshape(2, 12, 4).log_softmax(-1))
        return
    z = torch.zeros(2, LATENTS)
    fn = likelihoods.Categorical(4, lambda z: out)(z)
    if len(shape) == 3:
        assert tuple(fn.event_shape) == shape
        torch.testing.assert_close(fn.base_dist.logits[:, 1, 2, 3], out[:, 4:8, 2, 3].log_softmax(-1))
    else:
        assert tuple(fn.event_shape) == (2,)
        torch.testing.assert_close(fn.base_dist.logits, out.log_softmax(-1))


z2 = torch.zeros(5, 2)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: likelihoods.Laplace(zeros(3), 0.0),
            ValueError,
            r"Laplace: scale: expected a finite value, .*got 0\.0",
        ),
        (lambda: likelihoods.Laplace(zeros(3), "1"), TypeError, "Laplace: scale: expected a number or a tensor"),
        (lambda: likelihoods.Laplace(zeros(3), nn.Linear), TypeError, "Laplace: scale: expected a number or a tensor"),
        (lambda: likelihoods.Laplace(3), TypeError, "Laplace: expected a network, .*got int"),
        (
            lambda: likelihoods.Gamma(zeros(3), torch.ones(4))(z2),
            ValueError,
            r"Gamma: a concentration of shape \(4,\) does not fit a datum of shape \(3,\)",
        ),
        (
            lambda: likelihoods.NegativeBinomial(zeros(3), zeros(4))(z2),
            ValueError,
            r"a inverse_dispersion of shape \(4,\) does not fit",
        ),
        (lambda: likelihoods.StudentT(zeros(3), df=0.0), ValueError, r"StudentT: df: .*got 0\.0"),
        (lambda: likelihoods.StudentT(zeros(3), df=1.0, learn_df=True), ValueError, r"df: .*greater than \(1\), got 1"),
        (lambda: likelihoods.ZeroInflatedPoisson(zeros(3), 1.0), ValueError, "a gate between 0 and 1, .*got 1.0"),
        (
            lambda: likelihoods.ZeroInflatedPoisson(zeros(3), "a"),
            TypeError,
            "a number, a tensor or a network of z as gate",
        ),
        (lambda: likelihoods.Poisson(zeros(3), exposure=-1), ValueError, "exposure .* at least 0, got -1"),
        (lambda: likelihoods.Poisson(zeros(3), exposure="size"), ValueError, "exposure .*got 'size'"),
        (lambda: likelihoods.Multinomial(zeros(3)), ValueError, "either total, .* or total_column, .*got neither"),
        (lambda: likelihoods.Multinomial(zeros(3), total=3, total_column=0), ValueError, "got both"),
        (lambda: likelihoods.Multinomial(zeros(3), total=0), ValueError, "total: .* at least 1, got 0"),
        (
            lambda: likelihoods.Multinomial(networks.Conv(2, (4,), (1, 5, 5)), total=3)(z2),
            ValueError,
            r"a network whose output is a vector, .*got shape \(1, 5, 5\)",
        ),
        (lambda: likelihoods.Categorical(1, zeros(3)), ValueError, "classes: .* at least 2, got 1"),
        (lambda: likelihoods.Categorical(2, zeros(3))(z2), ValueError, r"2 outputs for each cell, .*got shape \(3,\)"),
        (lambda: likelihoods.OrderedLogistic(1, zeros(3)), ValueError, "levels: .* at least 2"),
        (lambda: likelihoods.OrderedLogistic(3, zeros(3), features=0), ValueError, "features: .* at least 1"),
        (lambda: likelihoods.OrderedLogistic(3, zeros(3), features=2)(z2), ValueError, r"a features of shape \(2,\)"),
        (lambda: likelihoods.DiscretizedLogistic(zeros(3), levels=1), ValueError, "levels: .* at least 2"),
        (lambda: likelihoods.DiscretizedLogisticMixture(0, zeros(3)), ValueError, "components: .* at least 1"),
        (lambda: likelihoods.DiscretizedLogisticMixture(2, zeros(3))(z2), ValueError, "6 outputs for each cell"),
        (lambda: likelihoods.MultivariateNormal(0, zeros(3)), ValueError, "features: .* at least 1"),
        (lambda: likelihoods.MultivariateNormal(4, zeros(3))(z2), ValueError, r"a covariance of shape \(4,\)"),
        (lambda: likelihoods.MultivariateNormal(2, zeros(2), scale=torch.ones(2, 2)), ValueError, "a lower triangle"),
        (
            lambda: likelihoods.MultivariateNormal(2, zeros(2), scale=-torch.eye(2)),
            ValueError,
            "scale: expected a finite",
        ),
        (lambda: likelihoods.LowRankMultivariateNormal(3, zeros(3), rank=0), ValueError, "rank: .* at least 1, got 0"),
        (lambda: distributions.Multinomial(3), ValueError, "either probs or logits"),
        (lambda: distributions.DiscretizedLogistic(z2, z2 + 1, 1), ValueError, "levels: .* at least 2"),
    ],
)
def test_what_cannot_be_a_likelihood_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()
