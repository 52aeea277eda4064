"""What a recording takes as given: what is looked at before each epoch, and what is put back after one."""

from __future__ import annotations

import functools
import random
import types
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum
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
from pyrovae.program import Batch
from pyrovae.structure import inspect_program
from pyrovae.svi.engines.snapshot import Snapshot, finite_values
from pyrovae.svi.engines.surroundings import Surroundings
from pyrovae.svi.engines.traced import Recordings
from pyrovae.svi.loss import Loss

FACTOR: Any = 1.0
TABLE: dict[str, Any] = {"factor": 1.0}
CONSTANTS = types.ModuleType("constants")
CONSTANTS.inside = 1.0  # type: ignore[attr-defined]


class Plain:
    """An object of a user's."""


class Slots:
    """An object of a user's without a dict."""

    __slots__ = ("inside",)

    def __init__(self, inside: Any) -> None:
        self.inside = inside


class Odd(dict[str, Any]):
    """A dict that tells of itself what it likes."""

    def values(self) -> Any:
        """As it was once."""
        return [1]


class Width(Enum):
    """Two members."""

    NARROW, WIDE = 1, 2


class Part(nn.Module):
    """An encoder that holds a bit of everything."""

    CLASS_FACTOR = 1.0
    ema: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 4)
        self.register_buffer("ema", torch.zeros(()))
        self.number, self.text, self.nothing = 1, "a", None
        self.numbers, self.pair, self.queue = [1, 2, [3]], (1, [2]), deque([1])
        self.named, self.empty, self.ordered = {"a": 1, "b": {"c": 2}}, {}, OrderedDict(a=1)
        self.some, self.none = {1, 2}, set()
        self.many, self.large = list(range(1000)), {key: key for key in range(1000)}
        self.array, self.plain = np.zeros(3), torch.zeros(3)
        self.rng, self.own, self.torch_rng = np.random.default_rng(0), random.Random(0), torch.Generator()
        self.thing, self.slots, self.odd, self.widths = Plain(), Slots(1), Odd(a=1), {Width.NARROW}
        self.act, self.cut, self.kind = torch.tanh, slice(0, 2), dist.Normal
        self.known, self.chosen = [Plain(), Plain()], [0]
        self.chosen[0] = self.known[0]
        self.register_buffer("first", None)
        self.register_buffer("second_one", torch.ones(2, 2))
        self.space, self.partial = SimpleNamespace(a=1, b=SimpleNamespace(c=2)), functools.partial(max, 1, key=abs)

    def forward(self, x: Tensor) -> Tensor:
        """A linear one."""
        return self.net(x) * FACTOR * TABLE["factor"] * CONSTANTS.inside + self.late()

    def late(self) -> Any:
        """What a class may have later."""
        return globals().get("ABSENT", 0.0)


