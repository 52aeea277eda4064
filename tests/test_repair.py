"""Weights that correct draws, expectations with errors and intervals, on probabilistic PCA with planted faults.

The posterior is known, and the guide is c times as wide as it, or δ of its standard deviations off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from scipy.stats import norm

import pyrovae as pv
from models import ppca
from pyrovae.diagnostics import _tree
from pyrovae.diagnostics.intervals import intervals
from pyrovae.repair.correct import _systematic, correct
from pyrovae.repair.expectation import expectation
from tests import programs

LATENTS, DRAWS, DATA = 2, 1000, 150
LEAD = ("chain", "draw", "obs_id")
PLANTED = ((0.9, 0.0), (1.2, 0.0), (0.9, 0.3))
Make = Callable[..., xr.DataTree]


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    directions = torch.linalg.qr(torch.randn(6, LATENTS, generator=generator, dtype=torch.float64))[0]
    w = torch.tensor([[3.0], [2.0]], dtype=torch.float64) * directions.T
    z = torch.randn(DATA, LATENTS, generator=generator, dtype=torch.float64)
    return z @ w + 0.5 * torch.randn(DATA, 6, generator=generator, dtype=torch.float64) + 1.0


@pytest.fixture(scope="module")
def exact(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (datum, latent) and standard deviation (latent) of the posterior."""
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    m = w.T @ w + sigma2 * torch.eye(LATENTS, dtype=w.dtype)
    return torch.linalg.solve(m, w.T @ (x - mu).T).T.numpy(), (sigma2 / m.diagonal()).sqrt().numpy()


def planted(x: torch.Tensor, c: float, delta: float = 0.0) -> pv.VAE:
    """The exact program with its guide's standard deviations times c, and its means δ of them off."""
    vae = ppca.exact_program(x, LATENTS)
    bias = vae.parts["guide"].network.layers[0].bias
    with torch.no_grad():
        sd = torch.nn.functional.softplus(bias[LATENTS:])
        bias[:LATENTS] += delta * sd
        bias[LATENTS:] = ppca.softplus_inverse(c * sd)
    return vae


@pytest.fixture(scope="module")
def make(x: torch.Tensor) -> Make:
    trees: dict = {}

    def make(c: float, delta: float = 0.0) -> xr.DataTree:
        if (c, delta) not in trees:
            trees[c, delta] = pv.posterior(planted(x, c, delta), x, draws=DRAWS)
        return trees[c, delta]

    return make


def by_hand(log_weight: np.ndarray, **attrs: object) -> xr.DataTree:
    rng = np.random.default_rng(0)
    stats = {name: (LEAD, log_weight / k) for k, name in enumerate(("log_weight", "log_lik"), start=1)}
    coords = {"chain": np.arange(log_weight.shape[0])}
    tree = xr.DataTree.from_dict(
        {
            "/posterior": xr.Dataset({"z": (LEAD, rng.normal(size=log_weight.shape))}, coords=coords),
            "/sample_stats": xr.Dataset(stats, coords=coords),
        }
    )
    tree.attrs.update(attrs)
    return tree


def deviations(found: xr.Dataset, true: np.ndarray) -> np.ndarray:
    """In standard errors, (datum, latent)."""
    return ((found["mean"] - true) / found["mcse"]).isel(chain=0).values


# Correction


@pytest.mark.parametrize("method", ["psis", "resample"])
@pytest.mark.parametrize(("c", "delta"), PLANTED)
def test_corrected_moments_are_the_posteriors(make: Make, exact, c: float, delta: float, method: str) -> None:
    mean, sd = exact
    tree = correct(make(c, delta), method=method)
    first = deviations(expectation(tree, lambda d: d["z"]), mean)
    second = deviations(expectation(tree, lambda d: d["z"] ** 2), mean**2 + sd**2)  # skewed where the mean is near 0
    assert abs(first).max() < 4.5  # the largest of 300
    for off in (first, second):
        assert abs(off.mean(0)).max() < 4 * off.std() / math.sqrt(DATA)
        assert off.std() < 1.25  # the errors are what they say
    assert bool(tree["sample_stats"]["corrected"].all())


def test_the_guides_own_moments_are_not(make: Make, exact) -> None:
    off = deviations(expectation(make(0.9, 0.3), lambda d: d["z"], method="q"), exact[0])
    assert off.mean() == pytest.approx(0.3 / 0.9 * math.sqrt(DRAWS), abs=4 / math.sqrt(DATA))


