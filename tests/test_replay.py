"""What samplers ask again and again gives the same bits from a recording as from Python."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import pyrovae as pv
from pyrovae.diagnostics import ais
from pyrovae.draws import replay
from pyrovae.draws.nuts import nuts
from pyrovae.draws.replay import AFTER, Replay


def banana(u: Tensor) -> Tensor:
    return -0.5 * (u[..., 0] ** 2 / 4 + (u[..., 1] - 0.2 * u[..., 0] ** 2) ** 2)


def sampled() -> Any:
    torch.manual_seed(1)
    return nuts(lambda rows: banana, torch.randn(6, 2), torch.ones(6, 2), warmup=40, draws=30)


def test_nuts_gives_the_same_draws_recorded_and_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Replay] = []
    original = Replay._record
    monkeypatch.setattr(Replay, "_record", lambda self, *a: (original(self, *a), made.append(self))[0])
    recorded = sampled()
    assert made[0]._graph is not None
    monkeypatch.setattr(replay, "AFTER", math.inf)
    plain = sampled()
    assert torch.equal(recorded.u, plain.u)
    assert all(torch.equal(recorded.stats[name].nan_to_num(), plain.stats[name].nan_to_num()) for name in plain.stats)


def test_annealing_gives_the_same_weights_recorded_and_not(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Bernoulli(pv.networks.MLP(2, (8,), 5)),
        pv.guides.Normal(pv.networks.MLP(5, (8,), 4)),
    )
    x = torch.bernoulli(torch.full((4, 5), 0.4))
    options: dict[str, Any] = {"particles": 3, "steps": 40, "leapfrog": 2}
    recorded = ais(vae, x, **options)
    monkeypatch.setattr(replay, "AFTER", math.inf)
    assert recorded.equals(ais(vae, x, **options))


def test_each_shape_has_its_own_recording() -> None:
    square = Replay(lambda x: [x * x])
    for n in (2, 3):
        for i in range(AFTER + 2):
            assert square(torch.full((n,), float(i)))[0].tolist() == [float(i * i)] * n
        assert square.recorded


def test_a_function_that_branches_on_a_value_is_never_recorded() -> None:
    calls = 0

    def function(x: Tensor) -> list[Tensor]:
        nonlocal calls
        calls += 1
        return [x if x.sum() > 0 else -x]

    replayed = Replay(function)
    for i in range(AFTER + 20):
        assert replayed(torch.tensor([(-1.0) ** i]))[0].item() == 1.0
    assert not replayed.recorded
    assert calls >= AFTER + 20


def test_a_function_that_gives_other_numbers_when_recorded_is_run_as_it_is() -> None:
    seen: list[int] = []

    def function(x: Tensor) -> list[Tensor]:
        seen.append(1)
        return [x + len(seen)]

    replayed = Replay(function)
    found = [replayed(torch.zeros(1))[0].item() for _ in range(AFTER + 5)]
    assert not replayed.recorded
    assert found == sorted(found)
    assert found[-1] >= AFTER + 5
