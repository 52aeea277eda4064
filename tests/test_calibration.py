"""Simulation-based calibration on programs whose posterior is known: exact, too narrow, too wide, off."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from arviz_stats.ecdf_utils import compute_ecdf, simulate_confidence_bands
from scipy.stats import binom, kstest, multinomial, norm
from torch import Tensor

import pyrovae as pv
from analysis import calibration as analysis
from pyrovae.diagnostics import NotAvailable
from pyrovae.diagnostics._uniformity import _inside, bands, holm, p_uniform
from pyrovae.diagnostics.calibration import LEVEL, calibration, coverage, pits
from pyrovae.diagnostics.sbc import SCOPE, sbc
from pyrovae.plots.calibration import plot_calibration
from tests import programs

SUMMED = {"enumerate": "parallel"}
LEVELS = [0.5, 0.8, 0.95]


@pytest.fixture(scope="module")
def x() -> Tensor:
    return analysis.simulate(n=50, features=5, latents=3)


def conjugate(c: float = 1.0, delta: float = 0.0) -> pv.Program:
    """z ~ N(0, 1), x ~ N(z, 1), and a guide c posterior sd wide and δ of them off."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_tensor(0.0), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] / 2 + delta * 0.5**0.5, c * 0.5**0.5))

    return pv.Program(model, guide)


NO_DATA = torch.zeros(2, 1, dtype=torch.float64)


def verdicts(ranks: xr.Dataset) -> dict[str, str]:
    found = calibration(ranks)
    return dict(zip(found["quantity"].values.tolist(), found["verdict"].values.tolist(), strict=True))


# The test of uniformity


@pytest.mark.parametrize("n", [2, 3, 5])
def test_p_is_that_of_enumeration(n: int) -> None:
    """The statistic depends on how many values fall between i/n and (i + 1)/n: all the ways are counted."""

    def statistic(cells: tuple[int, ...]) -> float:
        counts = np.cumsum(cells)[:-1]
        at = np.arange(1, n) / n
        return float(min(binom.cdf(counts, n, at).min(), binom.sf(counts - 1, n, at).min()))

    ways = [cells for cells in itertools.product(range(n + 1), repeat=n) if sum(cells) == n]
    chances = np.array([multinomial.pmf(cells, n, [1 / n] * n) for cells in ways])
    statistics = np.array([statistic(cells) for cells in ways])
    assert chances.sum() == pytest.approx(1)
    for cells, own in zip(ways, statistics, strict=True):
        pit = np.repeat((np.arange(n) + 0.5) / n, cells)
        assert p_uniform(pit) == pytest.approx(chances[statistics <= own * (1 + 1e-12)].sum(), abs=1e-12)


@pytest.mark.parametrize("prob", [0.8, 0.95])
def test_uniform_values_leave_the_bands_as_often_as_they_should(prob: float) -> None:
    n, repeats = 150, 2000
    at, low, high = bands(n, prob)
    rng = np.random.default_rng(0)
    left = 0
    for repeat in range(repeats):
        pit = rng.random(n)
        ecdf = compute_ecdf(pit, at)
        out = bool(((ecdf < low - 1e-12) | (ecdf > high + 1e-12)).any())
        assert repeat > 200 or out == (p_uniform(pit) < 1 - prob)
        left += out
    assert abs(left / repeats - (1 - prob)) < 4 * math.sqrt(prob * (1 - prob) / repeats)


def test_the_level_of_a_point_is_near_the_one_that_arviz_simulates() -> None:
    """Near: of simulated values none of which is below 1/n it leaves the upper tails out, and finds 94 % for 95."""
    n = 100
    level = simulate_confidence_bands(n, 1, np.arange(1, n) / n, 0.95, 4000, np.random.default_rng(0))
    assert abs(_inside(n, (1 - level) / 2) - 0.95) < 0.015


def test_a_p_value_too_small_to_be_computed_is_the_smallest() -> None:
    assert p_uniform(np.full(2000, 1e-9)) == 1e-12
    assert p_uniform(np.random.default_rng(0).random(1000) ** 3) == 1e-12


