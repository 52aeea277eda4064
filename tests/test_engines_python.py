"""Engines and the Python in a program: what changes while it trains is followed, or it is Python that runs."""

from __future__ import annotations

import itertools
import random
import types
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

import pyrovae as pv
from tests.engines import answer, same, vae
from tests.programs import gaussian

VALUES, RUNS, EPOCHS = "the value of a tensor", "changes with each run", "changes from epoch to epoch"
DIFFERS, DRAWS, ITERATOR = "its recording gives a loss", "draws with numpy or python", "is an iterator"
FACTOR = 1.0  # what a callback changes


class Encoder(nn.Module):
    """A linear encoder that does something of Python's."""

    ema: Tensor
    hidden: Tensor
    CLASS_FACTOR = 1.0

    def __init__(self, does: Callable[[Encoder, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.does, self.calls, self.factor = nn.Linear(4, 4), does, 0, 1.0
        self.plain, self.other = torch.zeros(()), {"factor": 1.0}
        self.rng, self.torch_rng = np.random.default_rng(0), torch.Generator().manual_seed(0)
        for name, value in (("ema", 0.0), ("before", 0.5), ("hidden", 0.0)):
            self.register_buffer(name, torch.tensor(value), persistent=name != "hidden")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out * (1 + self.does(self, x))


def moved(s: Encoder, x: Tensor) -> Tensor:
    return 0.9 * s.ema + 0.1 * x[:, 0].mean()


def reassigned(s: Encoder, x: Tensor) -> Tensor:
    s.ema = moved(s, x)
    return s.ema


def swapped(s: Encoder, x: Tensor) -> Tensor:
    s.ema, s.before = s.before + 0.1, s.ema
    s.ema, s.before = s.before, s.ema
    return s.ema + 2 * s.before


def in_place(s: Encoder, x: Tensor) -> Tensor:
    return s.ema.mul_(0.9).add_(0.1 * x[:, 0].mean()).clone()


def by_data(s: Encoder, x: Tensor) -> Tensor:
    s.ema.data.copy_(moved(s, x))
    s.net.weight.data.clamp_(-0.4, 0.4)
    return s.ema.clone()


def not_saved(s: Encoder, x: Tensor) -> Tensor:
    return s.hidden.add_(0.1).clone()


def written(s: Encoder, x: Tensor) -> Tensor:
    total = torch.tensor([0.1, 0.0, 0.0, 0.0])
    total[1] += x[:, 0].mean()
    total += 0.1
    return total


def noisy(s: Encoder, x: Tensor) -> Tensor:
    torch.randn(3)  # is not used, and moves the generator
    seen = torch.empty(2, 4)
    first = seen[0]
    seen.normal_()
    return 0.1 * first + nn.functional.dropout(x, 0.3, s.training)


FOLLOWED = [reassigned, swapped, in_place, by_data, not_saved, written, noisy]


@pytest.mark.parametrize("does", FOLLOWED)
def test_is_followed(does: Any) -> None:
    same(lambda: vae(Encoder(does)))


# what cannot be recorded


def counts(s: Encoder, x: Tensor) -> float:
    s.calls += 1
    return float(s.calls > 9)


def counts_in_a_dict(s: Encoder, x: Tensor) -> float:
    s.other["factor"] += 1
    return s.other["factor"] / 100


def remembers(s: Encoder, x: Tensor) -> Tensor:
    s.plain = moved(s, x) + s.plain / 2
    return s.plain


def remembers_in_place(s: Encoder, x: Tensor) -> Tensor:
    return s.plain.mul_(0.9).add_(x[:, 0].mean()).clone()


def sets_data(s: Encoder, x: Tensor) -> Tensor:
    s.ema.data = moved(s, x)
    return s.ema.clone()


def own_numpy(s: Encoder, x: Tensor) -> float:
    return float(s.rng.random())


def own_generator(s: Encoder, x: Tensor) -> Tensor:
    return torch.randn(4, generator=s.torch_rng)


def draws(s: Encoder, x: Tensor) -> Tensor | float:
    s.ema = s.ema + 0.01  # is taken back, as are these
    s.hidden.add_(0.01)
    s.calls += 1
    return np.random.rand() + random.random() + s.ema + s.hidden + s.calls / 100


AS_PYTHON: list[tuple[Any, str]] = [
    (lambda s, x: 1.0 if x.sum() > 0 else 0.0, VALUES),
    (lambda s, x: float(x[0, 0]), VALUES),
    (lambda s, x: float(x.numpy().sum() > 0), VALUES),
    (lambda s, x: float(np.asarray(x).mean()), VALUES),
    (lambda s, x: float(x.sum(0).tolist()[0] > 0), VALUES),
    (lambda s, x: float(f"{x.mean():.3f}"), VALUES),
    (counts, RUNS),
    (counts_in_a_dict, RUNS),
    (remembers, RUNS),
    (remembers_in_place, RUNS),
    (sets_data, DIFFERS),
    (own_numpy, RUNS),
    (own_generator, RUNS),
    (draws, DRAWS),
]


@pytest.mark.parametrize(("does", "said"), AS_PYTHON)
def test_runs_as_python(does: Any, said: str) -> None:
    same(lambda: vae(Encoder(does)), falls=said, epochs=2)


def program(scaled: Callable[[Any], Any]) -> pv.Program:
    """Plain functions, the guide's scale from what is given."""
    net = nn.Linear(4, 4)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(net(x), scaled(x)).to_event(1))

    return pv.Program(model, guide)


def counter_of(kind: str) -> Callable[[Any], Any]:
    """A function that counts its calls, and where it does."""
    seen: list[Any] = [0]
    held = SimpleNamespace(calls=0)
    numbers = itertools.count()
    log: list[Tensor] = []
    calls = 0

    def in_a_list(x: Tensor) -> float:
        seen[0] += 1
        return 1 + seen[0] / 50

    def in_an_object(x: Tensor) -> float:
        held.calls += 1
        return 1 + held.calls / 50

    def in_a_variable(x: Tensor) -> float:
        nonlocal calls
        calls += 1
        return 1 + calls / 50

    def in_a_default(x: Tensor, at: list[int] = [0]) -> float:  # noqa: B006
        at[0] += 1
        return 1 + at[0] / 50

    def in_itself(x: Tensor) -> float:
        in_itself.calls = getattr(in_itself, "calls", 0) + 1  # type: ignore[attr-defined]
        return 1 + in_itself.calls / 50  # type: ignore[attr-defined]

    def in_a_log(x: Tensor) -> float:
        log.append(x.mean())
        return 1 + len(log) / 50

    def from_an_iterator(x: Tensor) -> float:
        return 1 + next(numbers) / 50

    return locals()[kind]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "kind", ["in_a_list", "in_an_object", "in_a_variable", "in_a_default", "in_itself", "in_a_log", "from_an_iterator"]
)
def test_counters(kind: str) -> None:
    same(lambda: program(counter_of(kind)), falls=ITERATOR if kind == "from_an_iterator" else RUNS, epochs=2)


# what a callback changes


def sets(where: str) -> Callable[[Encoder, Any], None]:
    def change(encoder: Encoder, end: Any) -> None:
        value = 0.5 if end.epoch >= 2 else 1.0
        if where == "global":
            globals()["FACTOR"] = value
        elif where == "class":
            Encoder.CLASS_FACTOR = value
        elif where == "dict":
            encoder.other["factor"] = value
        elif where == "tensor":
            encoder.plain = torch.tensor(value)
        elif where == "buffer":
            encoder.ema.fill_(value)
        elif where == "other buffer":
            encoder.ema = torch.tensor(value)
        else:
            encoder.factor = value

    return change


READS: dict[str, Callable[[Encoder, Tensor], Any]] = {
    "global": lambda s, x: FACTOR,
    "class": lambda s, x: s.CLASS_FACTOR,
    "dict": lambda s, x: s.other["factor"],
    "attribute": lambda s, x: s.factor,
    "tensor": lambda s, x: s.plain,
    "buffer": lambda s, x: s.ema,
    "other buffer": lambda s, x: s.ema,
}


@pytest.mark.parametrize("where", READS)
def test_what_a_callback_changes_once(where: str) -> None:
    def make() -> Any:
        encoder = Encoder(READS[where])
        sets(where)(encoder, SimpleNamespace(epoch=0))
        return vae(encoder), {"callbacks": [lambda end: sets(where)(encoder, end)], "epochs": 7}

    tensors = where in ("tensor", "other buffer")  # another object after each epoch
    same(make, falls=EPOCHS if tensors else "")


def test_what_changes_in_each_epoch_is_left_to_python() -> None:
    def make() -> Any:
        held = {"beta": 0.0}
        made = program(lambda x: 1 + held["beta"])
        return made, {"callbacks": [lambda end: held.update(beta=end.epoch / 10)], "epochs": 8}

    same(make, falls="held['beta'] changes from epoch to epoch")


def test_an_elbo_of_the_users_with_a_number() -> None:
    class Annealed(Trace_ELBO):  # type: ignore[misc]
        beta = 0.1

        def differentiable_loss(self, model: Any, guide: Any, *args: Any) -> Any:
            return self.beta * super().differentiable_loss(model, guide, *args)

    def make() -> Any:
        elbo = Annealed()
        change = lambda end: setattr(elbo, "beta", 1.0 if end.epoch > 1 else 0.1)  # noqa: E731
        return vae(), {"loss": elbo, "callbacks": [change]}

    same(make)


@pytest.mark.parametrize("what", ["hook", "function", "activation", "distribution"])
def test_a_part_that_is_exchanged(what: str) -> None:
    def make() -> Any:
        encoder = Encoder(lambda s, x: 0.0)
        encoder.activation = nn.Tanh()
        held = {"noise": dist.Normal(torch.zeros(4), 1.0)}
        does = {"activation": lambda s, x: s.activation(x), "distribution": lambda s, x: held["noise"].rsample()}
        encoder.does = does.get(what, encoder.does)

        def change(end: Any) -> None:
            if end.epoch == 2:
                if what == "hook":
                    encoder.register_forward_hook(lambda module, given, out: out * 0.5)
                elif what == "function":
                    encoder.does = lambda s, x: 0.7
                elif what == "activation":
                    encoder.activation = nn.Sigmoid()
                else:
                    held["noise"] = dist.Laplace(torch.zeros(4), 1.0)

        return vae(encoder), {"callbacks": [change], "epochs": 4}

    same(make)


@pytest.mark.parametrize("change", ["freeze", "unfreeze", "data", "parameter", "clamp"])
@pytest.mark.parametrize("clip_norm", [None, 0.2])
def test_parameters_that_a_callback_changes(change: str, clip_norm: float | None) -> None:
    def make() -> Any:
        program = vae()
        part = program.parts["guide"].network.layers[0]
        part.weight.requires_grad_(change != "unfreeze")

        def act(end: Any) -> None:
            if end.epoch == 1:
                with torch.no_grad():
                    if change == "freeze":
                        part.weight.requires_grad_(False)
                    elif change == "unfreeze":
                        part.weight.requires_grad_(True)
                    elif change == "data":
                        part.weight.data = part.weight.data * 0.5
                    elif change == "parameter":
                        part.weight = nn.Parameter(part.weight * 0.5)
                    else:
                        part.weight.clamp_(-0.1, 0.1)

        return program, {"callbacks": [act], "epochs": 5, "clip_norm": clip_norm}

    same(make)


def test_a_callback_sees_the_gradients_of_the_last_step() -> None:
    seen: dict[str, list[float]] = {"eager": [], "traced": []}
    for engine, found in seen.items():
        look = lambda end, found=found: found.append(  # noqa: E731
            float(torch.nn.utils.get_total_norm([p.grad for p in end.program.parameters()]))
        )
        answer(vae, engine, callbacks=[look])
    assert seen["traced"] == seen["eager"]


# failures


def test_an_error_in_the_last_batch_alone_is_the_programs() -> None:
    def small(s: Encoder, x: Tensor) -> float:
        if len(x) == 10 and torch.is_grad_enabled():
            raise ValueError("ten are too few")
        return 0.0

    for engine in ("eager", "traced"):
        with pytest.raises(ValueError, match="ten are too few"):
            answer(lambda: vae(Encoder(small)), engine, gaussian(70))


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN, nn.LSTM])
def test_recurrent_networks(kind: Any) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.out = kind(1, 3, batch_first=True), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.out(self.cells(x.unsqueeze(-1))[0][:, -1])
            return out

    theirs, ours = (answer(lambda: vae(Reads()), engine, epochs=3) for engine in ("eager", "traced"))
    assert kind is nn.LSTM or ours[0].settings["engine"] == "traced"
    assert all(torch.equal(ours[1][name], value) for name, value in theirs[1].items())


