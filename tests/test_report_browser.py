"""The report in a browser: nothing fails, nothing is fetched, and the plot of single data does what it says.

A Chromium is looked for in the variable CHROMIUM, then on the path. Without one these tests are skipped, or fail if
PYROVAE_REQUIRE_BROWSER is 1.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pyrovae as pv
from pyrovae.report import SECTIONS

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE = {"width": 360, "height": 740}
MILLISECONDS = 10_000


def without(reason: str) -> Any:
    """Skip, or fail where a browser is required: what cannot run is not said to pass."""
    if os.environ.get("PYROVAE_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and PYROVAE_REQUIRE_BROWSER=1 requires it", pytrace=False)
    pytest.skip(f"NOT TESTED in a browser: {reason}. Install Chromium, or name one in CHROMIUM")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    named = os.environ.get("CHROMIUM")
    path = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        without(f"CHROMIUM={named} is no program" if named else f"none of {', '.join(NAMES)} is on the path")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without("playwright is not installed (pip install -e '.[dev]')")
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path, args=["--disable-gpu", "--disable-dev-shm-usage", *alone]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    train, test = pv.data.load("digits").split(seed=0)
    program = pv.VAE(
        pv.priors.Normal(3),
        pv.likelihoods.Binomial(16, pv.networks.MLP(3, (8,), 64)),
        pv.guides.Normal(pv.networks.MLP(64, (8,), 6)),
    )
    fit = pv.fit(program, train.take(np.arange(100)), validation=test, epochs=16, seed=0, progress=False)
    return pv.posterior(fit, test.take(np.arange(30)), draws=40, seed=0)


@pytest.fixture(scope="module")
def written(tree: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pv.report.write(tree, tmp_path_factory.mktemp("report") / "report.html")


class Seen:
    """A page, and what it said and asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(MILLISECONDS)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def datum(self) -> str:
        return self.page.locator("#explore-datum").get_attribute("data-id")

    def text(self) -> str:
        return " ".join(self.page.locator("#explore-datum").inner_text().split())

    def hover(self, obs_id: int) -> None:
        self.page.locator("#explore-plot").scroll_into_view_if_needed()
        x, y = self.page.evaluate("id => document.getElementById('explore-plot').at(id)", obs_id)
        box = self.page.locator("#explore-plot").bounding_box()
        self.page.mouse.move(box["x"] + x, box["y"] + y)

    def picture(self, which: str) -> np.ndarray:
        """Grey levels of the datum's image that is shown."""
        where = f"#explore-datum canvas[data-which={which}][data-drawn=yes]"
        self.page.wait_for_selector(where)
        read = "c => [c.height, c.width, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
        height, width, values = self.page.eval_on_selector(where, read)
        return np.array(values).reshape(height, width, 4)[..., 0]


@pytest.fixture
def desktop(browser: Any, written: Path) -> Iterator[Seen]:
    seen = Seen(browser, written, viewport={"width": 1200, "height": 900})
    yield seen
    seen.context.close()


@pytest.fixture
def phone(browser: Any, written: Path) -> Iterator[Seen]:
    seen = Seen(browser, written, viewport=PHONE, device_scale_factor=3, has_touch=True, is_mobile=True)
    yield seen
    seen.context.close()


def test_every_figure_is_seen_and_nothing_fails_or_is_fetched(desktop: Seen, written: Path) -> None:
    size = "[i.closest('section').id, i.complete && i.naturalWidth, i.offsetWidth, i.offsetHeight]"
    found = desktop.page.eval_on_selector_all("img", f"images => images.map(i => {size})")
    assert [name for name, *_ in found] == [section.id for section in SECTIONS]
    assert all(natural > 100 and width > 100 and height > 50 for _, natural, width, height in found)
    desktop.hover(7)
    desktop.page.keyboard.press("End")
    assert desktop.said == []
    assert desktop.asked[0] == written.as_uri()
    assert all(url.startswith("data:image/") for url in desktop.asked[1:])


