"""Every objective. A new one is tested by being listed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyrovae import objectives, schedules
from pyrovae.networks import MLP


@dataclass(frozen=True)
class Objective:
    """``make(latents, features)`` builds it, ``family`` is its class.

    ``weighs``: it takes a logarithm of mean weights per datum, so that no site may stand outside the data plate.
    ``scored``: it takes draws without a gradient. ``by_datum``: its value is a sum over data, so that the mean over
    batches is that of all data.
    """

    name: str
    family: type
    make: Callable[[int, int], Any]
    weighs: bool = False
    scored: bool = True
    by_datum: bool = True

    def __str__(self) -> str:
        return self.name


def _entry(family: type, make: Callable[[int, int], Any], more: str = "", **rest: bool) -> Objective:
    return Objective(f"{family.__name__}{more and ', '}{more}", family, make, **rest)


def _weighed(family: type, make: Callable[[], Any], more: str = "", **rest: bool) -> Objective:
    return _entry(family, lambda *_: make(), more, weighs=True, **rest)


def _compared(family: type, make: Callable[[int, int], Any], more: str = "") -> Objective:
    return _entry(family, make, more, scored=False, by_datum=False)


OBJECTIVES = (
    _entry(objectives.Beta, lambda *_: objectives.Beta(2.0)),
    _entry(objectives.Beta, lambda *_: objectives.Beta(schedules.linear(0, 1, 3)), "annealed"),
    _entry(objectives.Beta, lambda *_: objectives.Beta(2.0, capacity=schedules.linear(0, 2, 3)), "capacity"),
    _weighed(objectives.ImportanceWeighted, lambda: objectives.ImportanceWeighted(4)),
    _weighed(objectives.Renyi, lambda: objectives.Renyi(0.5, 4)),
    _weighed(objectives.Renyi, lambda: objectives.Renyi(2, 4), "beyond 1"),
    _weighed(objectives.DReG, lambda: objectives.DReG(4), scored=False),
    _compared(objectives.Discrepancy, lambda *_: objectives.Discrepancy(objectives.MMD(), schedules.linear(0, 2, 3))),
    _compared(objectives.Adversarial, lambda latents, _: objectives.Adversarial(MLP(latents, (4,), 1))),
    _compared(
        objectives.LearnedSimilarity,
        lambda _, features: objectives.LearnedSimilarity(MLP(features, (4,), 3), MLP(3, (), 1)),
    ),
    _compared(objectives.TotalCorrelation, lambda *_: objectives.TotalCorrelation(3.0, size=37)),
    _compared(
        objectives.TotalCorrelation,
        lambda latents, _: objectives.TotalCorrelation(3.0, critic=MLP(latents, (4,), 2)),
        "a critic",
    ),
)
