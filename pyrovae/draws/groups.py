"""What a block of data puts into the tree: draws, predictions, densities and the data themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae._rng import Stream, derive, seed_all, seeded
from pyrovae.draws.blocks import Draws, draw, draw_enumerated, join, predict, replayable
from pyrovae.draws.chains import Chains
from pyrovae.draws.plan import Plan
from pyrovae.draws.shared import Shared
from pyrovae.draws.together import SharedTree
from pyrovae.draws.tree import DiskTree, MemoryTree, dataset, site_dims
from pyrovae.program import Batch
from pyrovae.structure import Site
from pyrovae.svi.batches import Batches

__all__ = ["Sampler", "by_guide", "write_block"]


Sampler = Callable[[int, Any, Plan, Batch, slice, "Shared | None"], Draws]
"""All draws of one chain for a block of data: (chain, program, plan, batch, block, shared draws) → draws."""


def write_block(
    sink: DiskTree | MemoryTree | SharedTree,
    chains: Chains,
    plan: Plan,
    batches: Batches,
    block: slice,
    sampler: Sampler,
    keep: int,
    rows: int,
    seed: int,
    shared: list[Shared | None],
) -> None:
    """All draws of all chains for some data, put into the sink."""
    with seeded(seed, Stream.DATA, block.start):
        batch = batches.take(block)
    drawn: list[Draws] = []
    predicted: list[dict[str, Tensor]] = []
    predicted_lik: list[Tensor] = []
    for chain, program in chains:
        given = shared[chain]
        with program.scope():
            seed_all(derive(seed, Stream.POSTERIOR, chain, block.start))
            whole = sampler(chain, program, plan, batch, block, given)
            drawn.append(whole)
            if keep:
                made, made_lik = _predict(program, plan, batch, whole.latents, keep, rows, given)
                predicted.append(made)
                predicted_lik.append(made_lik)
            if chain == 0:
                start = None if given is None else given.at(plan, 0)
                first = replayable(plan, {name: value[0] for name, value in whole.latents.items()}, start)
                model = poutine.trace(poutine.replay(program.model, trace=first)).get_trace(*batch.args)
    data = batches.data

    def put(group: str, variables: dict[str, tuple[tuple[str, ...], Tensor]], **attrs: str) -> None:
        if variables:
            sink.append(group, dataset(variables, data, block).assign_attrs(attrs))

    lead = ("chain", "draw", "obs_id")
    local = tuple(s for s in (*plan.latents, *plan.discrete) if s.name in drawn[0].latents)
    if local or block.start == 0:
        put("posterior", _shared_values(plan, shared) | _local_values(local, [d.latents for d in drawn], lead))
    if keep:
        put("posterior_predictive", _local_values(plan.observed, predicted, lead, data))
        if not plan.discrete:  # log_lik of the data is summed over the enumerated sites, that of a draw is given them
            put("predictive_stats", {"log_lik": (lead, torch.stack(predicted_lik))})
    put("observed_data", _observed(plan, model, batch.x, data))
    put("constant_data", _constant(batches, batch, block))
    kl = {
        f"kl_{s.name}": (
            ("chain", "obs_id", *site_dims(s.name, s.event_shape)),
            torch.stack([d.site_kl[s.name] for d in drawn]),
        )
        for s in plan.latents
        if s.name in drawn[0].site_kl
    }
    guided = all(d.log_q is not None for d in drawn)
    names = ("log_p", "log_q", "log_lik") if guided else ("log_p", "log_lik")
    stats = {name: (lead, torch.stack([getattr(d, name) for d in drawn])) for name in names}
    stats |= {name: (lead, torch.stack([d.sampler[name] for d in drawn])) for name in drawn[0].sampler}
    pointed = plan.points if any(d.log_q is not None and bool(d.log_q.isinf().any()) for d in drawn) else ()
    cut = tuple(s for s in plan.latents if guided and s.name in plan.structure.truncated)
    roles = (
        ("global_sites", plan.shared),
        ("enumerated_sites", plan.discrete),
        ("point_sites", pointed),
        ("truncated_sites", cut),
        ("discrete_sites", tuple(s for s in plan.latents if s.support.is_discrete)),
    )
    attrs = {role: json.dumps([s.name for s in sites]) for role, sites in roles if sites}
    if not plan.shared:
        if guided:
            stats["log_weight"] = (lead, torch.stack([d.log_weight for d in drawn]))
        put("sample_stats", stats | kl, **attrs)
        return
    put("sample_stats", stats | _shared_stats(shared) | kl, **attrs)
    if not plan.latents:
        name = plan.observed[0].name if len(plan.observed) == 1 else plan.structure.plate
        put("log_likelihood", {name: stats["log_lik"]})


def by_guide(parts: list[int], keep_discrete: bool = False) -> Sampler:
    """Draws of the guide, made so many at a time."""

    def sampler(chain: int, program: Any, plan: Plan, batch: Batch, block: slice, shared: Shared | None) -> Draws:
        pieces = []
        with program.once(batch):
            exact = program.dimension_kl(batch) if len(plan.latents) == 1 and not plan.points else None
            for m in parts:
                drawn = draw(program, plan, batch, m, shared, kl=exact is None)
                if keep_discrete:
                    drawn.latents.update(draw_enumerated(program, plan, batch, drawn.latents, m, shared))
                pieces.append(drawn)
        whole = join(pieces, parts)
        if exact is not None:
            whole.site_kl[plan.latents[0].name] = exact
        return whole

    return sampler


def _predict(
    program: Any, plan: Plan, batch: Batch, latents: dict[str, Tensor], keep: int, rows: int, shared: Shared | None
) -> tuple[dict[str, Tensor], Tensor]:
    """Draws of x for the first draws of the latents, those of the enumerated sites made if they are not there."""
    step = keep if plan.shared else max(1, rows // len(batch))
    pieces, log_lik = [], []
    for start in range(0, keep, step):
        stop = min(start + step, keep)
        some = {name: value[start:stop] for name, value in latents.items()}
        if not all(site.name in some for site in plan.discrete):
            some |= draw_enumerated(program, plan, batch, some, stop - start, shared)
        made, made_lik = predict(program, plan, batch, some, stop - start, shared)
        pieces.append(made)
        log_lik.append(made_lik)
    return {name: torch.cat([p[name] for p in pieces]) for name in pieces[0]}, torch.cat(log_lik)


def _local_values(
    sites: tuple[Site, ...], values: list[dict[str, Tensor]], lead: tuple[str, ...], data: Any = None
) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    return {
        s.name: ((*lead, *site_dims(s.name, s.event_shape, data)), torch.stack([v[s.name] for v in values]))
        for s in sites
    }


def _shared_values(plan: Plan, shared: list[Shared | None]) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    values = [s.values for s in shared if s is not None]
    return _local_values(plan.shared, values, ("chain", "draw"))


def _shared_stats(shared: list[Shared | None]) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    made = [s for s in shared if s is not None]
    return {
        "log_p_global": (("chain", "draw"), torch.stack([s.log_p for s in made])),
        "log_q_global": (("chain", "draw"), torch.stack([s.log_q for s in made])),
    }


def _observed(plan: Plan, model: Any, x: Tensor, data: Any) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    out = {}
    for site in plan.observed:
        value = site.to_front(model.nodes[site.name]["value"])
        if value.shape == x.shape and x.is_floating_point():
            value = torch.where(torch.isnan(x), x, value)
        out[site.name] = (("obs_id", *site_dims(site.name, site.event_shape, data)), value)
    return out


def _constant(batches: Batches, batch: Batch, block: slice) -> dict[str, tuple[tuple[str, ...], Any]]:
    out: dict[str, tuple[tuple[str, ...], Any]] = {}
    if batch.context is not None:
        out["context"] = (("obs_id", "covariate"), batch.context)
    data = batches.data
    if batches.first_missing is not None:  # in each block, whether it has some or not
        out["mask"] = (("obs_id", *data.dims), ~torch.isnan(batch.x))
    if data.labels is not None:
        out["label"] = (("obs_id",), data.labels[block])
    return out
