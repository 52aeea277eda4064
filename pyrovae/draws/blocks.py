"""Draws of any program, block by block: latents, their log densities, and how many rows fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyrovae.draws.enumeration import draw_discrete, enumerated, summed
from pyrovae.draws.plan import Plan
from pyrovae.draws.shared import Shared, joint
from pyrovae.program import Batch, Program, repeat
from pyrovae.structure import Site, prune

__all__ = [
    "Draws",
    "densities_of",
    "draw",
    "draw_enumerated",
    "join",
    "most_predictive",
    "observe",
    "predict",
    "replayable",
    "rows_in_memory",
    "spans",
]

BUDGET = 256 * 2**20  # bytes of intermediate results
MOST_ROWS = 2**15
PROBE = 64  # rows of a trial
CACHED = 4  # the part of a block that is made at once, so that its tensors stay in the processor's cache


@dataclass(frozen=True)
class Draws:
    """S draws for n data: latents {site: (S, n, *event)}, and log densities (S, n), unscaled nats.

    Where latents are shared by all data, the densities are those of each datum given these. Where q is a point, its
    density is infinite. Draws of a Markov chain
    have no ``log_q``; ``sampler`` holds what it says of each draw, {name: (S, n)}.
    """

    latents: dict[str, Tensor]
    log_p: Tensor
    log_q: Tensor | None
    log_lik: Tensor
    site_kl: dict[str, Tensor] = field(default_factory=dict)
    sampler: dict[str, Tensor] = field(default_factory=dict)

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) − log q(z|x)."""
        if self.log_q is None:
            raise ValueError("draws of a Markov chain have no density that they were drawn with, hence no weights")
        return self.log_p - self.log_q


def draw(
    program: Program, plan: Plan, batch: Batch, draws: int, shared: Shared | None = None, *, kl: bool = True
) -> Draws:
    """S draws of the guide for each datum of a batch, with log p(x, z), log q(z|x) and log p(x|z).

    Enumerated sites are summed out of log p(x, z) and log p(x|z). With S draws of shared latents, draw s of the local
    ones is one given draw s of these. ``site_kl`` holds log q(z_j|x) − log p(z_j) averaged over the draws,
    (n, *event), for the sites whose guide and prior are both independent over the event, unless ``kl`` is False.
    """
    if shared is None:
        guide, copies = program.draw_guide(batch, draws)
        if not kl and (direct := _direct(program, plan, batch, guide, copies)):
            return direct
        return _densities(plan, guide, _model(program, plan, repeat(batch, copies), guide), copies, len(batch))
    pieces, log_p, log_q = [], [], []
    for s in range(draws):
        guide = poutine.trace(poutine.replay(program.guide, trace=shared.at(plan, s))).get_trace(*batch.args)
        guide.compute_log_prob()
        model = _model(program, plan, batch, guide)
        pieces.append(_densities(plan, guide, model, 1, len(batch)))
        log_p.append(joint(model, (*plan.shared, *plan.told)))
        log_q.append(joint(guide, (*plan.shared, *plan.carriers)))
    shared.refuse_other(plan, torch.stack(log_p), torch.stack(log_q))
    return join(pieces, [1] * draws)


def _direct(program: Program, plan: Plan, batch: Batch, guide: poutine.Trace, copies: int) -> Draws | None:
    """The draws of a guide's trace, where the program gives its densities without running the model."""
    n = len(batch)
    latents = {s.name: s.to_front(guide.nodes[s.name]["value"]).unflatten(0, (copies, n)) for s in plan.latents}
    found = None if plan.discrete else program.densities(batch, latents)
    if found is None:
        return None
    return Draws(latents, log_p=found[0] + found[1], log_q=_log_q(plan, guide).reshape(copies, n), log_lik=found[1])


def _log_q(plan: Plan, guide: poutine.Trace) -> Tensor:
    log_q = _total([per_datum(guide.nodes[s.name], s) for s in plan.latents])
    return torch.full_like(log_q, math.inf) if plan.points else log_q


def _model(program: Program, plan: Plan, batch: Batch, guide: poutine.Trace) -> poutine.Trace:
    if plan.discrete:
        return enumerated(program, plan, batch, guide)
    model = prune(poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*batch.args))
    model.compute_log_prob()
    return model


def _densities(plan: Plan, guide: poutine.Trace, model: poutine.Trace, copies: int, n: int) -> Draws:
    rows = copies * n
    log_p, log_lik = _model_densities(plan, model, rows)
    log_q = _log_q(plan, guide) if plan.latents else torch.zeros_like(log_p)
    return Draws(
        latents={s.name: s.to_front(guide.nodes[s.name]["value"]).unflatten(0, (copies, n)) for s in plan.latents},
        log_p=log_p.reshape(copies, n),
        log_q=log_q.reshape(copies, n),
        log_lik=log_lik.reshape(copies, n),
        site_kl=_site_kl(plan, guide, model, copies, n),
    )


