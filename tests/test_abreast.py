"""Chains abreast: what they come to one after another, and each by itself where that cannot be."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

import pyrovae as pv
from pyrovae.objectives import MMD, Discrepancy
from pyrovae.schedules import linear
from pyrovae.svi.chain import Chain
from pyrovae.svi.engines.abreast import Abreast
from tests.engines import Answer, answer, assert_same, vae
from tests.programs import gaussian, hierarchy, small_vae

ABREAST = "3 chains abreast"


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps pay."""
    monkeypatch.setattr("pyrovae.svi.engines.choose.RECORDED", 1)


def both(make: Callable[[], Any], says: str = ABREAST, x: Any = None, **settings: Any) -> tuple[Answer, Answer]:
    """Under auto, and one after another by Python, to rounding."""
    settings = {"restarts": 3, "epochs": 5} | settings
    theirs, ours = (answer(make, engine, x, **settings) for engine in ("eager", "auto"))
    assert says in ours[0].settings["engine_reason"], ours[0].settings
    close(ours, theirs)
    return ours, theirs


def close(ours: Answer, theirs: Answer) -> None:
    assert len(ours[0].chains) == len(theirs[0].chains)
    for mine, other in zip(ours[0].chains, theirs[0].chains, strict=True):
        assert mine.keys() == other.keys()
        for name, value in other.items():
            torch.testing.assert_close(mine[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert set(ours[0].history) == set(theirs[0].history)
    for name in theirs[0].history:
        if "second" not in name:
            np.testing.assert_allclose(ours[0].history[name], theirs[0].history[name], rtol=1e-4, err_msg=name)
    for name, value in theirs[1].items():  # the best chain
        torch.testing.assert_close(ours[1][name], value, rtol=1e-4, atol=1e-5)


class Normalised(nn.Sequential):
    """Running statistics, and a buffer that is another in each step."""

    ema: Tensor

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4))
        self.register_buffer("ema", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.ema = 0.9 * self.ema + 0.1 * x[:, 0].mean()
        out: Tensor = super().forward(x)
        return out + self.ema


def covariates() -> pv.VAE:
    return vae(pv.networks.MLP(4, (4,), 4, context=2), pv.networks.MLP(2, (4,), 4, context=2))


def missing() -> pv.VAE:
    return vae(pv.networks.MLP(4, (4,), 4, mask=True))


def gaps() -> Tensor:
    x = gaussian(70)
    x[::3, 1] = math.nan
    return x


PROGRAMS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "a smaller last batch": (vae, {"x": gaussian(70)}),
    "running statistics": (lambda: vae(Normalised()), {}),
    "pyro.param": (hierarchy, {}),
    "a schedule in the objective": (lambda: vae(loss=pv.objectives.Beta(linear(0.1, 1.0, 4))), {}),
    "an objective with a kernel": (lambda: vae(loss=Discrepancy(MMD(), weight=5.0, kl=1.0)), {"batch_size": 30}),
    "an objective that takes notes": (
        lambda: vae(loss=pv.objectives.TotalCorrelation(2.0)),
        {"x": gaussian(70), "batch_size": 30},
    ),
    "covariates": (covariates, {"context": torch.linspace(-1, 1, 120).reshape(60, 2)}),
    "missing cells": (missing, {"x": gaps()}),
    "binarised anew": (
        lambda: small_vae(4, total=1),
        {"x": pv.Data(torch.linspace(0, 1, 240).reshape(60, 4)).binarize("dynamic")},
    ),
    "clipped": (vae, {"clip_norm": 0.3}),
    "an ELBO of several draws": (
        lambda: vae(loss=pyro.infer.Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)),
        {},
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_chains_come_to_the_same(name: str) -> None:
    make, settings = PROGRAMS[name]
    both(make, **settings)


def test_chains_that_stop_at_different_times() -> None:
    """Patience, the best weights, and a bound on held-out data."""
    (fit, _), _ = both(
        vae, validation=gaussian(20, seed=1), patience=1, epochs=30, lr=0.05, restarts=4, says="4 chains"
    )
    lengths = np.isfinite(fit.history["elbo"]).sum("epoch").values
    assert len(set(lengths)) > 1


def gamma() -> Any:
    """A draw whose distribution is in its kernel."""
    rate = nn.Linear(4, 2)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(*rate(x).exp().unbind(-1)))

    program = pv.Program(model, guide)
    program.rate = rate
    return program


