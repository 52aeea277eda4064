"""Annealed importance sampling and bidirectional Monte Carlo where the evidence is known in closed form.

Neal 1998 (physics/9803008): the mean weight is unbiased for p(x) whatever the number of steps; Grosse et al. 2015
(1511.02543): from an exact draw of the posterior, it is unbiased for 1/p(x).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

import pyrovae as pv
from models import ppca
from pyrovae.diagnostics.annealing import ais, bdmc
from tests import programs

LATENTS = 2


@pytest.fixture(scope="module")
def x() -> Tensor:
    return programs.gaussian(100, features=4, latents=LATENTS).double()


def faint(first: float, second: float) -> Tensor:
    """100 data whose covariance has these two eigenvalues above a noise of 1: the nearer to it, the lighter the tails
    of the weights, without which their mean cannot be told from 1."""
    noise = torch.randn(100, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = noise - noise.mean(0)
    factor = torch.linalg.cholesky(noise.T @ noise / 100)
    white = torch.linalg.solve_triangular(factor, noise.T, upper=False).T
    return 1 + white * torch.tensor([first, second, 1.0, 1.0], dtype=torch.float64).sqrt()


def exact(x: Tensor, some: Tensor) -> np.ndarray:
    """log N(x; μ, W Wᵀ + σ² I) at the maximum on x."""
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    covariance = w @ w.T + sigma2 * torch.eye(len(mu), dtype=w.dtype)
    return torch.distributions.MultivariateNormal(mu, covariance).log_prob(some).numpy()


def widened(x: Tensor, factor: float) -> pv.VAE:
    """Exact pPCA, the guide's standard deviations multiplied."""
    vae = ppca.exact_program(x, LATENTS)
    raw = vae.parts["guide"].network.layers[0].bias[LATENTS:]
    with torch.no_grad():
        raw.copy_(ppca.softplus_inverse(factor * torch.nn.functional.softplus(raw)))
    return vae


def assert_unbiased(found: xr.Dataset, log_p: np.ndarray) -> None:
    """E w = p(x), by datum and on average."""
    ratio = np.exp(found["log_evidence"].values - log_p)
    error = ratio * found["mcse"].values
    assert (abs(ratio - 1) < 4 * error).all()
    assert abs((ratio - 1).mean()) < 4 * math.sqrt((error**2).sum()) / len(error)


def assert_between(found: xr.Dataset) -> None:
    """One particle, exact guide: E w/p = 1 forwards and E p w = 1 backwards, over the simulations."""
    exact = found["importance"].values
    for log_ratio in (found["lower"].values - exact, exact - found["upper"].values):
        error = 1 / math.sqrt(len(exact))
        assert abs(np.exp(log_ratio).mean() - 1) < 4 * error * np.exp(log_ratio).std(ddof=1)
        assert log_ratio.mean() < 4 * error * log_ratio.std(ddof=1)


@pytest.mark.parametrize(("start", "steps"), [("prior", 2), ("prior", 8), ("guide", 3)])
def test_the_mean_weight_is_unbiased_with_few_steps(start: str, steps: int) -> None:
    x = faint(2.5, 1.6)
    found = ais(widened(x, 1.5), x[:10], particles=4000, steps=steps, leapfrog=2, start=start)
    assert_unbiased(found, exact(x, x[:10]))
    assert found["mcse"].max() < 0.1


def test_many_steps_give_the_evidence(x: Tensor) -> None:
    found = ais(ppca.exact_program(x, LATENTS), x[:20], particles=16, steps=300, leapfrog=3)
    deviation = (found["log_evidence"].values - exact(x, x[:20])) / found["mcse"].values
    assert abs(deviation).max() < 4.5
    assert float(found["mcse"].max()) < 0.2
    assert float(found["ess"].min()) > 8
    assert (abs(found["acceptance"] - 0.65) < 0.1).all()
    assert found.attrs == {"particles": 16, "steps": 300, "leapfrog": 3, "start": "prior", "units": "nats"}
    assert found["log_evidence"].dims == ("obs_id",)


def test_an_exact_guide_gives_the_evidence_at_once(x: Tensor) -> None:
    found = ais(ppca.exact_program(x, LATENTS), x, particles=2, steps=1, start="guide")
    np.testing.assert_allclose(found["log_evidence"], exact(x, x), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found["ess"], 2, rtol=1e-9)
    assert "acceptance" not in found
    moved = ais(ppca.exact_program(x, LATENTS), x[:5], particles=2, steps=10, start="guide")
    np.testing.assert_allclose(moved["log_evidence"], exact(x, x[:5]), rtol=0, atol=1e-10)


