"""Posterior draws of a fitted program as an ArviZ tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyro
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from pyrovae._atomic import refuse_existing
from pyrovae._modes import evaluating
from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive, preserved, seed_all, seeded
from pyrovae.draws.blocks import Draws, draw, most_predictive, observe, replayable, spans
from pyrovae.draws.chains import Chains, prepare_draws
from pyrovae.draws.predict import prior_groups
from pyrovae.draws.tree import DiskTree, MemoryTree, dataset, site_dims, write_netcdf
from pyrovae.structure import Structure
from pyrovae.svi.batches import Batches

__all__ = ["posterior"]


def posterior(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    draws: int = 1000,
    seed: int = 0,
    predictive: int | None = None,
    path: str | Path | None = None,
    overwrite: bool = False,
) -> xr.DataTree:
    """Draws of q(z|x) for each datum, with what is needed to judge them, as an ArviZ tree.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, whose restarts become chains, or a program.
    data, context
        As for `pyrovae.fit`; ideally held out.
    draws
        Draws per chain and datum.
    seed
        Decides every draw; the global random state is left as it was.
    predictive
        How many draws of x to keep for each datum; by default as many as 256 MiB hold, at most 100.
    path
        A ``.zarr`` folder, written block by block so that memory holds one block at a time, or a ``.nc`` file. The
        tree that is returned then reads from the store.
    overwrite
        Replace what is at ``path``.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (latents; chain, draw, obs_id, …) · ``posterior_predictive`` · ``prior``,
        ``prior_predictive`` (chain, draw, …) · ``observed_data`` · ``constant_data`` (context, mask, label where there
        are such) · ``sample_stats``: ``log_p`` = log p(x, z), ``log_q`` = log q(z|x), ``log_weight`` = log p − log q,
        and ``log_lik`` = log p(x|z), per draw and datum in unscaled nats, and ``kl_z`` = KL(q(z_j|x) ‖ p(z_j)) per
        dimension, where the prior is independent over them · ``optimization``, of a `Fit`: its history.

    Raises
    ------
    ValueError
        If the data do not suit the program, or per-datum draws are not defined for it.
    FileExistsError
        If ``path`` exists and ``overwrite`` is False.

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> tree = pv.posterior(vae, torch.zeros(5, 3), draws=10)
    >>> dict(tree["posterior"].sizes)
    {'chain': 1, 'draw': 10, 'obs_id': 5, 'z_dim_0': 2}
    """
    at_least("draws", draws, 1)
    if predictive is not None:
        at_least("predictive", predictive, 0)
    sink: DiskTree | MemoryTree = MemoryTree()
    suffix = None if path is None else Path(path).suffix
    if suffix not in (None, ".zarr", ".nc"):
        raise ValueError(f"path: expected a name that ends in .zarr (streamed) or .nc, got {str(path)!r}")
    if path is not None:
        refuse_existing(Path(path), overwrite)
    chains, batches, structure, rows = prepare_draws(fit, data, context)
    with preserved(), evaluating(chains.program), torch.no_grad(), pyro.validation_enabled(False):
        if suffix == ".zarr":
            sink = DiskTree(Path(str(path)), overwrite=overwrite)
        cells = batches.x[0].numel()
        keep = (
            most_predictive(len(chains), len(batches), cells, draws) if predictive is None else min(predictive, draws)
        )
        for block, parts in spans(len(batches), draws, rows):
            _block(sink, chains, structure, batches, block, parts, keep, rows, seed)
        for name, group in prior_groups(chains, structure, batches, min(draws, 1000), rows, seed).items():
            sink.put(name, group)
    if chains.fit is not None:
        sink.put("optimization", chains.fit.history)
    tree = sink.close(_attrs(chains, batches, draws, seed))
    if path is not None and suffix == ".nc":
        write_netcdf(tree, Path(path), overwrite=overwrite)
    return tree


def _block(
    sink: DiskTree | MemoryTree,
    chains: Chains,
    structure: Structure,
    batches: Batches,
    block: slice,
    parts: list[int],
    keep: int,
    rows: int,
    seed: int,
) -> None:
    """All draws of all chains for some data, put into the sink."""
    with seeded(seed, Stream.DATA, block.start):
        args = batches.take(block)
    drawn: list[Draws] = []
    predicted: list[dict[str, Tensor]] = []
    for chain, program in chains:
        with program.scope():
            seed_all(derive(seed, Stream.POSTERIOR, chain, block.start))
            pieces = [draw(program, structure, args, m) for m in parts]
            whole = _join(pieces, parts)
            exact = program.dimension_kl(args[0], args[1] if len(args) > 1 else None)
            if exact is not None and len(structure.latents) == 1:
                whole.site_kl[structure.latents[0].name] = exact
            drawn.append(whole)
            if keep:
                predicted.append(_predict(program, structure, args, whole.latents, keep, rows))
            if chain == 0:
                first = replayable(structure, {name: value[0] for name, value in whole.latents.items()})
                model = poutine.trace(poutine.replay(program.model, trace=first)).get_trace(*args)
    data = batches.data

    def put(group: str, variables: dict[str, tuple[tuple[str, ...], Tensor]]) -> None:
        if variables:
            sink.append(group, dataset(variables, data, block))

    lead = ("chain", "draw", "obs_id")
    put(
        "posterior",
        {
            s.name: ((*lead, *site_dims(s.name, s.event_shape)), torch.stack([d.latents[s.name] for d in drawn]))
            for s in structure.latents
        },
    )
    if keep:
        put(
            "posterior_predictive",
            {
                s.name: (
                    (*lead, *site_dims(s.name, s.event_shape, data)),
                    torch.stack([p[s.name] for p in predicted]),
                )
                for s in structure.observed
            },
        )
    put("observed_data", _observed(structure, model, args[0], data))
    put("constant_data", _constant(args, data, block))
    log_p, log_q, log_lik = (torch.stack([getattr(d, f) for d in drawn]) for f in ("log_p", "log_q", "log_lik"))
    stats = {"log_p": log_p, "log_q": log_q, "log_weight": log_p - log_q, "log_lik": log_lik}
    kl = {
        f"kl_{s.name}": (
            ("chain", "obs_id", *site_dims(s.name, s.event_shape)),
            torch.stack([d.site_kl[s.name] for d in drawn]),
        )
        for s in structure.latents
        if s.name in drawn[0].site_kl
    }
    put("sample_stats", {name: (lead, value) for name, value in stats.items()} | kl)


def _join(pieces: list[Draws], parts: list[int]) -> Draws:
    if len(pieces) == 1:
        return pieces[0]
    total = sum(parts)
    return Draws(
        latents={k: torch.cat([p.latents[k] for p in pieces]) for k in pieces[0].latents},
        log_p=torch.cat([p.log_p for p in pieces]),
        log_q=torch.cat([p.log_q for p in pieces]),
        log_lik=torch.cat([p.log_lik for p in pieces]),
        site_kl={
            k: torch.stack([p.site_kl[k] * m / total for p, m in zip(pieces, parts, strict=True)]).sum(0)
            for k in pieces[0].site_kl
        },
    )


def _predict(
    program: Any, structure: Structure, args: tuple[Tensor, ...], latents: dict[str, Tensor], keep: int, rows: int
) -> dict[str, Tensor]:
    step = max(1, rows // args[0].shape[0])
    pieces = [
        observe(program, structure, args, {k: v[i : min(i + step, keep)] for k, v in latents.items()}, "sample")
        for i in range(0, keep, step)
    ]
    return {name: torch.cat([p[name] for p in pieces]) for name in pieces[0]}


def _observed(structure: Structure, model: Any, x: Tensor, data: Any) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    out = {}
    for site in structure.observed:
        value = site.to_front(model.nodes[site.name]["value"])
        if value.shape == x.shape and x.is_floating_point():
            value = torch.where(torch.isnan(x), x, value)
        out[site.name] = (("obs_id", *site_dims(site.name, site.event_shape, data)), value)
    return out


def _constant(args: tuple[Tensor, ...], data: Any, block: slice) -> dict[str, tuple[tuple[str, ...], Any]]:
    out: dict[str, tuple[tuple[str, ...], Any]] = {}
    if len(args) > 1:
        out["context"] = (("obs_id", "covariate"), args[1])
    if torch.isnan(args[0]).any():
        out["mask"] = (("obs_id", *data.dims), ~torch.isnan(args[0]))
    if data.labels is not None:
        out["label"] = (("obs_id",), data.labels[block])
    return out


def _attrs(chains: Chains, batches: Batches, draws: int, seed: int) -> dict[str, Any]:
    from pyrovae.svi.history import versions

    return {
        "inference_library": "pyrovae",
        "inference_library_version": versions()["pyrovae"],
        "program": type(chains.program).__name__,
        "data": batches.data.name,
        "draws": draws,
        "seed": seed,
        "units": "log densities in nats per datum, unscaled",
        "settings": json.dumps(None if chains.fit is None else chains.fit.settings),
        "note": "draws are independent draws of the guide: their R-hat and ESS say nothing of its quality",
    }
