"""Run folders and checkpoints: safetensors and JSON, written atomically. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from itertools import zip_longest
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pyrovae._part import Part
from pyrovae.program import Program, as_program
from pyrovae.svi.distributed import by_first
from pyrovae.svi.result import Fit

__all__ = ["RunFolderError", "load", "read_state", "save", "write_state"]

FORMAT = "pyrovae run 1"
STATE, SETTINGS = "state.safetensors", "run.json"


class RunFolderError(ValueError):
    """A run folder that is missing, damaged, or not of this package or program."""


def save(fit: Fit, directory: str | Path, *, overwrite: bool = False) -> Path:
    """See `Fit.save`."""
    directory = Path(directory)
    by_first(f"save {directory}", lambda: _write(fit, directory, overwrite))
    return directory


def _write(fit: Fit, directory: Path, overwrite: bool) -> None:
    if (directory / SETTINGS).exists() and not overwrite:
        raise FileExistsError(f"{directory} already holds a run: give another folder, or overwrite=True to replace it")
    history = {
        "dims": {name: list(map(str, variable.dims)) for name, variable in fit.history.items()},
        "attrs": fit.history.attrs,
    }
    state = {
        "chains": [dict(chain) for chain in fit.chains],
        "history": {name: torch.as_tensor(variable.values.copy()) for name, variable in fit.history.items()},
        "settings": fit.settings,
        "layout": history,
        "program": _made_of(fit.program),
    }
    write_state(directory, state)


def load(directory: str | Path, program: Any) -> Fit:
    """Read a run folder into a program built as it was for the run.

    Parameters
    ----------
    directory
        What `Fit.save` wrote.
    program
        The same program, newly built; its weights are replaced.

    Raises
    ------
    RunFolderError
        If the folder is missing, damaged or truncated, of another package, or of a program with other sizes, columns or
        fixed numbers. One that differs in what it prints alone is warned of.
    """
    import xarray as xr

    program = as_program(program)
    state = read_state(Path(directory))
    try:
        layout, values = state["layout"], state["history"]
        history = xr.Dataset(
            {name: (dims, values[name].numpy()) for name, dims in layout["dims"].items()}, attrs=layout["attrs"]
        )
        history = history.assign_coords({str(d): range(size) for d, size in history.sizes.items()})
        fit = Fit(program, history, state["settings"], state["chains"])
        best = fit.chains[fit.best]
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        raise RunFolderError(f"{directory} holds no finished run ({type(error).__name__}: {error})") from error
    then = state.get("program", _made_of(program))
    _compare(directory, then, program)
    try:
        program.load_weights(best)
    except ValueError as error:
        raise RunFolderError(f"{directory}: {error}") from error
    _warn_other(directory, then["parts"], repr(program))
    return fit


def _made_of(program: Program) -> dict[str, Any]:
    """What weights do not tell: how the program prints itself, its columns, and the numbers it was given."""
    kept = program.state_dict().keys()
    fixed = {
        f"{where}.{name}": buffer
        for where, part in program.named_modules()
        if isinstance(part, Part)
        for name, buffer in part.named_buffers(recurse=False)
        if f"{where}.{name}" not in kept and not name.startswith("_start") and buffer.is_floating_point()
    }
    columns = [[c.name, c.kind, list(c.levels)] for c in getattr(program, "columns", None) or ()]
    return {"parts": repr(program), "columns": columns, "fixed": fixed}


def _compare(directory: str | Path, then: dict[str, Any], program: Program) -> None:
    """Refuse a program whose weights might fit, and would mean something else."""
    now = _made_of(program)
    if then["columns"] != now["columns"]:
        was, came = next((a, b) for a, b in zip_longest(then["columns"], now["columns"]) if a != b)
        raise RunFolderError(
            f"{directory}: the run was of a table with the column {was}, and this program has {came} in its place. "
            "Build it with the columns of the run"
        )
    for name in then["fixed"].keys() & now["fixed"].keys():
        a, b = then["fixed"][name], now["fixed"][name].cpu()
        if a.shape == b.shape and not torch.allclose(a.to(b.dtype), b, rtol=1e-3, equal_nan=True):
            shown = " then, ".join(f"{v.item():g}" if v.numel() == 1 else f"a tensor {tuple(v.shape)}" for v in (a, b))
            raise RunFolderError(
                f"{directory}: {name.replace('._', '.')} was given another value, {shown} now. Build the program as it "
                "was built for the run"
            )


def _warn_other(directory: str | Path, then: str, now: str) -> None:
    """Say so if the weights fit a program that prints itself differently."""
    if then != now:
        pairs = zip_longest(then.split("\n"), now.split("\n"), fillvalue="")
        was, came = next((a.strip(" ,"), b.strip(" ,")) for a, b in pairs if a != b)
        warnings.warn(
            f"{directory}: the weights fit, and the run was of another program: {was} then, {came} now",
            UserWarning,
            stacklevel=3,
        )


def write_state(directory: Path, state: dict[str, Any]) -> None:
    """Write a nest of dicts, lists, tensors and JSON scalars as one folder, whole or not at all.

    The two files are written beside the folder and moved in one by one, tensors first; the JSON names the tensors'
    file by its contents, so that a pair torn by a crash is recognised.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    skeleton = _flatten(state, "", tensors)
    work = Path(tempfile.mkdtemp(prefix=".writing-", dir=directory))
    try:
        file = work / STATE
        safetensors.torch.save_file(tensors, file)
        digest = _digest(file)
        name = f"state-{digest[:16]}.safetensors"
        document = {"format": FORMAT, "tensors": name, "sha256": digest, "state": skeleton}
        (work / SETTINGS).write_text(json.dumps(document, indent=1))
        for path in (file, work / SETTINGS):
            path.chmod(0o666 & ~_umask())
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())
        os.replace(file, directory / name)
        os.replace(work / SETTINGS, directory / SETTINGS)
        for old in directory.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def read_state(directory: Path) -> dict[str, Any]:
    """Read what `write_state` wrote.

    Raises
    ------
    RunFolderError
        If it is missing, damaged or of another package.
    """
    path = directory / SETTINGS
    if not path.is_file():
        raise RunFolderError(f"{directory} is not a run folder: it has no {SETTINGS}. Give the folder of a saved fit")
    try:
        document = json.loads(path.read_text())
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise RunFolderError(
                f"{path} is not of this version of pyrovae: expected format {FORMAT!r}, got "
                f"{document.get('format') if isinstance(document, dict) else type(document).__name__!r}"
            )
        file = directory / Path(str(document["tensors"])).name
        if not file.is_file():
            raise RunFolderError(f"{directory} is damaged: {file.name} is missing. Restore it, or fit again")
        if _digest(file) != document["sha256"]:
            raise RunFolderError(
                f"{directory} is damaged: {file.name} is not what {SETTINGS} says (truncated or altered). Restore "
                "it from a copy, or fit again"
            )
        state: dict[str, Any] = _unflatten(document["state"], safetensors.torch.load_file(file))
        return state
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, safetensors.SafetensorError, OSError) as error:
        raise RunFolderError(
            f"{directory} is damaged ({type(error).__name__}: {error}). Restore it from a copy, or fit again"
        ) from error


def _umask() -> int:
    """What new files of this process may not have; safetensors makes its own readable by the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _digest(file: Path) -> str:
    import hashlib

    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, _flatten(v, f"{path}/{key}", tensors)] for key, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_flatten(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(
        f"{path or 'state'}: cannot keep a {type(value).__name__} in a run folder, which holds tensors and JSON only"
    )


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "dict" in value:
            return {key: _unflatten(v, tensors) for key, v in value["dict"]}
        return [_unflatten(v, tensors) for v in value["list"]]
    return value
