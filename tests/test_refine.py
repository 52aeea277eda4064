"""Improved q of single data and the gaps of a bound, against closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from scipy.stats import nbinom
from torch import Tensor, nn
from torch.distributions.transforms import AffineTransform, SigmoidTransform

import pyrovae as pv
from models import ppca
from pyrovae._support import describe
from pyrovae.diagnostics import NotAvailable, elbo_terms, log_evidence, pareto_k
from pyrovae.diagnostics.gaps import gaps
from pyrovae.draws.families import guide_family
from pyrovae.draws.target import evaluation
from pyrovae.plots.gap import plot_gap
from pyrovae.repair.refine import refine
from tests import programs

LATENTS = 3
DOUBLE = torch.float64


@pytest.fixture(scope="module")
def x() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    directions = torch.linalg.qr(torch.randn(6, LATENTS, generator=generator, dtype=DOUBLE))[0]
    w = torch.tensor([[3.0], [2.0], [1.0]], dtype=DOUBLE) * directions.T
    z = torch.randn(40, LATENTS, generator=generator, dtype=DOUBLE)
    return z @ w + 0.5 * torch.randn(40, 6, generator=generator, dtype=DOUBLE)


def rotation() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(LATENTS, LATENTS, generator=generator, dtype=DOUBLE))[0]


def exact_log_p(x: Tensor) -> np.ndarray:
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    return dist.MultivariateNormal(mu, w @ w.T + sigma2 * torch.eye(len(mu), dtype=DOUBLE)).log_prob(x).numpy()


def shifted(x: Tensor, rows: int | None = None) -> tuple[pv.VAE, float]:
    """The exact program with the guide's mean moved by δ, for all data or the first few; and the loss, ½ δᵀMδ/σ²."""
    vae = ppca.exact_program(x, LATENTS)
    w, _, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    m = w.T @ w + sigma2 * torch.eye(LATENTS, dtype=DOUBLE)
    delta = torch.tensor([0.5, -0.6, 0.7], dtype=DOUBLE)
    guide = vae.parts["guide"]
    if rows is None:
        with torch.no_grad():
            guide.network.layers[0].bias[:LATENTS] += delta
        return vae, float(0.5 * delta @ m @ delta / sigma2)

    def moved(values: Tensor) -> Any:
        q = guide(values)
        bad = torch.isin(values[:, 0], x[:rows, 0]).to(DOUBLE)[:, None]
        return dist.Normal(q.mean + bad * delta, q.variance.sqrt()).to_event(1)

    prior, likelihood, _ = vae._three
    return pv.VAE(prior, likelihood, moved).double(), float(0.5 * delta @ m @ delta / sigma2)


def within(found: xr.Dataset, name: str, value: Any, slack: float = 1e-3) -> None:
    """Each datum within four standard errors of the truth, and of the steps' accuracy."""
    assert (abs(found[name] - value) <= 4 * found[f"{name}_mcse"] + slack).all(), found[name].values


def test_a_shifted_encoder_loses_by_amortisation_alone(x: Tensor) -> None:
    vae, loss = shifted(x)
    found = gaps(vae, x, draws=400)
    assert found["approximation"].dims == ("obs_id",)
    within(found, "amortisation", loss)
    within(found, "log_evidence", exact_log_p(x))
    within(found, "approximation", 0.0)
    assert abs(found["elbo_best"] - exact_log_p(x)).max() < 1e-3
    assert float(found["pareto_k"].max()) < found.attrs["good_k"]


def test_the_guides_family_recovers_the_exact_posterior(x: Tensor) -> None:
    vae, loss = shifted(x)
    tree = refine(vae, x, family="guide", draws=200)
    before = tree["sample_stats"]["pareto_k_before"].values
    exact = exact_log_p(x)
    refined = tree["sample_stats"]["refined"].values
    assert refined.mean() > 0.9
    assert (before[0, refined] > 0.5).all()
    gap = exact - elbo_terms(tree)["elbo"].values[0]
    assert loss > 1
    assert abs(gap[refined]).max() < 1e-3
    assert abs(log_evidence(tree)["log_evidence"].values[0] - exact)[refined].max() < 1e-3
    # KL of the cells is by Monte Carlo now: log q − log p = −½ε² + ½(m + sε)² + const
    program = ppca.exact_program(x, LATENTS)
    q = program.encode(x)
    m, s = q.mean.detach().numpy(), q.variance.detach().sqrt().numpy()
    error = np.sqrt(((1 - s**2) ** 2 / 2 + (m * s) ** 2) / 200)
    kl = pv.diagnostics.kl(pv.posterior(program, x, draws=30, predictive=0))["z"].values[0]
    assert (abs(tree["sample_stats"]["kl_z"].values[0] - kl) <= 4 * error + 0.01)[refined].all()


