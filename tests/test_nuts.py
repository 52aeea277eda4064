"""The No-U-Turn sampler on posteriors known in closed form, its checks, and the guide judged by its draws."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from arviz_stats.base import array_stats
from torch import Tensor

import pyrovae as pv
from models import ppca
from pyrovae._rng import Stream, seeded
from pyrovae.diagnostics import NotAvailable
from pyrovae.diagnostics.gold_standard import gold_standard
from pyrovae.diagnostics.sampler import sampler_checks
from pyrovae.draws.adaptation import Adaptation, windows
from pyrovae.draws.hamiltonian import Density, leapfrog, slope_of
from pyrovae.draws.nuts import MAX_DEPTH, POPCOUNT, TRAILING, Markov, nuts
from tests.programs import gaussian, linear_vae, mixture_vae, shared_mean, two_components

DOUBLE = torch.float64


def within(draws: np.ndarray, expected: np.ndarray | float, errors: float = 4.0) -> None:
    """The mean of draws (chain, draw, …) is as expected, within so many of ArviZ's Monte Carlo standard errors."""
    error = array_stats.mcse(draws, chain_axis=0, draw_axis=1, method="mean")
    score = (draws.mean((0, 1)) - expected) / error
    assert np.isfinite(score).all()
    assert np.abs(score).max() < errors, score