# The exact guide


def test_ranks_of_an_exact_guide_are_uniform(x: Tensor) -> None:
    """p-values of 60 repetitions are uniform, each with planted seeds; false alarms are as rare as promised."""
    exact = analysis.planted(x, 1.0, 0.0)
    found = [calibration(sbc(exact, x, simulations=100, draws=19, seed=seed)) for seed in range(60)]
    for name in ("uniform_p", "bias_p", "dispersion_p"):
        for quantity in ("z[0]", "z[1]", "z[2]", "log p"):
            p = [float(f[name].sel(quantity=quantity)) for f in found]
            assert kstest(p, "uniform").pvalue > 1e-3, (name, quantity)
    alarms = sum(bool((f["verdict"] != "calibrated").any()) for f in found)
    assert alarms <= binom.ppf(0.999, 60, LEVEL)


def test_an_exact_guide_covers_what_it_says(x: Tensor) -> None:
    ranks = sbc(analysis.planted(x, 1.0, 0.0), x, simulations=2000, draws=99)
    assert set(verdicts(ranks).values()) == {"calibrated"}
    found = coverage(ranks, LEVELS)
    assert (np.abs(found["z"]) < 4).all()
    np.testing.assert_allclose(found["se"], [math.sqrt(a * (1 - a) / 2000) for a in LEVELS])
    assert found.attrs["scope"] == ranks.attrs["scope"] == SCOPE
    assert list(found["quantity"].values) == ["z[0]", "z[1]", "z[2]"]


def test_ranks_are_whole_and_in_range(x: Tensor) -> None:
    ranks = sbc(analysis.planted(x, 1.0, 0.0), x, simulations=200, draws=9)
    assert ranks["rank_z"].dims == ("simulation", "z_dim_0")
    assert ranks["rank_z"].shape == (200, 3)
    assert ranks["rank_log_p"].dims == ("simulation",)
    for site in ("z", "log_p"):
        rank, pit = ranks[f"rank_{site}"].values, ranks[f"pit_{site}"].values
        assert rank.dtype == np.int64
        assert set(np.unique(rank)) <= set(range(10))
        np.testing.assert_array_equal(np.floor(pit * 10), rank)


# Guides whose fault is known


@pytest.mark.parametrize("c", [0.5, 0.7, 1.5])
def test_a_guide_of_another_width_is_found_and_measured(x: Tensor, c: float) -> None:
    """Coverage 2Φ(cΦ⁻¹((1 + α)/2)) − 1, and Var Φ(Z/c) = arcsin(1/(1 + c²))/2π."""
    n, draws = 1500, 200
    ranks = sbc(analysis.planted(x, c, 0.0), x, simulations=n, draws=draws)
    should = 2 * norm.cdf(c * norm.ppf((1 + np.array(LEVELS)) / 2)) - 1
    se = np.sqrt(should * (1 - should) / n)
    assert (np.abs(coverage(ranks, LEVELS)["coverage"].values - should) < 4 * se).all()
    found = calibration(ranks)
    variance = math.asin(1 / (1 + c**2)) / (2 * math.pi)
    assert analysis.closed(c, 0.0, 10**6)["dispersion"] == pytest.approx(12 * variance, abs=1e-4)
    for name, pit in pits(ranks).items():
        if name != "log p":
            squares = 12 * (pit - pit.mean()) ** 2
            wanted = analysis.closed(c, 0.0, draws)["dispersion"]
            assert abs(squares.mean() - wanted) < 4 * squares.std() / math.sqrt(n)
    assert found["dispersion_z"].sel(quantity="z[0]") * (1 - c) > 0
    latents = "too narrow" if c < 1 else "too wide"
    whole = "too narrow" if c < 1 else "too wide or misplaced"
    assert verdicts(ranks) == {"z[0]": latents, "z[1]": latents, "z[2]": latents, "log p": whole}


