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
from pyrovae.svi.engines.lanes import Lanes
from tests.engines import Answer, answer, vae
from tests.programs import gaussian, hierarchy, small_vae

ABREAST = "3 chains abreast"


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps pay."""
    monkeypatch.setattr("pyrovae.svi.engines.choose.RECORDED", 1)


def both(make: Callable[[], Any], says: str = ABREAST, x: Any = None, **settings: Any) -> tuple[Answer, Answer]:
    """Abreast, and one after another by Python, to rounding."""
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
        lambda: vae(loss=pyro.infer.Trace_ELBO(num_particles=3, vectorize_particles=True)),
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


def plateau(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)


@pytest.mark.parametrize(
    ("says", "make", "settings"),
    [
        ("what it draws depends on what it computes", gamma, {}),
        ("other learning rates", vae, {"schedule": plateau, "lr": 0.05, "epochs": 12}),
    ],
)
def test_each_chain_by_itself(says: str, make: Callable[[], Any], settings: dict[str, Any]) -> None:
    both(make, says, **settings)


@pytest.mark.parametrize("settings", [{"engine": "traced"}, {"callbacks": [lambda end: None]}, {"restarts": 1}])
def test_what_is_not_abreast(settings: dict[str, Any]) -> None:
    settings = {"restarts": 3, "engine": "auto"} | settings
    fit, _ = answer(vae, **settings)
    assert "abreast" not in fit.settings["engine_reason"]


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
    """Found when a chain's recording is looked at again: from there on they run as Python."""

    hidden = SimpleNamespace(factor=1.0)
    deep: Any = hidden
    for _ in range(7):
        deep = SimpleNamespace(inner=deep)

    class Hidden(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            at = deep
            while hasattr(at, "inner"):
                at = at.inner
            return at.factor * super().forward(x)

    def plan(optimizer: torch.optim.Optimizer) -> Any:
        def rate(epoch: int) -> float:
            hidden.factor = 1.0 if epoch < 4 else 0.5
            return 1.0

        return lr_scheduler.LambdaLR(optimizer, rate)

    with pytest.warns(UserWarning, match="changed, at some time in the last"):
        fit, _ = answer(lambda: vae(Hidden(4, 4)), "auto", restarts=3, epochs=20, schedule=plan)
    assert fit.settings["engine"] == "eager"


def test_a_program_that_changes() -> None:
    """What is looked at: a schedule that is a number of Python."""

    class Warm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.factor = nn.Linear(4, 4), 1.0

        def advance(self, epoch: int) -> None:
            self.factor = 1.0 if epoch < 4 else 2.0

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net(x)
            return self.factor * out

    both(lambda: vae(Warm()), epochs=10)


@pytest.mark.parametrize("at", [1, 3])
def test_a_number_that_is_not_finite(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second chain: the error is that of chains one after another, and has the chains until then."""
    take = Lanes.take
    epochs = iter(range(100))

    def spoiled(self: Lanes, *given: Any) -> Any:
        if next(epochs) == at:
            index = next(i for i, t in enumerate(self.tensors) if t.dim() == 2)
            self.held[index][1, 0, 0] = math.inf
        return take(self, *given)

    monkeypatch.setattr(Lanes, "take", spoiled)
    with pytest.raises(pv.NonFiniteError, match=f"epoch {at + 1}, step 1, chain 2") as caught:
        answer(vae, "auto", restarts=3, epochs=6)
    assert len(caught.value.fit.chains) == 2
    assert caught.value.fit.history.sizes["chain"] == 2


def test_the_chains_of_an_error_are_as_they_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that had stopped goes on beside the others, and is not looked at."""
    settings = {"restarts": 4, "epochs": 30, "patience": 1, "lr": 0.05, "validation": gaussian(20, seed=1)}
    whole, _ = answer(vae, "auto", **settings)
    lengths = np.isfinite(whole.history["elbo"]).sum("epoch").values
    first = int(lengths.argmin())
    take, without = Lanes.take, iter(range(100))

    def spoiled(self: Lanes, lanes: Any, recordings: Any) -> Any:
        if first not in lanes and lanes[-1] > first and next(without):
            index = next(i for i, t in enumerate(self.tensors) if t.dim() == 2)
            self.held[index][lanes[-1], 0, 0] = math.inf
        return take(self, lanes, recordings)

    monkeypatch.setattr(Lanes, "take", spoiled)
    with pytest.raises(pv.NonFiniteError) as caught:
        answer(vae, "auto", **settings)
    ended = caught.value.fit
    assert len(ended.chains) > first + 1
    assert all(torch.equal(ended.chains[first][name], value) for name, value in whole.chains[first].items())


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
