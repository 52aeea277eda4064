"""Imputation: where p(x_mis|x_obs) has a closed form, and where the truth was removed from a simulated table."""

from __future__ import annotations

import json
import math

import arviz as az
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from analysis import imputation

# A linear Gaussian model, of which everything is known

W = torch.tensor([[1.0, 0.5, -0.7, 0.0], [0.0, 1.2, 0.4, 0.0]], dtype=torch.float64)
MU = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
SIGMA = 0.5


def likelihood(z):
    return dist.Normal(z @ W + MU, SIGMA).to_event(1)


def posterior_of(x, mask):
    """Exact p(z|x_obs), by datum."""
    seen = mask.double().unsqueeze(-2)  # (n, 1, 4)
    precision = torch.eye(2, dtype=torch.float64) + (W * seen) @ W.T / SIGMA**2
    right = ((W * seen) @ (x - MU).unsqueeze(-1)) / SIGMA**2
    return torch.linalg.solve(precision, right).squeeze(-1), torch.linalg.inv(precision)


def program(off: float = 0.0, wide: float = 1.0) -> pv.VAE:
    """The model with its exact guide, or one that is off by some standard deviations and too wide."""

    def guide(x, mask):
        loc, covariance = posterior_of(x, mask)
        sd = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        return dist.MultivariateNormal(loc + off * sd, wide**2 * covariance)

    def prior():
        return dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1)

    return pv.VAE(prior, likelihood, guide)


def table(n: int = 12) -> torch.Tensor:
    torch.manual_seed(3)
    x = torch.randn(n, 2, dtype=torch.float64) @ W + MU + SIGMA * torch.randn(n, 4, dtype=torch.float64)
    x[torch.rand(n, 4) < 0.4] = torch.nan
    x[0], x[1] = torch.nan, 1.0  # nothing seen; everything seen
    return x


def exact(x):
    """Mean and covariance of p(x|x_obs), by datum; those of a datum of which nothing is seen are the margin's."""
    loc, covariance = posterior_of(torch.nan_to_num(x), ~x.isnan())
    noise = SIGMA**2 * torch.eye(4, dtype=torch.float64)
    return loc @ W + MU, W.T @ covariance @ W + noise


def moments(tree, x):
    """Of each datum, the cells imputed and their draws (draws, cells)."""
    imputed = tree["imputed"]["x"].isel(chain=0)
    for i in np.flatnonzero(x.isnan().any(1)):
        yield i, x[i].isnan().numpy(), imputed.values[:, (imputed["obs_id"] == i).values]


@pytest.mark.parametrize(
    ("vae", "resample"), [(program(), False), (program(0.7, 1.4), True)], ids=["exact guide", "guide off, weighted"]
)
def test_draws_have_the_moments_of_the_closed_form(vae, resample):
    x, draws = table(), 4000
    tree = pv.impute(vae, x, draws=draws, seed=1, resample=resample)
    mean, covariance = exact(x)
    for i, gone, values in moments(tree, x):
        c = covariance[i][gone][:, gone].numpy()
        error = np.sqrt(np.diag(c) / draws)
        assert (np.abs(values.mean(0) - mean[i][gone].numpy()) < 4 * np.sqrt(1.2) * error).all(), i
        spread = np.sqrt((np.outer(np.diag(c), np.diag(c)) + c**2) / draws)
        assert (np.abs(np.cov(values.T).reshape(c.shape) - c) < 4 * np.sqrt(1.2) * spread).all(), i


@pytest.mark.parametrize("low_rank", [False, True])
def test_cells_that_depend_on_each_other_given_z(low_rank):
    """Noise N(0, Σ) with covariances: the missing cells are drawn given z and the observed ones."""
    factor = torch.tensor([[0.6], [-0.5], [0.9], [0.7]], dtype=torch.float64)
    noise = 0.2 * torch.eye(4, dtype=torch.float64) + factor @ factor.T
    x, draws = table(), 4000

    def correlated(z):
        if low_rank:
            return dist.LowRankMultivariateNormal(z @ W + MU, factor, torch.full((4,), 0.2, dtype=torch.float64))
        return dist.MultivariateNormal(z @ W + MU, noise)

    def guide(x, mask):
        found = []
        for row, seen in zip(x, mask, strict=True):
            w = W[:, seen] @ torch.linalg.inv(noise[seen][:, seen])
            covariance = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + w @ W[:, seen].T)
            found.append((covariance @ w @ (row - MU)[seen], covariance))
        return dist.MultivariateNormal(*map(torch.stack, zip(*found, strict=True)))

    prior = pv.priors.Normal(2).double()
    tree = pv.impute(pv.VAE(prior, correlated, guide), x, draws=draws, seed=2)
    whole = W.T @ W + noise
    for i, gone, values in moments(tree, x):
        seen = ~gone
        gain = whole[gone][:, seen] @ torch.linalg.inv(whole[seen][:, seen])
        mean = (MU[gone] + gain @ (x[i] - MU)[seen]).numpy()
        c = (whole[gone][:, gone] - gain @ whole[seen][:, gone]).numpy()
        assert (np.abs(values.mean(0) - mean) < 4 * np.sqrt(np.diag(c) / draws)).all(), i
        spread = np.sqrt((np.outer(np.diag(c), np.diag(c)) + c**2) / draws)
        assert (np.abs(np.cov(values.T).reshape(c.shape) - c) < 4 * spread).all(), i