def _model_densities(plan: Plan, model: poutine.Trace, rows: int) -> tuple[Tensor, Tensor]:
    """log p(x, z) and log p(x|z), (rows,)."""
    if plan.discrete:
        prior = {s.name for s in plan.latents}
        log_p = summed(plan, model, prior | {s.name for s in plan.observed}, rows)
        return log_p, log_p - summed(plan, model, prior, rows)
    log_lik = _total([per_datum(model.nodes[s.name], s) for s in plan.observed])
    return _total([per_datum(model.nodes[s.name], s) for s in plan.latents] + [log_lik]), log_lik


def densities_of(program: Program, plan: Plan, batch: Batch, trace: poutine.Trace, rows: int) -> tuple[Tensor, Tensor]:
    """log p(x, z) and log p(x|z), (rows,), of the values in a trace as `replayable` makes it, for as many data."""
    return _model_densities(plan, _model(program, plan, batch, trace), rows)


def _total(terms: list[Tensor]) -> Tensor:
    return sum(terms[1:], terms[0])


def join(pieces: Sequence[Draws], parts: Sequence[int]) -> Draws:
    """Several lots of draws of the same data as one."""
    if len(pieces) == 1:
        return pieces[0]
    total = sum(parts)
    return Draws(
        latents={k: torch.cat([p.latents[k] for p in pieces]) for k in pieces[0].latents},
        log_p=torch.cat([p.log_p for p in pieces]),
        log_q=torch.cat([p.log_q for p in pieces if p.log_q is not None]),
        log_lik=torch.cat([p.log_lik for p in pieces]),
        site_kl={
            k: torch.stack([p.site_kl[k] * m / total for p, m in zip(pieces, parts, strict=True)]).sum(0)
            for k in pieces[0].site_kl
        },
    )


def draw_enumerated(
    program: Program, plan: Plan, batch: Batch, latents: dict[str, Tensor], draws: int, shared: Shared | None = None
) -> dict[str, Tensor]:
    """Draws of the enumerated sites given the data and S draws of everything else, {site: (S, n, *event)}."""
    if not plan.discrete:
        return {}
    pieces = [
        draw_discrete(program, plan, repeat(batch, times), trace)
        for times, trace in _traces(plan, latents, draws, shared)
    ]
    return _gather(pieces, draws, len(batch))


def observe(
    program: Program,
    plan: Plan,
    batch: Batch,
    latents: dict[str, Tensor],
    draws: int,
    how: str,
    shared: Shared | None = None,
) -> dict[str, Tensor]:
    """What the likelihood says of x given latents (S, n, *event): {site: (S, n, *event)}.

    ``how`` is "sample" for draws of x, "mean" for its expectation (draws where the family has none).
    """
    pieces = []
    for model in _observations(program, plan, batch, latents, draws, how, shared):
        pieces.append({s.name: s.to_front(_value(model.nodes[s.name], how)) for s in plan.observed})
    return _gather(pieces, draws, len(batch))


