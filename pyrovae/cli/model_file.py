"""Model files: a Python file with ``build(data, **hyperparameters)``, ours or the user's, loaded by its path.

It may have ``prepare(data, **hyperparameters)`` too, which is given all data before they are split, and returns them as
the model takes them: their labels as a context, say. Each of the two gets the hyperparameters that it has.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrovae._rng import preserved, seed_all
from pyrovae.cli.hints import misfit

__all__ = ["ModelFile", "ModelFileError", "parse_settings", "read_model"]


class ModelFileError(ValueError):
    """A model file that cannot be run, or does not build."""


@dataclass(frozen=True)
class ModelFile:
    """A model file, its ``build`` and, if it has one, its ``prepare``."""

    path: Path
    function: Callable[..., Any]
    preparation: Callable[..., Any] | None = None

    def check(self, settings: dict[str, Any]) -> None:
        """Refuse hyperparameters that ``build`` does not have or are of another type, and the lack of those it needs.

        Raises
        ------
        ModelFileError
            Listing its hyperparameters with their defaults, and the nearest name.
        """
        own: dict[str, inspect.Parameter] = {}
        wrong: dict[str, str] = {}
        open_ended = False
        for name, function in (("build", self.function), ("prepare", self.preparation)):
            if function is None:
                continue
            first, *rest = inspect.signature(function).parameters.values() or (None,)
            if first is None or first.kind is first.KEYWORD_ONLY:
                raise ModelFileError(f"{self.path}: {name} takes no data: expected {name}(data, **hyperparameters)")
            own |= {p.name: p for p in rest if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
            wrong |= {n: words for n in own.keys() & settings if (words := misfit(function, n, settings[n]))}
            open_ended |= any(p.kind is p.VAR_KEYWORD for p in (first, *rest))
        takes = ", ".join(n if p.default is p.empty else f"{n}={p.default!r}" for n, p in own.items()) or "none"
        if not open_ended:
            for name in settings:
                if name not in own:
                    close = difflib.get_close_matches(name, own, n=1)
                    hint = f" (did you mean {close[0]!r}?)" if close else ""
                    raise ModelFileError(f"{self.path}: build has no {name!r}{hint}. Its hyperparameters: {takes}")
        for name, words in wrong.items():
            raise ModelFileError(f"{self.path}: --set {name}: expected {words}, got {settings[name]!r}")
        lacking = [n for n, p in own.items() if p.default is p.empty and n not in settings]
        if lacking:
            raise ModelFileError(
                f"{self.path}: build needs {', '.join(lacking)}: give {' '.join(f'--set {n}=…' for n in lacking)}. "
                f"Its hyperparameters: {takes}"
            )

    def prepare(self, data: Any, settings: dict[str, Any]) -> Any:
        """The data as the model takes them.

        Raises
        ------
        ModelFileError
            With what ``prepare`` raised and the line it came from.
        """
        if self.preparation is None:
            return data
        with preserved(), _importable(self.path), _located(self.path):
            seed_all(0)
            return self.preparation(data, **_known(self.preparation, settings))

    def build(self, data: Any, settings: dict[str, Any], seed: int) -> Any:
        """The program for these data, its initial weights drawn from ``seed``.

        Raises
        ------
        ModelFileError
            With what ``build`` raised and the line it came from.
        """
        with preserved(), _importable(self.path), _located(self.path):
            seed_all(seed)
            return self.function(data, **_known(self.function, settings))


def read_model(path: Path) -> ModelFile:
    """Run a model file and take its ``build``. Files beside it can be imported by it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is not Python, raises, or has no function ``build``.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such model file: {path}")
    if path.suffix != ".py":
        raise ModelFileError(
            f"{path}: expected a Python file, MODEL.py, with a function build(data, **hyperparameters)"
        )
    full = path.resolve()
    name = f"_pyrovae_model_{full.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise ModelFileError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look their module up
    with _importable(path), _located(path):
        spec.loader.exec_module(module)
    build = getattr(module, "build", None)
    if not callable(build):
        raise ModelFileError(f"{path} has no function build(data, **hyperparameters) that returns a program")
    prepare = getattr(module, "prepare", None)
    return ModelFile(path, build, prepare if callable(prepare) else None)


def _known(function: Callable[..., Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings that a function takes."""
    known = inspect.signature(function).parameters
    everything = any(p.kind is p.VAR_KEYWORD for p in known.values())
    return {name: value for name, value in settings.items() if everything or name in known}


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as a dict: values are Python literals where they can be read as such, else texts.

    >>> parse_settings(["latents=4", "hidden=(64, 64)", "guide=normal"])
    {'latents': 4, 'hidden': (64, 64), 'guide': 'normal'}
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise ValueError(f"--set {pair}: expected KEY=VALUE, such as --set latents=4")
        if key in settings:
            raise ValueError(f"--set {key} is given twice")
        try:
            settings[key] = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError):
            settings[key] = text
    return settings


@contextmanager
def _importable(path: Path) -> Iterator[None]:
    """A block in which the files beside a model file can be imported."""
    folder = str(path.resolve().parent)
    sys.path.append(folder)  # last, so that they shadow nothing
    try:
        yield
    finally:
        sys.path.remove(folder)


@contextmanager
def _located(path: Path) -> Iterator[None]:
    """Errors of the user's code, with the line of the model file that they came through."""
    try:
        yield
    except Exception as error:
        full = str(path.resolve())
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == full]
        if isinstance(error, SyntaxError) and error.filename == full:
            lines = [error.lineno]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ModelFileError(f"{where}: {kind}{text}") from error