def moments(draws: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Means and second moments about the known mean of draws (chain, draw, …, dim)."""
    within(draws, mean)
    off = draws - mean
    within(off[..., :, None] * off[..., None, :], covariance)


def run(density: Density, start: Tensor, variance: Tensor | None = None, seed: int = 0, **options) -> Markov:
    with seeded(seed, Stream.NUTS):
        return nuts(lambda _: density, start, torch.ones_like(start) if variance is None else variance, **options)


def chains_of(markov: Markov, chains: int) -> np.ndarray:
    """Draws (chain, draw, datum, dim) of pairs that are chains one after the other."""
    return markov.u.unflatten(1, (chains, -1)).transpose(0, 1).numpy()


class TestLeapfrog:
    @staticmethod
    def banana(u: Tensor) -> Tensor:
        return -0.5 * u[..., 0] ** 2 - 0.5 * (u[..., 1] - 0.5 * u[..., 0] ** 2) ** 2

    def walk(self, u: Tensor, momentum: Tensor, step: float, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        size, mass = torch.full(u.shape[:-1], step, dtype=DOUBLE), torch.tensor([0.5, 2.0], dtype=DOUBLE)
        slope = slope_of(self.banana)
        _, gradient = slope(u)
        for _ in range(steps):
            u, momentum, value, gradient = leapfrog(slope, u, momentum, gradient, size, mass)
        return u, momentum, 0.5 * (momentum**2 * mass).sum(-1) - value

    def test_it_goes_back_the_way_it_came(self) -> None:
        u, momentum = torch.randn(2, 3, 5, 2, dtype=DOUBLE)
        there = self.walk(u, momentum, 0.05, 40)
        back = self.walk(there[0], -there[1], 0.05, 40)
        torch.testing.assert_close(back[0], u, rtol=0, atol=1e-9)
        torch.testing.assert_close(back[1], -momentum, rtol=0, atol=1e-9)

    def test_its_energy_error_falls_with_the_square_of_the_step(self) -> None:
        u, momentum = torch.randn(2, 3, 50, 2, dtype=DOUBLE)
        begin = self.walk(u, momentum, 0.0, 1)[2]
        errors = [float((self.walk(u, momentum, 0.02 / k, 20 * k)[2] - begin).abs().mean()) for k in (1, 2, 4)]
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
        assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)

    def test_where_there_is_no_density_it_is_nought(self) -> None:
        value, gradient = slope_of(lambda u: u[..., 0].log())(torch.tensor([[-1.0], [0.0], [2.0]]))
        torch.testing.assert_close(value, torch.tensor([-math.inf, -math.inf, math.log(2.0)]))
        torch.testing.assert_close(gradient, torch.tensor([[0.0], [0.0], [0.5]]))


class TestTrees:
    def test_checkpoints_hold_the_first_leaves_of_the_subtrees_that_a_leaf_ends(self) -> None:
        slots: dict[int, int] = {}
        for leaf in range(2 ** (MAX_DEPTH - 1)):
            slot, ends = int(POPCOUNT[leaf]), int(TRAILING[leaf])
            assert [slots[slot - k] for k in range(1, ends + 1)] == [leaf - 2**k + 1 for k in range(1, ends + 1)]
            assert all((leaf + 1) % 2**k == 0 for k in range(ends + 1))
            slots[slot] = leaf

    def test_windows_are_stans(self) -> None:
        collects, closes = windows(1000)
        assert [i + 1 for i, c in enumerate(closes) if c] == [100, 150, 250, 450, 950]
        assert (collects.index(True), sum(collects)) == (75, 875)
        assert [i + 1 for i, c in enumerate(windows(100)[1]) if c] == [70]
        assert windows(49) == ([False] * 49, [False] * 49)

    def test_step_sizes_reach_their_acceptance_and_metrics_the_variance(self) -> None:
        """Where steps of ε are accepted at a rate exp(−cε), ε = −log(.8)/c; pairs take turns."""
        rate, scale = torch.tensor([0.1, 1.0, 10.0]), torch.tensor([[0.1], [1.0], [10.0]])
        adaptation = Adaptation(torch.ones(3, 1), 500, 0.8)
        done = torch.zeros(3, dtype=torch.int64)
        for turn in range(1600):
            pairs = torch.tensor([0, 1, 2] if turn % 2 else [0, 2])
            acceptance = (-rate * adaptation.step).exp()[pairs]
            adaptation.update(pairs, done[pairs], (scale * torch.randn(3, 1))[pairs], acceptance)
            done[pairs] += 1
        torch.testing.assert_close((-rate * adaptation.step).exp(), torch.full((3,), 0.8), rtol=0, atol=0.02)
        score = (adaptation.inverse_mass / scale**2 - 1) / math.sqrt(2 / 199)  # the last window has 200 draws
        assert (score.abs() < 4).all()
        assert (done > 500).all()


class TestDensities:
    def test_correlated_gaussians_of_any_scale(self) -> None:
        """Correlation .9, standard deviations from .1 to 10, and a first metric that knows of neither."""
        chains, scale = 8, torch.tensor([0.1, 1.0, 10.0], dtype=DOUBLE)
        unit = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=DOUBLE)
        covariance = scale[:, None, None] ** 2 * unit
        precision = torch.linalg.inv(covariance).repeat(chains, 1, 1)
        mean = torch.tensor([1.0, -2.0], dtype=DOUBLE) * scale[:, None]
        centre = mean.repeat(chains, 1)

        def narrow(rows: Tensor) -> Density:
            return lambda u: -0.5 * torch.einsum("pi,pij,pj->p", u - centre[rows], precision[rows], u - centre[rows])

        with seeded(0, Stream.NUTS):
            start = centre + 3 * scale.repeat(chains)[:, None] * torch.randn(24, 2, dtype=DOUBLE)
            markov = nuts(narrow, start, torch.ones_like(start), warmup=80, draws=200)
        draws = chains_of(markov, chains)
        moments(draws, mean.numpy(), covariance.numpy())
        assert not markov.stats["diverging"].any()

    def test_a_curved_density(self) -> None:
        """u1 ~ N(0, 1), u2 | u1 ~ N(u1²/2, 1): E u2 = ½, Var u2 = 1 + ½."""
        markov = run(TestLeapfrog.banana, torch.randn(16, 2, dtype=DOUBLE), warmup=100, draws=150)
        draws = chains_of(markov, 16)[:, :, 0]
        moments(draws, np.array([0.0, 0.5]), np.array([[1.0, 0.0], [0.0, 1.5]]))

    def test_a_wall_diverges_and_is_not_passed(self) -> None:
        """Half a Normal: mean √(2/π), second moment 1, whatever steps end beyond the wall."""
        markov = run(
            lambda u: torch.where(u[..., 0] > 0, -0.5 * u[..., 0] ** 2, -torch.inf),
            torch.rand(32, 1, dtype=DOUBLE),
            warmup=60,
            draws=60,
        )
        draws = chains_of(markov, 32)[:, :, 0, 0]
        assert (draws > 0).all()
        assert markov.stats["diverging"].any()
        within(draws, math.sqrt(2 / math.pi))
        within(draws**2, 1.0)

    def test_what_it_says_of_its_draws(self) -> None:
        markov = run(TestLeapfrog.banana, torch.zeros(5, 2, dtype=DOUBLE), warmup=50, draws=60)
        stats = markov.stats
        torch.testing.assert_close(stats["lp"], TestLeapfrog.banana(markov.u))
        assert (stats["energy"] >= -stats["lp"]).all()
        assert (stats["n_steps"] < 2 ** (stats["tree_depth"] + 1)).all()
        assert (stats["n_steps"] >= 2 ** stats["tree_depth"] - 1).all()
        assert ((stats["acceptance_rate"] > 0) & (stats["acceptance_rate"] <= 1)).all()
        assert (stats["step_size"] == stats["step_size"][0]).all()

    def test_the_same_seed_gives_the_same_bits(self) -> None:
        start, options = torch.zeros(6, 2), {"warmup": 30, "draws": 20}
        first, again, other = (run(TestLeapfrog.banana, start, seed=s, **options) for s in (0, 0, 1))
        assert torch.equal(first.u, again.u)
        assert not torch.equal(first.u, other.u)


@pytest.fixture(scope="module")
def rotated() -> tuple[pv.VAE, Tensor, np.ndarray, np.ndarray]:
    """pPCA at a rotation, where a diagonal guide is not exact: data, posterior means and covariance."""
    x = gaussian(200).double()
    turn = torch.linalg.qr(torch.tensor([[1.0, 0.7], [-0.7, 1.0]], dtype=DOUBLE))[0]
    w, mu, sigma2 = ppca.maximum_likelihood(x, 2)
    w = w @ turn
    m = w.T @ w + sigma2 * torch.eye(2, dtype=DOUBLE)
    mean, covariance = (x - mu) @ w @ torch.linalg.inv(m), sigma2 * torch.linalg.inv(m)
    return ppca.exact_program(x, 2, rotation=turn), x, mean.numpy(), covariance.numpy()


@pytest.fixture(scope="module")
def tree(rotated) -> xr.DataTree:
    vae, x, *_ = rotated
    return pv.posterior(vae, x[:5], draws=500, method="nuts", warmup=100)


class TestPosterior:
    def test_ppca(self, rotated, tree: xr.DataTree) -> None:
        """Mean and covariance of each datum are the exact posterior's, and the checks are good."""
        *_, mean, covariance = rotated
        moments(tree["posterior"]["z"].values, mean[:5], covariance)
        checks = sampler_checks(tree)
        assert float(checks["rhat"].max()) < 1.01
        assert float(checks["ess_bulk"].min()) > checks.attrs["ess"] == 400
        assert float(checks["ess_tail"].min()) > 400
        assert not checks["divergences"].any()

    def test_its_layout(self, rotated, tree: xr.DataTree, tmp_path: Path) -> None:
        vae, x, *_ = rotated
        guide = pv.posterior(vae, x[:5], draws=500)
        assert tree.attrs["method"] == "nuts"
        assert list(tree.children) == list(guide.children)
        for group in ("posterior", "posterior_predictive", "prior", "observed_data"):
            assert set(tree[group].data_vars) == set(guide[group].data_vars)
            assert dict(tree[group].sizes) | {"chain": 1} == dict(guide[group].sizes) | {"chain": 1}
        stats = tree["sample_stats"].dataset
        sampler = ["lp", "diverging", "acceptance_rate", "tree_depth", "n_steps", "step_size", "energy"]
        assert set(stats.data_vars) == {"log_p", "log_lik", *sampler}
        assert stats.sizes == {"chain": 4, "draw": 500, "obs_id": 5}
        np.testing.assert_allclose(stats["lp"], stats["log_p"])  # z is unconstrained already
        z = torch.as_tensor(tree["posterior"]["z"].values)
        with torch.no_grad():
            expected = vae.parts["likelihood"](z).log_prob(x[:5])
        np.testing.assert_allclose(stats["log_lik"], expected)
        np.testing.assert_allclose(stats["log_p"] - stats["log_lik"], dist.Normal(0, 1).log_prob(z).sum(-1))
        with pytest.raises(NotAvailable, match="Markov chain"):
            pv.diagnostics.pareto_k(tree)
        assert not (az.bfmi(tree) < 0.3)["energy"].any()
        tree.to_netcdf(tmp_path / "t.nc", engine="h5netcdf")

    def test_bits_blocks_and_state(self, rotated, monkeypatch: pytest.MonkeyPatch) -> None:
        vae, x, *_ = rotated
        options = {"draws": 20, "method": "nuts", "warmup": 20, "chains": 2, "predictive": 3}
        state = torch.get_rng_state()
        first, again = (pv.posterior(vae, x[:5], **options) for _ in range(2))
        assert torch.equal(state, torch.get_rng_state())
        xr.testing.assert_identical(first, again)
        monkeypatch.setattr("pyrovae.draws.markov.DRAWS_HELD", 80)  # two data at a time
        blocks = pv.posterior(vae, x[:5], **options)
        assert blocks["posterior"].sizes == first["posterior"].sizes
        assert blocks["posterior_predictive"].sizes == first["posterior_predictive"].sizes
        assert (blocks["posterior"]["z"].std("draw") > 0).all()

    @pytest.mark.parametrize("make", ["beta", "gamma"])
    def test_conjugate_latents_on_their_supports(self, make: str) -> None:
        """Beta-Bernoulli and Gamma-Poisson, three data of four cells each."""
        x = torch.tensor([[0.0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]], dtype=DOUBLE)
        x = x if make == "beta" else 3 * x
        one = torch.ones((), dtype=DOUBLE)
        prior = dist.Beta(2 * one, 3 * one) if make == "beta" else dist.Gamma(2 * one, 3 * one)
        family = dist.Bernoulli if make == "beta" else dist.Poisson

        def model(x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", prior)
                pyro.sample("x", family(z[:, None]).expand([len(x), 4]).to_event(1), obs=x)

        def guide(x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("z", prior.expand([len(x)]))

        tree = pv.posterior(pv.Program(model, guide), x, draws=150, method="nuts", warmup=80, chains=16)
        total = x.sum(1)
        exact = dist.Beta(2 + total, 7 - total) if make == "beta" else dist.Gamma(2 + total, 3 + 4 * one)
        z = tree["posterior"]["z"].values
        within(z, exact.mean.numpy())
        within((z - exact.mean.numpy()) ** 2, exact.variance.numpy())
        inside = exact.cdf if make == "gamma" else None
        if inside is not None:
            within((inside(torch.as_tensor(z)) < 0.1).double().numpy(), 0.1)
        stats = tree["sample_stats"]
        expected = prior.log_prob(torch.as_tensor(z)).numpy()
        np.testing.assert_allclose(stats["log_p"] - stats["log_lik"], expected, atol=1e-9)

    def test_enumerated_sites_are_summed_out_and_drawn(self) -> None:
        """A mixture's posterior: p(c | x) and E z in closed form."""
        weights, centres, shift = torch.tensor([0.4, 0.6]), torch.tensor([-1.0, 1.0]), torch.tensor([0.5, -0.5])
        x = torch.tensor([[-0.3], [0.4]])
        tree = pv.posterior(
            mixture_vae(weights, centres, shift), x, draws=150, method="nuts", warmup=80, chains=16, discrete=True
        )
        evidence = dist.Normal(0.8 * centres + shift, math.sqrt(0.64 + 0.25)).log_prob(x)
        share = (weights.log() + evidence).softmax(-1)
        precision = 1 + 0.64 / 0.25
        means = (centres + 0.8 * (x - shift) / 0.25) / precision
        within(tree["posterior"]["z"].values.astype(float), (share * means).sum(-1).double().numpy())
        within(tree["posterior"]["c"].values.astype(float), share[:, 1].double().numpy())


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"method": "hmc"}, "expected one of guide, nuts"),
            ({"method": "nuts", "chains": 0}, "chains: .*at least 1"),
            ({"method": "nuts", "warmup": 0}, "warmup: .*at least 1"),
            ({"method": "nuts", "target_accept": 1.0}, "below 1"),
            ({"chains": 4}, "method='nuts'"),
            ({"warmup": 500}, "method='nuts'"),
        ],
    )
    def test_arguments(self, options: dict, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            pv.posterior(linear_vae(), gaussian(5), draws=10, **options)

    def test_programs(self, tmp_path: Path) -> None:
        x = gaussian(5, 1, 1)
        for program, words in (
            (shared_mean(x), "'m' are shared by all data"),
            (two_components(torch.ones(2) / 2, torch.tensor([-1.0, 1.0])), "draws no latent"),
            (categories(), "'k' is a category"),
        ):
            with pytest.raises(ValueError, match=words):
                pv.posterior(program, x, draws=10, method="nuts", path=tmp_path / "t.zarr")
        assert not list(tmp_path.iterdir())

    def test_no_start(self) -> None:
        def model(x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.factor("nowhere", torch.where(x[:, 0] > 0, z - torch.inf, z))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

        def guide(x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x[:, 0], 1.0))

        with pytest.raises(ValueError, match=r"not finite where the guide draws, for 1 data \(first: .* 2\)"):
            pv.posterior(pv.Program(model, guide), torch.tensor([[-1.0], [-2], [1]]), draws=10, method="nuts")


def categories() -> pv.Program:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)))
            pyro.sample("x", dist.Normal(k.float(), 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.ones(len(x), 2)))

    return pv.Program(model, guide)