def test_a_diagonal_guide_loses_by_approximation_alone(x: Tensor) -> None:
    vae = ppca.exact_program(x, LATENTS, rotation=rotation())
    w, _, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    m = rotation().T @ w.T @ w @ rotation() + sigma2 * torch.eye(LATENTS, dtype=DOUBLE)
    loss = 0.5 * (m.diagonal().log().sum() - torch.logdet(m)).item()
    assert loss > 0.1
    found = gaps(vae, x, draws=400)
    within(found, "approximation", loss, 5e-3)
    within(found, "amortisation", 0.0, 5e-3)
    within(found, "log_evidence", exact_log_p(x))
    np.testing.assert_allclose(
        found["approximation"] + found["amortisation"], found["log_evidence"] - found["elbo"], atol=1e-9
    )


@pytest.mark.parametrize("family", ["full", "student"])
def test_a_full_covariance_is_exact_where_the_posterior_is_normal(x: Tensor, family: str) -> None:
    tree = refine(ppca.exact_program(x, LATENTS, rotation=rotation()), x, family=family, draws=400, everything=True)
    assert tree["sample_stats"]["refined"].values.mean() > 0.9
    taken = tree["sample_stats"]["refined"].values
    terms, evidence = elbo_terms(tree), log_evidence(tree)
    gap = exact_log_p(x) - terms["elbo"].values[0]
    if family == "full":
        assert gap[taken].mean() < 1e-3
        assert (abs(gap) <= 4 * terms["elbo_mcse"].values[0] + 1e-3)[taken].all()
    else:  # KL of a t distribution from a Normal: small, not 0
        assert 0 < gap[taken].mean() < 0.3
    error = abs(evidence["log_evidence"] - exact_log_p(x))
    assert (error <= 4 * evidence["mcse"] + 1e-3).all()
    khat = pareto_k(tree)
    assert float(khat["pareto_k"].max()) < khat.attrs["good_k"]


def poisson(guide: Any = None) -> tuple[pv.VAE, Tensor]:
    """z ~ Gamma(3, 1), x ~ Poisson(z): the posterior is Gamma(3 + x, 2), the evidence negative binomial."""
    data = torch.arange(10, dtype=DOUBLE)[:, None]

    def own(x: Tensor) -> Any:  # too little mass, at the wrong place
        return dist.Gamma(2.0 + 0.2 * x, 1.0 + 0 * x).to_event(1)

    vae = pv.VAE(
        lambda: dist.Gamma(torch.full((1,), 3.0, dtype=DOUBLE), 1.0).to_event(1),
        lambda z: dist.Poisson(z).to_event(1),
        guide or own,
    )
    return vae.double(), data


def test_a_positive_latent() -> None:
    vae, data = poisson()
    exact = nbinom.logpmf(data[:, 0].numpy(), 3, 0.5)
    found = gaps(vae, data, draws=500, steps=100)
    within(found, "log_evidence", exact)
    within(found, "approximation", 0.0, 0.01)  # the family of a Gamma guide holds the posterior
    for family, steps in (("guide", 200), ("student", 60)):
        tree = refine(vae, data, family=family, steps=steps, draws=500, everything=True)
        taken = tree["sample_stats"]["refined"].values
        assert taken.sum() >= 8
        evidence = log_evidence(tree)
        assert (abs(evidence["log_evidence"] - exact) <= 4 * evidence["mcse"] + 1e-3).all()
        assert float(pareto_k(tree)["pareto_k"].max()) < 0.7
        weight = np.exp(tree["sample_stats"]["log_weight"].values[0] - exact)[..., None]
        z = tree["posterior"]["z"].values[0]
        mean, truth = (weight * z).mean(0)[:, 0], (3 + data[:, 0].numpy()) / 2
        error = ((weight * (z - truth[:, None])).std(0) / math.sqrt(500))[:, 0]
        assert (abs(mean - truth) < 4 * error + 1e-6).all()


