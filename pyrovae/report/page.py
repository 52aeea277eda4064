"""Write the report."""

from __future__ import annotations

import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from pyrovae._atomic import refuse_existing, replacing
from pyrovae.diagnostics import Diagnosis, diagnose
from pyrovae.diagnostics.diagnosis import HEADS, cell
from pyrovae.report.sections import SECTIONS, draw
from pyrovae.report.settings import contents, settings, versions

__all__ = ["write"]


def write(
    tree: xr.DataTree,
    path: str | Path,
    *,
    title: str | None = None,
    diagnosis: Diagnosis | None = None,
    overwrite: bool = False,
) -> Path:
    """Write what is known of a tree as one HTML file, with all figures in it: verdicts first, then the evidence.

    The page needs no network and no scripts, reads on a phone, and prints. It appears whole or not at all. What the
    tree does not allow is said to be not available, with the reason.

    Parameters
    ----------
    tree
        From `pyrovae.posterior`, best on held-out data; every group is optional.
    path
        The file to write, such as ``report.html``; its folder is made if need be.
    title
        Heading of the page; by default the program and the data's name.
    diagnosis
        What `pyrovae.diagnose` said of this tree, if it was asked before.
    overwrite
        Replace the file if it exists.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    TypeError
        If ``tree`` is no ArviZ tree.
    ValueError
        If ``path`` is a folder or does not end in .html or .htm.
    FileExistsError
        If the file exists and ``overwrite`` is False.
    """
    if not isinstance(tree, xr.DataTree):
        raise TypeError(
            f"expected an ArviZ tree (xarray.DataTree), as pv.posterior returns it, got {type(tree).__name__}"
        )
    path = Path(path)
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path: expected the name of a file that ends in .html, got {str(path)!r}")
    refuse_existing(path, overwrite)
    page = _render(tree, title, diagnosis)
    with replacing(path) as work:
        work.write_text(page, encoding="utf-8")
    return path


def _render(tree: xr.DataTree, title: str | None, diagnosis: Diagnosis | None) -> str:
    fit, draws = settings(tree)
    text = resources.files("pyrovae.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    data = tree.attrs.get("data")
    name = f"{tree.attrs.get('program', 'Program')}{f' on {data}' if data else ''}"
    return environment.from_string(text).render(
        title=name if title is None else title,
        diagnosis=_diagnosis(tree, diagnosis),
        sections=[draw(section, tree) for section in SECTIONS],
        fit=fit,
        draws=draws,
        versions=versions(tree),
        contents=contents(tree),
        note=tree.attrs.get("note", ""),
    )


def _diagnosis(tree: xr.DataTree, found: Diagnosis | None) -> dict[str, Any]:
    """What the template shows of `pyrovae.diagnose`; ``reason`` if there is nothing to show."""
    try:
        found = diagnose(tree) if found is None else found
    except Exception as error:
        reason = str(error)
        if not isinstance(error, ValueError):  # a fault, not a lack: told, and the rest is still written
            reason = f"the checks failed ({type(error).__name__}: {error})"
            warnings.warn(f"report: {reason}", RuntimeWarning, stacklevel=4)
        return {
            "reason": reason,
            "verdict": "not available",
            "kind": "none",
            "summary": "",
            "title": "",
            "rows": [],
        }
    rows = [
        {
            "cells": [(column, head, cell(column, row[column])) for column, head in HEADS.items()],
            "kind": _kind(row["verdict"]),
        }
        for _, row in found.table.iterrows()
    ]
    kind = _kind(found.verdict)
    return {
        "reason": "",
        "verdict": found.verdict,
        "kind": kind,
        "summary": found.summary,
        "title": found.title,
        "heads": list(HEADS.values()),
        "rows": rows,
    }


def _kind(verdict: str) -> str:
    """The style of a verdict."""
    return verdict if verdict in ("good", "usable", "bad") else "none"
