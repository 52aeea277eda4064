"""Checkpoints of a run: what is kept, and whether one is of this run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyrovae.svi.folder import SETTINGS, RunFolderError, read_state, write_state
from pyrovae.svi.history import History

if TYPE_CHECKING:
    from pyrovae.svi.run import Run

__all__ = ["is_due", "read_checkpoint", "settings_of", "write_checkpoint"]


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


def is_due(run: Run) -> bool:
    """Whether the last checkpoint is long enough ago."""
    return run.folder is not None and time.monotonic() - run.last_checkpoint >= run.checkpoint_seconds


def write_checkpoint(run: Run, pending: Sequence[dict[str, Any]] = ()) -> None:
    """Keep the finished chains, and the states of those that come after them and have begun."""
    if run.folder is None or not run.processes.first:
        return
    write_state(
        run.folder / "checkpoint",
        {
            "settings": settings_of(run),
            "initial": run.initial,
            "initial_loss": run.initial_loss,
            "finished": run.finished,
            "histories": [h.state() for h in run.histories[: len(run.finished)]],
            "pending": list(pending),
        },
    )
    run.last_checkpoint = time.monotonic()


def read_checkpoint(run: Run) -> list[dict[str, Any]]:
    """Take up the finished chains that the run's folder keeps; the states of those that come after and had begun.

    Raises
    ------
    RunFolderError
        If it is damaged, or of a run with other settings.
    """
    if run.folder is None or not (run.folder / "checkpoint" / SETTINGS).exists():
        return []
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
    pending: list[dict[str, Any]] = state["pending"]
    return pending
