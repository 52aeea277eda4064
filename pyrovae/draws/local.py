"""An improved q of each datum: gradient steps on its own ELBO, and draws of what they reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae._rng import Stream, seeded
from pyrovae.draws.blocks import CACHED, Draws, densities_of, draw, draw_enumerated, join, replayable
from pyrovae.draws.families import guide_family
from pyrovae.draws.groups import Sampler
from pyrovae.draws.plan import Plan
from pyrovae.draws.proposal import Proposal, of_guide, of_target
from pyrovae.draws.target import Evaluation, Target
from pyrovae.guides._local import choice, refine
from pyrovae.program import Batch, Program, repeat

__all__ = ["COPIES", "FAMILIES", "LR", "STEPS", "Local", "improve", "improve_all", "log_p", "lots"]

FAMILIES = ("guide", "full", "student")
STEPS, LR = 200, 0.1
GRADIENT = 8  # draws of a gradient step
START, FAR, MOMENTS, JUDGES = 200, 500, 500, 64  # draws: to start from, near and far, to weight, to judge by
SCORES = 32  # draws that the units of raw numbers are taken from
COPIES = 64  # of a datum that memory is to hold while its q is improved: GRADIENT of them with their gradients
FARTHEST = 50.0  # what an infinite coordinate, of a draw that rounds onto the boundary of its support, is taken for


@dataclass(frozen=True)
class Local:
    """The numbers by datum of an improved q: raw ones of the guide's family, or location and Cholesky factor of u."""

    family: str
    numbers: tuple[Tensor, ...]
    rows: int

    def at(self, program: Program, plan: Plan, batch: Batch, block: slice = slice(None)) -> Proposal:
        """q of the data of a batch, which are a block of those it was improved for."""
        numbers = [values[block] for values in self.numbers]
        if self.family == "guide":
            family = guide_family(program, plan, batch)
            return of_guide(family.site.name, family.distribution(numbers[0]))
        target = Target(program, plan, batch)
        return of_target(target, self.family, *numbers)

    def sampler(self, draws: int, *, discrete: bool = False) -> Callable[[Sampler], Sampler]:
        """For `make_tree`: what draws from these q instead of from the guide."""

        def draw_block(chain: int, program: Any, plan: Plan, batch: Batch, block: slice, shared: Any) -> Draws:
            proposal = self.at(program, plan, batch, block)
            parts, pieces = lots(draws, len(batch), self.rows), []
            for m in parts:
                drawn = proposal.draw(program, plan, batch, m)
                if discrete:
                    drawn.latents.update(draw_enumerated(program, plan, batch, drawn.latents, m))
                pieces.append(drawn)
            return join(pieces, parts)

        return lambda by_guide: draw_block


def improve_all(e: Evaluation, family: str, *, steps: int = STEPS, lr: float = LR, seed: int = 0) -> Local:
    """An improved q of all data of an evaluation, block by block."""
    pieces = []
    for block, batch in e.blocks(COPIES, seed):
        with seeded(seed, Stream.REFINEMENT, block.start):
            pieces.append(improve(e, batch, family, steps=steps, lr=lr))
    numbers = tuple(torch.cat(column) for column in zip(*(p.numbers for p in pieces), strict=True))
    return Local(family, numbers, e.rows)


def improve(e: Evaluation, batch: Batch, family: str, *, steps: int = STEPS, lr: float = LR) -> Local:
    """q of each datum of a batch after Adam's steps on its own ELBO, by the global random state.

    Never a worse one than it starts from: the two are compared by draws of their own, the same for both.

    Parameters
    ----------
    family
        "guide": the guide's own family, from what the guide gives. Each raw number is measured in units of
        1/√(Fisher information), so that one rate suits all. "full": a Normal with full covariance of the
        unconstrained latents, from mean and covariance of the guide's draws, in whose units it moves, and from the
        likeliest of draws far from them; halfway it goes on from the better of the two, in its units. "student": the same, then moved to mean and covariance of its weighted
        draws, with the tails of a t distribution with 10 degrees of freedom.
    steps, lr
        How many, and Adam's rate at first; it falls linearly to 0.

    Raises
    ------
    ValueError
        If the family is unknown, or not to be had of the program, with the reason.

    References
    ----------
    Cremer, Li & Duvenaud 2018, 1801.03558, section 5; Paananen, Piironen, Bürkner & Vehtari 2021, 1906.08850 (moments
    of weighted draws); Ionides 2008, equation 3 (weights truncated at √S times their mean).
    """
    choice("family", family, FAMILIES)
    if family == "guide":
        return Local(family, (_improve_guide(e, batch, steps, lr),), e.rows)
    target = Target(e.program, e.plan, batch)
    start = _start(e, target, batch)
    first, rest = steps - steps // 2, steps // 2
    found = [_climb(target, *q, first, lr) for q in (start, (_far(target, *start, e.rows), start[1]))]
    found = [_better(target, e.rows, *found)]
    if rest:
        found.append(_climb(target, *found[0], rest, lr))
    loc, factor = _better(target, e.rows, start, *found)
    if family == "student":
        loc, factor = _to_moments(target, loc, factor, e.rows)
    return Local(family, (loc, factor), e.rows)


