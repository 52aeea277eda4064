"""Rows of `diagnose` on training: whether it was long enough, and whether it was too long."""

from __future__ import annotations

from pyrovae._labels import without_numbers
from pyrovae.diagnostics._figures import TRAINING, Figures, Row
from pyrovae.diagnostics._tree import NotAvailable

__all__ = ["converged", "in_time"]

RHAT, STEADY = 1.1, 0.1
"""Of windows of the path, and in nats per datum: an unfinished fit gains little more by the same rate, and far more by
another, so that the least gain counts that noise does not make."""
PATIENCE = 8
"""Epochs after the best one, from which on training is seen to have stopped for lack of gain."""
CHANGE = 0.5


def converged(figures: Figures) -> Row | None:
    """Whether the optimiser stopped moving."""
    history = figures.history
    rhat, change, remaining, after = (float(history[k].values[0]) for k in ("rhat", "change", "remaining", "after"))
    if after >= PATIENCE:
        return {"figure": f"best {after:.0f} epochs before the end", "threshold": "–", "verdict": "good"}
    falls, name = change < 0, without_numbers(history.attrs["objective"])
    what = "the bound" if name == "ELBO" else name
    good = rhat < RHAT or (abs(change) < STEADY and remaining < STEADY)
    good |= falls and "validation_loss" in history  # it has passed its best: `in_time` judges by how much
    verdict = "good" if good else "usable" if falls or remaining < 4 * CHANGE else "bad"
    return {
        "figure": f"{name} {f'falls {-change:.2f}' if falls else f'may rise {remaining:.2f}'}, R̂ {rhat:.2f}",
        "threshold": f"< {STEADY}, or R̂ < {RHAT}",
        "verdict": verdict,
        "fault": "training has not converged" if verdict == "bad" else "training may not have converged",
        "first": TRAINING,
        "action": "–"
        if good
        else f"a lower lr: {what} falls"
        if falls
        else f"more epochs, or a larger lr: {what} was still rising, and what else is found here may change",
    }


def in_time(figures: Figures) -> Row | None:
    """Whether training went on too long."""
    if "validation_loss" not in figures.history:
        raise NotAvailable("fit with validation= to see whether training went on too long")
    loss = float(figures.history["validation_loss"].values[0])
    verdict = "good" if loss < CHANGE else "usable" if loss < 4 * CHANGE else "bad"
    return {
        "figure": f"{loss:.2f} below its best",
        "threshold": f"< {CHANGE}",
        "verdict": verdict,
        "fault": f"training went on {'' if verdict == 'bad' else 'a little '}too long",
        "first": TRAINING,
        "action": "–"
        if loss < CHANGE
        else "patience=20 in pv.fit, which goes back to the best epoch: the program learned its training data by heart",
    }