def loss_of(part: Part) -> Loss:
    cell = [1.0]
    offset = 0.0

    def likelihood(z: Tensor, *, scale: float = 1.0) -> Any:
        return dist.Normal(z.sum(-1, keepdim=True).expand(-1, 3) * cell[0] + offset, scale).to_event(1)

    def change() -> None:
        nonlocal offset
        offset = 1.0

    part.likelihood, part.change = likelihood, change  # type: ignore[assignment]
    vae = pv.VAE(pv.priors.Normal(2), likelihood, pv.guides.Normal(part))
    return Loss(Trace_ELBO(), vae, inspect_program(vae, Batch(torch.zeros(2, 3))), 10)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "number": lambda p: setattr(p, "number", 2),
    "its type": lambda p: setattr(p, "number", True),
    "new attribute": lambda p: setattr(p, "more", 1),
    "attribute gone": lambda p: delattr(p, "text"),
    "renamed": lambda p: vars(p).update(words=vars(p).pop("text")),
    "none": lambda p: setattr(p, "nothing", 0),
    "training": lambda p: p.net.eval(),
    "list": lambda p: p.numbers.append(4),
    "list in a list": lambda p: p.numbers[2].append(4),
    "moved between lists": lambda p: p.numbers[2].insert(0, p.numbers.pop(1)),
    "list in a tuple": lambda p: p.pair[1].append(2),
    "deque": lambda p: p.queue.append(2),
    "start of a long list": lambda p: p.many.__setitem__(3, 7),
    "length of a long list": lambda p: p.many.pop(),
    "start of a large dict": lambda p: p.large.__setitem__(3, 7),
    "dict": lambda p: p.named.update(a=2),
    "dict in a dict": lambda p: p.named["b"].update(c=3),
    "empty dict": lambda p: p.empty.update(a=1),
    "ordered dict": lambda p: p.ordered.update(a=2),
    "set": lambda p: p.some.add(3),
    "empty set": lambda p: p.none.add(3),
    "array": lambda p: p.array.__setitem__(0, 1.0),
    "tensor": lambda p: p.plain.add_(1),
    "another tensor": lambda p: setattr(p, "plain", torch.zeros(3)),
    "generator of numpy": lambda p: p.rng.random(),
    "generator of Python": lambda p: p.own.random(),
    "generator of torch": lambda p: torch.rand(1, generator=p.torch_rng),
    "object": lambda p: setattr(p.space, "a", 2),
    "object in an object": lambda p: setattr(p.space.b, "c", 3),
    "class of an object": lambda p: setattr(p.thing, "__class__", type("Other", (Plain,), {})),
    "attributes of an object": lambda p: setattr(p.net, "__dict__", dict(vars(p.net))),
    "arguments of a partial": lambda p: p.partial.keywords.update(key=None),
    "module": lambda p: setattr(p, "net", nn.Linear(3, 4)),
    "new module": lambda p: setattr(p, "second", nn.Linear(1, 1)),
    "hook": lambda p: p.net.register_forward_hook(lambda *_: None),
    "class of a module": lambda p: setattr(p.net, "__class__", type("Other", (nn.Linear,), {"more": 1})),
    "weight": lambda p: setattr(p.net, "weight", nn.Parameter(torch.zeros(4, 3))),
    "memory of a weight": lambda p: setattr(p.net.weight, "data", torch.zeros(4, 3)),
    "frozen weight": lambda p: p.net.weight.requires_grad_(False),
    "new buffer": lambda p: p.register_buffer("buffer", torch.zeros(1)),
    "another buffer": lambda p: setattr(p, "ema", torch.zeros(())),
    "class": lambda p: setattr(Part, "CLASS_FACTOR", 2.0),
    "method": lambda p: setattr(Part, "late", lambda self: 1.0),
    "code of a function": lambda p: setattr(p.likelihood, "__code__", p.likelihood.__code__.replace(co_name="other")),
    "defaults": lambda p: p.likelihood.__kwdefaults__.update(scale=2.0),
    "attribute of a function": lambda p: setattr(p.likelihood, "more", 1),
    "item of a list in a closure": lambda p: p.likelihood.__closure__[0].cell_contents.__setitem__(0, 2.0),
    "variable of a closure": lambda p: p.change(),
    "global": lambda p: globals().update(FACTOR=2.0),
    "global dict": lambda p: TABLE.update(factor=2.0),
    "constant of a module": lambda p: setattr(CONSTANTS, "inside", 2.0),
    "slots": lambda p: setattr(p.slots, "inside", 2),
    "dict of another kind": lambda p: p.odd.update(a=2),
    "set of objects": lambda p: (p.widths.clear(), p.widths.add(Width.WIDE)),
    "function of torch": lambda p: setattr(p, "act", torch.relu),
    "family": lambda p: setattr(p, "kind", dist.Laplace),
    "slice": lambda p: setattr(p, "cut", slice(0, 3)),
    "one of known objects": lambda p: p.chosen.__setitem__(0, p.known[1]),
    "shape of an array": lambda p: setattr(p, "array", p.array.reshape(3, 1)),
    "layout of a weight": lambda p: setattr(p.net.weight, "data", p.net.weight.data.t()),
    "two buffers": lambda p: p._buffers.update(first=p._buffers["second_one"], second_one=None),
    "parameter store": lambda p: pyro.param("new", torch.zeros(())),
}