@pytest.mark.parametrize("delta", [0.4, -1.0])
def test_a_guide_that_is_off_is_found_and_measured(x: Tensor, delta: float) -> None:
    """E Φ(Z − δ) = Φ(−δ/√2): a guide too high leaves the truth below its draws."""
    n, draws = 1500, 50
    ranks = sbc(analysis.planted(x, 1.0, delta), x, simulations=n, draws=draws)
    found = calibration(ranks)
    should = draws / (draws + 1) * (norm.cdf(-delta / math.sqrt(2)) - 0.5)
    for name, pit in pits(ranks).items():
        if name != "log p":
            assert abs(float(found["bias"].sel(quantity=name)) - should) < 4 * pit.std() / math.sqrt(n)
            assert float(found["bias_z"].sel(quantity=name)) * delta < 0
            assert verdicts(ranks)[name] == "biased"


def test_log_p_finds_what_no_dimension_shows() -> None:
    """Two correlated latents, and a guide with the right margins and none of the correlation."""
    factor = torch.tensor([[1.0, 0.0], [0.9, (1 - 0.81) ** 0.5]], dtype=torch.float64)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MultivariateNormal(x.new_zeros(2), scale_tril=factor))
            pyro.sample("x", dist.Normal(0 * z[:, 0], 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))

    found = verdicts(sbc(pv.Program(model, guide), NO_DATA, simulations=500, draws=100))
    assert found == {"z[0]": "calibrated", "z[1]": "calibrated", "log p": "too wide or misplaced"}


# Ties, and latents that are no numbers


