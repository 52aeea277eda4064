"""Steps as Python runs them: the reference that the other engines are held against."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pyrovae.program import Batch
from pyrovae.svi.loss import Loss
from pyrovae.svi.step import take_step

__all__ = ["Eager", "StoppedError"]


class StoppedError(FloatingPointError):
    """A step whose loss or gradient was not finite and that was not taken, with the random state it began from."""

    def __init__(self, step: int, batch: Batch, random_state: Tensor, losses: list[float]) -> None:
        super().__init__(f"step {step}")
        self.step, self.batch, self.random_state, self.losses = step, batch, random_state, losses


class Eager:
    """Pyro's handlers and autograd in each step, and a look at each loss and gradient before it is used.

    Parameters
    ----------
    loss
        What is lowered.
    optimizer
        What lowers it.
    clip_norm
        Largest norm of a gradient; None for any.
    """

    name = "eager"

    def __init__(self, loss: Loss, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> None:
        self.loss, self.optimizer, self.clip_norm = loss, optimizer, clip_norm

    def epoch(self, batches: Iterable[Batch], *, first: bool = False) -> list[float]:
        """Take a step on each batch; the loss of each, in nats per datum.

        Parameters
        ----------
        batches
            In order; each is taken when its step begins.
        first
            Check that the first step gives each parameter a gradient.

        Raises
        ------
        StoppedError
            If a loss or a gradient is not finite: that step is not taken.
        """
        losses: list[float] = []
        for batch in batches:
            state = torch.get_rng_state()
            value = take_step(self.loss, batch, self.optimizer, self.clip_norm, first=first and not losses)
            if not math.isfinite(value):
                raise StoppedError(len(losses), batch, state, losses)
            losses.append(value)
        return losses