def predict(
    program: Program, plan: Plan, batch: Batch, latents: dict[str, Tensor], draws: int, shared: Shared | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Draws x̃ of x given latents (S, n, *event), {site: (S, n, *event)}, and log p(x̃|z) (S, n).

    Cells that the data lack are drawn, and not counted.
    """
    pieces, log_lik = [], []
    for model in _observations(program, plan, batch, latents, draws, "sample", shared):
        model.compute_log_prob(lambda name, _: any(name == s.name for s in plan.observed))
        pieces.append({s.name: s.to_front(model.nodes[s.name]["value"]) for s in plan.observed})
        log_lik.append(_total([per_datum(model.nodes[s.name], s) for s in plan.observed]))
    return _gather(pieces, draws, len(batch)), torch.cat(log_lik).unflatten(0, (draws, len(batch)))


def _observations(
    program: Program,
    plan: Plan,
    batch: Batch,
    latents: dict[str, Tensor],
    draws: int,
    how: str,
    shared: Shared | None,
) -> Iterator[poutine.Trace]:
    free = poutine.uncondition(program.model) if how == "sample" else program.model
    for times, trace in _traces(plan, latents, draws, shared):
        yield poutine.trace(poutine.replay(free, trace=trace)).get_trace(*repeat(batch, times).args)


def _value(node: Any, how: str) -> Tensor:
    if how == "sample":
        value: Tensor = node["value"]
        return value
    try:
        value = node["fn"].mean
    except NotImplementedError:
        value = node["fn"].sample()
    if bool(torch.isnan(value).all()):  # a mean of NaN is none, as of categories
        value = node["fn"].sample()
    return value


def _traces(
    plan: Plan, latents: dict[str, Tensor], draws: int, shared: Shared | None
) -> Iterator[tuple[int, poutine.Trace]]:
    """All draws in one trace of repeated data; a trace for each where latents are shared by the data."""
    if shared is None:
        yield draws, replayable(plan, {name: value.flatten(0, 1) for name, value in latents.items()})
        return
    for s in range(draws):
        yield 1, replayable(plan, {name: value[s] for name, value in latents.items()}, shared.at(plan, s))


def _gather(pieces: list[dict[str, Tensor]], draws: int, n: int) -> dict[str, Tensor]:
    return {name: torch.cat([p[name] for p in pieces]).unflatten(0, (draws, n)) for name in pieces[0]}


def replayable(plan: Plan, latents: dict[str, Tensor], trace: poutine.Trace | None = None) -> poutine.Trace:
    """A trace to replay the model against, of latents (rows, *event), added to one of shared latents."""
    trace = poutine.Trace() if trace is None else trace
    for site in (*plan.latents, *plan.discrete):
        if site.name in latents:
            value = site.to_plate(latents[site.name])
            trace.add_node(site.name, name=site.name, type="sample", value=value, is_observed=False, infer={})
    return trace


def per_datum(node: Any, site: Site) -> Tensor:
    """A site's log density by datum: its mask applied, its scale not, all plates but the data's summed."""
    log_prob = scale_and_mask(node.get("unscaled_log_prob", node.get("log_prob")), 1.0, node.get("mask"))
    log_prob = log_prob.movedim(site.plate_dim, 0)
    return log_prob.reshape(log_prob.shape[0], -1).sum(1)


def _site_kl(plan: Plan, guide: Any, model: Any, copies: int, n: int) -> dict[str, Tensor]:
    out = {}
    for site in plan.latents:
        q, p = guide.nodes[site.name]["fn"], model.nodes[site.name]["fn"]
        if q is None or site in plan.points or site.plate_dim != -1 or site.event_dim != len(site.event_shape):
            continue
        if plan.discrete and model.nodes[site.name]["log_prob"].dim() > -plan.enum_dim - 1:
            continue  # its prior depends on an enumerated site: p(z_j) is a mixture
        q_mask, p_mask = guide.nodes[site.name].get("mask"), model.nodes[site.name].get("mask")
        if site.event_dim == 0:
            q_terms, p_terms = per_datum(guide.nodes[site.name], site), per_datum(model.nodes[site.name], site)
        elif all(hasattr(f, "base_dist") and type(f).__name__ == "Independent" for f in (q, p)) and all(
            f.base_dist.event_dim == 0 for f in (q, p)
        ):
            value = guide.nodes[site.name]["value"]
            q_terms = q.base_dist.log_prob(value.reshape(*q.batch_shape, *q.event_shape)).reshape(value.shape)
            q_terms = scale_and_mask(q_terms, 1.0, _by_cell(q_mask, site))
            p_terms = scale_and_mask(p.base_dist.log_prob(value), 1.0, _by_cell(p_mask, site))
        else:
            continue
        out[site.name] = (q_terms - p_terms).reshape(copies, n, *site.event_shape).mean(0)
    return out


def _by_cell(mask: Any, site: Site) -> Any:
    """A mask of data as one of their cells."""
    return mask.reshape(*mask.shape, *(1,) * site.event_dim) if isinstance(mask, Tensor) else mask


def rows_in_memory(program: Program, plan: Plan, batch: Batch, shared: Shared | None) -> int:
    """How many rows (a datum times a draw) a block may hold, from the largest tensor that some rows take."""
    some = batch.take(torch.arange(PROBE, device=batch.x.device) % len(batch))
    with _Largest() as largest:
        draw(program, plan, some, 1, shared)
    row = 4 * largest.size / PROBE + 8 * batch.x[0].numel() * batch.x.element_size() + 64
    rows = max(1, min(MOST_ROWS, int(BUDGET / row)))
    full = plan.structure.full_size
    return rows if full is None else min(rows, full)


class _Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor):
                self.size = max(self.size, value.numel() * value.element_size())
        return out


def spans(plan: Plan, n: int, draws: int, rows: int) -> Iterator[tuple[slice, list[int]]]:
    """Blocks of data, and how many draws to make at a time for each, with at most ``rows`` rows at once.

    Draws of shared latents are made one by one, each for as many data as there is memory to keep all draws of them.
    """
    if plan.shared:
        kept = 8 * draws * (4 + sum(math.prod(s.event_shape) for s in (*plan.latents, *plan.discrete)))
        step, parts = max(1, min(rows, BUDGET // kept)), [draws]
    else:
        at_once = min(draws, rows)
        step = max(1, rows // at_once)
        some = min(at_once, max(1, rows // CACHED // step))
        parts = [some] * (draws // some) + ([draws % some] if draws % some else [])
    for start in range(0, n, step):
        yield slice(start, min(start + step, n)), parts


def most_predictive(chains: int, n: int, cells: int, draws: int) -> int:
    """How many draws of x to keep for each datum by default: up to 100, within the memory budget, at least one."""
    return max(1, min(draws, 100, math.floor(BUDGET / (4 * chains * n * max(1, cells)))))
