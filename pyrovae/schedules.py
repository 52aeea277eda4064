"""Schedules: numbers that change with the epoch, such as a temperature or a weight, and reach their end."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least

__all__ = ["Schedule", "Scheduled", "constant", "cosine", "cyclical", "exponential", "linear"]


@dataclass(frozen=True, repr=False)
class Schedule:
    """A function of the epoch, 0, 1, …, that is ``end`` from the last of its ``epochs`` on.

    Made by `linear`, `exponential`, `cosine`, `cyclical` and `constant`; ``rise`` of its epochs, again after every
    ``period``, lead from ``start`` to ``end``.
    """

    kind: str
    start: float
    end: float
    epochs: int
    period: int
    rise: int

    def __call__(self, epoch: int) -> float:
        """The value in this epoch, counted from 0."""
        step = at_least("epoch", epoch, 0) % self.period
        if epoch >= self.epochs - 1 or step >= self.rise - 1:
            return self.end
        t = step / (self.rise - 1)
        if self.kind == "exponential":
            return self.start * (self.end / self.start) ** t
        if self.kind == "cosine":
            return self.end + (self.start - self.end) * (1 + math.cos(math.pi * t)) / 2
        return self.start + (self.end - self.start) * t

    def __repr__(self) -> str:
        if self.kind == "constant":
            return f"constant({self.end:g})"
        length = f"epochs={self.epochs}"
        if self.kind == "cyclical":
            length = f"period={self.period}, cycles={self.epochs // self.period}"
        return f"{self.kind}({self.start:g}, {self.end:g}, {length})"


def constant(value: float) -> Schedule:
    """The same value in every epoch.

    >>> constant(0.5)(7)
    0.5
    """
    return _schedule("constant", value, value, 1)


def linear(start: float, end: float, epochs: int) -> Schedule:
    """In equal steps from ``start`` in the first epoch to ``end`` in the last of ``epochs``, and ``end`` after it.

    >>> [linear(0, 1, 5)(epoch) for epoch in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    return _schedule("linear", start, end, epochs)


def exponential(start: float, end: float, epochs: int) -> Schedule:
    """As `linear` with equal factors, start · (end/start)^t; both ends positive.

    >>> exponential(1, 0.01, 3)(1)
    0.1
    """
    schedule = _schedule("exponential", start, end, epochs)
    for name, value in (("start", start), ("end", end)):
        if value <= 0:
            raise ValueError(f"exponential: {name}: expected a positive number, got {value!r}: or use linear")
    return schedule


def cosine(start: float, end: float, epochs: int) -> Schedule:
    """As `linear` along half a wave, level at both ends, end + (start − end)(1 + cos πt)/2.

    >>> cosine(0, 1, 5)(2)
    0.5
    """
    return _schedule("cosine", start, end, epochs)


def cyclical(start: float, end: float, period: int, cycles: int) -> Schedule:
    """In each period of epochs, linear from ``start`` to ``end`` over its first half, ``end`` in its second (Fu et al.
    2019, 1903.10145, with R = ½); ``end`` after the last cycle.

    >>> [cyclical(0, 1, period=4, cycles=2)(epoch) for epoch in range(9)]
    [0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    """
    period, cycles = at_least("cyclical: period", period, 2), at_least("cyclical: cycles", cycles, 1)
    return _schedule("cyclical", start, end, period * cycles, period, max(2, period // 2))


def _schedule(
    kind: str, start: Any, end: Any, epochs: Any, period: int | None = None, rise: int | None = None
) -> Schedule:
    epochs = at_least(f"{kind}: epochs", epochs, 1)
    if kind == "constant":
        start = end = _finite("constant: value", end)
    start, end = _finite(f"{kind}: start", start), _finite(f"{kind}: end", end)
    return Schedule(kind, start, end, epochs, period or epochs, rise or epochs)


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return float(value)


class Scheduled(nn.Module):
    """A number that a part or an objective holds and training moves along a schedule.

    Training calls `advance` before each epoch; the value is saved with the weights.

    Parameters
    ----------
    name
        What it is, for messages: ``"priors.RelaxedBernoulli: temperature"``.
    schedule
        A number, or a function of the epoch, such as `linear` makes.
    positive
        Refuse values that are not above 0.
    least
        Refuse values below this one.

    Raises
    ------
    TypeError
        If it is neither a number nor callable.
    ValueError
        If a value of it is not finite, or not positive where it must be.

    Examples
    --------
    >>> temperature = Scheduled("temperature", linear(1, 0.5, epochs=3))
    >>> temperature.advance(1)
    >>> temperature.value
    tensor(0.7500)
    """

    value: Tensor

    def __init__(
        self,
        name: str,
        schedule: float | Callable[[int], float],
        *,
        positive: bool = False,
        least: float = -math.inf,
    ) -> None:
        super().__init__()
        self.name, self.positive, self.least = name, positive, least
        if not callable(schedule):
            if isinstance(schedule, bool) or not isinstance(schedule, numbers.Real):
                raise TypeError(f"{name}: expected a number or a schedule, such as schedules.linear, got {schedule!r}")
            schedule = constant(self._checked(schedule))
        self.schedule = schedule
        self._planned = ""  # the values of a run, in words
        try:
            first = schedule(0)
        except TypeError as error:
            raise TypeError(
                f"{name}: expected a function of the epoch, 0, 1, …, and calling it raised {error}"
            ) from error
        self._checked(getattr(schedule, "end", first))
        self.register_buffer("value", torch.tensor(self._checked(first)))

    def advance(self, epoch: int) -> None:
        """Take the value of this epoch, counted from 0."""
        self.value.fill_(self._checked(self.schedule(epoch)))

    def check_epochs(self, epochs: int) -> None:
        """Refuse a schedule with a value that will not do in one of so many epochs, before the first."""
        values = []
        for epoch in range(epochs):
            try:
                values.append(self._checked(self.schedule(epoch)))
            except ValueError as error:
                raise ValueError(f"{error} in epoch {epoch}, counted from 0") from None
        self._planned = f"({values[0]:g} to {values[-1]:g}, {math.fsum(values) / epochs:g} on average)"

    def unfinished(self, epochs: int) -> str | None:
        """What to say of a run of so many epochs if it ends before the schedule does."""
        needed = getattr(self.schedule, "epochs", 0)
        if epochs >= needed:
            return None
        end = getattr(self.schedule, "end", math.nan)
        return (
            f"{self.name} follows {self.schedule!r}, and a run of {epochs} epochs ends before it does (at "
            f"{self.schedule(epochs - 1):g}, its end is {end:g}): train for {needed} epochs or more, or give a "
            f"schedule of {epochs}"
        )

    def _checked(self, value: Any) -> float:
        value = _finite(self.name, value)
        if self.positive and value <= 0:
            raise ValueError(f"{self.name}: expected a positive number, got {value:g}")
        if value < self.least:
            raise ValueError(f"{self.name}: expected a number of at least {self.least:g}, got {value:g}")
        return value

    def __repr__(self) -> str:
        if getattr(self.schedule, "epochs", 2) == 1:
            return f"{self.schedule(0):g}"
        text = repr(self.schedule)
        if " at 0x" not in text:  # an address, of which each run has another
            return text
        return f"{getattr(self.schedule, '__name__', type(self.schedule).__name__)}{self._planned}"