def binary(prior: float, exact: bool, whole: bool) -> pv.Program:
    """z ~ Bernoulli, as a number or as one of two categories, x ~ N(z, 1)."""

    def family(p: Tensor) -> Any:
        return dist.Categorical(torch.stack([1 - p, p], -1)) if whole else dist.Bernoulli(p)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", family(x.new_full((len(x),), prior)))
            pyro.sample("x", dist.Normal(z.to(x.dtype), 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        own = prior if exact else 1 - prior
        logit = math.log(own / (1 - own)) + x[:, 0] - 0.5
        with pyro.plate("data", len(x)):
            pyro.sample("z", family(torch.sigmoid(logit)))

    return pv.Program(model, guide)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_are_broken_at_random(dtype: torch.dtype) -> None:
    """One of two values, of z as of log p: all draws are equal to the truth or on the same side of it."""
    data = torch.zeros(1, 1, dtype=dtype)
    exact = sbc(binary(0.3, True, False), data, simulations=1000, draws=20)
    assert verdicts(exact) == {"z": "calibrated", "log p": "calibrated"}
    assert kstest(exact["pit_z"], "uniform").pvalue > 1e-3
    assert kstest(exact["pit_log_p"], "uniform").pvalue > 1e-3
    found = verdicts(sbc(binary(0.3, False, False), data, simulations=1000, draws=20))
    assert found["z"] == "biased"
    assert found["log p"] != "calibrated"


def test_log_p_of_the_same_latent_is_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of matrices is rounded otherwise for one row, the truth, than for 50 draws: no rank hangs on that."""
    monkeypatch.setattr("pyrovae.draws.blocks.MOST_ROWS", 50)
    network, each = pv.networks.MLP(4, (128,), 200), torch.eye(4)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.OneHotCategorical(torch.full((4,), 0.25)))
            pyro.sample("x", dist.Normal(network(z), 0.1).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        logits = dist.Normal(network(each), 0.1).to_event(1).log_prob(x[:, None])
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.OneHotCategorical(logits=logits))

    ranks = sbc(pv.Program(model, guide), torch.zeros(1, 200), simulations=200, draws=50)
    assert kstest(ranks["pit_log_p"], "uniform").pvalue > 1e-3


def test_categories_are_judged_by_log_p_alone() -> None:
    ranks = sbc(binary(0.3, True, True), NO_DATA, simulations=300, draws=20)
    assert verdicts(ranks) == {"log p": "calibrated"}
    with pytest.raises(NotAvailable, match="no latent of floating point"):
        coverage(ranks)
    assert len(plot_calibration(ranks).axes) == 1


def test_enumerated_sites_are_summed_out() -> None:
    """c ~ Categorical, z ~ N(m_c, 1), x ~ N(z, .25): the posterior of z is a mixture."""
    weights, centres = torch.tensor([0.3, 0.7], dtype=torch.float64), torch.tensor([-2.0, 2.0], dtype=torch.float64)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(weights), infer=SUMMED)
            z = pyro.sample("z", dist.Normal(centres[c], 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x[:, 0])

    def guide(x: Tensor, tilt: float = 0.0) -> None:
        logits = weights.log() + dist.Normal(centres, 1.25**0.5).log_prob(x)
        components = dist.Normal((centres + 4 * x) / 5 + tilt, 0.2**0.5)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(logits=logits), components))

    ranks = sbc(pv.Program(model, guide), NO_DATA, simulations=500, draws=50)
    assert verdicts(ranks) == {"z": "calibrated", "log p": "calibrated"}
    off = sbc(pv.Program(model, lambda x: guide(x, 0.3)), NO_DATA, simulations=500, draws=50)
    assert verdicts(off)["z"] == "biased"


# Simulated data in the form of the data


def test_each_simulation_has_the_context_of_its_datum() -> None:
    def model(x: Tensor, context: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(context[:, 0], 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x: Tensor, context: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x[:, 0] + context[:, 0]) / 2, 0.5**0.5))

    context = torch.tensor([[-50.0], [0.0], [80.0]], dtype=torch.float64)
    ranks = sbc(pv.Program(model, guide), torch.zeros(3, 1).double(), context=context, simulations=500, draws=50)
    assert set(verdicts(ranks).values()) == {"calibrated"}
    wrong = pv.Program(model, lambda x, context: guide(x, context.roll(1, 0)))
    assert (
        verdicts(sbc(wrong, torch.zeros(3, 1).double(), context=context, simulations=300, draws=50))["z"]
        != "calibrated"
    )


def test_sites_that_observe_parts_of_a_datum_and_cells_that_none_does() -> None:
    """Cells 3 and 0 are observed, 1 and 2 are covariates of the datum; numbers of the cells find out which."""
    precision = 1 + 1 + 4

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x[:, 1], 1.0))
            pyro.sample("late", dist.Normal(z, 1.0), obs=x[:, 3])
            pyro.sample("early", dist.Normal(z + x[:, 2], 0.5), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        centre = (x[:, 1] + x[:, 3] + 4 * (x[:, 0] - x[:, 2])) / precision
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(centre, precision**-0.5))

    data = torch.randn(5, 4, dtype=torch.float64) * 20
    ranks = sbc(pv.Program(model, guide), data, simulations=500, draws=50)
    assert set(verdicts(ranks).values()) == {"calibrated"}


def test_simulated_data_have_no_missing_cells() -> None:
    vae = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
        pv.guides.Normal(pv.networks.MLP(3, (), 4, mask=True)),
    )
    whole = torch.zeros(4, 3)
    holes = whole.clone()
    holes[1, 2] = holes[3] = torch.nan
    one, other = (sbc(vae, data, simulations=50, draws=10) for data in (whole, holes))
    xr.testing.assert_equal(one, other)


def test_simulated_counts_are_cast_as_data_are() -> None:
    data = pv.Data(programs.counts().to(torch.uint8))
    found = sbc(programs.small_vae(), data, simulations=50, draws=10)
    assert dict(found.sizes) == {"simulation": 50, "z_dim_0": 2}


def test_blocks_are_all_simulated_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.draws.blocks.MOST_ROWS", 64)
    ranks = sbc(conjugate(), NO_DATA, simulations=150, draws=100)
    assert len(np.unique(ranks["pit_z"])) == ranks.sizes["simulation"] == 150
    assert int(ranks["rank_z"].max()) > 64
    assert set(verdicts(ranks).values()) == {"calibrated"}


def test_a_fit_is_judged_by_its_chosen_chain() -> None:
    vae = programs.linear_vae()
    fit = pv.fit(vae, programs.gaussian(40), epochs=2, restarts=2, seed=0, progress=False)
    one, other = (sbc(source, programs.gaussian(40), simulations=50, draws=10) for source in (fit, vae))
    xr.testing.assert_equal(one, other)


def test_seeds_decide_everything_and_nothing_else_is_changed() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = sbc(conjugate(), NO_DATA, simulations=50, draws=10, seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(5)
    xr.testing.assert_identical(first, sbc(conjugate(), NO_DATA, simulations=50, draws=10, seed=4))
    assert not (first["pit_z"] == sbc(conjugate(), NO_DATA, simulations=50, draws=10, seed=5)["pit_z"]).any()


# What is refused


def with_observation(make: Any) -> pv.Program:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            make(z, x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))

    return pv.Program(model, guide)


def factor(z: Tensor, x: Tensor) -> None:
    pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])
    pyro.factor("penalty", -z.square())


def overlap(z: Tensor, x: Tensor) -> None:
    pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])
    pyro.sample("again", dist.Normal(z, 1.0), obs=x[:, 0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda z, x: pyro.sample("x", dist.Normal(z, 1.0), obs=2 * x[:, 0]), "'x' observes a function of the data"),
        (factor, "has a factor"),
        (overlap, "which cells of a datum the sites 'x', 'again' observe"),
    ],
)
def test_programs_whose_data_cannot_be_simulated(make: Any, match: str) -> None:
    with pytest.raises(NotAvailable, match=match):
        sbc(with_observation(make), NO_DATA)


def test_latents_that_have_no_rank_of_their_own() -> None:
    data = torch.zeros(4, 1)
    with pytest.raises(NotAvailable, match="'m' are shared by all data"):
        sbc(programs.shared_mean(data), data)
    mixture = programs.two_components(torch.tensor([0.4, 0.6]), torch.tensor([-1.0, 1.0]))
    with pytest.raises(NotAvailable, match="'c' are summed out"):
        sbc(mixture, data)


def test_log_p_that_is_nan_is_an_error() -> None:
    """The data are positive, and so the guide takes their logarithm; what the model makes is not."""

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0].log(), 1.0))

    program = pv.Program(lambda x: conjugate().model(x), guide)
    with pytest.raises(ValueError, match=r"log p\(z, x\) is NaN"):
        sbc(program, NO_DATA + 1, simulations=20)


@pytest.mark.parametrize("setting", [{"simulations": 1}, {"simulations": 2.5}, {"draws": 0}, {"seed": -1}])
def test_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))}: expected a whole number of at least"):
        sbc(conjugate(), NO_DATA, **setting)


def test_what_is_no_set_of_ranks() -> None:
    for function in (calibration, coverage, plot_calibration):
        with pytest.raises(TypeError, match="sbc returns, got dict"):
            function({})
        with pytest.raises(ValueError, match="expected the variables pit_"):
            function(xr.Dataset({"rank_z": ("simulation", [1, 2])}))
        with pytest.raises(ValueError, match="PIT values are between 0 and 1"):
            function(xr.Dataset({"pit_z": ("simulation", [0.5, np.nan])}))
        with pytest.raises(ValueError, match="dimension simulation"):
            function(xr.Dataset({"pit_z": ("draw", [0.5, 0.1])}))
    ranks = sbc(conjugate(), NO_DATA, simulations=10, draws=5)
    for levels in ([], [1.0], [0.0], 0.5):
        with pytest.raises(ValueError, match="levels: expected probabilities"):
            coverage(ranks, levels)  # type: ignore[arg-type]
    for level in (0, 1.0, "0.1"):
        with pytest.raises(ValueError, match="level: expected a probability"):
            calibration(ranks, level=level)  # type: ignore[arg-type]


# Verdicts of planted values


def test_holm_is_holms() -> None:
    np.testing.assert_allclose(holm(np.array([[0.01, 0.04], [0.03, 0.005]])), [[0.03, 0.06], [0.06, 0.02]])
    assert holm(np.array([0.6, 0.9])).max() == 1


def test_verdicts_name_the_larger_fault() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((5, 1000))
    planted = {
        "pit_exact": norm.cdf(z[0]),
        "pit_narrow": norm.cdf(2 * z[1] + 0.2),
        "pit_wide": norm.cdf(0.6 * z[2] + 0.1),
        "pit_shifted": norm.cdf(z[3] - 1),
        "pit_bent": np.where(z[4] > 0, 0.25 + 0.25 * rng.random(1000), 0.5 + 0.5 * rng.random(1000) ** 0.35),
    }
    planted["pit_bent"] = 0.5 + (planted["pit_bent"] - planted["pit_bent"].mean()) * math.sqrt(
        1 / 12 / planted["pit_bent"].var()
    )
    ranks = xr.Dataset({name: ("simulation", pit.clip(0, 1)) for name, pit in planted.items()})
    found = calibration(ranks)
    assert dict(zip(found["quantity"].values, found["verdict"].values, strict=True)) == {
        "exact": "calibrated",
        "narrow": "too narrow",
        "wide": "too wide",
        "shifted": "biased",
        "bent": "wrong shape",
    }
    np.testing.assert_allclose(found["bias"].sel(quantity="shifted"), planted["pit_shifted"].mean() - 0.5)
    assert found.attrs["level"] == LEVEL


# The figure and the analysis


def test_the_figure_shows_the_values(x: Tensor) -> None:
    ranks = sbc(analysis.planted(x, 0.5, 0.0), x, simulations=300, draws=50)
    figure = plot_calibration(ranks)
    left, right = figure.axes
    n, values = 300, pits(ranks)
    lines = [line for line in left.lines if len(line.get_xdata()) == n + 1]
    for line, pit in zip(lines, values.values(), strict=True):
        at = np.asarray(line.get_xdata())
        np.testing.assert_allclose(line.get_ydata(), compute_ecdf(pit, at) - at, atol=1e-12)
    band = left.collections[0].get_paths()[0].vertices
    _, low, high = bands(n, 1 - LEVEL / len(values))
    at = np.linspace(0, 1, n + 1)
    np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [(low - at).min(), (high - at).max()])
    shown = [np.asarray(line.get_ydata()) for line in right.lines if len(line.get_xdata()) > 2]
    levels = np.asarray(right.lines[-1].get_xdata())
    np.testing.assert_allclose(shown, coverage(ranks, levels.tolist())["coverage"])
    assert "too narrow: z[0], z[1], z[2], log p" in [t.get_text() for t in left.get_legend().get_texts()]
    assert "0 of 3 latent dimensions calibrated" in left.texts[0].get_text()


def test_the_figure_on_given_axes_is_one_panel() -> None:
    ranks = sbc(conjugate(), NO_DATA, simulations=50, draws=10)
    figure, (left, right) = plt.subplots(1, 2)
    assert plot_calibration(ranks, ax=right) is figure
    assert right.has_data()
    assert not left.has_data()
    with pytest.raises(TypeError, match="expected a matplotlib Axes, got str"):
        plot_calibration(ranks, ax="left")  # type: ignore[arg-type]


def test_the_analysis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a user would run it, small: what is far off is found, and k̂ of a narrow guide stands beside 1 − c²."""
    table = analysis.main(["--out", str(tmp_path), "--simulations", "150", "--draws", "40", "--epochs", "2"])
    for name in ("calibration.png", "digits.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "calibration.csv"), table, check_exact=False, rtol=1e-9)
    rows = table.set_index("case")
    assert rows.loc["exact", "latents"] == "3 calibrated"
    assert rows.loc["sd × 0.5", "latents"] == "3 too narrow"
    assert rows.loc["mean − 1 sd", "latents"] == "3 biased"
    assert rows.loc["sd × 0.5", "khat exact"] == 0.75
    assert "furthest from a closed form" in capsys.readouterr().out