@pytest.mark.parametrize("c", [0.9, 1.2])
def test_effective_draws_fall_as_the_closed_form(make: Make, c: float) -> None:
    """S/(1 + relvar), relvar = (c²/√(2c² − 1))^L − 1; resampling costs no more than N independent draws would."""
    ess = correct(make(c))["sample_stats"]["ess"].values[0]
    expected = DRAWS / (c**2 / math.sqrt(2 * c**2 - 1)) ** LATENTS
    assert abs(ess.mean() - expected) < 4 * ess.std(ddof=1) / math.sqrt(DATA)
    again = correct(make(c), method="resample")["sample_stats"]["ess"].values[0]
    assert (again < ess).all()
    assert (again > 1 / (1 / ess + 1 / DRAWS)).all()


def test_an_exact_guide_needs_no_correction(make: Make) -> None:
    before = make(1.0)
    for method in ("psis", "resample"):
        tree = correct(before, method=method)
        np.testing.assert_allclose(tree["sample_stats"]["ess"], DRAWS)
        np.testing.assert_array_equal(tree["posterior"]["z"], before["posterior"]["z"])
        assert tree.attrs["correction"].startswith("median ESS 1000 of 1000, least 1000; 0 of 150 data not corrected")
    assert "psis_log_weight" not in tree["sample_stats"]


def test_psis_keeps_all_and_adds_weights(make: Make) -> None:
    before = make(0.9)
    tree = correct(before)
    assert tree.attrs["corrected"] == "psis"
    log_weight = tree["sample_stats"]["psis_log_weight"]
    np.testing.assert_allclose(np.exp(log_weight).sum("draw"), 1.0)
    mean = (np.exp(log_weight) * tree["posterior"]["z"]).sum("draw")
    np.testing.assert_allclose(mean, expectation(tree, lambda d: d["z"])["mean"], rtol=1e-10)
    xr.testing.assert_identical(tree["posterior"].dataset, before["posterior"].dataset)
    for name in ("log_weight", "log_p", "kl_z"):
        xr.testing.assert_identical(tree["sample_stats"][name], before["sample_stats"][name])


def test_resampling_takes_all_of_a_draw_with_it(make: Make) -> None:
    before = make(0.9)
    tree = correct(before, method="resample", draws=500)
    ancestor = tree["sample_stats"]["ancestor"].values
    assert ancestor.shape == (1, 500, DATA)
    for name in ("log_p", "log_q", "log_lik"):
        taken = np.take_along_axis(before["sample_stats"][name].values, ancestor, 1)
        np.testing.assert_array_equal(tree["sample_stats"][name], taken)
    for group, name in (("posterior", "z"), ("posterior_predictive", "x")):
        after = tree[group][name]
        number = 500 if group == "posterior" else 50  # a tenth of the draws have draws of x
        assert after.sizes["draw"] == number
        index = ancestor[:, :number, :, None]
        np.testing.assert_array_equal(after, np.take_along_axis(before[group][name].values, index, 1))
    index = ancestor[:, :50]
    taken = np.take_along_axis(before["predictive_stats"]["log_lik"].values, index, 1)
    np.testing.assert_array_equal(tree["predictive_stats"]["log_lik"], taken)
    assert tree.attrs["correction"].endswith("50 draws of x taken again, with those of z that they were made from")
    assert "log_weight" not in tree["sample_stats"]
    xr.testing.assert_identical(tree["observed_data"].dataset, before["observed_data"].dataset)


def test_few_draws_leave_none_of_x(make: Make) -> None:
    tree = correct(make(0.9), method="resample", draws=4)
    assert {"posterior_predictive", "predictive_stats"}.isdisjoint(tree.children)
    assert "draws of x left out" in tree.attrs["correction"]


@pytest.mark.parametrize("method", ["psis", "resample"])
def test_evidence_and_verdicts_are_those_of_the_weights_before(make: Make, method: str) -> None:
    before = make(0.9)
    tree = correct(before, method=method, draws=None if method == "psis" else 300)
    for diagnostic in ("log_evidence", "pareto_k", "elbo_terms"):
        xr.testing.assert_allclose(*(getattr(pv.diagnostics, diagnostic)(t) for t in (tree, before)))
    assert pv.diagnostics.elpd(tree).elpd == pv.diagnostics.elpd(before).elpd