def test_simulated_data_lie_between_the_bounds() -> None:
    """The guide is exact, so that the importance-sampled figure is log p(x) of each simulated datum."""
    x = faint(1.4, 1.2)
    found = bdmc(ppca.exact_program(x, LATENTS), x, simulations=1000, particles=1, steps=3, leapfrog=2, draws=2)
    assert_between(found)
    mean, se = (found[name].to_series() for name in ("mean", "se"))
    # the data's own moments are the model's, so that the mean of log p over the model is that over them
    assert abs(mean["importance"] - exact(x, x).mean()) < 4 * se["importance"]
    assert mean["gap"] == pytest.approx(mean["upper"] - mean["lower"])
    assert mean["importance_gap"] == pytest.approx(float((found["upper"] - found["importance"]).mean()))
    assert se["gap"] == pytest.approx(found["gap"].values.std(ddof=1) / math.sqrt(1000))
    assert found.attrs["scope"] == "simulated data only"
    assert found["gap"].dims == ("simulation",)


def test_the_gap_shrinks_with_steps(x: Tensor) -> None:
    few, many = (
        bdmc(ppca.exact_program(x, LATENTS), x, simulations=200, particles=1, steps=steps, draws=2) for steps in (4, 80)
    )
    for found in (few, many):
        mean = found["mean"].to_series()
        assert mean["lower"] < mean["importance"] < mean["upper"]
    assert 0 < many["gap"].mean() < 0.1 * few["gap"].mean()


def test_particles_tighten_both_bounds_and_a_bad_guide_falls_short(x: Tensor) -> None:
    vae = widened(x, 0.4)
    one, many = (
        bdmc(vae, x, simulations=60, particles=particles, steps=10, leapfrog=2, draws=20)["mean"].to_series()
        for particles in (1, 32)
    )
    assert 0 < many["gap"] < 0.5 * one["gap"]
    assert many["importance_gap"] > many["gap"]


def conjugate(exact_guide: bool = True) -> pv.Program:
    """A rate ~ Gamma(2, 0.5) of a Poisson count, and shares ~ Dirichlet(1, 2, 3) of a Multinomial of 6."""
    concentration = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    two = torch.tensor(2.0, dtype=torch.float64)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(two, 0.5))
            shares = pyro.sample("shares", dist.Dirichlet(concentration))
            pyro.sample("count", dist.Poisson(rate), obs=x[:, 0])
            pyro.sample("kinds", dist.Multinomial(6, shares), obs=x[:, 1:])

    def guide(x: Tensor) -> None:
        told = float(exact_guide)
        with pyro.plate("data", len(x)):
            pyro.sample("shares", dist.Dirichlet(concentration + told * x[:, 1:]))
            pyro.sample("rate", dist.Gamma(2 + told * x[:, 0], 0.5 + told))

    return pv.Program(model, guide)


COUNTS = torch.tensor([[0, 6, 0, 0], [3, 1, 2, 3], [9, 0, 0, 6]], dtype=torch.float64)


def conjugate_evidence(x: Tensor) -> np.ndarray:
    concentration = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    count = dist.GammaPoisson(torch.tensor(2.0).double(), torch.tensor(0.5).double()).log_prob(x[:, 0])
    return (count + dist.DirichletMultinomial(concentration, 6).log_prob(x[:, 1:])).numpy()


def test_constrained_latents(x: Tensor) -> None:
    """A Jacobian that is left out or counted twice would show."""
    log_p = conjugate_evidence(COUNTS)
    assert_unbiased(ais(conjugate(), COUNTS, particles=2000, steps=8, leapfrog=2), log_p)
    at_once = ais(conjugate(), COUNTS, particles=3, steps=1, start="guide")
    np.testing.assert_allclose(at_once["log_evidence"], log_p, rtol=0, atol=1e-9)
    wide = ais(conjugate(exact_guide=False), COUNTS, particles=2000, steps=4, leapfrog=2, start="guide")
    assert_unbiased(wide, log_p)
    assert_between(bdmc(conjugate(), COUNTS, simulations=400, particles=1, steps=8, leapfrog=2, draws=2))


def test_missing_cells_and_a_context() -> None:
    """z ~ N(c, 1), cells N(z, 1) where they are there, and the exact guide."""

    def model(x: Tensor, context: Tensor) -> None:
        there = ~torch.isnan(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(context[:, 0], 1.0))
            cells = dist.Normal(z[:, None].expand(-1, 3), 1.0).mask(there).to_event(1)
            pyro.sample("x", cells, obs=torch.nan_to_num(x))

    def guide(x: Tensor, context: Tensor) -> None:
        precision = (1 + (~torch.isnan(x)).sum(1)).to(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((context[:, 0] + x.nansum(1)) / precision, precision**-0.5))

    nan = math.nan
    x = torch.tensor([[0.5, nan, 1.5], [nan, nan, nan], [1.0, 0.5, -1.0]], dtype=torch.float64)
    context = torch.tensor([[0.0], [1.0], [-1.0]], dtype=torch.float64)
    log_p = np.zeros(3)
    for i in (0, 2):
        cells = x[i][~torch.isnan(x[i])]
        covariance = torch.ones(len(cells), len(cells)).to(x) + torch.eye(len(cells)).to(x)
        log_p[i] = dist.MultivariateNormal(context[i].expand(len(cells)), covariance).log_prob(cells)
    program = pv.Program(model, guide)
    found = ais(program, x, context=context, particles=3000, steps=8, leapfrog=2)
    assert_unbiased(found.isel(obs_id=[0, 2]), log_p[[0, 2]])
    assert float(found["log_evidence"][1]) == pytest.approx(0.0, abs=1e-12)
    at_once = ais(program, x, context=context, particles=2, steps=1, start="guide")
    np.testing.assert_allclose(at_once["log_evidence"], log_p, rtol=0, atol=1e-10)
    whole = bdmc(program, x, context=context, simulations=400, particles=1, steps=8, leapfrog=2, draws=2)
    assert_between(whole)
    covariance = torch.ones(3, 3).to(x) + torch.eye(3).to(x)
    entropy = dist.MultivariateNormal(torch.zeros(3).to(x), covariance).entropy().item()  # of a whole datum
    assert abs(whole["mean"].to_series()["importance"] + entropy) < 4 * whole["se"].to_series()["importance"]


