"""Rows of `diagnose` on the model: latents, likelihood, prior, and what data simulated from it show."""

from __future__ import annotations

import numpy as np
from scipy.stats import kstest

from pyrovae.diagnostics._figures import GUIDE, LATENTS, LEVEL, LIKELIHOOD, PRIOR, SOME, Figures, Row, probability
from pyrovae.diagnostics._tree import NotAvailable, latent_sites, point_sites, truncated_sites
from pyrovae.diagnostics.aggregate import prior_match
from pyrovae.diagnostics.annealing import bdmc
from pyrovae.diagnostics.calibration import calibration, pits
from pyrovae.diagnostics.latents import active_units, collapse
from pyrovae.diagnostics.predictive import MATERIAL, predictive_check
from pyrovae.diagnostics.sbc import sbc

__all__ = ["bracketed", "calibrated", "latents", "likelihood", "prior"]

MUCH, MOST = 0.5, 9
"""Standard deviations between data and replicates, from which on a likelihood is bad, and told no more."""
SEVERAL = 10
"""Data, from which on the variance of their means says whether a latent is used."""
EFFECT = 0.01
"""Energy coefficient of a mismatch that matters: a shift of all latents by a fifth of their standard deviation."""
BIAS, DISPERSION, DISTANCE = 0.03, 0.2, 0.05
"""Of mean ranks, of their log variance ratio, and between their ECDF and the diagonal: what is found below these is too
small to matter."""
SIMULATIONS = 50
"""Of bidirectional Monte Carlo."""
SHORT = 0.25
"""Nats per datum that log p̂(x) may be too low."""


def latents(figures: Figures) -> Row | None:
    """How many latents carry something."""
    tree = figures.tree
    sites = [s for s in latent_sites(tree) if tree["posterior"][s].dtype.kind == "f"]
    if not sites:
        raise NotAvailable("the latents of a datum are categories, which have no variance")
    n = tree["posterior"].sizes["obs_id"]
    if n < SEVERAL:
        raise NotAvailable(
            f"what a latent says differs between data, and of {n} that cannot be seen: use {SEVERAL} or more"
        )
    each = {site: np.atleast_1d(active_units(tree, site=site)["active"].values[:1]).ravel() for site in sites}
    active = np.concatenate(list(each.values()))
    try:
        collapsed = 0 if figures.sampled else sum(int(collapse(tree, site=s)["collapsed"].sum()) for s in sites)
    except NotAvailable:
        collapsed = 0
    idle = 1 - float(active.mean())
    verdict = "good" if idle == 0 else "usable" if idle < 1 else "bad"
    fewer = f"latents={active.sum()}"
    if len(each) > 1:
        counts = ", ".join(f"{own.sum()} of {own.size} of {site}" for site, own in each.items())
        fewer = f"fewer latents: {counts} are active"
    return {
        "figure": f"{active.sum()} of {active.size} active" + (f", {collapsed} collapsed" if collapsed else ""),
        "threshold": "Var E z > 1% of prior",
        "bad": idle,
        "verdict": verdict,
        "fault": "no latent carries anything" if verdict == "bad" else "some latents carry nothing",
        "first": LATENTS,
        "action": "–"
        if idle == 0
        else f"{fewer}: the others repeat their prior, and cost nothing but time"
        if idle < 1
        else "a weaker likelihood network, or a smaller lr: the data are described without z",
    }


def likelihood(figures: Figures) -> Row | None:
    """Data against replicates of them, given the latents."""
    found = predictive_check(figures.tree, seed=figures.seed)
    n = figures.tree["sample_stats"].sizes["obs_id"]
    if found.sizes["statistic"] * 2.0 ** (1 - n) > LEVEL:
        raise NotAvailable(f"{n} data and their replicates can be exchanged in too few ways for a test: use 12 or more")
    p, worst = found.attrs["p"], found.attrs["worst"]
    wrong = found.where(found["found"], drop=True)
    if wrong.sizes["statistic"]:
        worst = str(wrong["statistic"].values[int(np.argmax(np.abs(wrong["effect"].values)))])
    effect = float(np.abs(found["effect"].sel(statistic=worst)))
    where = str(found["where"].sel(statistic=worst).item())
    verdict = "good" if not found.attrs["found"] else "usable" if effect < MUCH else "bad"
    off = f"{effect:.2f}" if effect < MOST else f"over {MOST}"
    figure = f"{worst}{f' ({where})' if where else ''}: {off} s.d. off, p {probability(p)}"
    if verdict != "good" and not figures.sampled and not found.attrs["corrected"] >= 1 - SOME:
        return _whose(figure, found.attrs["corrected"])
    return {
        "figure": figure,
        "threshold": f"< {MATERIAL}, or p > {LEVEL}",
        "bad": found.attrs["found"] / found.sizes["statistic"],
        "verdict": verdict,
        "fault": f"the likelihood does not describe the data ({worst})",
        "first": LIKELIHOOD,
        "action": "–"
        if verdict == "good"
        else "another likelihood: given their latents, data differ from its draws; "
        "plots.plot_ppc(tree) and diagnostics.predictive_check(tree) show how",
    }