def test_the_input_is_left_as_it_was(make: Make) -> None:
    before = make(0.9)
    kept = before.copy(deep=True)
    correct(before, method="resample")
    correct(before)
    xr.testing.assert_identical(before, kept)


def test_systematic_resampling_takes_the_floor_or_the_ceiling() -> None:
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.full(50, 0.3), (2, 7)).transpose(0, 2, 1)
    index = _systematic(share, 80, rng.random((2, 7)))
    counts = np.stack([[np.bincount(row, minlength=50) for row in chain.T] for chain in index]).transpose(0, 2, 1)
    assert (counts >= np.floor(80 * share - 1e-9)).all()
    assert (counts <= np.ceil(80 * share + 1e-9)).all()
    many = np.stack([_systematic(share[:1, :, :1], 8, np.array([[u]])) for u in (np.arange(4000) + 0.5) / 4000])
    np.testing.assert_allclose(np.bincount(many.ravel(), minlength=50) / many.size, share[0, :, 0], atol=1e-4)


def test_same_seed_same_draws(make: Make) -> None:
    a, b, other = (correct(make(0.9), method="resample", draws=50, seed=s) for s in (3, 3, 4))
    xr.testing.assert_identical(a, b)
    assert (a["posterior"]["z"] != other["posterior"]["z"]).any()


def test_weights_that_are_no_numbers_count_for_nothing() -> None:
    log_weight = np.random.default_rng(0).normal(size=(2, 100, 4))
    log_weight[0, 7, 0], log_weight[1, 7, 1], log_weight[0, :, 2] = np.inf, np.nan, -np.inf
    log_weight[0, 7, 3] = -np.inf  # one draw outside the prior's support, and nothing wrong
    for method in ("psis", "resample"):
        stats = correct(by_hand(log_weight), method=method)["sample_stats"]
        np.testing.assert_array_equal(stats["ess"] == 0, [[True, False, True, False], [False, True, False, False]])
        assert not stats["corrected"].where(stats["ess"] == 0, False).any()
        assert np.isposinf(stats["pareto_k"].where(stats["ess"] == 0, np.inf)).all()


def test_a_tree_on_disk_is_worked_through_by_blocks(x, tmp_path, monkeypatch) -> None:
    lazy = pv.posterior(planted(x, 0.9), x[:20], draws=DRAWS, path=tmp_path / "draws.zarr")
    memory = pv.posterior(planted(x, 0.9), x[:20], draws=DRAWS)
    found = [correct(memory, method=m) for m in ("psis", "resample")]
    found += [expectation(memory, f) for f in (lambda d: d["z"], lambda d: d["z"].sum("z_dim_0") * d["x"])]
    monkeypatch.setattr(_tree, "BLOCK", 2**16)
    monkeypatch.setattr(import_module("pyrovae.repair.expectation"), "BLOCK", 2**16)
    again = [correct(lazy, method=m) for m in ("psis", "resample")]
    again += [expectation(lazy, f) for f in (lambda d: d["z"], lambda d: d["z"].sum("z_dim_0") * d["x"])]
    for a, b in zip(found, again, strict=True):
        xr.testing.assert_allclose(a, b)


@pytest.mark.parametrize("method", ["psis", "resample"])
def test_a_corrected_tree_survives_a_file(make: Make, tmp_path, method: str) -> None:
    tree = correct(make(0.9).isel(obs_id=slice(5)), method=method)
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as read:
        for group in tree.children:
            xr.testing.assert_equal(read[group].to_dataset(), tree[group].to_dataset())
        assert read.attrs["correction"] == tree.attrs["correction"]


def test_correction_is_refused(make: Make) -> None:
    tree = make(0.9)
    for method in ("psis", "resample"):
        with pytest.raises(ValueError, match="corrected by '" + method):
            correct(correct(tree, method=method))
    with pytest.raises(ValueError, match="expected one of 'psis', 'resample', got 'smc'"):
        correct(tree, method="smc")
    with pytest.raises(ValueError, match="only with method='resample'"):
        correct(tree, draws=10)
    with pytest.raises(ValueError, match="draws: expected a whole number of at least 1, got 0"):
        correct(tree, method="resample", draws=0)
    with pytest.raises(pv.diagnostics.NotAvailable, match="at least 30 draws per datum, got 20"):
        correct(tree.isel(draw=slice(20)))
    with pytest.raises(pv.diagnostics.NotAvailable, match="Markov chain"):
        correct(by_hand(np.zeros((1, 50, 2)), method="nuts"))
    with pytest.raises(TypeError, match="ArviZ tree"):
        correct(tree["posterior"].dataset)


