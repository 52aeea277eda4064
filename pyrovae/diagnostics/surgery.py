"""Rate and distortion, and what the rate is made of: information about the data, and the prior's misfit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive, seeded
from pyrovae.diagnostics._guide_density import aggregate_density
from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics.elbo import elbo_terms
from pyrovae.draws.blocks import densities_of, draw, replayable
from pyrovae.draws.target import Evaluation, evaluation
from pyrovae.program import Batch
from pyrovae.vae import VAE

__all__ = ["rate_distortion", "surgery"]

PAIRS = 2 * 10**7
"""Densities of a draw under a datum's q that are evaluated at most, where q is there as a distribution."""
REPLAYED = 2 * 10**6
"""The same, where the guide runs anew for each."""
SAME = 1e-2
"""Nats by which two evaluations of one density may differ, beside a share of 1e-3: more is another density."""


def rate_distortion(tree: xr.DataTree) -> xr.Dataset:
    """Rate E KL(q(z|x) ‖ p(z)) and distortion −E log p(x|z), means over the data: together −ELBO.

    Two fits of equal ELBO may lie anywhere on a line: one that ignores z has rate 0, one that copies x into z has a
    large rate and little distortion. Which of them is the better depends on what z is for.

    Parameters
    ----------
    tree
        Reads ``sample_stats``. With latents shared by all data, the terms are those of each datum given them.

    Returns
    -------
    xarray.Dataset
        ``rate``, ``distortion``, ``elbo`` (chain) in nats per datum, and their standard errors over data ``rate_se``,
        ``distortion_se``, ``elbo_se``, Monte Carlo noise included.

    Raises
    ------
    NotAvailable
        With a single datum, where data have no weights of their own, or where a term of one is infinite or NaN.

    References
    ----------
    Alemi, Poole, Fischer, Dillon, Saurous & Murphy 2018, 1711.00464, section 2.
    """
    terms = elbo_terms(tree)
    n = terms.sizes["obs_id"]
    if n < 2:
        raise NotAvailable("a standard error over data needs at least two data")
    out = {}
    for name, values in (("rate", terms["kl"]), ("distortion", -terms["log_lik"]), ("elbo", terms["elbo"])):
        if bad := int((~np.isfinite(values.values)).any(0).sum()):
            raise NotAvailable(f"the {name} of {bad} of {n} data is infinite or NaN: look at these data")
        out[name] = values.mean("obs_id")
        out[f"{name}_se"] = values.std("obs_id", ddof=1) / math.sqrt(n)
    return xr.Dataset(out, attrs={"units": "nats per datum", "data": n})


