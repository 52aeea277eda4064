"""Schedules: their values by hand, that each reaches its end, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest
import torch
from torch import nn

from pyrovae import schedules
from pyrovae.schedules import Scheduled

RAMPS = {
    "linear": lambda epochs: schedules.linear(1, 0.25, epochs),
    "exponential": lambda epochs: schedules.exponential(1, 0.25, epochs),
    "cosine": lambda epochs: schedules.cosine(1, 0.25, epochs),
}


@pytest.mark.parametrize("name", RAMPS)
@pytest.mark.parametrize("epochs", [1, 2, 3, 50])
def test_a_ramp_goes_from_its_start_to_its_end(name, epochs):
    schedule = RAMPS[name](epochs)
    values = [schedule(epoch) for epoch in range(epochs)]
    assert (schedule.start, schedule.end, schedule.epochs) == (1, 0.25, epochs)
    assert values[0] == (1 if epochs > 1 else 0.25)
    assert all(schedule(epoch) == 0.25 for epoch in (epochs - 1, epochs, 10 * epochs))
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == epochs
    assert repr(schedule) == f"{name}(1, 0.25, epochs={epochs})"


def test_values_by_hand():
    assert [schedules.linear(2, 0, 5)(e) for e in range(6)] == [2, 1.5, 1, 0.5, 0, 0]
    assert [schedules.exponential(8, 1, 4)(e) for e in range(4)] == pytest.approx([8, 4, 2, 1])
    assert schedules.cosine(1, 0, 4)(1) == pytest.approx((1 + math.cos(math.pi / 3)) / 2)
    assert schedules.constant(3)(0) == schedules.constant(3)(99) == 3


def test_a_cycle_rises_in_its_first_half():
    cycle = schedules.cyclical(0, 1, period=6, cycles=2)
    assert [cycle(e) for e in range(12)] == 2 * [0, 0.5, 1, 1, 1, 1]
    assert (cycle.start, cycle.end, cycle.epochs) == (0, 1, 12)
    assert cycle(11) == cycle(12) == cycle(1000) == 1
    assert repr(cycle) == "cyclical(0, 1, period=6, cycles=2)"


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7])
def test_every_cycle_starts_at_the_start_and_ends_at_the_end(period):
    cycle = schedules.cyclical(0.5, 2, period=period, cycles=3)
    assert [cycle(k * period) for k in range(3)] == [0.5] * 3
    assert [cycle(k * period - 1) for k in range(1, 4)] == [2] * 3


@pytest.mark.parametrize("make", [*RAMPS.values(), lambda n: schedules.cyclical(0, 1, n, 2), schedules.constant])
def test_a_schedule_can_be_copied_and_compared(make):
    schedule = make(7)
    assert copy.deepcopy(schedule) == pickle.loads(pickle.dumps(schedule)) == schedule
    assert make(8) != schedule


def test_a_schedule_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedules.linear(0, 1, 5).end = 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: schedules.linear(0, 1, 0), "linear: epochs: expected a whole number of at least 1, got 0"),
        (lambda: schedules.cosine(0, 1, 2.5), r"cosine: epochs: .* got 2\.5"),
        (lambda: schedules.linear("0", 1, 5), "linear: start: expected a finite number, got '0'"),
        (lambda: schedules.cosine(0, math.inf, 5), "cosine: end: expected a finite number, got inf"),
        (lambda: schedules.constant(math.nan), "constant: value: expected a finite number, got nan"),
        (lambda: schedules.exponential(1, 0, 5), "exponential: end: expected a positive number, got 0"),
        (lambda: schedules.exponential(-1, 1, 5), "exponential: start: expected a positive number, got -1"),
        (lambda: schedules.cyclical(0, 1, 1, 3), "cyclical: period: expected a whole number of at least 2, got 1"),
        (lambda: schedules.cyclical(0, 1, 4, 0), "cyclical: cycles: expected a whole number of at least 1, got 0"),
        (lambda: schedules.linear(0, 1, 5)(-1), "epoch: expected a whole number of at least 0, got -1"),
        (lambda: Scheduled("beta", math.inf), "beta: expected a finite number, got inf"),
        (lambda: Scheduled("t", 0, positive=True), "t: expected a positive number, got 0"),
        (lambda: Scheduled("t", schedules.linear(1, 0, 5), positive=True), "t: expected a positive number, got 0"),
        (lambda: Scheduled("t", lambda epoch: math.nan), "t: expected a finite number, got nan"),
    ],
)
def test_what_is_no_schedule_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_neither_a_number_nor_a_schedule():
    with pytest.raises(TypeError, match="t: expected a number or a schedule, such as schedules.linear, got '1'"):
        Scheduled("t", "1")


def test_a_scheduled_number_advances_and_is_saved():
    part = nn.Module()
    part.weight = Scheduled("weight", schedules.linear(0, 1, epochs=3))
    assert part.weight.value == 0
    seen = []
    for epoch in range(4):
        part.weight.advance(epoch)
        seen.append(part.weight.value.item())
    assert seen == [0, 0.5, 1, 1]
    part.weight.advance(1)
    fresh = nn.Module()
    fresh.weight = Scheduled("weight", schedules.linear(0, 1, epochs=3))
    fresh.load_state_dict(part.state_dict())
    assert fresh.weight.value == 0.5
    assert part.double().weight.value.dtype == torch.float64


def test_a_value_that_a_function_gives_later_is_checked():
    scheduled = Scheduled("t", lambda epoch: 1 - epoch, positive=True)
    with pytest.raises(ValueError, match="t: expected a positive number, got 0"):
        scheduled.advance(1)


def test_a_run_that_is_too_short_is_told():
    scheduled = Scheduled("temperature", schedules.linear(1, 0.5, epochs=11))
    assert scheduled.unfinished(11) is None
    assert scheduled.unfinished(500) is None
    says = scheduled.unfinished(6)
    assert says == (
        "temperature follows linear(1, 0.5, epochs=11), and a run of 6 epochs ends before it does (at 0.75, its end is "
        "0.5): train for 11 epochs or more, or give a schedule of 6"
    )
    assert Scheduled("temperature", 0.3).unfinished(1) is None
    assert Scheduled("temperature", lambda epoch: 1.0).unfinished(1) is None


def test_how_it_prints():
    assert repr(Scheduled("t", 0.5)) == "0.5"
    assert repr(Scheduled("t", schedules.cosine(1, 0.1, 20))) == "cosine(1, 0.1, epochs=20)"