def test_enumerated_sites_are_summed_out() -> None:
    weights, centres, shift = torch.tensor([0.3, 0.7]), torch.tensor([-2.0, 1.0]), torch.tensor([0.5, -1.0])
    weights, centres, shift = weights.double(), centres.double(), shift.double()
    x = torch.tensor([[-1.5], [0.2], [1.0]], dtype=torch.float64)
    each = dist.Normal(0.8 * centres + shift, math.sqrt(0.8**2 + 0.5**2)).log_prob(x)
    log_p = torch.logsumexp(each + weights.log(), -1).numpy()
    program = programs.mixture_vae(weights, centres, shift)
    assert_unbiased(ais(program, x, particles=3000, steps=6, leapfrog=2), log_p)
    found = bdmc(program, x, simulations=60, particles=4, steps=30, leapfrog=2)
    mean, se = (found[name].to_series() for name in ("mean", "se"))
    values = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    each = dist.Normal(0.8 * centres + shift, math.sqrt(0.8**2 + 0.5**2)).log_prob(values)
    log_p = torch.logsumexp(each + weights.log(), -1)
    mean_log_p = float(torch.trapezoid(log_p.exp() * log_p, values[:, 0]))
    assert mean["lower"] - 4 * se["lower"] < mean_log_p < mean["upper"] + 4 * se["upper"]
    assert -4 * se["gap"] < mean["gap"] < 1


def test_the_seed_decides_and_the_random_state_is_handed_back(x: Tensor) -> None:
    vae = ppca.exact_program(x, LATENTS)
    settings: dict[str, Any] = {"particles": 4, "steps": 5, "leapfrog": 2}
    state = torch.get_rng_state()
    first, again, other = (ais(vae, x[:4], seed=seed, **settings) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    xr.testing.assert_identical(first, again)
    assert (first["log_evidence"] != other["log_evidence"]).all()
    one, two = (bdmc(vae, x, simulations=3, draws=3, seed=1, **settings) for _ in range(2))
    xr.testing.assert_identical(one, two)


def test_particles_without_weight() -> None:
    """x lies where the likelihood is 0 for every z that the prior draws."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Uniform(z, z + 1, validate_args=False), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] - 0.5, 0.1))

    for steps in (1, 4):
        found = ais(pv.Program(model, guide), torch.tensor([[50.0], [0.5]]), particles=50, steps=steps)
        assert found["log_evidence"].values[0] == -np.inf
        assert found["mcse"].values[0] == np.inf
        assert found["ess"].values[0] == 0
        assert np.isfinite(found["log_evidence"].values[1])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"particles": 0}, "particles: expected a whole number of at least 1, got 0"),
        ({"particles": 1}, "at least 2, got 1: one alone has no Monte Carlo standard error"),
        ({"steps": 0}, "steps: expected a whole number of at least 1, got 0"),
        ({"leapfrog": 1.5}, "leapfrog: expected a whole number of at least 1, got 1.5"),
        ({"start": "posterior"}, "start: expected one of prior, guide, got 'posterior'"),
    ],
)
def test_bad_settings_are_refused(x: Tensor, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ais(ppca.exact_program(x, LATENTS), x[:2], **settings)


@pytest.mark.parametrize("settings", [{"simulations": 1}, {"simulations": 0}, {"particles": 0}, {"draws": 0}])
def test_bad_settings_of_bdmc_are_refused(x: Tensor, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))}: expected"):
        bdmc(ppca.exact_program(x, LATENTS), x[:2], **settings)


def test_what_cannot_be_annealed_is_refused(x: Tensor) -> None:
    one = x[:4, :1]
    with pytest.raises(ValueError, match="'m' are shared by all data"):
        ais(programs.shared_mean(one), one)
    with pytest.raises(ValueError, match="draws no latent of a datum"):
        ais(programs.two_components(torch.ones(2).double() / 2, torch.zeros(2).double()), one)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def point(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(x[:, 0]))

    def restless(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] + torch.randn(()), 1.0))

    with pytest.raises(ValueError, match="gives 'z' a single value, which has no density: use start='prior'"):
        ais(pv.Program(model, point), one, start="guide")
    with pytest.raises(ValueError, match="another density when it is run again"):
        ais(pv.Program(model, restless), one, start="guide")
    assert np.isfinite(ais(pv.Program(model, restless), one, particles=2, steps=2)["log_evidence"]).all()
