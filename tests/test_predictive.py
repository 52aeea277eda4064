"""Predictive checks on trees whose draws are planted: exact posteriors, by closed form, of right and wrong models."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import gammaln
from scipy.stats import kstest

import pyrovae as pv
from models import ppca
from pyrovae.diagnostics import predictive
from pyrovae.diagnostics._exchange import exchange_test, flip_tests
from pyrovae.diagnostics.predictive import predictive_check
from pyrovae.diagnostics.prior_predictive import prior_predictive_check
from tests import programs

LEAD = ("chain", "draw", "obs_id")
FEATURES, LATENTS, NOISE = 6, 2, 0.5
SETS = 150
W = np.linalg.qr(np.random.default_rng(1).normal(size=(FEATURES, LATENTS)))[0] * np.array([3.0, 1.5])


def tree_of(x: np.ndarray, made: np.ndarray, z: np.ndarray, lik: Any = None, made_lik: Any = None, **stats: Any) -> Any:
    """A tree of one chain: x (n, …), replicates (draw, n, …), z (draw, n, …), log likelihoods (draw, n)."""
    own = [f"f{k}" for k in range(x.ndim - 1)]
    groups = {
        "/posterior": xr.Dataset({"z": ((*LEAD, *[f"k{k}" for k in range(z.ndim - 2)]), z[None])}),
        "/posterior_predictive": xr.Dataset({"x": ((*LEAD, *own), made[None])}),
        "/observed_data": xr.Dataset({"x": (("obs_id", *own), x)}),
    }
    if lik is not None:
        stats["log_lik"] = lik
        groups["/predictive_stats"] = xr.Dataset({"log_lik": (LEAD, made_lik[None])})
    if stats:
        groups["/sample_stats"] = xr.Dataset({name: (LEAD, v[None]) for name, v in stats.items()})
    return xr.DataTree.from_dict(groups)


def linear(
    x: np.ndarray, rng: np.random.Generator, *, draws: int = 1, kept: int | None = None, scale: float = 1.0
) -> xr.DataTree:
    """The tree of pPCA with true W and noise, the guide as wide as the posterior or ``scale`` times; NaN is missing."""
    there = ~np.isnan(x)
    z = np.empty((draws, len(x), LATENTS))
    log_weight = np.empty((draws, len(x)))
    for i, seen in enumerate(there):  # each datum's own exact posterior, given the cells that it has
        covariance = np.linalg.inv(W[seen].T @ W[seen] / NOISE**2 + np.eye(LATENTS))
        e = rng.normal(size=(draws, LATENTS))
        centre = covariance @ W[seen].T @ x[i, seen] / NOISE**2
        z[:, i] = centre + scale * e @ np.linalg.cholesky(covariance).T
        log_weight[:, i] = 0.5 * (1 - scale**2) * (e**2).sum(-1)
    mean = z @ W.T
    made = mean[:kept] + NOISE * rng.normal(size=mean[:kept].shape)

    def log_lik(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
        terms = -0.5 * ((values - mean) / NOISE) ** 2 - np.log(NOISE * np.sqrt(2 * np.pi))
        return np.where(there, terms, 0).sum(-1)

    lik, made_lik = log_lik(np.nan_to_num(x), mean), log_lik(made, mean[:kept])
    return tree_of(x, made, z, lik, made_lik, log_weight=log_weight)


def data(n: int, rng: np.random.Generator, noise: Callable[..., np.ndarray] | None = None) -> np.ndarray:
    e = NOISE * rng.normal(size=(n, FEATURES)) if noise is None else noise((n, FEATURES))
    return rng.normal(size=(n, LATENTS)) @ W.T + e


def counts(x: np.ndarray, rng: np.random.Generator, rate: np.ndarray, shape: float, draws: int = 20) -> xr.DataTree:
    """The tree of z ~ Gamma(shape, shape), x_j ~ Poisson(rate_j z), of which the posterior is a Gamma."""
    z = rng.gamma(shape + x.sum(1), 1 / (shape + rate.sum()), (draws, len(x)))
    mean = z[..., None] * rate
    made = rng.poisson(mean)
    lik, made_lik = ((v * np.log(mean) - mean - gammaln(v + 1)).sum(-1) for v in (x, made))
    return tree_of(x, made, z, lik, made_lik)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# The exact test


def test_flips_of_three_data_are_counted(rng) -> None:
    """|Σ ± d| over the 8 signs of d = (1, 2, 4): at least 7 for 2, at least 5 for 4 of them; 0 is beaten by all."""
    differences = [np.array([[1.0], [2.0], [4.0]]), np.array([[-1.0], [2.0], [4.0]]), np.zeros((3, 1))]
    b = 20_000
    for (p, column), exact in zip(flip_tests(differences, b, rng), (2 / 8, 4 / 8, 1.0), strict=True):
        assert abs(p - exact) <= 4 * np.sqrt(exact * (1 - exact) / b) + 1 / b
        assert column == 0


def test_the_largest_of_several_columns_is_tested_as_that(rng) -> None:
    """Of ten independent columns with a p of .005 in one: 1 − .995¹⁰."""
    differences = rng.normal(size=(500, 10))
    signs = 2.0 * rng.integers(0, 2, (4000, 500)) - 1
    norm = np.sqrt((differences**2).sum(0))
    single = np.quantile(np.abs(signs @ differences[:, 3]) / norm[3], 0.995)
    differences[:, 3] += (single * norm[3] - differences[:, 3].sum()) / 500
    (p, column), (alone, _) = flip_tests([differences, differences[:, 3:4]], 20_000, rng)
    assert column == 3
    assert p == pytest.approx(1 - (1 - alone) ** 10, rel=0.25)


def test_exchanging_pairs_gives_what_flipping_signs_gives(rng) -> None:
    x, made = rng.normal(0.2, 1, (60, 2)), rng.normal(size=(60, 2))
    p, spread = exchange_test(lambda v: float(v.mean()), x, made, 999, rng)
    difference = (x - made).mean(1, keepdims=True)
    ((flipped, _),) = flip_tests([difference], 9999, rng)
    assert abs(p - flipped) < 4 * np.sqrt(flipped / 999)
    assert spread == pytest.approx(np.sqrt((difference**2).mean() / 60), rel=0.1)


def test_p_values_are_uniform_of_a_right_model(rng) -> None:
    """Each statistic, the largest of several and those of a user among them, over many sets of 40 data."""
    reports = []
    for seed in range(SETS):
        tree = linear(data(40, rng), rng)
        largest = {"largest": lambda x: float(x.max())} if seed % 2 else {}
        reports.append(predictive_check(tree, statistics=largest, permutations=199, seed=seed))
    names = reports[1]["statistic"].values.tolist()
    assert names == [
        "log p(x|z), mean", "log p(x|z), spread", "log p(x|z), upper half", "log p(x|z), lowest 5 %",
        "mean of each datum, average", "mean of each datum, spread",
        "spread of each datum, average", "spread of each datum, spread",
        "means of features", "noise of features", "noise along directions", "largest",
    ]  # fmt: skip
    for name in names:
        p = np.array([float(r["p_value"].sel(statistic=name)) for r in reports if name in r["statistic"]])
        for level in (0.05, 0.2, 0.5):
            assert (p <= level).mean() < level + 4 * np.sqrt(level * (1 - level) / len(p)), name
        if name not in (
            "largest",
            "log p(x|z), upper half",
            "log p(x|z), lowest 5 %",
        ):  # few data count in these: ties, valid but not uniform
            assert kstest(p, "uniform").pvalue > 0.001, name
    some = np.mean([r.attrs["p"] < 0.05 for r in reports])
    assert some < 0.05 + 4 * np.sqrt(0.05 * 0.95 / SETS)


def test_ties_leave_the_test_valid(rng) -> None:
    """Twelve coins, of which the average has few values."""
    x, made = (rng.random((2, 12, 1000)) < rng.random((12, 1000))).astype(float)
    p = np.array([flip_tests([(x - made)[:, k, None]], 99, rng)[0][0] for k in range(1000)])
    for level in (0.05, 0.2):
        assert np.mean(p <= level) < level + 4 * np.sqrt(level * (1 - level) / 1000)
    table = predictive_check(tree_of(x[:, 0], made[:, 0][None], np.zeros((1, 12))))
    assert ((table["p_value"] > 0) & (table["p_value"] <= 1)).all()


# Right and wrong likelihoods


def wrong(name: str, rng: np.random.Generator) -> np.ndarray:
    n = 500
    if name == "heavy tails":
        return data(n, rng, lambda size: NOISE * rng.standard_t(3, size) / np.sqrt(3))
    if name == "noise differs by feature":
        return data(n, rng, lambda size: NOISE * rng.normal(size=size) * np.sqrt([0.5, 0.8, 1, 1, 1.2, 1.5]))
    if name == "noise too small":
        return data(n, rng, lambda size: 0.8 * NOISE * rng.normal(size=size))
    axis = np.linalg.svd(W.T)[2][LATENTS]  # at right angles to what W spans
    return data(n, rng) + rng.normal(0, 0.6, (n, 1)) * axis


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("heavy tails", "log p(x|z), spread"),
        ("noise differs by feature", "noise of features"),
        ("noise too small", "log p(x|z), mean"),
        ("a latent is missing", "noise along directions"),
    ],
)
def test_a_wrong_likelihood_is_found(rng, name: str, seen: str) -> None:
    found = predictive_check(linear(wrong(name, rng), rng, draws=30))
    assert bool(found["found"].sel(statistic=seen))
    assert found.attrs["found"] >= 1
    assert found.attrs["p"] <= 0.01
    assert not bool(found["found"].sel(statistic="mean of each datum, average"))


def test_the_feature_and_the_size_are_said(rng) -> None:
    x = wrong("noise differs by feature", rng)
    x[:, 4] += 0.8 * rng.normal(size=len(x))
    row = predictive_check(linear(x, rng, draws=30)).sel(statistic="noise of features")
    assert row["where"].item() == "4"
    assert float(row["observed"] / row["replicated"]) > 1.4
    assert float(row["effect"]) > 0.5


@pytest.mark.parametrize("name", ["right", "overdispersed", "zeros"])
def test_counts(rng, name: str) -> None:
    rate, n = np.linspace(1, 6, 8), 400
    mean = rate * rng.gamma(3, 1 / 3, (n, 1))
    x = rng.poisson(mean * rng.gamma(5, 0.2, mean.shape) if name == "overdispersed" else mean)
    x = np.where(rng.random(x.shape) < 0.12, 0, x) if name == "zeros" else x
    found = predictive_check(counts(x, rng, rate, 3.0))
    row = found.sel(statistic="log p(x|z), mean")
    if name == "right":
        assert found.attrs["found"] == 0
    else:
        assert bool(row["found"])
        assert float(row["observed"]) < float(row["replicated"])
        assert float(found["effect"].sel(statistic="zeros in each datum, average")) > 0.1


def test_a_large_set_does_not_condemn_a_small_error(rng) -> None:
    """Noise 2 % too small in 20,000 data: seen, and left alone."""
    x = data(20_000, rng, lambda size: 1.02 * NOISE * rng.normal(size=size))
    mean = np.linalg.solve(W.T @ W + NOISE**2 * np.eye(LATENTS), W.T @ x.T).T
    root = np.linalg.cholesky(np.linalg.inv(W.T @ W / NOISE**2 + np.eye(LATENTS)))
    z = mean + rng.normal(size=mean.shape) @ root.T
    made = z @ W.T + NOISE * rng.normal(size=x.shape)
    lik, made_lik = (-0.5 * (((v - z @ W.T) / NOISE) ** 2).sum(1)[None] for v in (x, made))
    found = predictive_check(tree_of(x, made[None], z[None], lik, made_lik), permutations=999)
    row = found.sel(statistic="log p(x|z), mean")
    assert float(row["p_value"]) < 0.01
    assert 0.01 < -float(row["effect"]) < predictive.MATERIAL
    assert found.attrs["found"] == 0


# The guide


def test_a_narrow_guide_is_corrected_and_the_likelihood_not_blamed(rng) -> None:
    """sd .75 times the posterior's: k = 1 − .56, which weights mend. Without them, it passes for a fault of p."""
    tree = linear(data(800, rng), rng, draws=1000, kept=100, scale=0.75)
    corrected = predictive_check(tree)
    assert corrected.attrs["corrected"] > 0.9
    assert corrected.attrs["found"] == 0
    tree["sample_stats"] = xr.DataTree(tree["sample_stats"].to_dataset().drop_vars("log_weight"))
    blamed = predictive_check(tree)
    assert np.isnan(blamed.attrs["corrected"])
    assert bool(blamed["found"].sel(statistic="log p(x|z), mean"))


