"""`pv.describe`: sites, parameters and plate diagrams of programs whose structure is known."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import nn

import pyrovae as pv
from pyrovae.description import Description, graph
from tests.programs import counts, gaussian, hierarchy, linear_vae, small_vae, tutorial

has_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")


def arrows(description: Description) -> tuple[set[str], set[str]]:
    """The arrows of the model and those of the guide, as 'a b'."""
    found = re.findall(r'"?(\w+)"? -> "?(\w+)"?( \[style=dashed\])?', description.graph.source)
    return {f"{a} {b}" for a, b, dashed in found if not dashed}, {f"{a} {b}" for a, b, dashed in found if dashed}


def inside(description: Description, plate: str) -> set[str]:
    """The nodes in a plate's box."""
    boxes = re.findall(rf"\n\tsubgraph cluster_{plate} {{(.*?)\n\t}}", description.graph.source, re.DOTALL)
    return {name for box in boxes for name in re.findall(r"\n\t\t\"?(\w+)\"? \[", box)}


def roles(description: Description) -> dict[str, str]:
    return dict(zip(description.table["site"], description.table["role"], strict=True))


def mixture() -> pv.Program:
    """A mixture with global means, an enumerated class, a deterministic site and an auxiliary one in the guide."""
    encoder = pv.networks.MLP(4, (8,), 4)

    def model(x):
        shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
        weight = pyro.param("weight", torch.ones(2, 4))
        with pyro.plate("classes", 3):
            loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3) / 3), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(loc[c].unsqueeze(-1) + shift, torch.ones(2)).to_event(1))
            y = pyro.deterministic("y", z @ weight, event_dim=1)
            pyro.sample("x", dist.Normal(y, 1.0).to_event(1), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        pyro.sample("shift", dist.Normal(0.0, scale))
        with pyro.plate("classes", 3):
            pyro.sample("loc", dist.Normal(torch.zeros(3), 1.0))
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            loc, raw = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc + a.unsqueeze(-1), raw.exp()).to_event(1))

    return pv.Program(model, guide)


