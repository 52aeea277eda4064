"""The guide's density of latents that were drawn for other data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.draws.blocks import per_datum, replayable
from pyrovae.draws.target import Evaluation
from pyrovae.program import Batch
from pyrovae.structure import prune
from pyrovae.vae import VAE

__all__ = ["aggregate_density"]

Density = Callable[[dict[str, Tensor]], Tensor]


def aggregate_density(
    e: Evaluation, batch: Batch, chosen: np.ndarray, latents: dict[str, Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """log q(z|x) of the own datum, and log (1/N) Σ_m q(z|x_m), (draw, datum), of draws of some data."""
    draws, count = next(iter(latents.values())).shape[:2]
    points = {name: value.flatten(0, 1) for name, value in latents.items()}
    datum = np.tile(chosen, draws)
    own, total = np.full(len(datum), np.nan), torch.full((len(datum),), -math.inf, dtype=torch.float64)
    for start, size, density in _densities(e, batch):
        step = max(1, e.rows // size)
        for first in range(0, len(datum), step):
            part = slice(first, first + step)
            log_q = density({name: value[part] for name, value in points.items()}).double().cpu()
            total[part] = torch.logaddexp(total[part], log_q.logsumexp(1))
            at = datum[part] - start
            mine = np.nonzero((at >= 0) & (at < size))[0]
            own[first + mine] = log_q.numpy()[mine, at[mine]]
    mean = total.numpy() - math.log(len(batch))
    return own.reshape(draws, count), mean.reshape(draws, count)


def _densities(e: Evaluation, batch: Batch) -> Iterator[tuple[int, int, Density]]:
    """For each block of data its start, its size, and the function z (k, …) → log q(z_k|x_m), (k, size)."""
    step = max(1, e.rows)
    for start in range(0, len(batch), step):
        block = batch.take(slice(start, min(start + step, len(batch))))
        if isinstance(e.program, VAE):
            yield start, len(block), _by_distribution(e.program, e.plan.latents[0].name, block)
        else:
            yield start, len(block), _by_replay(e, block)


def _by_distribution(program: VAE, site: str, block: Batch) -> Density:
    q = program.encode(block.x, block.context)

    def density(z: dict[str, Tensor]) -> Tensor:
        value = z[site][:, None].expand(-1, len(block), *z[site].shape[1:])
        log_q: Tensor = q.log_prob(value)
        return log_q

    return density


def _by_replay(e: Evaluation, block: Batch) -> Density:
    def density(z: dict[str, Tensor]) -> Tensor:
        k, n = len(next(iter(z.values()))), len(block)
        rows = block.take(torch.arange(n, device=block.x.device).repeat(k))
        given = replayable(e.plan, {name: value.repeat_interleave(n, 0) for name, value in z.items()})
        guide = prune(poutine.trace(poutine.replay(e.program.guide, trace=given)).get_trace(*rows.args))
        guide.compute_log_prob()
        terms = [per_datum(guide.nodes[site.name], site) for site in e.plan.latents]
        return sum(terms[1:], terms[0]).reshape(k, n)

    return density
