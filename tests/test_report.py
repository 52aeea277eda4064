"""The report: one file, complete, and written whatever the tree holds."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from inspect import signature
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
import xarray as xr
from matplotlib.figure import Figure

import pyrovae as pv
from pyrovae import plots, report
from pyrovae.report import explore, sprites
from pyrovae.report.explore import explorer
from pyrovae.report.images import Image, embed
from pyrovae.report.sections import SECTIONS, Section, draw

FIGURES = [section.id for section in SECTIONS]
IDS = ["verdict", "diagnose", *FIGURES, "settings"]
NO_CLOSE = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Sections, images and text of a page; its tags are matched and its ids differ."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.sections: list[str] = []
        self.data: dict[str, Any] = {}
        self.script = ""
        self.links: list[str] = []
        self.images: list[dict[str, Any]] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text: dict[str, str] = {}
        self.open: list[str] = []
        self.section = ""
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        assert len(known) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, known))
        if "id" in known:
            self.ids.append(str(known["id"]))
        if tag == "section":
            self.section = str(known["id"])
            self.sections.append(self.section)
        if tag == "img":
            self.images.append({**known, "section": self.section})
        if tag == "a":
            self.links.append(str(known["href"]))
        if tag not in NO_CLOSE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            if self.tags[-1][1].get("type") == "application/json":
                self.data = json.loads(data)
            else:
                self.script += data
        elif self.open and self.open[-1] != "style":
            where = self.section if "section" in self.open else "title" if self.open[-1] == "title" else ""
            self.text[where] = " ".join((self.text.get(where, "") + " " + data).split())


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    train, test = pv.data.load("digits").split(seed=0)
    program = pv.VAE(
        pv.priors.Normal(3),
        pv.likelihoods.Binomial(16, pv.networks.MLP(3, (8,), 64)),
        pv.guides.Normal(pv.networks.MLP(64, (8,), 6)),
    )
    small, held_out = train.take(np.arange(100)), test.take(np.arange(40))
    fit = pv.fit(program, small, validation=held_out, epochs=12, restarts=2, seed=0, progress=False)
    return pv.posterior(fit, held_out, draws=60, seed=0)


@pytest.fixture(scope="module")
def written(tree: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(tree, tmp_path_factory.mktemp("report") / "new" / "report.html")


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def keep(tree: xr.DataTree, *groups: str, attrs: dict[str, Any] | None = None) -> xr.DataTree:
    out = xr.DataTree.from_dict({name: tree[name].to_dataset() for name in groups})
    out.attrs = dict(tree.attrs if attrs is None else attrs)
    return out


def blank(tree: xr.DataTree) -> Figure:
    return plt.figure(figsize=(1, 1))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """One empty figure in place of all: these tests are about the page."""
    monkeypatch.setitem(report.write.__kwdefaults__, "sections", (Section("x", "X", "Read it.", "An X.", blank),))


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure is drawn, and an empty image put in its place: these tests are about which there are."""
    monkeypatch.setattr("pyrovae.report.sections.embed", lambda figure: Image("data:image/png;base64,", 300, 200))


def test_the_page_has_every_section_in_order(page: Page) -> None:
    assert page.sections == IDS
    assert page.links == [f"#{name}" for name in IDS]
    assert page.text["title"] == "VAE on digits"


def test_the_page_is_a_complete_document(written: Path, page: Page) -> None:
    text = written.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    tags = dict(reversed(page.tags))
    assert tags["html"] == {"lang": "en"}
    metas = [attrs for tag, attrs in page.tags if tag == "meta"]
    assert {"charset": "utf-8"} in metas
    assert any(m.get("name") == "viewport" for m in metas)
    assert "Not available" not in text
    assert written.stat().st_size < 3e6