def test_a_change_that_nothing_shows_is_found_later_and_told() -> None:
    """Seven objects deep, where nobody looks."""
    hidden = SimpleNamespace(factor=0.0)
    deep: Any = hidden
    for _ in range(7):
        deep = SimpleNamespace(inner=deep)

    def reach() -> float:
        at = deep
        while hasattr(at, "inner"):
            at = at.inner
        return float(at.factor)

    def change(end: pv.svi.EpochEnd) -> None:
        if end.epoch == 4:
            hidden.factor = 0.5

    with pytest.warns(UserWarning, match=r"changed, at some time in the last 4 epochs.*fit again with engine='eager'"):
        fit, _ = answer(lambda: vae(Encoder(lambda s, x: reach())), "traced", epochs=10, callbacks=[change])
    assert fit.settings["engine"] == "eager"
    assert DIFFERS in fit.settings["engine_reason"]


@pytest.mark.parametrize("engine", ["traced", "compiled"])
def test_memory_that_a_recording_refers_to_may_change(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that a tensor shares, which nothing of torch's tells of; with compiled steps as their graph."""
    monkeypatch.setattr("pyrovae.svi.engines.choose.missing_compiler", lambda device: None)
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, given, options: graph)
    monkeypatch.setattr("pyrovae._products.on_amd", lambda: True)

    def make() -> Any:
        array = np.ones(4, dtype="f4")

        class Held:
            __slots__ = ("shared",)

        held = Held()
        held.shared = torch.from_numpy(array)

        def change(end: pv.svi.EpochEnd) -> None:
            if end.epoch == 3:
                array[:] = 2

        return vae(Encoder(lambda s, x: x * held.shared)), {"callbacks": [change], "epochs": 12}

    ours, theirs = (answer(make, e) for e in (engine, "eager"))
    assert ours[0].settings["engine"] == engine
    np.testing.assert_allclose(ours[0].history["elbo_step"], theirs[0].history["elbo_step"], rtol=1e-5)


def test_the_last_steps_are_looked_at_too() -> None:
    """A change after the last of the epochs 1, 2, 4, 8, …."""
    hidden = types.ModuleType("hidden")
    hidden.factor = 0.0  # type: ignore[attr-defined]
    holder = SimpleNamespace(module=hidden)

    def change(end: pv.svi.EpochEnd) -> None:
        if end.epoch == 5:
            hidden.factor = 0.5  # type: ignore[attr-defined]

    with pytest.warns(UserWarning, match=r"in the last 3 epochs.*The last steps may have been.*engine='eager'"):
        answer(lambda: vae(Encoder(lambda s, x: holder.module.factor)), "traced", epochs=7, callbacks=[change])


def test_a_random_state_that_is_put_back_is_not_recorded() -> None:
    def again(_: Any, x: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            return 0.1 * torch.randn(4)

    ours, theirs = (answer(lambda: vae(Encoder(again)), engine) for engine in ("traced", "eager"))
    assert "it puts the random state back" in ours[0].settings["engine_reason"]
    assert all(torch.equal(ours[1][name], value) for name, value in theirs[1].items())