def test_the_policy_stops_what_is_not_the_pages_own(desktop: Seen) -> None:
    desktop.page.evaluate("() => fetch('https://example.org/').catch(() => {})")
    assert any("Content Security Policy" in text for text in desktop.said)
    script = "const s = document.createElement('script'); s.textContent = 'window.evil = 1'; document.body.append(s)"
    desktop.page.evaluate(f"() => {{ {script} }}")
    assert desktop.page.evaluate("() => window.evil") is None


@pytest.mark.parametrize("obs_id", [3, 21])
def test_hovering_shows_the_datum(desktop: Seen, tree: xr.DataTree, obs_id: int) -> None:
    desktop.hover(obs_id)
    assert desktop.datum() == str(obs_id)
    text = desktop.text()
    at = {"chain": 0, "obs_id": obs_id}
    evidence = pv.diagnostics.log_evidence(tree, k=[1]).isel(at)
    khat = float(pv.diagnostics.pareto_k(tree)["pareto_k"].isel(at))
    assert text.startswith(f"datum {obs_id} ")
    assert f"label {int(tree['constant_data']['label'][obs_id])} " in text
    assert f"{khat:.2f} ".replace("-", "−") in text
    assert f"{float(evidence['log_evidence']):.2f} ± {float(evidence['mcse']):.2f}".replace("-", "−") in text
    assert f"ELBO {float(pv.diagnostics.elbo_terms(tree)['elbo'].isel(at)):.2f},".replace("-", "−") in text
    good = pv.diagnostics.good_k(40)
    assert ("usable:" if khat <= good else "doubtful" if khat <= 1 else "no finite mean").strip(":") in text
    x = tree["observed_data"]["x"].values
    scale = 255 / np.ptp(x)
    predicted = tree["posterior_predictive"]["x"].isel(chain=0).mean("draw").values
    for which, values in (("observed", x), ("predicted", predicted)):
        truth = (values[obs_id].reshape(8, 8) - x.min()) * scale
        assert np.abs(desktop.picture(which) - truth).max() <= 255 / 28 + 1


def test_a_click_holds_the_datum_and_escape_lets_go(desktop: Seen) -> None:
    desktop.hover(5)
    desktop.page.mouse.down()
    desktop.page.mouse.up()
    desktop.hover(12)
    assert desktop.datum() == "5"
    desktop.page.keyboard.press("Escape")
    desktop.hover(12)
    assert desktop.datum() == "12"


def test_the_selects_move_and_colour_the_points(desktop: Seen, tree: xr.DataTree) -> None:
    page, place = desktop.page, "() => document.getElementById('explore-plot').at(3)"
    pixels = "() => document.getElementById('explore-plot').toDataURL()"
    names = page.eval_on_selector_all("#explore-x option", "all => all.map(o => o.textContent)")
    assert sorted(name[:4] for name in names[:3]) == ["z[0]", "z[1]", "z[2]"]
    assert [name.split(" (")[0] for name in names[3:]] == ["log p̂(x)", "ELBO", "log p̂(x) − ELBO", "k̂"]
    before = page.evaluate(place)
    page.select_option("#explore-y", "2")
    moved = page.evaluate(place)
    assert moved[1] != before[1]
    page.select_option("#explore-x", "4")
    assert names[4] in page.locator("#explore-plot").get_attribute("aria-label")
    elbo = pv.diagnostics.elbo_terms(tree)["elbo"].isel(chain=0).values
    across = page.evaluate("() => [...Array(30).keys()].map(i => document.getElementById('explore-plot').at(i)[0])")
    assert np.corrcoef(across, elbo)[0, 1] > 0.9999
    seen = {page.evaluate(pixels)}
    ways = page.eval_on_selector_all("#explore-colour option", "all => all.map(o => o.textContent)")
    assert ways == ["label", "k̂", "log p̂(x)", "ELBO", "log p̂(x) − ELBO", "nothing"]
    for way in range(1, len(ways)):
        page.select_option("#explore-colour", str(way))
        seen.add(page.evaluate(pixels))
    assert len(seen) == len(ways)


