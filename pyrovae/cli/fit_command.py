"""``pyrovae fit``: from a model file and data to weights, draws, verdicts and a report."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pyrovae.cli.model_file import parse_settings, read_model
from pyrovae.cli.run_folder import DRAWS, REPORT, RunFolder
from pyrovae.data import Data, load
from pyrovae.svi import Fit, NonFiniteError
from pyrovae.svi import fit as fit_program

__all__ = ["FitOptions", "run"]

CHECKPOINT_SECONDS = 10.0
DRAWS_PER_DATUM = 1000
MOST_DRAWS, FEWEST_PER_DATUM = 2_000_000, 100  # draws of all data together, unless --draws says otherwise


@dataclass(frozen=True)
class FitOptions:
    """The options of ``pyrovae fit``, as its help describes them."""

    model: Path
    data: str
    out: Path
    settings: tuple[str, ...]
    epochs: int
    lr: float
    batch_size: int
    seed: int
    restarts: int
    engine: str
    precision: str
    patience: int | None
    draws: int | None
    binarize: str | None
    columns: tuple[str, ...] | None
    test: str | None
    overwrite: bool
    resume: bool
    report: bool
    quiet: bool


def run(options: FitOptions) -> None:
    """Fit, save, draw, judge and report; each error leaves an older run in the folder as it was."""
    folder = RunFolder(options.out)
    try:
        _run(options, folder)
    except KeyboardInterrupt:
        mend = (
            "run the same command with --resume in place of --overwrite, if that was given, to go on"
            if folder.resumable
            else "no checkpoint had been written yet, so there is nothing to go on from"
        )
        typer.secho(f"interrupted: {mend}", fg="red", err=True)
        raise typer.Exit(130) from None
    finally:
        folder.remove_checkpoint(only_if_empty=True)


def _run(options: FitOptions, folder: RunFolder) -> None:
    def say(text: str) -> None:
        if not options.quiet:
            typer.echo(text)

    folder.refuse(options.overwrite, options.resume)
    settings = parse_settings(options.settings)
    model = read_model(options.model)
    model.check(settings)
    data = model.prepare(load(options.data, binarize=options.binarize, columns=options.columns), settings)
    train, test = data.split(test=_size(options.test))
    say(f"{data!r}, {len(train):,} to train on, {len(test):,} held out")
    program = model.build(train, settings, options.seed)
    what = {
        "model": options.model.name,
        "set": _plain(settings),
        "data": options.data,
        "binarize": options.binarize,
        "columns": None if options.columns is None else list(options.columns),
        "test": options.test,
    }
    if options.overwrite:
        folder.remove_checkpoint()
    folder.begin(what)
    record = {
        **what,
        "model": str(options.model),
        "title": f"{options.model.stem} on {data.name}",
        **_training(options),
    }
    fit = _fit(options, folder, program, train, test, record)
    say(repr(fit))
    folder.save(fit, record)
    _judge(options, folder, fit, test, record["title"], say)
    folder.remove_checkpoint()


def _fit(options: FitOptions, folder: RunFolder, program: Any, train: Data, test: Data, record: dict[str, Any]) -> Fit:
    try:
        return fit_program(
            program,
            train,
            validation=test,
            lr=options.lr,
            epochs=options.epochs,
            batch_size=options.batch_size,
            patience=options.patience,
            seed=options.seed,
            restarts=options.restarts,
            engine=options.engine,
            precision=options.precision,
            resume=folder.path,
            checkpoint_seconds=CHECKPOINT_SECONDS,
            progress=not options.quiet,
        )
    except NonFiniteError as error:
        folder.save(error.fit, record)
        folder.remove_checkpoint()
        raise ValueError(f"{error}. The fit so far is in {folder.path}") from error


def _judge(options: FitOptions, folder: RunFolder, fit: Fit, test: Data, title: str, say: Any) -> None:
    """Draws, verdicts, report."""
    from pyrovae.diagnostics import diagnose
    from pyrovae.draws import posterior

    draws = options.draws
    if draws is None:
        draws = max(FEWEST_PER_DATUM, min(DRAWS_PER_DATUM, MOST_DRAWS // (len(test) * len(fit.chains))))
        if draws < DRAWS_PER_DATUM:
            say(f"{len(test):,} held-out data: {draws} draws each, not {DRAWS_PER_DATUM:,} (--draws sets the number)")
    store, again = folder.path / DRAWS, options.overwrite or options.resume
    with _busy(options, f"drawing {draws:,} for each of {len(test):,} held-out data"):
        tree = posterior(fit, test, draws=draws, seed=options.seed, path=store, overwrite=again)
    with _busy(options, "judging the draws"):
        diagnosis = diagnose(tree)
    say(str(diagnosis))
    written = [DRAWS, "run.json"]
    if options.report:
        from pyrovae.report import write

        with _busy(options, "writing the report"):
            write(tree, folder.path / REPORT, title=title, diagnosis=diagnosis, overwrite=True)
        written.insert(0, REPORT)
    say(f"written to {folder.path}: {', '.join(written)}")


def _busy(options: FitOptions, what: str) -> AbstractContextManager[Any]:
    """A line that says what is being done meanwhile, on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    return nullcontext() if options.quiet or not console.is_terminal else console.status(f"{what} …")


def _training(options: FitOptions) -> dict[str, Any]:
    names = ("epochs", "lr", "batch_size", "seed", "restarts", "engine", "precision", "patience", "draws")
    return {name: getattr(options, name) for name in names}


def _size(text: str | None) -> int | float | None:
    """A count or a fraction, as `Data.split` takes it."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--test {text}: expected a fraction such as 0.2, or a count such as 300") from None


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON holds them, the rest as their text."""

    def plain(value: Any) -> Any:
        try:
            return json.loads(json.dumps(value))
        except (TypeError, ValueError):
            return repr(value)

    return {key: plain(value) for key, value in settings.items()}
