"""The description of a program: tables in text and HTML, and the plate diagram as a picture."""

from __future__ import annotations

import html
import shutil
from dataclasses import dataclass
from pathlib import Path

import graphviz
import pandas as pd

from pyrovae._atomic import refuse_existing, replacing

__all__ = ["Description"]

PICTURES = ("svg", "png", "pdf")
SOURCES = ("gv", "dot")
INSTALL = "the picture needs Graphviz's program dot: apt-get (or brew, conda) install graphviz"


@dataclass(frozen=True, eq=False)
class Description:
    """A program's sites, parameters and plate diagram. Prints as tables, in a notebook with the picture.

    Attributes
    ----------
    table
        A row per sample site: site, role ("latent", "observed", "enumerated": summed out of the model, "global": shared
        by all data, "auxiliary": of the guide alone), plates from the outermost, shape of one datum, support, and the
        families of distributions in model and guide.
    parameters
        A row per part or module: part, parameters (how many numbers), trained (how many of them) and what it is.
    graph
        The plate diagram, a `graphviz.Digraph`: observed sites are grey, arrows of the guide dashed.
    title
        What was described.
    """

    table: pd.DataFrame
    parameters: pd.DataFrame
    graph: graphviz.Digraph
    title: str

    @property
    def total(self) -> int:
        """How many parameters there are."""
        return int(self.parameters["parameters"].sum())

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the plate diagram: .svg, .png or .pdf by Graphviz's ``dot``, .gv or .dot as its source.

        Raises
        ------
        ValueError
            If the ending is another.
        FileExistsError
            If there is such a file and ``overwrite`` is False.
        RuntimeError
            If ``dot`` is needed and not installed.
        """
        path = Path(path)
        kind = path.suffix.removeprefix(".").lower()
        if kind not in PICTURES + SOURCES:
            raise ValueError(
                f"save: expected a file name that ends in .{', .'.join(PICTURES + SOURCES)}, got {path.name!r}"
            )
        refuse_existing(path, overwrite)
        if kind in PICTURES and not _has_dot():
            raise RuntimeError(f"{INSTALL}; or save its source, {path.with_suffix('.gv').name}")
        content = self.graph.pipe(format=kind) if kind in PICTURES else self.graph.source.encode()
        with replacing(path) as work:
            work.write_bytes(content)
        return path

    def __str__(self) -> str:
        blocks = [_aligned(_sites(self.table)), _aligned(_counts(self.parameters), right=(1,))]
        return "\n".join([self.title, "", *blocks[0], "", *blocks[1]])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        picture = f"<p>{html.escape(INSTALL)}</p>"
        if _has_dot():
            svg = self.graph.pipe(format="svg", encoding="utf-8")
            picture = svg[svg.index("<svg") :]
        tables = _html(_sites(self.table)) + _html(_counts(self.parameters))
        return f"<p><b>{html.escape(self.title)}</b></p>{picture}{tables}"


def _has_dot() -> bool:
    return shutil.which("dot") is not None


def _sites(table: pd.DataFrame) -> list[list[str]]:
    """The sites' table in words, its head first."""
    rows = [
        [", ".join(value) or "–" if column == "plates" else str(value) for column, value in row.items()]
        for _, row in table.iterrows()
    ]
    return [list(table.columns), *rows]


def _counts(table: pd.DataFrame) -> list[list[str]]:
    """The parameters' table in words, its head first, with their total."""
    rows = [[row["part"], _count(row["parameters"], row["trained"]), row["what"]] for _, row in table.iterrows()]
    return [["part", "parameters", "what"], *rows, ["total", _count(*table[["parameters", "trained"]].sum()), ""]]


def _count(parameters: int, trained: int) -> str:
    return f"{parameters:,}" if trained == parameters else f"{parameters:,} ({trained:,} trained)"


def _aligned(cells: list[list[str]], right: tuple[int, ...] = ()) -> list[str]:
    """The lines of a table whose head is underlined; columns in ``right`` stand to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells = [cells[0], ["─" * width for width in widths], *cells[1:]]
    return [
        "  ".join(
            text.rjust(width) if place in right else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _html(cells: list[list[str]]) -> str:
    def row(tag: str, values: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values) + "</tr>"

    return f"<table>{row('th', cells[0])}{''.join(row('td', values) for values in cells[1:])}</table>"
