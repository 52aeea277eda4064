"""Where a bound loses: to the guide's family, or to its encoder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pyrovae._numbers import at_least, positive
from pyrovae._rng import Stream, seeded
from pyrovae.diagnostics._psis import FEWEST, psis
from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics.evidence import importance_evidence
from pyrovae.diagnostics.reliability import good_k
from pyrovae.draws.blocks import Draws, draw, join
from pyrovae.draws.families import guide_family
from pyrovae.draws.local import COPIES, LR, STEPS, improve
from pyrovae.draws.proposal import Proposal, lots
from pyrovae.draws.target import Evaluation, evaluation
from pyrovae.draws.tree import dataset
from pyrovae.program import Batch

__all__ = ["gaps"]


def gaps(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    draws: int = 1000,
    steps: int = STEPS,
    lr: float = LR,
    seed: int = 0,
) -> xr.Dataset:
    """log p(x) − ELBO of each datum in two: what the guide's family cannot do, and what its encoder does not.

    log p(x) − L[q] = (log p(x) − L[q*]) + (L[q*] − L[q]), where q is the guide's and q* the best q of its family for
    this datum alone, found by gradient steps. A large approximation gap asks for a richer family; a large amortisation
    gap for a wider encoder, longer training, or `pyrovae.guides.SemiAmortized`. Of the guide's parameters that it
    gives all data alike, the family has these values alone.

    log p(x) is an importance-sampling estimate by draws of q* and of a t distribution fitted to the posterior
    (`pyrovae.refine`), each weighted by p(x, z) over the mean of the two densities (the balance heuristic, of bounded
    weights where either alone has them); where latents have no unconstrained coordinates, by draws of q* alone. As
    such it is too low on average, and so is the approximation gap: see ``pareto_k``.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, of whose restarts the chosen one is taken, or a program.
    data, context
        As for `pyrovae.posterior`.
    draws
        Draws per datum of each q, at least 30.
    steps, lr
        Of Adam, and its rate at first. Too few steps make the amortisation gap too small and the other too large.
    seed
        Decides every draw; the global random state is left as it was.

    Returns
    -------
    xarray.Dataset
        By ``obs_id``, in nats: ``log_evidence``, ``elbo`` of the guide, ``elbo_best`` of q*, ``approximation`` =
        log_evidence − elbo_best, ``amortisation`` = elbo_best − elbo, each with its Monte Carlo standard error,
        ``…_mcse``; and ``pareto_k`` of the weights of ``log_evidence``, good below ``attrs["good_k"]``.

    Raises
    ------
    NotAvailable
        If the guide's own family cannot be improved datum by datum, with the reason; with fewer than 30 draws.

    References
    ----------
    Cremer, Li & Duvenaud 2018, 1801.03558, section 3, equations 5 to 7; Veach & Guibas 1995 (the balance heuristic).

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> found = gaps(vae, torch.zeros(5, 3), draws=100, steps=50)
    >>> found["amortisation"].dims
    ('obs_id',)
    """
    steps, lr, seed = at_least("steps", steps, 1), positive("lr", lr), at_least("seed", seed, 0)
    if at_least("draws", draws, 1) < FEWEST:
        raise NotAvailable(f"the gaps need at least {FEWEST} draws per datum, got {draws}: raise draws=")
    parts: list[dict[str, np.ndarray]] = []
    with evaluation(fit, data, context) as e:
        for block, batch in e.blocks(COPIES, seed):
            with seeded(seed, Stream.REFINEMENT, block.start):
                proposals = _proposals(e, batch, steps, lr)
            parts.append(_figures(e, batch, proposals, draws, seed, block.start))
        values = {name: (("obs_id",), np.concatenate([p[name] for p in parts])) for name in parts[0]}
        out = dataset(values, e.batches.data)
    return out.assign_attrs(units="nats", draws=draws, steps=steps, good_k=good_k(draws * len(proposals)))


def _proposals(e: Evaluation, batch: Batch, steps: int, lr: float) -> list[Proposal]:
    """q* and, where there are unconstrained coordinates, the t distribution, near which q* is looked for as well."""
    try:
        guide_family(e.program, e.plan, batch)
    except ValueError as error:
        raise NotAvailable(str(error)) from error
    try:
        wide = [improve(e, batch, "student", steps=steps, lr=lr).at(e.program, e.plan, batch)]
    except ValueError:
        wide = []
    best = improve(e, batch, "guide", steps=steps, lr=lr, near=wide[0] if wide else None)
    return [best.at(e.program, e.plan, batch), *wide]


def _figures(
    e: Evaluation, batch: Batch, proposals: list[Proposal], draws: int, seed: int, start: int
) -> dict[str, np.ndarray]:
    def drawn(which: int) -> Draws:
        sizes = lots(draws, len(batch), e.rows)
        with seeded(seed, Stream.REFINEMENT, start, max(which, 0)):  # encoder and best by the same noise
            pieces = [
                draw(e.program, e.plan, batch, m, kl=False)
                if which < 0
                else proposals[which].draw(e.program, e.plan, batch, m)
                for m in sizes
            ]
        return join(pieces, sizes)

    made = [drawn(i) for i in range(len(proposals))]
    own, best = _numpy(drawn(-1).log_weight), _numpy(made[0].log_weight)
    mixed = []
    for i, lot in enumerate(made):
        others = [lot.log_q if i == j else q.log_q(lot.latents) for j, q in enumerate(proposals)]
        mixed.append(lot.log_p - torch.stack([log_q for log_q in others if log_q is not None]).logsumexp(0))
    weight = _numpy(torch.cat(mixed)) + math.log(len(proposals))
    evidence, evidence_mcse, _ = importance_evidence(weight.T)
    elbo, best_mean = own.mean(0), best.mean(0)
    best_mcse = _mcse(best)
    return {
        "log_evidence": evidence,
        "log_evidence_mcse": evidence_mcse,
        "elbo": elbo,
        "elbo_mcse": _mcse(own),
        "elbo_best": best_mean,
        "elbo_best_mcse": best_mcse,
        "approximation": evidence - best_mean,
        "approximation_mcse": np.hypot(evidence_mcse, best_mcse),
        "amortisation": best_mean - elbo,
        "amortisation_mcse": _mcse(best - own),
        "pareto_k": psis(weight.T)[1],
    }


def _mcse(values: np.ndarray) -> np.ndarray:
    error: np.ndarray = values.std(0, ddof=1) / math.sqrt(len(values))
    return error


def _numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
