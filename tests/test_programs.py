"""Programs of the user's own: latents that all data share, enumerated sites, hierarchies; against known answers."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from pathlib import Path

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from scipy import stats
from torch import Tensor

import pyrovae as pv
from pyrovae.diagnostics import NotAvailable
from pyrovae.draws import blocks
from tests.programs import (
    SUMMED,
    bayesian_decoder,
    gaussian,
    mixture_vae,
    regression,
    shared_components,
    shared_mean,
    two_components,
)

WEIGHTS, CENTRES, SHIFT = torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 1.5]), torch.tensor([0.4, -0.6])


def line(n: int = 12, seed: int = 0) -> Tensor:
    """Numbers around two centres, (n, 1), float64."""
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.normal(np.where(rng.random(n) < 0.4, -2, 2), 0.8)[:, None])


def regression_data(n: int = 25) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    c = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    y = c @ torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64)
    return (y + 0.8 * torch.randn(n, generator=generator, dtype=torch.float64))[:, None], c


class TestSharedLatents:
    def test_the_exact_posterior_gives_the_evidence_with_every_draw(self) -> None:
        """x ~ N(0, (between² + noise²) I + prior² 11ᵀ)."""
        x = line()
        tree = pv.posterior(shared_mean(x), x, draws=50)
        s = tree["sample_stats"]
        total = (s["log_p"] - s["log_q"]).sum("obs_id") + s["log_p_global"] - s["log_q_global"]
        covariance = (0.7**2 + 0.5**2) * np.eye(len(x)) + 2.0**2
        exact = stats.multivariate_normal(np.zeros(len(x)), covariance).logpdf(x[:, 0].numpy())
        np.testing.assert_allclose(total, exact, rtol=0, atol=1e-10)
        terms = pv.diagnostics.elbo_terms(tree)
        np.testing.assert_allclose(terms["elbo_total"], exact, atol=1e-10)
        np.testing.assert_allclose(terms["elbo"].sum("obs_id") - terms["kl_global"], exact, atol=1e-10)
        assert float(terms["elbo_total_mcse"].max()) < 1e-10

    def test_groups_names_and_densities_of_the_draws(self) -> None:
        x = line()
        tree = pv.posterior(shared_mean(x), x, draws=20)
        post, s = tree["posterior"], tree["sample_stats"]
        assert post["m"].dims == ("chain", "draw")
        assert post["z"].dims == ("chain", "draw", "obs_id")
        assert json.loads(s.attrs["global_sites"]) == ["m"]
        assert "log_weight" not in s
        assert "log_likelihood" not in tree.children  # conditional on a local latent: no value for leave-one-out
        m, z = post["m"].values[..., None], post["z"].values
        np.testing.assert_allclose(s["log_p_global"], stats.norm(0, 2).logpdf(m[..., 0]), atol=1e-10)
        log_lik = stats.norm(z, 0.5).logpdf(x[:, 0].numpy())
        np.testing.assert_allclose(s["log_lik"], log_lik, atol=1e-10)
        np.testing.assert_allclose(s["log_p"], log_lik + stats.norm(m, 0.7).logpdf(z), atol=1e-10)

    def test_draws_are_those_of_the_exact_joint_posterior(self) -> None:
        """Of one shared value in each draw: z_i of two data are correlated through it."""
        x = line()
        tree = pv.posterior(shared_mean(x), x, draws=2000, predictive=2000)
        variance, weight = 0.7**2 + 0.5**2, 0.7**2 / (0.7**2 + 0.5**2)
        spread = 1 / (1 / 4 + len(x) / variance)
        m, z = tree["posterior"]["m"].values[0], tree["posterior"]["z"].values[0]
        assert abs(m.mean() - float(x.sum()) / variance * spread) < 4 * math.sqrt(spread / 2000)
        assert abs(m.var() / spread - 1) < 4 * math.sqrt(2 / 2000)
        between = (1 - weight) ** 2 * spread
        within = between + weight * 0.5**2
        error = math.sqrt((within**2 + between**2) / 2000)
        assert abs(np.cov(z[:, 0], z[:, 1])[0, 1] - between) < 4 * error
        drawn = tree["posterior_predictive"]["x"].values[0]
        assert abs(drawn.var(0) / (within + 0.25) - 1).max() < 5 * math.sqrt(2 / 2000)

    def test_the_blocks_of_data_share_the_draws(self, monkeypatch) -> None:
        x = line()
        program = shared_mean(x)
        whole = pv.posterior(program, x, draws=6)
        monkeypatch.setattr(blocks, "MOST_ROWS", 5)
        cut = pv.posterior(program, x, draws=6)
        np.testing.assert_array_equal(whole["posterior"]["m"], cut["posterior"]["m"])
        np.testing.assert_array_equal(whole["sample_stats"]["log_q_global"], cut["sample_stats"]["log_q_global"])
        s = cut["sample_stats"]
        total = (s["log_p"] - s["log_q"]).sum("obs_id") + s["log_p_global"] - s["log_q_global"]
        np.testing.assert_allclose(total - pv.diagnostics.elbo_terms(whole)["elbo_total"], 0, atol=1e-10)

    def test_prior_draws_have_shared_values_of_their_own(self) -> None:
        tree = pv.sample(shared_mean(line()), line(), draws=4000)
        m, x = tree["prior"]["m"].values[0], tree["prior_predictive"]["x"].values[0]
        assert m.shape == x.shape == tree["prior"]["z"].values[0].shape == (4000,)
        for values, variance in ((m, 4.0), (x, 4.0 + 0.49 + 0.25)):
            assert abs(values.mean()) < 4 * math.sqrt(variance / 4000)
            assert abs(values.var() / variance - 1) < 4 * math.sqrt(2 / 4000)
        assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 4 / math.sqrt(4000)

    def test_encode_and_reconstruct(self) -> None:
        x = line()
        codes = pv.encode(shared_mean(x), x, draws=1000)
        mean = pv.reconstruct(shared_mean(x), x, draws=1000)["x"]
        variance, weight = 0.74, 0.49 / 0.74
        spread = 1 / (1 / 4 + len(x) / variance)
        centre = float(x.sum()) / variance * spread
        z = weight * x[:, 0].numpy() + (1 - weight) * centre
        sd = math.sqrt((1 - weight) ** 2 * spread + weight * 0.25)
        assert codes["m_mean"].dims == codes["m_sd"].dims == ("chain",)
        assert abs(float(codes["m_sd"][0]) / math.sqrt(spread) - 1) < 4 / math.sqrt(2000)
        for values in (codes["z_mean"].values[0], mean.values[0]):
            assert abs(values - z).max() < 5 * sd / math.sqrt(1000)
        assert abs(codes["z_sd"].values[0] / sd - 1).max() < 5 / math.sqrt(2000)

    def test_a_decoder_with_latent_weights(self) -> None:
        """Fitted by minibatches; the bound equals Trace_ELBO's on the whole set, and the densities the hand's."""
        torch.manual_seed(0)
        x = gaussian(60)
        fit = pv.fit(bayesian_decoder(), x, epochs=10, batch_size=20, restarts=2, progress=False)
        tree = pv.posterior(fit, x, draws=300, predictive=3)
        assert tree["posterior"]["w"].dims == ("chain", "draw", "w_dim_0", "w_dim_1")
        w, z = (torch.as_tensor(tree["posterior"][n].values[0]) for n in ("w", "z"))
        log_lik = dist.Normal(z @ w, 0.5).log_prob(x).sum(-1)
        log_p = log_lik + dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
        s = tree["sample_stats"]
        np.testing.assert_allclose(s["log_p"].values[0], log_p, rtol=1e-4, atol=1e-4)
        expected = dist.Normal(0.0, 1.0).log_prob(w).sum((-2, -1))
        np.testing.assert_allclose(s["log_p_global"].values[0], expected, rtol=1e-5, atol=1e-4)
        terms = pv.diagnostics.elbo_terms(tree)
        with fit.chain(0) as program, program.scope():
            losses = [-Trace_ELBO().loss(program.model, program.guide, x) for _ in range(300)]
        error = math.hypot(np.std(losses) / math.sqrt(300), float(terms["elbo_total_mcse"][0]))
        assert abs(np.mean(losses) - float(terms["elbo_total"][0])) < 4 * error
        np.testing.assert_allclose(terms["elbo"], terms["log_lik"] - terms["kl"], rtol=1e-4, atol=1e-4)

    def test_what_is_observed_outside_the_plate_counts_with_the_shared_latents(self) -> None:
        def model(x):
            m = pyro.sample("m", dist.Normal(0.0, 1.0))
            pyro.sample("hint", dist.Normal(m, 0.5), obs=torch.tensor(0.7))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(m, 1.0), obs=x[:, 0])

        def guide(x):
            pyro.sample("m", dist.Normal(0.2, 0.5))

        tree = pv.posterior(pv.Program(model, guide), gaussian(4, 1, 1), draws=5)
        m = tree["posterior"]["m"].values
        expected = stats.norm(0, 1).logpdf(m) + stats.norm(m, 0.5).logpdf(0.7)
        np.testing.assert_allclose(tree["sample_stats"]["log_p_global"], expected, rtol=1e-5)
        assert list(tree["observed_data"].data_vars) == list(tree["posterior_predictive"].data_vars) == ["x"]


@pytest.fixture(scope="module")
def case() -> tuple[xr.DataTree, Tensor, Tensor]:
    """Draws of conjugate linear regression, its data and covariates."""
    x, c = regression_data()
    return pv.posterior(regression(x, c), x, context=c, draws=4000), x, c


class TestOnlySharedLatents:
    """Conjugate linear regression."""

    def test_densities(self, case) -> None:
        tree, x, c = case
        w = tree["posterior"]["w"].values
        log_lik = stats.norm(np.einsum("cds,ns->cdn", w, c.numpy()), 0.8).logpdf(x[:, 0].numpy())
        s = tree["sample_stats"]
        np.testing.assert_allclose(s["log_lik"], log_lik, atol=1e-10)
        np.testing.assert_allclose(s["log_p"], log_lik, atol=1e-10)
        assert float(abs(s["log_q"]).max()) == 0
        exact = stats.multivariate_normal(np.zeros(25), 1.5**2 * (c @ c.T).numpy() + 0.64 * np.eye(25))
        total = s["log_p"].sum("obs_id") + s["log_p_global"] - s["log_q_global"]
        np.testing.assert_allclose(total, exact.logpdf(x[:, 0].numpy()), atol=1e-9)

    def test_leave_one_out_is_the_exact_one(self, case) -> None:
        tree, x, c = case
        covariance = 1.5**2 * c @ c.T + 0.64 * torch.eye(25, dtype=torch.float64)
        precision = torch.linalg.inv(covariance)
        variance = 1 / precision.diagonal()  # of y_i given the others: Rasmussen & Williams 2006, equations 5.10-5.12
        exact = dist.Normal(x[:, 0] - (precision @ x[:, 0]) * variance, variance.sqrt()).log_prob(x[:, 0])
        assert tree["log_likelihood"]["y"].dims == ("chain", "draw", "obs_id")
        loo = az.loo(tree, pointwise=True)
        assert loo.elpd == pytest.approx(float(exact.sum()), abs=0.15)
        np.testing.assert_allclose(loo.elpd_i.values, exact, atol=0.1)
        s = tree["sample_stats"]
        log_p = s["log_p"].sum("obs_id") + s["log_p_global"]
        corrected = az.loo_approximate_posterior(tree, log_p=log_p, log_q=s["log_q_global"], pointwise=True)
        assert corrected.elpd == pytest.approx(float(exact.sum()), abs=0.15)

    def test_encode_gives_the_weights(self, case) -> None:
        _, x, c = case
        codes = pv.encode(regression(x, c), x, context=c, draws=500)
        assert set(codes.data_vars) == {"w_mean", "w_sd"}
        assert codes["w_mean"].dims == ("chain", "w_dim_0")

    def test_draws_are_conditional_on_the_context(self, case) -> None:
        _, x, c = case
        mean = pv.reconstruct(regression(x, c), x, context=c, draws=2000)["y"].values[0]
        precision = c.T @ c / 0.64 + torch.eye(3, dtype=torch.float64) / 2.25
        centre = c @ torch.linalg.solve(precision, c.T @ x[:, 0] / 0.64)
        sd = torch.sqrt((c @ torch.linalg.inv(precision) * c).sum(-1))
        assert (abs(mean - centre.numpy()) < 5 * sd.numpy() / math.sqrt(2000)).all()
        tree = pv.sample(regression(x, c), x, context=c, draws=4000)
        drawn = tree["prior_predictive"]["y"].values[0]
        expected = 0.64 + 2.25 * (c**2).sum(-1)[torch.arange(4000) % 25].numpy()
        assert abs((drawn**2 / expected).mean() - 1) < 4 * math.sqrt(2 / 4000)


class TestDiagnosticsOfSharedLatents:
    @pytest.mark.parametrize("name", ["log_evidence", "pareto_k", "elpd"])
    def test_no_weights_per_datum(self, name: str) -> None:
        tree = pv.posterior(shared_mean(line()), line(), draws=40)
        with pytest.raises(NotAvailable, match=r"'m' is shared by all data, so log p\(x_i\) has no importance weights"):
            getattr(pv.diagnostics, name)(tree)

    @pytest.mark.parametrize("local", [True, False])
    def test_the_table_says_what_could_not_be_judged(self, local: bool) -> None:
        x, c = regression_data()
        if local:
            tree = pv.posterior(shared_mean(line()), line(), draws=40)
        else:
            tree = pv.posterior(regression(x, c), x, context=c, draws=40)
        found = pv.diagnose(tree)
        table = found.table.set_index("question")
        for question in ("Does it describe these data?", "Is the bound tight?", "Is q(z|x) usable for each datum?"):
            assert table["verdict"][question] == "not available"
            assert "shared by all data" in table["action"][question]
        assert table["verdict"]["Are all latents used?"] == ("good" if local else "not available")
        assert "shared by all data" in str(found)

    def test_a_tree_without_local_latents_says_so(self, case) -> None:
        for ask in (pv.diagnostics.kl, pv.diagnostics.active_units, pv.plots.plot_latent):
            with pytest.raises(
                NotAvailable, match=r"no latent with the dimension obs_id .*\(w\) are shared by all data"
            ):
                ask(case[0])

    def test_figures_that_stand(self) -> None:
        tree = pv.posterior(bayesian_decoder(), gaussian(20), draws=40)
        assert pv.diagnostics.kl(tree)["z"].dims == ("chain", "obs_id", "z_dim_0")
        assert pv.diagnostics.active_units(tree)["active"].shape == (1, 2)


class TestEnumerated:
    def test_a_mixture_with_nothing_else_has_its_exact_density(self) -> None:
        x = line().float()
        tree = pv.posterior(two_components(WEIGHTS, CENTRES), x, draws=40)
        densities = WEIGHTS.numpy() * stats.norm(CENTRES.numpy(), 0.6).pdf(x.numpy())
        exact = np.log(densities.sum(1))
        for name in ("log_p", "log_lik", "log_weight"):
            np.testing.assert_allclose(tree["sample_stats"][name], np.broadcast_to(exact, (1, 40, 12)), atol=1e-4)
        np.testing.assert_allclose(pv.diagnostics.log_evidence(tree)["log_evidence"].values[0], exact, atol=1e-4)
        assert bool(pv.diagnostics.pareto_k(tree)["exact"].all())
        assert "posterior" not in tree.children
        assert pv.diagnose(tree).verdict == "good"
        with pytest.raises(ValueError, match=r"the guide draws nothing: 'c' are enumerated.*discrete=True"):
            pv.encode(two_components(WEIGHTS, CENTRES), x)

    def test_draws_of_the_component_have_its_posterior(self) -> None:
        x = line().float()
        tree = pv.posterior(two_components(WEIGHTS, CENTRES), x, draws=4000, predictive=4000, discrete=True)
        c = tree["posterior"]["c"]
        assert c.dims == ("chain", "draw", "obs_id")
        assert c.dtype.kind == "i"
        densities = WEIGHTS.numpy() * stats.norm(CENTRES.numpy(), 0.6).pdf(x.numpy())
        share = densities[:, 1] / densities.sum(1)
        error = np.sqrt(share * (1 - share) / 4000) + 1e-4
        assert (abs(c.values[0].mean(0) - share) < 4 * error).all()
        drawn = tree["posterior_predictive"]["x"].values[0]  # of the component that each draw has
        scale = 0.6 / math.sqrt((c.values[0] == 0).sum())
        assert abs((drawn - CENTRES.numpy()[c.values[0]])[c.values[0] == 0].mean()) < 4 * scale
        sd = np.sqrt(share * (1 - share) * 2.5**2 + 0.36)
        mean = (1 - share) * -1.0 + share * 1.5
        assert (abs(drawn.mean(0) - mean) < 4 * sd / math.sqrt(4000)).all()
        mean_again = pv.reconstruct(two_components(WEIGHTS, CENTRES), x, draws=4000)["x"].values[0]
        assert (abs(mean_again - mean) < 4 * 2.5 * error).all()
        assert abs(tree["prior"]["c"].values.mean() - 0.7) < 4 * math.sqrt(0.21 / 1000)
        assert pv.diagnose(tree).table.set_index("question")["verdict"]["Are all latents used?"] == "not available"

    def test_a_mixture_in_latent_space_against_enumeration_by_hand(self) -> None:
        x = line()
        weights, centres, shift = (t.double() for t in (WEIGHTS, CENTRES, SHIFT))
        program = mixture_vae(weights, centres, shift)
        tree = pv.posterior(program, x, draws=2000, discrete=True, predictive=2000)
        z = torch.as_tensor(tree["posterior"]["z"].values[0]).unsqueeze(-1)
        prior = weights.log() + dist.Normal(centres, 1.0).log_prob(z)
        joint = prior + dist.Normal(0.8 * z + shift, 0.5).log_prob(x)
        s = tree["sample_stats"]
        np.testing.assert_allclose(s["log_p"].values[0], joint.logsumexp(-1), atol=1e-10)
        np.testing.assert_allclose(s["log_lik"].values[0], joint.logsumexp(-1) - prior.logsumexp(-1), atol=1e-10)
        assert "kl_z" not in s  # the prior of z is a mixture
        scale = math.sqrt(0.64 + 0.25)
        exact = torch.logsumexp(weights.log() + dist.Normal(0.8 * centres + shift, scale).log_prob(x), -1)
        found = pv.diagnostics.log_evidence(tree)
        assert (abs(found["log_evidence"].values[0] - exact.numpy()) < 5 * found["mcse"].values[0] + 1e-3).all()
        share = (joint - joint.logsumexp(-1, keepdim=True)).exp()[..., 1].numpy()
        c = tree["posterior"]["c"].values[0]
        assert (abs((c - share).mean(0)) < 4 * np.sqrt((share * (1 - share)).mean(0) / 2000)).all()
        drawn = tree["posterior_predictive"]["x"].values[0]
        residual = drawn - 0.8 * z.squeeze(-1).numpy() - shift.numpy()[c]
        assert abs(residual.mean()) < 4 * 0.5 / math.sqrt(residual.size)
        assert abs(residual.var() / 0.25 - 1) < 4 * math.sqrt(2 / residual.size)
        terms = pv.diagnostics.elbo_terms(tree)
        losses = [-TraceEnum_ELBO().loss(program.model, program.guide, x) / len(x) for _ in range(400)]
        error = math.hypot(np.std(losses) / 20, float(np.sqrt((terms["elbo_mcse"] ** 2).sum()) / len(x)))
        assert abs(np.mean(losses) - float(terms["elbo"].mean())) < 4 * error

    def test_several_sites_and_one_in_an_inner_plate(self) -> None:
        """a and b of a datum, and a k of each of its three cells, summed by hand over 2 · 2 · (2 for each cell)."""
        x = gaussian(5, 3, 1).double()
        rate, table = torch.tensor(0.3).double(), torch.randn(2, 2, 2, dtype=torch.float64)

        def model(x):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
                a = pyro.sample("a", dist.Bernoulli(rate), infer=SUMMED)
                b = pyro.sample("b", dist.Bernoulli(0.2 + 0.6 * a), infer=SUMMED)
                with pyro.plate("cells", 3, dim=-2):
                    k = pyro.sample("k", dist.Bernoulli(0.5 + 0.2 * torch.tanh(z)), infer=SUMMED)
                    pyro.sample("x", dist.Normal(z + table[a.long(), b.long(), k.long()], 1.0), obs=x.T)

        def guide(x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(x.sum(-1) / 3, 0.5))

        tree = pv.posterior(pv.Program(model, guide), x, draws=7, discrete=True)
        z = torch.as_tensor(tree["posterior"]["z"].values[0])
        terms = []
        for a in (0, 1):
            for b in (0, 1):
                outer = dist.Bernoulli(rate).log_prob(torch.tensor(a).double())
                outer = outer + dist.Bernoulli(torch.tensor(0.2 + 0.6 * a).double()).log_prob(torch.tensor(b).double())
                share = 0.5 + 0.2 * torch.tanh(z)
                cells = [
                    (share if k else 1 - share).log().unsqueeze(-1)
                    + dist.Normal(z.unsqueeze(-1) + table[a, b, k], 1.0).log_prob(x)
                    for k in (0, 1)
                ]
                terms.append(outer + torch.logsumexp(torch.stack(cells), 0).sum(-1))
        log_lik = torch.logsumexp(torch.stack(terms), 0)
        s = tree["sample_stats"]
        np.testing.assert_allclose(s["log_lik"].values[0], log_lik, atol=1e-10)
        np.testing.assert_allclose(s["log_p"].values[0], log_lik + dist.Normal(0.0, 1.0).log_prob(z), atol=1e-6)
        assert tree["posterior"]["a"].dims == ("chain", "draw", "obs_id")
        assert tree["posterior"]["k"].dims == ("chain", "draw", "obs_id", "k_dim_0")
        assert tree["posterior"]["k"].shape == (1, 7, 5, 3)
        assert list(pv.diagnostics.kl(tree)) == ["z"]  # a, b and k have no guide
        assert json.loads(s.attrs["enumerated_sites"]) == ["a", "b", "k"]

    def test_a_chain_of_states_in_each_datum(self) -> None:
        """A hidden Markov model of five steps, summed over all 32 paths."""
        step, x = torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.randn(7, 5)

        def model(x):
            with pyro.plate("data", len(x)):
                c = 0
                for t in pyro.markov(range(5)):
                    c = pyro.sample(f"c{t}", dist.Categorical(step[c]), infer=dict(SUMMED))
                    pyro.sample(f"x{t}", dist.Normal(2.0 * c, 1.0), obs=x[:, t])

        tree = pv.posterior(pv.Program(model, lambda x: None), x, draws=600, discrete=True)
        paths = torch.tensor(list(itertools.product((0, 1), repeat=5)))
        prior = step[0][paths[:, 0]].log() + step[paths[:, :-1], paths[:, 1:]].log().sum(-1)
        joint = prior + dist.Normal(2.0 * paths, 1.0).log_prob(x.unsqueeze(1)).sum(-1)
        np.testing.assert_allclose(tree["sample_stats"]["log_p"].values[0, 0], joint.logsumexp(-1), rtol=1e-5)
        share = (joint.softmax(-1) @ paths.float()).numpy()
        drawn = np.stack([tree["posterior"][f"c{t}"].values[0] for t in range(5)], -1)
        error = np.sqrt(share * (1 - share) / 600) + 1e-3
        assert (abs(drawn.mean(0) - share) < 4 * error).all()
        both = (joint.softmax(-1) @ (paths[:, 1] * paths[:, 2]).float()).numpy()
        assert (abs((drawn[..., 1] * drawn[..., 2]).mean(0) - both) < 4 * np.sqrt(both * (1 - both) / 600) + 4e-3).all()

    def test_one_datum_and_one_draw(self) -> None:
        x = line()[:1].float()
        program = mixture_vae(WEIGHTS, CENTRES, SHIFT)
        tree = pv.posterior(program, x, draws=1, discrete=True)
        z = torch.as_tensor(tree["posterior"]["z"].values[0, 0])
        joint = WEIGHTS.log() + dist.Normal(CENTRES, 1.0).log_prob(z) + dist.Normal(0.8 * z + SHIFT, 0.5).log_prob(x)
        np.testing.assert_allclose(tree["sample_stats"]["log_p"].values.item(), joint.logsumexp(-1).item(), rtol=1e-5)
        assert tree["posterior"]["c"].values.item() in (0, 1)

    def test_a_site_that_the_guide_enumerates_is_drawn(self) -> None:
        def model(x):
            with pyro.plate("data", len(x)):
                c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUMMED)
                pyro.sample("x", dist.Normal(CENTRES[c], 0.6), obs=x[:, 0])

        def guide(x):
            odds = pyro.param("odds", torch.tensor(0.0))
            with pyro.plate("data", len(x)):
                probs = torch.sigmoid(odds + x[:, 0])
                pyro.sample("c", dist.Categorical(torch.stack([1 - probs, probs], -1)), infer=SUMMED)

        x = line().float()
        fit = pv.fit(pv.Program(model, guide), x, loss=TraceEnum_ELBO(), epochs=2, progress=False)
        tree = pv.posterior(fit, x, draws=50)
        c = tree["posterior"]["c"].values
        expected = np.log(WEIGHTS.numpy())[c] + stats.norm(CENTRES.numpy()[c], 0.6).logpdf(x[:, 0].numpy())
        np.testing.assert_allclose(tree["sample_stats"]["log_p"], expected, rtol=1e-4, atol=1e-4)


class TestSharedAndEnumerated:
    """The mixture of Pyro's tutorial."""

    def test_densities_of_the_draws_and_the_bound(self) -> None:
        x = line(40).float()
        fit = pv.fit(shared_components(), x, loss=TraceEnum_ELBO(), epochs=20, batch_size=20, lr=0.02, progress=False)
        tree = pv.posterior(fit, x, draws=400, predictive=50, discrete=True)
        post, s = tree["posterior"], tree["sample_stats"]
        assert post["locs"].dims == ("chain", "draw", "locs_dim_0")
        assert json.loads(s.attrs["global_sites"]) == ["weights", "scale", "locs"]
        weights, scale, locs = (post[n].values[0] for n in ("weights", "scale", "locs"))
        densities = weights[:, None] * stats.norm(locs[:, None], scale[:, None, None]).pdf(x.numpy())
        np.testing.assert_allclose(s["log_lik"].values[0], np.log(densities.sum(-1)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(tree["log_likelihood"]["obs"], s["log_lik"])
        expected = (
            stats.norm(0, 3).logpdf(locs).sum(-1)
            + stats.lognorm(0.5).logpdf(scale)
            + dist.Dirichlet(0.5 * torch.ones(2)).log_prob(torch.as_tensor(weights)).numpy()
        )
        np.testing.assert_allclose(s["log_p_global"].values[0], expected, rtol=1e-4, atol=1e-4)
        share = densities[..., 1] / densities.sum(-1)
        c = post["assignment"].values[0]
        error = np.sqrt((share * (1 - share)).mean(0) / 400) + 1e-3
        assert (abs((c - share).mean(0)) < 4 * error).all()
        drawn = tree["posterior_predictive"]["obs"].values[0]
        standard = (drawn - np.take_along_axis(locs, c.reshape(400, -1), 1).reshape(c.shape)[:50]) / scale[:50, None]
        assert abs(standard.mean()) < 4 / math.sqrt(standard.size)
        assert abs(standard.var() - 1) < 4 * math.sqrt(2 / standard.size)
        terms = pv.diagnostics.elbo_terms(tree)
        with fit.program.scope():
            losses = [-TraceEnum_ELBO().loss(fit.program.model, fit.program.guide, x) for _ in range(300)]
        error = math.hypot(np.std(losses) / math.sqrt(300), float(terms["elbo_total_mcse"][0]))
        assert abs(np.mean(losses) - float(terms["elbo_total"][0])) < 4 * error
        with warnings.catch_warnings():  # that some k are high is no matter here
            warnings.simplefilter("ignore")
            assert az.loo(tree).n_data_points == 40


@pytest.mark.parametrize("guide", [AutoNormal, AutoMultivariateNormal])
def test_autoguides_of_shared_latents(guide) -> None:
    """They draw in an unconstrained space: log q holds the Jacobian. Seen from its own moments there."""
    x = line(30).float()
    model = shared_components()._functions[0]
    torch.manual_seed(0)
    auto = guide(poutine.block(model, hide=["assignment"]), init_scale=0.3)
    program = pv.Program(model, auto)
    fit = pv.fit(program, x, loss=TraceEnum_ELBO(), epochs=5, lr=0.01, progress=False)
    tree = pv.posterior(fit, x, draws=300)
    s, post = tree["sample_stats"], tree["posterior"]
    assert list(post.data_vars) == ["weights", "scale", "locs"]
    weights, scale, locs = (torch.as_tensor(post[n].values[0]) for n in ("weights", "scale", "locs"))
    simplex = dist.transforms.StickBreakingTransform()
    sticks = simplex.inv(weights)
    free = torch.cat([sticks, scale.log().unsqueeze(-1), locs], -1)
    jacobian = simplex.log_abs_det_jacobian(sticks, weights) + scale.log()
    with fit.program.scope(), torch.no_grad():
        if guide is AutoNormal:
            centre = torch.cat([getattr(auto.locs, n).reshape(-1) for n in ("weights", "scale", "locs")])
            spread = torch.cat([getattr(auto.scales, n).reshape(-1) for n in ("weights", "scale", "locs")])
            log_q = dist.Normal(centre, spread).log_prob(free).sum(-1)
        else:
            log_q = auto.get_posterior().log_prob(free)
        losses = [-TraceEnum_ELBO().loss(program.model, program.guide, x) for _ in range(300)]
    np.testing.assert_allclose(s["log_q_global"].values[0], log_q - jacobian, rtol=1e-3, atol=2e-3)
    terms = pv.diagnostics.elbo_terms(tree)
    error = math.hypot(np.std(losses) / math.sqrt(300), float(terms["elbo_total_mcse"][0]))
    assert abs(np.mean(losses) - float(terms["elbo_total"][0])) < 4 * error


class TestHierarchies:
    def test_a_plate_of_groups_inside_the_data_plate(self) -> None:
        def model(x):
            with pyro.plate("people", len(x), dim=-2):
                level = pyro.sample("level", dist.Normal(x.new_zeros(()), 1.0))
                with pyro.plate("groups", 3, dim=-1):
                    z = pyro.sample("z", dist.Normal(level, torch.ones(3)).expand([len(x), 3]))
                    pyro.sample("x", dist.Normal(z.unsqueeze(-1), torch.ones(2)).to_event(1), obs=x)

        def guide(x):
            with pyro.plate("people", len(x), dim=-2):
                pyro.sample("level", dist.Normal(x.mean((-2, -1)).unsqueeze(-1), 0.5))
                with pyro.plate("groups", 3, dim=-1):
                    pyro.sample("z", dist.Normal(x.mean(-1), 0.5))

        x = torch.randn(4, 3, 2)
        tree = pv.posterior(pv.Program(model, guide), x, draws=6)
        level, z = (torch.as_tensor(tree["posterior"][n].values[0]) for n in ("level", "z"))
        assert tree["posterior"]["level"].dims == ("chain", "draw", "obs_id")
        assert tree["posterior"]["z"].dims == ("chain", "draw", "obs_id", "z_dim_0")
        log_lik = dist.Normal(z.unsqueeze(-1), 1.0).log_prob(x).sum((-2, -1))
        log_p = log_lik + dist.Normal(level.unsqueeze(-1), 1.0).log_prob(z).sum(-1)
        log_p = log_p + dist.Normal(0.0, 1.0).log_prob(level)
        np.testing.assert_allclose(tree["sample_stats"]["log_lik"].values[0], log_lik, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(tree["sample_stats"]["log_p"].values[0], log_p, rtol=1e-4, atol=1e-4)
        assert tree["posterior_predictive"]["x"].shape == (1, 6, 4, 3, 2)
        assert tree["prior"]["z"].shape == (1, 6, 3)

    def test_groups_shared_by_all_data_in_a_plate_of_their_own(self) -> None:
        """A plate beside the data plate at its right: (groups, 1) in the program, (groups,) in the tree."""

        def model(x):
            with pyro.plate("groups", 3, dim=-2):
                shift = pyro.sample("shift", dist.Normal(x.new_zeros(()), 1.0))
            with pyro.plate("data", len(x), dim=-1), pyro.plate("cells", 3, dim=-2):
                pyro.sample("x", dist.Normal(shift, 1.0).expand([3, len(x)]), obs=x.T)

        def guide(x):
            with pyro.plate("groups", 3, dim=-2):
                pyro.sample("shift", dist.Normal(torch.tensor([[0.0], [1.0], [2.0]]), 0.1))

        x = torch.randn(5, 3)
        tree = pv.posterior(pv.Program(model, guide), x, draws=200)
        shift = tree["posterior"]["shift"]
        assert shift.dims == ("chain", "draw", "shift_dim_0")
        assert (abs(shift.mean(("chain", "draw")) - [0, 1, 2]) < 4 * 0.1 / math.sqrt(200)).all()
        expected = stats.norm(shift.values[:, :, None], 1).logpdf(x.numpy()).sum(-1)
        np.testing.assert_allclose(tree["sample_stats"]["log_lik"], expected, rtol=1e-4, atol=1e-4)


PROGRAMS = {
    "shared": lambda: pv.posterior(shared_mean(line()), line(), draws=8),
    "only shared": lambda: pv.posterior(regression(*regression_data()), regression_data()[0],
                                        context=regression_data()[1], draws=8),
    "enumerated": lambda: pv.posterior(mixture_vae(WEIGHTS, CENTRES, SHIFT), line().float(), draws=8, discrete=True),
    "only enumerated": lambda: pv.posterior(two_components(WEIGHTS, CENTRES), line().float(), draws=8),
    "both": lambda: pv.posterior(shared_components(), line().float(), draws=8, discrete=True),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("make", PROGRAMS.values(), ids=PROGRAMS)
def test_trees_survive_files_unchanged(make, suffix: str, tmp_path: Path) -> None:
    tree, path = make(), tmp_path / f"t{suffix}"
    if suffix == ".nc":
        tree.to_netcdf(path, engine="h5netcdf")
        back = xr.open_datatree(path, engine="h5netcdf")
    else:
        tree.to_zarr(path, consolidated=False)
        back = xr.open_datatree(path, engine="zarr", consolidated=False)
    with back:
        xr.testing.assert_identical(tree, back.load())


@pytest.mark.parametrize("make", [shared_mean, lambda x: shared_components(), lambda x: two_components(*PAIR)])
def test_trees_are_streamed_in_blocks(make, tmp_path: Path, monkeypatch) -> None:
    from pyrovae.draws import tree as module

    monkeypatch.setattr(blocks, "MOST_ROWS", 5)
    monkeypatch.setattr(module, "FLUSH", 100)
    x = line() if make is shared_mean else line().float()
    program = make(x)
    streamed = pv.posterior(program, x, draws=7, path=tmp_path / "t.zarr")
    xr.testing.assert_identical(pv.posterior(program, x, draws=7), streamed.load())
    assert streamed["sample_stats"].sizes == {"chain": 1, "draw": 7, "obs_id": 12}


PAIR = (WEIGHTS, CENTRES)


def local(x: Tensor, infer: dict | None = None) -> None:
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=infer or {})
        pyro.sample("x", dist.Normal(CENTRES[c], 1.0), obs=x[:, 0])


class TestRefusals:
    @pytest.mark.parametrize("function", [pv.posterior, pv.encode, pv.reconstruct, pv.sample])
    def test_auxiliary_sites(self, function) -> None:
        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

        def guide(x):
            with pyro.plate("data", len(x)):
                u = pyro.sample("u", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
                pyro.sample("z", dist.Normal(u, 1.0))

        with pytest.raises(ValueError, match="auxiliary sites 'u' are no latents"):
            function(pv.Program(model, guide), gaussian(3, 1, 1), draws=2)

    def test_a_shared_site_cannot_be_enumerated(self) -> None:
        def model(x):
            c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUMMED)
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(CENTRES[c], 1.0), obs=x[:, 0])

        with pytest.raises(ValueError, match=r"'c' is enumerated and stands outside the data plate 'data'.*guide"):
            pv.posterior(pv.Program(model, lambda x: None), gaussian(3, 1, 1), draws=2)

    @pytest.mark.parametrize("infer", [{"enumerate": "sequential"}, {"enumerate": "parallel", "num_samples": 5}])
    def test_a_sum_over_some_values_is_none(self, infer) -> None:
        program = pv.Program(lambda x: local(x, infer), lambda x: None)
        with pytest.raises(ValueError, match=r"'c' has infer=.*'enumerate': 'parallel'"):
            pv.posterior(program, gaussian(3, 1, 1), draws=2)

    def test_nothing_to_draw(self) -> None:
        def model(x):
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[:, 0])

        with pytest.raises(ValueError, match="no latent: there is nothing to draw"):
            pv.posterior(pv.Program(model, lambda x: None), gaussian(3, 1, 1), draws=2)

    @pytest.mark.parametrize("where", ["guide", "model"])
    def test_a_shared_latent_that_follows_the_batch(self, where: str) -> None:
        def centre(x, role):
            return x.mean() if role == where else torch.tensor(0.0)

        def model(x):
            m = pyro.sample("m", dist.Normal(centre(x, "model"), 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(m, 1.0), obs=x[:, 0])

        def guide(x):
            pyro.sample("m", dist.Normal(centre(x, "guide"), 1.0))

        with pytest.raises(ValueError, match=rf"the {where}'s density.*\('m'\) changes with the data"):
            pv.posterior(pv.Program(model, guide), gaussian(9, 1, 1), draws=2)