def test_another_mode_is_found() -> None:
    """z ~ N(1, 1), x ~ N(z², .3²): modes near ±√x, of which the guide knows the lower one, e⁻⁴ of the mass at x = 4."""
    data = torch.full((4, 1), 4.0, dtype=DOUBLE) + torch.linspace(0, 0.5, 4, dtype=DOUBLE)[:, None]
    vae = pv.VAE(
        lambda: dist.Normal(torch.ones(1, dtype=DOUBLE), 1.0).to_event(1),
        lambda z: dist.Normal(z.square(), 0.3).to_event(1),
        lambda x: dist.Normal(-x.sqrt(), 0.1 + 0 * x).to_event(1),
    ).double()
    grid = torch.linspace(-6, 8, 20001, dtype=DOUBLE)
    joint = dist.Normal(1.0, 1.0).log_prob(grid) + dist.Normal(grid.square(), 0.3).log_prob(data)
    exact = (joint.logsumexp(1) + math.log(14 / 20000)).numpy()
    tree = refine(vae, data, draws=500, everything=True)
    assert tree["sample_stats"]["refined"].values.all() or pareto_k(tree)["pareto_k"].max() < 0.5
    upper = tree["posterior"]["z"].values[0, ..., 0].mean(0) > 0
    taken = tree["sample_stats"]["refined"].values
    assert upper[taken].all()
    assert abs(log_evidence(tree)["log_evidence"].values[0] - exact)[taken].max() < 0.1
    assert (gaps(vae, data, draws=200)["amortisation"] > 3).all()


def test_data_with_a_good_k_are_untouched_and_all_groups_agree(x: Tensor) -> None:
    vae, loss = shifted(x, rows=5)
    tree = pv.posterior(vae, x, draws=300, predictive=20, seed=3)
    kept = tree.copy(deep=True)
    new = refine(vae, x, tree=tree, seed=3)
    assert tree.identical(kept)
    refined = new["sample_stats"]["refined"].values
    assert refined.tolist() == [True] * 5 + [False] * 35
    stats = new["sample_stats"].dataset
    np.testing.assert_allclose(stats["log_weight"], stats["log_p"] - stats["log_q"], atol=1e-12)
    for group in ("posterior", "posterior_predictive", "predictive_stats", "sample_stats"):
        for name, values in tree[group].data_vars.items():
            before, after = (v.transpose("obs_id", ...).values for v in (values, new[group][name]))
            np.testing.assert_array_equal(before[5:], after[5:])
            assert (before[:5] != after[:5]).any(), (group, name)
            assert new[group][name].dims == values.dims
    # log p(x, z), log p(x|z) and log p(x̃|z) are of the draws that stand beside them
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    z = torch.from_numpy(new["posterior"]["z"].values[0])
    likelihood = dist.Normal(z @ w.T + mu, sigma2.sqrt()).to_event(1)
    np.testing.assert_allclose(stats["log_lik"][0], likelihood.log_prob(x), atol=1e-9)
    np.testing.assert_allclose(
        stats["log_p"][0] - stats["log_lik"][0], dist.Normal(0.0, 1.0).log_prob(z).sum(-1), atol=1e-9
    )
    drawn = torch.from_numpy(new["posterior_predictive"]["x"].values[0])
    ours = dist.Normal(z[:20] @ w.T + mu, sigma2.sqrt()).to_event(1).log_prob(drawn)
    np.testing.assert_allclose(new["predictive_stats"]["log_lik"][0], ours, atol=1e-9)
    assert "5 of 40 data: student" in new.attrs["refined"]
    assert new.attrs["method"] == "guide"
    again = refine(vae, x, tree=tree, seed=3)
    assert new.identical(again)
    assert not new.identical(refine(vae, x, tree=tree, seed=4))
    more = refine(vae, x, tree=new, seed=5)  # nothing is left to do
    assert more["sample_stats"].dataset.identical(new["sample_stats"].dataset)
    assert bool((pareto_k(new)["pareto_k"] < pareto_k(new).attrs["good_k"]).all())
    assert loss > 1


def test_the_random_state_is_handed_back(x: Tensor) -> None:
    vae, _ = shifted(x)
    before = torch.get_rng_state()
    first = gaps(vae, x[:4], draws=50, steps=20)
    assert torch.equal(before, torch.get_rng_state())
    assert first.identical(gaps(vae, x[:4], draws=50, steps=20))


def test_only_the_chosen_chain_is_refined() -> None:
    data = programs.gaussian(30)
    fit = pv.fit(programs.linear_vae(), data, epochs=2, restarts=2, progress=False)
    tree = pv.posterior(fit, data, draws=50, predictive=0)
    new = refine(fit, data, tree=tree, steps=20, everything=True)
    assert new["posterior"]["chain"].values.tolist() == [fit.best]
    assert new["posterior"].sizes["draw"] == 50
    assert "posterior_predictive" not in new.children
    assert new["sample_stats"]["refined"].any()


