"""``pyrovae compare``: which of several runs describes the same held-out data best."""

from __future__ import annotations

from pathlib import Path

import typer

from pyrovae.cli.run_folder import RunFolder

__all__ = ["run"]


def run(directories: list[Path]) -> None:
    """Print the comparison of the runs' held-out log p(x), the best first.

    Raises
    ------
    FileNotFoundError
        If a folder holds no draws.
    ValueError
        If there are fewer than two runs, one is given twice, or they are not of the same data.
    """
    from pyrovae.diagnostics import compare

    if len(directories) < 2 or len({d.resolve() for d in directories}) < len(directories):
        raise ValueError(f"expected the folders of at least two different runs, got {', '.join(map(str, directories))}")
    table = compare({str(d): RunFolder(d).draws() for d in directories})
    typer.echo(table.to_string(float_format=lambda value: f"{value:.2f}"))
    typer.echo(
        "\nelpd: held-out log p(x), summed over the data, in nats; elpd_diff: how far below the best, and dse its "
        "standard error, paired by datum; bad_k: share of the data whose log p(x) may be too low (k̂)"
    )
