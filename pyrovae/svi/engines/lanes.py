"""Several chains of a run abreast: what each holds, side by side, and the epochs of all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro.util
import torch
from torch import Tensor

from pyrovae._record import NotRecordable
from pyrovae.program import Batch
from pyrovae.svi.batches import Batches
from pyrovae.svi.engines.abreast import Abreast
from pyrovae.svi.engines.recording import Recording, tensors_of
from pyrovae.svi.engines.state import State, share_memory
from pyrovae.svi.engines.surroundings import Surroundings
from pyrovae.svi.engines.traced import Recordings, shape_of
from pyrovae.svi.loss import Loss
from pyrovae.svi.optimizers import fused_adam, is_plain_adam

__all__ = ["Lanes"]

MOMENTS = ("exp_avg", "exp_avg_sq")


class Lanes:
    """What a program and its objective hold in each of several chains, which have the program in turn.

    Tensors are each chain's own; all else they share, so it must not change. Methods raise `NotRecordable` where the
    chains cannot be abreast, and what was trained so far is to be thrown away.

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
        self.notes: dict[int, tuple[int, dict[str, Any]]] = {}  # of the objective
        self.random: dict[int, Any] = {}
        self.given: dict[int, list[tuple[Any, list[Tensor], Batch]]] = {}  # shapes, draws and batch by step
        self.steps: dict[Any, Abreast] = {}  # by the shape of a batch
        self.moments: dict[int, tuple[Tensor, Tensor]] = {}  # of Adam, for all chains, by the number of the tensor
        self.passing: list[tuple[int, Tensor]] = []  # tensors that no checkpoint has, and what was in them
        self.shared: Surroundings | None = None

    def begin(self) -> None:
        """Look where the tensors are; let a program that has made others have those of the chains before."""
        found = State(self.loss)
        if not self.places:
            self.places, self.tensors = found.places, found.tensors
            if share_memory(self.tensors):
                raise NotRecordable("two of its tensors share memory")
        if [key for _, key, _ in found.places] != [key for _, key, _ in self.places]:
            raise NotRecordable("each chain has parameters of its own")
        self.places = [(holder, key, t) for (holder, key, _), (*_, t) in zip(found.places, self.places, strict=True)]
        self._put_back()

    def add(self, optimizer: torch.optim.Optimizer) -> None:
        """One more chain, with what is in the tensors now."""
        own = [t.detach().clone()[None] for t in self.tensors]
        self.held = [torch.cat(pair) for pair in zip(self.held, own, strict=True)] if self.held else own
        self.optimizers.append(optimizer)
        kept = [*self.loss.program.weights().values()]
        kept += [t for module in self.loss.modules[:1] for t in module.state_dict(keep_vars=True).values()]
        saved = set(map(id, kept))
        self.passing = [(i, self.held[i].clone()) for i, t in enumerate(self.tensors) if id(t) not in saved]

    def check(self) -> None:
        """That what the chains share is as it was: else one after another they would each go on with another's."""
        if self.shared is None or not self.shared.stands():
            now = Surroundings(self.loss)
            if self.shared is not None and (what := now.changed(self.shared)) is not None:
                raise NotRecordable(f"{what} changes, which chains would share")
            self.shared = now
        if not all(torch.equal(self.held[i], before) for i, before in self.passing):
            raise NotRecordable("a buffer changes that is not saved, and goes from one chain to the next")

    @contextmanager
    def entered(self, lane: int) -> Iterator[None]:
        """A block in which the program is that of a chain."""
        own = [t[lane] for t in self.held]
        with torch.no_grad():
            torch._foreach_copy_(self.tensors, own)
        count, sums = self.notes.pop(lane, (0, {}))
        if count:
            with torch.enable_grad():
                self.loss.elbo.note(count, **sums)
        yield
        self.notes[lane] = self._noted()
        self._put_back()
        with torch.no_grad():
            torch._foreach_copy_(own, self.tensors)

    @contextmanager
    def alone(self, lane: int) -> Iterator[None]:
        """A block in which the program is that of a chain, and the random state that with which its epoch begins."""
        with self.entered(lane):
            pyro.util.set_rng_state(self.random[lane])
            yield

    def collect(self, lane: int, batches: Batches, size: int) -> None:
        """Inside of `entered`: the random state, and from it the batches of an epoch and what is drawn for each."""
        self.random[lane] = pyro.util.get_rng_state()
        if self.steps:
            found: list[Any] = []
            for batch in batches.shuffled(size):
                key = shape_of(batch)
                found.append((key, self.steps[key].drawn(), batch))
            self.given[lane] = found

    def take(self, lanes: Sequence[int], recordings: Recordings) -> list[list[float]] | None:
        """An epoch of these chains; by chain, the losses of its steps. None if each has to take it by itself."""
        if not self.steps or not lanes:
            return None
        with self.entered(lanes[0]):
            recordings.walk()
            made = recordings.made
            look = recordings.begin()
            if recordings.made is not made:
                self.steps = {}
                return None
            if look:
                recordings.audit(self.given[lanes[0]][0][2])
                for step in self.steps.values():
                    step.checked = False
        return self._epoch(lanes)

    def prepare(self, recordings: Recordings) -> bool:
        """After an epoch that each took by itself: record the step of all, for each shape of a batch, if it is time.

        If it was, an optimiser's state is another tensor than before.
        """
        ids = list(map(id, self.tensors))
        if self.steps or any(list(map(id, r.state.tensors)) != ids for r in recordings.made.values()):
            return False  # recorded where the program had just assigned others
        if not all(map(is_plain_adam, self.optimizers)):
            raise NotRecordable("only plain torch.optim.Adam steps abreast")
        count = len(self.optimizers)
        for key, recording in recordings.made.items():
            examples = [torch.zeros(count, *shape, dtype=dtype, device=device) for shape, dtype, device in key]
            self.steps[key] = Abreast(recording, self.held, examples, self.clip_norm)
        for index in {i for recording in recordings.made.values() for i in recording.trained}:
            states = [o.state[self.tensors[index]] for o in self.optimizers if self.tensors[index] in o.state]
            if len(states) < count:
                raise NotRecordable("a parameter has had no gradient before")
            first, second = (torch.stack([state[name] for state in states]) for name in MOMENTS)
            self.moments[index] = first, second
            for state, *own in zip(states, first, second, strict=True):
                state.update(zip(MOMENTS, own, strict=True))
        return True

    def _put_back(self) -> None:
        """Let the chains share their tensors: what a program has assigned instead of one is copied into it."""
        for holder, key, value in self.places:
            if isinstance(holder, dict) and (now := holder.get(key)) is not value:
                if not isinstance(now, Tensor) or _kind(now) != _kind(value):
                    raise NotRecordable(f"{key} becomes another tensor")
                value.detach().copy_(now.detach())
                holder[key] = value

    def _noted(self) -> tuple[int, dict[str, Any]]:
        """What the objective has noted, which it forgets."""
        count, sums = self.exchange((0, {}))
        found = count, dict(sums)
        sums.clear()
        self.exchange((0, sums))
        return found

    def _epoch(self, lanes: Sequence[int]) -> list[list[float]]:
        optimizers = [self.optimizers[lane] for lane in lanes]
        counts = {i: optimizers[0].state[self.tensors[i]]["step"].clone() for i in self.moments}
        adam = {key: self._adam(step.recording, optimizers[0], counts) for key, step in self.steps.items()}
        order = [self.given[lane if lane in lanes else lanes[0]] for lane in range(len(self.optimizers))]
        losses = []
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
                losses.append(loss)
                self._note(step.recording, lanes, sums)
            values = torch.stack(losses, 1)
            tensors = [t for index, moments in self.moments.items() for t in (self.held[index], *moments)]
            norms = torch.stack([t.reshape(len(t), -1).norm(dim=1) for t in tensors]).sum(0) + values.sum(1)
        if not norms[list(lanes)].isfinite().all():
            raise NotRecordable("a number is not finite")
        for optimizer in optimizers:
            torch._foreach_copy_([optimizer.state[self.tensors[i]]["step"] for i in counts], [*counts.values()])
        return [values[lane].tolist() for lane in lanes]

    def _note(self, recording: Recording, lanes: Sequence[int], sums: list[Tensor]) -> None:
        """Keep for the objective what it would have noted of a step of each chain."""
        for lane in lanes if recording.seen else ():
            count, before = self.notes.get(lane, (0, {}))
            own = {name: before.get(name, 0.0) + s[lane] for name, s in zip(recording.noted, sums, strict=True)}
            self.notes[lane] = count + recording.seen, own

    def _adam(
        self, recording: Recording, optimizer: torch.optim.Optimizer, counts: dict[int, Tensor]
    ) -> Callable[[list[Tensor]], None]:
        trained = recording.trained
        first, second = ([self.moments[i][k] for i in trained] for k in (0, 1))
        parameters, steps = [self.held[i] for i in trained], [counts[i] for i in trained]
        return fused_adam(optimizer.param_groups[0], parameters, first, second, steps)


def _kind(tensor: Tensor) -> Any:
    return tensor.requires_grad, tensor.shape, tensor.dtype, tensor.device


def _side_by_side(chains: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(tensors) for tensors in zip(*chains, strict=True)]