FAMILIES = {
    "normal": lambda x: dist.Normal(x[:, :2], 0.3 + x[:, 2:4].exp()).to_event(1),
    "fixed df": lambda x: dist.StudentT(5.0, x[:, :2], x[:, 2:4].exp()).to_event(1),
    "multivariate": lambda x: dist.MultivariateNormal(x[:, :2], scale_tril=x[:, 2:3, None].exp() * torch.eye(2)),
    "low rank": lambda x: dist.LowRankMultivariateNormal(x[:, :2], x[:, 2:4, None], x[:, :2].exp()),
    "log-normal": lambda x: dist.LogNormal(x[:, :2], 1.0).to_event(1),
    "gamma": lambda x: dist.Gamma(x[:, :2].exp(), x[:, 2:4].exp()).to_event(1),
    "beta": lambda x: dist.Beta(x[:, :2].exp(), 2.0).to_event(1),
    "dirichlet": lambda x: dist.Dirichlet(x[:, :3].exp()),
    "pushed": lambda x: dist.TransformedDistribution(
        dist.Normal(x[:, :2], 1.0), [AffineTransform(1.0, 2.0), SigmoidTransform()]
    ).to_event(1),
}


PRIORS = {
    "real": dist.Normal(torch.zeros(2), 1.0).to_event(1),
    "greater than (0)": dist.LogNormal(torch.zeros(2), 1.0).to_event(1),
    "at least (0)": dist.Gamma(torch.ones(2), 1.0).to_event(1),
    "interval (0, 1)": dist.Beta(torch.ones(2), 1.0).to_event(1),
    "simplex": dist.Dirichlet(torch.ones(3)),
}


def family_of(guide: Any, x: Tensor) -> Any:
    """The family of a guide within a program whose prior has its support."""
    prior = PRIORS[describe(guide(x).support)]
    vae = pv.VAE(lambda: prior, lambda z: dist.Normal(z[..., :1].expand(*z.shape[:-1], 4), 1.0).to_event(1), guide)
    with evaluation(vae, x) as e:
        return guide_family(e.program, e.plan, e.batches.take(slice(None)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_distribution_is_taken_apart_and_put_together(name: str) -> None:
    x = torch.randn(6, 4)
    family, q = family_of(FAMILIES[name], x), FAMILIES[name](x)
    z = q.sample((5,))
    torch.testing.assert_close(family.distribution(family.raw).log_prob(z), q.log_prob(z), rtol=1e-4, atol=1e-4)
    assert (family.distribution(family.raw + 0.1).log_prob(z) != q.log_prob(z)).all()
    one = family_of(FAMILIES[name], x[:1])
    torch.testing.assert_close(one.raw, family.raw[:1])
    if name == "fixed df":
        assert family.raw.shape == (6, 4)  # the degrees of freedom stay


class Shift(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return dist.TransformedDistribution(
            dist.Normal(0 * x[:, :2], 1.0).to_event(1), [AffineTransform(x[:, :2], 1.0)]
        )


@pytest.mark.parametrize(
    ("guide", "says"),
    [
        (Shift(), "AffineTransform has numbers of its own"),
        (
            lambda x: dist.MixtureSameFamily(
                dist.Categorical(torch.ones(len(x), 2)), dist.Normal(x[:, :2, None] * torch.ones(2), 1.0).to_event(1)
            ),
            "its draws have no gradient",
        ),
        (lambda x: dist.Normal(torch.zeros(2), 1.0).to_event(1).expand((len(x),)), "the same numbers"),
    ],
)
def test_a_guide_that_cannot_be_taken_apart_is_refused(guide: Any, says: str) -> None:
    x = torch.randn(6, 4)
    with pytest.raises(ValueError, match=f"within its own family: .*{says}.*family='student'"):
        family_of(guide, x)
    prior = PRIORS["real"]
    vae = pv.VAE(lambda: prior, lambda z: dist.Normal(z.repeat_interleave(2, -1), 1.0).to_event(1), guide)
    with pytest.raises(NotAvailable, match=says):
        gaps(vae, x, draws=50)
    assert refine(vae, x, draws=50, steps=10, everything=True)["sample_stats"]["refined"].any()


@pytest.mark.parametrize(
    "guide",
    [
        lambda: pv.guides.SemiAmortized(pv.guides.Normal(pv.networks.MLP(4, (), 4)), steps=1),
        lambda: pv.guides.Table(20, 2, steps=5),
        lambda: pv.guides.Mixture(pv.networks.MLP(4, (), pv.guides.Mixture.outputs(2, components=2)), components=2),
        lambda: pv.guides.Laplace(2),
    ],
)
def test_guides_of_ours_are_improved_within_their_family(guide: Any) -> None:
    x = programs.gaussian(20)
    vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 4), 1.0), guide())
    found = gaps(vae, x, draws=100, steps=60)
    # q* is no worse than the guide's q, and no bound is above log p(x)
    assert (found["approximation"] > -0.05).all()
    assert (found["amortisation"] > -4 * found["amortisation_mcse"] - 0.02).all()


