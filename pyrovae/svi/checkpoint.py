"""Checkpoints of a run: what is kept, and whether one is of this run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pyrovae.svi.folder import SETTINGS, RunFolderError, read_state, write_state
from pyrovae.svi.history import History
from pyrovae.svi.optimizers import scheduler_state

if TYPE_CHECKING:
    from pyrovae.svi.run import Run

__all__ = ["read_checkpoint", "settings_of", "write_checkpoint"]


def settings_of(run: Run) -> dict[str, Any]:
    """What must agree between an interrupted run and the one that goes on with it."""
    elbo = run.objective.elbo
    plain = {k: v for k, v in vars(elbo).items() if isinstance(v, (int, float, str))}
    return {
        "program": type(run.program).__name__,
        "loss": type(elbo).__name__,
        "loss_arguments": repr(elbo) if run.objective.modules else plain,
        "optimizer": getattr(run.optimizer, "__name__", repr(run.optimizer)),
        "lr": run.lr,
        "schedule": getattr(run.schedule, "__name__", str(run.schedule)),
        "epochs": run.epochs,
        "clip_norm": run.clip_norm,
        "precision": run.objective.precision,
        "batch_size": run.batch_size,
        "patience": run.patience,
        "seed": run.seed,
        "restarts": run.restarts,
        "data": run.batches.data.name,
        "n": len(run.batches),
        "event_shape": list(run.batches.x.shape[1:]),
        "data_sum": run.batches.sums,
        "n_validation": 0 if run.held_out is None else len(run.held_out),
        "validation_sum": None if run.held_out is None else run.held_out.sums,
    }


def write_checkpoint(
    run: Run,
    epoch: int = 0,
    optimizer: Any = None,
    scheduler: Any = None,
    history: History | None = None,
    best: Any = None,
) -> None:
    """Keep the finished chains and, with a history, the one that is at this epoch, if the last time is long enough ago.

    Without one, a chain has ended, which is kept at once.
    """
    due = history is None or time.monotonic() - run.last_checkpoint >= run.checkpoint_seconds
    if run.folder is None or not due or not run.processes.first:
        return
    pending = None
    if history is not None:
        pending = {
            "epoch": epoch,
            "weights": dict(run.program.weights()),
            "loss": run.loss_state(),
            "optimizer": optimizer.state_dict(),
            "scheduler": None if scheduler is None else scheduler_state(scheduler.state_dict()),
            "history": history.state(),
            "best": best,
        }
    write_state(
        run.folder / "checkpoint",
        {
            "settings": settings_of(run),
            "initial": run.initial,
            "initial_loss": run.initial_loss,
            "finished": run.finished,
            "histories": [h.state() for h in run.histories[: len(run.finished)]],
            "pending": pending,
        },
    )
    run.last_checkpoint = time.monotonic()


def read_checkpoint(run: Run) -> dict[str, Any] | None:
    """Take up the finished chains that the run's folder keeps; the state of the chain that was interrupted, if one was.

    Raises
    ------
    RunFolderError
        If it is damaged, or of a run with other settings.
    """
    if run.folder is None or not (run.folder / "checkpoint" / SETTINGS).exists():
        return None
    state = read_state(run.folder / "checkpoint")
    ours, theirs = settings_of(run), state["settings"]
    other = [f"{k}: {theirs.get(k)!r} then, {v!r} now" for k, v in ours.items() if theirs.get(k, v) != v]
    if other:
        raise RunFolderError(
            f"{run.folder} holds a checkpoint of a run with other settings ({'; '.join(other)}): use the same "
            "settings, or another folder"
        )
    run.initial, run.finished = state["initial"], state["finished"]
    run.initial_loss = state.get("initial_loss", {})
    run.histories = [History.from_state(h) for h in state["histories"]]
    if run.finished:
        run.program.load_weights(run.finished[-1])
    pending: dict[str, Any] | None = state["pending"]
    return pending
