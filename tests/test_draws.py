"""The posterior tree: contents, coordinates, streaming, missing data, and ArviZ on it."""

from __future__ import annotations

import math
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro.infer import Trace_ELBO

import pyrovae as pv
from pyrovae.draws import blocks
from tests.programs import counts, gaussian, hierarchy, linear_vae, small_vae, tutorial


@pytest.fixture(scope="module")
def fitted() -> tuple[pv.Fit, pv.Data]:
    torch.manual_seed(0)
    data = pv.Data(counts(40), name="toy", dims=("item",), labels=np.arange(40) % 3)
    return pv.fit(small_vae(), data, validation=data.take(slice(0, 10)), epochs=30, restarts=2, progress=False), data


@pytest.fixture(scope="module")
def tree(fitted) -> xr.DataTree:
    return pv.posterior(*fitted, draws=60, seed=1)


def test_groups_and_dimensions(tree: xr.DataTree) -> None:
    assert list(tree.children) == [
        "posterior", "posterior_predictive", "prior", "prior_predictive", "observed_data", "constant_data",
        "sample_stats", "predictive_stats", "optimization",
    ]  # fmt: skip
    assert tree["posterior"]["z"].dims == ("chain", "draw", "obs_id", "z_dim_0")
    assert tree["posterior"]["z"].shape == (2, 60, 40, 2)
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "obs_id", "item")
    assert tree["observed_data"]["x"].dims == ("obs_id", "item")
    assert tree["prior"]["z"].dims == ("chain", "draw", "z_dim_0")
    for name in ("log_p", "log_q", "log_weight", "log_lik"):
        assert tree["sample_stats"][name].dims == ("chain", "draw", "obs_id")
    assert tree["optimization"]["elbo"].sizes == {"chain": 2, "epoch": 30}
    np.testing.assert_array_equal(tree["constant_data"]["label"], np.arange(40) % 3)
    assert "log_likelihood" not in tree.children


