"""Plots of chosen latents: where they go and what they decode to, by programs whose codes and decodes are known."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import beta, dirichlet, norm
from torch import Tensor

import pyrovae as pv
from pyrovae.draws.target import evaluation
from pyrovae.plots._decoded import Codes, carried
from pyrovae.plots.interpolation import plot_interpolation
from pyrovae.plots.manifold import plot_manifold
from pyrovae.plots.traversal import plot_traversal
from tests.programs import hierarchy, shared_mean

PLOTS = [plot_traversal, plot_interpolation, plot_manifold]
W = torch.tensor([[1.0, 2.0, 0.0, -1.0], [0.5, 0.0, 1.0, 3.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
MU = torch.tensor([0.0, 1.0, -1.0, 10.0], dtype=torch.float64)
SD = torch.tensor([0.5, 0.1, 1.0], dtype=torch.float64)
"""Of q, by dimension: the third says nothing, and the second more than the first."""


def linear(shape: tuple[int, ...] = (4,)) -> pv.Program:
    """z ~ N(0, I) of 3, x ~ N(z W + μ, 1), q(z|x) = N((x₁, x₂, 0), SD) in float64."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 3, dtype=x.dtype), 1.0).to_event(1))
            loc = (z @ W + MU).reshape(-1, *shape)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(len(shape)), obs=x)

    def guide(x: Tensor) -> None:
        loc = torch.cat([x.flatten(1)[:, :2], torch.zeros(len(x), 1, dtype=x.dtype)], 1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, SD).to_event(1))

    return pv.Program(model, guide)


def rows(n: int = 20, shape: tuple[int, ...] = (4,)) -> Tensor:
    x = torch.tensor(np.random.default_rng(0).normal(size=(n, *shape)))
    x[:, 0] *= 0.5
    return x


def saved(figure: Figure) -> str:
    figure.savefig(io.BytesIO(), format="png")
    return "\n".join(t.get_text() for t in figure.findobj(plt.Text))


# Where codes are


def test_codes_are_the_posterior_means_by_the_seed() -> None:
    x = rows()
    with evaluation(linear(), x) as e:
        first, second, other = (Codes(e, [3, 5], seed).place for seed in (0, 0, 1))
        kl = carried(e, 0)
    expected = np.c_[x[[3, 5], :2], [0, 0]]
    np.testing.assert_allclose(first, expected, atol=4 * 1.0 / np.sqrt(200))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    closed = (-0.5 * (1 + 2 * SD.log() - SD**2)).numpy()
    closed[:2] += 0.5 * (x[:, :2] ** 2).mean(0).numpy()
    np.testing.assert_allclose(kl, closed, rtol=0.05, atol=0.02)


# Traversals


def test_a_traversal_moves_one_code_and_decodes_it() -> None:
    found = plot_traversal(linear(), rows(), datum=4, steps=5, backend="none")
    assert found["mean"].dims == ("latent", "step", "x_dim_0")
    assert found["latent"].values.tolist() == ["z[1]", "z[0]", "z[2]"]  # by what they carry
    edge = norm.ppf(0.98)
    error = 4 * np.sqrt(0.02 * 0.98 / 4000) / norm.pdf(edge)
    np.testing.assert_allclose(found["value"][:, [0, -1]], [[-edge, edge]] * 3, atol=error)
    with evaluation(linear(), rows()) as e:
        own = Codes(e, [4], 0).place[0]
    np.testing.assert_array_equal(found["own_value"], own[[1, 0, 2]])
    np.testing.assert_array_equal(found["observed"], rows()[4])
    for row, d in enumerate((1, 0, 2)):
        z = own.repeat(5, 1)
        z[:, d] = torch.tensor(found["value"].values[row])
        np.testing.assert_allclose(found["mean"].values[row], z @ W + MU, rtol=1e-12)
    chosen = plot_traversal(linear(), rows(), dims=[2, 0], steps=2, backend="none")
    assert chosen["latent"].values.tolist() == ["z[2]", "z[0]"]


def test_traversals_of_tables_are_lines_and_of_images_pictures() -> None:
    figure = plot_traversal(linear(), rows(), datum=4, steps=5)
    assert [len(ax.lines) for ax in figure.axes] == [6, 6, 6, 0]
    assert "datum 4" in saved(figure)
    figure = plot_traversal(linear((2, 2)), rows(shape=(2, 2)), datum=4, steps=5)
    (ax,) = figure.axes
    found = plot_traversal(linear((2, 2)), rows(shape=(2, 2)), datum=4, steps=5, backend="none")
    shown = np.array([np.asarray(image.get_array()) for image in ax.images])
    np.testing.assert_array_equal(shown, found["mean"].values.reshape(15, 2, 2))
    assert "z[1]\nKL ≈" in saved(figure)
    framed = [p for p in ax.patches if p.get_linewidth() > 2]
    nearest = np.abs(found["value"].values - found["own_value"].values[:, None]).argmin(1)
    np.testing.assert_allclose([p.get_x() / 1.06 for p in framed], nearest)


