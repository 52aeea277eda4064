"""Draws of any program, block by block: latents, their log densities, and how many rows fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn

from pyrovae.program import Program, repeat
from pyrovae.structure import Site, Structure, prune

__all__ = ["Draws", "draw", "most_predictive", "observe", "replayable", "rows_in_memory", "spans"]

BUDGET = 256 * 2**20  # bytes of intermediate results
MOST_ROWS = 2**15


@dataclass(frozen=True)
class Draws:
    """S draws for n data: latents {site: (S, n, *event)}, and log densities (S, n), unscaled nats."""

    latents: dict[str, Tensor]
    log_p: Tensor
    log_q: Tensor
    log_lik: Tensor
    site_kl: dict[str, Tensor]


def draw(program: Program, structure: Structure, args: tuple[Tensor, ...], draws: int) -> Draws:
    """S draws of the guide for each datum of a batch, with log p(x, z), log q(z|x) and log p(x|z).

    ``site_kl`` holds log q(z_j|x) − log p(z_j) averaged over the draws, (n, *event), for the sites whose guide and
    prior are both independent over the event.
    """
    guide, copies = program.draw_guide(args[0], args[1] if len(args) > 1 else None, draws)
    model = prune(poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*repeat(args, copies)))
    model.compute_log_prob()
    n = args[0].shape[0]
    latent = {s.name: per_datum(model.nodes[s.name], s).reshape(copies, n) for s in structure.latents}
    log_lik = sum(per_datum(model.nodes[s.name], s).reshape(copies, n) for s in structure.observed)
    log_q = sum(per_datum(guide.nodes[s.name], s).reshape(copies, n) for s in structure.latents)
    return Draws(
        latents={s.name: s.to_front(guide.nodes[s.name]["value"]).unflatten(0, (copies, n)) for s in structure.latents},
        log_p=sum(latent.values()) + log_lik,  # type: ignore[arg-type]
        log_q=log_q,  # type: ignore[arg-type]
        log_lik=log_lik,  # type: ignore[arg-type]
        site_kl=_site_kl(structure, guide, model, copies, n),
    )


def observe(
    program: Program, structure: Structure, args: tuple[Tensor, ...], latents: dict[str, Tensor], how: str
) -> dict[str, Tensor]:
    """What the likelihood says of x given latents (S, n, *event): {site: (S, n, *event)}.

    ``how`` is "sample" for draws of x, "mean" for its expectation (draws where the family has none).
    """
    draws, n = next(iter(latents.values())).shape[:2]
    trace = replayable(structure, {name: value.flatten(0, 1) for name, value in latents.items()})
    free = poutine.uncondition(program.model) if how == "sample" else program.model
    model = poutine.trace(poutine.replay(free, trace=trace)).get_trace(*repeat(args, draws))
    out = {}
    for site in structure.observed:
        node = model.nodes[site.name]
        if how == "sample":
            value = node["value"]
        else:
            try:
                value = node["fn"].mean
            except NotImplementedError:
                value = node["fn"].sample()
        out[site.name] = site.to_front(value).unflatten(0, (draws, n))
    return out


def per_datum(node: Any, site: Site) -> Tensor:
    """A site's log density by datum: its mask applied, its scale not, all plates but the data's summed."""
    log_prob = scale_and_mask(node.get("unscaled_log_prob", node.get("log_prob")), 1.0, node.get("mask"))
    log_prob = log_prob.movedim(site.plate_dim, 0)
    return log_prob.reshape(log_prob.shape[0], -1).sum(1)


def replayable(structure: Structure, latents: dict[str, Tensor]) -> poutine.Trace:
    """A trace to replay the model against, of latents (rows, *event)."""
    trace = poutine.Trace()
    for site in structure.latents:
        value = site.to_plate(latents[site.name])
        trace.add_node(site.name, name=site.name, type="sample", value=value, is_observed=False, infer={})
    return trace


def _site_kl(structure: Structure, guide: Any, model: Any, copies: int, n: int) -> dict[str, Tensor]:
    out = {}
    for site in structure.latents:
        q, p = guide.nodes[site.name]["fn"], model.nodes[site.name]["fn"]
        if site.plate_dim != -1 or site.event_dim != len(site.event_shape):
            continue
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


def rows_in_memory(program: Program, structure: Structure, args: tuple[Tensor, ...]) -> int:
    """How many rows (a datum times a draw) a block may hold, from the outputs of the modules for two rows."""
    sizes: list[int] = []

    def record(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * output.element_size())

    leaves = [m for m in program.modules() if not list(m.children())]
    handles = [m.register_forward_hook(record) for m in leaves]
    two = tuple(a[torch.arange(2, device=a.device) % a.shape[0]] for a in args)
    try:
        draw(program, structure, two, 1)
    finally:
        for handle in handles:
            handle.remove()
    x = args[0]
    row = (sum(sizes) / 2 + 8 * x[0].numel() * x.element_size()) + 64
    rows = max(1, min(MOST_ROWS, int(BUDGET / row)))
    return rows if structure.full_size is None else min(rows, structure.full_size)


def spans(n: int, draws: int, rows: int) -> Iterator[tuple[slice, list[int]]]:
    """Blocks of data, and how many draws to make at a time for each, with at most ``rows`` rows at once."""
    at_once = min(draws, rows)
    step = max(1, rows // at_once)
    parts = [at_once] * (draws // at_once) + ([draws % at_once] if draws % at_once else [])
    for start in range(0, n, step):
        yield slice(start, min(start + step, n)), parts


def most_predictive(chains: int, n: int, cells: int, draws: int) -> int:
    """How many draws of x to keep for each datum by default: up to 100, within the memory budget, at least one."""
    return max(1, min(draws, 100, math.floor(BUDGET / (4 * chains * n * max(1, cells)))))