def test_keys_and_the_field_find_data(desktop: Seen) -> None:
    page = desktop.page
    page.focus("#explore-plot")
    page.keyboard.press("End")
    assert desktop.datum() == "29"
    page.keyboard.press("Home")
    assert desktop.datum() == "0"
    left = page.evaluate("() => document.getElementById('explore-plot').at(0)[0]")
    page.keyboard.press("ArrowLeft")
    now = int(desktop.datum())
    assert page.evaluate("id => document.getElementById('explore-plot').at(id)[0]", now) < left
    assert page.locator("#explore-status").inner_text().startswith(f"datum {now}; label ")
    page.fill("#explore-id", "17")
    page.keyboard.press("Enter")
    assert desktop.datum() == "17"
    page.fill("#explore-id", "none")
    page.keyboard.press("Enter")
    assert desktop.datum() == "17"
    assert page.locator("#explore-id").get_attribute("aria-invalid") == "true"


def overflow(seen: Seen) -> list[Any]:
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    parts = "[...document.querySelectorAll('#explore *, .checks *')]"
    outside = f"{parts}.filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    return seen.page.evaluate(f"() => [{width}, {outside}.map(e => e.tagName + e.className)]")


def test_a_phone_shows_all_of_it(phone: Seen) -> None:
    assert overflow(phone) == [0, []]
    plot = phone.page.locator("#explore-plot")
    plot.scroll_into_view_if_needed()
    x, y = phone.page.evaluate("() => document.getElementById('explore-plot').at(9)")
    plot.tap(position={"x": x, "y": y})
    assert phone.datum() == "9"
    assert phone.picture("predicted").shape == (8, 8)
    assert phone.said == []


def test_print_and_pages_without_scripts_keep_the_figure(desktop: Seen, browser: Any, written: Path) -> None:
    desktop.page.emulate_media(media="print")
    assert not desktop.page.locator("#explore").is_visible()
    assert desktop.page.locator("#latent img").is_visible()
    still = Seen(browser, written, java_script_enabled=False)
    assert not still.page.locator("#explore").is_visible()
    assert still.page.locator("#latent img").is_visible()
    assert still.page.locator("#latent noscript").is_visible()
    assert still.said == []
    still.context.close()


def test_data_that_are_no_images_are_a_table(browser: Any, tmp_path: Path) -> None:
    names = ["age", "income of the household", "town"]
    x = np.array([[39.25, 0.5, 1.0], [np.nan, 12345.6, 0.0]])
    lead = ("chain", "draw", "obs_id")
    draws = np.repeat(np.array([[[40.0, 1.0, 1.0], [50.0, 2.0, 1.0]]]), 4, axis=0)[None]
    coords = {"column": names, "obs_id": ["a", "b"]}
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"z": (lead, np.array([[[0.0, 1.0]]]))}, coords={"obs_id": ["a", "b"]}),
            "observed_data": xr.Dataset({"x": (("obs_id", "column"), x)}, coords=coords),
            "posterior_predictive": xr.Dataset({"x": ((*lead, "column"), draws)}, coords=coords),
        }
    )
    latent = [section for section in SECTIONS if section.id == "latent"]
    path = pv.report.write(tree, tmp_path / "report.html", sections=latent)
    seen = Seen(browser, path, viewport=PHONE)
    rows = "all => all.map(row => [...row.children].map(cell => cell.innerText.replace(/\\s+/g, ' ').trim()))"
    table = "#explore-datum table tr"
    assert seen.page.eval_on_selector_all(table, rows) == [
        ["", "observed", "predicted"],
        ["age", "39.25", "40 40 to 40"],
        ["income of the household", "0.500", "1 1 to 1"],
        ["town", "1", "1 in 100 %"],
    ]
    seen.page.focus("#explore-plot")
    seen.page.keyboard.press("ArrowRight")
    assert seen.datum() == "b"
    assert [row[1] for row in seen.page.eval_on_selector_all(table, rows)] == ["observed", "missing", "12,346", "0"]
    assert overflow(seen) == [0, []]
    assert seen.said == []
    seen.context.close()