def _improve_guide(e: Evaluation, batch: Batch, steps: int, lr: float) -> Tensor:
    family = guide_family(e.program, e.plan, batch)
    name = family.site.name

    def joint(z: Tensor) -> Tensor:
        return log_p(e.program, e.plan, batch, {name: z})

    unit = _units(family.distribution, family.raw)
    moved = refine(
        lambda t: family.distribution(family.raw + unit * t),
        torch.zeros_like(family.raw),
        joint,
        steps=steps,
        lr=lr,
        draws=GRADIENT,
    )
    new = family.raw + unit * moved
    before, after = (_judged(of_guide(name, family.distribution(r)), joint, e.rows) for r in (family.raw, new))
    return torch.where(_as(after > before, new), new, family.raw)


def log_p(program: Program, plan: Plan, batch: Batch, latents: dict[str, Tensor]) -> Tensor:
    """log p(x, z) (S, n) of latents {site: (S, n, *event)}."""
    direct = None if plan.discrete else program.densities(batch, latents)
    if direct is not None:
        return direct[0] + direct[1]
    copies, n = next(iter(latents.values())).shape[:2]
    trace = replayable(plan, {name: z.flatten(0, 1) for name, z in latents.items()})
    return densities_of(program, plan, repeat(batch, copies), trace, copies * n)[0].reshape(copies, n)


def _units(distribution: Callable[[Tensor], Any], raw: Tensor) -> Tensor:
    """1/√I of each raw number, I the Fisher information about it in a draw of q; of those that say nothing, bounded."""
    information = torch.zeros_like(raw)
    for z in distribution(raw).sample((SCORES,)):
        with torch.enable_grad():
            free = raw.detach().clone().requires_grad_()
            (score,) = torch.autograd.grad(distribution(free).log_prob(z).sum(), free)
        information += score.nan_to_num(0.0, 0.0, 0.0).square() / SCORES
    least = 1e-3 * information.median(-1, keepdim=True).values.clamp_min(1e-9)
    return information.maximum(least).rsqrt()


def _start(e: Evaluation, target: Target, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean and Cholesky factor of the covariance of the guide's own unconstrained draws."""
    count = max(START, 4 * target.dim)
    parts = lots(count, len(batch), e.rows)
    u = torch.cat([target.unconstrain(draw(e.program, e.plan, batch, m).latents) for m in parts])
    return _moments(u.nan_to_num(0.0, FARTHEST, -FARTHEST), u.new_full(u.shape[:2], 1 / count))


def _far(target: Target, loc: Tensor, factor: Tensor, rows: int) -> Tensor:
    """u (n, d), the likeliest of draws from the prior and from ten times as far as the guide's: another mode may lie
    near it."""
    wide = loc + 10 * torch.einsum("nde,sne->snd", factor, torch.randn(FAR, *loc.shape).to(loc))
    u = torch.cat([wide, target.prior_draws(FAR).nan_to_num(0.0, FARTHEST, -FARTHEST)])
    value = torch.cat([target(part) for part in u.split(lots(len(u), len(loc), rows))])
    best = value.nan_to_num(-torch.inf, -torch.inf).argmax(0)
    return u[best, torch.arange(len(loc), device=u.device)]


def _better(target: Target, rows: int, *found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Of each datum the Normal with the highest ELBO, the first where none is finite."""
    value = torch.stack([_judged(of_target(target, "full", *q), target, rows) for q in found])
    best = value.nan_to_num(-torch.inf, -torch.inf).argmax(0)
    loc, factor = (torch.stack(column)[best, torch.arange(len(best), device=best.device)] for column in zip(*found))
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


def _to_moments(target: Target, loc: Tensor, factor: Tensor, rows: int) -> tuple[Tensor, Tensor]:
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
    share = torch.where(total > 0, effective / (effective + 2 * target.dim), 0.0)[:, None]
    covariance = share[..., None] * new @ new.mT + (1 - share[..., None]) * factor @ factor.mT
    moved, failed = torch.linalg.cholesky_ex(covariance)
    return share * mean + (1 - share) * loc, torch.where(_as(failed == 0, factor), moved, factor)


def _judged(proposal: Proposal, joint: Callable[[Tensor], Tensor], rows: int) -> Tensor:
    """The ELBO (n,) by draws that are the same each time."""
    with seeded(0, Stream.REFINEMENT):
        value = proposal.q.sample((JUDGES,))
    parts = value.split(lots(JUDGES, value.shape[1], rows))
    return (torch.cat([joint(part) for part in parts]) - proposal.q.log_prob(value)).mean(0)


def _as(which: Tensor, like: Tensor) -> Tensor:
    return which.reshape(-1, *(1,) * (like.dim() - 1))


def lots(draws: int, n: int, rows: int) -> list[int]:
    """So many draws of n data in parts of which memory, which takes so many rows, holds one."""
    most = max(1, rows // CACHED // n)
    return [min(most, draws - start) for start in range(0, draws, most)]
