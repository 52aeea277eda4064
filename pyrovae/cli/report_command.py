"""``pyrovae report``: the verdicts on a run, and its report."""

from __future__ import annotations

from pathlib import Path

import typer
import xarray as xr

from pyrovae.cli.run_folder import DRAWS, REPORT, RunFolder

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
    store = directory / DRAWS
    if not store.is_dir():
        raise FileNotFoundError(f"{directory} holds no {DRAWS}: give the folder of a finished pyrovae fit")
    try:
        tree = xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None)
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise ValueError(f"{store} cannot be read ({type(error).__name__}: {error}): fit again") from error
    diagnosis = diagnose(tree)
    typer.echo(str(diagnosis))
    title = folder.record().get("title")
    path = write(tree, directory / REPORT, title=title, diagnosis=diagnosis, overwrite=True)
    typer.echo(f"written: {path}")
