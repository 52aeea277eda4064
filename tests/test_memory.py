"""Fits that need more memory than there is: a plainer engine goes on, and if it cannot, the error says what would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrovae as pv
from pyrovae._memory import is_out_of_memory, memory_told
from pyrovae.svi.engines.block import Block
from pyrovae.svi.engines.traced import Traced
from tests.engines import answer, assert_same, vae
from tests.programs import gaussian

ERRORS = {"GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "Python": MemoryError()}


class Wide(nn.Module):
    """A layer that asks for a petabyte once it has been called so often."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.layer, self.left = nn.Linear(2, 4), calls

    def forward(self, z: Tensor) -> Tensor:
        self.left -= self.training
        if not self.left:
            torch.empty(2**50)
        return self.layer(z)  # type: ignore[no-any-return]


def test_what_a_processor_says() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**50)
    assert is_out_of_memory(found.value)
    with pytest.raises(RuntimeError, match="sizes") as other, memory_told("this", "do that"):
        raise RuntimeError("sizes")
    assert not is_out_of_memory(other.value)
    assert other.value.__cause__ is None


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_what_is_said_keeps_its_kind(error: Exception) -> None:
    said = "^this needs more memory than there is: do that"
    with pytest.raises(type(error), match=said) as found, memory_told("this", "do that"):
        raise error
    assert found.value.__cause__ is error


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_recorded_steps_are_left_to_python(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the third epoch, which is run again from its start: to the bit."""
    steps: list[Any] = []

    def step(self: Traced, *given: Any) -> Any:
        steps.append(self)
        if len(steps) == 7:
            raise error
        return then(self, *given)

    then = Traced.step
    theirs = answer(vae, "eager", epochs=4)
    monkeypatch.setattr(Traced, "step", step)
    ours = answer(vae, "traced", epochs=4)
    assert len(steps) == 7
    assert ours[0].settings["engine"] == "eager"
    assert "its steps need more memory than there is" in ours[0].settings["engine_reason"]
    assert_same(ours, theirs)


def test_compiled_steps_are_left_to_recorded_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Block, *given: Any) -> Any:
        if self.taken or len(calls) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        calls.append(self)
        return then(self, *given)

    calls: list[Block] = []
    then = Block.run
    monkeypatch.setattr("pyrovae.svi.engines.choose.missing_compiler", lambda device: None)
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, given, options: graph)
    monkeypatch.setattr(Block, "run", run)
    theirs, ours = (answer(vae, engine, epochs=5) for engine in ("traced", "compiled"))
    assert len(calls) == 2
    assert ours[0].settings["engine"] == "traced"
    assert "its steps need more memory than there is" in ours[0].settings["engine_reason"]
    for name, value in theirs[1].items():
        torch.testing.assert_close(ours[1][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["eager", "traced"])
def test_nothing_helps(engine: str, tmp_path: Path) -> None:
    """The error says what would, and what was trained is not lost."""

    def fit(calls: int, folder: Path) -> pv.Fit:
        torch.manual_seed(0)
        options = {"epochs": 4, "batch_size": 20, "checkpoint_seconds": 0, "engine": engine, "progress": False}
        return pv.fit(vae(decoder=Wide(calls)), gaussian(60), resume=folder, **options)

    whole = fit(-1, tmp_path / "whole")
    said = r"training on batches of 20 data needs more memory than there is: give fit a smaller batch_size.*allocate"
    with pytest.raises(RuntimeError, match=said):
        fit(12, tmp_path / "part")
    again = fit(-1, tmp_path / "part")
    for name, value in whole.chains[0].items():
        assert torch.equal(again.chains[0][name], value), name
