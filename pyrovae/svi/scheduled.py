"""Modules that follow a schedule: they are told which epoch begins, and asked when they are at their end."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from torch import nn

from pyrovae.schedules import Scheduled
from pyrovae.svi.loss import Loss

__all__ = ["advance", "settled", "warn_unfinished"]


def advance(objective: Loss, epoch: int) -> None:
    """Tell the modules of a program and its objective which epoch begins."""
    for module in _modules(objective.program, *objective.modules):
        if hasattr(type(module), "advance") or "advance" in vars(module):  # a module itself is slow to ask
            follow = module.advance
            if callable(follow):
                follow(epoch)


def settled(objective: Loss) -> int:
    """The first epoch, from 0, in which all schedules have reached their end."""
    modules = _modules(objective.program, *objective.modules)
    return max((getattr(m.schedule, "epochs", 1) - 1 for m in modules if isinstance(m, Scheduled)), default=0)


def warn_unfinished(objective: Loss, epochs: int) -> None:
    """A schedule that training did not see through left another program than was asked for."""
    named = [*objective.program.named_modules(), *(("loss", m) for m in objective.modules)]
    for name, module in named:
        unfinished = getattr(module, "unfinished", None)
        says = unfinished(epochs) if callable(unfinished) else None
        if says:
            warnings.warn(f"{name}: {says}", UserWarning, stacklevel=2)


def _modules(*roots: nn.Module) -> Iterator[Any]:
    """As ``modules()`` of each, in a third of the time."""
    coming, met = list(reversed(roots)), set()
    while coming:
        module = coming.pop()
        if module is not None and module not in met:
            met.add(module)
            yield module
            coming += reversed(module._modules.values())  # type: ignore[arg-type]
