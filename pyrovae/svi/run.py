"""A call of `fit`: its chains, from the start or from a checkpoint, and what they come to."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrovae._rng import Stream, seeded
from pyrovae.program import Program
from pyrovae.structure import trace_pair
from pyrovae.svi.abreast import train_abreast
from pyrovae.svi.batches import Batches
from pyrovae.svi.chain import Chain
from pyrovae.svi.checkpoint import is_due, read_checkpoint, settings_of, write_checkpoint
from pyrovae.svi.distributed import in_order
from pyrovae.svi.engines.choose import choose, is_small, may_be_abreast
from pyrovae.svi.engines.eager import StoppedError
from pyrovae.svi.history import History, to_dataset, versions
from pyrovae.svi.loss import Loss, quiet
from pyrovae.svi.processes import Processes
from pyrovae.svi.progress import progress_bar
from pyrovae.svi.result import EpochEnd, Fit, NonFiniteError
from pyrovae.svi.step import culprit

__all__ = ["Run"]


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
    processes: Processes = field(default_factory=Processes)
    initial: dict[str, Tensor] = field(default_factory=dict)
    initial_loss: dict[str, Tensor] = field(default_factory=dict)
    finished: list[dict[str, Tensor]] = field(default_factory=list)
    histories: list[History] = field(default_factory=list)
    last_checkpoint: float = -math.inf  # the first epoch is kept at once
    chosen: str = "eager"  # the engine
    reason: str = ""  # why it is this one
    recordings: Any = None
    abreast: int = 1  # chains that share the time of an epoch
    told: bool = False  # what no restart draws anew
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
        show = self.progress and self.processes.first
        abreast = self.chosen == "traced" and may_be_abreast(self) and len(pending) in (0, self.restarts)
        with (
            _one_thread(is_small(self) and not abreast),
            progress_bar(show, self.restarts, self.epochs, self.objective.name) as bar,
        ):
            self.note = bar.note
            if not (abreast and train_abreast(self, pending, bar)):
                for number in range(len(self.finished), self.restarts):
                    self._one(number, pending, bar)
            bar.engine = f"{self.chosen} ({self.reason})"
        return self._result()

    def _one(self, number: int, pending: list[dict[str, Any]], bar: Any) -> None:
        """Train a chain, the first that is pending if any is."""
        own = pending.pop(0) if pending else None
        if number and own is None:
            self.restart(number)
        with self.program.scope(), quiet():
            chain = Chain(self, number, own)
            for wanted in chain.epochs(bar):
                if wanted:
                    try:
                        chain.take()
                    except StoppedError as error:
                        raise self._non_finite(error) from None
                elif is_due(self):
                    write_checkpoint(self, [chain.state(), *pending])
            self.finished.append(_copy(self.program.weights()))
        write_checkpoint(self, pending)

    def loss_state(self) -> dict[str, Tensor]:
        """The state of the objective's networks and schedules."""
        return dict(self.objective.modules[0].state_dict()) if self.objective.modules else {}

    def load(self, weights: dict[str, Tensor], loss: dict[str, Tensor]) -> None:
        """Put back weights and a `loss_state`."""
        self.program.load_weights(weights)
        self.load_loss(loss)

    def load_loss(self, state: dict[str, Tensor]) -> None:
        """Put back a `loss_state`."""
        for module in self.objective.modules[:1]:
            module.load_state_dict(state)

    def _given(self, pending: list[dict[str, Any]]) -> dict[str, Any]:
        """What several processes must agree on before they begin."""
        shapes = {name: list(value.shape) for name, value in self.program.weights().items()}
        done = [len(self.finished), [state["epoch"] for state in pending]]
        more = {"order of the data": in_order(self.batches), "chains and epochs in the checkpoint": done}
        return {**settings_of(self), "weights": shapes, **more}

    def restart(self, chain: int) -> None:
        """New initial weights, drawn from this chain's own stream."""
        self.load(self.initial, self.initial_loss)
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
            if kept and not self.told:
                self.told = True
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

    def _non_finite(self, stopped: StoppedError) -> NonFiniteError:
        """Name the site or the parameter that is not finite, on the noise of the failed step."""
        torch.set_rng_state(stopped.random_state)
        blamed, step = culprit(self.program, stopped.batch), stopped.step
        history, chain = self.histories[-1], len(self.finished)
        where = f"epoch {len(history.epochs) + 1}, step {step + 1}"
        where += f", chain {chain + 1}" if self.restarts > 1 else ""
        history.steps += [-value for value in stopped.losses]
        self.finished.append(_copy(self.program.weights()))
        if not history.epochs:
            history.add(math.nan, None, self.lr, 0.0)
        partial = self._result()
        self.program.load_weights(self.finished[chain])
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
