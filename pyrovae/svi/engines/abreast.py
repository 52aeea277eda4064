"""A step of several chains as one recorded graph."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from pyrovae._bound import bound
from pyrovae._draws_apart import draws_apart
from pyrovae._record import NotRecordable, record
from pyrovae.svi.engines.recording import Recording
from pyrovae.svi.engines.traced import close
from pyrovae.svi.engines.update import clipped

__all__ = ["Abreast"]


class Abreast:
    """From what several chains draw and hold and a batch of each, one behind another, to what a `Recording` gives.

    Parameters
    ----------
    recording
        A chain's step.
    held, batch
        The tensors of its state, (chains, *shape) each, and examples of those of a batch, likewise.
    clip_norm
        Largest norm of a chain's gradient; None for any.

    Raises
    ------
    NotRecordable
        If chains cannot take it together, or would come to other numbers than by themselves.
    """

    def __init__(self, recording: Recording, held: list[Tensor], batch: list[Tensor], clip_norm: float | None) -> None:
        self.recording, self.clip_norm, self.checked = recording, clip_norm, False
        apart = draws_apart(recording.graph)
        if apart is None:
            raise NotRecordable("what it draws depends on what it computes")
        self.drawn, self._alone = bound(apart[0]), bound(apart[1])
        noise = [t.expand(len(batch[0]), *t.shape).clone() for t in apart[0].forward()]
        together = torch.func.vmap(lambda *given: self._clipped(apart[1].forward(*given)))
        examples = [*noise, *(t.clone() for t in held), *batch]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
            self._graph = bound(record(lambda *given: together(*given), *examples))

    def __call__(self, noise: list[Tensor], held: list[Tensor], batch: list[Tensor]) -> list[Tensor]:
        """The values of the recording's graph, each for all chains, with their gradients clipped."""
        return self._graph(*noise, *held, *batch)

    def check(self, noise: list[Tensor], held: list[Tensor], batch: list[Tensor], lanes: Any) -> None:
        """That these chains come to what each comes to by itself; nothing changes.

        Raises
        ------
        NotRecordable
            If one does not.
        """
        state = [t.clone() for t in held]
        ours = [*self(noise, state, batch), *state]
        for lane in lanes:
            own = [t[lane].clone() for t in held]
            drawn, rows = ([t[lane] for t in tensors] for tensors in (noise, batch))
            theirs = [*self._clipped(self._alone(*drawn, *own, *rows)), *own]
            total = abs(float(theirs[0])) * self.recording.seen  # a sum that is noted is of terms of the loss
            of_sums = range(len(theirs) - len(own) - len(self.recording.noted), len(theirs) - len(own))
            pairs = enumerate(zip(ours, theirs, strict=True))
            if not all(close(a[lane], b, max(total, 1e-6) if i in of_sums else 1e-6) for i, (a, b) in pairs):
                raise NotRecordable("abreast they come to other numbers")
        self.checked = True

    def _clipped(self, values: list[Tensor]) -> list[Tensor]:
        loss, gradients, buffers, sums = self.recording.split(values)
        return [loss, *clipped(gradients, self.clip_norm), *buffers, *sums]
