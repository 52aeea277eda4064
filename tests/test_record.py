"""Recordings of functions of tensors: what they run again, and what cannot be recorded."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae._draws_apart import draws_apart, draws_together
from pyrovae._record import NotRecordable, record
from pyrovae._recording import recording
from pyrovae._simplify import is_random, simplify

X, Y = torch.linspace(-1.0, 2.0, 12).reshape(3, 4), torch.linspace(0.5, 3.0, 12).reshape(3, 4)


def bits(function: Callable[..., Any], *given: Tensor, seed: int = 5) -> list[Tensor]:
    """Results, then what was written to the arguments."""
    copies = [t.clone() for t in given]
    torch.manual_seed(seed)
    return [*function(*copies), *copies, torch.rand(1)]  # and where the generator is then


def inplace(x: Tensor, y: Tensor) -> list[Tensor]:
    e = x.exp()
    f = x.exp()
    e.add_(1)
    row = y[0]
    before = row * 2
    y.mul_(3)
    return [e, f, before, row * 2, y + 0, x * 1]


def constants(x: Tensor, y: Tensor) -> list[Tensor]:
    total = torch.tensor(1.0)
    total += x.sum()
    zeros = torch.zeros(4)
    zeros[1] = 2.0
    return [total, zeros + y, torch.ones(4) * x, torch.arange(4) + torch.arange(4) - 0, torch.zeros_like(x) + y]


def trivial(x: Tensor, y: Tensor) -> list[Tensor]:
    whole = torch.arange(4)
    return [
        x + 0,
        x - 0.0,
        x * 1,
        x / 1,
        x**1,
        whole * 1.0,
        whole / 1,
        x.t().t(),
        x.expand(3, 4),
        x.view(3, 4),
        x + 0 * y,
    ]


def repeated(x: Tensor, y: Tensor) -> list[Tensor]:
    return [x.exp() + x.exp(), x.sum(0), x.sum(0), x.sum(1), x.add(y, alpha=2), x.add(y), x.div(2), x.div(2.0), x > 1]


def normalised(x: Tensor, y: Tensor) -> list[Tensor]:
    """Batch normalisation writes to its running statistics, and its schema does not say so."""
    mean, variance = y[0], y[1].abs()
    out = nn.functional.batch_norm(x, mean, variance, training=True, momentum=0.1)
    return [out, mean * 1, nn.functional.batch_norm(x, mean, variance)]


def drawn(x: Tensor, y: Tensor) -> list[Tensor]:
    torch.randn(7)
    a, b = torch.randn(3), torch.randn(3)
    c = torch.normal(torch.zeros(3), torch.ones(3))
    d = torch.empty(4).uniform_()
    e = nn.functional.dropout(x, 0.5)
    torch.rand(2)
    return [a, b, c, d * y, e, torch.randn_like(x), torch._standard_gamma(y), torch.bernoulli(torch.full((3,), 0.5))]


def dropped(x: Tensor, y: Tensor) -> list[Tensor]:
    return [nn.functional.dropout(x, 0.5) @ y.t(), torch.rand(3).mul_(2).sum()]


def slopes(x: Tensor, y: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = (x.t() @ y).sum() + (x * x.std().item()).sum() + torch.randn(3, 4).mul(x).sum()
        return [value.detach(), *torch.autograd.grad(value, x)]


FUNCTIONS = [inplace, constants, trivial, repeated, normalised, drawn, dropped, slopes]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_recording_does_the_same_each_time(function: Callable[..., list[Tensor]]) -> None:
    before = torch.get_rng_state()
    graph = record(function, X.clone(), Y.clone())
    assert torch.equal(before, torch.get_rng_state())
    for given in ((X, Y), (Y, X + 2), (X, Y)):
        for seed in (1, 2):
            ours, theirs = bits(graph, *given, seed=seed), bits(function, *given, seed=seed)
            assert [o.dtype for o in ours] == [t.dtype for t in theirs]
            assert all(torch.equal(o, t) for o, t in zip(ours, theirs, strict=True)), function.__name__


@pytest.mark.parametrize("function", FUNCTIONS)
def test_draws_apart_are_those_of_the_whole(function: Callable[..., list[Tensor]]) -> None:
    if function is drawn:  # a Gamma's and a dropout's depend on their arguments
        assert draws_apart(record(function, X.clone(), Y.clone())) is None
        return
    apart = draws_apart(record(function, X.clone(), Y.clone()))
    assert apart is not None
    draw, rest = apart
    torch.manual_seed(5)
    noise, after = draw(), torch.rand(1)
    for _ in range(2):  # the draws are not written to
        ours = [*bits(lambda *given: rest(*noise, *given), X, Y)[:-1], after]
        assert all(torch.equal(o, t) for o, t in zip(ours, bits(function, X, Y), strict=True))


@pytest.mark.parametrize("sizes", [(32,), (16, 48), (2, 3), (1,)])
def test_draws_at_once_are_those_one_after_another(sizes: tuple[int, ...]) -> None:
    """Also where the generator has a number left over from a draw of an odd count."""
    draw, _ = draws_apart(record(lambda x: [x + torch.randn(n).sum() for n in sizes], torch.zeros(3))) or (None, None)
    together = draws_together(draw, 3)
    assert together is not None
    for before in (0, 1, 4):
        torch.manual_seed(before)
        torch.randn(before)
        theirs = [t for _ in range(3) for t in draw()]
        state = torch.get_rng_state()
        torch.manual_seed(before)
        torch.randn(before)
        ours = [t for drawn in together() for t in drawn]
        assert all(map(torch.equal, ours, theirs))
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "function",
    [lambda x: [x + torch.randn(17)], lambda x: [x + torch.rand(16)], lambda x: [x * torch.randn(16), torch.rand(16)]],
)
def test_draws_that_are_others_at_once(function: Callable[..., list[Tensor]]) -> None:
    """A tail of a vector is drawn again; and what is not normal."""
    draw, _ = draws_apart(record(function, torch.zeros(()))) or (None, None)
    before = torch.get_rng_state()
    assert draws_together(draw, 3) is None
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_that_are_seen_through_another_name_stay() -> None:
    def function(x: Tensor) -> list[Tensor]:
        both = torch.empty(2, 4)
        first = both[0]
        both.normal_()
        return [x + first]

    graph = record(function, X)
    apart = draws_apart(graph)
    ours = bits(graph if apart is None else lambda x: apart[1](*apart[0](), x), X)
    assert torch.equal(ours[0], bits(function, X)[0])


def test_less_is_done() -> None:
    graph = make_fx(lambda x: [x.exp() + x.exp() * 1 + 0, torch.ones(3) * 2 + torch.zeros(3), x.detach().t().t()])(X)
    calls = [n.target for n in simplify(graph).graph.nodes if n.op == "call_function"]
    assert calls == [torch.ops.aten.exp.default, torch.ops.aten.add.Tensor]


def test_which_operations_draw() -> None:
    graph: fx.GraphModule = record(drawn, X, Y)
    assert sum(map(is_random, graph.graph.nodes)) >= 9  # the two that nobody uses among them


ASKS: dict[str, Callable[[Tensor], Any]] = {
    "if": lambda x: x if x.sum() > 0 else -x,
    "float": lambda x: x * float(x[0, 0]),
    "int": lambda x: x[: int(x[1, 2])],
    "item": lambda x: x if x.sum().item() > 0 else -x,
    "numpy": lambda x: x * torch.from_numpy(np.sign(x.numpy())),
    "asarray": lambda x: x * np.asarray(x).mean(),
    "tolist": lambda x: x * x.tolist()[0][0],
    "nonzero": lambda x: x[x > 0].sum(),
    "equal": lambda x: x if torch.equal(x, -x) else -x,
    "allclose": lambda x: x if torch.allclose(x, -x) else -x,
    "format": lambda x: x * float(f"{x.sum():.3f}"),
    "range": lambda x: sum(x * i for i in range(int(x.max()))),
    "unique": lambda x: x.unique().sum(),
}


@pytest.mark.parametrize("how", ASKS)
def test_a_value_that_is_asked_for(how: str) -> None:
    """The recording is refused, or right for other values too."""
    function = lambda x: [torch.as_tensor(ASKS[how](x))]  # noqa: E731
    try:
        graph = record(function, X)
    except NotRecordable:
        return
    for given in (X, -X - 1, 5 * X):
        assert torch.equal(graph(given)[0], function(given)[0])


@pytest.mark.parametrize("how", ["if", "float", "numpy", "tolist"])
def test_where_it_is_asked_for_is_said(how: str) -> None:
    with pytest.raises(NotRecordable, match=r"it asks for the value of a tensor at test_record.py, line \d+: "):
        record(lambda x: [ASKS[how](x)], X)


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_draws_of_python_and_numpy(draw: Callable[[], float]) -> None:
    states = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(NotRecordable, match="draws with numpy or python"):
        record(lambda x: [x * draw()], X)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_a_failure_is_told_in_a_line_and_leaves_nothing() -> None:
    def fails(x: Tensor) -> list[Tensor]:
        raise KeyError("no such thing\nand more")

    before = torch.get_rng_state()
    with pytest.raises(NotRecordable, match=r"^KeyError: .*no such thing.* at test_record.py, line \d+: raise"):
        record(fails, X)
    assert torch.equal(before, torch.get_rng_state())
    assert not recording.get()
    assert float(X.sum().item()) == float(X.sum())


def test_what_is_being_recorded_can_be_known() -> None:
    seen: list[bool] = []

    def function(x: Tensor) -> list[Tensor]:
        seen.append(recording.get())
        return [x + 1]

    record(function, X)(X)
    function(X)
    assert seen == [True, False]