# Interpolations


def test_an_interpolations_ends_are_the_codes_and_log_p_the_normals() -> None:
    pairs = [(0, 1), (7, 3)]
    found = plot_interpolation(linear(), rows(), pairs=pairs, steps=4, backend="none")
    with evaluation(linear(), rows()) as e:
        ends = Codes(e, np.ravel(pairs), 0).place.reshape(2, 2, 3)
    decoded = pv.decode(linear(), ends.flatten(0, 1), rows())["x"].values.reshape(2, 2, 4)
    np.testing.assert_allclose(found["mean"][:, [0, -1]], decoded, rtol=1e-12)
    share = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
    line = (1 - share) * ends[:, :1] + share * ends[:, 1:]
    squares = line.square().sum(-1)
    np.testing.assert_allclose(found["log_prior_change"], -0.5 * (squares - squares[:, :1]), atol=1e-12)
    np.testing.assert_array_equal(found["observed"], rows()[torch.tensor(pairs)])
    np.testing.assert_array_equal(found["obs"], pairs)


def test_interpolations_are_drawn() -> None:
    figure = plot_interpolation(linear(), rows(), pairs=[(0, 1), (7, 3)], steps=4)
    assert [len(ax.lines) for ax in figure.axes] == [6, 6, 0]
    assert "datum 7 (○) to datum 3 (□)" in saved(figure)
    figure = plot_interpolation(linear((2, 2)), rows(shape=(2, 2)), steps=3)
    assert len(figure.axes[0].images) == 4 * 5
    assert saved(figure).count("datum") == 8


# Manifolds


def test_a_manifold_is_the_decoded_plane() -> None:
    x = rows(shape=(2, 2))
    found = plot_manifold(linear((2, 2)), x, dims=(0, 2), steps=3, backend="none")
    assert (found.attrs["across"], found.attrs["up"], found.attrs["others"]) == ("z[0]", "z[2]", 1)
    rest = 4 * np.sqrt(0.25 / 4000) / norm.pdf(0) * float(W[1].abs().max())  # of the median of z[1], 0
    across = np.asarray(found["across_value"])[None, :, None] * W[0].numpy() + MU.numpy()
    seen = found["mean"].values.reshape(3, 3, 4)
    np.testing.assert_allclose(seen, np.broadcast_to(across, seen.shape), atol=rest)  # z[2] is not used
    figure, (left, right) = plt.subplots(1, 2)
    assert plot_manifold(linear((2, 2)), x, dims=(0, 1), steps=3, ax=right) is figure
    assert not left.has_data()
    tops, lows = (
        [function(image) for image in (right.images[0], right.images[-3])]
        for function in (lambda i: i.get_extent()[3], lambda i: float(np.asarray(i.get_array())[-1, -1]))
    )
    assert tops[0] < tops[1]  # the axis points down
    assert lows[0] > lows[1]  # x₄ grows with z[1], which grows upwards
    saved(figure)


def test_a_manifold_needs_images_and_two_latents() -> None:
    with pytest.raises(ValueError, match="shows images, and 'x' is none.*plot_traversal"):
        plot_manifold(linear(), rows())

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None, None].expand(-1, 2, 2), 1.0).to_event(2), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0, 0], 1.0))

    with pytest.raises(ValueError, match="a plane needs two latents"):
        plot_manifold(pv.Program(model, guide), torch.zeros(4, 2, 2))


# Other programs


def positive() -> pv.Program:
    """A share ~ Beta(2, 3) and shares ~ Dirichlet(1, 2, 3): x is the share and the shares."""
    concentration = torch.tensor([1.0, 2.0, 3.0])

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Beta(2.0, 3.0))
            w = pyro.sample("w", dist.Dirichlet(concentration))
            pyro.sample("x", dist.Normal(torch.cat([b[:, None], w], -1), 0.1).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Beta(1 + 9 * x[:, 0], 10 - 9 * x[:, 0]))
            pyro.sample("w", dist.Dirichlet(concentration + 50 * x[:, 1:]))

    return pv.Program(model, guide)


