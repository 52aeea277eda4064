"""Comparison of models on held-out log p̂(x), on trees built by hand and on probabilistic PCA, and the trap there."""

from __future__ import annotations

import math

import arviz as az
import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.decomposition import PCA

import pyrovae as pv
from models import ppca
from pyrovae.diagnostics.compare import compare
from tests import programs

LEAD = ("chain", "draw", "obs_id")


def by_hand(
    log_p: np.ndarray, *, draws: int = 40, labels: object = None, x: object = None, site: str = "x", **attrs: object
) -> xr.DataTree:
    """A tree whose weights are constant, so that log p̂ of each datum is what is given, exactly."""
    labels = np.arange(len(log_p)) if labels is None else labels
    x = np.arange(2.0 * len(log_p)).reshape(-1, 2) if x is None else np.asarray(x)
    coords = {"chain": [0], "obs_id": labels}
    weights = np.broadcast_to(log_p, (1, draws, len(log_p)))
    tree = xr.DataTree.from_dict(
        {
            "/sample_stats": xr.Dataset({"log_weight": (LEAD, weights)}, coords=coords),
            "/observed_data": xr.Dataset({site: (("obs_id", "f"), x)}, coords={"obs_id": labels}),
        }
    )
    tree.attrs.update(attrs)
    return tree


@pytest.fixture
def log_p() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    base = rng.normal(-900, 5, 200)  # exp of it is 0
    return {
        "worst": base - 2 + rng.normal(size=200),
        "best": base,
        "second": base - 0.2 + rng.normal(size=200),
    }


def test_differences_and_their_paired_errors_are_exact(log_p: dict[str, np.ndarray]) -> None:
    table = compare({name: by_hand(values) for name, values in log_p.items()})
    assert table.index.tolist() == ["best", "second", "worst"]
    assert table["rank"].tolist() == [0, 1, 2]
    for name, values in log_p.items():
        row, difference = table.loc[name], values - log_p["best"]
        assert row["elpd"] == pytest.approx(values.sum(), rel=1e-12)
        assert row["se"] == pytest.approx(math.sqrt(200) * values.std(ddof=1), rel=1e-9)
        assert row["elpd_diff"] == pytest.approx(difference.sum(), abs=1e-8)
        assert row["dse"] == pytest.approx(math.sqrt(200) * difference.std(ddof=1), rel=1e-9)
    assert table.loc["second", "dse"] < table.loc["second", "se"] / 3  # what all find hard is taken out
    assert table["weight"].sum() == pytest.approx(1)
    assert not table["bad_k"].any()


def test_weights_are_arvizs_where_it_can_have_them(log_p: dict[str, np.ndarray]) -> None:
    """Stacking is the same after a shift of all models' log p̂ of a datum; exp of it must not be 0."""
    from pyrovae.diagnostics.evidence import elpd

    near = {name: values - log_p["best"] for name, values in log_p.items()}
    found = compare({name: by_hand(values) for name, values in log_p.items()})["weight"]
    reference = az.compare({n: elpd(by_hand(v)) for n, v in near.items()}, round_to="none")["weight"]
    np.testing.assert_allclose(found, reference.loc[found.index], atol=2e-3)
    assert found["best"] > found["worst"]
    assert found["second"] > 0.05


def test_data_in_another_order_are_put_in_the_first_ones(log_p: dict[str, np.ndarray]) -> None:
    order = np.random.default_rng(1).permutation(200)
    x = np.arange(400.0).reshape(-1, 2)
    a = by_hand(log_p["best"], labels=[f"row {i}" for i in range(200)])
    b = by_hand(log_p["second"][order], labels=[f"row {i}" for i in order], x=x[order])
    table = compare({"a": a, "b": b})
    difference = log_p["second"] - log_p["best"]
    assert table.loc["b", "dse"] == pytest.approx(math.sqrt(200) * difference.std(ddof=1), rel=1e-9)


def test_missing_cells_types_and_names_of_sites_may_differ(log_p: dict[str, np.ndarray]) -> None:
    x = np.random.default_rng(0).normal(size=(200, 2))
    x[3, 1] = np.nan
    table = compare(
        {
            "float64": by_hand(log_p["best"], x=x),
            "float32": by_hand(log_p["second"], x=x.astype("float32"), site="obs"),
        }
    )
    assert set(table.index) == {"float64", "float32"}
    whole = np.arange(400).reshape(200, 2)
    table = compare({"int": by_hand(log_p["best"], x=whole), "float": by_hand(log_p["best"], x=whole.astype(float))})
    assert table["elpd"].nunique() == 1