def markov_tree(z: np.ndarray) -> xr.DataTree:
    """A tree of draws (chain, draw, obs_id, …) that says it holds Markov chains."""
    dims = ("chain", "draw", "obs_id", "z_dim_0")[: z.ndim]
    tree = xr.DataTree.from_dict(
        {
            "/posterior": xr.Dataset({"z": (dims, z)}, coords={d: np.arange(z.shape[i]) for i, d in enumerate(dims)}),
            "/sample_stats": xr.Dataset({"diverging": (dims[:3], np.zeros(z.shape[:3], bool))}),
        }
    )
    tree.attrs["method"] = "nuts"
    return tree


class TestChecks:
    def test_they_find_what_is_planted(self) -> None:
        z = np.random.default_rng(0).normal(size=(4, 400, 5, 2))
        z[0, :, 1, 0] += 1.0  # a chain elsewhere
        z[:, :, 2, 1] = np.repeat(z[:, :8, 2, 1], 50, axis=1)  # sticky chains
        z[..., 3, :] = np.arange(4.0)[:, None, None]  # chains that stay
        z[..., 4, 1] = 2.0  # constant by construction
        tree = markov_tree(z)
        tree["sample_stats"]["diverging"][0, :100, 0] = True
        checks = sampler_checks(tree)
        rhat, bulk, tail = (checks[n].values for n in ("rhat", "ess_bulk", "ess_tail"))
        assert rhat[0] < 1.01 < 1.1 < rhat[1]
        assert bulk[0] > 1200 > 100 > bulk[2]
        assert (rhat[3], bulk[3], tail[3]) == (math.inf, 0, 0)
        assert rhat[4] < 1.01
        assert tail[4] > 1000
        np.testing.assert_allclose(checks["divergences"], [1 / 16, 0, 0, 0, 0])
        expected = az.rhat(tree["posterior"].dataset.isel(obs_id=slice(3)))["z"]
        np.testing.assert_allclose(rhat[:3], expected.max("z_dim_0"))

    def test_one_chain_is_split(self) -> None:
        z = np.random.default_rng(0).normal(size=(1, 400, 2, 1))
        z[0, 200:, 1] += 1
        rhat = sampler_checks(markov_tree(z))["rhat"].values
        assert rhat[0] < 1.02 < 1.1 < rhat[1]

    def test_refusals(self, rotated) -> None:
        vae, x, *_ = rotated
        with pytest.raises(NotAvailable, match="independent"):
            sampler_checks(pv.posterior(vae, x[:2], draws=10))
        with pytest.raises(NotAvailable, match="at least 8 draws"):
            sampler_checks(markov_tree(np.zeros((1, 4, 2))))