def test_several_sites_need_the_full_family() -> None:
    x = programs.gaussian(12)
    with pytest.raises(ValueError, match="one latent site, and it has 'z2', 'z1'.*family='student'"):
        refine(programs.hierarchy(), x, draws=50, family="guide", everything=True)
    with pytest.raises(NotAvailable, match="one latent site"):
        gaps(programs.hierarchy(), x, draws=50)
    tree = refine(programs.hierarchy(), x, draws=200, everything=True)
    assert tree["sample_stats"]["refined"].any()
    assert float(pareto_k(tree)["pareto_k"].max()) < 0.7
    stats = tree["sample_stats"].dataset
    w, noise = 0.3 * torch.ones(2, 4), 1.0
    covariance = w.T @ (torch.ones(2, 2) + torch.eye(2)) @ w + noise**2 * torch.eye(4)
    exact = dist.MultivariateNormal(torch.zeros(4), covariance).log_prob(x).numpy()
    evidence = log_evidence(tree)
    assert (abs(evidence["log_evidence"] - exact) < 4 * evidence["mcse"] + 1e-3).all()
    assert stats["log_weight"].dims == ("chain", "draw", "obs_id")


def test_what_cannot_be_refined_is_refused(x: Tensor) -> None:
    vae, _ = shifted(x)
    tree = pv.posterior(vae, x, draws=50, predictive=0)
    with pytest.raises(ValueError, match="family: expected 'guide' or 'full' or 'student', got 'normal'"):
        refine(vae, x, family="normal")
    with pytest.raises(ValueError, match="expected the 39 data given, in their order, got 40"):
        refine(vae, x[:39], tree=tree)
    with pytest.raises(ValueError, match="of its first draw of datum 1 is .* it was made of others"):
        refine(vae, torch.cat([x[:1], x[2:], x[1:2]]), tree=tree)
    with pytest.raises(ValueError, match="of its first draw of datum 0 is"):
        refine(ppca.exact_program(x, LATENTS, rotation=rotation()), x, tree=tree)
    tree.attrs["corrected"] = "psis"
    with pytest.raises(ValueError, match="corrected by weights: refine the tree that they came from"):
        refine(vae, x, tree=tree)
    with pytest.raises(NotAvailable, match="at least 30 draws"):
        gaps(vae, x, draws=20)
    with pytest.raises(NotAvailable, match="at least 30 draws"):
        refine(vae, x, draws=20)
    with pytest.raises(NotAvailable, match="shared by all data"):
        refine(programs.shared_mean(x[:, :1]), x[:, :1], draws=50)
    with pytest.raises(NotAvailable, match="shared by all data"):
        gaps(programs.shared_mean(x[:, :1]), x[:, :1], draws=50)
    random = pv.Data(torch.rand(5, 3)).binarize("dynamic")
    with pytest.raises(ValueError, match="drawn anew for each batch"):
        refine(programs.linear_vae(3), random, draws=50)
    counts = programs.counts(6)
    discrete = pv.VAE(
        pv.priors.Bernoulli(3),
        pv.likelihoods.Binomial(5, pv.networks.MLP(3, (), 6)),
        pv.guides.Bernoulli(pv.networks.MLP(6, (), 3)),
    )
    with pytest.raises(NotAvailable, match="guides have no gradient|draws have no gradient"):
        gaps(discrete, counts, draws=50)