def crossed(x_dim: int = 4) -> pv.Program:
    """A scale for each datum and a shift for each feature: plates that cross, the features' as a plate too."""

    def model(x):
        features = pyro.plate("features", x_dim, dim=-2)
        with features:
            shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            with features:
                pyro.sample("x", dist.Normal(shift, scale), obs=x.T)

    def guide(x):
        with pyro.plate("features", x_dim, dim=-2):
            pyro.sample("shift", dist.Normal(torch.zeros(x_dim, 1), 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("scale", dist.LogNormal(x.mean(1), 1.0))

    return pv.Program(model, guide)


# Sites


def test_the_sites_of_a_vae():
    table = pv.describe(small_vae()).table
    assert table.to_dict("records") == [
        {
            "site": "z",
            "role": "latent",
            "plates": ("data",),
            "shape": (2,),
            "support": "real",
            "model": "Normal",
            "guide": "Normal",
        },
        {
            "site": "x",
            "role": "observed",
            "plates": ("data",),
            "shape": (6,),
            "support": "integer interval (0, 5)",
            "model": "Binomial",
            "guide": "–",
        },
    ]


def test_the_sites_of_a_program_with_every_role():
    made = pv.describe(mixture(), gaussian(5))
    assert roles(made) == {
        "shift": "global",
        "loc": "global",
        "c": "enumerated",
        "z": "latent",
        "x": "observed",
        "a": "auxiliary",
    }
    table = made.table.set_index("site")
    assert table["plates"].to_dict() == {
        "shift": (),
        "loc": ("classes",),
        "c": ("data",),
        "z": ("data",),
        "x": ("data",),
        "a": ("data",),
    }
    assert table["shape"].to_dict() == {"shift": (), "loc": (3,), "c": (), "z": (2,), "x": (4,), "a": ()}
    assert table.loc["c", ["model", "guide"]].tolist() == ["Categorical", "summed out"]
    assert table.loc["a", ["model", "guide"]].tolist() == ["–", "Normal"]


def test_plates_stand_from_the_outermost_and_belong_to_the_shape_of_a_datum():
    table = pv.describe(crossed(), gaussian(5)).table.set_index("site")
    assert table["plates"].to_dict() == {"shift": ("features",), "scale": ("data",), "x": ("features", "data")}
    assert table["shape"].to_dict() == {"shift": (4,), "scale": (), "x": (4,)}


def test_a_latent_that_the_guide_sums_over():
    vae = pv.VAE(
        pv.priors.OneHotCategorical(3),
        pv.likelihoods.Normal(pv.networks.MLP(3, (8,), 4)),
        pv.guides.OneHotCategorical(pv.networks.MLP(4, (8,), 3), estimator="enumerate"),
    )
    z = pv.describe(vae).table.iloc[0]
    assert z[["role", "support", "model", "guide"]].tolist() == [
        "latent",
        "one hot",
        "OneHotCategorical",
        "OneHotCategorical, summed",
    ]


@pytest.mark.parametrize(
    ("fn", "family"),
    [
        (lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1), "Normal"),
        (lambda: dist.Normal(0.0, 1.0).expand([2]).to_event(1), "Normal"),
        (lambda: dist.Normal(torch.zeros(2), 1.0).mask(torch.tensor(True)).to_event(1), "Normal"),
        (lambda: dist.StudentT(3.0, torch.zeros(2), 1.0).to_event(1), "StudentT"),
        (
            lambda: dist.TransformedDistribution(
                dist.Normal(torch.zeros(2), 1.0), [dist.transforms.AffineTransform(0.0, 2.0)]
            ).to_event(1),
            "Normal, transformed",
        ),
        (
            lambda: dist.MixtureSameFamily(
                dist.Categorical(torch.ones(3)), dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)
            ),
            "mixture of Normal",
        ),
    ],
)
def test_families_in_words(fn, family):
    vae = pv.VAE(
        fn,
        pv.likelihoods.Normal(pv.networks.MLP(2, (), 4)),
        pv.guides.Normal(pv.networks.MLP(4, (), 4)),
    )
    assert pv.describe(vae).table["model"].tolist() == [family, "Normal"]


# Parameters


def test_parameters_are_counted_by_part():
    vae = small_vae()
    made = pv.describe(vae)
    decoder, encoder = 2 * 8 + 8 + 8 * 6 + 6, 6 * 8 + 8 + 8 * 4 + 4
    assert made.parameters[["part", "parameters"]].to_numpy().tolist() == [
        ["prior", 0],
        ["likelihood", decoder],
        ["guide", encoder],
    ]
    assert made.total == decoder + encoder == sum(p.numel() for p in vae.parameters())
    assert made.parameters["what"][0] == "Normal(2; support: real)"
    assert "MLP(2 → 8 → 6, SiLU)" in made.parameters["what"][1]


def test_parameters_of_modules_and_of_statements():
    tables = [pv.describe(p, x).parameters for p, x in ((tutorial(), counts(5) > 2), (mixture(), gaussian(5)))]
    assert tables[0][["part", "parameters", "what"]].to_numpy().tolist() == [
        ["model_decoder", 2 * 16 + 16 + 16 * 6 + 6, "TutorialDecoder(…)"],
        ["guide_encoder", 6 * 16 + 16 + 2 * (16 * 2 + 2), "TutorialEncoder(…)"],
    ]
    assert dict(zip(tables[1]["part"], tables[1]["parameters"], strict=True)) == {
        "guide_encoder": 4 * 8 + 8 + 8 * 4 + 4,
        "scale": 1,
        "weight": 8,
    }
    assert tables[1].set_index("part")["what"]["weight"] == "pyro.param, real"


