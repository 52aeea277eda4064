"""Bad input to what judges, repairs and reports a posterior: an error that says what to do, or 'not available'."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import arviz as az
import numpy as np
import pytest
import xarray as xr
from programs import gaussian, hierarchy, linear_vae

import pyrovae as pv
from pyrovae.diagnostics import NotAvailable

N, DRAWS = 12, 40
GROUPS = (
    "posterior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
    "observed_data",
    "predictive_stats",
    "optimization",
)
DATA, STATS = "observed_data", "sample_stats"


@pytest.fixture(scope="module")
def fit() -> pv.Fit:
    return pv.fit(linear_vae(), gaussian(40), epochs=20)


@pytest.fixture(scope="module")
def tree(fit) -> xr.DataTree:
    return pv.posterior(fit, gaussian(N, seed=1), draws=DRAWS, predictive=DRAWS // 2)


@pytest.fixture(scope="module")
def exact(fit) -> xr.DataTree:
    return pv.posterior(fit, gaussian(N, seed=1)[:3], draws=30, method="nuts", chains=2, warmup=20)


def without(tree: xr.DataTree, *groups: str) -> xr.DataTree:
    return xr.DataTree.from_dict({f"/{g}": n.to_dataset() for g, n in tree.children.items() if g not in groups})


def changed(tree: xr.DataTree, group: str, change: Callable[[xr.Dataset], xr.Dataset]) -> xr.DataTree:
    groups = {f"/{g}": n.to_dataset() for g, n in tree.children.items()}
    out = xr.DataTree.from_dict(groups | {f"/{group}": change(groups[f"/{group}"])})
    out.attrs = dict(tree.attrs)
    return out


def with_value(tree: xr.DataTree, group: str, name: str, value: float, first: int = 1) -> xr.DataTree:
    """The tree with a value at the first data of a variable, of all draws."""

    def put(dataset: xr.Dataset) -> xr.Dataset:
        values = dataset[name].copy(deep=True)
        values[{d: slice(first) for d in ("obs_id",) if d in values.dims}] = value
        return dataset.assign({name: values})

    return changed(tree, group, put)


def foreign(**more: Any) -> xr.DataTree:
    rng = np.random.default_rng(0)
    groups = {"posterior": {"mu": rng.normal(size=(2, 50)), "theta": rng.normal(size=(2, 50, 8))}}
    return az.from_dict(groups | {"observed_data": {"y": rng.normal(size=8)}} | more)


TREES: dict[str, Callable[[xr.DataTree], xr.DataTree]] = {
    **{f"without {group}": lambda t, g=group: without(t, g) for group in GROUPS},
    "without any attribute": lambda t: without(t),
    "older history": lambda t: changed(t, "optimization", lambda d: d.drop_vars(["learning_rate", "kept_epoch"])),
    "broken settings": lambda t: _attrs(t, settings="{"),
    "other settings": lambda t: _attrs(t, settings=json.dumps({"best_chain": "x"}), program=3, data=None),
    "broken sites": lambda t: changed(t, STATS, lambda d: d.assign_attrs(enumerated_sites="{")),
    "sites as a list": lambda t: changed(t, STATS, lambda d: d.assign_attrs(enumerated_sites=[])),
    "one datum": lambda t: t.isel(obs_id=[0], missing_dims="ignore"),
    "two data": lambda t: t.isel(obs_id=[0, 1], missing_dims="ignore"),
    "thinned": lambda t: t.isel(draw=slice(None, None, 2), missing_dims="ignore"),
    "one draw": lambda t: t.isel(draw=[0], missing_dims="ignore"),
    "last draws": lambda t: t.isel(draw=slice(-20, None), missing_dims="ignore"),
    "fewer data in the posterior": lambda t: changed(t, "posterior", lambda d: d.isel(obs_id=slice(5))),
    "fewer data in x̃": lambda t: changed(t, "posterior_predictive", lambda d: d.isel(obs_id=slice(5))),
    "fewer observed": lambda t: changed(t, DATA, lambda d: d.isel(obs_id=slice(5))),
    "latents of no chain": lambda t: changed(t, "posterior", lambda d: d.isel(chain=0)),
    "text": lambda t: changed(t, "posterior", lambda d: d.assign(z=d["z"].astype(str))),
    **{f"weights {v}": lambda t, v=v: with_value(t, STATS, "log_weight", v) for v in (np.inf, -np.inf, np.nan)},
    "weights of all −∞": lambda t: with_value(t, STATS, "log_weight", -np.inf, N),
    "constant weights": lambda t: with_value(t, STATS, "log_weight", 0.0, N),
    **{f"log p(x|z) {v}": lambda t, v=v: with_value(t, STATS, "log_lik", v) for v in (-np.inf, np.nan)},
    **{f"z {v}": lambda t, v=v: with_value(t, "posterior", "z", v) for v in (np.inf, np.nan)},
    "constant z": lambda t: with_value(t, "posterior", "z", 1.0, N),
    "KL NaN": lambda t: with_value(t, STATS, "kl_z", np.nan),
    "prior ∞": lambda t: with_value(t, "prior", "z", np.inf),
    "x̃ ∞": lambda t: with_value(t, "posterior_predictive", "x", np.inf),
    "x ∞": lambda t: with_value(t, DATA, "x", np.inf),
    "x missing": lambda t: with_value(t, DATA, "x", np.nan, N),
    "no history": lambda t: changed(t, "optimization", lambda d: d * np.nan),
    "two sites": lambda t: pv.posterior(hierarchy(), gaussian(N), draws=DRAWS),
}


def _attrs(tree: xr.DataTree, **attrs: Any) -> xr.DataTree:
    out = tree.copy()
    out.attrs = dict(tree.attrs) | attrs
    return out


@pytest.mark.parametrize("case", TREES)
def test_every_tree_with_a_log_likelihood_is_diagnosed(case, tree) -> None:
    found = pv.diagnose(TREES[case](tree))
    missing = found.table[found.table["verdict"] == "not available"]
    assert (missing["action"].str.len() > 10).all()
    judged = found.table[found.table["verdict"].isin(["good", "usable", "bad"])]
    assert not judged["figure"].str.contains("nan", case=False).any(), judged["figure"].tolist()
    assert str(found)


REPORTED: dict[str, Callable[[xr.DataTree], xr.DataTree]] = {
    "empty": lambda t: xr.DataTree(),
    "no log likelihood": lambda t: changed(t, STATS, lambda d: d.drop_vars("log_lik")),
    "no statistics": lambda t: without(t, STATS),
    "no data": lambda t: t.isel(obs_id=slice(0), missing_dims="ignore"),
    "no draws": lambda t: t.isel(draw=slice(0), missing_dims="ignore"),
    "no chain": lambda t: t.isel(chain=0, missing_dims="ignore"),
    "samples": lambda t: changed(t, "posterior", lambda d: d.stack(sample=("chain", "draw"))),
    "ArviZ's": lambda t: foreign(),
    "PyMC's": lambda t: foreign(sample_stats={"diverging": np.zeros((2, 50), bool)}),
    "other draws of x̃": TREES["last draws"],
}


@pytest.mark.parametrize("case", REPORTED)
def test_any_tree_is_reported(case, tree, tmp_path) -> None:
    path = pv.report.write(REPORTED[case](tree), tmp_path / "report.html", sections=pv.report.SECTIONS[2:5])
    assert "not available" in path.read_text()


ALL: dict[str, Callable[[Any], Any]] = {
    **{
        name: getattr(pv.diagnostics, name)
        for name in (
            "active_units",
            "collapse",
            "convergence",
            "density_gap",
            "diagnose",
            "elbo_terms",
            "elpd",
            "intervals",
            "kl",
            "log_evidence",
            "pareto_k",
            "predictive_check",
            "prior_match",
            "prior_predictive_check",
            "rate_distortion",
            "sampler_checks",
        )
    },
    "correct": pv.correct,
    "resample": lambda t: pv.correct(t, method="resample"),
    "expectation": lambda t: pv.expectation(t, lambda draws: draws["z"]),
    "compare": lambda t: pv.compare({"a": t, "b": t}),
    "disentanglement": lambda t: pv.diagnostics.disentanglement(t, np.arange(N)),
    "gold_standard": lambda t: pv.diagnostics.gold_standard(t, t),
}


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_tree_of_draws_is_refused_by_all(name, tree, fit) -> None:
    for other in (None, fit, {"posterior": tree["posterior"]}, tree["posterior"].to_dataset(), "report.html"):
        with pytest.raises(TypeError, match="expected an ArviZ tree"):
            ALL[name](other)
    for case in ("empty", "ArviZ's", "no data", "no draws")[: 2 if name == "convergence" else 4]:
        with pytest.raises(NotAvailable):
            ALL[name](REPORTED[case](tree))


@pytest.mark.parametrize(
    ("case", "name", "says"),
    [
        ("weights nan", "elpd", "not finite for 1 of 12 data, first at obs_id 0: give data that the model can"),
        ("weights inf", "elpd", "not finite for 1 of 12 data"),
        ("weights nan", "compare", "model 'a': log p̂.x. is not finite for 1 of 12 data"),
        ("weights nan", "rate_distortion", "the rate of 1 of 12 data is infinite or NaN"),
        ("log p(x|z) -inf", "rate_distortion", "1 of 12 data is infinite"),
        ("one datum", "compare", "at least two data"),
        ("KL NaN", "kl", "divergences of 'z' are NaN"),
        ("KL NaN", "collapse", "divergences of 'z' are NaN"),
        ("z inf", "active_units", "draws of 'z': expected finite values"),
        ("z inf", "intervals", "expected finite values"),
        ("prior ∞", "active_units", "'z' from the prior: expected finite values"),
        ("x ∞", "prior_predictive_check", "values in observed_data/x are infinite"),
        ("broken sites", "active_units", "expected a JSON list of sites, got '{'"),
        ("text", "active_units", "posterior/z: expected numbers"),
        ("latents of no chain", "active_units", r"expected dimensions chain, draw, got .* tree.isel.chain=.0.."),
        ("last draws", "predictive_check", "'posterior_predictive' and 'sample_stats' hold other draws"),
        ("fewer data in the posterior", "resample", "'posterior' and 'sample_stats' hold other data .5 and 12"),
        ("fewer observed", "compare", "'observed_data' and 'sample_stats' hold other data"),
    ],
)
def test_what_a_tree_cannot_give_is_said(case, name, says, tree) -> None:
    with pytest.raises(ValueError, match=says):
        ALL[name](TREES[case](tree))


def test_what_is_not_gathered_with_the_weights_is_refused_or_left_out(tree) -> None:
    shared = changed(tree, "posterior", lambda d: d.assign(w=d["z"].isel(obs_id=0, z_dim_0=0, drop=True)))
    with pytest.raises(NotAvailable, match="all data share the draws of 'w'"):
        ALL["resample"](shared)
    older = changed(tree, STATS, lambda d: d.drop_vars("log_lik").assign(lp=d["log_p"].sum("obs_id")))
    assert "lp" not in ALL["resample"](older)[STATS].dataset


def test_other_data_under_the_same_labels_are_not_compared(fit, tree, exact) -> None:
    """Without labels of their own, data are numbered: any two trees would match."""
    assert set(pv.diagnostics.gold_standard(tree, exact).sizes) == {"obs_id", "z_dim_0"}
    other = pv.posterior(fit, gaussian(N, seed=2), draws=DRAWS)
    with pytest.raises(ValueError, match="'exact' and 'tree' differ in 3 of 3, first at obs_id 0"):
        pv.diagnostics.gold_standard(other, exact)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: pv.diagnose(t, seed="1"), "seed: expected a whole number"),
        (lambda t: pv.diagnostics.log_evidence(t, k=5), "k: expected numbers of draws"),
        (lambda t: pv.diagnostics.log_evidence(t, k=["1"]), "between 1 and 40"),
        (lambda t: pv.diagnostics.elpd(t, chain=1.5), "chain: expected a whole number"),
        (lambda t: pv.diagnostics.density_gap(t, pairs=1.5), "pairs: expected a whole number"),
        (lambda t: pv.diagnostics.density_gap(t, pairs=[1]), "pairs: expected a number, or pairs of two"),
        (lambda t: pv.diagnostics.active_units(t, threshold="1"), "threshold: expected a number of at least 0"),
        (lambda t: pv.diagnostics.collapse(t, epsilon=-1), "epsilon: expected a number of at least 0"),
        (lambda t: pv.diagnostics.collapse(t, delta=2), "delta: expected a number from 0 to 1"),
        (lambda t: pv.diagnostics.good_k("100"), "draws: expected a whole number"),
        (lambda t: pv.expectation(t, lambda d: d["z"] * 1j), "f: expected it to return real numbers"),
        (lambda t: pv.expectation(t, lambda d: d["z"].astype(str)), "f: expected it to return real numbers"),
        (lambda t: pv.compare(t), "expected trees by name"),
        (lambda t: pv.compare({"a": t, "b": without(t, DATA)}), "'b' has no group 'observed_data'"),
        (lambda t: pv.report.write(t, None), "path: expected the name of a file"),
        (lambda t: pv.report.write(t, "r.html", diagnosis="good"), "diagnosis: expected what pv.diagnose returned"),
        (lambda t: pv.report.write(t, "r.html", sections=["elbo"]), "sections: expected several"),
        (lambda t: pv.report.write(t, "r.html", sections=pv.report.SECTIONS[0]), "sections: expected several"),
        (lambda t: pv.diagnose(t, linear_vae(), gaussian(4, features=7)), "expected 4 features"),
    ],
)
def test_bad_settings_are_named(call, says, tree) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        call(tree)