class Shifted(nn.Linear):
    """A layer with something more, which `more` has."""

    def __init__(self, **more: Any) -> None:
        super().__init__(4, 4)
        vars(self).update(more)


class Counts(Shifted):
    """Python that steps change, and a restart resets."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        out: Tensor = super().forward(x)
        return out * (1 + 0.01 * self.count)


class Draws(Shifted):
    """Python that is drawn with the weights."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.scale = float(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return out * self.scale


class Remembers(Shifted):
    """A buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        out: Tensor = super().forward(x + self.mean)
        return out


class Batchwise(Remembers):
    """A buffer as large as the batch."""

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x.detach()
        return nn.functional.linear(x, self.weight, self.bias)


class Expanded(Remembers):
    """A buffer whose cells are one."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.ones(1).expand(4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x + self.mean, self.weight, self.bias)


class Warms(Shifted):
    """A schedule that is a number of Python."""

    def advance(self, epoch: int) -> None:
        self.factor = 1.0 if epoch < 3 else 2.0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return self.factor * out


class Thaws(Shifted):
    """A layer that is frozen for the last epochs."""

    def advance(self, epoch: int) -> None:
        self.weight.requires_grad_(epoch < 3)


class Turned(Shifted):
    """Noise that is not laid out as it is drawn."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return nn.functional.dropout(out.t(), 0.2, self.training).t()


def tied() -> pv.VAE:
    """Two parameters in the same memory."""
    encoder, decoder = nn.Linear(4, 4), nn.Linear(2, 4)
    decoder.weight.data = encoder.weight.data[:, :2]
    return vae(encoder, decoder)


@pytest.mark.parametrize(
    ("says", "make"),
    [
        ("what it draws depends on what it computes", gamma),
        ("count changes", lambda: vae(Counts(count=0))),
        ("scale changes, which chains would share", lambda: vae(Draws(scale=1.0))),
        ("factor changes", lambda: vae(Warms(factor=1.0))),
        ("weight changes", lambda: vae(Thaws())),
        ("a buffer changes that is not saved", lambda: vae(Remembers())),
        ("a buffer becomes one of another shape", lambda: vae(Batchwise())),
        ("two of its tensors share memory", lambda: vae(Expanded())),
        ("two of its tensors share memory", tied),
        ("what it draws", lambda: vae(Turned())),
    ],
)
def test_one_chain_after_another(says: str, make: Callable[[], Any]) -> None:
    """To the bit: nothing is left of the attempt."""
    settings = {"restarts": 3, "epochs": 6}
    theirs, ours = (answer(make, engine, gaussian(70), **settings) for engine in ("eager", "auto"))
    said = ours[0].settings
    assert said["engine"] == "eager" or "one chain after another: " in said["engine_reason"]
    assert says in said["engine_reason"]
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    "settings",
    [
        {"engine": "traced"},
        {"callbacks": [lambda end: None]},
        {"restarts": 1},
        {"schedule": lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5)},
        {"optimizer": torch.optim.SGD},
    ],
)
def test_what_is_not_abreast(settings: dict[str, Any]) -> None:
    settings = {"restarts": 3, "engine": "auto"} | settings
    fit, _ = answer(vae, **settings)
    assert "abreast" not in fit.settings["engine_reason"]
    assert "after another" not in fit.settings["engine_reason"]


def test_steps_of_an_attempt_that_is_dropped_are_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    answer(lambda: vae(Warms(factor=1.0)), "auto", restarts=3, epochs=6, progress=True)
    said = capsys.readouterr().err
    assert "fit: 54 steps" in said
    assert "one chain after another: factor changes" in said


def test_what_no_restart_draws_is_told_once() -> None:
    program = lambda: vae(Turned(), Scaled())  # noqa: E731
    with pytest.warns(UserWarning, match="every chain starts from the same") as told:
        answer(program, "auto", restarts=3)
    assert len([w for w in told if "every chain" in str(w.message)]) == 1


class Scaled(nn.Module):
    """Without `reset_parameters`."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * z.repeat(1, 2)


