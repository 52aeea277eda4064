"""Several processes: what they come to together is what one comes to, or they say why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file
from torch import Tensor

import pyrovae as pv
from pyrovae.svi.processes import Processes
from tests.engines import answer, vae
from tests.processes import CASES, DRAWN, REFUSED, drawn

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes came to."""
    out = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "tests/processes.py", str(out)]
    known = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return out


def words(folder: Path, rank: int) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / f"words.{rank}.json").read_text())
    return found


def assert_as_one(folder: Path, name: str, one: tuple[pv.Fit, dict[str, Tensor]]) -> None:
    """Both processes have the same bits, and those of one process but for rounding.

    With products in bfloat16 the sum of two rounded gradients is not the rounded gradient: with steps of Adam, which
    are as long for a small gradient as for a large one, a weight may be off by as much as it moves; bounds are not.
    """
    first, second = (load_file(folder / f"{name}.{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value.nan_to_num(), second[key].nan_to_num()), key
    fit, weights = one
    expected = {f"weight.{n}": v for n, v in weights.items()}
    expected |= {f"history.{n}": torch.as_tensor(v.values) for n, v in fit.history.items() if n != "seconds"}
    assert first.keys() == expected.keys()
    for key, value in expected.items():
        if fit.settings["precision"] == "bf16":
            rtol, atol = 1e-3, 1e-2 * int(fit.settings["epochs"]) if key.startswith("weight") else 0.0
        else:
            rtol, atol = 1e-5, 2e-5 if key.startswith("weight") else 1e-6
        np.testing.assert_allclose(first[key].numpy(), value.numpy(), rtol=rtol, atol=atol, err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_come_to_what_one_does(folder: Path, name: str) -> None:
    make, x, settings = CASES[name]
    assert_as_one(folder, name, answer(make, "traced", x, **settings))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shared_is_refused(folder: Path, name: str) -> None:
    for rank in range(2):
        said = words(folder, rank)[name]
        assert REFUSED[name][2] in said or (rank == 0 and "another differs" in said), said


def test_a_process_that_fails_does_not_leave_the_other_waiting(folder: Path) -> None:
    first, second = words(folder, 0)["fails"], words(folder, 1)["fails"]
    assert second == "OSError: no space left"
    assert first == "ProcessError: process 0 of 2 stopped, as process 1 failed: OSError: no space left"


def test_processes_that_drift_apart_are_stopped(folder: Path) -> None:
    for rank in range(2):
        assert (
            f"after epoch 1 process {rank} of 2 and another one no longer have the same weights"
            in (words(folder, rank)["drifts"])
        )


def test_one_callback_stops_all(folder: Path) -> None:
    assert_as_one(folder, "stops", answer(vae, "traced", callbacks=[lambda end: end.epoch == 1]))


def test_weights_come_from_the_first(folder: Path) -> None:
    def newly_drawn() -> pv.VAE:
        torch.manual_seed(1)
        return vae()

    assert_as_one(folder, "other first weights", answer(newly_drawn, "traced"))


def test_a_checkpoint_and_a_folder_are_written_by_the_first(folder: Path) -> None:
    assert_as_one(folder, "resumed", answer(vae, "traced"))
    first, second = words(folder, 0), words(folder, 1)
    assert "interrupted" in first["interrupted"] + second["interrupted"]
    assert first["saved"] == second["saved"] == "['run.json']"
    assert first["saved again"].startswith("FileExistsError")
    assert second["saved again"].startswith("ProcessError: process 0 could not save")
    fit = pv.load(folder / "run", vae())
    assert fit.settings["engine_reason"] == "2 processes share each batch"
    assert (folder / "alone" / "run.json").exists()


@pytest.mark.parametrize("name", DRAWN)
def test_draws_are_written_by_all(folder: Path, name: str, tmp_path: Path) -> None:
    assert [words(folder, rank)["draws"] for rank in range(2)] == ["nothing", "nothing"]
    fit = pv.load(folder / "run", vae())
    one = drawn(name, tmp_path / "one.zarr", fit)
    ours = xr.open_datatree(folder / f"{name}.zarr", engine="zarr", consolidated=False, chunks=None)
    xr.testing.assert_identical(ours, one)
    if name == "missing":
        assert (~ours["constant_data"]["mask"]).values.nonzero() == (70, 1)
    if name == "several":
        chunks = ours["posterior"]["z"].encoding["chunks"]
        assert chunks[2] == 32  # a block of data
        xr.testing.assert_identical(xr.open_datatree(folder / "several.nc").load(), drawn(name, None, fit))


def test_draws_that_cannot_be_written(folder: Path) -> None:
    assert all(words(folder, rank)["exists"].startswith("FileExistsError") for rank in range(2))
    assert words(folder, 1)["full disk"] == "OSError: disk full"
    assert (
        words(folder, 0)["full disk"] == "ProcessError: process 0 of 2 stopped, as process 1 failed: OSError: disk full"
    )
    assert not (folder / "full.zarr").exists()


def test_one_process_is_the_first_of_one() -> None:
    alone, tensor = Processes(), torch.ones(3)
    alone.broadcast([tensor])
    alone.check_same({"a": 1})
    assert (alone.first, alone.any(False), alone.check_epoch(0, [tensor], {}, True)) == (True, False, True)


def test_an_environment_that_lacks_where_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="lacks RANK, MASTER_ADDR, MASTER_PORT"):
        answer(vae, "auto")