def test_without_weights_a_guide_that_is_off_gives_draws_that_are():
    x = table()
    tree = pv.impute(program(0.7, 1.4), x, draws=4000, resample=False)
    mean, _ = exact(x)
    off = [np.abs(values.mean(0) - mean[i][gone].numpy()).max() for i, gone, values in moments(tree, x)]
    assert max(off) > 0.3


def test_the_effective_share_of_the_draws():
    """1 for an exact guide; (2c² − 1)/c⁴ per dimension for one c times too wide in two dimensions."""
    x = table()
    exact_share = pv.impute(program(), x, draws=50)["sample_stats"]["ess"]
    np.testing.assert_allclose(exact_share, 1, rtol=1e-9)
    assert exact_share.sizes == {"chain": 1, "obs_id": int(x.isnan().any(1).sum())}
    c = 1.4
    wide = pv.impute(program(0.0, c), x, draws=2000)["sample_stats"]["ess"].values
    np.testing.assert_allclose(wide, (2 * c**2 - 1) / c**4, rtol=0.06)


def test_informed_is_the_share_of_variance_that_is_explained():
    n = 4000
    torch.manual_seed(0)
    x = torch.randn(n, 2, dtype=torch.float64) @ W + MU + SIGMA * torch.randn(n, 4, dtype=torch.float64)
    x[: n // 4, 0], x[n // 4 : n // 2, 1], x[n // 2 :, 3] = torch.nan, torch.nan, torch.nan
    group = pv.impute(program(), x, draws=100)["columns"]
    assert group["x_dim_0"].values.tolist() == [0, 1, 3]  # 2 is observed everywhere
    assert group["missing"].values.tolist() == [n // 4, n // 4, n // 2]
    covariance = (W.T @ W + SIGMA**2 * torch.eye(4)).numpy()
    for at, j in enumerate((0, 1)):
        others = [k for k in range(4) if k != j]
        explained = covariance[j, others] @ np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, j])
        error = math.sqrt(2 / (0.75 * n))  # of the column's own variance
        assert abs(group["informed"].values[at] - explained / covariance[j, j]) < 4 * error
    assert abs(group["informed"].values[2]) < 4 * math.sqrt(2 / (n / 2))
    assert [v.split(",")[0].split(":")[0] for v in group["verdict"].values] == ["well", "weakly", "cannot do"]


# A table of six kinds of columns


@pytest.fixture(scope="module")
def found():
    """Truth, what was left of it, a fit and its imputation."""
    whole = pv.data.as_data(imputation.simulate(), name="simulated", kinds=imputation.KINDS["simulated"])
    part = imputation.remove(whole)
    torch.manual_seed(0)
    fit = pv.fit(imputation.build(part), part, epochs=100, batch_size=100, lr=8e-3, seed=0, progress=False)
    tree = pv.impute(fit, part, draws=100, seed=0)
    return whole, part, fit, tree, imputation.compare(whole, part, tree).set_index("column")


SHAPED = ("wave", "bowl", "saddle", "slope", "income", "visits", "smokes", "town", "stage")


@pytest.mark.parametrize("column", SHAPED)
def test_it_beats_the_margin_and_linear_regressions(found, column):
    row = found[-1].loc[column]
    assert row["pyrovae"] < 0.75 * row["margin"]
    assert row["pyrovae"] < row["iterative"]


def test_central_intervals_cover(found):
    table = found[-1]
    covered = table["90 % interval"].dropna()
    assert set(covered.index) == {"wave", "bowl", "saddle", "slope", "income", "visits", "lottery"}
    error = 4 * np.sqrt(0.1 * 0.9 / table.loc[covered.index, "removed"])
    assert (covered > 0.85 - error / 4).all()
    assert (covered < 0.95 + error / 4).all()
    assert (
        0.86 < (covered * table.loc[covered.index, "removed"]).sum() / table.loc[covered.index, "removed"].sum() < 0.95
    )