def _whose(figure: str, corrected: float) -> Row:
    """A finding that may be the guide's."""
    share = "it is not known whether" if np.isnan(corrected) else f"only {100 * corrected:.0f} % of"
    return {
        "figure": figure,
        "verdict": "not available",
        "action": f"not judged, and may be the guide's: {share} the draws stand for the posterior",
    }


def prior(figures: Figures) -> Row | None:
    """The aggregate posterior against the prior."""
    points = bool(point_sites(figures.tree) or truncated_sites(figures.tree))  # codes, which no weight could correct
    found = prior_match(figures.tree, corrected=not points, seed=figures.seed)
    p, effect = float(found["p_value"].values[0]), float(found["effect"].values[0])
    verdict = "good" if p > LEVEL or effect < EFFECT else "usable" if effect < 4 * EFFECT else "bad"
    figure = f"energy {effect:.3f}, p {probability(p)}"
    if verdict != "good" and not points and float(found["corrected"].values[0]) < 1 - SOME:
        return _whose(figure, float(found["corrected"].values[0]))
    return {
        "figure": figure,
        "threshold": f"< {EFFECT}, or p > {LEVEL}",
        "verdict": verdict,
        "fault": "the prior is not where the data are encoded",
        "first": PRIOR,
        "action": "–"
        if verdict == "good"
        else "a prior that is learned, such as priors.GaussianMixture or VampPrior: "
        "draws of this one decode to what the data are not",
    }


def calibrated(figures: Figures) -> Row | None:
    """Ranks of the truth in data simulated from the model; not where weights have made the draws another q's."""
    if figures.model is None or figures.sampled or figures.corrected:
        return None
    fit, data, context = figures.model
    ranks = sbc(fit, data, context=context, seed=figures.seed)
    found = calibration(ranks, level=LEVEL)
    wrong = found["quantity"].values[found["verdict"].values != "calibrated"]
    p = float(found["adjusted_p"].min())
    said = [str(v) for v in found["verdict"].values if v != "calibrated"]
    names = [f"{said.count(name)} {name}" for name in sorted(set(said))]
    far = bool((abs(found["bias"]) > BIAS).any() or (abs(np.log(found["dispersion"])) > DISPERSION).any())
    far |= any(kstest(values, "uniform").statistic > DISTANCE for name, values in pits(ranks).items() if name in wrong)
    much = bool((abs(found["bias"]) > 3 * BIAS).any() or (abs(np.log(found["dispersion"])) > 1.5 * DISPERSION).any())
    verdict = "good" if not len(wrong) or not far else "bad" if much else "usable"
    return {
        "figure": f"{len(wrong)} of {found.sizes['quantity']} off" + (f": {', '.join(names)}" if names else ""),
        "threshold": f"p > {LEVEL} (p {probability(p)})",
        "bad": len(wrong) / found.sizes["quantity"],
        "verdict": verdict,
        "fault": f"on data of the model's own, q is off ({', '.join(names)})",
        "first": GUIDE,
        "action": "–"
        if verdict == "good"
        else "plots.plot_calibration of diagnostics.sbc(fit, data) shows where: a richer guide, or more training",
    }


def bracketed(figures: Figures) -> Row | None:
    """The importance-sampled evidence of simulated data against an upper bound, and a lower one where it falls short.

    Above the lower bound it is as likely that annealing falls short as that the weights do.
    """
    if figures.model is None or figures.sampled:
        return None
    fit, data, context = figures.model
    found = bdmc(fit, data, context=context, simulations=SIMULATIONS, seed=figures.seed)
    short = float(found["mean"].sel(quantity="importance_gap"))
    error = float(found["se"].sel(quantity="importance_gap"))
    width = float(found["mean"].sel(quantity="gap"))
    known = (found["lower"] - found["importance"]).values
    least = float(known.mean() - 2 * known.std(ddof=1) / np.sqrt(len(known))) if np.isfinite(known).all() else short
    figure = f"short by ≤ {short:.2f} ± {error:.2f}, bracket {width:.2f}"
    good = short < SHORT or (short - 2 * error < SHORT and error < SHORT)
    if not good and least < SHORT:
        return {
            "figure": figure,
            "verdict": "not available",
            "action": "annealing brackets log p(x) too widely to tell: pv.diagnostics.bdmc(fit, data, steps=10_000)",
        }
    verdict = "good" if good else "usable" if short < 4 * SHORT else "bad"
    return {
        "figure": figure,
        "threshold": f"< {SHORT}",
        "verdict": verdict,
        "fault": "log p̂(x) is too low on data of the model's own",
        "first": GUIDE,
        "action": "–"
        if verdict == "good"
        else "pv.diagnostics.ais(fit, data) for the evidence: the guide's draws miss part of the posterior",
    }