def planted(rotated, change: Callable[[xr.DataTree], None], draws: int = 400) -> tuple[xr.DataTree, xr.DataTree]:
    """Draws of the best diagonal guide at a rotation, changed, and independent ones of the exact posterior."""
    vae, x, mean, covariance = rotated
    guide = pv.posterior(vae, x, draws=draws, predictive=0)
    change(guide)
    noise = np.random.default_rng(1).normal(size=(4, draws, len(x), 2))
    return guide, markov_tree(mean + noise @ np.linalg.cholesky(covariance).T)


class TestGoldStandard:
    def test_a_shifted_narrow_diagonal_guide(self, rotated) -> None:
        """Figures as known, and their errors those that 200 data show: scores of variance 1."""
        *_, mean, covariance = rotated
        sd, delta = np.sqrt(covariance.diagonal()), np.array([0.5, 0.0])

        def change(tree: xr.DataTree) -> None:
            z = tree["posterior"]["z"]
            tree["posterior"]["z"] = z.copy(data=mean + 0.7 * (z - mean) + delta * sd)

        figures = gold_standard(*planted(rotated, change))
        narrow = 0.7 / np.sqrt(np.linalg.inv(covariance).diagonal()) / sd  # a diagonal guide is narrower by itself
        rho = covariance[0, 1] / sd.prod()
        assert abs(rho) > 0.1
        for name, expected in (("z_mean", delta), ("z_sd", narrow), ("correlation", abs(rho))):
            score = ((figures[name] - expected) / figures[f"{name}_mcse"]).values
            n = score.size
            assert abs(score.mean()) < 4 / math.sqrt(n), name
            assert abs(score.std() - 1) < 4 / math.sqrt(2 * n), name
        assert (figures["rhat"] < 1.05).all()

    @pytest.mark.parametrize("method", ["psis", "resample"])
    def test_corrected_draws(self, rotated, method: str) -> None:
        """Of a guide that is too wide: as the exact posterior, within errors that are as large as they say."""
        vae, x, mean, covariance = rotated
        wide = copy.deepcopy(vae)
        raw = wide.parts["guide"].network.layers[0].bias[2:]
        with torch.no_grad():
            raw.copy_(ppca.softplus_inverse(1.3 * torch.nn.functional.softplus(raw)))
        guide, exact = planted((wide, x, mean, covariance), lambda _: None)
        figures = gold_standard(pv.correct(guide, method=method), exact)
        assert figures.attrs["weighted"] == (method == "psis")
        for name, expected in (("z_mean", 0.0), ("z_sd", 1.0)):
            score = ((figures[name] - expected) / figures[f"{name}_mcse"]).values
            assert abs(score.mean()) < 4 / math.sqrt(score.size), name
            assert abs(score.std() - 1) < 4 / math.sqrt(2 * score.size), name
        assert float((figures["correlation"] / figures["correlation_mcse"]).max()) < 4.5

    def test_a_subset_is_found_by_its_labels(self, rotated, tree: xr.DataTree) -> None:
        vae, x, *_ = rotated
        guide = pv.posterior(vae, x[:20], draws=200, predictive=0)
        groups = {n: tree[n].dataset.isel(obs_id=[3, 1]) for n in ("posterior", "sample_stats")}
        some = xr.DataTree.from_dict(groups)
        some.attrs = tree.attrs
        figures = gold_standard(guide, some)
        np.testing.assert_array_equal(figures["obs_id"], [3, 1])
        whole = gold_standard(guide, tree)
        xr.testing.assert_allclose(figures, whole.isel(obs_id=[3, 1]))
        assert (np.abs(whole["z_mean"]) < 4 * whole["z_mean_mcse"]).all()

    def test_refusals(self, rotated, tree: xr.DataTree) -> None:
        vae, x, *_ = rotated
        guide = pv.posterior(vae, x[:3], draws=100, predictive=0)
        with pytest.raises(ValueError, match="exact holds 2 data that the tree lacks.*first: 3"):
            gold_standard(guide, tree)
        with pytest.raises(NotAvailable, match="draws of a guide"):
            gold_standard(guide, guide)
        with pytest.raises(NotAvailable, match="at least 30 draws"):
            gold_standard(pv.posterior(vae, x[:5], draws=10), tree)
        with pytest.raises(NotAvailable, match="do not move"):
            gold_standard(guide, markov_tree(np.ones((2, 40, 3, 2))))
        with pytest.raises(ValueError, match="shape of 'z'"):
            gold_standard(guide, markov_tree(np.random.default_rng(0).normal(size=(2, 40, 3, 3))))