def test_modules_of_functions_belong_to_the_part_that_uses_them():
    decoder, encoder = nn.Linear(2, 4), nn.Linear(4, 4)
    scale = nn.Parameter(torch.zeros(()))
    decoder.register_parameter("log_scale", scale)

    def likelihood(z):
        return dist.Normal(decoder(z), decoder.log_scale.exp()).to_event(1)

    def guide(x):
        loc, raw = encoder(x).chunk(2, -1)
        return dist.Normal(loc, raw.exp()).to_event(1)

    made = pv.describe(pv.VAE(lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1), likelihood, guide))
    assert made.parameters[["part", "parameters"]].to_numpy().tolist() == [
        ["prior", 0],
        ["likelihood", 13],
        ["guide", 20],
    ]
    assert made.parameters["what"].tolist() == ["<lambda>", "likelihood", "guide"]


def test_frozen_parameters_are_told_apart():
    vae = small_vae()
    vae.parts["guide"].network.layers[0].requires_grad_(False)
    made = pv.describe(vae)
    assert made.parameters["trained"].tolist() == [0, 78, 92 - 56]
    assert "92 (36 trained)" in str(made)
    assert "170 (114 trained)" in str(made)


# The plate diagram


def test_the_diagram_of_a_vae_is_that_of_the_paper():
    made = pv.describe(small_vae())
    assert arrows(made) == ({"z x"}, {"x z"})
    assert inside(made, "data") == {"z", "x"}
    assert re.search(r"x \[.*fillcolor=gray", made.graph.source)
    assert re.search(r"z \[.*fillcolor=white", made.graph.source)
    assert "x ~ Binomial" in made.graph.source


def test_arrows_between_latents_of_model_and_guide():
    assert arrows(pv.describe(hierarchy(), gaussian(5))) == ({"z2 z1", "z1 y"}, {"y z2", "y z1", "z2 z1"})


def test_the_diagram_of_a_program_with_every_role():
    made = pv.describe(mixture(), gaussian(5))
    assert arrows(made) == ({"shift z", "loc z", "c z", "z y", "y x"}, {"a z", "x z"})
    assert inside(made, "data") == {"c", "z", "y", "x", "a"}
    assert inside(made, "classes") == {"loc"}


@pytest.mark.parametrize(
    ("make", "data"),
    [(hierarchy, gaussian(5)), (tutorial, counts(5) > 2), (crossed, gaussian(5)), (mixture, gaussian(5))],
)
def test_a_diagram_by_hand_has_the_arrows_and_plates_of_pyros(monkeypatch, make, data):
    program = make()
    expected = pv.describe(program, data)
    monkeypatch.setattr(graph.inspect, "render_model", None)
    by_hand = pv.describe(program, data)
    assert by_hand.graph.source != expected.graph.source
    ours, theirs = arrows(expected)
    if make is mixture:  # by hand, deterministic sites are passed over
        ours = ours - {"z y", "y x"} | {"z x"}
    assert arrows(by_hand) == (ours, theirs)
    if make is not crossed:
        passed_over = {"y"} if make is mixture else set()
        for plate in ("data", "rows", "classes"):
            assert inside(by_hand, plate) == inside(expected, plate) - passed_over


def test_crossed_plates_by_hand(monkeypatch):
    monkeypatch.setattr(graph.inspect, "render_model", None)
    made = pv.describe(crossed(), gaussian(5))
    assert inside(made, "features") == {"shift"}
    assert inside(made, "data") == {"scale"}
    assert (
        "\t\tsubgraph cluster_data_features {\n\t\t\tlabel=features labeljust=r labelloc=b\n\t\t\tx ["
        in made.graph.source
    )


def test_a_guide_that_cannot_be_followed_has_no_arrows(monkeypatch):
    monkeypatch.setattr(graph, "ProvenanceTensor", None)
    assert arrows(pv.describe(small_vae())) == ({"z x"}, set())


# What it takes, and what it leaves


