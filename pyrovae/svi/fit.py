"""The one training loop: stochastic variational inference on a program as it is written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyrovae._numbers import at_least, positive
from pyrovae._rng import derive, preserved, seed_all, seeded
from pyrovae.program import Program, as_program
from pyrovae.structure import evaluating, inspect_program, trace_pair, training_modes
from pyrovae.svi.batches import Batches, prepare
from pyrovae.svi.door import check_data, check_gradients
from pyrovae.svi.folder import SETTINGS, RunFolderError, read_state, write_state
from pyrovae.svi.history import History, to_dataset, versions
from pyrovae.svi.loss import Loss, as_elbo, quiet
from pyrovae.svi.progress import progress_bar
from pyrovae.svi.result import EpochEnd, Fit, NonFiniteError

__all__ = ["fit"]

EVALUATION_ROWS = 2048
_INITIAL, _VALIDATION = 2**31, 2**31 + 1  # streams beside the epochs'


def fit(
    program: Any,
    data: Any,
    *,
    context: Any = None,
    loss: Any = None,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    lr: float = 3e-3,
    schedule: str | Callable[[torch.optim.Optimizer], Any] | None = "cosine",
    clip_norm: float | None = None,
    epochs: int = 100,
    batch_size: int = 100,
    validation: Any = None,
    patience: int | None = None,
    seed: int = 0,
    restarts: int = 1,
    callbacks: Sequence[Callable[[EpochEnd], Any]] = (),
    resume: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    progress: bool = True,
) -> Fit:
    """Fit a program to data by stochastic variational inference.

    The program is trained in place and is left with the weights of its best chain. Pyro's global parameter store, its
    settings and the global random state are left as they were. The same seed, initial weights and machine give the
    same bits; initial weights are drawn where a network is built, so seed before building it, or build it as the
    library left it.

    Parameters
    ----------
    program
        A `pyrovae.VAE`, a `pyrovae.Program`, or any object with ``model`` and ``guide``.
    data, validation
        Data set, tensor, array, DataFrame, DataArray, torch Dataset or DataLoader, (n, *event). NaN means missing,
        for a guide that can be told which cells are. Validation data change nothing in the model; they are evaluated
        after each epoch with the same noise, in ``eval`` mode.
    context
        Covariates (n, c), given to the parts that take them; a validation set brings its own,
        ``pv.data.as_data(x, context=c)``.
    loss
        An ELBO object of Pyro's or its class; `pyro.infer.Trace_ELBO` by default.
    optimizer
        Called as ``optimizer(parameters, lr=lr)``: a class of `torch.optim` or a `functools.partial` of one; Adam by
        default. Losses and gradients are per datum.
    schedule
        "cosine": the learning rate falls from ``lr`` to 0 over the epochs along half a cosine; None: it stays; or a
        function ``optimizer -> scheduler`` of `torch.optim.lr_scheduler`. Stepped after each epoch.
    clip_norm
        Largest norm of the gradient of the loss per datum.
    patience
        Stop a chain after so many epochs without a higher bound on the validation data (on the training data without
        them), and go back to its best weights.
    restarts
        Number of chains: the first from the program's weights, the others from newly drawn ones.
    callbacks
        Called after each epoch with an `EpochEnd`; one that returns True stops the chain.
    resume
        A folder for checkpoints, written every ``checkpoint_seconds``: if it holds those of an interrupted run with
        the same settings, the run goes on where it was, to the same bits.
    progress
        Show a bar with rate and time left.

    Returns
    -------
    Fit
        With ``program``, ``history`` (nats per datum) and ``save``.

    Raises
    ------
    ValueError
        Before the first epoch: data off a likelihood's support, parts that do not fit, a site without a guide, a
        parameter that gets no gradient, a plate that is not the data's, arguments out of range.
    NonFiniteError
        When the loss or its gradient is not finite, naming epoch, step and site; it carries the fit so far.

    References
    ----------
    Hoffman, Blei, Wang & Paisley 2013, 1206.7051; Kingma & Welling 2013, 1312.6114, algorithm 1.
    """
    program = as_program(program)
    epochs, batch_size, restarts = (
        at_least(name, value, 1)
        for name, value in (("epochs", epochs), ("batch_size", batch_size), ("restarts", restarts))
    )
    patience = None if patience is None else at_least("patience", patience, 1)
    lr = positive("lr", lr)
    clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
    if callable(callbacks) or not all(callable(callback) for callback in callbacks):
        raise TypeError("callbacks: expected a list of functions of an EpochEnd, such as [print]")
    if resume is not None and Path(resume).is_file():
        raise NotADirectoryError(f"resume: expected a folder for checkpoints, {resume} is a file")
    if isinstance(validation, tuple):
        raise TypeError("validation: expected data, got a tuple; with a context: pv.data.as_data(x, context=c)")
    elbo = as_elbo(Trace_ELBO() if loss is None else loss)
    batches = prepare(program, data, context)
    held_out = None if validation is None else prepare(program, validation)
    with preserved():
        with _buffers_kept_on_error(program):
            program.adapt(batches.x)
            structure = inspect_program(program, *_first_rows(batches))
            check_data(program, structure, batches)
            if held_out is not None:
                check_data(program, structure, held_out, "validation data")
            objective = Loss(elbo, program, structure, len(batches))
        run = _Run(
            program=program,
            batches=batches,
            held_out=held_out,
            objective=objective,
            optimizer=optimizer or torch.optim.Adam,
            lr=lr,
            schedule=schedule,
            clip_norm=clip_norm,
            epochs=epochs,
            batch_size=min(batch_size, len(batches)),
            patience=patience,
            seed=seed,
            restarts=restarts,
            callbacks=tuple(callbacks),
            folder=None if resume is None else Path(resume),
            checkpoint_seconds=checkpoint_seconds,
            progress=progress,
        )
        with training_modes(program):
            return run.all()


@dataclass
class _Run:
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
    initial: dict[str, Tensor] = field(default_factory=dict)
    finished: list[dict[str, Tensor]] = field(default_factory=list)
    histories: list[History] = field(default_factory=list)
    last_checkpoint: float = field(default_factory=time.monotonic)

    def all(self) -> Fit:
        """Every chain, from the start or from the checkpoint."""
        self.initial = _copy(self.program.weights())
        pending = self._read_checkpoint()
        steps = math.ceil(len(self.batches) / self.batch_size)
        with progress_bar(self.progress, self.restarts, self.epochs, steps) as bar:
            for chain in range(len(self.finished), self.restarts):
                self._chain(chain, pending, bar)
                pending = None
        return self._result()

    def _chain(self, chain: int, pending: dict[str, Any] | None, bar: Any) -> None:
        if chain and pending is None:
            self._restart(chain)
        with self.program.scope(), quiet():
            parameters = [p for p in self.program.parameters() if p.requires_grad]
            if not parameters:
                raise ValueError("the program has no parameters to train; pv.posterior takes it as it is")
            optimizer = _make_optimizer(self.optimizer, parameters, self.lr)
            scheduler = _make_scheduler(self.schedule, optimizer, self.epochs)
            history, start = History(), 0
            best: dict[str, Tensor] | None = None
            if pending is not None:
                self.program.load_weights(pending["weights"])
                optimizer.load_state_dict(_integer_keys(pending["optimizer"]))
                if scheduler is not None:
                    scheduler.load_state_dict(pending["scheduler"])
                history, start, best = History.from_state(pending["history"]), pending["epoch"], pending["best"]
            self.histories.append(history)
            bar.start(chain, start)
            for epoch in range(start, self.epochs):
                if history.stopped:
                    break
                began = time.perf_counter()
                seed_all(derive(self.seed, chain, epoch))
                value = self._epoch(chain, epoch, optimizer, history, bar)
                held_out = self._validate(self.held_out)
                rate = optimizer.param_groups[0]["lr"]
                history.add(value, held_out, float(rate), time.perf_counter() - began)
                if scheduler is not None:
                    _step_scheduler(scheduler, value if held_out is None else held_out)
                if self.patience is not None and history.is_best():
                    best = _copy(self.program.weights())
                bar.epoch(epoch, value, held_out)
                end = EpochEnd(self.program, chain, epoch, self.epochs, value, held_out, float(rate))
                answers = [callback(end) for callback in self.callbacks]
                history.stopped = any(answer is True for answer in answers) or (
                    self.patience is not None and history.since_best() >= self.patience
                )
                self._checkpoint(epoch + 1, optimizer, scheduler, history, best)
            if best is not None:
                self.program.load_weights(best)
            self.finished.append(_copy(self.program.weights()))
        self._checkpoint(0, None, None, None, None, force=True)

    def _epoch(self, chain: int, epoch: int, optimizer: torch.optim.Optimizer, history: History, bar: Any) -> float:
        total, size = 0.0, len(self.batches)
        order = torch.randperm(size).to(self.batches.x.device)
        for step, index in enumerate(order.split(self.batch_size)):
            args = self.batches.take(index)
            state = torch.get_rng_state()
            value = take_step(self.objective, args, optimizer, self.clip_norm, first=not history.steps)
            if not math.isfinite(value):
                raise self._non_finite(chain, epoch, step, args, state)
            history.steps.append(-value)
            total += -value * len(index) / size
            bar.step()
        return total

    def _validate(self, held_out: Batches | None) -> float | None:
        """The bound on validation data, on the same noise each time."""
        if held_out is None:
            return None
        rows = min(EVALUATION_ROWS, self.objective.structure.full_size or EVALUATION_ROWS)
        with evaluating(self.program), seeded(self.seed, _VALIDATION), torch.no_grad():
            total = sum(self.objective.value(args) * args[0].shape[0] for _, args in held_out.blocks(rows))
        return -total / len(held_out)

    def _restart(self, chain: int) -> None:
        """New initial weights, drawn from this chain's own stream."""
        self.program.load_weights(self.initial)
        with seeded(self.seed, _INITIAL, chain):
            changed = self.program.reset_parameters()
            if not changed:
                raise ValueError(
                    f"restarts={self.restarts} needs independent initial weights, and no module of the program has a "
                    "reset_parameters() that draws new ones: give your modules one, or fit once per program"
                )
            with self.program.scope(), torch.no_grad():
                trace_pair(self.program, self.batches.take(slice(0, 2)))

    def _result(self) -> Fit:
        history = to_dataset(self.histories)
        which = "elbo_validation" if self.held_out is not None else "elbo"
        last = [h.final(which) for h in self.histories]
        chains = [*self.finished] or [_copy(self.program.weights())]
        best = max(range(len(chains)), key=lambda c: last[c])
        self.program.load_weights(chains[best])
        settings = {**self._settings(), "best_chain": best, "versions": versions()}
        return Fit(self.program, history, settings, chains)

    def _settings(self) -> dict[str, Any]:
        """What must agree between an interrupted run and the one that goes on with it."""
        return {
            "program": type(self.program).__name__,
            "loss": type(self.objective.elbo).__name__,
            "optimizer": getattr(self.optimizer, "__name__", repr(self.optimizer)),
            "lr": self.lr,
            "schedule": getattr(self.schedule, "__name__", str(self.schedule)),
            "epochs": self.epochs,
            "clip_norm": self.clip_norm,
            "batch_size": self.batch_size,
            "patience": self.patience,
            "seed": self.seed,
            "restarts": self.restarts,
            "data": self.batches.data.name,
            "n": len(self.batches),
            "event_shape": list(self.batches.x.shape[1:]),
            "data_sum": float(torch.nan_to_num(self.batches.x.double()).sum()),
            "n_validation": 0 if self.held_out is None else len(self.held_out),
        }

    def _checkpoint(
        self, epoch: int, optimizer: Any, scheduler: Any, history: History | None, best: Any, *, force: bool = False
    ) -> None:
        if self.folder is None or not (force or time.monotonic() - self.last_checkpoint >= self.checkpoint_seconds):
            return
        pending = None
        if history is not None:
            pending = {
                "epoch": epoch,
                "weights": dict(self.program.weights()),
                "optimizer": optimizer.state_dict(),
                "scheduler": None if scheduler is None else _plain(scheduler.state_dict()),
                "history": history.state(),
                "best": best,
            }
        write_state(
            self.folder / "checkpoint",
            {
                "settings": self._settings(),
                "initial": self.initial,
                "finished": self.finished,
                "histories": [h.state() for h in self.histories[: len(self.finished)]],
                "pending": pending,
            },
        )
        self.last_checkpoint = time.monotonic()

    def _read_checkpoint(self) -> dict[str, Any] | None:
        if self.folder is None or not (self.folder / "checkpoint" / SETTINGS).exists():
            return None
        state = read_state(self.folder / "checkpoint")
        ours, theirs = self._settings(), state["settings"]
        other = [f"{k}: {theirs.get(k)!r} then, {v!r} now" for k, v in ours.items() if theirs.get(k) != v]
        if other:
            raise RunFolderError(
                f"{self.folder} holds a checkpoint of a run with other settings ({'; '.join(other)}): use the same "
                "settings, or another folder"
            )
        self.initial, self.finished = state["initial"], state["finished"]
        self.histories = [History.from_state(h) for h in state["histories"]]
        if self.finished:
            self.program.load_weights(self.finished[-1])
        pending: dict[str, Any] | None = state["pending"]
        return pending

    def _non_finite(self, chain: int, epoch: int, step: int, args: tuple[Tensor, ...], state: Tensor) -> NonFiniteError:
        """Name the site or the parameter that is not finite, on the noise of the failed step."""
        torch.set_rng_state(state)
        with torch.no_grad():
            culprit = _culprit(self.program, args)
        if culprit is None:
            bad = [n for n, p in self.program.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
            culprit = f"every site is finite, the gradient of {', '.join(bad[:3]) or 'the loss'} is not"
        chains = len(self.finished)
        self.finished.append(_copy(self.program.weights()))
        if not self.histories[chains].epochs:
            self.histories[chains].add(math.nan, None, self.lr, 0.0)
        partial = self._result()
        self.program.load_weights(self.finished[chains])
        where = f"epoch {epoch + 1}, step {step + 1}" + (f", chain {chain + 1}" if self.restarts > 1 else "")
        return NonFiniteError(
            f"the loss stopped being finite at {where}: {culprit}. The program keeps its last finite weights. Lower "
            "lr, clip the gradient (clip_norm=1.0), or rescale the data",
            partial,
        )


def take_step(
    objective: Loss,
    args: tuple[Tensor, ...],
    optimizer: torch.optim.Optimizer,
    clip_norm: float | None,
    *,
    first: bool = False,
) -> float:
    """One step of the optimiser; returns the loss, and takes no step if it or its gradient is not finite."""

    def gradients() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        return objective.gradients(args)

    if isinstance(optimizer, torch.optim.LBFGS):  # evaluates the loss several times: on the same noise
        state = torch.get_rng_state()

        def closure() -> float:
            torch.set_rng_state(state)
            value = gradients().item()
            if first:
                check_gradients(objective.program)
            return value

        return float(optimizer.step(closure))
    loss = gradients()
    if first:
        check_gradients(objective.program)
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    value = float(loss + 0 * norm)
    if math.isfinite(value):
        if clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
        optimizer.step()
    return value


def _culprit(program: Program, args: tuple[Tensor, ...]) -> str | None:
    try:
        guide = poutine.trace(program.guide).get_trace(*args)
        model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*args)
        for role, trace in (("guide", guide), ("model", model)):
            for name, site in trace.nodes.items():
                if site["type"] == "sample":
                    for what, value in (("value", site["value"]), ("log density", site["fn"].log_prob(site["value"]))):
                        if not value.isfinite().all():
                            return f"the {what} of site '{name}' in the {role} is {value[~value.isfinite()][0]:g}"
    except (RuntimeError, ValueError) as error:
        return str(error)
    return None


