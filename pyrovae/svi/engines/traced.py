"""Steps as a recorded graph: no Python of the program, of Pyro or of autograd, and no compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from pyrovae._record import NotRecordable
from pyrovae._rng import preserved
from pyrovae.program import Batch
from pyrovae.svi.engines.eager import Eager
from pyrovae.svi.engines.recording import Recording, record_loss, tensors_of
from pyrovae.svi.engines.state import fingerprint
from pyrovae.svi.loss import Loss
from pyrovae.svi.optimizers import stepper

__all__ = ["Recordings", "Traced"]

CLOSE = 1e-5  # relative, between what a graph and Python give on the same noise
AGAIN = 3  # how often a program may change while it trains and be recorded again


class Recordings:
    """Recordings of a loss by the shape of the batch, made when one is first met, and again when the program changes.

    What the recording takes as given is looked at before each epoch; that it gives what the program gives, on the same
    noise, when it is made and in epochs 1, 2, 4, 8, ….
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.made: dict[Any, Recording] = {}
        self.print: tuple[Any, ...] = ()
        self.changes = -1
        self.epochs = 0

    def begin(self) -> bool:
        """Before an epoch: forget what no longer stands; whether this is an epoch to look at the answers.

        Raises
        ------
        NotRecordable
            If the program changes again and again.
        """
        now = fingerprint(self.loss)
        if now != self.print:
            self.changes += 1
            if self.changes > AGAIN:
                raise NotRecordable(f"{_changed(self.print, now)} changes from epoch to epoch")
            self.print, self.made = now, {}
        self.epochs += 1
        return self.epochs & (self.epochs - 1) == 0

    def of(self, batch: Batch) -> Recording:
        """The recording for batches of this shape."""
        key = tuple((t.shape, t.dtype, t.device) for t in tensors_of(batch))
        if key not in self.made:
            self.made[key] = record_loss(self.loss, batch)
            self.audit(batch)
        return self.made[key]

    def audit(self, batch: Batch) -> None:
        """Compare a recording with the program, on the same noise; nothing of the program changes.

        Raises
        ------
        NotRecordable
            If they differ.
        """
        recording = self.of(batch)
        state = recording.state
        before = [t.detach().clone() for t in state.tensors]
        with preserved(), torch.no_grad():
            copies = [t.clone() for t in before]
            ours, gradients, *_ = recording.split(recording.graph.forward(*copies, *tensors_of(batch)))
        with preserved(), self.loss.noting():
            value = self.loss.differentiable_value(batch)
            wanted = [state.tensors[i] for i in recording.trained]
            theirs = torch.autograd.grad(value, wanted, allow_unused=True)
        with torch.no_grad():
            for tensor, kept in zip(state.tensors, before, strict=True):
                if not tensor.requires_grad:
                    tensor.copy_(kept)
        if not value.isfinite():  # the step that follows will say so
            return
        if not _close(ours, value.detach()) or not all(map(_close, gradients, theirs)):
            raise NotRecordable(
                f"its recording gives a loss of {float(ours):.6g} where the program gives {float(value):.6g}, or "
                "another gradient, on the same noise: it depends on what a recording takes as given"
            )


class Traced:
    """The recorded graph in each step; the first step, and an epoch with a number that is not finite, by `Eager`.

    Parameters
    ----------
    loss, optimizer, clip_norm
        As of `Eager`.
    recordings
        Those of other chains of the run.
    """

    name = "traced"

    def __init__(
        self, loss: Loss, optimizer: torch.optim.Optimizer, clip_norm: float | None, recordings: Recordings
    ) -> None:
        self.eager = Eager(loss, optimizer, clip_norm)
        self.recordings, self.optimizer, self.clip_norm = recordings, optimizer, clip_norm
        self.steppers: dict[int, tuple[Recording, Callable[[list[Tensor]], None]]] = {}

    def forget(self) -> None:
        """As `Eager.forget`: the optimiser's state may be held by other tensors now."""
        self.steppers.clear()

    def epoch(self, batches: Iterable[Batch], *, first: bool = False) -> list[Any]:
        """As `Eager.epoch`; the losses are tensors, and not looked at.

        Raises
        ------
        NotRecordable
            If the program cannot be recorded, before its first step of this epoch, or after some.
        """
        losses: list[Any] = []
        look = self.recordings.begin()
        for batch in batches:
            if first and not losses:
                losses += self.eager.epoch([batch], first=True)
                continue
            if look:
                self.recordings.audit(batch)
                look = False
            losses.append(self.step(batch))
        return losses

    def step(self, batch: Batch, drawn: tuple[fx.GraphModule, list[Tensor]] | None = None) -> Tensor:
        """Take a step; the loss. ``drawn``: the graph that takes draws before its arguments, and the draws."""
        recording = self.recordings.of(batch)
        state = recording.state
        graph, noise = drawn or (recording.graph, [])
        with torch.no_grad():
            values = graph.forward(*noise, *state.tensors, *tensors_of(batch))
            loss, gradients, buffers, sums = recording.split(values)
            recording.settle(self.recordings.loss.elbo, buffers, sums)
            if self.clip_norm is not None:
                norm = torch.nn.utils.get_total_norm(gradients)
                gradients = list(torch._foreach_mul(gradients, torch.clamp(self.clip_norm / (norm + 1e-6), max=1.0)))
            known = self.steppers.get(id(recording))
            if known is None:
                parameters = [state.tensors[i] for i in recording.trained]
                known = self.steppers[id(recording)] = recording, stepper(self.optimizer, parameters)
            known[1](gradients)
        return loss


def _close(ours: Tensor, theirs: Tensor | None) -> bool:
    if theirs is None:
        return False
    scale = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
    difference = float((ours - theirs).abs().max()) if theirs.numel() else 0.0
    return difference <= CLOSE * max(scale, 1e-6) or not torch.isfinite(theirs).all()


def _changed(before: tuple[Any, ...], now: tuple[Any, ...]) -> str:
    """What of a fingerprint is no longer the same, in words."""
    for old, new in zip(before, now, strict=False):
        if old != new:
            if isinstance(new, tuple) and new and isinstance(new[0], tuple):
                named = [n[0] for o, n in zip(old, new, strict=False) if o != n]
                return f"the attribute {named[0]!r}" if named else "an attribute"
            if isinstance(new, tuple) and new and isinstance(new[0], str):
                return f"{new[0]!r}, which it refers to,"
            return "which parameters it has or trains"
    return "what it is made of"
