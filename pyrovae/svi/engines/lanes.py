"""Several chains of a run abreast: what each holds, side by side, and the epochs of all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pyro.util
import torch
from torch import Tensor

from pyrovae._record import NotRecordable
from pyrovae.program import Batch
from pyrovae.svi.batches import Batches
from pyrovae.svi.engines.abreast import Abreast
from pyrovae.svi.engines.recording import Recording, tensors_of
from pyrovae.svi.engines.state import State
from pyrovae.svi.engines.traced import Recordings, shape_of
from pyrovae.svi.loss import Loss
from pyrovae.svi.optimizers import fused_adam, is_plain_adam

__all__ = ["Lanes"]

SETTINGS = ("lr", "betas", "eps", "weight_decay")
MOMENTS = ("exp_avg", "exp_avg_sq")


class Lanes:
    """What a program and its objective hold in each of several chains, which have the program in turn.

    The first epoch of each chain is its own, which makes recordings and the optimiser's state.

    Parameters
    ----------
    loss
        What all of them lower.
    clip_norm
        Largest norm of a chain's gradient; None for any.
    """

    def __init__(self, loss: Loss, clip_norm: float | None) -> None:
        self.loss, self.clip_norm = loss, clip_norm
        self.exchange = getattr(loss.elbo, "exchange_notes", lambda notes: notes)
        self.optimizers: list[torch.optim.Optimizer] = []
        self.places: list[tuple[Any, Any, Tensor]] = []
        self.tensors: list[Tensor] = []
        self.held: list[Tensor] = []  # each of the tensors for all chains, (chains, *shape)
        self.steps: dict[Any, Abreast] = {}  # by the shape of a batch
        self.moments: dict[int, tuple[Tensor, Tensor]] = {}  # of Adam, for all chains, by the number of the tensor
        self.random: dict[int, Any] = {}
        self.notes: dict[int, Any] = {}  # of the objective
        self.given: dict[int, list[tuple[Any, list[Tensor], Batch]]] = {}  # shapes, draws and batch by step
        self.apart = ""  # why each goes by itself from here on

    def begin(self) -> None:
        """Look where the tensors are; let a program that has made others have those of the chains before.

        Raises
        ------
        NotRecordable
            If it has others of them.
        """
        found = State(self.loss)
        if not self.places:
            self.places, self.tensors = found.places, found.tensors
        if [key for _, key, _ in found.places] != [key for _, key, _ in self.places]:
            raise NotRecordable("its parameters are others than before")
        self.places = [(holder, key, t) for (holder, key, _), (*_, t) in zip(found.places, self.places, strict=True)]
        self._put_back()

    def add(self, optimizer: torch.optim.Optimizer) -> None:
        """One more chain, of these tensors and with what they are now."""
        own = [t.detach().clone()[None] for t in self.tensors]
        self.held = [torch.cat(pair) for pair in zip(self.held, own, strict=True)] if self.held else own
        self.optimizers.append(optimizer)

    @contextmanager
    def entered(self, lane: int) -> Iterator[None]:
        """A block in which the program is that of a chain.

        Raises
        ------
        NotRecordable
            If a parameter is another one afterwards.
        """
        own = [t[lane] for t in self.held]
        with torch.no_grad():
            torch._foreach_copy_(self.tensors, own)
        before = self.exchange(self.notes.get(lane, (0, {})))
        try:
            yield
        finally:
            self.notes[lane] = self.exchange(before)
            self._put_back()
            with torch.no_grad():
                torch._foreach_copy_(own, self.tensors)

    def _put_back(self) -> None:
        """Let the chains share their tensors: what a program has assigned instead of one is copied into it."""
        for holder, key, value in self.places:
            if isinstance(holder, dict) and (now := holder.get(key)) is not value:
                if not isinstance(now, Tensor) or _kind(now) != _kind(value):
                    raise NotRecordable("its parameters are others than before")
                value.detach().copy_(now.detach())
                holder[key] = value

    def collect(self, lane: int, batches: Batches, size: int) -> None:
        """Inside of `entered`: the random state, and from it the batches of an epoch and what is drawn for each."""
        self.random[lane] = pyro.util.get_rng_state()
        if self.steps:
            found: list[Any] = []
            for batch in batches.shuffled(size):
                key = shape_of(batch)
                found.append((key, self.steps[key].drawn(), batch))
            self.given[lane] = found

    @contextmanager
    def alone(self, lane: int) -> Iterator[None]:
        """A block in which the program is that of a chain, and the random state that with which its epoch begins."""
        with self.entered(lane):
            pyro.util.set_rng_state(self.random[lane])
            yield

    def take(self, lanes: Sequence[int], recordings: Recordings) -> list[list[float]] | None:
        """An epoch of these chains; by chain, the losses of its steps.

        None, and nothing has changed, where each has to take it by itself: the first, one before which the program has
        changed, one that comes to a number that is not finite, and all where ``apart`` says why.

        Raises
        ------
        NotRecordable
            If a recording no longer does what the program does.
        """
        if not self.steps:
            return None
        if not self._as_before(lanes[0], recordings):
            self.steps = {}
            return None
        try:
            return self._epoch(lanes)
        except NotRecordable as error:
            self.stop(str(error))
        return None

    def stop(self, why: str) -> None:
        """Each takes its steps by itself from here on."""
        self.steps, self.apart = {}, why

    def prepare(self, recordings: Recordings) -> bool:
        """After an epoch that each took by itself: make ready to take the next at once.

        If so, an optimiser's state is another tensor than before.
        """
        if self.steps or self.apart:
            return False
        if any(list(map(id, r.state.tensors)) != list(map(id, self.tensors)) for r in recordings.made.values()):
            return False  # recorded where the program had just assigned others
        try:
            self._prepare(recordings)
        except NotRecordable as error:
            self.stop(str(error))
        return bool(self.steps)

    def _as_before(self, lane: int, recordings: Recordings) -> bool:
        """Whether the program is what was recorded; as an engine looks before an epoch."""
        with self.entered(lane):
            recordings.walk()
            made = recordings.made
            look = recordings.begin()
            if recordings.made is not made:
                return False
            if look:
                recordings.audit(self.given[lane][0][2])
                for step in self.steps.values():
                    step.checked = False
        return True

    def _prepare(self, recordings: Recordings) -> None:
        """Record the step of all chains for each shape of a batch, and put the optimisers' moments side by side."""
        if not all(map(is_plain_adam, self.optimizers)):
            raise NotRecordable("only plain torch.optim.Adam steps abreast")
        count = len(self.optimizers)
        steps = {}
        for key, recording in recordings.made.items():
            examples = [torch.zeros(count, *shape, dtype=dtype, device=device) for shape, dtype, device in key]
            steps[key] = Abreast(recording, self.held, examples, self.clip_norm)
        for index in {i for recording in recordings.made.values() for i in recording.trained}:
            states = [o.state[self.tensors[index]] for o in self.optimizers if self.tensors[index] in o.state]
            if len(states) < count:
                raise NotRecordable("a parameter has had no gradient before")
            first, second = (torch.stack([state[name] for state in states]) for name in MOMENTS)
            self.moments[index] = first, second
            for state, *own in zip(states, first, second, strict=True):
                state.update(zip(MOMENTS, own, strict=True))
        self.steps = steps

    def _epoch(self, lanes: Sequence[int]) -> list[list[float]] | None:
        optimizers = [self.optimizers[lane] for lane in lanes]
        group = optimizers[0].param_groups[0]
        if any(o.param_groups[0][name] != group[name] for o in optimizers for name in SETTINGS):
            raise NotRecordable("their schedules give them other learning rates")
        order = [self.given[lane if lane in lanes else lanes[0]] for lane in range(len(self.optimizers))]
        counts = {i: optimizers[0].state[self.tensors[i]]["step"].clone() for i in self.moments}
        adam = {key: self._adam(step.recording, group, counts) for key, step in self.steps.items()}
        changing = [*self.held, *chain.from_iterable(self.moments.values())]
        kept = [t.clone() for t in changing]
        noted: dict[Any, list[list[Tensor]]] = {key: [] for key in self.steps}
        losses, good = [], False
        try:
            with torch.no_grad():
                for each in zip(*order, strict=True):
                    key = each[0][0]
                    step = self.steps[key]
                    noise = _side_by_side([drawn for _, drawn, _ in each])
                    batch = _side_by_side([tensors_of(rows) for *_, rows in each])
                    if not step.checked:
                        step.check(noise, self.held, batch, lanes)
                    loss, gradients, buffers, sums = step.recording.split(step(noise, self.held, batch))
                    for index, value in zip(step.recording.reassigned, buffers, strict=True):
                        self.held[index].copy_(value)
                    adam[key](gradients)
                    noted[key].append(sums)
                    losses.append(loss)
                values = torch.stack(losses, 1)
                good = bool(self._finite(values)[list(lanes)].all())
        finally:
            if not good:
                for tensor, before in zip(changing, kept, strict=True):
                    tensor.copy_(before)
        if not good:
            return None
        for optimizer in optimizers:
            torch._foreach_copy_([optimizer.state[self.tensors[i]]["step"] for i in counts], [*counts.values()])
        self._tell(lanes, noted)
        return [values[lane].tolist() for lane in lanes]

    def _tell(self, lanes: Sequence[int], noted: dict[Any, list[list[Tensor]]]) -> None:
        """Let the objective note of each chain what it would have noted of its steps."""
        for key, steps in noted.items():
            recording = self.steps[key].recording
            totals = [sum(values[1:], values[0]) for values in zip(*steps, strict=True)]
            for lane in lanes if recording.seen and steps else ():
                before = self.exchange(self.notes.get(lane, (0, {})))
                recording.tell(self.loss.elbo, [t[lane] for t in totals], len(steps))
                self.notes[lane] = self.exchange(before)

    def _adam(self, recording: Recording, group: Any, counts: dict[int, Tensor]) -> Callable[[list[Tensor]], None]:
        trained = recording.trained
        first, second = ([self.moments[i][k] for i in trained] for k in (0, 1))
        return fused_adam(group, [self.held[i] for i in trained], first, second, [counts[i] for i in trained])

    def _finite(self, losses: Tensor) -> Tensor:
        """By chain, of whether its losses, its weights and their moments are."""
        tensors = [t for index, both in self.moments.items() for t in (self.held[index], *both)]
        return (torch.stack([t.reshape(len(t), -1).norm(dim=1) for t in tensors]).sum(0) + losses.sum(1)).isfinite()


def _kind(tensor: Tensor) -> Any:
    return tensor.requires_grad, tensor.shape, tensor.dtype, tensor.device


def _side_by_side(chains: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(tensors) for tensors in zip(*chains, strict=True)]