@pytest.mark.parametrize("column", ["smokes", "town", "stage"])
def test_categories_are_calibrated(found, column):
    """Mean probability of the most probable category against how often it is the truth."""
    row = found[-1].loc[column]
    error = math.sqrt(row["pyrovae"] * (1 - row["pyrovae"]) / row["removed"])
    assert abs(row["claimed"] - row["pyrovae"]) < 4 * error


def test_noise_is_reported_as_what_cannot_be_done(found):
    columns = found[3]["columns"].to_dataset().to_dataframe()
    assert abs(columns.loc["lottery", "informed"]) < 0.05
    assert columns.loc["lottery", "verdict"].startswith("cannot do")
    assert (columns.loc[list(SHAPED), "informed"] > 0.15).all()
    assert not columns.loc[list(SHAPED), "verdict"].str.startswith("cannot").any()


def test_the_tree_is_in_long_form_and_becomes_the_table(found, tmp_path):
    whole, part, _, tree, _ = found
    imputed = tree["imputed"].to_dataset()
    missing = part.x.isnan().numpy()
    assert imputed["x"].dims == ("chain", "draw", "cell")
    assert imputed.sizes["cell"] == missing.sum()
    summary = az.summary(imputed.isel(cell=slice(0, 3)), kind="stats")
    assert len(summary) == 3
    frame = imputed["x"].isel(draw=0, chain=0).to_dataframe()
    assert {"obs_id", "column", "x"} <= set(frame.columns)
    wide = imputed["x"].isel(draw=0, chain=0).set_index(cell=("obs_id", "column")).unstack("cell")
    wide = wide.reindex(column=part.coords["column"][1], obs_id=part.coords["obs_id"][1])
    np.testing.assert_array_equal(np.isnan(wide.values), ~missing)
    completed = np.where(missing, wide.values, part.x.numpy())
    decoded = pv.data.decode(completed, part.columns)
    assert decoded["town"].cat.categories.tolist() == ["Bonn", "Köln", "Ulm"]
    assert decoded["smokes"].dtype == bool
    again = pv.data.as_data(decoded, columns=part.columns)
    np.testing.assert_allclose(again.x.numpy(), completed)
    assert json.loads(imputed.attrs["levels"])["stage"] == ["I", "II", "III", "IV"]
    tree.to_netcdf(tmp_path / "imputed.nc", engine="h5netcdf")
    assert whole.columns == part.columns


def test_the_seed_decides(found):
    _, part, fit, tree, _ = found
    some = part.take(slice(0, 40))
    state = torch.random.get_rng_state()
    one, two, other = (pv.impute(fit, some, draws=5, seed=s)["imputed"]["x"].values for s in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert tree["imputed"].sizes["chain"] == 1


def test_new_data_are_encoded_by_the_columns_of_training(found):
    _, part, fit, _, _ = found
    frame = imputation.simulate(20, seed=5).iloc[:, ::-1]
    frame.loc[3, "town"] = np.nan
    frame.loc[4, "wave"] = np.nan
    data = pv.data.as_data(frame, columns=part.columns)
    imputed = pv.impute(fit, data, draws=20)["imputed"]
    assert list(zip(imputed["obs_id"].values, imputed["column"].values, strict=True)) == [(3, "town"), (4, "wave")]
    assert set(np.unique(imputed["x"].isel(cell=0))) <= {0, 1, 2}


# Other programs, and what cannot be imputed


def test_images_and_restarts():
    torch.manual_seed(0)
    x = (torch.rand(30, 1, 4, 4) > 0.5).float()
    x[2, 0, 1:3, 1] = torch.nan
    vae = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Bernoulli(pv.networks.Conv(2, (4,), (1, 4, 4))),
        pv.guides.Normal(pv.networks.Conv((1, 4, 4), (4,), 4, mask=True)),
    )
    fit = pv.fit(vae, x, epochs=2, restarts=2, progress=False)
    tree = pv.impute(fit, x, draws=10)
    assert tree["imputed"].sizes == {"chain": 2, "draw": 10, "cell": 2}
    assert set(np.unique(tree["imputed"]["x"])) <= {0, 1}
    assert tree["imputed"]["x_dim_1"].values.tolist() == [1, 2]
    assert tree["columns"]["missing"].values.tolist() == [1, 1]
    assert tree["columns"].sizes == {"feature": 2}


