"""Evidence and reliability of many data in one pass that keeps no draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive, seed_all
from pyrovae.diagnostics._psis import FEWEST, psis
from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics.evidence import importance_evidence
from pyrovae.diagnostics.reliability import good_k
from pyrovae.draws.blocks import draw, spans
from pyrovae.draws.target import evaluation
from pyrovae.draws.tree import MemoryTree, dataset

__all__ = ["importance"]

DATA = 64  # whose weights are judged together


def importance(fit: Any, data: Any, *, context: Any = None, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """log p̂(x), its error, and Pareto k̂ of each datum, from draws that are forgotten as soon as they are weighed.

    The same figures as `log_evidence` and `pareto_k` of a tree, for data whose draws memory or disk would not hold:
    it takes as much memory as a block of draws does. A fit is judged by the restart that it chose.

    Parameters
    ----------
    fit
        A `pyrovae.Fit` or a program.
    data, context
        As for `pyrovae.fit`; ideally held out.
    draws
        Draws per datum, at least 30.
    seed
        Decides every draw.

    Returns
    -------
    xarray.Dataset
        By ``obs_id``: ``log_evidence`` and its Monte Carlo standard error ``mcse``, ``elbo`` and ``elbo_mcse``, nats;
        ``ess`` = (Σw)²/Σw²; ``pareto_k``, and ``exact`` where the weights are constant. ``attrs["good_k"]`` is the
        threshold of k̂.

    Raises
    ------
    ValueError
        If the data do not suit the program, or data share latents, so that they have no weights of their own.
    """
    at_least("draws", draws, 1)
    if draws < FEWEST:
        raise NotAvailable(f"Pareto k̂ needs at least {FEWEST} draws per datum, got {draws}: raise draws=")
    out = MemoryTree()
    with evaluation(fit, data, context) as e:
        if e.plan.shared:
            names = ", ".join(f"'{s.name}'" for s in e.plan.shared)
            raise NotAvailable(f"the latents {names} are shared by all data, so a datum has no weights of its own")
        waiting: list[tuple[slice, np.ndarray]] = []
        for block, parts in spans(e.plan, len(e.batches), draws, e.rows):
            seed_all(derive(seed, Stream.IMPORTANCE, block.start))
            batch = e.batches.take(block)
            with e.program.once(batch):
                pieces = [draw(e.program, e.plan, batch, m, kl=False).log_weight for m in parts]
            waiting.append((block, torch.cat(pieces).T.cpu().double().numpy()))
            if block.stop - waiting[0][0].start >= DATA or block.stop == len(e.batches):
                rows = slice(waiting[0][0].start, block.stop)
                figures = _figures(np.concatenate([w for _, w in waiting]))
                out.append(
                    "importance", dataset({k: (("obs_id",), v) for k, v in figures.items()}, e.batches.data, rows)
                )
                waiting = []
    found = out.close({})["importance"].to_dataset()
    return found.assign_attrs(good_k=good_k(draws), draws=draws, units="nats per datum")


def _figures(log_weight: np.ndarray) -> dict[str, np.ndarray]:
    """Of log weights (datum, draw)."""
    evidence, mcse, ess = importance_evidence(log_weight)
    _, khat, exact = psis(log_weight)
    draws = log_weight.shape[-1]
    return {
        "log_evidence": evidence,
        "mcse": mcse,
        "elbo": log_weight.mean(-1),
        "elbo_mcse": log_weight.std(-1, ddof=1) / np.sqrt(draws),
        "ess": ess,
        "pareto_k": khat,
        "exact": exact,
    }
