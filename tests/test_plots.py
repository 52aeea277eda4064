"""The plots show what the diagnostics say: drawn data against their values, and odd trees."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import arviz as az
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

import pyrovae as pv
from pyrovae import diagnostics, plots
from pyrovae.diagnostics._figures import Figures
from pyrovae.diagnostics._rows_inference import usability
from pyrovae.diagnostics._statistics import statistics
from pyrovae.plots._images import Scale, as_images
from pyrovae.plots._style import number

SINGLE = ["plot_aggregate_posterior", "plot_bounds", "plot_calibration", "plot_elbo", "plot_khat", "plot_kl"]
SINGLE += ["plot_latent", "plot_manifold", "plot_rate_distortion"]
DECODED = ["plot_interpolation", "plot_manifold", "plot_traversal"]
"""Those that take a fit and data."""
OTHERS = {"plot_calibration", "plot_gap", *DECODED}
"""Those that take something else than a tree."""
TREES = [name for name in plots.__all__ if name not in OTHERS]


def vae(latents: int, features: int, likelihood: Any = None) -> pv.VAE:
    network = pv.networks.MLP(latents, (8,), features)
    return pv.VAE(
        pv.priors.Normal(latents),
        likelihood(network) if likelihood else pv.likelihoods.Normal(network),
        pv.guides.Normal(pv.networks.MLP(features, (8,), 2 * latents)),
    )


@pytest.fixture(scope="module")
def fit() -> Any:
    train, test = pv.data.load("digits").split(seed=0)
    program = vae(3, 64, lambda network: pv.likelihoods.Binomial(16, network))
    small = train.take(np.arange(100))
    return pv.fit(program, small, validation=test.take(np.arange(40)), epochs=12, restarts=2, seed=0, progress=False)


@pytest.fixture(scope="module")
def tree(fit: Any) -> xr.DataTree:
    _, test = pv.data.load("digits").split(seed=0)
    return pv.posterior(fit, test.take(np.arange(40)), draws=60, seed=0)


@pytest.fixture(scope="module")
def table() -> xr.DataTree:
    """Three features on different scales, two latents, no labels, one chain."""
    frame = pd.DataFrame(np.random.default_rng(0).normal([0, 50, 3], [1, 20, 0.1], (30, 3)), columns=["a", "b", "c"])
    return pv.posterior(vae(2, 3), frame, draws=30, seed=0)


@pytest.fixture(scope="module")
def scalar() -> xr.DataTree:
    """A program without a fit: one scalar latent, one binary grid observed."""
    slope = torch.linspace(-1, 1, 6).reshape(2, 3)

    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z[:, None, None] * slope).to_event(2), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x * slope).sum((-1, -2)), 0.8))

    x = (torch.arange(60).reshape(10, 2, 3) % 2).float()
    return pv.posterior(pv.Program(model, guide), x, draws=30, seed=0)


def drop(tree: xr.DataTree, *groups: str) -> xr.DataTree:
    kept = {name: group.to_dataset() for name, group in tree.children.items() if name not in groups}
    out = xr.DataTree.from_dict(kept)
    out.attrs = dict(tree.attrs)
    return out


def put(tree: xr.DataTree, group: str, **variables: Any) -> xr.DataTree:
    out = drop(tree)
    old = out[group].to_dataset() if group in out.children else xr.Dataset()
    out[group] = xr.DataTree(old.assign(variables))
    return out


def best(tree: xr.DataTree) -> int:
    from pyrovae.diagnostics._tree import chosen

    return chosen(tree, tree["posterior"].to_dataset())


def texts(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in figure.findobj(mpl.text.Text))


# What all plots promise


@pytest.fixture(scope="module")
def given(fit: Any, tree: xr.DataTree) -> Callable[[str], tuple[Any, ...]]:
    """What each plot is called with."""
    rng = np.random.default_rng(0)
    ranks = xr.Dataset(
        {"pit_z": (("simulation", "z_dim_0"), rng.random((50, 2))), "pit_log_p": ("simulation", rng.random(50))}
    )
    gaps = xr.Dataset({name: ("obs_id", rng.random(9)) for name in ("approximation", "amortisation")})
    data = pv.data.load("digits").split(seed=0)[1].take(np.arange(40))
    others = {"plot_calibration": (ranks,), "plot_gap": (gaps,), **dict.fromkeys(DECODED, (fit, data))}
    return lambda name: others.get(name, (tree,))


@pytest.mark.parametrize("name", plots.__all__)
def test_every_plot_returns_a_figure_that_can_be_saved(given: Any, name: str) -> None:
    before = dict(mpl.rcParams)
    figure = getattr(plots, name)(*given(name), backend="matplotlib")
    assert dict(mpl.rcParams) == before
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.tell() > 5000


@pytest.mark.parametrize("name", plots.__all__)
def test_what_would_be_drawn_can_be_had(given: Any, name: str) -> None:
    before = plt.get_fignums()
    found = getattr(plots, name)(*given(name), backend="none")
    assert plt.get_fignums() == before
    tree = found if isinstance(found, xr.DataTree) else xr.DataTree(found)
    assert tree.to_netcdf() is not None
    for node in tree.subtree:
        assert node.name == "marginals" or all(
            np.isfinite(v).all() for v in node.data_vars.values() if v.dtype.kind == "f"
        )


@pytest.mark.parametrize("name", plots.__all__)
def test_other_backends_are_refused_with_what_there_is(given: Any, name: str) -> None:
    with pytest.raises(ValueError, match=r"'none'.*got 'bokeh'; .*az\.plot_\*, draw the same tree"):
        getattr(plots, name)(*given(name), backend="bokeh")


@pytest.mark.parametrize("name", SINGLE)
def test_a_plot_can_be_drawn_on_given_axes(given: Any, name: str) -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert getattr(plots, name)(*given(name), ax=right) is figure
    assert right.has_data()
    assert not left.has_data()
    assert right.get_xlabel()
    assert right.get_ylabel()


@pytest.mark.parametrize("name", SINGLE)
def test_axes_of_another_kind_are_refused(given: Any, name: str) -> None:
    with pytest.raises(TypeError, match="expected a matplotlib Axes, got str"):
        getattr(plots, name)(*given(name), ax="left")


@pytest.mark.parametrize("name", TREES)
def test_what_is_no_tree_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="expected an ArviZ tree"):
        getattr(plots, name)(xr.Dataset())


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("which", ["table", "scalar"])
def test_other_trees_are_drawn_too(request: pytest.FixtureRequest, name: str, which: str) -> None:
    tree = request.getfixturevalue(which)
    if name == "plot_elbo":
        with pytest.raises(ValueError, match=r"made from a program.*pv\.fit"):
            plots.plot_elbo(tree)
    else:
        getattr(plots, name)(tree).savefig(io.BytesIO(), format="png")
        assert getattr(plots, name)(tree, backend="none") is not None


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("plot_elbo", "optimization"),
        ("plot_kl", "sample_stats"),
        ("plot_khat", "sample_stats"),
        ("plot_bounds", "sample_stats"),
        ("plot_latent", "posterior"),
        ("plot_reconstruction", "observed_data"),
        ("plot_reconstruction", "posterior_predictive"),
        ("plot_prior_draws", "prior_predictive"),
        ("plot_ppc", "observed_data"),
        ("plot_ppc", "posterior_predictive"),
    ],
)
def test_a_missing_group_is_named(tree: xr.DataTree, name: str, group: str) -> None:
    with pytest.raises(ValueError, match=f"no group '{group}'"):
        getattr(plots, name)(drop(tree, group))


def test_the_figures_had_are_those_drawn(given: Any, tree: xr.DataTree) -> None:
    def both(name: str, **more: Any) -> tuple[Figure, Any]:
        plot = getattr(plots, name)
        return plot(*given(name), **more), plot(*given(name), backend="none", **more)

    chain = best(tree)
    figure, found = both("plot_bounds")
    (line,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(line.get_ydata(), found["bound"][found.attrs["chosen"]])
    assert f"{number(float(found['log_evidence'][chain]))} ± {number(float(found['log_evidence_se'][chain]))}" in texts(
        figure
    )
    figure, found = both("plot_elbo")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), found["epoch"])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), found["elbo"][0])
    figure, found = both("plot_kl")
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(np.sort(heights), np.sort(found["kl"].values.ravel()))
    figure, found = both("plot_khat")
    assert f"median {number(float(found['median'][chain]))}; {100 * found['share'].values[chain, 0]:.0f} %" in texts(
        figure
    )
    figure, found = both("plot_latent")
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_offsets(), found["mean"][:, :2])
    np.testing.assert_array_equal(found["label"], tree["constant_data"]["label"])
    figure, found = both("plot_reconstruction", n=2)
    for row, name in enumerate(("observed", "mean", "draw")):
        image = np.asarray(figure.axes[2 * row + 1].images[0].get_array())
        np.testing.assert_array_equal(image.ravel(), found[name][1])
    figure, found = both("plot_prior_draws", n=3)
    np.testing.assert_array_equal(np.ravel(figure.axes[2].images[0].get_array()), found["draws"][2])
    figure, found = both("plot_ppc", num_samples=7)
    assert found["posterior_predictive"].sizes["draw"] == 7
    assert az.plot_ppc_dist(found, num_samples=7, backend="none") is not None
    figure, found = both("plot_calibration")
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), found["difference"][0])
    np.testing.assert_array_equal(figure.axes[1].lines[1].get_ydata(), found["coverage"][0])
    figure, found = both("plot_rate_distortion")
    drawn = [container.lines[0].get_xydata()[0] for container in figure.axes[0].containers]
    np.testing.assert_array_equal(drawn, np.c_[found["rate"], found["distortion"]])
    figure, found = both("plot_aggregate_posterior")
    stairs = figure.findobj(StepPatch)
    np.testing.assert_allclose(stairs[0].get_data().values, found["marginals"]["aggregate"][0].dropna("bin"))
    one = plots.plot_aggregate_posterior(tree, ax=plt.subplots()[1], backend="none")
    assert list(one.children) == ["pairs"]


def test_tables_have_quantiles_in_the_datas_units(table: xr.DataTree) -> None:
    x = table["observed_data"]["x"].values
    found = plots.plot_prior_draws(table, backend="none")
    np.testing.assert_allclose(found["observed"], np.quantile(x, found["level"], axis=0), rtol=1e-6)
    drawn = table["prior_predictive"]["x"].values[0]
    np.testing.assert_allclose(found["predicted"], np.quantile(drawn, found["level"], axis=0), rtol=1e-5)
    found = plots.plot_reconstruction(table, n=2, backend="none")
    assert found["predicted"].dims == ("level", "obs_id", "column")
    elbo = diagnostics.elbo_terms(table)["elbo"].values[0]
    np.testing.assert_allclose(found["elbo"], [elbo.min(), elbo.max()])
    rep = table["posterior_predictive"]["x"].values[0][:, elbo.argmin()]
    np.testing.assert_allclose(found["predicted"][:, 0], np.quantile(rep, found["level"], axis=0), rtol=1e-5)


# plot_elbo


def test_elbo_lines_are_the_history(tree: xr.DataTree, fit: Any) -> None:
    for source in (tree, fit):
        (ax,) = plots.plot_elbo(source).axes
        history = tree["optimization"].dataset
        expected = [*history["elbo"].values, *history["elbo_validation"].values]
        assert len(ax.lines) == len(expected)
        for line, values in zip(ax.lines, expected, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), values)
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
        last = float(history["elbo_validation"].values[best(tree), -1])
        assert f"last {number(last)}" in ax.get_legend().texts[1].get_text()
        assert "nats per datum" in ax.get_ylabel()


def test_first_epochs_do_not_squash_the_rest(tree: xr.DataTree) -> None:
    curve = np.concatenate([[-5000.0, -2000.0], np.linspace(-110, -100, 38)])
    history = xr.Dataset({"elbo": (("chain", "epoch"), curve[None])}, coords={"chain": [0], "epoch": np.arange(40)})
    odd = drop(tree, "optimization")
    odd["optimization"] = xr.DataTree(history)
    figure = plots.plot_elbo(odd)
    low, high = figure.axes[0].get_ylim()
    assert low > -200
    assert high > -100
    assert "the first 2 epochs below the axis, from −5,000" in texts(figure)


def test_a_history_without_epochs_is_refused(tree: xr.DataTree) -> None:
    odd = put(tree, "optimization", elbo=tree["optimization"]["elbo"] * np.nan)
    with pytest.raises(ValueError, match="at least one finished epoch"):
        plots.plot_elbo(drop_validation(odd))


def drop_validation(tree: xr.DataTree) -> xr.DataTree:
    out = drop(tree, "optimization")
    out["optimization"] = xr.DataTree(tree["optimization"].to_dataset().drop_vars("elbo_validation"))
    return out


# plot_kl


def test_kl_bars_are_the_mean_sorted(tree: xr.DataTree) -> None:
    one = tree.isel(chain=[0])
    (ax,) = plots.plot_kl(one).axes
    mean = diagnostics.kl(one)["z"].mean("obs_id").values[0]
    bars = sorted(ax.patches, key=lambda bar: bar.get_x())
    np.testing.assert_allclose([bar.get_height() for bar in bars], np.sort(mean)[::-1], rtol=1e-6)
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == [f"z[{i}]" for i in np.argsort(-mean)]


def test_kl_has_a_bar_per_restart(tree: xr.DataTree) -> None:
    (ax,) = plots.plot_kl(tree).axes
    mean = diagnostics.kl(tree)["z"].mean("obs_id").values
    heights = sorted(bar.get_height() for bar in ax.patches)
    np.testing.assert_allclose(heights, np.sort(mean.ravel()), rtol=1e-6)
    assert "a bar per restart" in ax.get_xlabel()


def test_kl_marks_the_collapsed_and_the_inactive(table: xr.DataTree) -> None:
    z = table["posterior"]["z"].copy()
    kl = xr.ones_like(table["sample_stats"]["kl_z"])
    z[..., 0] = np.random.default_rng(0).normal(size=z.sizes["draw"])[:, None]  # says nothing of x
    kl[..., 0] = 0.0
    z[..., 1] += np.arange(z.sizes["obs_id"])
    figure = plots.plot_kl(put(put(table, "posterior", z=z), "sample_stats", kl_z=kl))
    shown = texts(figure)
    assert "1 of 2 dimensions used" in shown
    assert "collapsed to the prior" in shown
    assert "inactive" not in shown
    assert [bar.get_hatch() for bar in sorted(figure.axes[0].patches, key=lambda b: b.get_x())] == [None, "////"]
    z[..., 1] = z[..., 0]
    assert "inactive" in texts(plots.plot_kl(put(put(table, "posterior", z=z), "sample_stats", kl_z=kl)))


# plot_khat and plot_bounds


def test_khat_curve_is_the_distribution(tree: xr.DataTree) -> None:
    figure = plots.plot_khat(tree)
    result = diagnostics.pareto_k(tree)
    ks = result["pareto_k"].values[best(tree)]
    (ax,) = figure.axes
    left, right = ax.get_xlim()
    (bold,) = [line for line in ax.lines if line.get_drawstyle() == "steps-post" and line.get_linewidth() == 2]
    x, y = (np.asarray(values) for values in bold.get_data())
    for at in np.linspace(left + 0.01, right - 0.01, 7):
        assert y[np.searchsorted(x, at, side="right") - 1] == pytest.approx((ks <= at).mean())
    good = result.attrs["good_k"]
    assert f"{100 * (ks > good).mean():.0f} % above {number(good)}" in texts(figure)
    assert f"median {number(float(np.median(ks)))}" in texts(figure)
    assert {good, 1.0} == {line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1}
    counted = usability(Figures(tree.isel(chain=[best(tree)])))  # as diagnose says it
    assert counted is not None
    assert counted["threshold"] == f"k̂ < {number(good)}"
    assert counted["bad"] == pytest.approx((ks > good).mean())


def test_khat_takes_infinite_values(tree: xr.DataTree) -> None:
    weights = tree["sample_stats"]["log_weight"].copy()
    weights[:, 3, :10] = np.inf
    figure = plots.plot_khat(put(tree, "sample_stats", log_weight=weights))
    figure.savefig(io.BytesIO(), format="png")
    assert "beyond the axis" in figure.axes[0].get_xlabel()


def test_few_draws_are_refused_for_khat(tree: xr.DataTree) -> None:
    with pytest.raises(ValueError, match="at least 30 draws"):
        plots.plot_khat(tree.isel(draw=slice(20)))


def test_bounds_are_the_means(tree: xr.DataTree) -> None:
    figure = plots.plot_bounds(tree)
    result = diagnostics.log_evidence(tree)
    (ax,) = figure.axes
    bound = result["bound"].values[best(tree)]
    (line,) = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(line.get_xdata(), result["k"].values)
    np.testing.assert_allclose(line.get_ydata(), bound.mean(-1))
    elbo = float(diagnostics.elbo_terms(tree)["elbo"].values[best(tree)].mean())
    assert f"ELBO {number(elbo)}" in texts(figure)
    gain = bound[-1] - bound[0]
    (bars,) = ax.containers[0].lines[2]
    low, high = bars.get_segments()[-1][:, 1]
    assert high - low == pytest.approx(4 * gain.std(ddof=1) / np.sqrt(len(gain)))


# plot_latent


def test_latent_points_are_the_posterior_means(tree: xr.DataTree) -> None:
    chain = best(tree)
    mean = tree["posterior"]["z"].mean("draw", dtype=float).values[chain]
    order = np.argsort(-diagnostics.kl(tree)["z"].mean("obs_id").values[chain])
    figure = plots.plot_latent(tree)
    drawn = [ax for ax in figure.axes if ax.get_visible()]
    assert len(drawn) == 3
    pairs = [(0, 1), (0, 2), (1, 2)]
    for ax, (column, row) in zip(drawn, pairs, strict=True):
        points = ax.collections[0].get_offsets()
        np.testing.assert_allclose(points, mean[:, order[[column, row]]], rtol=1e-5)
    assert "coloured by label" in texts(figure)
    _, ax = plt.subplots()
    plots.plot_latent(tree, ax=ax)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), mean[:, order[:2]], rtol=1e-5)


def test_latent_colours_follow_the_labels(table: xr.DataTree) -> None:
    labels = np.array(["ja", "nein"])[np.arange(30) % 2]
    figure = plots.plot_latent(table, labels=labels)
    colours = figure.axes[0].collections[0].get_facecolors()
    assert len(np.unique(colours[::2], axis=0)) == len(np.unique(colours[1::2], axis=0)) == 1
    assert (colours[0] != colours[1]).any()
    assert [t.get_text() for t in figure.axes[0].get_legend().texts] == ["ja", "nein"]


@pytest.mark.parametrize(
    "labels",
    [np.linspace(0, 1, 40), np.where(np.arange(40) < 3, np.nan, np.arange(40.0)), np.arange(40).astype(str)],
    ids=["scale", "scale with gaps", "many classes"],
)
def test_latent_takes_scales_and_many_classes(tree: xr.DataTree, labels: np.ndarray) -> None:
    figure = plots.plot_latent(tree, labels=labels)
    figure.savefig(io.BytesIO(), format="png")
    if labels.dtype.kind == "f":
        assert any(ax.get_label() == "<colorbar>" for ax in figure.axes)
    else:
        assert "others" in texts(figure)


def test_wrong_labels_are_refused(tree: xr.DataTree) -> None:
    with pytest.raises(ValueError, match=r"value for each of the 40 data, got shape \(3,\)"):
        plots.plot_latent(tree, labels=[1, 2, 3])
    with pytest.raises(ValueError, match="one of \\['label'\\], got 'digit'"):
        plots.plot_latent(tree, labels="digit")


def test_latent_goes_on_without_kl(tree: xr.DataTree) -> None:
    odd = drop(tree, "sample_stats")
    figure = plots.plot_latent(odd)
    assert "KL" not in figure.axes[0].get_ylabel()


# plot_reconstruction and plot_prior_draws


def test_reconstructions_are_ordered_by_elbo(tree: xr.DataTree) -> None:
    figure = plots.plot_reconstruction(tree, n=3)
    chain = best(tree)
    elbo = diagnostics.elbo_terms(tree)["elbo"].values[chain]
    order = np.argsort(elbo)[[0, 20, 39]]
    x = tree["observed_data"]["x"].values.reshape(-1, 8, 8)
    rep = tree["posterior_predictive"]["x"].values[chain].reshape(-1, 40, 8, 8)
    images = [np.asarray(ax.images[0].get_array()) for ax in figure.axes]
    np.testing.assert_array_equal(images[:3], x[order])
    np.testing.assert_allclose(images[3:6], rep.mean(0)[order], rtol=1e-5)
    np.testing.assert_array_equal(images[6:], rep[0][order])
    for ax, i in zip(figure.axes, order, strict=False):
        assert ax.get_title() == f"{tree['observed_data']['obs_id'].values[i]}\n{number(elbo[i], 1)}"


def test_reconstructions_of_tables_show_the_values(table: xr.DataTree) -> None:
    figure = plots.plot_reconstruction(table, n=2)
    x = table["observed_data"]["x"].values
    standard = (x - x.mean(0)) / x.std(0)
    elbo = diagnostics.elbo_terms(table)["elbo"].values[0]
    for ax, i in zip(figure.axes, np.argsort(elbo)[[0, 29]], strict=True):
        (dots,) = [line for line in ax.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(dots.get_ydata(), standard[i], rtol=1e-4, atol=1e-5)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["a", "b", "c"]
    assert "s.d." in texts(figure)


def test_prior_draws_are_the_first_ones(tree: xr.DataTree) -> None:
    figure = plots.plot_prior_draws(tree, n=5)
    drawn = [ax for ax in figure.axes if ax.get_visible()]
    x = tree["prior_predictive"]["x"].values[best(tree), :5].reshape(-1, 8, 8)
    np.testing.assert_array_equal([np.asarray(ax.images[0].get_array()) for ax in drawn], x)


@pytest.mark.parametrize("plot", [plots.plot_reconstruction, plots.plot_prior_draws])
@pytest.mark.parametrize("n", [0, -1, 2.5, True, "8"])
def test_wrong_numbers_of_data_are_refused(tree: xr.DataTree, plot: Callable[..., Figure], n: Any) -> None:
    with pytest.raises(ValueError, match="n: expected a whole number of at least 1"):
        plot(tree, n)


@pytest.mark.parametrize("plot", [plots.plot_reconstruction, plots.plot_prior_draws, plots.plot_ppc])
def test_an_unknown_variable_is_refused(tree: xr.DataTree, plot: Callable[..., Figure]) -> None:
    with pytest.raises(ValueError, match=r"var_name: expected one of \['x'\].*got 'y'"):
        plot(tree, var_name="y")


@pytest.mark.parametrize("name", ["plot_reconstruction", "plot_prior_draws", "plot_ppc"])
@pytest.mark.parametrize("which", ["tree", "table"])
def test_missing_values_are_left_out(request: pytest.FixtureRequest, name: str, which: str) -> None:
    tree = request.getfixturevalue(which)
    x = tree["observed_data"]["x"].copy().astype(float)
    x[::3, 1] = np.nan
    x[0] = np.nan
    x[:, 2] = np.nan
    figure = getattr(plots, name)(put(tree, "observed_data", x=x))
    figure.savefig(io.BytesIO(), format="png")
    assert any(ax.has_data() for ax in figure.axes)
    assert "nan" not in texts(figure).lower()


def test_many_features_are_drawn_as_bands() -> None:
    tree = pv.posterior(vae(2, 50), torch.randn(12, 50), draws=30, seed=0)
    for figure in (plots.plot_reconstruction(tree, n=2), plots.plot_prior_draws(tree)):
        figure.savefig(io.BytesIO(), format="png")
        assert any(ax.collections for ax in figure.axes)  # a band is a filled area


@pytest.mark.parametrize(("shape", "expected"), [((3, 4, 5), (4, 5, 3)), ((4, 5, 3), (4, 5, 3)), ((1, 4, 5), (4, 5))])
def test_three_dimensions_are_colour_images(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    values = np.arange(2 * np.prod(shape)).reshape(2, *shape)
    images = as_images(xr.DataArray(values, dims=("obs_id", "u", "v", "w")))
    assert images is not None
    assert images.shape == (2, *expected)
    assert images[1].sum() == values[1].sum()


def test_pixels_are_placed_by_their_coordinates() -> None:
    values = xr.DataArray(
        [[1.0, 2.0, 3.0]],
        dims=("obs_id", "pixel"),
        coords={"row": ("pixel", [1, 0, 1]), "column": ("pixel", [4, 2, 2])},
    )
    np.testing.assert_array_equal(as_images(values), [[[2.0, np.nan], [3.0, 1.0]]])
    assert as_images(values.drop_vars("row")) is None
    assert as_images(xr.DataArray(np.zeros((2, 2, 4, 5)), dims=("obs_id", "a", "b", "c"))) is None


def test_features_of_different_scale_are_standardised() -> None:
    x = np.array([[0.0, 100.0], [2.0, 300.0]])
    scale = Scale(x)
    np.testing.assert_allclose(scale(x), [[-1, -1], [1, 1]])
    assert "s.d." in scale.label
    assert Scale(x[:, :1]).label == "value"


# plot_ppc


def test_statistics_of_known_data(tree: xr.DataTree) -> None:
    x = tree["observed_data"]["x"].values
    rep = tree["posterior_predictive"]["x"].values[best(tree)]
    mean, spread, zeros = statistics(tree)
    np.testing.assert_allclose(mean.observed, x.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(mean.predicted, rep.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(spread.observed, x.std(-1), rtol=1e-5)
    np.testing.assert_allclose(zeros.predicted, (rep == 0).mean(-1))


def test_statistics_leave_missing_values_out(tree: xr.DataTree) -> None:
    x = tree["observed_data"]["x"].copy()
    x[:, 10:] = np.nan
    x[0] = np.nan
    mean = statistics(put(tree, "observed_data", x=x))[0]
    np.testing.assert_allclose(mean.observed, x.values[1:, :10].mean(-1), rtol=1e-5)
    rep = tree["posterior_predictive"]["x"].values[best(tree)]
    np.testing.assert_allclose(mean.predicted, rep[:, 1:, :10].mean(-1), rtol=1e-5)


def test_few_features_are_compared_one_by_one(table: xr.DataTree) -> None:
    found = statistics(table)
    assert [s.name for s in found] == ["a", "b", "c"]
    np.testing.assert_array_equal(found[1].observed, table["observed_data"]["x"].values[:, 1])


def test_ppc_draws_the_observed_curve_and_the_draws(tree: xr.DataTree) -> None:
    figure = plots.plot_ppc(tree, num_samples=7)
    drawn = [ax for ax in figure.axes if ax.lines]
    assert len(drawn) == 3
    assert all(len(ax.lines) == 8 for ax in drawn)
    assert "predicted, 7 draws" in texts(figure)


def test_all_missing_is_refused(table: xr.DataTree) -> None:
    x = table["observed_data"]["x"] * np.nan
    with pytest.raises(ValueError, match="at least one observed value"):
        plots.plot_ppc(put(table, "observed_data", x=x))


# Restarts


@pytest.mark.parametrize("name", TREES)
def test_one_restart_of_several_can_be_shown(tree: xr.DataTree, name: str) -> None:
    figure = getattr(plots, name)(tree.isel(chain=[1 - best(tree)]))
    figure.savefig(io.BytesIO(), format="png")
    assert any(ax.has_data() for ax in figure.axes)