def test_a_program_of_ones_own():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            fn = dist.Normal(z @ W.float() + MU.float(), SIGMA).mask(~x.isnan()).to_event(1)
            pyro.sample("x", fn, obs=torch.nan_to_num(x))

    def guide(x):
        with pyro.plate("data", len(x)):
            loc, covariance = posterior_of(torch.nan_to_num(x).double(), ~x.isnan())
            pyro.sample("z", dist.MultivariateNormal(loc.float(), covariance.float()))

    x = table().float()
    tree = pv.impute(pv.Program(model, guide), x, draws=2000)
    mean, covariance = exact(table())
    for i, gone, values in moments(tree, x):
        error = (covariance[i].diagonal()[torch.from_numpy(gone)] / 2000).sqrt().numpy()
        assert (np.abs(values.mean(0) - mean[i][gone].numpy()) < 4 * np.sqrt(1.2) * error).all()


def test_too_few_observed_cells_to_tell():
    x = table()
    tree = pv.impute(program(), x[:6], draws=5)
    assert tree["columns"]["informed"].isnull().all()
    assert all(v.startswith("cannot tell") for v in tree["columns"]["verdict"].values)


def together(z):
    return dist.Dirichlet(torch.ones(z.shape[0], 4))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: pv.impute(program(), torch.ones(3, 4)), ValueError, "no cell of data is missing .*nothing to impute"),
        (lambda: pv.impute(program(), torch.ones(3, 4, dtype=torch.int64)), ValueError, "no cell of data is missing"),
        (lambda: pv.impute(program(), table(), draws=1), ValueError, "draws: expected a whole number of at least 2"),
        (
            lambda: pv.impute(
                pv.VAE(pv.priors.Normal(2), together, pv.guides.Normal(pv.networks.MLP(4, (), 4, mask=True))),
                table().float(),
            ),
            (ValueError, NotImplementedError),
            "Dirichlet.* not independent given z",
        ),
        (
            lambda: pv.impute(
                pv.VAE(
                    pv.priors.Normal(2),
                    pv.likelihoods.Normal(pv.networks.MLP(2, (), 4)),
                    pv.guides.Normal(pv.networks.MLP(4, (), 4)),
                ),
                table().float(),
            ),
            ValueError,
            "the data hold NaN .*mask=True",
        ),
    ],
)
def test_what_cannot_be_imputed_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


# The analysis, as a user would run it


def test_the_analysis(tmp_path, capsys):
    table = imputation.main(["--out", str(tmp_path), "--epochs", "20", "--tables", "wine"])
    assert (tmp_path / "imputation.png").stat().st_size > 10_000
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "imputation.csv"), table, check_exact=False, rtol=1e-9)
    assert table["column"].tolist()[-1] == "cultivar"
    assert table["removed"].sum() == pytest.approx(0.2 * 178 * 14, rel=0.1)
    assert table["pyrovae"].mean() < table["margin"].mean()
    assert "cultivar" in capsys.readouterr().out


def test_a_completed_table_has_the_draw_where_a_cell_was_missing() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "b": rng.normal(size=60),
            "a": pd.Categorical(rng.choice(["x", "y", "z"], 60)),
            "c": rng.poisson(3.0, 60),
        },
        index=[f"row {i}" for i in range(60)],
    )
    holes = rng.random(frame.shape) < 0.3
    table = pv.data.as_data(frame.mask(holes), kinds={"c": "count"})
    torch.manual_seed(0)
    columns = table.columns
    vae = pv.VAE(
        pv.priors.Normal(1),
        pv.likelihoods.Columns(columns, pv.networks.MLP(1, (), pv.likelihoods.Columns.outputs(columns))),
        pv.guides.Normal(pv.networks.Columns(columns, pv.networks.MLP(pv.networks.Columns.features(columns), (), 2))),
    )
    imputed = pv.impute(pv.fit(vae, table, epochs=2, progress=False), table, draws=4)
    whole = pv.data.complete(table, imputed, draw=2)
    decoded = pv.data.decode(whole)
    assert list(decoded.columns) == ["b", "a", "c"]
    assert list(decoded.index) == list(frame.index)
    assert not decoded.isna().any().any()
    assert set(decoded["a"]) <= {"x", "y", "z"}
    for name in frame:
        seen = ~holes[:, list(frame).index(name)]
        assert (decoded[name].to_numpy()[seen] == frame[name].to_numpy()[seen]).all()
    draws = imputed["imputed"].dataset["x"].isel(chain=0, draw=2)
    for cell in (0, 7, -1):
        at = draws.isel(cell=cell)
        row, column = list(frame.index).index(str(at["obs_id"].values)), list(frame).index(str(at["column"].values))
        assert whole.x[row, column] == pytest.approx(float(at))
    with pytest.raises(ValueError, match="draw 4 was asked for, and there are 4"):
        pv.data.complete(table, imputed, draw=4)
    with pytest.raises(ValueError, match="missing cells of other data: pass"):
        pv.data.complete(table.take(slice(0, 30)), imputed)
    with pytest.raises(TypeError, match="expected Data, got DataFrame"):
        pv.data.complete(frame, imputed)