def surgery(fit: Any, data: Any, *, context: Any = None, draws: int = 10, seed: int = 0) -> xr.Dataset:
    """Split the mean KL(q(z|x) ‖ p(z)) into information I_q(n; z) and KL(aggregate posterior ‖ prior).

    I(n; z) says how well z tells which datum it was drawn for; the marginal KL is what the prior costs that is not the
    aggregate posterior q(z) = (1/N) Σ_m q(z|x_m). Both are of these N data, over all of which q(z) is summed, and
    I ≤ log N. On average over the draw of the data, I is too small and the marginal KL too large for the population
    that they come from (KL is convex); by little where ``information`` is well below ``bound``, and a large marginal
    KL then asks for another prior. Where it reaches the bound, no two of the data overlap in z, and all that these
    figures say is kl − log N; `prior_match` does not depend on that.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, of which the chosen chain is taken, or a program.
    data, context
        As for `pyrovae.fit`.
    draws
        Draws of q(z|x) per datum, at least 2. Of many data, a random part is drawn for, so that at most 2e7 densities
        are evaluated (2e6 where the guide is no part of a `VAE`); q(z) is over all.
    seed
        Decides the draws.

    Returns
    -------
    xarray.Dataset
        ``kl`` = ``information`` + ``marginal_kl``, and ``elbo`` = ``log_lik`` − ``kl``, means over the data in nats per
        datum, each with its Monte Carlo standard error ``…_mcse``; ``bound`` = log N. ``attrs``: ``data``, ``drawn``
        (how many of them were drawn for) and ``draws``.

    Raises
    ------
    NotAvailable
        If latents are shared by all data, if the guide draws none, if the prior differs from datum to datum, if q(z|x)
        has no density, or if it depends on the other data of a batch.

    References
    ----------
    Hoffman & Johnson 2016, "ELBO surgery: yet another way to carve up the variational evidence lower bound", equations
    7 to 9.

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> found = surgery(vae, torch.randn(50, 3))
    >>> bool(abs(found["kl"] - found["information"] - found["marginal_kl"]) < 1e-6), round(float(found["bound"]), 2)
    (True, 3.91)
    """
    draws = at_least("draws", draws, 2)
    with evaluation(fit, data, context) as e:
        _refuse(e)
        n = len(e.batches)
        with seeded(seed, Stream.DATA, 0):
            batch = e.batches.take(slice(0, n))
        most = PAIRS if isinstance(e.program, VAE) else REPLAYED
        rng = np.random.default_rng(derive(seed, Stream.RESAMPLING))
        chosen = np.sort(rng.choice(n, min(n, max(2, most // (n * draws))), replace=False))
        latents, terms = _draws(e, batch, chosen, draws, seed)
        own, mean = aggregate_density(e, batch, chosen, latents)
    _refuse_other(own, terms["log_q"])
    values = {
        "kl": own - terms["log_prior"],
        "information": own - mean,
        "marginal_kl": mean - terms["log_prior"],
        "log_lik": terms["log_lik"],
        "elbo": terms["log_lik"] + terms["log_prior"] - own,
    }
    out: dict[str, float] = {}
    for name, value in values.items():
        out[name], out[f"{name}_mcse"] = _estimate(value, n)
    return xr.Dataset(
        out | {"bound": math.log(n)},
        attrs={"units": "nats per datum", "data": n, "drawn": len(chosen), "draws": draws},
    )


def _refuse(e: Evaluation) -> None:
    if e.plan.shared:
        names = ", ".join(f"'{s.name}'" for s in e.plan.shared)
        raise NotAvailable(f"the latents {names} are shared by all data: z of a datum has no one prior p(z)")
    if not e.plan.latents:
        raise NotAvailable("the guide draws no latent of a datum: all are enumerated")


def _draws(
    e: Evaluation, batch: Batch, chosen: np.ndarray, draws: int, seed: int
) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Latents {site: (draw, datum, …)} of some data, and their log q, log p(z) and log p(x|z), (draw, datum)."""
    pieces, step = [], max(1, e.rows // draws)
    for start in range(0, len(chosen), step):
        some = batch.take(torch.as_tensor(chosen[start : start + step], device=batch.x.device))
        with seeded(seed, Stream.IMPORTANCE, start):
            drawn = draw(e.program, e.plan, some, draws)
        _refuse_own_prior(e, batch, chosen[start : start + step], {k: v[0] for k, v in drawn.latents.items()}, drawn)
        pieces.append(drawn)
    latents = {name: torch.cat([p.latents[name] for p in pieces], 1) for name in pieces[0].latents}
    log_q, log_p, log_lik = (
        _numpy(torch.cat([getattr(p, name) for p in pieces], 1)) for name in ("log_q", "log_p", "log_lik")
    )
    return latents, {"log_q": log_q, "log_prior": log_p - log_lik, "log_lik": log_lik}


def _refuse_own_prior(e: Evaluation, batch: Batch, rows: np.ndarray, latents: dict[str, Tensor], drawn: Any) -> None:
    """Refuse a prior of which z has another density beside another datum."""
    others = torch.as_tensor((rows + 1) % len(batch), device=batch.x.device)
    for start in range(0, len(rows), e.rows):
        part = slice(start, start + e.rows)
        trace = replayable(e.plan, {name: value[part] for name, value in latents.items()})
        there = batch.take(others[part])
        log_p, log_lik = densities_of(e.program, e.plan, there, trace, len(there))
        here = _numpy(drawn.log_p[0, part]) - _numpy(drawn.log_lik[0, part])
        beside = _numpy(log_p) - _numpy(log_lik)
        if not np.allclose(here, beside, rtol=1e-3, atol=SAME):
            raise NotAvailable(
                "the prior differs from datum to datum (it has a context?), so that there is no one p(z) to compare "
                "the aggregate posterior with: diagnostics.prior_match compares draws"
            )


def _refuse_other(own: np.ndarray, drawn: np.ndarray) -> None:
    if not np.isfinite(drawn).all():
        raise NotAvailable("log q(z|x) is infinite or NaN at draws of q(z|x): the guide has no density there")
    if not np.allclose(own, drawn, rtol=1e-3, atol=SAME):
        worst = float(np.nanmax(np.abs(own - drawn)))
        raise NotAvailable(
            f"log q(z|x) of the same z and x differs by up to {worst:.3g} nats between two evaluations: the guide is "
            "random, or looks at the other data of a batch, so that it has no q(z|x) of one datum"
        )


def _estimate(value: np.ndarray, n: int) -> tuple[float, float]:
    """Mean over n data, and its standard error, of draws (draw, datum) for some of them, taken at random."""
    draws, count = value.shape
    means, share = value.mean(0), count / n
    variance = share * value.var(0, ddof=1).mean() / draws
    if count < n:
        variance += (1 - share) * means.var(ddof=1)
    return float(means.mean()), math.sqrt(variance / count)


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().double().cpu().numpy()