def _make_optimizer(make: Callable[..., Any], parameters: list[Tensor], lr: float) -> torch.optim.Optimizer:
    if isinstance(make, torch.optim.Optimizer) or not callable(make) or "pyro" in type(make).__module__:
        raise TypeError(
            "optimizer: expected a class of torch.optim or functools.partial of one, which is called as "
            f"optimizer(parameters, lr=lr); got an instance of {type(make).__module__}.{type(make).__name__}"
        )
    if make is torch.optim.Adam and all(p.is_floating_point() for p in parameters):
        return torch.optim.Adam(parameters, lr=lr, fused=True)
    optimizer: torch.optim.Optimizer = make(parameters, lr=lr)
    return optimizer


def _make_scheduler(make: Any, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
    if make is None:
        return None
    if make == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    if not callable(make):
        raise ValueError(
            f'schedule: expected "cosine", None, or a function of an optimizer that returns a scheduler, got {make!r}'
        )
    try:
        return make(optimizer)
    except TypeError as error:
        raise TypeError(
            "schedule: expected a function of the optimizer alone, such as "
            f"lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=30); calling it raised: {error}"
        ) from error


def _step_scheduler(scheduler: Any, elbo: float) -> None:
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        scheduler.step(-elbo)
    else:
        scheduler.step()


@contextmanager
def _buffers_kept_on_error(program: Program) -> Iterator[None]:
    """A block that, if it fails, leaves the program's buffers as they were."""
    before = {name: value.clone() for name, value in program.named_buffers()}
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for name, value in program.named_buffers():
                value.copy_(before[name])
        raise


def _first_rows(batches: Batches) -> tuple[Tensor, Tensor | None]:
    args = batches.take(slice(0, 3))
    return args[0], args[1] if len(args) > 1 else None


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in state.items() if isinstance(v, (int, float, str, bool, list, tuple, dict, type(None)))}


def _integer_keys(state: dict[str, Any]) -> dict[str, Any]:
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in state["param_groups"]]
    return {"state": {int(k): v for k, v in state["state"].items()}, "param_groups": groups}
