"""Diagnostics on trees built by hand, where every figure can be worked out, and what they refuse."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xarray as xr
from scipy.special import logsumexp

import pyrovae as pv
from pyrovae.diagnostics import _tree


def make_tree(
    log_weight: np.ndarray, z: np.ndarray | None = None, kl: np.ndarray | None = None, **attrs: object
) -> xr.DataTree:
    """A tree with given log weights (chain, draw, obs_id), half of each in the likelihood."""
    lead = ("chain", "draw", "obs_id")
    chains, draws, n = log_weight.shape
    z = np.zeros((chains, draws, n, 2)) if z is None else z
    stats = {
        "log_weight": (lead, log_weight),
        "log_q": (lead, np.full_like(log_weight, -1.0)),
        "log_p": (lead, log_weight - 1.0),
        "log_lik": (lead, log_weight / 2),
    }
    if kl is not None:
        stats["kl_z"] = (("chain", "obs_id", "z_dim_0"), kl)
    tree = xr.DataTree.from_dict(
        {
            "/posterior": xr.Dataset({"z": ((*lead, "z_dim_0"), z)}),
            "/sample_stats": xr.Dataset(stats, coords={"chain": np.arange(chains), "obs_id": np.arange(n)}),
        }
    )
    tree.attrs.update(attrs)
    return tree


def with_history(tree: xr.DataTree, elbo: np.ndarray, validation: np.ndarray | None = None) -> xr.DataTree:
    variables = {"elbo": (("chain", "epoch"), elbo)}
    if validation is not None:
        variables["elbo_validation"] = (("chain", "epoch"), validation)
    tree["optimization"] = xr.DataTree(xr.Dataset(variables, coords={"chain": np.arange(len(elbo))}))
    return tree


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_elbo_terms_add_up(rng) -> None:
    log_weight = rng.normal(-5, 1, (2, 100, 3))
    terms = pv.diagnostics.elbo_terms(make_tree(log_weight))
    np.testing.assert_allclose(terms["elbo"], log_weight.mean(1))
    np.testing.assert_allclose(terms["log_lik"] - terms["kl"], terms["elbo"])
    np.testing.assert_allclose(terms["elbo_mcse"], log_weight.std(1, ddof=1) / 10)


def test_log_evidence_of_known_weights() -> None:
    """Weights 1, 3, 1, 3: mean 2, L_1 = ½ log 3, L_2 = log 2, ess = 64/20, relative standard error."""
    weights = np.array([1.0, 3.0, 1.0, 3.0])
    found = pv.diagnostics.log_evidence(make_tree(np.log(weights)[None, :, None]), k=[1, 2, 4])
    assert float(found["log_evidence"].item()) == pytest.approx(math.log(2))
    np.testing.assert_allclose(found["bound"].values[0, :, 0], [math.log(3) / 2, math.log(2), math.log(2)])
    assert float(found["ess"].item()) == pytest.approx(64 / 20)
    assert float(found["mcse"].item()) == pytest.approx(weights.std(ddof=1) / 2 / 2)


def test_log_evidence_does_not_overflow() -> None:
    log_weight = np.array([-2000.0, -2001.0])[None, :, None]
    found = pv.diagnostics.log_evidence(make_tree(log_weight))
    assert float(found["log_evidence"].item()) == pytest.approx(logsumexp([-2000, -2001]) - math.log(2))


@pytest.mark.parametrize("k", [0, 5, 2.5, True])
def test_k_out_of_range(k) -> None:
    with pytest.raises(ValueError, match="between 1 and 4, the number of draws"):
        pv.diagnostics.log_evidence(make_tree(np.zeros((1, 4, 1))), k=[k])


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_pareto_k_of_pareto_weights(rng, k: float) -> None:
    """Weights from a Pareto law of index k: k̂ within 4 standard errors (1 + k)/√M of the tail."""
    draws = 10_000
    log_weight = k * rng.exponential(size=(1, draws, 20))
    found = pv.diagnostics.pareto_k(make_tree(log_weight))
    assert (abs(found["pareto_k"].values - k) < 4 * (1 + k) / math.sqrt(3 * math.sqrt(draws))).all()
    assert found.attrs["good_k"] == pytest.approx(0.7)


def test_pareto_k_is_that_of_arviz_per_datum(rng) -> None:
    from arviz_stats.base import array_stats

    log_weight = rng.standard_t(4, (2, 200, 3))
    found = pv.diagnostics.pareto_k(make_tree(log_weight))
    for chain in range(2):
        for datum in range(3):
            assert found["pareto_k"].values[chain, datum] == array_stats.psislw(-log_weight[chain, :, datum])[1]


def test_constant_and_infinite_weights(rng) -> None:
    log_weight = rng.normal(size=(1, 100, 5))
    log_weight[0, :, 0] = -3.0
    log_weight[0, 7, 1] = np.inf
    log_weight[0, 7, 2] = np.nan
    log_weight[0, 7, 3] = -np.inf  # a draw outside the prior's support: weight zero, nothing wrong
    found = pv.diagnostics.pareto_k(make_tree(log_weight))
    k, exact = found["pareto_k"].values[0], found["exact"].values[0]
    assert exact.tolist() == [True, False, False, False, False]
    assert k[0] == 0
    assert np.isposinf(k[1])
    assert np.isposinf(k[2])
    assert np.isfinite(k[3:]).all()


def test_too_few_draws_for_k() -> None:
    with pytest.raises(ValueError, match="at least 30 draws per datum, got 10: raise draws="):
        pv.diagnostics.pareto_k(make_tree(np.zeros((1, 10, 2))))


def test_blocks_give_the_same_figures(rng, monkeypatch) -> None:
    tree = make_tree(rng.normal(size=(2, 50, 7)), rng.normal(size=(2, 50, 7, 2)))
    whole = (pv.diagnostics.pareto_k(tree), pv.diagnostics.active_units(tree))
    monkeypatch.setattr(_tree, "BLOCK", 1)
    for a, b in zip(whole, (pv.diagnostics.pareto_k(tree), pv.diagnostics.active_units(tree)), strict=True):
        xr.testing.assert_allclose(a, b, rtol=1e-12)


def test_active_units_are_corrected_for_monte_carlo_noise(rng) -> None:
    """One dimension moves with the datum (variance 4), one does not; ten draws only."""
    n = 20_000
    mean = np.stack([rng.normal(0, 2, n), np.zeros(n)], -1)
    z = mean + rng.normal(size=(1, 10, n, 2))
    found = pv.diagnostics.active_units(make_tree(np.zeros((1, 10, n)), z))
    assert found["variance"].values[0, 0] == pytest.approx(4, rel=4 * math.sqrt(2 / n))
    assert abs(found["variance"].values[0, 1]) < 4 * 0.1 * math.sqrt(2 / n) * 1.5
    assert found["active"].values[0].tolist() == [True, False]


def test_collapse_needs_nearly_all_data() -> None:
    kl = np.full((1, 200, 2), 0.001)
    kl[0, :3, 1] = 1.0
    found = pv.diagnostics.collapse(make_tree(np.zeros((1, 30, 200)), kl=kl))
    np.testing.assert_allclose(found["share"].values[0], [1.0, 0.985])
    assert found["collapsed"].values[0].tolist() == [True, False]


def test_elpd_takes_the_fits_chain() -> None:
    log_weight = np.stack([np.full((30, 4), -2.0), np.full((30, 4), -1.0)])
    tree = make_tree(log_weight, settings=json.dumps({"best_chain": 1}))
    assert pv.diagnostics.elpd(tree).elpd == pytest.approx(-4)
    assert pv.diagnostics.elpd(tree, chain=0).elpd == pytest.approx(-8)
    with pytest.raises(ValueError, match="chain: expected 0 to 1, got 2"):
        pv.diagnostics.elpd(tree, chain=2)
    assert pv.diagnostics.elpd(tree.isel(chain=[1])).elpd == pytest.approx(-4)
    assert pv.diagnostics.elpd(tree.isel(chain=[0])).elpd == pytest.approx(-8)


class TestConvergence:
    def test_a_flat_noisy_bound_has_converged(self, rng) -> None:
        tree = with_history(make_tree(np.zeros((2, 30, 4))), -10 + 0.1 * rng.normal(size=(2, 400)))
        found = pv.diagnostics.convergence(tree)
        assert (found["rhat"] < 1.1).all()
        assert float(found["rhat_chains"]) < 1.1
        assert (abs(found["change"]) < 0.1).all()

    def test_a_rising_bound_has_not(self, rng) -> None:
        elbo = np.linspace(-50, -10, 400) + 0.1 * rng.normal(size=(1, 400))
        found = pv.diagnostics.convergence(with_history(make_tree(np.zeros((1, 30, 4))), elbo))
        assert float(found["rhat"][0]) > 1.5
        assert float(found["change"][0]) == pytest.approx(10, abs=0.1)

    def test_overfitting_is_the_fall_from_the_best_validation(self) -> None:
        validation = np.concatenate([np.linspace(-20, -10, 50), np.linspace(-10, -13, 50)])[None]
        tree = with_history(make_tree(np.zeros((1, 30, 4))), np.linspace(-20, -5, 100)[None], validation)
        assert float(pv.diagnostics.convergence(tree)["validation_loss"][0]) == pytest.approx(3, abs=0.3)
        row = pv.diagnose(tree).table.set_index("question").loc["Did training stop in time?"]
        assert row["verdict"] == "bad"
        assert "patience" in row["action"]

    def test_two_chains_at_different_optima(self, rng) -> None:
        elbo = np.array([[-10.0], [-12.0]]) + 0.1 * rng.normal(size=(2, 400))
        found = pv.diagnostics.convergence(with_history(make_tree(np.zeros((2, 30, 4))), elbo))
        assert float(found["rhat_chains"]) > 1.5


class TestDiagnose:
    def test_a_good_guide(self, rng) -> None:
        kl = np.ones((1, 300, 2))
        z = rng.normal(size=(1, 1, 300, 2)) + 0.1 * rng.normal(size=(1, 400, 300, 2))
        tree = with_history(
            make_tree(-10 + 0.1 * rng.normal(size=(1, 400, 300)), z, kl), -10 + 0.01 * rng.normal(size=(1, 100))
        )
        found = pv.diagnose(tree)
        verdicts = found.table.set_index("question")["verdict"]
        assert verdicts["Is the bound tight?"] == "good"
        assert verdicts["Is q(z|x) usable for each datum?"] == "good"
        assert verdicts["Are all latents used?"] == "good"
        assert found.verdict == "good"
        assert found.summary == (
            "The 5 checks made are good: the draws can stand for the posterior. 3 of 8 checks could not be made; the "
            "table says why."
        )

    def test_a_bad_guide_is_named(self, rng) -> None:
        log_weight = -10 + 5 * rng.standard_t(3, (1, 400, 100))
        found = pv.diagnose(make_tree(log_weight, rng.normal(size=(1, 400, 100, 2))))
        table = found.table.set_index("question")
        row = table.loc["Is q(z|x) usable for each datum?"]
        khat = pv.diagnostics.pareto_k(make_tree(log_weight))
        assert row["bad"] == pytest.approx(float((khat["pareto_k"] > khat.attrs["good_k"]).mean()))
        assert row["verdict"] == "bad"
        assert "gap ≥" in table.loc["Is the bound tight?", "figure"]
        assert found.verdict == "bad"
        assert "Not to be trusted" in str(found)

    def test_what_is_missing_is_said(self) -> None:
        found = pv.diagnose(make_tree(np.zeros((1, 10, 4))))
        table = found.table.set_index("question")
        assert table.loc["Has training converged?", "verdict"] == "not available"
        assert "no group 'optimization'" in table.loc["Has training converged?", "action"]
        assert "at least 30 draws" in table.loc["Is q(z|x) usable for each datum?", "action"]

    def test_the_table_aligns_and_is_html(self, rng) -> None:
        found = pv.diagnose(make_tree(rng.normal(size=(1, 100, 10)), rng.normal(size=(1, 100, 10, 2))))
        import unicodedata

        lines = [[c for c in line if not unicodedata.combining(c)] for line in str(found).splitlines()]
        rule = next(i for i, line in enumerate(lines) if line[:1] == ["─"])
        start = "".join(lines[rule]).rindex("  ") + 2
        verdicts = ("good", "usable", "bad", "–", "not available")
        rows = [line for line in lines[rule + 1 :] if line[:1] not in ([" "], []) and "?" in line]
        assert len(rows) == len(found.table) == 9
        assert all("".join(row[start:]) in verdicts for row in rows)
        assert found._repr_html_().count("<tr>") == 10

    def test_never_shows_rhat_or_ess_of_guide_draws(self, rng) -> None:
        text = str(pv.diagnose(with_history(make_tree(rng.normal(size=(1, 100, 10))), np.full((1, 20), -1.0))))
        assert "ESS" not in text
        assert text.count("R̂") == 2


class TestRefusals:
    def test_no_tree(self) -> None:
        with pytest.raises(TypeError, match=r"as pv\.posterior returns it, got dict"):
            pv.diagnose({})

    def test_groups_and_variables_are_named(self) -> None:
        with pytest.raises(ValueError, match="no group 'sample_stats'"):
            pv.diagnostics.elbo_terms(xr.DataTree())
        tree = xr.DataTree.from_dict({"/sample_stats": xr.Dataset({"lp": (("chain", "draw"), np.zeros((1, 2)))})})
        with pytest.raises(ValueError, match="no variable 'log_weight' .it has lp"):
            pv.diagnostics.pareto_k(tree)

    def test_no_kl_per_dimension(self) -> None:
        with pytest.raises(ValueError, match="no KL per dimension for 'z'"):
            pv.diagnostics.kl(make_tree(np.zeros((1, 30, 4))))

    def test_several_sites(self) -> None:
        tree = make_tree(np.zeros((1, 30, 4)))
        tree["posterior"] = xr.DataTree(
            tree["posterior"].to_dataset().assign(u=(("chain", "draw", "obs_id"), np.zeros((1, 30, 4))))
        )
        with pytest.raises(ValueError, match=r"site: expected one of \['z', 'u'\], got None"):
            pv.diagnostics.active_units(tree)
        assert pv.diagnostics.active_units(tree, site="u")["variance"].dims == ("chain",)


def test_a_tail_of_equal_weights_is_bounded_and_spoils_no_other_datum(rng) -> None:
    log_weight = rng.normal(size=(1, 400, 3))
    log_weight[0, :, 1] = np.where(np.arange(400) % 2, -3.0, -np.inf)
    found = pv.diagnostics.pareto_k(make_tree(log_weight))["pareto_k"].values[0]
    assert found[1] == 0
    assert np.isfinite(found).all()


def test_thirty_good_draws_have_a_finite_k(rng) -> None:
    found = pv.diagnostics.pareto_k(make_tree(0.3 * rng.normal(size=(1, 30, 200))))
    assert np.isfinite(found["pareto_k"]).all()


def test_activity_is_relative_to_the_prior(rng) -> None:
    """The same posterior in units 20 times smaller has the same verdict."""
    n = 2000
    z = 0.05 * (rng.normal(size=(1, 1, n, 2)) + 0.1 * rng.normal(size=(1, 40, n, 2)))
    tree = make_tree(np.zeros((1, 40, n)), z)
    assert not pv.diagnostics.active_units(tree)["active"].any()
    tree["prior"] = xr.DataTree(xr.Dataset({"z": (("chain", "draw", "z_dim_0"), 0.05 * rng.normal(size=(1, 1000, 2)))}))
    assert pv.diagnostics.active_units(tree)["active"].all()


def test_activity_needs_two_draws() -> None:
    with pytest.raises(pv.diagnostics.NotAvailable, match="at least two draws"):
        pv.diagnostics.active_units(make_tree(np.zeros((1, 1, 4))))