def test_a_guide_beyond_correction_is_said_to_be(rng) -> None:
    tree = linear(data(100, rng), rng, draws=200, kept=50, scale=0.2)
    assert predictive_check(tree, permutations=999).attrs["corrected"] < 0.2


def test_resampled_draws_and_chains_are_taken_as_they_are(rng) -> None:
    tree = linear(data(60, rng), rng, draws=40)
    stats = tree["sample_stats"].to_dataset()
    tree["importance"] = xr.DataTree(stats[["log_weight"]] + 10 * rng.normal(size=(1, 40, 60)))
    tree["sample_stats"] = xr.DataTree(stats.drop_vars("log_weight"))
    resampled = predictive_check(tree, permutations=99)
    assert resampled.attrs["corrected"] < 1
    tree.attrs["method"] = "nuts"
    chains = predictive_check(tree, permutations=99)
    assert chains.attrs["corrected"] == 1
    np.testing.assert_array_equal(chains["observed"], resampled["observed"])


def test_the_chain_that_the_fit_chose(rng) -> None:
    good, bad = (linear(x, rng, draws=30) for x in (data(200, rng), wrong("heavy tails", rng)[:200]))
    bad["observed_data"], groups = good["observed_data"], {}
    for name, node in good.children.items():
        two = [node.to_dataset(), bad[name].to_dataset()]
        groups[f"/{name}"] = xr.concat(two, "chain") if "chain" in two[0].dims else two[0]
    both = xr.DataTree.from_dict(groups)
    for chain, alone in enumerate((good, bad)):
        both.attrs["settings"] = json.dumps({"best_chain": chain})
        xr.testing.assert_identical(predictive_check(both, permutations=99), predictive_check(alone, permutations=99))


