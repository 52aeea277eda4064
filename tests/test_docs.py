"""The pages in docs/: their examples run, their links lead somewhere, and the reference leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import pyrovae as pv

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_examples_run(page: Path, capsys) -> None:
    torch.manual_seed(0)
    namespace: dict = {}
    for text in re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(text, page.name, "exec"), namespace)
    if namespace:
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [t for t in targets if not (DOCS / t).exists()] == []


@pytest.mark.parametrize("kind", ["priors", "likelihoods", "guides", "networks"])
def test_the_vocabulary_is_complete(kind: str) -> None:
    """Every public part stands in the section of its kind, and no other name does."""
    text = (DOCS / "parts.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {kind.capitalize()}.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    named = set(re.findall(r"`([A-Za-z_]+)", section.group()))
    assert set(getattr(pv, kind).__all__) - named == set()


def test_what_the_vocabulary_calls_for_exists() -> None:
    text = (DOCS / "parts.md").read_text(encoding="utf-8")
    for kind in ("priors", "likelihoods", "guides"):
        section = re.search(rf"^## {kind.capitalize()}.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section is not None
        for name in re.findall(r"^\| (.*?) \|", section.group(), re.MULTILINE):
            for part in re.findall(r"`([A-Z][A-Za-z]+)\(", name):
                assert hasattr(getattr(pv, kind), part), part
