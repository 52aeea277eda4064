"""Rows of `diagnose` on q(z|x): evidence, bound, weights, intervals, Markov chains."""

from __future__ import annotations

import math

import numpy as np

from pyrovae.diagnostics._figures import BOUND, FEW, GUIDE, INTERVALS, SOME, TRAINING, Figures, Row, number
from pyrovae.diagnostics._tree import NotAvailable, refuse_truncated, truncated_sites
from pyrovae.diagnostics.elbo import elbo_terms
from pyrovae.diagnostics.intervals import intervals
from pyrovae.diagnostics.sampler import sampler_checks

__all__ = ["evidence", "mixing", "right_intervals", "tightness", "usability"]

GAP = 0.5
"""Nats per datum: a bound this close to log p(x) ranks models as the evidence would."""
JUDGED = 20
"""Data whose weights can be relied on, from which on q's intervals are judged."""
WIDTH, SHIFT = 1.15, 0.3
"""Of q's standard deviations and means, beside the posterior's: at these a 90 % interval holds 85 % where q is too
narrow, 94 % where it is too wide, and 88 % where it is off."""


def evidence(figures: Figures) -> Row | None:
    """The evidence: a figure to compare with other models', not to judge."""
    if figures.sampled:
        return None
    values = figures.evidence
    n, infinite = values.sizes["obs_id"], int((~np.isfinite(values)).sum())
    if infinite:
        return {
            "figure": f"elpd not finite for {infinite} data",
            "bad": infinite / n,
            "verdict": "bad",
            "fault": f"log p̂(x) of {infinite} data is infinite or not a number",
            "first": TRAINING,
            "action": "look at these data and at the densities log_p and log_q in sample_stats",
        }
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return {
        "figure": f"elpd {'≥ ' if _few(figures) else ''}{number(float(values.mean()))}"
        + (f" ± {error:.2f}" if n > 1 else ""),
        "threshold": "± s.e. over data" if n > 1 else "–",
        "verdict": "–",
        "action": "compare it with another model's on the same data: pv.compare",
    }


def _few(figures: Figures) -> bool:
    """Whether the draws of many data miss so much that log p̂(x) is too low."""
    if truncated_sites(figures.tree):
        return True
    try:
        return figures.unreliable > FEW
    except NotAvailable:
        return False


def tightness(figures: Figures) -> Row | None:
    """The gap between the bound and the evidence."""
    if figures.sampled or figures.corrected:
        return None
    refuse_truncated(figures.tree)
    elbo = elbo_terms(figures.tree)["elbo"]
    if not bool(np.isfinite(elbo).all() & np.isfinite(figures.evidence).all()):
        raise NotAvailable("the ELBO or log p̂(x) is not finite for some data")
    gap = float((figures.evidence - elbo).mean())
    verdict = "good" if gap < GAP else "usable" if gap < 4 * GAP else "bad"
    return {
        "figure": f"ELBO {number(float(elbo.mean()))}, gap {'≥ ' if _few(figures) else ''}{number(gap)}",
        "threshold": f"gap < {GAP}",
        "verdict": verdict,
        "fault": f"the ELBO is {'far ' if verdict == 'bad' else ''}below log p(x)",
        "first": BOUND,
        "action": "–"
        if verdict == "good"
        else "pv.diagnostics.gaps(fit, data): it tells too simple a family of q from "
        "an encoder that misses the best of its family",
    }


def usability(figures: Figures) -> Row | None:
    """Pareto k̂ by datum."""
    if figures.sampled:
        return None
    khat = figures.khat
    limit = khat.attrs["good_k"]
    threshold = f"k̂ < {limit:.2f}"
    if bool(khat["exact"].all()):
        return {"figure": "weights constant: q is exact", "threshold": threshold, "bad": 0.0, "verdict": "good"}
    stats = figures.tree["sample_stats"].dataset
    was = stats.get("pareto_k_before")
    figure = f"k̂ median {number(float(khat['pareto_k'].median()))}"
    figure += f", was {number(float(was.median()))}" if was is not None else ""
    if figures.corrected and "ess" in stats:
        figure += f", ESS median {float(stats['ess'].median()):,.0f} of {khat.attrs['draws']:,}"
    bad = figures.unreliable
    verdict = "good" if bad <= FEW else "usable" if bad <= SOME else "bad"
    many = "many" if verdict == "bad" else "some"
    if figures.corrected:
        fault, action = f"weights cannot correct the draws of {many} data", "pv.refine before pv.correct"
    elif verdict == "bad":
        fault = "q(z|x) cannot stand for the posterior of many data"
        action = (
            "pv.refine(fit, data, tree=tree, everything=True), which improves q datum by datum: weights would not do"
        )
    else:
        fault = "q(z|x) cannot stand for the posterior of some data"
        action = "pv.refine(fit, data, tree=tree) for the data with a bad k̂, then pv.correct: the others' are good"
    return {
        "figure": figure,
        "threshold": threshold,
        "bad": bad,
        "verdict": verdict,
        "fault": fault,
        "first": GUIDE,
        "action": "–" if verdict == "good" else action,
    }


