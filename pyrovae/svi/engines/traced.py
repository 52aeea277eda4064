"""Steps as a recorded graph: no Python of the program, of Pyro or of autograd, and no compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pyrovae._record import NotRecordable
from pyrovae._rng import preserved
from pyrovae.program import Batch
from pyrovae.svi.engines.eager import Eager
from pyrovae.svi.engines.recording import Recording, record_loss, tensors_of
from pyrovae.svi.engines.state import overlaps
from pyrovae.svi.engines.surroundings import Surroundings
from pyrovae.svi.engines.update import Update
from pyrovae.svi.loss import Loss

__all__ = ["OutdatedError", "Recordings", "Traced", "close", "shape_of"]

CLOSE = 1e-5  # relative, between what a graph and Python give on the same noise
AGAIN = 3  # how often a program may change while it trains and be recorded again


class OutdatedError(NotRecordable):
    """A recording that no longer does what the program does, though nothing that was looked at has changed.

    ``since`` is the number of epochs, counted from the first recorded one, after which it still did.
    """

    def __init__(self, message: str, since: int) -> None:
        super().__init__(message)
        self.since = since


class Recordings:
    """Recordings of a loss by the shape of the batch, made when one is first met, and again when the program changes.

    What a recording takes as given is looked at before each epoch; that it does what the program does, on the same
    noise, when it is made, with the next batch, and in epochs 1, 2, 4, 8, ….
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.made: dict[Any, Recording] = {}
        self.code: dict[Any, Any] = {}  # compiled from them, for any chain of the run
        self.unproven: set[Any] = set()  # seen to be right with one batch alone
        self.given: Surroundings | None = None
        self.changes = -1
        self.epochs = 0
        self.right = 0  # how many epochs had begun when a recording was last seen to be right
        self._walked: Surroundings | None = None

    def walk(self) -> Surroundings:
        """What is there before an epoch; `begin`, if no step comes between them, takes the same."""
        given = self.given
        self._walked = given if given is not None and given.stands() else Surroundings(self.loss)
        return self._walked

    def admit(self) -> None:
        """Before the first step of a chain, whose parameters may be new.

        Raises
        ------
        NotRecordable
            If the program refers to what could not be put back.
        """
        self._walked = None
        if iterators := Surroundings(self.loss).iterators:
            raise NotRecordable(f"{iterators[0]!r}, which it refers to, is an iterator, and a recording takes no item")
        self.changes = -1

    def begin(self) -> bool:
        """Before the steps of an epoch: forget what no longer stands; whether this is an epoch to look at the answers.

        Raises
        ------
        NotRecordable
            If the program changes again and again.
        """
        now, self._walked = self._walked or self.walk(), None
        if (what := now.changed(self.given)) is not None:
            self.changes += 1
            if self.changes > AGAIN:
                raise NotRecordable(f"{what} changes from epoch to epoch")
            self.made, self.code, self.unproven = {}, {}, set()
        self.given = now
        self.epochs += 1
        return self.epochs & (self.epochs - 1) == 0

    def of(self, batch: Batch) -> Recording:
        """The recording for batches of this shape."""
        key = shape_of(batch)
        if key not in self.made:
            self.made[key] = self._steadily(lambda: record_loss(self.loss, batch), tries=2)
            self.unproven.add(key)
            self._prove(key, batch)
        elif key in self.unproven:
            self.unproven.remove(key)
            self._prove(key, batch)
        return self.made[key]

    def audit(self, batch: Batch) -> None:
        """Compare a recording with the program, on the same noise; nothing of the program changes.

        Raises
        ------
        NotRecordable
            If they differ.
        OutdatedError
            If they did not when they were last compared.
        """
        key = shape_of(batch)
        if key in self.made and key not in self.unproven:
            try:
                self._prove(key, batch)
            except NotRecordable as error:
                raise OutdatedError(str(error), self.right) from error
        else:
            self.of(batch)
        self.right = self.epochs

    def _prove(self, key: Any, batch: Batch) -> None:
        self._steadily(lambda: self._compare(self.made[key], batch))

    def _steadily(self, function: Callable[[], Any], *, tries: int = 1) -> Any:
        """Run what runs the program, and put back what that changes; the first of two tries may, once and for all.

        Raises
        ------
        NotRecordable
            If each run changes it.
        """
        for again in reversed(range(tries)):
            kept = Surroundings(self.loss)
            with preserved(), torch.enable_grad():
                try:
                    found = function()
                    what = Surroundings(self.loss).changed(kept)
                except BaseException:
                    kept.restore()
                    raise
            if what is None:
                return found
            if not again:
                kept.restore()
        raise NotRecordable(f"{what} changes with each run of the program")

    def _compare(self, recording: Recording, batch: Batch) -> None:
        state = recording.state
        before = [t.detach().clone() for t in state.tensors]
        ours, after = [t.clone() for t in before], [*before]
        with preserved(), torch.no_grad():
            loss, gradients, buffers, sums = recording.run(ours, batch)
            drawn = torch.get_rng_state()
        for index, buffer in zip(recording.reassigned, buffers, strict=True):
            ours[index] = buffer
        wanted = [i for i, t in enumerate(state.tensors) if t.requires_grad and t.is_leaf]
        try:
            with preserved(), state.replaced(state.tensors), self.loss.noting() as notes:
                value, theirs = self.loss.slope(batch, [state.tensors[i] for i in wanted])
                as_drawn = torch.equal(drawn, torch.get_rng_state())
                seen, noted = notes()
                new = state.reassigned(state.tensors)
                after = [new.get(i, t).detach().clone() for i, t in enumerate(state.tensors)]
        finally:
            with torch.no_grad():
                for tensor, kept in zip(state.tensors, before, strict=True):
                    if not overlaps(tensor):
                        tensor.copy_(kept)
        if not value.isfinite():  # the step that follows will say so
            return
        got = {i: g for i, g in zip(wanted, theirs, strict=True) if g is not None}
        both = [(loss, value), *((g, got.get(i)) for i, g in zip(recording.trained, gradients, strict=True))]
        pairs = [*both, *zip(ours, after, strict=True), *zip(sums, map(torch.as_tensor, noted.values()), strict=False)]
        if not as_drawn:
            raise NotRecordable("it puts the random state back, and a recording would go on from where it drew last")
        if not all(close(*pair) for pair in pairs) or set(got) != set(recording.trained) or seen != recording.seen:
            raise NotRecordable(
                f"its recording gives a loss of {float(loss):.6g} where the program gives {float(value):.6g}, "
                "or another gradient or buffer, on the same noise: it depends on what a recording takes as given"
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
        self.updates: dict[int, Update] = {}
        self.updated: Update | None = None

    def forget(self) -> None:
        """Told that weights and the optimiser's state were put back: other tensors may hold the state now."""
        self.updates.clear()

    def epoch(self, batches: Iterable[Batch], *, first: bool = False) -> list[Any]:
        """As `Eager.epoch`; the losses are numbers or tensors of some, and not looked at.

        Raises
        ------
        NotRecordable
            If the program cannot be recorded, before its first step of this epoch, or after some.
        """
        losses: list[Any] = []
        look: bool | None = None
        if first:
            self.recordings.admit()
        for batch in batches:
            if first and not losses:
                losses += self.eager.epoch([batch], first=True)
                continue
            look = self.recordings.begin() if look is None else look
            if look:
                self.recordings.audit(batch)
                look = False
            losses.append(self.step(batch))
        if self.updated is not None:
            self.updated.show()
        return losses

    def step(self, batch: Batch, drawn: tuple[Callable[..., list[Tensor]], list[Tensor]] | None = None) -> Any:
        """Take a step; the loss, a number, or a tensor where a GPU would be waited for.

        ``drawn``: the graph that takes draws before its arguments, and the draws.
        """
        recording = self.recordings.of(batch)
        state = recording.state
        graph, noise = drawn or (recording.replay, [])
        with torch.no_grad():
            values = graph(*noise, *state.tensors, *tensors_of(batch))
            return self.take(recording, values)

    def take(self, recording: Recording, values: list[Tensor]) -> Any:
        """Take the step that the values of a recording's graph lead to; the loss as of `step`."""
        loss, gradients, buffers, sums = recording.split(values)
        update = self.updates.get(id(recording))
        if update is None:
            update = self.updates[id(recording)] = Update(recording, self.optimizer, self.clip_norm, gradients)
        gradients = update.ordered(gradients)
        norm = update.norm(gradients)
        recording.settle(buffers)
        recording.tell(self.recordings.loss.elbo, sums)
        update.take(gradients, norm)
        self.updated = update
        value = loss if norm is None else loss + 0 * norm
        return value if value.is_cuda else value.item()  # many tensors of one number would hold much memory


def shape_of(batch: Batch) -> tuple[tuple[torch.Size, torch.dtype, torch.device], ...]:
    """What a recording of a batch is for."""
    return tuple((t.shape, t.dtype, t.device) for t in tensors_of(batch))


def close(ours: Tensor, theirs: Tensor | None, least: float = 1e-6) -> bool:
    """Whether they are the same to the rounding of float32; also where the second is not finite.

    ``least``: of what numbers, if the largest of these is smaller, the rounding is.
    """
    if theirs is None or ours.shape != theirs.shape:
        return False
    if not ours.is_floating_point() or not ours.numel():
        return torch.equal(ours, theirs)
    scale, difference = float(theirs.detach().abs().max()), float((ours - theirs).abs().max())
    return difference <= CLOSE * max(scale, least) or not bool(torch.isfinite(theirs).all())
