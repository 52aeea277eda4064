"""The commands and their options. What they need is imported when they run, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "main"]

EXPECTED = (ValueError, TypeError, KeyError, OSError, ImportError)

app = typer.Typer(
    name="pyrovae",
    help="Fit variational autoencoders and see what of the result can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Binarize(StrEnum):
    """How to make binary data of values in [0, 1]."""

    dynamic = "dynamic"
    static = "static"
    threshold = "threshold"


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Errors that a user can mend become one message and exit code 1, an interruption exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.secho("interrupted", fg="red", err=True)
        raise typer.Exit(130) from None
    except EXPECTED as error:
        if debug:
            raise
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error) or type(error).__name__
        if not isinstance(error, (ValueError, OSError)):  # perhaps a fault of ours, or of the model's
            text += f" ({type(error).__name__}; --debug shows where)"
        typer.secho(f"error: {text}", fg="red", err=True)
        raise typer.Exit(1) from None


def _version(show: bool) -> None:
    if show:
        from pyrovae import __version__

        typer.echo(f"pyrovae {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Fit variational autoencoders and see what of the result can be trusted."""


@app.command()
def fit(
    model: Annotated[Path, typer.Argument(metavar="MODEL.py", help="A file with build(data, **hyperparameters).")],
    data: Annotated[str, typer.Option(metavar="NAME|FILE", help="A data set's name (see pyrovae data), or a file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the run goes: weights, draws, report.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter of build; repeatable.")
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Passes through the training data.")] = 200,
    lr: Annotated[float, typer.Option(metavar="X", help="Learning rate of Adam.")] = 4e-3,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Data per step.")] = 100,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of weights, training and draws; not of the split.")
    ] = 0,
    restarts: Annotated[int, typer.Option(metavar="N", min=1, help="Independent chains; the best one is kept.")] = 1,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="How steps run: eager, traced, compiled, or auto.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="Of matrix products: float32, or bf16 where that is faster.")
    ] = "float32",
    patience: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Stop after so many epochs without gain on the held-out data."),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Posterior draws per datum; 1,000 unless the data are very many."),
    ] = None,
    binarize: Annotated[
        Binarize | None, typer.Option(metavar="HOW", help="Make the data binary: dynamic, static or threshold.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Columns of a table to take; all by default.")
    ] = None,
    test: Annotated[
        str | None, typer.Option(metavar="FRACTION|COUNT", help="Data to hold out, if not the published test set.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is in DIR.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run that is in DIR.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.html.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Fit a model file to data, draw from its posterior, and report what can be trusted.

    DIR then holds run.json and the weights (pv.load), posterior.zarr (the draws, for ArviZ), report.html and cli.json.
    """
    if overwrite and resume:
        raise typer.BadParameter(
            "--overwrite starts anew and --resume goes on: give one of them", param_hint="--resume"
        )
    with reported(debug):
        from pyrovae.cli.fit_command import FitOptions, run

        run(
            FitOptions(
                model=model,
                data=data,
                out=out,
                settings=tuple(set_ or ()),
                epochs=epochs,
                lr=lr,
                batch_size=batch_size,
                seed=seed,
                restarts=restarts,
                engine=engine,
                precision=precision,
                patience=patience,
                draws=draws,
                binarize=None if binarize is None else binarize.value,
                columns=None if columns is None else tuple(name.strip() for name in columns.split(",")),
                test=test,
                overwrite=overwrite,
                resume=resume,
                report=not no_report,
                quiet=quiet,
            )
        )


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run of pyrovae fit.")],
    debug: Debug = False,
) -> None:
    """Print the verdicts on a run once more and rewrite its report.html."""
    with reported(debug):
        from pyrovae.cli.report_command import run

        run(directory)


@app.command()
def compare(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR DIR …", help="The folders of runs on the same data.")
    ],
    debug: Debug = False,
) -> None:
    """Compare runs on the same held-out data by their log p(x), with standard errors paired by datum."""
    with reported(debug):
        from pyrovae.cli.compare_command import run

        run(directories)


@app.command("data")
def data_sets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help="A data set to describe.")] = None,
    debug: Debug = False,
) -> None:
    """List the data sets that have a name, or describe one."""
    with reported(debug):
        from pyrovae.data import load, names

        if name is not None:
            typer.echo(repr(load(name)))
            return
        from rich.console import Console
        from rich.table import Table

        table = Table("name", "what", "on this machine", box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for key, known in names().items():
            table.add_row(key, known.description, "yes" if known.local else "fetched at first use")
        Console().print(table)


def main() -> None:
    """The console script."""
    app()
