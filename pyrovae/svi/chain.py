"""One chain of a run: epochs of steps, with validation, callbacks and checkpoints."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro.infer import Trace_MMD
from torch import Tensor

from pyrovae._memory import is_out_of_memory
from pyrovae._modes import evaluating
from pyrovae._record import NotRecordable
from pyrovae._rng import Stream, derive, preserved, seed_all, seeded
from pyrovae.svi.batches import Batches
from pyrovae.svi.engines.choose import make_engine
from pyrovae.svi.engines.compiled import NotCompilable
from pyrovae.svi.engines.eager import Eager
from pyrovae.svi.engines.sharded import cannot_share
from pyrovae.svi.engines.snapshot import Snapshot, finite_values, held_by
from pyrovae.svi.engines.traced import OutdatedError
from pyrovae.svi.history import History
from pyrovae.svi.optimizers import load_optimizer, make_optimizer, make_scheduler, scheduler_state, step_scheduler
from pyrovae.svi.result import EpochEnd
from pyrovae.svi.scheduled import advance, settled, warn_unfinished

if TYPE_CHECKING:
    from pyrovae.svi.run import Run

__all__ = ["Chain"]

EVALUATION_ROWS = 2048


class Chain:
    """An optimiser of the program's weights as they are, what moves its rate, what takes its steps, and its history.

    Parameters
    ----------
    run, number
        The run, and which of its chains, from 0.
    pending
        The state of one that was interrupted, to go on with.
    """

    def __init__(self, run: Run, number: int, pending: dict[str, Any] | None) -> None:
        self.run, self.number, self.program, self.objective = run, number, run.program, run.objective
        parameters = self.objective.groups(run.lr)
        if not parameters and self.program.updates:
            parameters = [torch.zeros((), requires_grad=True)]  # for an optimiser with nothing to do
        if not parameters:
            raise ValueError("the program has no parameters to train; pv.posterior takes it as it is")
        self.optimizer = make_optimizer(run.optimizer, parameters, run.lr)
        self.scheduler = make_scheduler(run.schedule, self.optimizer, run.epochs)
        self.history, self.start = History(settled=settled(self.objective)), 0
        self.best: dict[str, Tensor] | None = None
        if pending is not None:
            self.program.load_weights(pending["weights"])
            run.load_loss(pending.get("loss", {}))
            load_optimizer(self.optimizer, pending["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(pending["scheduler"])
            self.history = History.from_state(pending["history"])
            self.start, self.best = pending["epoch"], pending["best"]
        run.processes.broadcast([*self.program.weights().values(), *run.loss_state().values()])
        self.known = set(pyro.get_param_store().keys())
        run.histories.append(self.history)
        self.engine = make_engine(run, self.optimizer)
        size, batch = len(run.batches), run.batch_size
        self.sizes = [min(batch, size - start) for start in range(0, size, batch)]

    def epochs(self, bar: Any) -> Iterator[bool]:
        """All epochs: True when the steps of one are to be taken, by `take`, and False when it is over.

        In the end the program has the weights that the chain keeps.
        """
        run, history = self.run, self.history
        self._measures()  # what another run left in the objective
        bar.start(self.number, self.start)
        seeds = self._seeds()
        for epoch in range(self.start, run.epochs):
            if history.stopped:
                break
            began = time.perf_counter()
            seed_all(next(seeds))
            advance(self.objective, epoch)
            if self.program.updates:
                with torch.no_grad():
                    self.program.update(run.batches.x, run.batches.context)
            yield True
            value = self._mean()
            bar.step(len(self.sizes))
            held_out = self._validate(run.held_out)
            rate = float(self.optimizer.param_groups[0]["lr"])
            seconds = (time.perf_counter() - began) / run.abreast
            history.add(value, held_out, rate, seconds, self._measures())
            if self.scheduler is not None:
                step_scheduler(self.scheduler, value if held_out is None else held_out)
            since_best = 0 if run.patience is None else history.since_best()
            if run.patience is not None and not since_best:
                self.best = {name: weight.detach().clone() for name, weight in self.program.weights().items()}
            bar.epoch(epoch, value, held_out)
            end = EpochEnd(self.program, self.number, epoch, run.epochs, value, held_out, rate)
            answers = [callback(end) for callback in run.callbacks]
            stopped = any(answer is True for answer in answers) or (
                run.patience is not None and since_best >= run.patience
            )
            if run.processes.size > 1:
                figures = {"bound": value, "validation bound": math.nan if held_out is None else held_out}
                held = [*self.objective.parameters(), *held_by(self.optimizer)]
                stopped = run.processes.check_epoch(epoch, held, figures, stopped)
            history.stopped = stopped
            yield False
        self._last_look()
        self._refuse_late()
        warn_unfinished(self.objective, len(history.epochs))
        if self.best is not None:
            self.program.load_weights(self.best)

    def state(self) -> dict[str, Any]:
        """What a chain that is given it as ``pending`` goes on from, after the last epoch; nothing is copied."""
        return {
            "epoch": len(self.history.epochs),
            "weights": dict(self.program.weights()),
            "loss": self.run.loss_state(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else scheduler_state(self.scheduler.state_dict()),
            "history": self.history.state(),
            "best": self.best,
        }

    def _seeds(self) -> Iterator[int]:
        """The seeds of the epochs; some are derived together, which in between the steps takes four times as long."""
        for first in range(self.start, self.run.epochs, 64):
            epochs = range(first, min(first + 64, self.run.epochs))
            yield from [derive(self.run.seed, Stream.EPOCH, self.number, epoch) for epoch in epochs]

    def take(self) -> None:
        """Take the steps of an epoch, if need be by a plainer engine.

        Raises
        ------
        StoppedError
            If a loss or a gradient is not finite.
        """
        values = None
        while values is None:
            try:
                values = self._losses(self.engine)
            except NotRecordable as error:
                self.fall_back(error)
        self.took(values)

    def took(self, losses: list[float]) -> None:
        """The steps of an epoch have been taken."""
        self.history.steps += [-loss for loss in losses]

    def _mean(self) -> float:
        """Of the bounds of the epoch's steps, over the data."""
        size, values = len(self.run.batches), self.history.steps[-len(self.sizes) :]
        return sum(value * n / size for value, n in zip(values, self.sizes, strict=True))

    def _losses(self, engine: Any) -> list[float]:
        """The losses of an epoch's steps.

        If an engine that does not look at each number meets one that is not finite, or cannot go on, as for lack of
        memory, the weights are put back, and in the first case the epoch is run again by one that does look.
        """
        run, first = self.run, not self.history.steps
        if isinstance(engine, Eager):
            return engine.epoch(run.batches.shuffled(run.batch_size), first=first)
        kept = Snapshot(engine.recordings.walk(), self.optimizer)
        try:
            losses = engine.epoch(run.batches.shuffled(run.batch_size), first=first)
        except Exception as error:
            lacking = is_out_of_memory(error)
            if lacking or isinstance(error, NotRecordable):
                self._put_back(kept)
            if not lacking:
                raise
            engine.recordings.code.clear()  # which may hold some
            kind = NotCompilable if run.chosen == "compiled" else NotRecordable
            raise kind("its steps need more memory than there is") from None
        own = [p for group in self.optimizer.param_groups for p in group["params"]]
        held = held_by(self.optimizer)  # moments overflow where a gradient did
        values = finite_values(losses, [t for t in (*own, *held) if t.is_floating_point()])
        if values is None:
            self._put_back(kept)
            engine.forget()
            return self._losses(Eager(self.objective, self.optimizer, run.clip_norm))
        return values

    def _put_back(self, kept: Snapshot) -> None:
        kept.restore()
        self._measures()

    def fall_back(self, error: NotRecordable) -> None:
        """Go on with the next plainer engine."""
        run = self.run
        if run.processes.size > 1:
            raise ValueError(cannot_share(str(error), run.processes.size)) from error
        if isinstance(error, OutdatedError):
            self._warn(error, "From here on it is run as Python; steps before")
        if isinstance(error, NotCompilable):
            run.chosen, run.reason = "traced", f"the program cannot be compiled: {error}"
        else:
            run.chosen, run.reason = "eager", f"the program cannot be recorded: {error}"
        self.engine = make_engine(run, self.optimizer)

    def _last_look(self) -> None:
        """Whether the recording still does what the program does, now that the last step is taken."""
        recordings = getattr(self.engine, "recordings", None)
        if recordings is None or not recordings.made or self.run.processes.size > 1:
            return
        if recordings.walk().changed(recordings.given) is not None:
            return  # after the last step, and would have been followed
        with preserved():
            batch = self.run.batches.take(slice(0, self.run.batch_size))
        try:
            recordings.audit(batch)
        except OutdatedError as error:
            self._warn(error, "The last steps")

    def _warn(self, error: OutdatedError, which: str) -> None:
        warnings.warn(
            f"engine={self.run.chosen!r}: the program has changed, at some time in the last "
            f"{self.engine.recordings.epochs - error.since} epochs, in a way that its recording did not follow "
            f"({error}). {which} may have been those of the program as it was: fit again with engine='eager'",
            UserWarning,
            stacklevel=2,
        )

    def _validate(self, held_out: Batches | None) -> float | None:
        """The bound on validation data, on the same noise each time."""
        if held_out is None:
            return None
        rows, least = min(EVALUATION_ROWS, self.objective.structure.full_size or EVALUATION_ROWS), self.objective.least
        if least > 1:  # a figure of whole batches is compared at one size of them
            rows = min(self.run.batch_size, len(held_out))
            while 0 < len(held_out) % rows < least:
                rows += 1
        with evaluating(self.program), seeded(self.run.seed, Stream.VALIDATION), torch.no_grad():
            total = sum(self.objective.value(batch) * len(batch) for _, batch in held_out.blocks(rows))
        return -total / len(held_out)

    def _measures(self) -> dict[str, float]:
        """What the objective tells of the epoch."""
        measures = getattr(self.objective.elbo, "measures", None)
        return measures() if callable(measures) else {}

    def _refuse_late(self) -> None:
        """Parameters that a loss brings (a kernel's) are not the program's; the program's own must not come late."""
        store = pyro.get_param_store()
        late = sorted(set(store.keys()) - self.known - {f"declared.{n}" for n, _ in self.program.named_parameters()})
        if late and not isinstance(self.objective.elbo, Trace_MMD):
            raise ValueError(
                f"the parameters {', '.join(late)} first appeared in training, after the optimiser had been made, and "
                "were not trained: declare them (pyro.param) on every path through the program"
            )
        for name in set(store.keys()) - self.known:
            del store[name]
