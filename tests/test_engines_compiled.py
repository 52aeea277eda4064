"""Compiled steps: those that are replayed, to rounding; and what happens where there is no compiler."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

import pyrovae as pv
from pyrovae.objectives import MMD, Discrepancy
from pyrovae.schedules import linear
from pyrovae.svi.engines.block import Block
from pyrovae.svi.engines.compiled import missing_compiler
from tests.engines import Answer, answer, assert_same, vae
from tests.programs import gaussian, hierarchy
from tests.test_engines import broken

needs_a_compiler = pytest.mark.skipif(
    missing_compiler(torch.device("cpu")) is not None, reason="there is no C++ compiler"
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inductor")


@pytest.fixture
def cache(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(kept))


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of a block as their graph, which needs no compiler."""
    monkeypatch.setattr("pyrovae.svi.engines.choose.missing_compiler", lambda device: None)
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, given, options: graph)


def assert_close(ours: Answer, theirs: Answer) -> None:
    assert ours[0].settings["engine"] == "compiled", ours[0].settings["engine_reason"]
    for name, value in theirs[1].items():
        torch.testing.assert_close(ours[1][name], value, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert set(ours[0].history) == set(theirs[0].history)
    for name in theirs[0].history:
        if "second" not in name:
            np.testing.assert_allclose(ours[0].history[name], theirs[0].history[name], rtol=1e-4, err_msg=name)


class Busy(nn.Sequential):
    """Layers with running statistics and noise, and a buffer that is another in each step."""

    ema: Tensor

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 4))
        self.register_buffer("ema", torch.zeros(()))
        self.register_buffer("before", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.ema, self.before = 0.9 * self.ema + 0.1 * x[:, 0].mean(), self.ema
        out: Tensor = super().forward(x)
        return out + self.ema - self.before


def busy() -> pv.VAE:
    return vae(Busy(), loss=Discrepancy(MMD(), weight=linear(1.0, 5.0, 3), kl=1.0))


@needs_a_compiler
@pytest.mark.usefixtures("cache")
def test_compiled_steps_come_to_the_same() -> None:
    """Two steps in a call, and a smaller batch that is replayed."""
    make = lambda: vae(Busy())  # noqa: E731
    theirs, ours = (answer(make, engine, gaussian(50), clip_norm=0.5) for engine in ("eager", "compiled"))
    assert_close(ours, theirs)


PROGRAMS: dict[str, Callable[[], Any]] = {"parts": vae, "busy": busy, "pyro.param": hierarchy}
SETTINGS: dict[str, dict[str, Any]] = {
    "cosine and clipped": {"clip_norm": 0.5},
    "weight decay": {"optimizer": functools.partial(torch.optim.Adam, weight_decay=0.1, betas=(0.8, 0.9), fused=True)},
    "restarts": {"restarts": 2, "schedule": lambda o: lr_scheduler.StepLR(o, 1, 0.3)},
}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("program", PROGRAMS)
def test_blocks_of_steps(program: str) -> None:
    settings = dict(zip(PROGRAMS, SETTINGS.values(), strict=True))[program]
    theirs, ours = (answer(PROGRAMS[program], engine, **settings) for engine in ("eager", "compiled"))
    assert_close(ours, theirs)


class Turned(nn.Linear):
    """Noise that is not laid out as it is drawn."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return nn.functional.dropout(out.t(), 0.2, self.training).t()


@pytest.mark.usefixtures("uncompiled")
def test_noise_that_is_laid_out_otherwise() -> None:
    make = lambda: vae(Turned(4, 4))  # noqa: E731
    theirs, ours = (answer(make, engine, gaussian(70)) for engine in ("eager", "compiled"))
    assert_close(ours, theirs)


def tied() -> pv.VAE:
    encoder, decoder = nn.Linear(4, 4), nn.Linear(2, 4)
    decoder.weight.data = encoder.weight.data[:, :2]
    return vae(encoder, decoder)


def expanded() -> pv.VAE:
    encoder = nn.BatchNorm1d(4, affine=False, track_running_stats=False)
    encoder.register_buffer("shift", torch.ones(1).expand(4), persistent=False)
    return vae(nn.Sequential(nn.Linear(4, 4), encoder))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("make", [tied, expanded])
def test_tensors_in_the_same_memory_are_not_compiled(make: Callable[[], Any]) -> None:
    theirs, ours = (answer(make, engine, gaussian(70)) for engine in ("eager", "compiled"))
    assert "share memory" in ours[0].settings["engine_reason"]
    assert_same(ours, theirs)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("dynamic", [False, True])
def test_draws_of_several_steps(dynamic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn at once or, where batches are drawn between them, one by one: the same numbers as in Python."""
    blocks: list[Block] = []
    monkeypatch.setattr(Block, "_set_rates", lambda self, then=Block._set_rates: blocks.append(self) or then(self))
    x = pv.Data(torch.rand(70, 4)).binarize("dynamic") if dynamic else gaussian(70)
    theirs, ours = (answer(vae, engine, x, batch_size=16) for engine in ("eager", "compiled"))
    assert_close(ours, theirs)
    assert {block.together is None for block in blocks} == {dynamic}


@pytest.mark.usefixtures("uncompiled")
def test_each_step_is_counted() -> None:
    """Two blocks of eight, a step on a full batch and one on a smaller one: the optimiser knows of them all."""
    made: list[torch.optim.Adam] = []

    def adam(parameters: Any, lr: float) -> torch.optim.Adam:
        made.append(torch.optim.Adam(parameters, lr, fused=True))
        return made[-1]

    theirs, ours = (answer(vae, engine, gaussian(70), batch_size=4, optimizer=adam) for engine in ("eager", "compiled"))
    assert_close(ours, theirs)
    assert [{float(state["step"]) for state in one.state.values()} for one in made] == [{3.0 * 18}] * 2


@pytest.mark.usefixtures("uncompiled")
def test_a_changed_program_is_compiled_again() -> None:
    """Weights in other memory, and one that is no longer trained."""

    def make() -> Any:
        program = vae()
        layer = program.parts["guide"].network.layers[0]

        def change(end: Any) -> None:
            if end.epoch == 2:
                layer.weight.data = 0.5 * layer.weight.data
            if end.epoch == 3:
                layer.bias.requires_grad_(False)

        return program, {"callbacks": [change], "epochs": 6}

    assert_close(answer(make, "compiled"), answer(make, "eager"))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ("betas", {"schedule": lambda o: lr_scheduler.OneCycleLR(o, 1e-2, total_steps=3)}),
        ("only plain torch.optim.Adam", {"optimizer": torch.optim.SGD}),
        ("only plain torch.optim.Adam", {"optimizer": torch.optim.AdamW}),
    ],
)
def test_what_is_not_compiled_is_replayed(said: str, settings: dict[str, Any]) -> None:
    theirs, ours = (answer(vae, engine, **settings) for engine in ("eager", "compiled"))
    assert (ours[0].settings["engine"], said in ours[0].settings["engine_reason"]) == ("traced", True)
    assert_same(ours, theirs) if said != "betas" else None


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("by", [math.inf, 1e25])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_number_that_is_not_finite(by: float, clip_norm: float | None) -> None:
    ours, theirs = (broken(engine, by, clip_norm=clip_norm) for engine in ("compiled", "eager"))
    assert ours[0] == theirs[0]
    for name, value in theirs[1].items():
        torch.testing.assert_close(ours[1][name], value, rtol=1e-4, atol=1e-4)


