"""The one training loop: chains of epochs of steps, with validation, callbacks and checkpoints."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import Trace_MMD
from torch import Tensor

from pyrovae._modes import evaluating
from pyrovae._record import NotRecordable
from pyrovae._rng import Stream, derive, seed_all, seeded
from pyrovae.program import Batch, Program
from pyrovae.schedules import Scheduled
from pyrovae.structure import trace_pair
from pyrovae.svi.batches import Batches
from pyrovae.svi.checkpoint import read_checkpoint, settings_of, write_checkpoint
from pyrovae.svi.distributed import in_order
from pyrovae.svi.engines.choose import choose, make_engine
from pyrovae.svi.engines.compiled import NotCompilable
from pyrovae.svi.engines.eager import Eager, StoppedError
from pyrovae.svi.engines.precision import products_in
from pyrovae.svi.engines.sharded import cannot_share
from pyrovae.svi.engines.snapshot import Snapshot, finite_values
from pyrovae.svi.engines.traced import OutdatedError
from pyrovae.svi.history import History, to_dataset, versions
from pyrovae.svi.loss import Loss, quiet
from pyrovae.svi.optimizers import (
    load_optimizer,
    make_optimizer,
    make_scheduler,
    step_scheduler,
)
from pyrovae.svi.processes import Processes
from pyrovae.svi.progress import progress_bar
from pyrovae.svi.result import EpochEnd, Fit, NonFiniteError
from pyrovae.svi.step import culprit

__all__ = ["Run"]

EVALUATION_ROWS = 2048
SMALL_STEP = 2e7  # multiplications of a batch, below which threads cost more in waiting than they save


@dataclass
class Run:
    """One call of `fit`: its arguments, and the chains so far."""

    program: Program
    batches: Batches
    held_out: Batches | None
    objective: Loss
    optimizer: Callable[..., torch.optim.Optimizer]
    lr: float
    schedule: str | Callable[[torch.optim.Optimizer], Any] | None
    clip_norm: float | None
    epochs: int
    batch_size: int
    patience: int | None
    seed: int
    restarts: int
    callbacks: tuple[Callable[[EpochEnd], Any], ...]
    folder: Path | None
    checkpoint_seconds: float
    progress: bool
    engine: str = "auto"
    precision: str = "float32"
    processes: Processes = field(default_factory=Processes)
    initial: dict[str, Tensor] = field(default_factory=dict)
    initial_loss: dict[str, Tensor] = field(default_factory=dict)
    finished: list[dict[str, Tensor]] = field(default_factory=list)
    histories: list[History] = field(default_factory=list)
    last_checkpoint: float = -math.inf  # the first epoch is kept at once
    chosen: str = "eager"  # the engine
    reason: str = ""  # why it is this one
    recordings: Any = None
    note: Callable[[str], None] = lambda _: None  # tells people why a step takes long

    def all(self) -> Fit:
        """Every chain, from the start or from the checkpoint."""
        for module in self.objective.modules[:1]:  # it holds the others
            module.to(self.batches.x.device).train()
        self.initial, self.initial_loss = _copy(self.program.weights()), _copy(self.loss_state())
        self.chosen, self.reason = choose(self)
        pending = read_checkpoint(self)
        if self.processes.size > 1:
            self.processes.check_same(self._given(pending))
        weights = sum(p.numel() for p in self.program.parameters())
        show = self.progress and self.processes.first
        with (
            _one_thread(self.batch_size * weights < SMALL_STEP),
            progress_bar(show, self.restarts, self.epochs, self.objective.name) as bar,
        ):
            self.note = bar.note
            for chain in range(len(self.finished), self.restarts):
                self._chain(chain, pending, bar)
                pending = None
            bar.engine = f"{self.chosen} ({self.reason})"
        return self._result()

    def _chain(self, chain: int, pending: dict[str, Any] | None, bar: Any) -> None:
        if chain and pending is None:
            self._restart(chain)
        with self.program.scope(), quiet():
            parameters = self.objective.groups(self.lr)
            if not parameters and self.program.updates:
                parameters = [torch.zeros((), requires_grad=True)]  # for an optimiser with nothing to do
            if not parameters:
                raise ValueError("the program has no parameters to train; pv.posterior takes it as it is")
            optimizer = make_optimizer(self.optimizer, parameters, self.lr)
            scheduler = make_scheduler(self.schedule, optimizer, self.epochs)
            history, start = History(settled=self._settled()), 0
            best: dict[str, Tensor] | None = None
            if pending is not None:
                self.program.load_weights(pending["weights"])
                self._load_loss(pending.get("loss", {}))
                load_optimizer(optimizer, pending["optimizer"])
                if scheduler is not None:
                    scheduler.load_state_dict(pending["scheduler"])
                history, start, best = History.from_state(pending["history"]), pending["epoch"], pending["best"]
            self.processes.broadcast([*self.program.weights().values(), *self.loss_state().values()])
            known = set(pyro.get_param_store().keys())
            self.histories.append(history)
            engine = make_engine(self, optimizer)
            self._measures()  # what another run left in the objective
            bar.start(chain, start)
            for epoch in range(start, self.epochs):
                if history.stopped:
                    break
                began = time.perf_counter()
                seed_all(derive(self.seed, Stream.EPOCH, chain, epoch))
                self._advance(epoch)
                if self.program.updates:
                    with torch.no_grad():
                        self.program.update(self.batches.x, self.batches.context)
                value = None
                while value is None:
                    try:
                        value = self._epoch(engine, epoch, optimizer, history)
                    except NotRecordable as error:
                        engine = self._fall_back(error, engine, optimizer)
                    except StoppedError as error:
                        raise self._non_finite(chain, epoch, error) from None
                bar.step(-(-len(self.batches) // self.batch_size))
                held_out = self._validate(self.held_out)
                rate = optimizer.param_groups[0]["lr"]
                history.add(value, held_out, float(rate), time.perf_counter() - began, self._measures())
                if scheduler is not None:
                    step_scheduler(scheduler, value if held_out is None else held_out)
                if self.patience is not None and history.is_best():
                    best = _copy(self.program.weights())
                bar.epoch(epoch, value, held_out)
                end = EpochEnd(self.program, chain, epoch, self.epochs, value, held_out, float(rate))
                answers = [callback(end) for callback in self.callbacks]
                stopped = any(answer is True for answer in answers) or (
                    self.patience is not None and history.since_best() >= self.patience
                )
                if self.processes.size > 1:
                    figures = {"bound": value, "validation bound": math.nan if held_out is None else held_out}
                    stopped = self.processes.check_epoch(epoch, self._trained(optimizer), figures, stopped)
                history.stopped = stopped
                write_checkpoint(self, epoch + 1, optimizer, scheduler, history, best)
            self._refuse_late(known)
            self._warn_unfinished(history)
            if best is not None:
                self.program.load_weights(best)
            self.finished.append(_copy(self.program.weights()))
        write_checkpoint(self)

    def _advance(self, epoch: int) -> None:
        """Tell the modules that follow a schedule which epoch begins."""
        for module in (*self.program.modules(), *self.objective.modules):
            advance = getattr(module, "advance", None)
            if callable(advance):
                advance(epoch)

    def _warn_unfinished(self, history: History) -> None:
        """A schedule that training did not see through left another program than was asked for."""
        named = [*self.program.named_modules(), *(("loss", m) for m in self.objective.modules)]
        for name, module in named:
            unfinished = getattr(module, "unfinished", None)
            says = unfinished(len(history.epochs)) if callable(unfinished) else None
            if says:
                warnings.warn(f"{name}: {says}", UserWarning, stacklevel=2)

    def _settled(self) -> int:
        """The first epoch, from 0, in which all schedules have reached their end."""
        modules = (*self.program.modules(), *self.objective.modules)
        return max((getattr(m.schedule, "epochs", 1) - 1 for m in modules if isinstance(m, Scheduled)), default=0)

    def _measures(self) -> dict[str, float]:
        """What the objective tells of the epoch."""
        measures = getattr(self.objective.elbo, "measures", None)
        return measures() if callable(measures) else {}

    def loss_state(self) -> dict[str, Tensor]:
        """The state of the objective's networks and schedules."""
        return dict(self.objective.modules[0].state_dict()) if self.objective.modules else {}

    def _load_loss(self, state: dict[str, Tensor]) -> None:
        for module in self.objective.modules[:1]:
            module.load_state_dict(state)

    def _refuse_late(self, known: set[str]) -> None:
        """Parameters that a loss brings (a kernel's) are not the program's; the program's own must not come late."""
        store = pyro.get_param_store()
        late = sorted(set(store.keys()) - known - {f"declared.{n}" for n, _ in self.program.named_parameters()})
        if late and not isinstance(self.objective.elbo, Trace_MMD):
            raise ValueError(
                f"the parameters {', '.join(late)} first appeared in training, after the optimiser had been made, and "
                "were not trained: declare them (pyro.param) on every path through the program"
            )
        for name in set(store.keys()) - known:
            del store[name]

    def _epoch(self, engine: Any, epoch: int, optimizer: torch.optim.Optimizer, history: History) -> float:
        """Take the steps of an epoch; the mean of their bounds over the data.

        If an engine that does not look at each number meets one that is not finite, or cannot go on, the weights are
        put back, and in the first case the epoch is run again by one that does look.
        """
        size, first = len(self.batches), not history.steps
        careful = isinstance(engine, Eager)
        kept = None if careful else Snapshot(engine.recordings.walk(), optimizer)
        try:
            with products_in(self.precision):
                losses = engine.epoch(self._shuffled(), first=first)
            values = losses if careful else finite_values(losses, self._trained(optimizer))
        except NotRecordable:
            self._put_back(kept)
            raise
        if values is None:
            self._put_back(kept)
            engine.forget()
            return self._epoch(Eager(self.objective, optimizer, self.clip_norm), epoch, optimizer, history)
        total = 0.0
        for start, value in zip(range(0, size, self.batch_size), values, strict=True):
            history.steps.append(-value)
            total += -value * min(self.batch_size, size - start) / size
        return total

    def _trained(self, optimizer: torch.optim.Optimizer) -> list[Tensor]:
        """The parameters and the optimiser's own: moments overflow where a gradient did."""
        held = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        return [t for t in (*self.objective.parameters(), *held) if t.is_floating_point()]

    def _shuffled(self) -> Iterator[Batch]:
        """All training data in a new order, batch by batch."""
        return self.batches.shuffled(self.batch_size)

    def _put_back(self, kept: Snapshot | None) -> None:
        if kept is not None:
            kept.restore()
            self._measures()

    def _fall_back(self, error: NotRecordable, engine: Any, optimizer: torch.optim.Optimizer) -> Any:
        """Go on with the next plainer engine."""
        if self.processes.size > 1:
            raise ValueError(cannot_share(str(error), self.processes.size)) from error
        if isinstance(error, OutdatedError):
            warnings.warn(
                f"engine={self.chosen!r}: the program has changed, at some time in the last "
                f"{engine.recordings.epochs - error.since} epochs, in a way that its recording did not follow "
                f"({error}). From here on it is run as Python; steps before may have been those of the program as it "
                "was: fit again with engine='eager'",
                UserWarning,
                stacklevel=2,
            )
        if isinstance(error, NotCompilable):
            self.chosen, self.reason = "traced", f"the program cannot be compiled: {error}"
        else:
            self.chosen, self.reason = "eager", f"the program cannot be recorded: {error}"
        return make_engine(self, optimizer)

    def _validate(self, held_out: Batches | None) -> float | None:
        """The bound on validation data, on the same noise each time."""
        if held_out is None:
            return None
        rows, least = min(EVALUATION_ROWS, self.objective.structure.full_size or EVALUATION_ROWS), self.objective.least
        if least > 1:  # a figure of whole batches is compared at one size of them
            rows = min(self.batch_size, len(held_out))
            while 0 < len(held_out) % rows < least:
                rows += 1
        with evaluating(self.program), seeded(self.seed, Stream.VALIDATION), torch.no_grad():
            total = sum(self.objective.value(batch) * len(batch) for _, batch in held_out.blocks(rows))
        return -total / len(held_out)

    def _given(self, pending: dict[str, Any] | None) -> dict[str, Any]:
        """What several processes must agree on before they begin."""
        shapes = {name: list(value.shape) for name, value in self.program.weights().items()}
        done = [len(self.finished), None if pending is None else pending["epoch"]]
        more = {"order of the data": in_order(self.batches), "chains and epochs in the checkpoint": done}
        return {**settings_of(self), "weights": shapes, **more}

    def _restart(self, chain: int) -> None:
        """New initial weights, drawn from this chain's own stream."""
        self.program.load_weights(self.initial)
        self._load_loss(self.initial_loss)
        with seeded(self.seed, Stream.INITIAL, chain):
            for module in self.objective.modules[:1]:
                module.reset_parameters()  # type: ignore[operator]
            kept = self.program.reset_parameters()
            trained = [n for n, p in self.program.named_parameters() if p.requires_grad]
            if kept and len(kept) == len(trained):
                raise ValueError(
                    f"restarts={self.restarts} needs independent initial weights, and no module of the program has a "
                    "reset_parameters() that draws new ones: give your modules one, or fit once per program"
                )
            if kept and chain == 1:
                warnings.warn(
                    f"every chain starts from the same {', '.join(kept[:4])}{' …' if len(kept) > 4 else ''}: what "
                    "holds them has no reset_parameters()",
                    UserWarning,
                    stacklevel=2,
                )
            with self.program.scope(), torch.no_grad():
                self.program.adapt(*self.batches.sample())
                trace_pair(self.program, self.batches.take(slice(0, 2)))

    def _result(self) -> Fit:
        kept_best = self.patience is not None
        history = to_dataset(self.histories, kept_best=kept_best, label=self.objective.label)
        if getattr(self.objective.elbo, "game", False):
            history.attrs["game"] = 1
        chains = [*self.finished] or [_copy(self.program.weights())]
        best = max(range(len(chains)), key=lambda c: self.histories[c].quality(kept_best))
        self.program.load_weights(chains[best])
        settings = {
            **settings_of(self),
            "engine": self.chosen,
            "engine_reason": self.reason,
            "best_chain": best,
            "versions": versions(),
        }
        return Fit(self.program, history, settings, chains)

    def _non_finite(self, chain: int, epoch: int, stopped: StoppedError) -> NonFiniteError:
        """Name the site or the parameter that is not finite, on the noise of the failed step."""
        torch.set_rng_state(stopped.random_state)
        blamed, step = culprit(self.program, stopped.batch), stopped.step
        self.histories[-1].steps += [-value for value in stopped.losses]
        chains = len(self.finished)
        self.finished.append(_copy(self.program.weights()))
        if not self.histories[chains].epochs:
            self.histories[chains].add(math.nan, None, self.lr, 0.0)
        partial = self._result()
        self.program.load_weights(self.finished[chains])
        where = f"epoch {epoch + 1}, step {step + 1}" + (f", chain {chain + 1}" if self.restarts > 1 else "")
        return NonFiniteError(
            f"the loss stopped being finite at {where}: {blamed}. The program keeps its last finite weights. Lower "
            "lr, clip the gradient (clip_norm=1.0), or rescale the data",
            partial,
        )


@contextmanager
def _one_thread(wanted: bool) -> Iterator[None]:
    """A block on one thread of the processor."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}
