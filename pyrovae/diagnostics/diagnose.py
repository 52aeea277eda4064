"""One table of verdicts: what can be trusted, and what to do about the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import xarray as xr

from pyrovae._numbers import at_least
from pyrovae.diagnostics import _rows_inference as inference
from pyrovae.diagnostics import _rows_model as model
from pyrovae.diagnostics import _rows_training as training
from pyrovae.diagnostics._figures import Figures, Row
from pyrovae.diagnostics._tree import NotAvailable, chosen, one_chain, stats
from pyrovae.diagnostics.diagnosis import Diagnosis

__all__ = ["CHECKS", "diagnose"]

USABLE = "Is q(z|x) usable for each datum?"
SAMPLED = "Have the chains mixed?"
WEIGHTED = "the draws, taken with their weights psis_log_weight,"

CHECKS: Mapping[str, Callable[[Figures], Row | None]] = {
    "Does it describe these data?": inference.evidence,
    "Is the bound tight?": inference.tightness,
    USABLE: inference.usability,
    "Are q's intervals right?": inference.right_intervals,
    SAMPLED: inference.mixing,
    "Are all latents used?": model.latents,
    "Does the likelihood fit?": model.likelihood,
    "Is the prior matched?": model.prior,
    "Has training converged?": training.converged,
    "Did training stop in time?": training.in_time,
    "Is q calibrated? (simulated data only)": model.calibrated,
    "Is log p̂(x) right? (simulated data only)": model.bracketed,
}
"""The table's rows, in order: a question, and what answers it; None where it does not arise for this tree."""


def diagnose(tree: xr.DataTree, fit: Any = None, data: Any = None, *, context: Any = None, seed: int = 0) -> Diagnosis:
    """Judge a posterior tree: figure, threshold, verdict and what to do, a row per question.

    A tree with several chains is judged on the one that the fit chose. R̂ and effective sample sizes of the guide's
    draws are not looked at: these are independent, whatever the guide's quality. Those of `posterior` with
    ``method="nuts"`` are.

    Parameters
    ----------
    tree
        From `pyrovae.posterior`, best on held-out data; also after `pyrovae.correct` or `pyrovae.refine`.
    fit, data, context
        The fit or program and data like those it is meant for: adds checks on data simulated from the model, which
        take about a minute, and which say nothing of data that the model would not make.
    seed
        Of what is drawn by the checks: permutations, and data that are simulated.

    Returns
    -------
    Diagnosis
        Prints as a table.

    Raises
    ------
    NotAvailable
        If this is no tree of draws with log likelihoods.
    ValueError
        If ``fit`` is given without ``data`` or the other way round.
    """
    log_lik = stats(tree, "log_lik")
    seed = at_least("seed", seed, 0)
    if (fit is None) != (data is None):
        raise ValueError(
            "expected a fit together with data (their shape and context are simulated), or neither: "
            "pv.diagnose(tree, fit, data)"
        )
    draws, n, chains = (log_lik.sizes[dim] for dim in ("draw", "obs_id", "chain"))
    sampled = tree.attrs.get("method") == "nuts"
    chain = 0 if sampled else chosen(tree, log_lik)
    judged = one_chain(tree, None if sampled else chain)
    figures = Figures(judged, None if fit is None else (fit, data, context), seed)
    found = []
    for question, check in CHECKS.items():
        try:
            row = check(figures)
        except ValueError as error:  # what this tree cannot give; of a fit and data that do not suit, an error
            if check in (model.calibrated, model.bracketed) and not isinstance(error, NotAvailable):
                raise
            row = {"figure": "–", "verdict": "not available", "action": str(error)}
        if row is not None:
            blank = {"question": question, "threshold": "–", "bad": math.nan, "action": "–", "fault": "", "first": 0}
            found.append(blank | row)
    title, core = _title(tree, draws, n, chains, chain), SAMPLED if sampled else USABLE
    stands = WEIGHTED if tree.attrs.get("corrected") == "psis" else "the draws"
    return Diagnosis(pd.DataFrame(found), title, core, stands)


def _title(tree: xr.DataTree, draws: int, n: int, chains: int, chain: int) -> str:
    sampled = tree.attrs.get("method") == "nuts"
    name = tree.attrs.get("data", "")
    parts = [str(tree.attrs.get("program", "program")), f"{n:,} data{f' of {name}' if name else ''}"]
    parts.append(f"{chains} × {draws:,} draws by NUTS" if sampled else f"{draws:,} draws each")
    if chains > 1 and not sampled:
        parts.append(f"chain {chain + 1} of {chains}")
    if tree.attrs.get("corrected"):
        parts.append("corrected by weights")
    if "refined" in tree["sample_stats"].dataset:
        parts.append(f"{int(tree['sample_stats'].dataset['refined'].sum()):,} refined")
    return " · ".join([*parts, "nats per datum"])