def test_the_page_needs_nothing_from_outside(written: Path, page: Page) -> None:
    text = written.read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert all(attrs["src"].startswith("data:image/") for tag, attrs in page.tags if tag == "img")
    assert not any("src" in attrs for tag, attrs in page.tags if tag == "script")
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|eval\(|innerHTML", page.script)


def test_only_the_pages_own_script_may_run(page: Page) -> None:
    policy = next(
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_each_figure_has_an_image_a_text_for_it_and_a_reading(page: Page) -> None:
    assert [image["section"] for image in page.images] == FIGURES
    for image, section in zip(page.images, SECTIONS, strict=True):
        kind, data = re.fullmatch(r"data:image/(png|svg\+xml);base64,(.+)", image["src"]).groups()
        start = b"\x89PNG" if kind == "png" else b"<?xml"
        assert base64.b64decode(data, validate=True).startswith(start)
        assert len(image["alt"]) > 30
        assert int(image["width"]) > 300
        assert f"How to read it. {section.reading}" in page.text[section.id]


def test_verdict_and_table_are_those_of_diagnose(tree: xr.DataTree, page: Page) -> None:
    found = pv.diagnose(tree)
    assert found.summary in page.text["verdict"]
    assert found.verdict in page.text["verdict"]
    for _, row in found.table.iterrows():
        for column in ("question", "figure", "threshold", "verdict", "action"):
            assert " ".join(row[column].split()) in page.text["diagnose"]
    marks = [attrs["class"] for tag, attrs in page.tags if tag == "span" and "mark" in attrs.get("class", "")]
    judged = [v for v in found.table["verdict"] if v != "–"]
    assert marks == [f"mark {v if v in ('good', 'usable', 'bad') else 'none'}" for v in [found.verdict, *judged]]


def test_settings_are_readable(tree: xr.DataTree, page: Page) -> None:
    settings = json.loads(tree.attrs["settings"])
    text = page.text["settings"]
    for row in ("training data 100", "epochs 12", "restarts 2", "gradient norm clipped at none", "draws per datum 60"):
        assert row in text
    assert f"best restart {settings['best_chain'] + 1}" in text
    assert f"torch {settings['versions']['torch']}" in text
    assert "data sum" not in text
    assert "posterior z chain 2 · draw 60 · obs_id 40 · z_dim_0 3" in text


def test_a_tree_read_from_a_file_gives_the_same_bytes(tree: xr.DataTree, written: Path, tmp_path: Path) -> None:
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as read:
        assert report.write(read, tmp_path / "again.html").read_bytes() == written.read_bytes()


@pytest.mark.parametrize(
    ("groups", "drawn"),
    [
        ([], []),
        (["optimization"], ["elbo"]),
        (["posterior"], ["latent"]),
        (["prior", "prior_predictive"], ["prior"]),
        (["sample_stats"], ["khat", "bounds"]),
        (["posterior", "sample_stats"], ["kl", "khat", "bounds", "latent"]),
        (["observed_data", "posterior_predictive"], ["reconstruction", "ppc"]),
    ],
    ids=lambda value: " ".join(value) if value else "nothing",
)
@pytest.mark.usefixtures("unseen")
def test_what_is_missing_is_said(tree: xr.DataTree, tmp_path: Path, groups: list[str], drawn: list[str]) -> None:
    part = Page(report.write(keep(tree, *groups, attrs={}), tmp_path / "part.html").read_text(encoding="utf-8"))
    lacking = [name for name in FIGURES if name not in drawn]
    assert part.sections == ["verdict", "diagnose", *drawn, "lacking", "settings"]
    assert part.links == [f"#{name}" for name in part.sections]
    assert [image["section"] for image in part.images] == drawn
    assert [attrs["id"] for tag, attrs in part.tags if tag == "dt"] == lacking
    for section in SECTIONS:
        assert (section.title in part.text["lacking"]) == (section.id in lacking)
    assert part.text["lacking"].count("group") >= len(lacking)
    assert "no settings of a fit" in part.text["settings"]
    assert ("Not available." in part.text["verdict"]) == ("sample_stats" not in groups)
    assert bool(part.script) == bool(part.data) == ("latent" in drawn)


@pytest.mark.usefixtures("fast")
def test_an_existing_file_is_kept_unless_told(tree: xr.DataTree, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        report.write(tree, path)
    assert path.read_text() == "mine"
    assert report.write(tree, str(path), overwrite=True) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.usefixtures("fast")
def test_a_failed_write_leaves_the_old_file(tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("pyrovae._atomic.os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        report.write(tree, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", ["", "report", "report.pdf"])
def test_a_path_that_is_no_page_is_refused(tree: xr.DataTree, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"path: expected the name of a file that ends in \.html"):
        report.write(tree, tmp_path / name)


def test_what_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected an ArviZ tree"):
        report.write(xr.Dataset(), tmp_path / "report.html")  # type: ignore[arg-type]


@pytest.mark.usefixtures("fast")
def test_text_from_the_tree_is_escaped(tree: xr.DataTree, tmp_path: Path) -> None:
    settings = json.dumps({"program": "<b>P</b>", "optimizer": "a & b", "seed": 12345})
    odd = keep(tree, *tree.children, attrs={"settings": settings, "data": "<script>alert(1)</script>"})
    text = report.write(odd, tmp_path / "report.html", title='<img src="x"> & co').read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<b>" not in text
    parsed = Page(text)
    assert parsed.text["title"] == '<img src="x"> & co'
    assert "program <b>P</b>" in parsed.text["settings"]
    assert "seed 12345" in parsed.text["settings"]


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("settings", ["null", "[1]", "not json", 3])
def test_unreadable_settings_are_no_settings(tree: xr.DataTree, tmp_path: Path, settings: Any) -> None:
    odd = keep(tree, *tree.children, attrs={"settings": settings})
    parsed = Page(report.write(odd, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "no settings of a fit" in parsed.text["settings"]


def test_figures_of_the_user_stay_open(tree: xr.DataTree, tmp_path: Path) -> None:
    mine = plt.figure()
    report.write(keep(tree, "optimization"), tmp_path / "report.html")
    assert plt.get_fignums() == [mine.number]


def test_a_fault_in_a_plot_is_told_and_the_rest_is_written(tree: xr.DataTree) -> None:
    def broken(tree: xr.DataTree) -> Figure:
        plt.figure()
        raise KeyError("z")

    with pytest.warns(RuntimeWarning, match="could not be drawn"):
        drawn = draw(Section("x", "X", "", "", broken), tree)
    assert drawn.image is None
    assert "KeyError" in drawn.reason
    assert plt.get_fignums() == []


@pytest.mark.usefixtures("fast")
def test_a_fault_in_the_checks_is_told_too(tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tree: xr.DataTree) -> None:
        raise IndexError("chain 1")

    monkeypatch.setattr("pyrovae.report.page.diagnose", broken)
    with pytest.warns(RuntimeWarning, match="the checks failed"):
        path = report.write(tree, tmp_path / "report.html")
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed.sections == ["verdict", "diagnose", "x", "settings"]
    assert "IndexError: chain 1" in parsed.text["verdict"]


def test_the_smaller_image_is_taken() -> None:
    line, noise = plt.figure(figsize=(3, 2)), plt.figure(figsize=(3, 2))
    line.add_subplot().plot([0, 1])
    noise.add_subplot().scatter(*np.random.default_rng(0).normal(size=(2, 5000)))
    assert embed(line).uri.startswith("data:image/svg+xml")
    assert embed(noise).uri.startswith("data:image/png")
    assert (embed(line).width, embed(line).height) == (288, 192)
    line.add_axes((0, 0, 1, 1)).imshow(np.eye(3))
    assert embed(line).uri.startswith("data:image/png")


def test_every_plot_of_a_tree_has_a_section() -> None:
    made = [getattr(plots, name) for name in plots.__all__]
    of_a_tree = {plot for plot in made if next(iter(signature(plot).parameters)) in ("tree", "tree_or_fit")}
    assert of_a_tree <= {section.plot for section in SECTIONS}
    assert len({section.id for section in SECTIONS}) == len(SECTIONS)


# The interactive plot: what it is given


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def pictures(sheets: list[str], count: int, height: int, width: int) -> np.ndarray:
    """(datum, height, width) of sheets, in bytes of grey; colours have a last dimension."""
    out = []
    for sheet in sheets:
        image = PIL.Image.open(io.BytesIO(base64.b64decode(sheet)))
        pixels = np.asarray(image.convert("RGB"))
        rows, across = pixels.shape[0] // height, pixels.shape[1] // width
        tiles = pixels.reshape(rows, height, across, width, 3).swapaxes(1, 2)
        out.append(tiles.reshape(-1, height, width, 3))
    return np.concatenate(out)[:count]


def test_each_datum_has_its_figures_image_and_reconstruction(tree: xr.DataTree, page: Page) -> None:
    data, chain = page.data, json.loads(tree.attrs["settings"])["best_chain"]
    assert data["ids"] == tree["posterior"]["obs_id"].values.tolist()
    assert data["chain"][:2] == [chain + 1, 2]
    means = tree["posterior"]["z"].isel(chain=chain).mean("draw").values
    names = [of["name"] for of in data["latents"]]
    assert sorted(names) == ["z[0]", "z[1]", "z[2]"]
    for of in data["latents"]:
        told = of["low"] + of["step"] * np.frombuffer(base64.b64decode(of["values"]), "<u2").astype(float)
        np.testing.assert_allclose(told, means[:, int(of["name"][2])], atol=0.51 * of["step"] + 1e-6)
    evidence = pv.diagnostics.log_evidence(tree, k=[1]).isel(chain=chain)
    khat = pv.diagnostics.pareto_k(tree)
    expected = {
        "elbo": pv.diagnostics.elbo_terms(tree)["elbo"].isel(chain=chain),
        "evidence": evidence["log_evidence"],
        "error": evidence["mcse"],
        "khat": khat["pareto_k"].isel(chain=chain),
        "gap": evidence["log_evidence"] - pv.diagnostics.elbo_terms(tree)["elbo"].isel(chain=chain),
    }
    assert set(data["figures"]) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(floats(data["figures"][name]), values.values, rtol=1e-5, atol=1e-5)
    assert data["good"] == khat.attrs["good_k"]
    shown = data["shown"]
    seen = tree["observed_data"]["x"].values.reshape(-1, 8, 8)
    made = tree["posterior_predictive"]["x"].isel(chain=chain).mean("draw").values.reshape(-1, 8, 8)
    scale = 255 / (seen.max() - seen.min())
    for name, truth in (("observed", seen), ("predicted", made)):
        grey = pictures(shown[name], 40, 8, 8)[..., 0]
        assert np.abs(grey - (truth - seen.min()) * scale).max() <= 255 / 28 + 1  # half a level of fifteen


def test_labels_and_verdicts_are_classes(tree: xr.DataTree, page: Page) -> None:
    label, khat = page.data["labels"]
    members = np.frombuffer(base64.b64decode(label["members"]), "u1")
    assert [label["classes"][m] for m in members] == [str(v) for v in tree["constant_data"]["label"].values]
    zones = np.frombuffer(base64.b64decode(khat["members"]), "u1")
    values = floats(page.data["figures"]["khat"])
    np.testing.assert_array_equal(zones, np.where(values <= page.data["good"], 0, np.where(values <= 1, 1, 2)))


def planted(x: np.ndarray, predicted: np.ndarray | None, dims: tuple[str, ...], **constant: np.ndarray) -> xr.DataTree:
    """A tree of data, predictive draws and latents, without statistics."""
    n = len(x)
    z = np.random.default_rng(0).normal(size=(1, 3 if predicted is None else max(3, len(predicted)), n, 2))
    groups = {
        "posterior": xr.Dataset({"z": (("chain", "draw", "obs_id", "k"), z)}, coords={"obs_id": np.arange(n)}),
        "observed_data": xr.Dataset({"x": (("obs_id", *dims), x)}),
    }
    if predicted is not None:
        groups["posterior_predictive"] = xr.Dataset({"x": (("chain", "draw", "obs_id", *dims), predicted[None])})
    if constant:
        groups["constant_data"] = xr.Dataset({name: (("obs_id",), values) for name, values in constant.items()})
    return xr.DataTree.from_dict(groups)


def test_missing_pixels_are_tinted_and_colours_kept() -> None:
    grey = np.zeros((3, 2, 2))
    grey[0, 0, 0], grey[1, 1, 1] = np.nan, 7.0
    shown = explorer(planted(grey, None, ("row", "column")))["shown"]
    tiles = pictures(shown["observed"], 3, 2, 2)
    assert tiles[0, 0, 0].tolist() == sprites.TINT.tolist()
    assert tiles[1, 1, 1].tolist() == [255, 255, 255]
    assert "predicted" not in shown
    colour = np.zeros((2, 3, 4, 3))
    colour[1, ..., 0] = 1.0
    shown = explorer(planted(colour, colour[None], ("h", "w", "channel")))["shown"]
    assert (shown["height"], shown["width"], shown["draws"]) == (3, 4, 1)
    assert (pictures(shown["predicted"], 2, 3, 4)[1] == [255, 0, 0]).all()


def test_large_images_are_made_smaller() -> None:
    x = np.kron(np.arange(4.0).reshape(1, 2, 2), np.ones((2, 75, 50)))
    shown = explorer(planted(x, None, ("row", "column")))["shown"]
    assert (shown["height"], shown["width"]) == (50, 33)
    assert pictures(shown["observed"], 2, 50, 33)[1, -1, -1, 0] == 255


def test_values_of_other_data_are_told_with_what_is_predicted() -> None:
    x = np.array([[1.5, 0.0], [np.nan, 2.0]])
    draws = np.zeros((100, 2, 2))
    draws[:, :, 0] = np.arange(100)[:, None]
    draws[:70, 1, 1] = 2.0
    shown = explorer(planted(x, draws, ("column",)))["shown"]
    np.testing.assert_array_equal(floats(shown["observed"]), x.astype("f4").ravel())
    assert shown["commonest"] == [False, True]
    typical, low, high = (floats(shown[name]).reshape(2, 2) for name in ("typical", "low", "high"))
    assert typical[0].tolist() == [49.5, 0.0]
    assert typical[1].tolist() == [49.5, 2.0]
    np.testing.assert_allclose([low[0, 0], high[0, 0]], np.quantile(np.arange(100), [0.05, 0.95]), rtol=1e-6)
    np.testing.assert_allclose(low[:, 1], [1.0, 0.7], rtol=1e-6)


def test_more_data_than_fit_are_a_stratified_subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 2, size=(1200, 16, 16)).astype(float)
    label = np.repeat([0, 1, 2], [300, 300, 600])
    tree = planted(noise, noise[None], ("row", "column"), label=label)
    whole = explorer(tree)
    size = len(json.dumps(whole["shown"]))
    assert len(whole["ids"]) == 1200
    monkeypatch.setattr(explore, "BUDGET", size // 3)
    found = explorer(tree)
    count = len(found["ids"])
    assert 0.8 * size / 3 < len(json.dumps(found["shown"])) <= size / 3
    share = np.bincount(label[found["ids"]]) / count
    np.testing.assert_allclose(share, [0.25, 0.25, 0.5], atol=2 / count)
    assert found == explorer(tree)
    tiles = pictures(found["shown"]["observed"], count, 16, 16)[..., 0]
    np.testing.assert_array_equal(tiles, 255 * noise[found["ids"]])
    text = Page(report.write(tree, tmp_path / "r.html", sections=SECTIONS_LATENT).read_text(encoding="utf-8")).text
    assert f"{count} of 1,200 shown" in text["latent"]


SECTIONS_LATENT = (Section("latent", "Latents", "", "", blank),)


def test_a_tree_without_statistics_says_what_is_not_known(tmp_path: Path) -> None:
    tree = planted(np.zeros((3, 2)), None, ("column",))
    text = Page(report.write(tree, tmp_path / "r.html", sections=SECTIONS_LATENT).read_text(encoding="utf-8")).text
    assert "Not known of a datum: k̂: the tree has no group 'sample_stats'" in text["latent"]


def test_labels_that_are_markup_stay_text(tmp_path: Path) -> None:
    odd = "</script><script>alert(1)</script>"
    tree = planted(np.zeros((3, 2)), None, ("column",), label=np.array([odd, "b", odd]))
    text = report.write(tree, tmp_path / "r.html", sections=SECTIONS_LATENT).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert Page(text).data["labels"][0]["classes"] == [odd, "b"]


def test_a_fault_in_the_interactive_plot_is_told(
    tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(tree: xr.DataTree) -> None:
        raise KeyError("z")

    monkeypatch.setattr("pyrovae.report.page.explorer", broken)
    with pytest.warns(RuntimeWarning, match="plot of single data: KeyError"):
        path = report.write(tree, tmp_path / "r.html", sections=SECTIONS_LATENT)
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed.script == ""
    assert parsed.sections == ["verdict", "diagnose", "latent", "settings"]


def test_khat_is_computed_once(tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrovae.diagnostics import reliability

    calls = []

    def counted(values: np.ndarray) -> Any:
        calls.append(len(values))
        return psis(values)

    psis = reliability.psis
    monkeypatch.setattr(reliability, "psis", counted)
    groups = list(tree.children)
    report.write(tree, tmp_path / "r.html", sections=[s for s in SECTIONS if s.id in ("khat", "latent")])
    assert len(calls) == 1
    assert list(tree.children) == groups


def test_the_module_can_be_called(tree: xr.DataTree, tmp_path: Path) -> None:
    path = pv.report(tree, tmp_path / "r.html", sections=())  # type: ignore[operator]
    assert Page(path.read_text(encoding="utf-8")).sections == ["verdict", "diagnose", "settings"]


def test_sections_of_ones_own_are_drawn(tree: xr.DataTree, tmp_path: Path) -> None:
    own = Section("own", "My own", "Look.", "A blank figure.", blank)
    parsed = Page(report.write(tree, tmp_path / "r.html", sections=[own]).read_text(encoding="utf-8"))
    assert parsed.sections == ["verdict", "diagnose", "own", "settings"]
    assert "How to read it. Look." in parsed.text["own"]