def test_shared_latents_are_refused() -> None:
    x = torch.randn(6, 1, dtype=torch.float64)
    tree = pv.posterior(programs.shared_mean(x), x, draws=50)
    with pytest.raises(pv.diagnostics.NotAvailable, match="'m' is shared by all data"):
        correct(tree)
    with pytest.raises(pv.diagnostics.NotAvailable, match="method='q' gives the guide's own"):
        expectation(tree, lambda d: d["z"])
    assert expectation(tree, lambda d: d["z"] - d["m"], method="q")["mean"].dims == ("chain", "obs_id")


# Expectations


def test_draws_of_x_come_where_they_are_asked_for(x, make: Make, exact) -> None:
    """E[x̃|x] = W E[z|x] + μ, by the draws that have one."""
    w, mu, _ = ppca.maximum_likelihood(x, LATENTS)
    true = exact[0] @ w.numpy().T + mu.numpy()
    for tree in (make(0.9, 0.3), correct(make(0.9, 0.3), method="resample")):
        found = expectation(tree, lambda d: d["x"])
        assert found.attrs["draws"] == 100
        off = deviations(found, true)
        assert abs(off.mean(0)).max() < 4 / math.sqrt(DATA)
        assert off.std() < 1.1
    difference = expectation(make(0.9), lambda draws: draws.x - draws["z"].sum("z_dim_0"))
    assert difference["mean"].sizes == {"chain": 1, "obs_id": DATA, "x_dim_0": 6}


def test_draws_of_markov_chains_have_arviz_error() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4, 500, 3))
    for s in range(1, 500):
        noise[:, s] = 0.7 * noise[:, s - 1] + math.sqrt(1 - 0.7**2) * noise[:, s]
    tree = by_hand(np.zeros(noise.shape), method="nuts")
    tree["posterior"] = xr.DataTree(xr.Dataset({"z": (LEAD, noise)}))
    found = expectation(tree, lambda d: d["z"])
    assert found.attrs["method"] == "exact"
    assert found["mean"].dims == ("obs_id",)
    assert (abs(found["mean"]) < 4 * found["mcse"]).all()
    np.testing.assert_allclose(found["mcse"], az.mcse(tree)["z"])
    np.testing.assert_allclose(found["ess"], az.ess(tree, method="mean")["z"])
    assert 0.7 < float(found["ess"].mean()) / (2000 * 0.3 / 1.7) < 1.4  # S (1 − ρ)/(1 + ρ)


def test_the_effective_number_of_draws_is_that_of_the_function(make: Make) -> None:
    found = expectation(make(1.0), lambda d: d["z"])
    np.testing.assert_allclose(found["ess"], DRAWS)
    always = expectation(make(0.9), lambda d: xr.ones_like(d["z"]))
    assert (always["mcse"] < 1e-12).all()
    np.testing.assert_allclose(always["mean"], 1.0)


def test_a_function_with_a_heavier_tail_than_the_weights_is_told(make: Make, exact) -> None:
    """exp(a u²) of a standard Normal u has the tail index 2a, whatever the weights: here they are constant."""
    tree, (mean, sd) = make(1.0), exact
    centre = xr.DataArray(mean, dims=("obs_id", "z_dim_0"), coords={"obs_id": np.arange(DATA), "z_dim_0": [0, 1]})
    for a, reliable in ((0.1, True), (0.5, False)):
        found = expectation(tree, lambda d, a=a: np.exp(a * ((d["z"] - centre) / sd) ** 2))
        assert (found["pareto_k"] == 0).all()
        assert found["pareto_k_f"].mean() == pytest.approx(2 * a, abs=0.2)
        assert (found["reliable"].mean() > 0.95) == reliable
        assert (found["reliable"].mean() < 0.3) == (not reliable)
    share = expectation(make(0.9), lambda d: d["z"] > 0)
    assert (share["pareto_k_f"] == share["pareto_k"]).all()
    assert (abs(share["mean"] - 0.5) <= 0.5 + 1e-12).all()