def right_intervals(figures: Figures) -> Row | None:
    """Width and place of q beside the weighted draws, where the weights can be relied on."""
    if figures.sampled or figures.corrected:
        return None
    refuse_truncated(figures.tree)
    found = intervals(figures.tree).isel(chain=0)
    found = found.isel(latent=np.flatnonzero(found["width_median"].notnull()))
    held, width, shift = (found[k].values for k in ("coverage_mean", "width_median", "shift_rms"))
    reliable = int(found["reliable"].sum())
    if reliable < JUDGED:
        raise NotAvailable(f"weights can be relied on for {reliable} data, and q's intervals are judged by {JUDGED}")
    if not len(width):
        raise NotAvailable("no latent varies under the weights of the data that they can be relied on for")
    narrow, off = np.abs(np.log(width)) / np.log(WIDTH), shift / SHIFT
    worst = int(np.argmax(np.maximum(narrow, off)))
    size = float(max(narrow[worst], off[worst]))
    verdict = "good" if size < 1 else "usable" if size < 2 else "bad"
    if off[worst] >= narrow[worst]:
        fault = f"q(z|x) is in the wrong place: its means are off by {shift[worst]:.1f} standard deviations"
        action = "a wider network in the guide, or more training: its means miss the posterior's"
    else:
        how = "narrow" if width[worst] < 1 else "wide"
        fault = f"q(z|x) is too {how}: its standard deviations are {width[worst]:.2f} of the posterior's"
        action = f"a richer guide, or pv.correct, which weights its draws: q is too {how}"
    if "refined" in figures.tree["sample_stats"].dataset:
        action = "pv.correct(tree): the weights of these draws carry them over"
    share = float(found["share_reliable"])
    if share < 1 - FEW:
        fault += f", of the {100 * share:.0f} % of the data that can be judged"
    name = str(found["latent"].values[worst])
    return {
        "figure": f"{name}: width {width[worst]:.2f}, shift {shift[worst]:.2f}, 90 % holds {100 * held[worst]:.0f} %",
        "threshold": f"{1 / WIDTH:.2f} to {WIDTH}, < {SHIFT}",
        "verdict": verdict,
        "fault": fault,
        "first": INTERVALS if share > 0.5 else GUIDE,
        "action": "–" if verdict == "good" else action,
    }


def mixing(figures: Figures) -> Row | None:
    """Of Markov chains only: R̂, effective draws, divergences."""
    if not figures.sampled:
        return None
    found = sampler_checks(figures.tree)
    rhat, ess = found.attrs["rhat"], found.attrs["ess"]
    least = np.minimum(found["ess_bulk"], found["ess_tail"])
    wrong = (found["rhat"] > rhat) | (least < ess) | (found["divergences"] > 0)
    bad = float(wrong.mean())
    verdict = "good" if bad <= FEW else "usable" if bad <= SOME else "bad"
    return {
        "figure": f"R̂ ≤ {float(found['rhat'].max()):.3f}, ESS ≥ {float(least.min()):,.0f}",
        "threshold": f"R̂ < {rhat}, ESS > {ess:,}",
        "bad": bad,
        "verdict": verdict,
        "fault": f"the Markov chains of {'many' if verdict == 'bad' else 'some'} data have not mixed",
        "first": GUIDE,
        "action": "–"
        if verdict == "good"
        else "more warmup= and draws= in pv.posterior: the chains disagree or move too slowly",
    }