UNABLE = {"slots": "slots", "dict of another kind": "odd"}  # what has to be read to be compared


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_seen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a glance, and as another state where it is one."""
    monkeypatch.setattr(Part, "CLASS_FACTOR", 1.0)
    monkeypatch.setattr(Part, "late", Part.late)
    for name, value in (("FACTOR", 1.0), ("TABLE", {"factor": 1.0})):
        monkeypatch.setitem(globals(), name, value)
    monkeypatch.setattr(CONSTANTS, "inside", 1.0)
    part = Part()
    for other, name in UNABLE.items():
        if other != what:
            delattr(part, name)
    loss = loss_of(part)
    with loss.program.scope():
        before = Surroundings(loss)
        assert before.stands() is (what not in UNABLE)
        assert Surroundings(loss).changed(before) is None
        CHANGES[what](part)
        assert not before.stands()
        after = Surroundings(loss)
        if what not in ("attributes of an object", "renamed"):
            assert after.changed(before) is not None


def test_equal_objects_are_read_again_and_are_no_change() -> None:
    part = Part()
    del part.slots, part.odd
    part.number = 10**20
    loss = loss_of(part)
    with loss.program.scope():
        recordings = Recordings(loss)
        recordings.begin()
        first = recordings.given
        assert recordings.walk() is first
        part.number = int("1" + 20 * "0")
        second = recordings.walk()
        assert second is not first
        assert second.changed(first) is None
        recordings.begin()
        assert recordings.walk() is second


def test_training_is_no_change() -> None:
    part = Part()
    del part.slots, part.odd
    loss = loss_of(part)
    with loss.program.scope(), torch.no_grad():
        before = Surroundings(loss)
        part.net.weight.add_(1)
        part.ema.add_(1)
        assert before.stands()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("shape", [(3,), (300, 300), ()])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(bad: float, shape: tuple[int, ...]) -> None:
    tensors = [torch.zeros(2, 2), torch.zeros(shape), torch.zeros(2, dtype=torch.float64), torch.zeros(400, 400)]
    assert finite_values([1.0, torch.tensor([2.0, 3.0])], tensors) == [1.0, 2.0, 3.0]
    for tensor in tensors:
        flat = tensor.view(-1)
        flat[-1] = bad
        assert finite_values([1.0], tensors) is None
        flat[-1] = 0.0
    assert finite_values([bad], tensors) is None
    assert finite_values([torch.tensor(bad)], tensors[:1]) is None
    assert finite_values([1.0], []) == [1.0]


def test_a_snapshot_puts_back_tensors_of_any_layout_and_type() -> None:
    part = Part()
    part.net.weight = nn.Parameter(torch.randn(3, 4).t())
    for name, value in {"count": torch.tensor(3), "none": torch.zeros(0, 2), "wide": torch.zeros(2).double()}.items():
        part.register_buffer(f"buffer_{name}", value)
    loss = loss_of(part)
    optimizer = torch.optim.Adam(loss.parameters())
    with loss.program.scope():
        for _ in range(2):  # the optimiser has taken no step, and one
            weight = part.net.weight.clone()
            before = {name: value.clone() for name, value in loss.program.state_dict().items()}
            kept = Snapshot(Surroundings(loss), optimizer)
            moments = [value.clone() for state in optimizer.state.values() for value in state.values()]
            loss.gradients(Batch(torch.randn(4, 3)))
            optimizer.step()
            for buffer in part.buffers():
                buffer.add_(1)
            assert not torch.equal(part.net.weight, weight)
            kept.restore()
            for name, value in loss.program.state_dict().items():
                assert torch.equal(value, before[name]), name
            now = [value for state in optimizer.state.values() for value in state.values()]
            assert len(now) == len(moments)
            assert all(torch.equal(a, b) for a, b in zip(now, moments, strict=True))
            loss.gradients(Batch(torch.randn(4, 3)))
            optimizer.step()
