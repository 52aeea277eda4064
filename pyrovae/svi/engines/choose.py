"""Which engine runs the steps, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyrovae.svi.engines.compiled import Compiled, missing_compiler
from pyrovae.svi.engines.eager import Eager
from pyrovae.svi.engines.sharded import Sharded, check_shareable
from pyrovae.svi.engines.traced import Recordings, Traced

if TYPE_CHECKING:
    from pyrovae.svi.run import Run

__all__ = ["ENGINES", "check_engine", "choose", "is_small", "make_engine", "may_be_abreast"]

ENGINES = ("auto", "eager", "traced", "compiled")
LBFGS = "L-BFGS evaluates the loss several times in a step"
RECORDED = 1_000  # steps from which on a recording, of a second or less, has paid
SMALL_STEP = 2e7  # multiplications of a batch
TOGETHER, COPIES = 1 << 28, 8  # bytes, of the batches of an epoch of all chains and so many copies of their weights
ABREAST = 4  # how many times as much compiling has to save where chains are abreast without it
COMPILING = 30.0  # seconds, of a program of common size, when nothing is on disk yet
# What a compiled step saves beside a replayed one, measured: seconds, and one more for so many multiplications.
CALLS, ARITHMETIC = 2e-4, 2e12


def check_engine(engine: str) -> str:
    """One of `ENGINES`.

    Raises
    ------
    ValueError
        If it is none.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine: expected one of {', '.join(map(repr, ENGINES))}, got {engine!r}")
    return engine


def choose(run: Run) -> tuple[str, str]:
    """The engine for a run, and the reason in a few words.

    The choice follows from the run's own numbers, not from the machine's load, so that the same run makes it again.
    """
    steps = run.restarts * run.epochs * -(-len(run.batches) // run.batch_size)
    if run.processes.size > 1:
        return "traced", check_shareable(run)
    made = getattr(run.optimizer, "func", run.optimizer)
    if made is torch.optim.LBFGS:
        return "eager", LBFGS
    if not run.objective.differentiable:
        return "eager", f"{type(run.objective.elbo).__name__} differentiates by itself"
    if run.engine == "compiled" and (missing := missing_compiler(run.batches.x.device)):
        return "traced", missing
    if run.engine != "auto":
        return run.engine, "asked for"
    if steps < RECORDED:
        return "eager", f"{steps:,} steps do not pay for a recording"
    weights = sum(p.numel() for p in run.objective.parameters())
    saved = steps * (CALLS + 3.0 * run.batch_size * weights / ARITHMETIC)
    if saved < 2 * COMPILING * (ABREAST if may_be_abreast(run) else 1):
        return "traced", f"{steps:,} steps pay for a recording, not for a compiler"
    if (missing := missing_compiler(run.batches.x.device)) or made is not torch.optim.Adam:
        return "traced", missing or "the optimiser is not Adam, which alone is compiled"
    return "compiled", f"compiled, {steps:,} steps take some {saved:.0f} s less"


def is_small(run: Run) -> bool:
    """Whether a step is so light that threads would cost more in waiting than they save."""
    return run.batch_size * sum(p.numel() for p in run.program.parameters()) < SMALL_STEP


def may_be_abreast(run: Run) -> bool:
    """Whether the chains of a run could take their steps together, and would gain by it.

    They would come to what they come to one after another, to rounding, which ``engine="auto"`` alone allows. Callbacks
    are promised one chain after another, and a schedule of the user's may remember.
    """
    plain = run.optimizer is torch.optim.Adam and run.objective.precision == "float32" and not run.program.updates
    users = run.callbacks or run.schedule not in (None, "cosine")
    if run.engine != "auto" or run.restarts < 2 or run.finished or users or not plain or not is_small(run):
        return False
    data = run.batches
    if data.stored is not None or data.x.device.type != "cpu":
        return False
    weights = sum(p.nbytes for p in run.objective.parameters())
    return run.restarts * (data.x.nbytes + COPIES * weights) <= TOGETHER


def make_engine(run: Run, optimizer: torch.optim.Optimizer) -> Any:
    """The engine of a chain."""
    if isinstance(optimizer, torch.optim.LBFGS):
        run.chosen, run.reason = "eager", LBFGS
    if run.chosen == "eager":
        return Eager(run.objective, optimizer, run.clip_norm)
    run.recordings = run.recordings or Recordings(run.objective)
    if run.processes.size > 1:
        return Sharded(run.objective, optimizer, run.clip_norm, run.recordings, run.processes)
    if run.chosen == "compiled":
        full = len(run.batches) // run.batch_size
        quiet = run.batches.data.draw is None
        return Compiled(run.objective, optimizer, run.clip_norm, run.recordings, full, quiet=quiet, note=run.note)
    return Traced(run.objective, optimizer, run.clip_norm, run.recordings)