def test_restarts_stay_apart() -> None:
    tree = by_hand(np.random.default_rng(1).normal(size=(3, 200, 4)))
    found = expectation(tree, lambda d: d["z"])
    assert dict(found.sizes) == {"chain": 3, "obs_id": 4}
    one = expectation(tree.isel(chain=[1]), lambda d: d["z"])
    np.testing.assert_allclose(one["mean"].values[0], found["mean"].values[1])


@pytest.mark.parametrize(
    ("f", "error", "says"),
    [
        ("z", TypeError, "expected a function of the draws"),
        (lambda d: d["z"].values, TypeError, "return an xarray.DataArray, got ndarray"),
        (lambda d: d["z"].mean("draw"), ValueError, "return a value per draw"),
        (lambda d: d["z"].isel(draw=slice(10)), ValueError, "'draw': 10"),
        (lambda d: np.log(d["z"] * 0 - 1), ValueError, "expected finite values, got 2000 of 2000 that are not"),
        (lambda d: np.log(d["z"] * 0 + 1).where(d["obs_id"] != 7), ValueError, "first at obs_id 7"),
        (lambda d: d["z"] - d["z"].mean("obs_id"), ValueError, "each datum by itself"),
        (lambda d: d["theta"], KeyError, "theta"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in log")
def test_what_is_no_function_of_the_draws_is_refused(make: Make, f, error, says: str) -> None:
    with pytest.raises(error, match=says):
        expectation(make(0.9), f)


def test_methods_that_do_not_suit_the_draws(make: Make) -> None:
    tree = make(0.9).isel(obs_id=slice(3))
    with pytest.raises(ValueError, match="'psis' or 'q' for this tree, whose draws are of a guide, got 'exact'"):
        expectation(tree, lambda d: d["z"], method="exact")
    with pytest.raises(ValueError, match="'resampled' for this tree"):
        expectation(correct(tree, method="resample"), lambda d: d["z"], method="psis")
    with pytest.raises(ValueError, match="'exact' for this tree"):
        expectation(by_hand(np.zeros((2, 50, 2)), method="nuts"), lambda d: d["z"], method="q")
    with pytest.raises(pv.diagnostics.NotAvailable, match="30 draws per datum, got 20: raise draws="):
        expectation(tree.isel(draw=slice(20)), lambda d: d["z"])


def test_a_function_that_writes_into_the_draws_writes_into_its_own(make: Make) -> None:
    tree = make(0.9)
    kept = tree["posterior"]["z"].copy(deep=True)

    def f(draws: xr.Dataset) -> xr.DataArray:
        draws["z"] *= 2
        return draws["z"]

    expectation(tree, f)
    xr.testing.assert_identical(tree["posterior"]["z"], kept)


# Intervals


@pytest.mark.parametrize(("c", "delta"), PLANTED)
def test_intervals_show_what_was_planted(make: Make, c: float, delta: float) -> None:
    found = intervals(make(c, delta)).isel(chain=0)
    edge = c * norm.ppf(0.95)
    true = {"width_median": c, "coverage_mean": norm.cdf(edge + delta) - norm.cdf(delta - edge), "shift_mean": delta}
    for name, value in (true | {"shift_rms": delta}).items():
        assert (abs(found[name] - value) < 4 * found[f"{name}_se"] + BIAS[name]).all(), name
    assert float(found["share_reliable"]) == 1


BIAS = {"width_median": 5e-3, "coverage_mean": 1e-3, "shift_mean": 3e-3, "shift_rms": 5e-3}
"""Of order 1/S: what a thousand draws leave of self-normalised weights; none of it makes a guide look worse."""


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("draws", [37, 1000])
def test_an_exact_guide_covers_exactly(make: Make, level: float, draws: int) -> None:
    found = intervals(make(1.0).isel(draw=slice(draws)), level=level)
    for name, value in (("coverage", level), ("width", 1), ("shift", 0), ("coverage_mean", level), ("shift_rms", 0)):
        np.testing.assert_allclose(found[name], value, atol=1e-12)
    assert found["latent"].values.tolist() == ["z[0]", "z[1]"]


def test_a_narrow_guide_never_looks_narrower_than_it_is(x) -> None:
    """Its weights miss the posterior's tails: the bias is towards 'nothing wrong'."""
    found = intervals(pv.posterior(planted(x, 0.6), x, draws=DRAWS, predictive=0)).isel(chain=0)
    assert 0.2 < float(found["share_reliable"]) < 0.9
    assert ((found["width_median"] > 0.6) & (found["width_median"] < 0.75)).all()
    assert (found["coverage_mean"] > 2 * norm.cdf(0.6 * norm.ppf(0.95)) - 1).all()


def test_intervals_of_several_sites() -> None:
    x = programs.gaussian(20)
    found = intervals(pv.posterior(programs.hierarchy(), x, draws=200, predictive=0))
    assert sorted(found["latent"].values.tolist()) == ["z1[0]", "z1[1]", "z2"]


def test_a_datum_whose_draws_are_all_one_value_has_no_width(make: Make) -> None:
    """It is left out of that latent's figures, and of no other's."""
    tree = make(0.9)
    some, whole = tree.copy(), intervals(tree)
    z = tree["posterior"]["z"].copy()
    z[:, :, :50, 0] = 1.0
    some["posterior"] = xr.DataTree(some["posterior"].to_dataset().assign(z=z))
    found, rest = intervals(some), intervals(make(0.9).isel(obs_id=slice(50, None)))
    assert found["width"].isnull().sum() == 50
    for name in ("width_median", "coverage_mean", "shift_mean", "shift_rms"):
        for figure in (name, f"{name}_se"):
            np.testing.assert_allclose(found[figure][:, 0], rest[figure][:, 0], err_msg=figure)
            np.testing.assert_allclose(found[figure][:, 1], whole[figure][:, 1], err_msg=figure)
    z[..., 0] = 1.0
    some["posterior"] = xr.DataTree(some["posterior"].to_dataset().assign(z=z))
    assert intervals(some)["width_median"].isnull().values.tolist() == [[True, False]]
    row = pv.diagnose(some).table.set_index("question").loc["Are q's intervals right?"]
    assert row["figure"].startswith("z[1]: width 0.9")
    z[..., 1] = 1.0
    some["posterior"] = xr.DataTree(some["posterior"].to_dataset().assign(z=z))
    row = pv.diagnose(some).table.set_index("question").loc["Are q's intervals right?"]
    assert (row["verdict"], "no latent varies" in row["action"]) == ("not available", True)


def test_intervals_are_of_latents_that_are_not_discrete() -> None:
    """Though their draws are numbers, as those of a vector with a single one are."""

    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            kind = pyro.sample("kind", dist.OneHotCategorical(torch.ones(3)))
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.cat([kind, z], -1), 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("kind", dist.OneHotCategorical(logits=x[:, :3] - 0.5))  # the posterior
            pyro.sample("z", dist.Normal(0.5 * x[:, 3:], 0.5**0.5).to_event(1))

    tree = pv.posterior(pv.Program(model, guide), torch.randn(30, 5), draws=100)
    found = intervals(tree)
    assert found["latent"].values.tolist() == ["z[0]", "z[1]"]
    np.testing.assert_allclose(found["width_median"], 1, rtol=1e-4)
    row = pv.diagnose(tree).table.set_index("question").loc["Are q's intervals right?"]
    assert (row["figure"], row["verdict"]) == ("z[0]: width 1.00, shift 0.00, 90 % holds 90 %", "good")
    vae = pv.VAE(
        pv.priors.OneHotCategorical(3),
        pv.likelihoods.Normal(pv.networks.MLP(3, (), 5), 1.0),
        pv.guides.OneHotCategorical(pv.networks.MLP(5, (), 3)),
    )
    with pytest.raises(pv.diagnostics.NotAvailable, match="no latent is real-valued"):
        intervals(pv.posterior(vae, torch.randn(30, 5), draws=100))


def test_intervals_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="level: expected a number between 0 and 1, got 90"):
        intervals(make(0.9), level=90)
    with pytest.raises(pv.diagnostics.NotAvailable, match="were resampled"):
        intervals(correct(make(0.9).isel(obs_id=slice(3)), method="resample"))
    with pytest.raises(pv.diagnostics.NotAvailable, match=r"no datum has k̂ < 0\.\d\d"):
        intervals(by_hand(3 * np.random.default_rng(0).exponential(size=(1, 500, 3))))
    tree = by_hand(np.random.default_rng(0).normal(size=(1, 100, 3)))
    tree["posterior"] = xr.DataTree(tree["posterior"].to_dataset().astype(int))
    with pytest.raises(pv.diagnostics.NotAvailable, match="no latent is real-valued"):
        intervals(tree)
