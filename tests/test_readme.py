"""The README's examples run as written, and its output is what they print but for the digits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
OUTPUT = [text for kind, text in BLOCKS if kind == "text"]


@pytest.fixture(scope="module")
def namespace() -> dict:
    return {}


def shape(text: str) -> list[list[str]]:
    """The title, the heads, and the questions with their thresholds: figures, verdicts and advice differ by machine."""
    lines = [line for line in text.splitlines() if "? " in line or "question" in line or "·" in line]
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    return [[row[0], *row[2:3]] for row in rows]


def test_first_example_as_written(namespace: dict, capsys) -> None:
    torch.manual_seed(0)
    exec(compile(PYTHON[0], "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert shape(printed) == shape(OUTPUT[0])
    evidence = float(namespace["pv"].diagnostics.log_evidence(namespace["tree"])["log_evidence"].mean())
    assert -evidence <= 91  # held-out NLL, nats per datum


def test_further_examples_in_order(namespace: dict, capsys) -> None:
    if "train" not in namespace:  # run alone: what the first example leaves behind
        exec(PYTHON[0][: PYTHON[0].index("vae = ")], namespace)
    for text in PYTHON[1:]:
        torch.manual_seed(0)
        exec(compile(text, "README.md", "exec"), namespace)
        assert capsys.readouterr().out.strip()


def test_examples_can_be_pasted_into_a_session() -> None:
    """A blank line ends a block there, so none may stand before an indented line."""
    assert [text for text in PYTHON if re.search(r"\n\n[ \t]+\S", text)] == []


def test_a_part_of_ones_own_takes_ten_lines() -> None:
    """A prior, a likelihood, a guide and a whole program."""
    section = README[README.index("## Write your own") : README.index("## From the command line")]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    assert [text for text in blocks if len(text.splitlines()) > 10] == []


def test_links_lead_somewhere() -> None:
    root = Path(__file__).parents[1]
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert targets
    assert [t for t in targets if not (root / t).exists()] == []


def test_commands_are_the_clis() -> None:
    from typer.testing import CliRunner

    from pyrovae.cli.app import app

    commands = {
        line.split()[1]
        for kind, text in BLOCKS
        if kind == "sh"
        for line in text.splitlines()
        if line.startswith("pyrovae")
    }
    runner = CliRunner()
    assert commands == {"fit", "report", "compare", "data"}
    assert all(runner.invoke(app, [c, "--help"]).exit_code == 0 for c in commands)