@needs_a_compiler
@pytest.mark.usefixtures("cache")
def test_a_number_that_is_not_finite_in_compiled_code() -> None:
    ours, theirs = (broken(engine, 1e25, clip_norm=1.0, batch_size=30) for engine in ("compiled", "eager"))
    assert ours[0] == theirs[0]


def test_without_a_compiler_the_steps_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = answer(vae, "traced")
    for name, value in (("CXX", "/nowhere/g++"), ("PATH", "")):
        with monkeypatch.context() as patch:
            patch.delenv("CXX", raising=False)
            patch.setenv(name, value)
            ours = answer(vae, "compiled")
        assert ours[0].settings["engine"] == "traced"
        assert "no C++ compiler was found: install g++" in ours[0].settings["engine_reason"]
        assert_same(ours, traced)


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("\n  internal compiler error: please submit a bug report\nmore")

    monkeypatch.setattr("pyrovae.svi.engines.choose.missing_compiler", lambda device: None)
    monkeypatch.setattr(torch._inductor, "compile", fails)
    ours = answer(vae, "compiled")
    assert ours[0].settings["engine"] == "traced"
    assert "the compiler failed: RuntimeError: internal compiler error" in ours[0].settings["engine_reason"]
    assert_same(ours, answer(vae, "traced"))


def test_a_compiler_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that come to other losses are thrown away."""

    def wrong(graph: Any, given: Any, options: Any) -> Any:
        return lambda *args: [1.001 * value for value in graph(*args)]

    monkeypatch.setattr("pyrovae.svi.engines.choose.missing_compiler", lambda device: None)
    monkeypatch.setattr(torch._inductor, "compile", wrong)
    ours = answer(vae, "compiled")
    assert "its steps give losses that differ by 1.0e-03" in ours[0].settings["engine_reason"]
    assert_same(ours, answer(vae, "traced"))


def test_that_compiling_takes_a_while_is_told_before_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("pyrovae.svi.progress._Bar.note", lambda self, text: told.append(text))
    monkeypatch.setattr(torch._inductor, "compile", lambda *a, **k: [][0])
    fit, _ = answer(vae, "compiled")
    assert fit.settings["engine"] == "traced"
    assert told == ["compiling: up to a minute the first time, some seconds when it is found on disk"]


@pytest.mark.usefixtures("uncompiled")
def test_chains_share_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Block] = []
    compile_one = Block._compile
    monkeypatch.setattr(Block, "_compile", lambda block, batch: (made.append(block), compile_one(block, batch))[1])
    theirs, ours = (answer(vae, engine, restarts=3) for engine in ("eager", "compiled"))
    assert_close(ours, theirs)
    assert len(made) == 1