@pytest.mark.parametrize("rows", [20, 10])
def test_an_answer_that_is_wrong_is_not_taken(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of the last batch of an epoch, after steps that were right."""
    right = Abreast.__call__

    def wrong(self: Abreast, noise: Any, held: Any, batch: Any) -> list[Tensor]:
        by = 1.001 if batch[0].shape[1] == rows else 1.0
        return [by * t for t in right(self, noise, held, batch)]

    monkeypatch.setattr(Abreast, "__call__", wrong)
    both(vae, "other numbers", gaussian(70))


def test_a_program_that_changes_unseen() -> None:
    """Found when the recording is looked at again: then one chain after another, which find it and say so."""
    hidden = SimpleNamespace(factor=1.0)
    deep: Any = hidden
    for _ in range(7):
        deep = SimpleNamespace(inner=deep)

    class Hidden(nn.Linear):
        def advance(self, epoch: int) -> None:
            self._reach().factor = 1.0 if epoch < 4 else 0.5

        def _reach(self) -> Any:
            at = deep
            while hasattr(at, "inner"):
                at = at.inner
            return at

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = super().forward(x)
            return self._reach().factor * out

    with pytest.warns(UserWarning, match="changed, at some time in the last"):
        fit, _ = answer(lambda: vae(Hidden(4, 4)), "auto", restarts=3, epochs=20)
    assert fit.settings["engine"] == "eager"


@pytest.mark.parametrize(("chain", "at"), [(0, 0), (1, 0), (1, 4), (2, 7)])
def test_a_number_that_is_not_finite(chain: int, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error, the chains that it has and their history are those of chains one after another."""
    epochs = Chain.epochs

    def spoiled(self: Chain, bar: Any) -> Any:
        for wanted in epochs(self, bar):
            if wanted and (self.number, len(self.history.epochs)) == (chain, at):
                with torch.no_grad():
                    next(self.program.parameters()).fill_(math.inf)
            yield wanted

    monkeypatch.setattr(Chain, "epochs", spoiled)
    errors = []
    for engine in ("eager", "auto"):
        with pytest.raises(pv.NonFiniteError) as caught:
            answer(vae, engine, restarts=3, epochs=9)
        errors.append(caught.value)
    theirs, ours = errors
    assert str(ours) == str(theirs)
    assert f"chain {chain + 1}" in str(ours)
    assert len(ours.fit.chains) == len(theirs.fit.chains) == chain + 1
    np.testing.assert_allclose(ours.fit.history["elbo"], theirs.fit.history["elbo"], rtol=1e-5)


@pytest.mark.parametrize(("patience", "at"), [(None, 25), (1, 0)])
def test_an_interrupted_run_goes_on(
    patience: int | None, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit; also where a chain had stopped."""
    settings = {"restarts": 4, "epochs": 20, "patience": patience, "lr": 0.05, "validation": gaussian(20, seed=1)}
    whole = answer(vae, "auto", **settings)
    ends = np.sort(np.isfinite(whole[0].history["elbo"]).sum("epoch").values)
    mean, calls = Chain._mean, iter(range(10_000))
    at = at or int(np.minimum(ends, ends[0] + 1).sum())  # the last step of the others after the first has stopped

    def stop(self: Chain) -> float:
        if next(calls) == at:
            raise KeyboardInterrupt
        return mean(self)

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "_mean", stop)
        with pytest.raises(KeyboardInterrupt):
            answer(vae, "auto", resume=tmp_path, checkpoint_seconds=0, **settings)
    again = answer(vae, "auto", resume=tmp_path, **settings)
    assert "4 chains abreast" in again[0].settings["engine_reason"]
    for ours, theirs in zip(again[0].chains, whole[0].chains, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("elbo", "elbo_step", "learning_rate"):
        np.testing.assert_array_equal(again[0].history[name], whole[0].history[name])


def test_the_seconds_of_an_epoch_are_shared() -> None:
    import time

    began = time.perf_counter()
    fit, _ = answer(vae, "auto", restarts=3, epochs=20)
    assert float(fit.history["seconds"].sum()) <= time.perf_counter() - began


class Branches(nn.Linear):
    """On a value."""

    def __init__(self) -> None:
        super().__init__(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return out if bool(x.sum() > 0) else -out


def test_what_cannot_be_recorded_runs_as_python() -> None:
    fit, _ = answer(lambda: vae(Branches()), "auto", restarts=3)
    assert fit.settings["engine"] == "eager"