# What is reported


def test_figures_of_known_draws() -> None:
    """Draw by draw, as of latents that all data share: averages 1 | 1, 3, 0, 5, variances 1 | 0, 1, 1, 0."""
    made = np.array([[1.0, 1.0], [2.0, 4.0], [-1.0, 1.0], [5.0, 5.0]])
    tree = tree_of(np.array([0.0, 2.0]), made, np.zeros((4, 2)), log_lik=np.zeros((4, 2)))
    tree["sample_stats"].attrs["global_sites"] = '["w"]'
    found = predictive_check(tree, permutations=99)
    average = found.sel(statistic="x, average")
    assert float(average["p_posterior"]) == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert (float(average["observed"]), float(average["replicated"])) == (1.0, 9 / 4)
    assert float(average["replicated_sd"]) == pytest.approx(np.std([1, 3, 0, 5]))
    # the first two replicates differ by 1 and 3, of sd √2: one standard deviation of a datum
    assert float(average["effect"]) == pytest.approx(1 - 9 / 4)
    assert float(found["observed"].sel(statistic="x, spread")) == pytest.approx(1.0)


def test_user_statistics(rng) -> None:
    tree = linear(data(300, rng) + 0.1, rng, draws=20)
    seen: list[tuple[int, ...]] = []

    def mean(x: np.ndarray) -> float:
        seen.append(x.shape)
        return float(x.mean())

    found = predictive_check(tree, statistics={"mean": mean, "kurtosis": lambda x: (x**4).mean() / (x**2).mean() ** 2})
    assert set(seen) == {(300, FEATURES)}
    own, built_in = (found.sel(statistic=name) for name in ("mean", "mean of each datum, average"))
    for name in ("observed", "replicated", "replicated_sd", "p_posterior"):
        assert float(own[name]) == pytest.approx(float(built_in[name]), rel=1e-9)
    assert float(own["effect"]) == pytest.approx(float(built_in["effect"]), rel=0.15, abs=0.005)
    assert abs(float(own["p_value"]) - float(built_in["p_value"])) < 4 * np.sqrt(0.25 / 999)
    assert found["p_adjusted"].sizes["statistic"] == 13