def test_enumerated_sites_are_summed_out() -> None:
    """c ~ Categorical, z ~ N(centres[c], 1), x ~ N(.8 z + shift[c], .5²): the evidence is a mixture of two Normals."""
    x = torch.linspace(-3, 3, 8)[:, None]
    weights, centres, shift = torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 1.5]), torch.tensor([0.0, 0.5])
    vae = programs.mixture_vae(weights, centres, shift)
    parts = dist.Normal(0.8 * centres + shift, math.sqrt(0.64 + 0.25)).log_prob(x) + weights.log()
    exact = parts.logsumexp(1).numpy()
    tree = pv.posterior(vae, x, draws=200, discrete=True)
    new = refine(vae, x, tree=tree, steps=60, everything=True)
    assert new["sample_stats"]["refined"].any()
    assert set(new["posterior"].data_vars) == {"z", "c"}
    assert "predictive_stats" not in new.children
    evidence = log_evidence(new)
    assert (abs(evidence["log_evidence"] - exact) < 4 * evidence["mcse"] + 1e-3).all()
    found = gaps(vae, x, draws=200, steps=40)
    within(found, "log_evidence", exact)


def test_the_plot(x: Tensor) -> None:
    found = gaps(shifted(x)[0], x, draws=50, steps=20)
    figure = plot_gap(found)
    ax = figure.axes[0]
    assert "amortisation" in ax.get_legend().get_texts()[0].get_text() + ax.get_legend().get_texts()[1].get_text()
    assert ax.get_ylabel() == "log p(x) − ELBO (nats per datum)"
    assert plot_gap(found.isel(obs_id=[0]), ax=ax) is figure
    figures = plot_gap(found, backend="none")
    whole = figures["approximation"] + figures["amortisation"]
    assert (np.diff(whole) <= 0).all()
    np.testing.assert_allclose(whole, (found["log_evidence"] - found["elbo"]).sel(obs_id=whole["obs_id"]), atol=1e-9)
    assert figures.attrs["amortisation_mean"] == pytest.approx(float(found["amortisation"].mean()))
    with pytest.raises(ValueError, match=r"expected what pyrovae.diagnostics.gaps returns"):
        plot_gap(found.drop_vars("amortisation"))


def autoencoder(x: Tensor) -> pv.VAE:
    """The exact linear VAE with the posterior's mean for a guide."""
    exact = ppca.exact_program(x, LATENTS)
    guide = pv.guides.Delta(pv.networks.MLP(x.shape[1], (), LATENTS)).double()
    theirs, ours = exact.parts["guide"].network.layers[0], guide.network.layers[0]
    with torch.no_grad():
        ours.weight.copy_(theirs.weight[:LATENTS])
        ours.bias.copy_(theirs.bias[:LATENTS])
    return pv.VAE(exact.parts["prior"], exact.parts["likelihood"], guide)


def test_a_point_is_no_evidence(x: Tensor) -> None:
    """log q is infinite, so is the KL, and what needs a density is not given."""
    tree = pv.posterior(autoencoder(x), x, draws=40, predictive=0)
    stats = tree["sample_stats"].dataset
    assert np.isposinf(stats["log_q"]).all()
    assert np.isneginf(stats["log_weight"]).all()
    assert np.isfinite(stats["log_p"]).all()
    assert "kl_z" not in stats
    for figure in (pv.diagnostics.log_evidence, pv.diagnostics.pareto_k, pv.diagnostics.elbo_terms):
        with pytest.raises(NotAvailable, match="latent 'z' is a point: it has no density"):
            figure(tree)
    table = pv.diagnose(tree).table.set_index("question")
    for question in ("Does it describe these data?", "Is the bound tight?", "Is q(z|x) usable for each datum?"):
        assert table["verdict"][question] == "not available"
    assert table["verdict"]["Is the prior matched?"] != "not available"


def test_a_point_is_refined_to_a_density(x: Tensor) -> None:
    """Of a linear model that of each datum is the posterior: the weights are log p(x)."""
    vae = autoencoder(x)
    tree = pv.posterior(vae, x, draws=400, predictive=0)
    with pytest.raises(ValueError, match="family='guide'.*stays one"):
        refine(vae, x, tree=tree, family="guide")
    better = refine(vae, x, tree=tree)
    exact = pv.posterior(ppca.exact_program(x, LATENTS), x, draws=2, predictive=0)["sample_stats"]["log_weight"]
    found = pv.diagnostics.log_evidence(better, k=[1])
    error = (found["log_evidence"] - exact.isel(chain=0, draw=0)).values[0]
    assert abs(error).max() < 0.05
    assert abs(error).max() < 4 * found["mcse"].values.max() + 1e-3
    assert better["sample_stats"].dataset["refined"].all()
    assert "point_sites" not in better["sample_stats"].attrs
