"""A Normal, or a t distribution, fitted to the posterior of each datum on unconstrained coordinates."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.draws.blocks import draw
from pyrovae.draws.proposal import judged, lots, of_target
from pyrovae.draws.target import Evaluation, Target
from pyrovae.guides._local import refine
from pyrovae.program import Batch

__all__ = ["GRADIENT", "fit_normal", "to_moments"]

GRADIENT = 8  # draws of a gradient step
START, FAR, MOMENTS = 200, 256, 500  # draws: to start from, near and far, and to weight
CLIMBERS, CLIMB = 8, 30  # how many of the far ones climb log p(x, z), and how many steps
FARTHEST = 50.0  # what an infinite coordinate, of a draw that rounds onto the boundary of its support, is taken for


def fit_normal(e: Evaluation, target: Target, batch: Batch, steps: int, lr: float) -> tuple[Tensor, Tensor]:
    """Location (n, d) and Cholesky factor (n, d, d) of the Normal of highest ELBO that steps of Adam find.

    From mean and covariance of the guide's draws, in whose units it moves, and from where another mode may be; halfway
    it goes on from the better of the two, in its units.
    """
    start = _start(e, target, batch)
    first, rest = steps - steps // 2, steps // 2
    found = [_climb(target, *q, first, lr) for q in (start, (_far(target, *start, e.rows), start[1]))]
    found = [_better(target, e.rows, *found)]
    if rest:
        found.append(_climb(target, *found[0], rest, lr))
    return _better(target, e.rows, start, *found)


def _start(e: Evaluation, target: Target, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean and Cholesky factor of the covariance of the guide's own unconstrained draws; of a guide that is a point,
    with a tenth of the spread of the prior's."""
    count = max(START, 4 * target.dim)
    parts = lots(count, len(batch), e.rows)
    with e.program.once(batch):
        u = torch.cat([target.unconstrain(draw(e.program, e.plan, batch, m).latents) for m in parts])
    if e.plan.points:
        loc, spread = u[0], target.prior_draws(START).nan_to_num(0.0, FARTHEST, -FARTHEST).std(0)
        return loc, torch.diag_embed(spread / 10)
    return _moments(u.nan_to_num(0.0, FARTHEST, -FARTHEST), u.new_full(u.shape[:2], 1 / count))


def _far(target: Target, loc: Tensor, factor: Tensor, rows: int) -> Tensor:
    """u (n, d) where another mode may be: the highest that is reached from draws of the prior, and from some ten times
    as far as the guide's, the likeliest of each lot of them."""
    n, dim = loc.shape
    wide = loc + 10 * torch.einsum("nde,sne->snd", factor, torch.randn(FAR, n, dim).to(loc))
    u = torch.cat([wide, target.prior_draws(FAR).nan_to_num(0.0, FARTHEST, -FARTHEST)])
    value = torch.cat([target(part) for part in u.split(lots(len(u), n, rows))]).nan_to_num(-torch.inf, -torch.inf)
    best = value.unflatten(0, (CLIMBERS, -1)).argmax(1)[:, None, :, None].expand(-1, -1, -1, dim)
    at = u.unflatten(0, (CLIMBERS, -1)).gather(1, best).reshape(-1, dim)
    unit = (u.std(0) / 2).repeat(CLIMBERS, 1)
    moved = refine(
        lambda t: dist.Delta(at + unit * t, event_dim=1),  # no spread: log p(x, z) itself is climbed
        torch.zeros_like(at),
        lambda z: target(z.reshape(CLIMBERS, n, dim)).reshape(1, -1),
        steps=CLIMB,
        lr=0.3,
    )
    u = (at + unit * moved).reshape(CLIMBERS, n, dim)
    best = target(u).nan_to_num(-torch.inf, -torch.inf).argmax(0)
    return u[best, torch.arange(n, device=u.device)]


def _better(target: Target, rows: int, *found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Of each datum the Normal with the highest ELBO, the first where none is finite."""
    value = torch.stack([judged(of_target(target, "full", *q), target, rows) for q in found])
    best = value.nan_to_num(-torch.inf, -torch.inf).argmax(0)
    loc, factor = (
        torch.stack(column)[best, torch.arange(len(best), device=best.device)] for column in zip(*found, strict=True)
    )
    return loc, factor


def _moments(u: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (n, d) and Cholesky factor (n, d, d) of draws u (S, n, d) with weights (S, n) that add up to 1.

    With few effective draws the covariance is drawn to its diagonal.
    """
    dim, mean = u.shape[-1], torch.einsum("sn,snd->nd", weight, u)
    apart = u - mean
    covariance = torch.einsum("sn,snd,sne->nde", weight, apart, apart)
    diagonal = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12)
    share = (dim / (dim + 1 / weight.square().sum(0)))[:, None, None]
    return mean, torch.linalg.cholesky((1 - share) * covariance + share * torch.diag_embed(diagonal))


def _normal(raw: Tensor, dim: int) -> Any:
    """A Normal with full covariance of raw numbers (n, d + d(d + 1)/2): means, log diagonal, what is below it."""
    rows, columns = torch.tril_indices(dim, dim, -1, device=raw.device)
    factor = torch.diag_embed(raw[:, dim : 2 * dim].exp())
    factor[:, rows, columns] = raw[:, 2 * dim :]
    return dist.MultivariateNormal(raw[:, :dim], scale_tril=factor)


def _climb(target: Target, loc: Tensor, factor: Tensor, steps: int, lr: float) -> tuple[Tensor, Tensor]:
    """Steps in the coordinates t, u = loc + factor t, from N(0, I)."""
    dim = target.dim
    raw = loc.new_zeros(len(loc), 2 * dim + dim * (dim - 1) // 2)

    def joint(t: Tensor) -> Tensor:
        return target(loc + torch.einsum("nde,sne->snd", factor, t))

    q = _normal(refine(lambda r: _normal(r, dim), raw, joint, steps=steps, lr=lr, draws=GRADIENT), dim)
    return loc + torch.einsum("nde,ne->nd", factor, q.loc), factor @ q.scale_tril


def to_moments(target: Target, loc: Tensor, factor: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Towards mean and covariance of weighted draws of the t distribution, as far as these are effective."""
    q = of_target(target, "student", loc, factor).q
    u = q.sample((MOMENTS,))
    log_weight = torch.cat([target(part) for part in u.split(lots(MOMENTS, len(loc), rows))]) - q.log_prob(u)
    log_weight = torch.where(log_weight.isfinite(), log_weight, -torch.inf).log_softmax(0).nan_to_num(-math.inf)
    weight = log_weight.clamp_max(-math.log(MOMENTS) / 2).exp()
    total = weight.sum(0)
    weight = torch.where(total > 0, weight / total, 1 / MOMENTS)
    mean, new = _moments(u, weight)
    effective = 1 / weight.square().sum(0)
    share = torch.where(total > 0, effective / (effective + target.dim**2), 0.0)[:, None]
    covariance = share[..., None] * new @ new.mT + (1 - share[..., None]) * factor @ factor.mT
    moved, failed = torch.linalg.cholesky_ex(covariance)
    return share * mean + (1 - share) * loc, torch.where((failed == 0)[:, None, None], moved, factor)