def test_log_densities_are_those_of_the_draws(fitted, tree: xr.DataTree) -> None:
    fit, data = fitted
    x = data.x.float()
    stats = tree["sample_stats"]
    for chain in range(2):
        with fit.chain(chain) as vae, torch.no_grad():
            z = torch.as_tensor(tree["posterior"]["z"].values[chain])
            q = vae.encode(x)
            log_q = q.log_prob(z)
            prior = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
            logits = vae.parts["likelihood"].network(z)
            lik = torch.distributions.Binomial(5, logits=logits).log_prob(x).sum(-1)
            kl = torch.distributions.kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0))
        for name, value in {"log_q": log_q, "log_lik": lik, "log_p": prior + lik}.items():
            np.testing.assert_allclose(stats[name].values[chain], value.numpy(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(stats["kl_z"].values[chain], kl.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats["log_weight"], stats["log_p"] - stats["log_q"], rtol=1e-5, atol=1e-5)


def test_same_seed_same_tree_in_memory_and_on_disk(fitted, tree: xr.DataTree, tmp_path: Path) -> None:
    again = pv.posterior(*fitted, draws=60, seed=1, path=tmp_path / "t.zarr")
    xr.testing.assert_identical(tree, again)
    assert not tree["posterior"].dataset.identical(pv.posterior(*fitted, draws=60, seed=2)["posterior"].dataset)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_survives_files_unchanged(tree: xr.DataTree, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    if suffix == ".nc":
        tree.to_netcdf(path, engine="h5netcdf")
        back = xr.open_datatree(path, engine="h5netcdf")
    else:
        tree.to_zarr(path, consolidated=False)
        back = xr.open_datatree(path, engine="zarr", consolidated=False)
    with back:
        xr.testing.assert_identical(tree, back.load())


def test_blocks_of_one_datum_give_a_valid_tree(fitted, tmp_path: Path, monkeypatch) -> None:
    """Memory for 7 rows only: draws and data are cut, and every figure is there."""
    monkeypatch.setattr(blocks, "MOST_ROWS", 7)
    small = pv.posterior(*fitted, draws=20, path=tmp_path / "t.zarr")
    whole = small.load()
    assert whole["posterior"]["z"].shape == (2, 20, 40, 2)
    for group in ("posterior", "sample_stats", "posterior_predictive", "observed_data"):
        for name, values in whole[group].dataset.items():
            assert np.isfinite(values).all(), name
    np.testing.assert_array_equal(whole["observed_data"]["x"], fitted[1].x)
    np.testing.assert_array_equal(whole["posterior"]["obs_id"], np.arange(40))
    xr.testing.assert_identical(pv.posterior(*fitted, draws=20), whole)


def test_streaming_holds_a_bounded_part(tmp_path: Path, monkeypatch) -> None:
    """What waits to be written is bounded, whatever the number of data, and the store equals the tree in memory."""
    from pyrovae.draws import tree as module

    held: list[int] = []
    append = module.DiskTree.append

    def watched(self, group: str, block: xr.Dataset) -> None:
        append(self, group, block)
        held.append(sum(b.nbytes for blocks in self.waiting.values() for b in blocks))

    monkeypatch.setattr(module.DiskTree, "append", watched)
    monkeypatch.setattr(module, "FLUSH", 200_000)
    monkeypatch.setattr(blocks, "MOST_ROWS", 4000)
    vae, x = small_vae(), counts(400)
    tree = pv.posterior(vae, x, draws=500, path=tmp_path / "t.zarr", predictive=1)
    assert max(held) < 5 * 200_000
    assert tree["posterior"]["z"].nbytes + 4 * tree["sample_stats"]["log_p"].nbytes > 4.5e6
    xr.testing.assert_identical(pv.posterior(vae, x, draws=500, predictive=1), tree.load())


def test_an_existing_path_is_kept(fitted, tmp_path: Path) -> None:
    path = tmp_path / "t.zarr"
    pv.posterior(*fitted, draws=5, path=path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        pv.posterior(*fitted, draws=5, path=path)
    pv.posterior(*fitted, draws=6, path=path, overwrite=True)
    assert xr.open_datatree(path, engine="zarr", consolidated=False)["posterior"].sizes["draw"] == 6
    with pytest.raises(ValueError, match=r"\.zarr.*\.nc"):
        pv.posterior(*fitted, draws=5, path=tmp_path / "t.csv")


def test_coordinates_come_from_a_dataframe() -> None:
    frame = pd.DataFrame(gaussian(5).numpy(), index=list("abcde"), columns=["p", "q", "r", "s"])
    tree = pv.posterior(linear_vae(), frame, draws=4)
    assert list(tree["posterior"]["obs_id"].values) == list("abcde")
    assert list(tree["observed_data"]["column"].values) == ["p", "q", "r", "s"]
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "obs_id", "column")


def test_missing_cells_stay_missing_and_are_left_out() -> None:
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(pv.networks.MLP(2, (), 4)),
        pv.guides.Normal(pv.networks.MLP(4, (), 4, mask=True)),
    )
    x = gaussian(6)
    x[0, 1] = x[3, 2] = math.nan
    tree = pv.posterior(vae, x, draws=30)
    np.testing.assert_array_equal(np.isnan(tree["observed_data"]["x"]), torch.isnan(x))
    np.testing.assert_array_equal(tree["constant_data"]["mask"], ~torch.isnan(x))
    assert np.isfinite(tree["posterior_predictive"]["x"]).all()
    z = torch.as_tensor(tree["posterior"]["z"].values[0])
    with torch.no_grad():
        terms = torch.distributions.Normal(vae.parts["likelihood"].network(z), 1.0).log_prob(x.nan_to_num())
    expected = torch.where(torch.isnan(x), 0.0, terms).sum(-1)
    np.testing.assert_allclose(tree["sample_stats"]["log_lik"].values[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [tutorial, hierarchy])
def test_foreign_programs(make) -> None:
    """Fit, draw and judge programs with plain functions; the tree's ELBO equals Trace_ELBO's on the same program."""
    torch.manual_seed(0)
    x = (counts(60) > 2).float() if make is tutorial else gaussian(60)
    program = make()
    fit = pv.fit(program, x, epochs=20, batch_size=20, progress=False)
    tree = pv.posterior(fit, x, draws=1000, predictive=5)
    if make is hierarchy:
        assert tree["posterior"]["z2"].dims == ("chain", "draw", "obs_id")
        assert tree["posterior"]["z1"].dims == ("chain", "draw", "obs_id", "z1_dim_0")
        assert "y" in tree["posterior_predictive"]
    else:
        assert tree["posterior"]["latent"].shape == (1, 1000, 60, 2)
    terms = pv.diagnostics.elbo_terms(tree)
    with program.scope():
        losses = [-Trace_ELBO().loss(program.model, program.guide, x) / 60 for _ in range(400)]
    error = math.hypot(np.std(losses) / 20, float(np.sqrt((terms["elbo_mcse"] ** 2).sum()) / 60))
    assert abs(np.mean(losses) - float(terms["elbo"].mean())) < 4 * error
    assert len(pv.diagnose(tree).table) >= 6


def test_log_p_of_a_foreign_program_on_the_same_draws() -> None:
    program = hierarchy()
    x = gaussian(7)
    tree = pv.posterior(program, x, draws=3)
    z1, z2 = (torch.as_tensor(tree["posterior"][n].values[0]) for n in ("z1", "z2"))
    log_p = (
        dist.Normal(0.0, 1.0).log_prob(z2)
        + dist.Normal(z2.unsqueeze(-1), 1.0).log_prob(z1).sum(-1)
        + dist.Normal(z1 @ (0.3 * torch.ones(2, 4)), 1.0).log_prob(x).sum(-1)
    )
    np.testing.assert_allclose(tree["sample_stats"]["log_p"].values[0], log_p, rtol=1e-4, atol=1e-4)
    assert not pyro.get_param_store().keys()


def test_a_plate_inside_the_data_plate() -> None:
    """Observations in a second plate are one datum's: their terms are added up, and the site keeps its shape."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("cells", 3, dim=-2):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.2 * x.sum(-1), 0.5))

    x = gaussian(5, 3, 1)
    tree = pv.posterior(pv.Program(model, guide), x, draws=4)
    z = torch.as_tensor(tree["posterior"]["z"].values[0])
    expected = dist.Normal(z.unsqueeze(-1), 1.0).log_prob(x).sum(-1)
    np.testing.assert_allclose(tree["sample_stats"]["log_lik"].values[0], expected, rtol=1e-4, atol=1e-4)
    assert tree["posterior_predictive"]["x"].shape == (1, 4, 5, 3)
    np.testing.assert_allclose(tree["observed_data"]["x"], x)


class TestPredictions:
    def test_prior_draws_have_the_priors_moments(self) -> None:
        tree = pv.sample(linear_vae(), gaussian(), draws=4000, seed=3)
        z = tree["prior"]["z"].values[0]
        assert abs(z.mean(0)).max() < 4 / math.sqrt(4000)
        assert abs(z.var(0) - 1).max() < 4 * math.sqrt(2 / 4000)

    def test_predictive_draws_have_the_likelihoods_moments(self, fitted) -> None:
        fit, data = fitted
        tree = pv.posterior(fit, data, draws=400, predictive=400)
        mean = pv.reconstruct(fit, data, draws=400)["x"]
        drawn = tree["posterior_predictive"]["x"].mean("draw")
        sd = tree["posterior_predictive"]["x"].std("draw")
        score = (drawn - mean) / (np.sqrt(2) * np.maximum(sd, 0.1) / 20)
        assert abs(score).max() < 5

    def test_encode_is_the_guides_mean_and_sd(self, fitted) -> None:
        fit, data = fitted
        codes = pv.encode(fit, data, draws=4000)
        with fit.chain(1) as vae, torch.no_grad():
            q = vae.encode(data.x.float())
        assert (abs(codes["z_mean"].values[1] - q.mean.numpy()) < 5 * q.stddev.numpy() / math.sqrt(4000)).all()
        assert (abs(codes["z_sd"].values[1] / q.stddev.numpy() - 1) < 5 / math.sqrt(8000)).all()

    def test_dynamic_binarisation_is_one_draw_for_all_latents(self) -> None:
        grey = pv.Data(torch.full((30, 4), 0.5)).binarize("dynamic")
        vae = pv.VAE(
            pv.priors.Normal(2),
            pv.likelihoods.Bernoulli(pv.networks.MLP(2, (), 4)),
            pv.guides.Normal(pv.networks.MLP(4, (), 4)),
        )
        tree = pv.posterior(vae, grey, draws=10)
        x = torch.as_tensor(tree["observed_data"]["x"].values)
        assert set(x.unique().tolist()) == {0.0, 1.0}
        z = torch.as_tensor(tree["posterior"]["z"].values[0])
        with torch.no_grad():
            expected = torch.distributions.Bernoulli(logits=vae.parts["likelihood"].network(z)).log_prob(x).sum(-1)
        np.testing.assert_allclose(tree["sample_stats"]["log_lik"].values[0], expected, rtol=1e-4, atol=1e-4)


class TestArviz:
    def test_summary_forest_pair_and_predictive_plots(self, tree: xr.DataTree) -> None:
        summary = az.summary(tree, kind="stats", var_names="z", coords={"obs_id": [0]}, round_to="none")
        expected = tree["posterior"]["z"].sel(obs_id=0).mean(("chain", "draw")).values
        np.testing.assert_allclose(summary["mean"].astype(float).values, expected, rtol=1e-5)
        assert az.plot_forest(tree, var_names="z", coords={"obs_id": [0]}) is not None
        assert az.plot_pair(tree, var_names="z", coords={"obs_id": [0]}) is not None
        assert az.plot_ppc_dist(tree) is not None

    def test_khat_and_compare(self, tree: xr.DataTree) -> None:
        elpd = pv.diagnostics.elpd(tree)
        assert az.plot_khat(elpd) is not None
        other = pv.diagnostics.elpd(tree, chain=1 - int(_best(tree)))
        table = az.compare({"best": elpd, "other": other}, round_to="none")
        difference = (elpd.elpd_i - other.elpd_i).values
        assert abs(float(table["elpd_diff"].iloc[1])) == pytest.approx(abs(difference.sum()), rel=1e-6)
        assert float(table["dse"].iloc[1]) == pytest.approx(math.sqrt(40) * difference.std(), rel=1e-6)


def _best(tree: xr.DataTree) -> int:
    import json

    return json.loads(tree.attrs["settings"])["best_chain"]


class TestAsBefore:
    """Drawing changes nothing in the program, and checks the data as fitting does."""

    @pytest.mark.parametrize("function", [pv.posterior, pv.encode, pv.reconstruct, pv.sample])
    def test_frozen_modules_stay_frozen(self, function) -> None:
        vae = linear_vae()
        norm = torch.nn.BatchNorm1d(4).eval()
        vae.parts["guide"].network.layers.append(norm)
        function(vae, gaussian(5), draws=2)
        assert vae.training
        assert not norm.training

    @pytest.mark.parametrize("function", [pv.posterior, pv.encode, pv.reconstruct, pv.sample])
    def test_data_are_checked(self, function) -> None:
        x = counts(60)
        x[50, 2] = 7
        with pytest.raises(ValueError, match=r"Binomial.*got 7 at obs_id=50"):
            function(small_vae(), x, draws=2)
        with pytest.raises(ValueError, match="hold NaN"):
            function(linear_vae(), torch.full((3, 4), math.nan), draws=2)


def test_streams_do_not_collide() -> None:
    from pyrovae._rng import Stream, derive

    keys = [(s, *k) for s in Stream for k in ((), (0,), (1,), (0, 0), (0, 1), (1, 0))]
    assert len({derive(seed, *key) for seed in (0, 1) for key in keys}) == 2 * len(keys)


def test_restarts_name_what_starts_the_same() -> None:
    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = pv.networks.MLP(2, (), 4)
            self.shift = torch.nn.Parameter(torch.zeros(4))

        def forward(self, z):
            return dist.Normal(self.network(z) + self.shift, 1.0).to_event(1)

    vae = pv.VAE(pv.priors.Normal(2), Shifted(), pv.guides.Normal(pv.networks.MLP(4, (), 4)))
    with pytest.warns(UserWarning, match=r"every chain starts from the same parts\.likelihood\.shift"):
        pv.fit(vae, gaussian(), epochs=1, restarts=3, progress=False)


class TestQuietFaults:
    """Cases that once gave a wrong figure without a word."""

    def test_a_fit_is_drawn_with_its_own_weights_after_another_fit(self) -> None:
        torch.manual_seed(0)
        vae, x = linear_vae(), gaussian()
        first = pv.fit(vae, x, epochs=20, lr=1e-2, progress=False)
        before = pv.posterior(first, x, draws=5)
        pv.fit(vae, 10 * x + 5, epochs=5, progress=False)
        xr.testing.assert_identical(before, pv.posterior(first, x, draws=5))

    def test_kl_of_a_scalar_latent_is_unscaled_and_masked(self) -> None:
        """N(.5, 1) against N(0, 1) is .125 nats, whatever the plate's scale; a masked latent adds nothing."""

        def program(size: int | None, mask: bool) -> pv.Program:
            def plate(x):
                return (
                    pyro.plate("data", len(x)) if size is None else pyro.plate("data", size=size, subsample_size=len(x))
                )

            def model(x):
                with plate(x):
                    with pyro.poutine.mask(mask=torch.full((len(x),), not mask)):
                        z = pyro.sample("z", dist.Normal(0.0, 1.0))
                    pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

            def guide(x):
                with plate(x), pyro.poutine.mask(mask=torch.full((len(x),), not mask)):
                    pyro.sample("z", dist.Normal(0.5, 1.0))

            return pv.Program(model, guide)

        x = gaussian(20, 1, 1)
        for size, mask, expected in ((None, False, 0.125), (10_000, False, 0.125), (None, True, 0.0)):
            kl = pv.posterior(program(size, mask), x, draws=400)["sample_stats"]["kl_z"].values
            assert abs(kl.mean() - expected) < 4 * 0.5 / math.sqrt(400 * 20)

    def test_deterministic_sites_are_no_data(self) -> None:
        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                mu = pyro.deterministic("mu", 2 * z, event_dim=0)
                pyro.sample("x", dist.Normal(mu, 1.0), obs=x[:, 0])

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(0.4 * x[:, 0], 0.5))

        tree = pv.posterior(pv.Program(model, guide), gaussian(5, 1, 1), draws=3)
        assert list(tree["observed_data"].data_vars) == ["x"]

    def test_a_data_plate_outside_an_inner_one(self) -> None:
        def model(x):
            with pyro.plate("data", len(x), dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                with pyro.plate("cells", 3, dim=-1):
                    pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(x):
            with pyro.plate("data", len(x), dim=-2):
                pyro.sample("z", dist.Normal(0.2 * x.sum(-1, keepdim=True), 0.5))

        x = gaussian(5, 3, 1)
        tree = pv.posterior(pv.Program(model, guide), x, draws=4)
        z = torch.as_tensor(tree["posterior"]["z"].values[0])
        assert z.shape == (4, 5)
        expected = dist.Normal(z.unsqueeze(-1), 1.0).log_prob(x).sum(-1)
        np.testing.assert_allclose(tree["sample_stats"]["log_lik"].values[0], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(tree["observed_data"]["x"], x)
        assert tree["prior_predictive"]["x"].shape == (1, 4, 3)
