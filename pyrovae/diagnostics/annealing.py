"""log p(x) by annealed importance sampling, and bounds on it from both sides on simulated data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, seeded
from pyrovae.diagnostics._annealing import anneal, schedule
from pyrovae.diagnostics._paths import PILOTS, begin, finite, log_steps
from pyrovae.diagnostics._simulated import simulator
from pyrovae.diagnostics.evidence import importance_evidence
from pyrovae.draws.blocks import draw, spans
from pyrovae.draws.target import Target, evaluation
from pyrovae.draws.tree import dataset

__all__ = ["ais", "bdmc"]

STARTS = ("prior", "guide")
FORWARD, BACKWARD, SIMULATION, GUIDE = range(1, 5)  # second words of the keys of random streams; 0 is `log_steps`'s
KEPT = 4  # times the rows of a block: what a gradient needs is kept, and had best stay in the processor's cache


def ais(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    particles: int = 16,
    steps: int = 2000,
    leapfrog: int = 3,
    start: str = "prior",
    seed: int = 0,
) -> xr.Dataset:
    """log p(x) of each datum by annealed importance sampling: right where no guide can be trusted, and dear.

    Particles drawn from the start are moved through ``steps`` − 1 intermediate densities f_β, β from 0 to 1 on a
    sigmoid, by Hamiltonian transitions on the real line; the mean of their weights w is an unbiased estimate of p(x),
    whatever the number of steps, so that ``log_evidence`` is below log p(x) on average, by about Var(w)/(2 S p²). It
    knows nothing of the guide (unless it starts there), and checks `log_evidence`: where that is lower by more than the
    errors, the guide misses some of the posterior. The step of each datum is set by a preliminary run of its own,
    towards an acceptance of .65. A particle whose log likelihood is no number weighs nothing.

    Parameters
    ----------
    fit, data, context
        As for `pyrovae.posterior`; missing cells and enumerated sites are summed out. Of several restarts, the one that
        the fit chose.
    particles
        S, how many for each datum; at least two.
    steps
        Changes of β. One is plain importance sampling from the start.
    leapfrog
        Steps of a trajectory.
    start
        "prior": f_β = p(z) p(x|z)^β. "guide": f_β = q(z|x)^(1−β) p(x, z)^β, which is faster where q is close to the
        posterior, and no longer independent of it.
    seed
        The same seed gives the same bits.

    Returns
    -------
    xarray.Dataset
        By ``obs_id``: ``log_evidence`` in nats, its Monte Carlo standard error ``mcse`` (delta method) and the
        effective number of particles ``ess`` = (Σw)²/Σw²: trust neither where ``ess`` is near 1, and raise ``steps``.
        The mean ``acceptance``, absent if ``steps`` is 1, which moves nothing. Without a particle that weighs anything
        ``log_evidence`` is −∞, ``mcse`` +∞ and ``ess`` 0.

    Raises
    ------
    ValueError
        If a latent is shared by all data or discrete; if the guide, started from, has no density to be had.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist, pyrovae as pv
    >>> def model(x):
    ...     with pyro.plate("data", len(x)):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])
    >>> def guide(x):
    ...     with pyro.plate("data", len(x)):
    ...         pyro.sample("z", dist.Normal(x[:, 0] / 2, 0.5**0.5))
    >>> found = ais(pv.Program(model, guide), torch.zeros(1, 1), particles=2, steps=1, start="guide")
    >>> round(float(found["log_evidence"][0]), 4), round(float(dist.Normal(0.0, 2**0.5).log_prob(torch.zeros(()))), 4)
    (-1.2655, -1.2655)

    References
    ----------
    Neal 1998, physics/9803008, section 2; Wu, Burda, Salakhutdinov & Grosse 2016, 1611.04273.
    """
    if start not in STARTS:
        raise ValueError(f"start: expected one of {', '.join(STARTS)}, got {start!r}")
    at_least("particles", particles, 1)
    if particles < 2:
        raise ValueError("particles: expected at least 2, got 1: one alone has no Monte Carlo standard error")
    at_least("steps", steps, 1)
    at_least("leapfrog", leapfrog, 1)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("log_evidence", "mcse", "ess", "acceptance")}
    betas = schedule(steps)
    with evaluation(fit, data, context) as e:
        for block, batch in e.blocks(KEPT * max(particles, PILOTS), seed):
            target = Target(e.program, e.plan, batch)
            log_step = log_steps(e, target, start, leapfrog, steps, seed, block.start)
            with seeded(seed, Stream.ANNEALING, FORWARD, block.start):
                path, u = begin(e, target, start, particles)
                log_weight, acceptance = anneal(path, u, betas, log_step, leapfrog)
            found = (*importance_evidence(log_weight.T.cpu().numpy()), acceptance.cpu().numpy())
            for name, values in zip(columns, found, strict=True):
                columns[name].append(values)
        if steps == 1:
            del columns["acceptance"]
        out = dataset({name: (("obs_id",), np.concatenate(v)) for name, v in columns.items()}, e.batches.data)
    return out.assign_attrs(particles=particles, steps=steps, leapfrog=leapfrog, start=start, units="nats")


def bdmc(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    simulations: int = 100,
    particles: int = 16,
    steps: int = 2000,
    leapfrog: int = 3,
    draws: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Bidirectional Monte Carlo: log p(x) of simulated data between a lower and an upper bound.

    Of data (z, x) that the model makes, z is an exact draw of the posterior p(z|x). Annealing from it back to the prior
    gives an unbiased estimate of 1/p(x), hence an upper bound of log p(x) on average; annealing from the prior, as
    `ais` does, a lower one. Their gap bounds the error of both, and that of importance sampling by the guide. It is
    known on simulated data alone: where the model's data look like the real ones, what it says carries over.

    Parameters
    ----------
    fit, data, context
        As for `ais`. Of the data only the shape is used, and the context: simulation s has that of datum s mod n.
    simulations
        How many data to simulate; at least two.
    particles, steps, leapfrog, seed
        As for `ais`, for either direction. One particle will do.
    draws
        Draws of the guide for the importance-sampled figure.

    Returns
    -------
    xarray.Dataset
        By ``simulation``: ``lower``, ``upper``, ``gap`` = upper − lower; ``importance``, log p̂(x) by the guide, and
        ``importance_gap`` = upper − importance, which on average is at least what importance sampling falls short by.
        ``mean`` and ``se`` (quantity): the average of each over the simulations, with its standard error. Nats.

    Raises
    ------
    ValueError
        As for `ais`, and if data cannot be simulated: the model observes something else than cells of x.

    References
    ----------
    Grosse, Ghahramani & Adams 2015, 1511.02543; Wu et al. 2016, 1611.04273.
    """
    at_least("simulations", simulations, 1)
    if simulations < 2:
        raise ValueError("simulations: expected at least 2, got 1: one alone has no standard error")
    for name, value in (("particles", particles), ("steps", steps), ("leapfrog", leapfrog), ("draws", draws)):
        at_least(name, value, 1)
    pieces: dict[str, list[np.ndarray]] = {"lower": [], "upper": [], "importance": []}
    betas = schedule(steps)
    with evaluation(fit, data, context) as e:
        simulate = simulator(e)
        size = max(1, e.rows // (KEPT * max(particles, PILOTS)))
        for first in range(0, simulations, size):
            rows = torch.arange(first, min(first + size, simulations), device=e.batches.x.device) % len(e.batches)
            with seeded(seed, Stream.ANNEALING, SIMULATION, first):
                latents, batch = simulate(rows)
            target = Target(e.program, e.plan, batch)
            log_step = log_steps(e, target, "prior", leapfrog, steps, seed, first)
            with seeded(seed, Stream.ANNEALING, FORWARD, first):
                path, u = begin(e, target, "prior", particles)
                pieces["lower"].append(_log_mean(anneal(path, u, betas, log_step, leapfrog)[0]))
            with seeded(seed, Stream.ANNEALING, BACKWARD, first):
                u = finite(target.unconstrain(latents), "model").expand(particles, -1, -1).contiguous()
                pieces["upper"].append(-_log_mean(anneal(path, u, betas.flip(0), log_step, leapfrog)[0]))
            with seeded(seed, Stream.ANNEALING, GUIDE, first):
                for span, parts in spans(e.plan, len(batch), draws, e.rows):
                    weights = [draw(e.program, e.plan, batch.take(span), m, kl=False).log_weight for m in parts]
                    pieces["importance"].append(_log_mean(torch.cat(weights)))
    values = {name: np.concatenate(blocks) for name, blocks in pieces.items()}
    values["gap"] = values["upper"] - values["lower"]
    values["importance_gap"] = values["upper"] - values["importance"]
    every = np.stack(list(values.values()))
    known = np.isfinite(every).all(1)
    se = np.where(known, np.where(known[:, None], every, 0.0).std(1, ddof=1) / math.sqrt(simulations), np.inf)
    out = dataset({name: (("simulation",), value) for name, value in values.items()})
    return (
        out.assign(mean=("quantity", every.mean(1)), se=("quantity", se))
        .assign_coords(quantity=list(values))
        .assign_attrs(scope="simulated data only", simulations=simulations, particles=particles, steps=steps)
        .assign_attrs(leapfrog=leapfrog, draws=draws, units="nats")
    )


def _log_mean(log_weight: Tensor) -> np.ndarray:
    """log of the mean weight (n,) of log weights (copies, n); what is no number weighs nothing."""
    known = torch.where(torch.isfinite(log_weight), log_weight, -torch.inf)
    return importance_evidence(known.T.double().cpu().numpy())[0]