def test_a_mask_and_missing_data():
    vae = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(pv.networks.MLP(2, (), 4)),
        pv.guides.Normal(pv.networks.MLP(4, (), 4, mask=True)),
    )
    x = gaussian(5)
    x[1, 2] = torch.nan
    for made in (pv.describe(vae), pv.describe(vae, x)):
        assert arrows(made) == ({"z x"}, {"x z"})
        assert made.table["model"].tolist() == ["Normal", "Normal"]


def test_a_context():
    vae = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(pv.networks.MLP(2, (), 4, context=3)),
        pv.guides.Normal(pv.networks.MLP(4, (), 4, context=3)),
    )
    made = pv.describe(vae, gaussian(5), context=torch.randn(5, 3))
    assert arrows(made) == ({"z x"}, {"x z"})
    assert "context 3" in made.parameters["what"][2]


@pytest.mark.parametrize(
    "kind",
    [lambda x: x, lambda x: x[:1], lambda x: x.numpy(), lambda x: pd.DataFrame(x.numpy()), pv.data.as_data],
    ids=["tensor", "one datum", "array", "table", "data"],
)
def test_data_of_any_kind(kind):
    assert pv.describe(linear_vae(), kind(gaussian(5))).table["shape"].tolist() == [(2,), (4,)]


def test_a_fit_and_an_object_with_model_and_guide():
    fit = pv.fit(linear_vae(), gaussian(20), epochs=1, progress=False)
    assert str(pv.describe(fit)) == str(pv.describe(fit.program))

    class Pair:
        model, guide = staticmethod(hierarchy().model), staticmethod(hierarchy().guide)

    assert roles(pv.describe(Pair(), gaussian(5))) == {"z2": "latent", "z1": "latent", "y": "observed"}


