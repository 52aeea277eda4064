"""Draws of the prior, reconstructions and codes."""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from pyro import poutine

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive, seed_all
from pyrovae.draws.blocks import draw, draw_enumerated, observe, spans
from pyrovae.draws.chains import Chains, drawing, prepare_draws, shared_draws
from pyrovae.draws.plan import Plan
from pyrovae.draws.tree import MemoryTree, dataset, site_dims
from pyrovae.program import repeat
from pyrovae.structure import Site, prune
from pyrovae.svi.batches import Batches

__all__ = ["encode", "prior_groups", "reconstruct", "sample"]


def sample(fit: Any, data: Any, *, context: Any = None, draws: int = 1000, seed: int = 0) -> xr.DataTree:
    """Draws of the prior and of x under it.

    Parameters
    ----------
    fit
        A `pyrovae.Fit` or a program.
    data
        Only its shape and, for a conditional program, its context are used: draw d is given the context of datum
        d mod n.
    draws, seed
        As for `pyrovae.posterior`.

    Returns
    -------
    xarray.DataTree
        ``prior`` (chain, draw, …), latents and enumerated sites, and ``prior_predictive`` (chain, draw, …): each draw
        is a new datum, with latents of its own outside the data plate too.
    """
    at_least("draws", draws, 1)
    chains, batches, plan, rows = prepare_draws(fit, data, context)
    with drawing(chains.program):
        groups = prior_groups(chains, plan, batches, draws, rows, seed)
    tree = MemoryTree()
    for name, group in groups.items():
        tree.put(name, group)
    return tree.close({"inference_library": "pyrovae", "draws": draws, "seed": seed})


def reconstruct(fit: Any, data: Any, *, context: Any = None, draws: int = 100, seed: int = 0) -> xr.Dataset:
    """E[x̃|x]: the mean of the likelihood, averaged over draws of q(z|x), (chain, obs_id, …) by observed site.

    Enumerated sites are drawn given x and the other latents.
    """
    at_least("draws", draws, 1)
    chains, batches, plan, rows = prepare_draws(fit, data, context)
    tree = MemoryTree()
    with drawing(chains.program):
        shared = shared_draws(chains, batches, plan, draws, seed)
        for block, parts in spans(plan, len(batches), draws, rows):
            means = []
            for chain, program in chains:
                seed_all(derive(seed, Stream.RECONSTRUCTION, chain, block.start))
                batch, given = batches.take(block), shared[chain]
                with program.scope():
                    total: dict[str, Any] = {}
                    for m in parts:
                        latents = draw(program, plan, batch, m, given).latents
                        latents |= draw_enumerated(program, plan, batch, latents, m, given)
                        for name, value in observe(program, plan, batch, latents, m, "mean", given).items():
                            total[name] = total.get(name, 0) + value.sum(0) / draws
                means.append(total)
            variables = {
                s.name: (
                    ("chain", "obs_id", *site_dims(s.name, s.event_shape, batches.data)),
                    torch.stack([m[s.name] for m in means]),
                )
                for s in plan.observed
            }
            tree.append("reconstruction", dataset(variables, batches.data, block))
    return tree.close({})["reconstruction"].to_dataset()


def encode(fit: Any, data: Any, *, context: Any = None, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Mean and standard deviation of q(z|x) over at least two draws: ``z_mean`` and ``z_sd`` (chain, obs_id, …) by
    latent site; (chain, …) of a latent outside the data plate, over which those of the others are averaged.

    Raises
    ------
    ValueError
        If the guide draws nothing, as when all latents are enumerated.
    """
    at_least("draws", draws, 2)
    chains, batches, plan, rows = prepare_draws(fit, data, context)
    if not (plan.latents or plan.shared):
        names = ", ".join(f"'{s.name}'" for s in plan.discrete)
        raise ValueError(f"the guide draws nothing: {names} are enumerated. pv.posterior(…, discrete=True) draws them")
    tree = MemoryTree()
    with drawing(chains.program):
        shared = shared_draws(chains, batches, plan, draws, seed)
        for block, parts in spans(plan, len(batches), draws, rows):
            drawn = []
            for chain, program in chains:
                seed_all(derive(seed, Stream.CODES, chain, block.start))
                batch, given = batches.take(block), shared[chain]
                with program.scope():
                    pieces = [draw(program, plan, batch, m, given).latents for m in parts]
                local = {s.name: torch.cat([p[s.name] for p in pieces]) for s in plan.latents}
                drawn.append(local | (given.values if given else {}))
            variables = {}
            for site in (*plan.shared, *plan.latents):
                lead = ("chain",) if site in plan.shared else ("chain", "obs_id")
                z = torch.stack([d[site.name] for d in drawn])
                z = z if z.is_floating_point() else z.to(torch.get_default_dtype())
                for what, values in (("mean", z.mean(1)), ("sd", z.std(1))):
                    variables[f"{site.name}_{what}"] = ((*lead, *site_dims(site.name, site.event_shape)), values)
            tree.append("codes", dataset(variables, batches.data, block))
    return tree.close({})["codes"].to_dataset()


def prior_groups(
    chains: Chains, plan: Plan, batches: Batches, draws: int, rows: int, seed: int, *, enumerated: bool = True
) -> dict[str, xr.Dataset]:
    """The groups ``prior`` and ``prior_predictive``; the caller evaluates, without gradient."""
    unobserved = (*plan.shared, *plan.latents, *(plan.discrete if enumerated else ()))
    rows = 1 if plan.shared else rows  # each draw has its own value of what its block of data shares
    latents: list[dict[str, Any]] = []
    observed: list[dict[str, Any]] = []
    for chain, program in chains:
        seed_all(derive(seed, Stream.PRIOR, chain))
        pieces = []
        for start in range(0, draws, rows):
            index = torch.arange(start, min(start + rows, draws), device=batches.x.device) % len(batches)
            one = batches.take(slice(0, 1))
            batch = repeat(one, len(index)) if batches.context is None else batches.take(index)
            with program.scope():
                trace = prune(poutine.trace(poutine.uncondition(program.model)).get_trace(*batch.args))
            pieces.append({s.name: _rows(trace.nodes[s.name]["value"], s) for s in (*unobserved, *plan.observed)})
        for store, sites in ((latents, unobserved), (observed, plan.observed)):
            store.append({s.name: torch.cat([p[s.name] for p in pieces]) for s in sites})
    data = batches.data
    event_coords = type(data)(
        data.x[:1], dims=data.dims, coords={k: v for k, v in data.coords.items() if "obs_id" not in v[0]}
    )
    return {
        group: dataset(
            {
                s.name: (
                    ("chain", "draw", *site_dims(s.name, s.event_shape, names)),
                    torch.stack([values[s.name] for values in store]),
                )
                for s in sites
            },
            event_coords,
        )
        for group, store, sites, names in (
            ("prior", latents, unobserved, None),
            ("prior_predictive", observed, plan.observed, data),
        )
        if sites
    }


def _rows(value: Any, site: Site) -> Any:
    """A site's values by datum; those of a site outside the data plate are one datum's."""
    return value.reshape((1, *site.event_shape)) if site.plate_dim is None else site.to_front(value)