def test_missing_cells_are_missing_in_both(rng) -> None:
    x = data(400, rng)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[0] = np.nan
    tree = linear(x, rng, draws=5)
    nans: list[int] = []

    def largest(values: np.ndarray) -> float:
        nans.append(int(np.isnan(values).sum()))
        return float(np.nanmax(values))

    found = predictive_check(tree, statistics={"largest": largest})
    assert found.attrs["found"] == 0
    assert set(nans) == {int(np.isnan(x).sum())}
    made = tree["posterior_predictive"]["x"]
    tree["posterior_predictive"] = xr.DataTree(xr.Dataset({"x": made.where(~np.isnan(x)[None, None], 1e6)}))
    xr.testing.assert_allclose(predictive_check(tree, statistics={"largest": largest}), found, rtol=1e-9)


def test_impossible_data_are_found(rng) -> None:
    tree = linear(data(100, rng), rng)
    lik = tree["sample_stats"]["log_lik"].copy()
    lik[..., :30] = -np.inf
    tree["sample_stats"] = xr.DataTree(tree["sample_stats"].to_dataset().assign(log_lik=lik))
    found = predictive_check(tree)
    assert np.isfinite(found["effect"]).all()
    assert bool(found["found"].sel(statistic="log p(x|z), mean"))
    assert np.isneginf(lik).sum() == 30