def test_the_program_is_left_as_it_was():
    decoder = pv.networks.MLP(2, (8,), 4, norm="batch", dropout=0.2)
    vae = pv.VAE(
        pv.priors.Normal(2), pv.likelihoods.Normal(decoder), pv.guides.Normal(pv.networks.MLP(4, (8,), 4, norm="batch"))
    )
    decoder.eval()
    before = {name: value.clone() for name, value in vae.weights().items()}
    modes = [module.training for module in vae.modules()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    pv.describe(vae)
    pv.describe(vae, gaussian(5))
    assert all(torch.equal(value, before[name]) for name, value in vae.weights().items())
    assert modes == [module.training for module in vae.modules()]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_parameters_of_statements_are_not_made_by_looking():
    looked, plain = hierarchy(), hierarchy()
    pv.describe(looked, gaussian(5))
    assert list(looked.named_parameters()) == []
    histories = [pv.fit(p, gaussian(40), epochs=2, seed=3, progress=False).history for p in (looked, plain)]
    xr.testing.assert_identical(*(h[["elbo", "elbo_step"]].drop_attrs() for h in histories))


def test_weights_that_wait_for_their_statements_still_wait():
    fitted = hierarchy()
    pv.fit(fitted, gaussian(40), epochs=2, seed=0, progress=False)
    weights = {name: value.detach().clone() for name, value in fitted.weights().items()}
    fresh = hierarchy()
    fresh.load_weights(weights)
    assert pv.describe(fresh, gaussian(5)).total == 22
    tree = [pv.posterior(p, gaussian(5), draws=3, seed=0)["posterior"].to_dataset() for p in (fitted, fresh)]
    xr.testing.assert_identical(tree[0].drop_attrs(), tree[1].drop_attrs())


@pytest.mark.parametrize(
    ("run", "error", "says"),
    [
        (lambda: pv.describe(hierarchy()), ValueError, "described by running it: pass some data, one datum or more"),
        (
            lambda: pv.describe(small_vae(), context=torch.zeros(2, 1)),
            ValueError,
            "a context was given without",
        ),
        (lambda: pv.describe(dist.Normal), TypeError, "expected a program, got the class Normal"),
        (lambda: pv.describe(3), TypeError, "expected a program .*got int"),
        (
            lambda: pv.describe(
                pv.VAE(
                    pv.priors.Normal(2),
                    pv.likelihoods.Normal(pv.networks.MLP(2, (), 4, context=1)),
                    pv.guides.Normal(pv.networks.MLP(4, (), 4)),
                )
            ),
            ValueError,
            "the likelihood of the VAE take a context: pass some data and their context",
        ),
        (lambda: pv.describe(linear_vae(), torch.zeros(5, 3)), ValueError, "the guide, given data of shape"),
        (lambda: pv.describe(linear_vae(), torch.full((5, 4), torch.nan)), ValueError, "the data hold NaN"),
    ],
)
def test_what_cannot_be_described(run, error, says):
    with pytest.raises(error, match=says):
        run()


# How it is shown


def test_it_prints_as_tables():
    assert str(pv.describe(small_vae())) == repr(pv.describe(small_vae()))
    assert str(pv.describe(hierarchy(), gaussian(3))).splitlines() == [
        "Program · 22 parameters · data plate 'rows'",
        "",
        "site  role      plates  shape  support  model   guide",
        "────  ────────  ──────  ─────  ───────  ──────  ──────",
        "z2    latent    rows    ()     real     Normal  Normal",
        "z1    latent    rows    (2,)   real     Normal  Normal",
        "y     observed  rows    (4,)   real     Normal  –",
        "",
        "part   parameters  what",
        "─────  ──────────  ────────────────────────────",
        "a               4  pyro.param, real",
        "b               8  pyro.param, real",
        "s               1  pyro.param, greater than (0)",
        "w               8  pyro.param, real",
        "noise           1  pyro.param, greater than (0)",
        "total          22",
    ]


def test_html_without_dot_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    text = pv.describe(small_vae())._repr_html_()
    assert "<svg" not in text
    assert "apt-get" in text
    assert text.count("<table>") == 2
    assert "<td>Binomial</td>" in text
    assert (
        "&lt;lambda&gt;"
        in pv.describe(
            pv.VAE(
                lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1),
                pv.likelihoods.Normal(pv.networks.MLP(2, (), 4)),
                pv.guides.Normal(pv.networks.MLP(4, (), 4)),
            )
        )._repr_html_()
    )


@has_dot
def test_html_with_dot_holds_the_picture():
    text = pv.describe(small_vae())._repr_html_()
    assert "<svg" in text
    assert "<!DOCTYPE" not in text
    assert text.count("<ellipse") == 2


def test_the_source_is_saved_without_dot(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    made = pv.describe(small_vae())
    path = made.save(tmp_path / "deep" / "vae.gv")
    assert path.read_text() == made.graph.source
    with pytest.raises(RuntimeError, match=r"needs Graphviz's program dot: apt-get .*; or save its source, vae\.gv"):
        made.save(tmp_path / "vae.png")
    assert not (tmp_path / "vae.png").exists()


def test_a_file_is_replaced_only_when_told(tmp_path):
    made, path = pv.describe(small_vae()), tmp_path / "vae.gv"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists: give another path, or overwrite=True"):
        made.save(path)
    assert path.read_text() == "mine"
    made.save(str(path), overwrite=True)
    assert path.read_text().startswith("digraph")


@pytest.mark.parametrize("name", ["vae.jpg", "vae", "vae.GIF"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"expected a file name that ends in \.svg, \.png, \.pdf, \.gv, \.dot, got"):
        pv.describe(small_vae()).save(tmp_path / name)


@has_dot
@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_pictures_are_saved(tmp_path, name, start):
    assert pv.describe(small_vae()).save(tmp_path / name).read_bytes().startswith(start)


def test_the_function_is_not_hidden_by_its_module():
    import pyrovae.description

    assert callable(pv.describe)
    assert pyrovae.description.describe is pv.describe
