"""An improved q of each datum: gradient steps on its own ELBO, and draws of what they reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae._rng import Stream, seeded
from pyrovae.draws.blocks import Draws, densities_of, draw_enumerated, join, replayable
from pyrovae.draws.families import guide_family
from pyrovae.draws.fitted import GRADIENT, fit_normal, to_moments
from pyrovae.draws.groups import Sampler
from pyrovae.draws.plan import Plan
from pyrovae.draws.proposal import Proposal, judged, lots, of_guide, of_target
from pyrovae.draws.target import Evaluation, Target
from pyrovae.guides._local import choice, refine
from pyrovae.program import Batch, Program, repeat

__all__ = ["COPIES", "FAMILIES", "LR", "STEPS", "Local", "improve", "improve_all", "log_p"]

FAMILIES = ("guide", "full", "student")
STEPS, LR = 200, 0.1
FAST = 10.0  # times the rate, of steps towards another q: it may be far off, and costs nothing to ask
SCORES = 32  # draws that the units of raw numbers are taken from
COPIES = 64  # of a datum that memory is to hold while its q is improved: GRADIENT of them with their gradients


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


def improve(
    e: Evaluation,
    batch: Batch,
    family: str,
    *,
    steps: int = STEPS,
    lr: float = LR,
    near: Proposal | None = None,
) -> Local:
    """q of each datum of a batch after Adam's steps on its own ELBO, by the global random state.

    Never a worse one than it starts from: the two are compared by draws of their own, the same for both.

    Parameters
    ----------
    family
        "guide": the guide's own family, from what the guide gives. Each raw number is measured in units of
        1/√(Fisher information), so that one rate suits all. "full": a Normal with full covariance of the
        unconstrained latents, from mean and covariance of the guide's draws, in whose units it moves, and from where
        another mode of the posterior may be; halfway it goes on from the better, in its units. "student": the same,
        then moved to mean and covariance of its weighted draws, with the tails of a t distribution with
        max(10, 1.25 · dimensions) degrees of freedom.
    steps, lr
        How many, and Adam's rate at first; it falls linearly to 0.
    near
        A q whose place "guide" starts from as well.

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
        return Local(family, (_improve_guide(e, batch, steps, lr, near),), e.rows)
    target = Target(e.program, e.plan, batch)
    loc, factor = fit_normal(e, target, batch, steps, lr)
    if family == "student":
        loc, factor = to_moments(target, loc, factor, e.rows)
    return Local(family, (loc, factor), e.rows)


def _improve_guide(e: Evaluation, batch: Batch, steps: int, lr: float, near: Proposal | None) -> Tensor:
    family = guide_family(e.program, e.plan, batch)
    name = family.site.name

    def climb(raw: Tensor, joint: Callable[[Tensor], Tensor], lr: float = lr) -> Tensor:
        unit, zero = _units(family.distribution, raw), torch.zeros_like(raw)
        make = lambda t: family.distribution(raw + unit * t)  # noqa: E731
        return raw + unit * refine(make, zero, joint, steps=steps, lr=lr, draws=GRADIENT)

    def joint(z: Tensor) -> Tensor:
        return log_p(e.program, e.plan, batch, {name: z})

    found = [family.raw, climb(family.raw, joint)]
    if near is not None:
        found.append(climb(climb(family.raw, lambda z: near.log_q({name: z}), FAST * lr), joint))
    value = torch.stack([judged(of_guide(name, family.distribution(raw)), joint, e.rows) for raw in found])
    best = value.nan_to_num(-torch.inf, -torch.inf).argmax(0)
    return torch.stack(found)[best, torch.arange(len(best), device=best.device)]


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
    least = 1e-3 * information.amax(-1, keepdim=True).clamp_min(1e-9)
    return information.maximum(least).rsqrt()
