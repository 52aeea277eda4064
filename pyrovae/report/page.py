"""Write the report."""

from __future__ import annotations

import base64
import hashlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from pyrovae._atomic import refuse_existing, replacing
from pyrovae.diagnostics import Diagnosis, diagnose, pareto_k
from pyrovae.diagnostics.diagnosis import HEADS, cell
from pyrovae.diagnostics.reliability import KNOWN
from pyrovae.report.explore import explorer
from pyrovae.report.sections import SECTIONS, Section, draw
from pyrovae.report.settings import contents, settings, versions

__all__ = ["write"]

EXPLORED = "latent"
"""The section that the interactive plot leads."""
IN_MEMORY = 2**29  # bytes: a lazily read tree up to this size is read once, not once a figure


def write(
    tree: xr.DataTree,
    path: str | Path,
    *,
    title: str | None = None,
    diagnosis: Diagnosis | None = None,
    sections: Sequence[Section] = SECTIONS,
    overwrite: bool = False,
) -> Path:
    """Write what is known of a tree as one HTML file, with all figures in it: verdicts first, then the evidence.

    The page needs no network, reads on a phone, and prints; only its plot of single data, each with its reconstruction
    and its figures, needs scripts. It appears whole or not at all. What the tree does not allow is said to be not
    available, with the reason.

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
    sections
        The figures, in order; add to ``pv.report.SECTIONS`` what a plot of your own, or of another result, shows.
    overwrite
        Replace the file if it exists.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    TypeError
        If ``tree`` is no ArviZ tree, or another argument of another kind.
    ValueError
        If ``path`` is a folder or does not end in .html or .htm.
    FileExistsError
        If the file exists and ``overwrite`` is False.
    """
    if not isinstance(tree, xr.DataTree):
        raise TypeError(
            f"expected an ArviZ tree (xarray.DataTree), as pv.posterior returns it, got {type(tree).__name__}"
        )
    if not isinstance(path, (str, Path)):
        raise TypeError(f"path: expected the name of a file that ends in .html, got {type(path).__name__}")
    if diagnosis is not None and not isinstance(diagnosis, Diagnosis):
        raise TypeError(f"diagnosis: expected what pv.diagnose returned, got {type(diagnosis).__name__}")
    if not isinstance(sections, Sequence) or not all(isinstance(s, Section) for s in sections):
        raise TypeError(
            f"sections: expected several pv.report.Section, such as pv.report.SECTIONS[:3], got {sections!r}"
        )
    path = Path(path)
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path: expected the name of a file that ends in .html, got {str(path)!r}")
    refuse_existing(path, overwrite)
    page = _render(tree, title, diagnosis, sections)
    with replacing(path) as work:
        work.write_text(page, encoding="utf-8")
    return path


def _render(tree: xr.DataTree, title: str | None, diagnosis: Diagnosis | None, sections: Sequence[Section]) -> str:
    held = contents(tree)
    tree = _at_hand(tree)
    fit, draws = settings(tree)
    data = tree.attrs.get("data")
    name = f"{tree.attrs.get('program', 'Program')}{f' on {data}' if data else ''}"
    verdicts = _diagnosis(tree, diagnosis)
    drawn = [draw(section, tree) for section in sections]
    explored = _explorer(tree) if any(d.image and d.section.id == EXPLORED for d in drawn) else None
    script = _read("explore.js") if explored else ""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=name if title is None else title,
        diagnosis=verdicts,
        drawn=[d for d in drawn if d.image],
        lacking=[d for d in drawn if not d.image],
        explored=explored,
        explored_section=EXPLORED,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        fit=fit,
        draws=draws,
        versions=versions(tree),
        contents=held,
        note=tree.attrs.get("note", ""),
    )


def _at_hand(tree: xr.DataTree) -> xr.DataTree:
    """A shallow copy that holds what several figures need: the tree in memory, if it is small, and k̂ of each datum."""
    out = tree.copy()
    if tree.nbytes <= IN_MEMORY:
        out.load()
    with suppress(ValueError):  # those who need it say why
        out[KNOWN] = xr.DataTree(pareto_k(out))
    return out


def _read(name: str) -> str:
    """A file that lies beside this one."""
    return resources.files("pyrovae.report").joinpath(name).read_text(encoding="utf-8").strip() + "\n"


def _explorer(tree: xr.DataTree) -> dict[str, Any] | None:
    """What the interactive plot needs; None without latents of each datum, or after a fault, which is told."""
    try:
        return explorer(tree)
    except ValueError:
        return None
    except Exception as error:
        warnings.warn(f"report, plot of single data: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=4)
        return None


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
        "heads": [head for column, head in HEADS.items() if column != "action"],
        "rows": rows,
    }


def _kind(verdict: str) -> str:
    """The style of a verdict."""
    return verdict if verdict in ("good", "usable", "bad") else "none"
