"""Batches of data in memory, and the record of epochs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import pyrovae as pv
from pyrovae.svi.batches import Batches
from pyrovae.svi.history import History

LAYOUTS = {
    "rows": torch.arange(300.0).reshape(100, 3),
    "transposed": torch.arange(300.0).reshape(3, 100).t(),
    "channels last": torch.arange(100.0 * 2 * 3 * 3).reshape(100, 2, 3, 3).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gathered", [1, 1000, 1 << 20])
def test_an_epoch_is_a_permutation_of_torchs_generator(
    layout: str, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches, the last one smaller, laid out as indexing lays them out, however many are brought at once."""
    monkeypatch.setattr("pyrovae.svi.batches.GATHERED", gathered)
    x, context = LAYOUTS[layout], torch.arange(100.0)[:, None]
    batches = Batches(pv.Data(x, context=context), x, context, numbered=True)
    torch.manual_seed(0)
    found = list(batches.shuffled(30))
    torch.manual_seed(0)
    order = torch.randperm(100)
    assert [len(batch) for batch in found] == [30, 30, 30, 10]
    for batch, rows in zip(found, order.split(30), strict=True):
        assert torch.equal(batch.index, rows)
        assert torch.equal(batch.context, context[rows])
        assert torch.equal(batch.x, x[rows])
        assert batch.x.stride() == x[rows].stride()


def test_random_data_are_drawn_when_their_batch_is_taken() -> None:
    def draw(x: Tensor) -> Tensor:
        return torch.bernoulli(x)

    grey = torch.full((40, 3), 0.5)
    batches = Batches(pv.Data(grey, draw=draw), grey, None)
    torch.manual_seed(0)
    found = [(batch.x, torch.rand(2)) for batch in batches.shuffled(20)]  # a step draws in between
    torch.manual_seed(0)
    torch.randperm(40)
    for x, after in found:
        assert torch.equal(x, draw(grey[:20]))
        assert torch.equal(after, torch.rand(2))


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("settled", [0, 3, 50])
def test_the_best_epoch_is_the_same_after_a_checkpoint(validated: bool, settled: int) -> None:
    """And the one that looking at each of them finds."""
    torch.manual_seed(0)
    history = History(settled=settled)
    bounds = [math.nan if value > 1 else value for value in torch.randn(40).tolist()]
    for number, bound in enumerate(bounds):
        history.add(0.0 if validated else bound, bound if validated else None, 0.1, 0.0)
        ranked = [-math.inf if math.isnan(b) or n < min(settled, number) else b for n, b in enumerate(bounds)]
        best = ranked.index(max(ranked[: number + 1]))
        assert history.since_best() == number - best
        assert history.is_best() == (best == number)
        history = History.from_state(history.state()) if number % 7 == 0 else history
