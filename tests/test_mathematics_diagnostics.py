"""Figures of the diagnostics against what they are defined as, where another draw or chain would answer quietly."""

from __future__ import annotations

import json

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

import pyrovae as pv
from pyrovae.diagnostics import _rows_model
from pyrovae.diagnostics.prior_predictive import prior_predictive_check
from tests.test_diagnostics import make_tree, with_history

SD = 0.2**0.5  # of z given x, where x = z + N(0, 1/4)


def program(c: float, idle: int = 1) -> pv.Program:
    """Three latents of which q is c times too wide, and others that no datum knows, where q is exact."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3 + idle), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., :3], 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            loc = torch.cat([0.8 * x, x.new_zeros(len(x), idle)], -1)
            pyro.sample("z", dist.Normal(loc, x.new_tensor([c * SD] * 3 + [1.0] * idle)).to_event(1))

    return pv.Program(model, guide)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return 1.25**0.5 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("c", [1.0, 3.0])
def test_repeats_of_resampled_draws_do_not_make_a_latent_active(x: Tensor, c: float) -> None:
    """The mean of 40 effective draws of 400 varies by 1/40 over data, where nothing is known of the latent."""
    tree = pv.correct(pv.posterior(program(c), x, draws=400), method="resample")
    assert float(tree["sample_stats"]["ess"].median()) == pytest.approx(400 if c == 1 else 40, rel=0.1)
    found = pv.diagnostics.active_units(tree)
    assert found["active"].values.tolist() == [[True, True, True, False]]
    assert abs(float(found["variance"].values[0, 3])) < 0.006
    np.testing.assert_allclose(found["variance"].values[0, :3], 0.8 * x.var(0) * 0.8, rtol=0.1)


def test_chains_that_move_slowly_do_not_make_a_latent_active() -> None:
    """Of 100 draws with an autocorrelation of .8, some 11 are effective."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4, 100, 400, 2))
    for s in range(1, 100):
        z[:, s] = 0.8 * z[:, s - 1] + 0.6 * z[:, s]
    z[..., 0] = 0.6 * z[..., 0] + 0.8 * rng.normal(size=400)
    tree = make_tree(np.zeros((4, 100, 400)), z, method="nuts")
    found = pv.diagnostics.active_units(tree)
    assert found["active"].values.tolist() == [[True, False]] * 4
    np.testing.assert_allclose(found["variance"].values[:, 0], 0.64, atol=4 * 0.64 * (2 / 400) ** 0.5)


def test_the_history_judged_is_that_of_the_restart_that_was_drawn_from() -> None:
    """Draws of the chosen restart alone, of a guide or of Markov chains, count their chains from 0."""
    rising, level = np.linspace(-200, -10, 80), np.full(80, -9.0)
    for best, verdict in ((1, "good"), (0, "bad")):
        for method, chains in (("guide", 1), ("nuts", 3)):
            tree = with_history(make_tree(np.zeros((chains, 40, 4))), np.stack([rising, level]))
            tree.attrs |= {"method": method, "settings": json.dumps({"best_chain": best})}
            asked = pv.diagnose(tree).table.set_index("question")
            assert asked.loc["Has training converged?", "verdict"] == verdict


def test_draws_of_the_prior_are_not_compared_with_data_of_another_context() -> None:
    """The half of the data with c = 4 would stand beside the prior's first draws, which have c = 0."""
    generator = torch.Generator().manual_seed(0)
    c = torch.tensor([0.0, 4.0], dtype=torch.float64).repeat_interleave(100)[:, None]
    x = c + 1.25**0.5 * torch.randn(200, 1, generator=generator, dtype=torch.float64)

    def model(x: Tensor, c: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(c[:, 0], 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x[:, 0])

    def guide(x: Tensor, c: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.2 * c[:, 0] + 0.8 * x[:, 0], SD))

    whole = pv.posterior(pv.Program(model, guide), x, context=c, draws=200)
    for check in (pv.diagnostics.prior_match, prior_predictive_check):
        assert check(whole)["p_value"].item() > 0.01
        with pytest.raises(pv.diagnostics.NotAvailable, match="contexts of the 200 data"):
            check(whole.isel(obs_id=slice(100, 200)))


def bracket(lower: float, upper: float, importance: float, noise: float = 0.05) -> xr.Dataset:
    """What `bdmc` would return of 50 data."""
    rng = np.random.default_rng(0)
    values = {k: v + noise * rng.normal(size=50) for k, v in (("lower", lower), ("upper", upper))}
    values["importance"] = importance + np.zeros(50)
    values["gap"], values["importance_gap"] = values["upper"] - values["lower"], values["upper"] - values["importance"]
    out = xr.Dataset({name: ("simulation", v) for name, v in values.items()})
    every = np.stack(list(values.values()))
    return out.assign(mean=("quantity", every.mean(1)), se=("quantity", every.std(1, ddof=1) / 50**0.5)).assign_coords(
        quantity=list(values)
    )


@pytest.mark.parametrize(
    ("bounds", "noise", "verdict"),
    [
        ((-10.0, -10.0, -10.05), 0.05, "good"),
        ((-10.0, -9.9, -12.0), 0.05, "bad"),
        ((-10.0, -9.9, -10.6), 0.05, "usable"),
        ((-12.0, -8.0, -10.0), 0.05, "not available"),  # the weights may be right, and annealing short
        ((-10.0, -9.0, -10.0), 20.0, "not available"),  # noise says nothing, and nothing good
    ],
)
def test_annealing_that_falls_short_itself_blames_no_guide(
    monkeypatch: pytest.MonkeyPatch, bounds: tuple[float, float, float], noise: float, verdict: str
) -> None:
    monkeypatch.setattr(_rows_model, "bdmc", lambda *_, **__: bracket(*bounds, noise=noise))
    tree = make_tree(np.zeros((1, 40, 4)))
    row = _rows_model.bracketed(_rows_model.Figures(tree, (None, None, None)))
    assert row is not None
    assert row["verdict"] == verdict


def test_ranks_of_the_wrong_shape_are_no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their mean is that of uniform ranks, and so is their variance: half of them lie at the quarters."""
    u = (np.arange(1000) + 0.5) / 1000
    shaped = np.where(np.arange(1000) % 2, np.where(u < 0.5, 0.5 - 12**-0.5, 0.5 + 12**-0.5), u)
    for values, verdict in ((u, "good"), (shaped, "usable")):
        ranks = xr.Dataset({"pit_z": ("simulation", np.random.default_rng(0).permutation(values))})
        monkeypatch.setattr(_rows_model, "sbc", lambda *_, ranks=ranks, **__: ranks)
        row = _rows_model.calibrated(_rows_model.Figures(make_tree(np.zeros((1, 40, 4))), (None, None, None)))
        assert row is not None
        assert row["verdict"] == verdict
    assert "wrong shape" in row["figure"]


def test_weighted_draws_stand_for_the_posterior_with_their_weights_alone(x: Tensor) -> None:
    tree = pv.posterior(program(1.2, idle=0), x[:60], draws=400, predictive=0)
    weighted, resampled = (pv.diagnose(pv.correct(tree, method=m)) for m in ("psis", "resample"))
    assert "the draws, taken with their weights psis_log_weight, can stand for the posterior" in weighted.summary
    assert "the draws can stand for the posterior" in resampled.summary
    # the ranks of the guide's draws say nothing of these
    assert _rows_model.calibrated(_rows_model.Figures(pv.correct(tree), (None, None, None))) is None
