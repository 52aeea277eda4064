"""Engines: what a recorded run comes to is what Python comes to, bit for bit, or it is Python that runs."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn
from torch.optim import lr_scheduler

import pyrovae as pv
import pyrovae._products
from pyrovae import objectives
from pyrovae.networks import MLP
from pyrovae.objectives import MMD, Adversarial, Beta, Discrepancy, LearnedSimilarity, TotalCorrelation
from pyrovae.schedules import linear
from tests.engines import answer, assert_same, same, vae
from tests.programs import gaussian, hierarchy, shared_components, small_vae, tutorial

MODELS = sorted(path.stem for path in (Path(__file__).parents[1] / "models").glob("*.py"))
VALUES, NOTHING = "it asks for the value of a tensor", "nothing in it is trained by gradients"
AS_PYTHON = {  # the models that cannot be recorded, and why
    "evolutionary": VALUES,  # Pyro's sum over the guide's states
    "semi_supervised": VALUES,  # Pyro's enumeration
    "supervised": VALUES,
    "ppca_em": NOTHING,
    "sparse_coding": NOTHING,
}


@pytest.fixture(autouse=True)
def one_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large products as torch has them, which another library rounds otherwise (`tests/test_products.py`)."""
    monkeypatch.setattr(pyrovae._products, "on_amd", lambda: False)


@pytest.mark.parametrize("name", MODELS)
def test_each_model_comes_to_the_same(name: str) -> None:
    module, digits = importlib.import_module(f"models.{name}"), pv.data.load("digits")
    data = (module.prepare(digits) if hasattr(module, "prepare") else digits).take(slice(0, 200))
    same(lambda: module.build(data), data, epochs=2, batch_size=100, falls=AS_PYTHON.get(name, ""))


# programs


def shared() -> pv.Program:
    """A latent outside the plate, a factor, and gradients that are not laid out as their parameters are."""
    weight = PyroModule[nn.Module]()
    weight.w, weight.v = nn.Parameter(0.1 * torch.randn(2, 4, 3)), nn.Parameter(torch.randn(5, 3))

    def model(x: Tensor) -> None:
        pyro.module("weight", weight)
        m = pyro.sample("m", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        pyro.factor("push", -0.1 * weight.v.sum())
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            mean = torch.einsum("bi,koi->bko", z, weight.w).permute(0, 2, 1).sum(-1)
            pyro.sample("x", dist.Normal(m + mean, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        loc, scale = pyro.param("loc", torch.zeros(4)), pyro.param("scale", torch.ones(4), dist.constraints.positive)
        a = pyro.param("a", lambda: 0.1 * torch.randn(3, 4))
        pyro.sample("m", dist.Normal(loc, scale).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.einsum("bi,oi->bo", x, a), 0.5).to_event(1))

    return pv.Program(model, guide)


def subsampled() -> pv.Program:
    """A program that writes the size of the whole set itself."""

    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.tensor(0.0), 1.0))
        with pyro.plate("data", size=60, subsample_size=len(x)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        loc = pyro.param("loc", torch.tensor(0.3))
        pyro.sample("m", dist.Normal(loc, pyro.param("scale", torch.tensor(0.5), dist.constraints.positive)))

    return pv.Program(model, guide)


class Own(PyroModule):
    """A guide with parameters of Pyro's kind."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = PyroParam(torch.zeros(4))
        self.scale = PyroParam(torch.tensor(0.7), constraint=dist.constraints.positive)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.loc, self.scale))


def with_pyro_params() -> pv.Program:
    def model(x: Tensor) -> None:
        slope = pyro.param("slope", torch.ones(4))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None] * slope, 1.0).to_event(1), obs=x)

    return pv.Program(model, Own())


class Tied(nn.Module):
    """One parameter in two modules, one that is in one batch size alone, one that is none of the loss's."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.sometimes = nn.Parameter(torch.ones(4))
        self.never = nn.Parameter(torch.ones(4), requires_grad=False)

    def reset_parameters(self) -> None:
        self.a.reset_parameters()
        nn.init.ones_(self.sometimes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x).tanh())
        return out * self.sometimes if len(x) == 20 else out


def table() -> pv.VAE:
    return pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(MLP(2, (4,), 4), 1.0), pv.guides.Table(60, 2))


def discrete(estimator: str) -> Any:
    return pv.VAE(
        pv.priors.Bernoulli(3),
        pv.likelihoods.Normal(MLP(3, (4,), 4), 1.0),
        pv.guides.Bernoulli(MLP(4, (4,), 3), estimator=estimator),
    )