def _other(x: np.ndarray, value: float) -> np.ndarray:
    x = x.copy()
    x[17, 0] = value
    return x


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"x": _other(np.arange(400.0).reshape(-1, 2), 0.0)},
            "the data 'x' of 'a' and 'b' differ in 1 of 200, first at",
        ),
        ({"x": _other(np.arange(400.0).reshape(-1, 2), np.nan)}, "differ in 1 of 200, first at obs_id 17"),
        ({"x": np.zeros((200, 3))}, r"have the shape \(200, 2\), of 'b' \(200, 3\)"),
        ({"labels": np.arange(200) + 1}, "'b' lacks 1 of the 200 data of 'a', such as obs_id 0"),
        ({"labels": np.r_[np.arange(198), 199, 199]}, "'b' lacks 1 of the 200 data"),
    ],
)
def test_other_data_are_refused(log_p: dict[str, np.ndarray], change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        compare({"a": by_hand(log_p["best"]), "b": by_hand(log_p["second"], **change)})


def test_what_cannot_be_compared(log_p: dict[str, np.ndarray]) -> None:
    tree = by_hand(log_p["best"])
    with pytest.raises(TypeError, match="expected trees by name"):
        compare([tree, tree])
    with pytest.raises(ValueError, match="two trees or more to compare, got 1"):
        compare({"a": tree})
    with pytest.raises(ValueError, match="'a' has 200 data and 'b' 10"):
        compare({"a": tree, "b": by_hand(log_p["best"][:10])})
    twice = np.zeros(200, int)
    with pytest.raises(ValueError, match="obs_id that repeat"):
        compare(
            {
                "a": by_hand(log_p["best"], labels=np.r_[0, 0, 1:199]),
                "b": by_hand(log_p["best"], labels=np.r_[1:199, 0, 0]),
            }
        )
    compare({"a": by_hand(log_p["best"], labels=twice), "b": by_hand(log_p["best"], labels=twice)})
    two = by_hand(log_p["best"])
    two["observed_data"] = xr.DataTree(two["observed_data"].to_dataset().assign(y=("obs_id", np.zeros(200))))
    with pytest.raises(ValueError, match="'a' observes x but 'b' x, y"):
        compare({"a": tree, "b": two})
    with pytest.raises(pv.diagnostics.NotAvailable, match="model 'b': these are draws of a Markov chain"):
        compare({"a": tree, "b": by_hand(log_p["best"], method="nuts")})
    with pytest.raises(pv.diagnostics.NotAvailable, match="model 'b': Pareto k̂ needs at least 30"):
        compare({"a": tree, "b": by_hand(log_p["best"], draws=10)})
    values = log_p["best"].copy()
    values[5] = -np.inf
    with pytest.raises(
        pv.diagnostics.NotAvailable, match="model 'b': log p̂.x. is not finite for 1 of 200 data, first at"
    ):
        compare({"a": tree, "b": by_hand(values)})
    with pytest.raises(TypeError, match="model 'b': expected an ArviZ tree"):
        compare({"a": tree, "b": log_p})


def test_shared_latents_have_no_evidence_by_datum() -> None:
    x = torch.randn(6, 1, dtype=torch.float64)
    tree = pv.posterior(programs.shared_mean(x), x, draws=50, predictive=0)
    with pytest.raises(pv.diagnostics.NotAvailable, match="model 'a': the latent 'm' is shared by all data"):
        compare({"a": tree, "b": tree})


# Probabilistic PCA: train and held-out data of 3 latents and 10 features


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(3, 10, generator=generator, dtype=torch.float64)
    z = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    x = z @ w + 0.5 * torch.randn(400, 10, generator=generator, dtype=torch.float64)
    return x[:200], x[200:]


def held_out(train: torch.Tensor, test: torch.Tensor, latents: int) -> np.ndarray:
    w, mu, sigma2 = ppca.maximum_likelihood(train, latents)
    covariance = w @ w.T + sigma2 * torch.eye(len(mu), dtype=w.dtype)
    return torch.distributions.MultivariateNormal(mu, covariance).log_prob(test).numpy()


def test_models_with_other_numbers_of_latents(data) -> None:
    train, test = data
    trees = {
        f"{k} latents": pv.posterior(ppca.exact_program(train, k), test, draws=40, predictive=0) for k in (1, 2, 3)
    }
    table = compare(trees)
    assert table.index.tolist() == ["3 latents", "2 latents", "1 latents"]
    exact = {k: held_out(train, test, k) for k in (1, 2, 3)}
    for k in (1, 2):
        difference = exact[k] - exact[3]
        row = table.loc[f"{k} latents"]
        assert row["elpd_diff"] == pytest.approx(difference.sum(), abs=1e-6)
        assert row["dse"] == pytest.approx(math.sqrt(200) * difference.std(ddof=1), abs=1e-6)


def test_a_share_of_bad_k_is_shown(data) -> None:
    train, test = data
    vae = ppca.exact_program(train, 3)
    exact = pv.posterior(vae, test, draws=200, predictive=0)
    bias = vae.parts["guide"].network.layers[0].bias
    with torch.no_grad():
        bias[3:] = ppca.softplus_inverse(0.3 * torch.nn.functional.softplus(bias[3:]))
    narrow = pv.posterior(vae, test, draws=200, predictive=0)
    table = compare({"narrow": narrow, "exact": exact})
    assert table.loc["exact", "bad_k"] == 0
    assert table.loc["narrow", "bad_k"] > 0.5
    assert table.index[0] == "exact"  # the same model: the difference is the guide's alone


def test_leave_one_out_of_a_datums_own_latents_is_no_elpd(data) -> None:
    """az.loo finds nothing to work on; given log p(x|z), it is hundreds of nats off with most k̂ bad."""
    train, test = data
    tree = pv.posterior(ppca.exact_program(train, 3), test, draws=1000, predictive=0)
    for call in (lambda: az.loo(tree), lambda: az.compare({"a": tree, "b": tree})):
        with pytest.raises(TypeError) as error:
            call()
        assert "log likelihood not found" in f"{error.value} {error.value.__cause__}"
    exact = held_out(train, test, 3)
    found = pv.diagnostics.elpd(tree)
    assert found.elpd == pytest.approx(exact.sum(), rel=1e-10)
    sklearn = PCA(3, svd_solver="full").fit(train.numpy()).score(test.numpy()) * len(test)
    assert found.elpd == pytest.approx(sklearn, abs=1)  # its σ² divides by N − 1

    wrong = tree.copy()
    wrong["log_likelihood"] = xr.DataTree(tree["sample_stats"].dataset[["log_lik"]])
    with pytest.warns(UserWarning, match="Estimated shape parameter of Pareto distribution is greater"):
        loo = az.loo(wrong)
    assert (loo.pareto_k > loo.good_k).mean() > 0.9
    assert loo.elpd - exact.sum() > 10 * found.se
