"""Disentanglement scores of codes whose relation to the factors is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics.disentanglement import disentanglement

N = 300
SCORES = ("mig", "sap", "completeness", "disentanglement")


def tree_of(codes: np.ndarray, **coords: Any) -> xr.DataTree:
    """A tree whose posterior means are the codes (n, dimension)."""
    noise = np.array([-0.1, 0.1])[None, :, None, None]
    values = (("chain", "draw", "obs_id", "z_dim_0"), codes[None, None] + noise)
    return xr.DataTree.from_dict({"posterior": xr.Dataset({"z": values}, coords=coords)})


@pytest.fixture(scope="module")
def factors() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"shape": np.array(list("abc"))[rng.integers(0, 3, N)], "size": rng.normal(size=N), "on": rng.random(N) < 0.5}
    )


@pytest.fixture(scope="module")
def code(factors: pd.DataFrame) -> np.ndarray:
    """One dimension for each factor, each monotone in it, and one of noise."""
    rng = np.random.default_rng(1)
    number = factors["shape"].map({"a": 0.0, "b": 1.0, "c": 2.0})
    columns = [number, 3 * factors["size"], factors["on"].astype(float), rng.normal(size=N)]
    return np.stack(columns, 1) + 1e-3 * rng.normal(size=(N, 4))


def test_a_code_of_one_dimension_per_factor(factors, code) -> None:
    found = disentanglement(tree_of(code), factors)
    assert found["kind"].values.tolist() == ["discrete", "continuous", "discrete"]
    assert found["latent"].values.tolist() == [f"z[{j}]" for j in range(4)]
    for name in SCORES:
        assert float(found[name].min()) > 0.85, name
    assert float(found["informativeness"].min()) > 0.95
    np.testing.assert_array_equal(found["mutual_information"].isel(chain=0).values.argmax(1), [0, 1, 2])
    np.testing.assert_array_equal(found["importance"].isel(chain=0).values.argmax(1), [0, 1, 2])
    np.testing.assert_allclose(found["importance"].sum("latent"), 1)


def test_noise_knows_nothing(factors) -> None:
    found = disentanglement(tree_of(np.random.default_rng(2).normal(size=(N, 4))), factors)
    for name in SCORES:
        assert abs(found[name]).max() < 0.1, name
    assert float(found["informativeness"].max()) < 0.2
    assert abs(found["mutual_information"]).max() < 0.1


def test_two_dimensions_that_know_the_same_leave_no_gap(factors, code) -> None:
    twice = disentanglement(tree_of(code[:, [0, 0, 1, 1, 2, 2]]), factors)
    assert float(twice["mig"].max()) == 0
    assert float(twice["sap"].max()) == 0
    assert float(twice["disentanglement"][0]) > 0.9  # each still serves one factor
    assert float(twice["completeness"].max()) < 0.7  # and none suffices


def test_a_rotated_code_is_not_disentangled(factors, code) -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    straight, rotated = (disentanglement(tree_of(c), factors) for c in (code, code @ rotation))
    for name in SCORES:
        assert float(rotated[name].mean()) < float(straight[name].mean()) - 0.3, name
    assert float(rotated["informativeness"].min()) > 0.7  # it knows as much


def test_order_scale_and_sign_do_not_matter(factors, code) -> None:
    """Of dimensions, factors and data; exactly so for MIG and SAP, but for the forests' draws."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(N)
    base = disentanglement(tree_of(code), factors)
    moved = disentanglement(tree_of(code[:, [2, 0, 3, 1]] * [3, -1, 0.5, 10]), factors[["size", "on", "shape"]])
    shuffled = disentanglement(tree_of(code[rows], obs_id=rows), factors)  # aligned by the index
    for name in SCORES:
        again = moved[name].sel(factor=base["factor"]) if "factor" in moved[name].dims else moved[name]
        np.testing.assert_allclose(again, base[name], atol=0.02)
        np.testing.assert_allclose(shuffled[name], base[name], atol=0.05)
    np.testing.assert_allclose(moved["mig"].sel(factor=base["factor"]), base["mig"], atol=0.02)
    np.testing.assert_allclose(shuffled["mig"], base["mig"], atol=1e-12)


def test_factors_as_they_come(factors, code) -> None:
    tree = tree_of(code)
    one = disentanglement(tree, factors["shape"])
    assert one["factor"].values.tolist() == ["shape"]
    assert "disentanglement" not in one  # of one factor there is nothing to mix
    array = disentanglement(tree, factors["size"].to_numpy())
    assert array["factor"].values.tolist() == ["factor_0"]
    labelled = xr.DataArray(factors["size"].to_numpy()[:, None], dims=("obs_id", "factor"), coords={"factor": ["size"]})
    xr.testing.assert_equal(
        disentanglement(tree, labelled)["mig"].drop_vars("factor"), array["mig"].drop_vars("factor")
    )
    partly = factors["size"].where(np.arange(N) >= 100)
    assert disentanglement(tree, partly).attrs["data"] == N - 100


def test_what_is_refused(factors, code) -> None:
    tree = tree_of(code)
    with pytest.raises(NotAvailable, match="but one latent dimension"):
        disentanglement(tree_of(code[:, :1]), factors)
    with pytest.raises(ValueError, match=r"expected an index that holds the data's obs_id, 1 of 300 are missing"):
        disentanglement(tree, factors.iloc[1:])
    with pytest.raises(ValueError, match="index without duplicates"):
        disentanglement(tree, pd.concat([factors, factors]))
    with pytest.raises(ValueError, match=r"expected 300 rows, one for each datum, got shape \(299,\)"):
        disentanglement(tree, np.zeros(299))
    with pytest.raises(ValueError, match="'factor_0' is constant"):
        disentanglement(tree, np.zeros(N))
    with pytest.raises(ValueError, match="has the value '1' once"):
        disentanglement(tree, (np.arange(N) == 5).astype(int))
    with pytest.raises(ValueError, match="infinite"):
        disentanglement(tree, np.where(np.arange(N) == 5, np.inf, np.linspace(0, 1, N)))
    with pytest.raises(ValueError, match="at least 20 data with all factors known, got 10"):
        disentanglement(tree, np.where(np.arange(N) < 10, np.linspace(0, 1, N), np.nan))
    with pytest.raises(ValueError, match="dimensions obs_id and factor"):
        disentanglement(tree, xr.DataArray(np.zeros(N), dims="row"))
    with pytest.raises(ValueError, match="site: expected one of"):
        disentanglement(tree, factors, site="y")
    kinds = xr.Dataset({"c": (("chain", "draw", "obs_id"), np.zeros((1, 2, N), int))})
    with pytest.raises(NotAvailable, match="categories, which have no mean"):
        disentanglement(xr.DataTree.from_dict({"posterior": kinds}), factors)