def normalised() -> pv.VAE:
    dropped = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4))
    return vae(dropped, MLP(2, (4,), 4, norm="layer"))


PROGRAMS: dict[str, Callable[[], Any]] = {
    "outside the plate": shared,
    "subsamples itself": subsampled,
    "pyro.param": hierarchy,
    "pyro.module": tutorial,
    "PyroParam": with_pyro_params,
    "tied": lambda: vae(Tied()),
    "rows": table,
    "batch normalisation and dropout": normalised,
    "float64": lambda: vae().double(),
    "score function": lambda: discrete("score"),
}
FALLS = {"sum over states": lambda: discrete("enumerate"), "shared components": shared_components}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    x = {"pyro.module": (gaussian(60, 6) > 0).float(), "float64": gaussian(60).double(), "tied": gaussian(70)}.get(name)
    same(PROGRAMS[name], x, clip_norm=1.0 if name in ("outside the plate", "tied") else None)


@pytest.mark.parametrize("name", FALLS)
def test_programs_that_ask_for_values(name: str) -> None:
    same(FALLS[name], falls=f"{VALUES} in Pyro's traceenum_elbo.py", epochs=2)


def test_missing_cells() -> None:
    x = gaussian(70)
    x[::3, 1] = math.nan
    same(lambda: vae(MLP(4, (4,), 4, mask=True)), x)


def test_covariates() -> None:
    same(lambda: vae(MLP(4, (4,), 4, context=2), MLP(2, (4,), 4, context=2)), context=torch.randn(60, 2))


def test_draws_are_new_in_each_step() -> None:
    grey = pv.Data(torch.rand(60, 4)).binarize("dynamic")
    fit, _ = same(lambda: small_vae(4, total=1), grey)
    same_batch, _ = same(vae, batch_size=60, lr=1e-12, epochs=6)
    for steps in (fit.history["elbo_step"], same_batch.history["elbo_step"]):
        assert len(np.unique(steps)) == steps.size
    again, _ = answer(lambda: small_vae(4, total=1), "traced", grey)
    np.testing.assert_array_equal(again.history["elbo_step"], fit.history["elbo_step"])


# settings

