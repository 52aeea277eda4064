"""The verdict as a whole: what is asked of which tree, in which order faults are told, and whether they are planted."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

import pyrovae as pv
from analysis import power
from models import ppca
from tests.programs import bayesian_decoder, gaussian
from tests.test_diagnostics import make_tree, with_history


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return gaussian(300, 6).double()


@pytest.fixture(scope="module")
def exact(x: torch.Tensor) -> pv.VAE:
    return ppca.exact_program(x, 2)


@pytest.fixture(scope="module")
def tree(exact: pv.VAE, x: torch.Tensor) -> xr.DataTree:
    return pv.posterior(exact, x, draws=200)


def verdicts(found: pv.diagnostics.Diagnosis) -> pd.Series:
    return found.table.set_index("question")["verdict"]


def test_planted_faults_are_named() -> None:
    rows = pd.DataFrame(power.verdicts(1)).set_index(["fault", "size"])
    assert rows.loc[("right model", ""), "good"].all()
    clear = [f for f in power.FAULTS if f.size not in ("sd × .8", ".5 sd")]
    missed = [f for f in clear if not bool(rows.loc[(f.name, f.size), "named"].all())]
    assert not missed, rows.loc[[(f.name, f.size) for f in missed], "said"].tolist()


def test_an_exact_guide_is_good_on_simulated_data_too(
    exact: pv.VAE, x: torch.Tensor, tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.diagnostics._rows_model.bdmc", functools.partial(pv.diagnostics.bdmc, steps=60))
    found = pv.diagnose(tree, exact, x)
    asked = verdicts(found)
    simulated = [q for q in asked.index if "(simulated data only)" in q]
    assert len(simulated) == 2
    assert (asked[simulated] == "good").all()
    assert found.verdict == "good"
    assert [q for q in verdicts(pv.diagnose(tree)).index if "simulated" in q] == []


def test_a_fit_needs_data(exact: pv.VAE, tree: xr.DataTree) -> None:
    with pytest.raises(ValueError, match=r"pv.diagnose\(tree, fit, data\)"):
        pv.diagnose(tree, exact)


def test_markov_chains_are_asked_whether_they_mixed(exact: pv.VAE, x: torch.Tensor) -> None:
    drawn = pv.posterior(exact, x[:25], method="nuts", draws=150, chains=2, warmup=60, progress=False)
    found = pv.diagnose(drawn)
    asked = verdicts(found)
    assert "Have the chains mixed?" in asked
    assert not {"Is the bound tight?", "Is q(z|x) usable for each datum?", "Are q's intervals right?"} & set(
        asked.index
    )
    assert "2 × 150 draws by NUTS" in found.title


def test_corrected_draws_are_judged_by_their_weights(tree: xr.DataTree) -> None:
    for method in ("psis", "resample"):
        found = pv.diagnose(pv.correct(tree, method=method))
        asked = verdicts(found)
        assert "corrected by weights" in found.title
        assert asked["Is q(z|x) usable for each datum?"] == "good"
        assert "Is the bound tight?" not in asked


def test_infinite_weights_are_a_fault_and_no_number() -> None:
    weights = np.zeros((1, 100, 6))
    weights[0, 0, 2] = np.inf
    weights[0, 1, 4] = np.nan
    found = pv.diagnose(make_tree(weights))
    row = found.table.set_index("question").loc["Does it describe these data?"]
    assert row["verdict"] == "bad"
    assert "2 data" in row["figure"]
    assert "nan" not in str(found).lower()
    assert verdicts(found)["Is the bound tight?"] == "not available"


def test_idle_latents_are_counted_by_site() -> None:
    """x is of z[0] alone, and the guide is exact."""

    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("u", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., :1], 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        none = torch.zeros_like(x)
        with pyro.plate("data", len(x)):
            sd = torch.tensor([0.5**0.5, 1.0])
            pyro.sample("z", dist.Normal(torch.cat([0.5 * x, none], -1), sd).to_event(1))
            pyro.sample("u", dist.Normal(none.expand(-1, 3), 1.0).to_event(1))

    tree = pv.posterior(pv.Program(model, guide), torch.randn(200, 1) * 2**0.5, draws=400)
    row = pv.diagnose(tree).table.set_index("question").loc["Are all latents used?"]
    assert row["figure"].startswith("1 of 5 active")
    assert row["action"].startswith("fewer latents: 1 of 2 of z, 0 of 3 of u are active: the others repeat their prior")


def test_without_weights_nothing_is_called_good(rng: np.random.Generator) -> None:
    z = rng.normal(size=(1, 1, 6, 2)) + 0.1 * rng.normal(size=(1, 10, 6, 2))
    found = pv.diagnose(with_history(make_tree(np.zeros((1, 10, 6)), z), np.full((1, 40), -1.0)))
    assert found.verdict == "not available"
    assert "was not answered" in found.summary


def test_an_unfinished_fit_is_mended_first(rng: np.random.Generator) -> None:
    weights = -10 + 5 * rng.standard_t(3, (1, 200, 60))
    found = pv.diagnose(with_history(make_tree(weights), np.linspace(-50, -10, 100)[None]))
    assert found.faults[0] == "training has not converged"
    assert "First: more epochs" in found.summary


def test_a_fall_after_the_best_is_for_patience(rng: np.random.Generator) -> None:
    validation = np.concatenate([np.linspace(-20, -10, 50), np.linspace(-10, -10.9, 50)])[None]
    found = pv.diagnose(
        with_history(make_tree(rng.normal(size=(1, 60, 4))), np.linspace(-20, -5, 100)[None], validation)
    )
    assert verdicts(found)["Has training converged?"] == "good"
    assert verdicts(found)["Did training stop in time?"] == "usable"


def test_weights_kept_from_before_the_end_have_converged() -> None:
    tree = with_history(
        make_tree(np.zeros((1, 40, 4))), np.concatenate([np.linspace(-20, -10, 40), np.full(20, -11)])[None]
    )
    tree["optimization"] = tree["optimization"].to_dataset().assign(kept_epoch=("chain", [39]))
    row = pv.diagnose(tree).table.set_index("question").loc["Has training converged?"]
    assert row["verdict"] == "good"
    assert row["figure"] == "best 20 epochs before the end"


def test_a_rate_that_fell_to_zero_is_no_convergence() -> None:
    """A path that stops because its rate does is measured by the sum of rates: it was still rising."""
    rate = np.concatenate([np.full(40, 1e-3), np.zeros(60)])
    elbo = -50 + 1e3 * np.cumsum(rate)
    tree = with_history(make_tree(np.zeros((1, 40, 4))), elbo[None])
    assert pv.diagnostics.convergence(tree)["remaining"].item() == 0
    tree["optimization"] = tree["optimization"].to_dataset().assign(learning_rate=(("chain", "epoch"), rate[None]))
    assert pv.diagnostics.convergence(tree)["change"].item() > 10
    assert verdicts(pv.diagnose(tree))["Has training converged?"] == "bad"


def test_shared_latents_and_summed_ones_say_what_they_lack() -> None:
    found = pv.diagnose(pv.posterior(bayesian_decoder(4), gaussian(40, 4), draws=40))
    lacking = found.table[found.table["verdict"] == "not available"]
    assert len(lacking) >= 4
    assert not lacking["action"].str.contains("nan|None").any()
    assert "nan" not in str(found).lower()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