def test_the_seed_decides(rng) -> None:
    tree = linear(data(50, rng), rng, draws=10)
    first, second, other = (predictive_check(tree, permutations=199, seed=s) for s in (1, 1, 2))
    xr.testing.assert_identical(first, second)
    assert (first["p_value"] != other["p_value"]).any()


def test_very_large_sets_are_checked_in_part(rng, monkeypatch) -> None:
    tree = linear(data(50, rng), rng, draws=3)
    monkeypatch.setattr(predictive, "CELLS", 20 * FEATURES)
    assert predictive_check(tree, permutations=99).attrs["data"] == 20


def test_a_centre_that_depends_on_z_is_found() -> None:
    """Residuals of x = z² + .1 e: the regression on functions of z leaves little more than the noise."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1, 500))
    x, made = z[0] ** 2 + 0.1 * rng.normal(size=(2, 500))
    tree = tree_of(x, made[None], z)
    found = predictive_check(tree, permutations=99).sel(statistic="noise of features")
    assert float(found["observed"]) < 1.3  # in units of the noise; x itself has a standard deviation of 14


# Trees of programs


def test_an_exact_program(rng) -> None:
    x = torch.as_tensor(data(250, rng))
    tree = pv.posterior(ppca.exact_program(x, LATENTS), x, draws=50)
    found = predictive_check(tree)
    assert found.attrs["corrected"] == 1
    assert found.attrs["found"] == 0
    assert found.attrs["left_out"] == ""
    assert float(prior_predictive_check(tree)["p_value"]) > 0.01


def test_programs_that_sum_a_latent_out(rng) -> None:
    x = torch.as_tensor(np.where(rng.random(200) < 0.3, 2.0, -1.0) + 0.6 * rng.normal(size=200))[:, None]
    program = programs.two_components(torch.tensor([0.7, 0.3]).double(), torch.tensor([-1.0, 2.0]).double())
    found = predictive_check(pv.posterior(program, x, draws=40))
    assert "sum a latent out" in found.attrs["left_out"]
    assert not any("log p" in name for name in found["statistic"].values)
    assert found.attrs["found"] == 0


def test_programs_whose_data_share_a_latent(rng) -> None:
    x = torch.as_tensor(rng.normal(1, np.sqrt(0.7**2 + 0.5**2), (100, 1)))
    tree = pv.posterior(programs.shared_mean(x), x, draws=40)
    found = predictive_check(tree)
    assert np.isnan(found.attrs["corrected"])
    assert found.attrs["found"] == 0
    with pytest.raises(pv.diagnostics.NotAvailable, match="share 'm', of which each draw of x has a value of its own"):
        prior_predictive_check(tree)


# Refusals


def test_what_is_missing_is_named(rng) -> None:
    with pytest.raises(TypeError, match="expected an ArviZ tree"):
        predictive_check({})  # type: ignore[arg-type]
    tree = linear(data(20, rng), rng)
    with pytest.raises(ValueError, match=r"var_name: expected one of \['x'\].*got 'y'"):
        predictive_check(tree, var_name="y")
    with pytest.raises(pv.diagnostics.NotAvailable, match="at least 2 data, the tree has 1"):
        predictive_check(tree.isel(obs_id=[0]))
    del tree["posterior_predictive"]
    with pytest.raises(pv.diagnostics.NotAvailable, match="no group 'posterior_predictive'"):
        predictive_check(tree)


def test_infinite_replicates_are_refused(rng) -> None:
    tree = linear(data(20, rng), rng)
    tree["posterior_predictive"]["x"][0, 0, 3, 1] = np.inf
    with pytest.raises(pv.diagnostics.NotAvailable, match="1 of 120 values in posterior_predictive/x are infinite"):
        predictive_check(tree)


@pytest.mark.parametrize(
    ("statistics", "error", "text"),
    [
        ([np.mean], TypeError, "expected {name: function of the data"),
        ({"mean": 3}, TypeError, "expected {name: function of the data"),
        ({"feature": lambda x: x.mean(0)}, ValueError, "one finite number of 'feature'"),
        ({"root": lambda x: np.nan}, ValueError, "np.nanmean"),
        ({"means of features": np.mean}, ValueError, "names other than those there are"),
    ],
)
def test_wrong_statistics_are_refused(rng, statistics: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        predictive_check(linear(data(20, rng), rng), statistics=statistics)


# New draws


def with_prior(x: np.ndarray, new: np.ndarray, context: np.ndarray | None = None) -> xr.DataTree:
    groups = {
        "/observed_data": xr.Dataset({"x": (("obs_id", "feature"), x)}, coords={"feature": ["a", "b", "c"]}),
        "/prior_predictive": xr.Dataset({"x": (("chain", "draw", "feature"), new[None])}),
    }
    if context is not None:
        groups["/constant_data"] = xr.Dataset({"context": (("obs_id", "covariate"), context)})
    return xr.DataTree.from_dict(groups)


def test_new_draws_like_the_data_pass_and_others_do_not(rng) -> None:
    p = [
        float(prior_predictive_check(with_prior(*rng.normal(size=(2, 40, 3))), permutations=99)["p_value"])
        for _ in range(150)
    ]
    assert kstest(p, "uniform").pvalue > 0.001
    x, new = rng.normal(size=(300, 3)), rng.normal([0.5, 0, 0], [1, 2, 1], (400, 3))
    found = prior_predictive_check(with_prior(x, new))
    assert float(found["p_value"]) == 1 / 1000
    assert float(found["effect"]) > 0.02
    np.testing.assert_allclose(found["shift"].sel(feature="a"), (new.mean(0) - x.mean(0))[0] / x[:, 0].std())
    np.testing.assert_allclose(found["ratio"], new.std(0) / x.std(0))
    assert found["feature"].values.tolist() == ["a", "b", "c"]


def test_new_draws_have_the_context_and_the_cells_of_their_data(rng) -> None:
    context = 3 * rng.normal(size=(80, 1))
    x, new = (context + rng.normal(size=(80, 3)) for _ in range(2))
    x[rng.random(x.shape) < 0.3] = np.nan
    new = np.concatenate([new, np.full((20, 3), 1e3)])  # draws 80 to 99 begin again at datum 0: not compared
    found = prior_predictive_check(with_prior(x, new, context))
    assert (found.attrs["paired"], found.attrs["data"], found.attrs["draws"]) == (1, 80, 80)
    assert float(found["p_value"]) > 0.01
    assert (np.abs(found["shift"]) < 0.3).all()


def test_features_that_do_not_vary_and_large_sets(rng) -> None:
    x, new = rng.normal(size=(2, 100, 3))
    x[:, 2] = new[:, 2] = 4.0
    found = prior_predictive_check(with_prior(x, new), most=30)
    assert (found.attrs["data"], found.attrs["draws"]) == (30, 30)
    assert np.isnan(found["ratio"].values[2])
    assert float(found["p_value"]) > 0.01


def test_infinite_new_draws_are_refused(rng) -> None:
    x, new = rng.normal(size=(2, 10, 3))
    new[3, 1] = np.inf
    with pytest.raises(pv.diagnostics.NotAvailable, match="1 of 30 values in prior_predictive/x are infinite"):
        prior_predictive_check(with_prior(x, new))
    with pytest.raises(pv.diagnostics.NotAvailable, match="no group 'prior_predictive'"):
        prior_predictive_check(linear(data(20, rng), rng))
