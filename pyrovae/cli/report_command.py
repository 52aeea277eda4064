"""``pyrovae report``: the verdicts on a run, and its report."""

from __future__ import annotations

from pathlib import Path

import typer

from pyrovae.cli.run_folder import REPORT, RunFolder

__all__ = ["run"]


def run(directory: Path) -> None:
    """Print the verdicts and rewrite report.html.

    Raises
    ------
    FileNotFoundError
        If the folder holds no draws.
    ValueError
        If they cannot be read.
    """
    from pyrovae.diagnostics import diagnose
    from pyrovae.report import write

    folder = RunFolder(directory)
    tree = folder.draws()
    diagnosis = diagnose(tree)
    typer.echo(str(diagnosis))
    title = folder.record().get("title")
    path = write(tree, directory / REPORT, title=title, diagnosis=diagnosis, overwrite=True)
    typer.echo(f"written: {path}")
