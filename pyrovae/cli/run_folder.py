"""The folder that a run of ``pyrovae fit`` writes: what in it is ours, and when it may be written to."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.svi import Fit, RunFolderError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["CLI", "DRAWS", "REPORT", "RunFolder"]

RUN, DRAWS, REPORT, CLI = "run.json", "posterior.zarr", "report.html", "cli.json"
STATES = "state-*.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """A folder with run.json, state-….safetensors, posterior.zarr, report.html and cli.json, and checkpoint/ meanwhile.

    An older run stays as it is until a new fit has ended, and nothing but these names is ever removed.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Where an interrupted run keeps its state."""
        return self.path / "checkpoint"

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.checkpoint / RUN).is_file()

    def refuse(self, overwrite: bool, resume: bool) -> None:
        """Raise `FileExistsError` or `RunFolderError` where a run is in the way, or there is none to go on with."""
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file: give --out another name")
        found = [name for name in (RUN, DRAWS, REPORT) if (self.path / name).exists()]
        if resume and not self.resumable and found:
            raise RunFolderError(
                f"{self.path} holds no checkpoint to go on from, only {', '.join(found)}: its run has ended, or was "
                "stopped before the first checkpoint. Use --overwrite to fit anew"
            )
        if not (overwrite or resume) and (found or self.resumable):
            what = "a run" if found else "an interrupted run"
            mend = "--resume to go on with it, " if self.resumable else ""
            raise FileExistsError(f"{self.path} holds {what}: use {mend}--overwrite to replace it, or another --out")

    def begin(self, record: dict[str, Any]) -> None:
        """Note what is being fitted, or compare it with what was.

        Raises
        ------
        RunFolderError
            If the checkpoint is of other settings, naming them.
        """
        if self.resumable:
            before, now = _read(self.checkpoint / CLI), json.loads(json.dumps(record))
            other = [f"{k}: {before.get(k)!r} then, {now[k]!r} now" for k in now if before and before.get(k) != now[k]]
            if other:
                raise RunFolderError(
                    f"{self.path} holds a checkpoint of a run with other settings ({'; '.join(other)}): use the same "
                    "settings, or another folder"
                )
        self.checkpoint.mkdir(parents=True, exist_ok=True)
        _write(self.checkpoint / CLI, record)

    def save(self, fit: Fit, record: dict[str, Any]) -> None:
        """Put a fit in the place of the run that was there."""
        self.remove_run()
        fit.save(self.path, overwrite=True)
        _write(self.path / CLI, record)

    def record(self) -> dict[str, Any]:
        """What cli.json says; empty if there is none."""
        return _read(self.path / CLI)

    def draws(self) -> xr.DataTree:
        """The draws, read as they are needed.

        Raises
        ------
        FileNotFoundError
            If the folder holds none.
        ValueError
            If they cannot be read.
        """
        import xarray as xr

        store = self.path / DRAWS
        if not store.is_dir():
            raise FileNotFoundError(f"{self.path} holds no {DRAWS}: give the folder of a finished pyrovae fit")
        try:
            return xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None)
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            raise ValueError(f"{store} cannot be read ({type(error).__name__}: {error}): fit again") from error

    def remove_run(self) -> None:
        """Remove the files of a run, and nothing else."""
        for name in (RUN, REPORT, CLI):
            (self.path / name).unlink(missing_ok=True)
        for state in self.path.glob(STATES):
            state.unlink()
        draws = self.path / DRAWS
        if draws.is_dir() and not draws.is_symlink():
            shutil.rmtree(draws)
        else:
            draws.unlink(missing_ok=True)

    def remove_checkpoint(self, *, only_if_empty: bool = False) -> None:
        """Remove the checkpoint; with ``only_if_empty``, the folder made for one that was never written."""
        if not self.checkpoint.is_dir() or (only_if_empty and self.resumable):
            return
        for name in (RUN, CLI):
            (self.checkpoint / name).unlink(missing_ok=True)
        for state in self.checkpoint.glob(STATES):
            state.unlink()
        for unfinished in self.checkpoint.glob(".writing-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if not any(self.checkpoint.iterdir()):
            self.checkpoint.rmdir()


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunFolderError(f"{path} is damaged ({error}): remove it, or use --overwrite") from error
    return record if isinstance(record, dict) else {}


def _write(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
