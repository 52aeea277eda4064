"""Draws of the prior, reconstructions and codes."""

from __future__ import annotations

from typing import Any

import pyro
import torch
import xarray as xr
from pyro import poutine

from pyrovae._modes import evaluating
from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive, preserved, seed_all
from pyrovae.draws.blocks import draw, observe, spans
from pyrovae.draws.chains import Chains, prepare_draws
from pyrovae.draws.tree import MemoryTree, dataset, site_dims
from pyrovae.program import repeat
from pyrovae.structure import Structure, prune
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
        ``prior`` (chain, draw, …) and ``prior_predictive`` (chain, draw, …): each draw is a new datum.
    """
    at_least("draws", draws, 1)
    chains, batches, structure, rows = prepare_draws(fit, data, context)
    with preserved(), evaluating(chains.program), torch.no_grad(), pyro.validation_enabled(False):
        groups = prior_groups(chains, structure, batches, draws, rows, seed)
    tree = MemoryTree()
    for name, group in groups.items():
        tree.put(name, group)
    return tree.close({"inference_library": "pyrovae", "draws": draws, "seed": seed})


def reconstruct(fit: Any, data: Any, *, context: Any = None, draws: int = 100, seed: int = 0) -> xr.Dataset:
    """E[x̃|x]: the mean of the likelihood, averaged over draws of q(z|x), (chain, obs_id, …) by observed site."""
    at_least("draws", draws, 1)
    chains, batches, structure, rows = prepare_draws(fit, data, context)
    tree = MemoryTree()
    with preserved(), evaluating(chains.program), torch.no_grad(), pyro.validation_enabled(False):
        for block, parts in spans(len(batches), draws, rows):
            means = []
            for chain, program in chains:
                seed_all(derive(seed, Stream.RECONSTRUCTION, chain, block.start))
                args = batches.take(block)
                with program.scope():
                    total: dict[str, Any] = {}
                    for m in parts:
                        latents = draw(program, structure, args, m).latents
                        for name, value in observe(program, structure, args, latents, "mean").items():
                            total[name] = total.get(name, 0) + value.sum(0) / draws
                means.append(total)
            variables = {
                s.name: (
                    ("chain", "obs_id", *site_dims(s.name, s.event_shape, batches.data)),
                    torch.stack([m[s.name] for m in means]),
                )
                for s in structure.observed
            }
            tree.append("reconstruction", dataset(variables, batches.data, block))
    return tree.close({})["reconstruction"].to_dataset()


def encode(fit: Any, data: Any, *, context: Any = None, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Mean and standard deviation of q(z|x) over at least two draws: ``z_mean`` and ``z_sd`` (chain, obs_id, …) by
    latent site."""
    at_least("draws", draws, 2)
    chains, batches, structure, rows = prepare_draws(fit, data, context)
    tree = MemoryTree()
    with preserved(), evaluating(chains.program), torch.no_grad(), pyro.validation_enabled(False):
        for block, parts in spans(len(batches), draws, rows):
            variables: dict[str, tuple[tuple[str, ...], list[Any]]] = {}
            for chain, program in chains:
                seed_all(derive(seed, Stream.CODES, chain, block.start))
                args = batches.take(block)
                with program.scope():
                    pieces = [draw(program, structure, args, m).latents for m in parts]
                for site in structure.latents:
                    z = torch.cat([p[site.name] for p in pieces])
                    z = z if z.is_floating_point() else z.to(torch.get_default_dtype())
                    dims = ("chain", "obs_id", *site_dims(site.name, site.event_shape))
                    for what, values in (("mean", z.mean(0)), ("sd", z.std(0))):
                        variables.setdefault(f"{site.name}_{what}", (dims, []))[1].append(values)
            stacked = {name: (dims, torch.stack(values)) for name, (dims, values) in variables.items()}
            tree.append("codes", dataset(stacked, batches.data, block))
    return tree.close({})["codes"].to_dataset()


def prior_groups(
    chains: Chains, structure: Structure, batches: Batches, draws: int, rows: int, seed: int
) -> dict[str, xr.Dataset]:
    """The groups ``prior`` and ``prior_predictive``; the caller evaluates, without gradient."""
    latents: list[dict[str, Any]] = []
    observed: list[dict[str, Any]] = []
    for chain, program in chains:
        seed_all(derive(seed, Stream.PRIOR, chain))
        pieces = []
        for start in range(0, draws, rows):
            index = torch.arange(start, min(start + rows, draws), device=batches.x.device) % len(batches)
            args = batches.take(index) if batches.context is not None else repeat(batches.take(slice(0, 1)), len(index))
            with program.scope():
                trace = prune(poutine.trace(poutine.uncondition(program.model)).get_trace(*args))
            pieces.append(trace)
        for store, sites in ((latents, structure.latents), (observed, structure.observed)):
            store.append({s.name: torch.cat([s.to_front(t.nodes[s.name]["value"]) for t in pieces]) for s in sites})
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
            ("prior", latents, structure.latents, None),
            ("prior_predictive", observed, structure.observed, data),
        )
    }