def test_bounded_latents_move_on_the_real_line() -> None:
    shares = torch.distributions.Dirichlet(torch.ones(3)).sample((30,))
    x = torch.cat([torch.linspace(0.1, 0.9, 30)[:, None], shares], 1)
    found = plot_traversal(positive(), x, steps=3, dims=[0, 1], backend="none")
    assert found["latent"].values.tolist() == ["b", "w, real[0]"]
    edge = beta.ppf([0.02, 0.98], 2, 3)
    np.testing.assert_allclose(found["value"][0, [0, -1]], edge, atol=4 * np.sqrt(0.02 * 0.98 / 4000) / 0.4)
    np.testing.assert_allclose(found["mean"][0, :, 0], found["value"][0], rtol=1e-6)
    np.testing.assert_allclose(found["mean"][:, :, 1:].values.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(found["mean"][0, :, 1:], found["mean"][0, :1, 1:].values.repeat(3, 0), rtol=1e-6)
    line = plot_interpolation(positive(), x, pairs=[(0, 9)], steps=3, backend="none").isel(pair=0)
    b, w = line["mean"].values[:, 0], line["mean"].values[:, 1:]
    closed = beta.logpdf(b, 2, 3) + dirichlet.logpdf(w.T.astype(float) / w.sum(-1), [1, 2, 3])
    np.testing.assert_allclose(line["log_prior_change"], closed - closed[0], atol=1e-4)
    saved(plot_traversal(positive(), x, steps=3))


def test_several_sites_stand_side_by_side() -> None:
    x = torch.randn(12, 4)
    found = plot_traversal(hierarchy(), x, steps=3, dims=[0, 1, 2], backend="none")
    assert found["latent"].values.tolist() == ["z2", "z1[0]", "z1[1]"]
    assert found.attrs["variable"] == "y"
    w = 0.3 * np.ones(4)
    change = found["mean"].values - found["mean"].values[:, :1]
    moved = (found["value"].values - found["value"].values[:, :1])[..., None] * w
    np.testing.assert_allclose(change, moved * np.array([0, 1, 1])[:, None, None], atol=1e-5)
    with pytest.raises(ValueError, match=r"var_name: expected one of \['y'\], got 'x'"):
        plot_traversal(hierarchy(), x, var_name="x")


def conditional() -> pv.Program:
    """z ~ N(c, I) of 2, x ~ N(z + (c, 0), 1) as an image of 1 × 2."""

    def model(x: Tensor, context: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(context.expand(-1, 2), 1.0).to_event(1))
            loc = torch.stack([z[:, 0] + context[:, 0], z[:, 1]], -1)[:, None]
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(2), obs=x)

    def guide(x: Tensor, context: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 1e-3).to_event(1))

    return pv.Program(model, guide)


def test_a_conditional_program_keeps_the_context_it_starts_from() -> None:
    x, context = torch.zeros(6, 1, 2), torch.tensor([[0.0], [100.0]]).repeat(3, 1)
    found = plot_traversal(conditional(), x, context=context, datum=1, dims=[0, 1], steps=3, backend="none")
    np.testing.assert_allclose(found["value"].mean("step"), [100, 100], atol=0.3)  # the prior of that datum
    np.testing.assert_allclose(found["mean"][0, :, 0, 0], found["value"][0] + 100, rtol=1e-5)
    line = plot_interpolation(conditional(), x, context=context, pairs=[(1, 0)], steps=3, backend="none")
    np.testing.assert_allclose(line["mean"][0, :, 0, 0], 100, atol=0.01)
    plane = plot_manifold(conditional(), x, context=context, dims=(0, 1), steps=3, backend="none")
    np.testing.assert_allclose(plane["mean"][:, :, 0, 0], np.tile(plane["across_value"], (3, 1)), atol=1e-5)
    assert abs(float(plane["across_value"].mean())) < 0.3


@pytest.mark.parametrize(("shape", "shown"), [((3, 4, 5), (4, 5, 4)), ((4, 5), (4, 5))])
def test_colour_grey_random_and_missing_pixels(shape: tuple[int, ...], shown: tuple[int, ...]) -> None:
    cells = int(np.prod(shape))
    program = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Bernoulli(torch.nn.Sequential(torch.nn.Linear(2, cells), torch.nn.Unflatten(-1, shape))),
        pv.guides.Normal(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(cells, 4))),
    )
    grey = torch.rand(9, *shape, generator=torch.Generator().manual_seed(0))
    data = pv.data.Data(grey, draw=torch.bernoulli)
    found = [plot_interpolation(program, data, pairs=[(0, 1)], steps=3, backend="none") for _ in range(2)]
    xr.testing.assert_identical(*found)  # data are drawn by the seed
    assert set(np.unique(found[0]["observed"])) == {0, 1}
    for plot, more in ((plot_traversal, {}), (plot_interpolation, {"pairs": [(0, 1)]}), (plot_manifold, {})):
        figure = plot(program, data, steps=3, **more)
        assert np.asarray(figure.axes[0].images[0].get_array()).shape == shown
        saved(figure)


