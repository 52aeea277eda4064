"""The report: one file, complete, and written whatever the tree holds."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import pyrovae as pv
from pyrovae import plots, report
from pyrovae.report.images import embed
from pyrovae.report.sections import SECTIONS, Section, draw

FIGURES = [section.id for section in SECTIONS]
IDS = ["verdict", "diagnose", *FIGURES, "settings"]
NO_CLOSE = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Ids, images and text of a page; its tags are matched."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, Any]] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text: dict[str, str] = {}
        self.open: list[str] = []
        self.section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        assert len(known) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, known))
        if "id" in known:
            self.ids.append(str(known["id"]))
        if tag == "section":
            self.section = str(known["id"])
        if tag == "img":
            self.images.append({**known, "section": self.section})
        if tag == "a":
            self.links.append(str(known["href"]))
        if tag not in NO_CLOSE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
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


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """One empty figure in place of each: these tests are about the page."""

    def nothing(tree: xr.DataTree) -> Figure:
        return plt.figure(figsize=(1, 1))

    quick = tuple(Section(s.id, s.title, s.reading, s.alt, nothing) for s in SECTIONS)
    monkeypatch.setattr("pyrovae.report.page.SECTIONS", quick)


def test_the_page_has_every_section_in_order(page: Page) -> None:
    assert page.ids == IDS
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
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert all(attrs["src"].startswith("data:image/") for tag, attrs in page.tags if tag == "img")


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
    marks = [attrs["class"] for tag, attrs in page.tags if tag == "span"]
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


def test_the_same_tree_gives_the_same_bytes(tree: xr.DataTree, written: Path, tmp_path: Path) -> None:
    assert report.write(tree, tmp_path / "again.html").read_bytes() == written.read_bytes()


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
def test_what_is_missing_is_said(tree: xr.DataTree, tmp_path: Path, groups: list[str], drawn: list[str]) -> None:
    part = Page(report.write(keep(tree, *groups, attrs={}), tmp_path / "part.html").read_text(encoding="utf-8"))
    assert part.ids == IDS
    assert [image["section"] for image in part.images] == drawn
    for name in set(FIGURES) - set(drawn):
        assert "Not available." in part.text[name]
        assert "group" in part.text[name]
    assert "no settings of a fit" in part.text["settings"]
    assert ("Not available." in part.text["verdict"]) == ("sample_stats" not in groups)


def test_a_tree_read_from_a_file_gives_a_report(tree: xr.DataTree, tmp_path: Path) -> None:
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as read:
        text = report.write(read, tmp_path / "report.html").read_text(encoding="utf-8")
    assert [image["section"] for image in Page(text).images] == FIGURES


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
    assert "<script" not in text
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
    assert parsed.ids == IDS
    assert "IndexError: chain 1" in parsed.text["verdict"]


def test_the_smaller_image_is_taken() -> None:
    line, noise = plt.figure(figsize=(3, 2)), plt.figure(figsize=(3, 2))
    line.add_subplot().plot([0, 1])
    noise.add_subplot().scatter(*np.random.default_rng(0).normal(size=(2, 5000)))
    assert embed(line).uri.startswith("data:image/svg+xml")
    assert embed(noise).uri.startswith("data:image/png")
    assert (embed(line).width, embed(line).height) == (288, 192)


def test_every_plot_has_a_section() -> None:
    assert {section.plot for section in SECTIONS} == {getattr(plots, name) for name in plots.__all__}