adam = torch.optim.Adam
OPTIMISERS: dict[str, Any] = {
    "SGD": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "AdamW": torch.optim.AdamW,
    "RMSprop": torch.optim.RMSprop,
    "NAdam": torch.optim.NAdam,
    "Adam, other numbers": functools.partial(adam, betas=(0.8, 0.9), weight_decay=0.1),
    "Adam, fused": functools.partial(adam, betas=(0.8, 0.9), weight_decay=0.1, fused=True),
    "Adam, decoupled": functools.partial(adam, weight_decay=0.1, fused=True, decoupled_weight_decay=True),
    "AMSGrad": functools.partial(adam, amsgrad=True, fused=True),
}
SCHEDULES: dict[str, Any] = {
    "none": None,
    "steps": lambda o: lr_scheduler.StepLR(o, 1, 0.3),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=1.0),
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 3),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 1e-2, total_steps=3),  # moves Adam's betas too
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(name: str) -> None:
    same(vae, optimizer=OPTIMISERS[name], clip_norm=0.5 if name == "SGD" else None, epochs=3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    same(vae, schedule=SCHEDULES[name])


@pytest.mark.parametrize("rows", [20, 61, 70])
def test_one_batch_and_a_last_one_of_one_datum(rows: int) -> None:
    same(vae, gaussian(rows), clip_norm=0.3)


def test_lbfgs_runs_as_python() -> None:
    for make in (torch.optim.LBFGS, lambda p, lr: torch.optim.LBFGS(p, lr=lr)):
        same(vae, optimizer=make, falls="L-BFGS", epochs=1)


def test_each_chain_and_the_best_epoch() -> None:
    for make in (vae, hierarchy, lambda: vae(Tied())):
        ours, _ = same(make, restarts=5, epochs=2, validation=gaussian(20, seed=1), patience=1)
        assert ours.settings["engine_reason"] == "asked for"


@pytest.mark.parametrize(("first", "second"), [("traced", "traced"), ("traced", "eager"), ("eager", "traced")])
def test_a_checkpoint_goes_on_under_another_engine(tmp_path: Path, first: str, second: str) -> None:
    def stop(end: Any) -> None:
        if end.epoch == 1 and not list(tmp_path.glob("stopped")):
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt

    whole = answer(normalised, "eager")
    settings: dict[str, Any] = {"resume": tmp_path / "run", "checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        answer(normalised, first, callbacks=[stop], **settings)
    assert_same(answer(normalised, second, **settings), whole)


def test_nothing_global_changes() -> None:
    pyro.param("mine", torch.ones(()))
    before = torch.get_rng_state()
    pv.fit(hierarchy(), gaussian(40), epochs=2, batch_size=20, engine="traced", progress=False)
    assert torch.equal(before, torch.get_rng_state())
    assert list(pyro.get_param_store().keys()) == ["mine"]
    pyro.clear_param_store()


def test_an_engine_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"engine: expected one of 'auto', .*'compiled', got 'no'"):
        pv.fit(vae(), gaussian(20), engine="no")


# objectives

OBJECTIVES: dict[str, Callable[[], Any]] = {
    "beta": lambda: Beta(linear(0.0, 1.0, 3)),
    "capacity": lambda: Beta(10.0, capacity=linear(0.0, 2.0, 3)),
    "discrepancy": lambda: Discrepancy(MMD(), weight=linear(1.0, 10.0, 3), kl=1.0),
    "closed discrepancy": lambda: Discrepancy(objectives.Energy(closed=True), weight=10.0, kl=1.0),
    "total correlation": lambda: TotalCorrelation(linear(1.0, 6.0, 3), critic=MLP(2, (4,), 2), rate=0.5),
    "adversarial": lambda: Adversarial(MLP(2, (4,), 1, norm="batch"), weight=5.0, rate=0.3),
    "learned similarity": lambda: LearnedSimilarity(MLP(4, (4,), 3), MLP(3, (), 1), rate=0.3),
    "importance weighted": lambda: objectives.ImportanceWeighted(4),
    "doubly reparameterised": lambda: objectives.DReG(4),
    "doubly reparameterised, at once": lambda: objectives.DReG(4, vectorize=True),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_and_what_they_note(name: str) -> None:
    def make() -> pv.VAE:
        own = vae(loss=OBJECTIVES[name]())
        if name == "learned similarity":  # which trains the mean alone
            own.parts["likelihood"].requires_grad_(False).network.requires_grad_(True)
        return own

    same(make, clip_norm=1.0)


def test_a_prior_that_is_no_standard_normal_is_still_refused() -> None:
    """The test of the closed form is not part of a recording, and is made beside it."""
    program = vae(loss=Discrepancy(objectives.Energy(closed=True), weight=10.0))

    def moves(end: Any) -> None:
        end.program.parts["prior"]._loc.add_(1.0)

    with pytest.raises(ValueError, match="closed form"):
        pv.fit(program, gaussian(40), epochs=4, batch_size=20, engine="traced", callbacks=[moves], progress=False)


# numbers that are not finite


class Breaks(torch.autograd.Function):
    """Other values where it is told to, or the same ones and a gradient so much steeper."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, by: Tensor, values: bool) -> Tensor:
        ctx.save_for_backward(by)
        return x * by if values else x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.saved_tensors[0], None, None


class Brittle(nn.Linear):
    by: Tensor

    def __init__(self, values: bool) -> None:
        super().__init__(4, 4)
        self.values = values
        self.register_buffer("by", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return Breaks.apply(super().forward(x), torch.where(x[:, :1] > 5, self.by, 1.0), self.values)  # type: ignore[no-any-return]


def broken(engine: str, by: float, **settings: Any) -> tuple[str, dict[str, Tensor], np.ndarray]:
    """A run that stops in its third epoch at one datum of 60: what is said, the weights, and the figures so far."""
    x = gaussian(60)
    x[33, 0] = 60.0
    torch.manual_seed(1)
    brittle = Brittle(values=math.isinf(by))
    program = vae(brittle)
    settings["callbacks"] = [lambda end: brittle.by.fill_(by) if end.epoch == 1 else None]
    with pytest.raises(pv.NonFiniteError) as caught:
        pv.fit(program, x, epochs=4, engine=engine, progress=False, **({"batch_size": 10} | settings))
    steps = caught.value.fit.history["elbo_step"].values
    return str(caught.value), {n: v.clone() for n, v in program.weights().items()}, steps


@pytest.mark.parametrize("by", [math.inf, 1e25])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_the_same_step_is_named_and_the_same_weights_kept(by: float, optimizer: Any, clip_norm: float | None) -> None:
    ours, theirs = (broken(engine, by, optimizer=optimizer, clip_norm=clip_norm) for engine in ("traced", "eager"))
    assert ours[0] == theirs[0]
    assert "at epoch 3, step" in ours[0]
    assert all(torch.equal(ours[1][name], value) for name, value in theirs[1].items())
    np.testing.assert_allclose(ours[2], theirs[2], rtol=2e-6)