def test_missing_cells_of_a_table_stay_blank() -> None:
    program = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(pv.networks.MLP(2, (), 4)),
        pv.guides.Normal(pv.networks.MLP(4, (), 4, mask=True)),
    )
    x = torch.randn(9, 4)
    x[0, 1] = torch.nan
    found = plot_traversal(program, x, steps=3, backend="none")
    assert np.isnan(found["observed"]).values.tolist() == [False, True, False, False]
    assert np.isfinite(found["mean"]).all()
    saved(plot_traversal(program, x, steps=3))


def test_enumerated_sites_are_summed_out() -> None:
    shift = torch.tensor([0.0, 4.0])

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.25, 0.75])), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(torch.stack([z + shift[c], z + 0 * shift[c]], -1), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 1], 1.0))

    found = plot_traversal(pv.Program(model, guide), torch.zeros(5, 2), steps=3, backend="none")
    np.testing.assert_allclose(found["mean"][0] - found["value"][0], [[3, 0]] * 3, atol=1e-5)
    line = plot_interpolation(pv.Program(model, guide), torch.eye(2), pairs=[(0, 1)], steps=3, backend="none")
    z = line["mean"][0, :, 1].values
    np.testing.assert_allclose(line["log_prior_change"][0], -0.5 * (z**2 - z[0] ** 2), atol=1e-5)


# What is refused


@pytest.mark.parametrize("plot", PLOTS)
def test_programs_that_cannot_be_moved_are_refused(plot: Any) -> None:
    with pytest.raises(ValueError, match="'m' are shared by all data"):
        plot(shared_mean(torch.zeros(3, 1)), torch.zeros(3, 1))
    bits = pv.VAE(
        pv.priors.Bernoulli(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 4)), pv.guides.Bernoulli(
            pv.networks.MLP(4, (), 2))
    )  # fmt: skip
    with pytest.raises(ValueError, match="'z' is a category or a count"):
        plot(bits, torch.zeros(5, 4))


@pytest.mark.parametrize(
    ("plot", "arguments", "message"),
    [
        (plot_traversal, {"datum": 20}, "datum: expected a whole number from 0 to 19, got 20"),
        (plot_traversal, {"datum": True}, "datum: .* got True"),
        (plot_traversal, {"dims": [3]}, r"dims: expected different whole numbers from 0 \(z\[0\]\) to 2 \(z\[2\]\)"),
        (plot_traversal, {"dims": []}, "dims: .*got \\[\\]"),
        (plot_traversal, {"dims": "01"}, "dims: .*got '01'"),
        (plot_traversal, {"dims": [0.5]}, "dims: .*got \\[0.5\\]"),
        (plot_traversal, {"steps": 1}, "steps: expected a whole number of at least 2, got 1"),
        (plot_interpolation, {"pairs": [(0, 20)]}, "pairs: expected whole numbers from 0 to 19"),
        (plot_interpolation, {"pairs": [(0, 1, 2)]}, "pairs: expected pairs of whole numbers"),
        (plot_interpolation, {"pairs": [(0, 1), (2,)]}, "pairs: expected pairs of whole numbers"),
        (plot_interpolation, {"pairs": [(0.5, 1.0)]}, "pairs: expected pairs of whole numbers"),
        (plot_interpolation, {"pairs": []}, "pairs: expected pairs of whole numbers"),
        (plot_interpolation, {"steps": 2}, "steps: expected a whole number of at least 3, got 2"),
        (plot_manifold, {"dims": (0, 0)}, "dims: expected different whole numbers"),
        (plot_manifold, {"dims": (0, 1, 2)}, "dims: expected two, across and up"),
    ],
)
def test_bad_choices_are_refused(plot: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot(linear((2, 2)), rows(shape=(2, 2)), **arguments)


def test_one_datum_has_no_interpolation() -> None:
    with pytest.raises(ValueError, match="one datum only"):
        plot_interpolation(linear(), rows(1))
    saved(plot_traversal(linear(), rows(1), steps=2))
