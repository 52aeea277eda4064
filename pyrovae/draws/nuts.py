"""The No-U-Turn sampler for many independent densities at once: one tensor of gradients for a step of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyrovae.draws.adaptation import Adaptation
from pyrovae.draws.hamiltonian import Density, Slope, leapfrog, slope_of

__all__ = ["MAX_DEPTH", "Markov", "nuts"]

MAX_DEPTH = 10
DIVERGENT = 1000.0  # nats of energy error
NARROW = 0.75  # the share of pairs still at work, below which the others are dropped from the tensors
TOLD = 64  # leapfrog steps between two tellings of the progress

POPCOUNT = torch.tensor([n.bit_count() for n in range(2**MAX_DEPTH)])
TRAILING = torch.tensor([((n + 1) & -(n + 1)).bit_length() - 1 for n in range(2**MAX_DEPTH)])  # ones at the end of n


@dataclass(frozen=True)
class Markov:
    """Draws u (draws, pairs, dim), and what is said of each: {name: (draws, pairs)}."""

    u: Tensor
    stats: dict[str, Tensor]


def nuts(
    narrow: Callable[[Tensor], Density],
    start: Tensor,
    variance: Tensor,
    *,
    warmup: int,
    draws: int,
    target_accept: float = 0.8,
    tell: Callable[[int], None] | None = None,
) -> Markov:
    """Draws of Markov chains by the No-U-Turn sampler, by the global random state.

    Each pair (chain, datum) has its own density, step size, diagonal metric and trajectory, and starts its next
    transition as soon as it has ended one: only leapfrog steps are taken together.

    Parameters
    ----------
    narrow
        Rows of ``start`` → their log density, u (rows, dim) → (rows,), differentiable.
    start
        u (pairs, dim), of finite log density.
    variance
        (pairs, dim), the inverse metric to begin with.
    warmup, draws
        Transitions that adapt, which are thrown away, and those that are kept, at least one of each.
    target_accept
        The acceptance rate that the step size is adapted to.
    tell
        Told now and then how many transitions have ended since it was last told.

    Returns
    -------
    Markov
        With ``lp`` (log density), ``energy`` (Hamiltonian) of each draw, ``acceptance_rate``, ``tree_depth``,
        ``n_steps``, ``step_size`` and ``diverging`` of its transition.

    References
    ----------
    Hoffman & Gelman 2014, 1111.4246: doubling and the criterion of no U-turn (section 3.1), dual averaging (3.2).
    Betancourt 2017, 1701.02434, appendix A: states weighted by exp(−H), those of the newer subtree preferred.
    The subtrees' U-turns are found without recursion: leaf n, if odd, ends as many subtrees as n has trailing ones in
    binary, and the k-th of their first leaves stands at checkpoint popcount(n) − k (Phan, Pradhan & Jankowiak 2019,
    1912.11554).
    """
    pairs, dim = start.shape
    keep = _Keep(warmup, draws, start)
    adaptation = Adaptation(variance, warmup, target_accept)
    where = torch.arange(pairs, device=start.device)  # rows of the output
    done = torch.zeros_like(where)
    slope = slope_of(narrow(where))
    value, gradient = slope(start)
    trees = _Trees(start, value, gradient, adaptation.inverse_mass)
    steps = told = 0
    while True:
        ended = trees.grow(slope, adaptation.step, adaptation.inverse_mass)
        steps += 1
        rows = ended.nonzero().squeeze(1)
        if len(rows):
            told += keep.store(trees, rows, done[rows], where[rows], adaptation.log_step)
            acceptance = trees.accepted[rows] / trees.leaves[rows]
            adaptation.update(rows, done[rows], trees.proposal[rows, :dim], acceptance)
            done[rows] += 1
            trees.restart(rows, adaptation.inverse_mass)
            working = (done < warmup + draws).nonzero().squeeze(1)
            if not len(working):
                break
            if len(working) <= NARROW * len(where):
                where, done = where[working], done[working]
                trees.take(working)
                adaptation.take(working)
                slope = slope_of(narrow(where))
        if tell is not None and steps % TOLD == 0:
            tell(told)
            told = 0
    if tell is not None:
        tell(told)
    return keep.markov()


class _Keep:
    """The output: u and what is said of it side by side, (draws, pairs, dim + 7)."""

    KINDS: ClassVar = {  # the last two are those of a proposal, behind u
        "acceptance_rate": None,
        "step_size": None,
        "diverging": torch.bool,
        "tree_depth": torch.int64,
        "n_steps": torch.int64,
        "lp": None,
        "energy": None,
    }

    def __init__(self, warmup: int, draws: int, like: Tensor) -> None:
        self.warmup, self.total, self.dim = warmup, warmup + draws, like.shape[1]
        self.made = like.new_zeros(draws, len(like), self.dim + len(self.KINDS))

    def store(self, trees: _Trees, rows: Tensor, done: Tensor, where: Tensor, log_step: Tensor) -> int:
        """Keep the transitions that have ended, unless they are warm-up's or too many; says how many were wanted."""
        kept = (done >= self.warmup) & (done < self.total)
        if kept.any():
            rows, at = rows[kept], (done[kept] - self.warmup, where[kept])
            proposal, leaves = trees.proposal[rows], trees.leaves[rows]
            said = (
                trees.accepted[rows] / leaves,
                log_step[rows].exp(),
                trees.diverged[rows],
                trees.depth[rows],
                leaves,
            )
            u, *ends = proposal[:, : self.dim], proposal[:, -2:]
            self.made[at] = torch.cat([u, *(value.to(u)[:, None] for value in said), *ends], 1)
        return int((done < self.total).sum())

    def markov(self) -> Markov:
        stats = dict(zip(self.KINDS, self.made[..., self.dim :].unbind(-1), strict=True))
        kinds = self.KINDS.items()
        return Markov(self.made[..., : self.dim].contiguous(), {k: stats[k].to(t or stats[k].dtype) for k, t in kinds})


class _Trees:
    """The trajectories that the pairs are at.

    Points are (u, momentum, gradient) side by side, (pairs, 3 dim), what may be drawn (u, gradient, log density,
    energy), (pairs, 2 dim + 2). ``ends`` (pairs, 2, 3 dim) are the trajectory's, back and forth; ``proposal`` is drawn
    from it, ``candidate`` from the subtree that grows, whose first leaves stand in ``checkpoints``.
    """

    def __init__(self, u: Tensor, value: Tensor, gradient: Tensor, inverse_mass: Tensor) -> None:
        pairs, self.dim = u.shape
        zeros = torch.zeros_like(value)
        whole = torch.zeros_like(value, dtype=torch.int64)
        self.proposal = torch.cat([u, gradient, value[:, None], zeros[:, None]], 1)
        self.candidate = self.proposal.clone()
        self.point = u.new_zeros(pairs, 3 * self.dim)
        self.ends = u.new_zeros(pairs, 2, 3 * self.dim)
        self.checkpoints = u.new_zeros(pairs, MAX_DEPTH + 1, 2 * self.dim)
        self.direction, self.depth, self.leaf, self.leaves = (whole.clone() for _ in range(4))
        self.energy, self.weight, self.growing, self.accepted = (zeros.clone() for _ in range(4))
        self.diverged = torch.zeros_like(whole, dtype=torch.bool)
        self.popcount, self.trailing = POPCOUNT.to(u.device), TRAILING.to(u.device)
        self.restart(torch.arange(pairs, device=u.device), inverse_mass)

    def take(self, rows: Tensor) -> None:
        """Keep some pairs only."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and name not in ("popcount", "trailing"):
                setattr(self, name, value[rows])

    def restart(self, rows: Tensor, inverse_mass: Tensor) -> None:
        """Begin the next transition of some pairs where the last one ended, with a new momentum."""
        dim, inverse_mass = self.dim, inverse_mass[rows]
        u, gradient, value = self.proposal[rows].split([dim, dim, 2], 1)
        momentum = torch.randn_like(u) / inverse_mass.sqrt()
        energy = 0.5 * (momentum**2 * inverse_mass).sum(1) - value[:, 0]
        point = torch.cat([u, momentum, gradient], 1)
        self.point[rows], self.ends[rows], self.energy[rows] = point, point[:, None], energy
        self.proposal[rows, -1] = energy
        self.direction[rows] = torch.randint(2, (len(rows),), device=u.device)
        for count in (self.depth, self.leaf, self.leaves, self.accepted, self.weight):
            count[rows] = 0
        self.growing[rows] = -torch.inf
        self.diverged[rows] = False

    def grow(self, slope: Slope, step: Tensor, inverse_mass: Tensor) -> Tensor:
        """One leapfrog step of every pair; whether its transition has ended with it, (pairs,)."""
        rows, dim = torch.arange(len(step), device=step.device), self.dim
        sign = (2 * self.direction - 1).to(step)
        u, momentum, gradient = self.point.split(dim, 1)
        u, momentum, value, gradient = leapfrog(slope, u, momentum, gradient, sign * step, inverse_mass)
        self.point = torch.cat([u, momentum, gradient], 1)
        energy = 0.5 * (momentum**2 * inverse_mass).sum(1) - value
        log_weight = (self.energy - energy).nan_to_num(-torch.inf, posinf=-torch.inf)
        self.diverged = log_weight < -DIVERGENT
        self.accepted += log_weight.clamp_max(0.0).exp()
        self.leaves += 1
        chance = torch.rand(3, len(step), device=step.device, dtype=step.dtype)
        self.growing = torch.logaddexp(self.growing, log_weight)
        drawn = chance[0] < (log_weight - self.growing).exp()
        here = torch.cat([u, gradient, value[:, None], energy[:, None]], 1)
        self.candidate = torch.where(drawn[:, None], here, self.candidate)
        broken = self.diverged | self._turned(rows, u, momentum, sign)
        self.leaf += 1
        full = ~broken & (self.leaf == 2**self.depth)
        return broken | self._doubled(rows, full, chance[1:])

    def _turned(self, rows: Tensor, u: Tensor, momentum: Tensor, sign: Tensor) -> Tensor:
        """Whether a subtree that this leaf ends makes a U-turn; the leaf becomes a checkpoint of later ones.

        An odd leaf is written too, where no subtree that is still open has its first one.
        """
        deepest = int(self.depth.max())
        slot, ended = self.popcount[self.leaf], self.trailing[self.leaf]
        first_u, first_momentum = self.checkpoints[:, :deepest].split(self.dim, 2)
        way = sign[:, None, None] * (u[:, None] - first_u)
        turned = ((way @ momentum[..., None]).squeeze(-1) < 0) | ((way * first_momentum).sum(-1) < 0)
        level = torch.arange(deepest, device=u.device)
        turned &= (level < slot[:, None]) & (level >= (slot - ended)[:, None])
        self.checkpoints[rows, slot] = torch.cat([u, momentum], 1)
        return turned.any(1)

    def _doubled(self, rows: Tensor, full: Tensor, chance: Tensor) -> Tensor:
        """Join the subtrees that are full to their trajectories; whether these have then ended, (pairs,)."""
        drawn = full & (chance[0] < (self.growing - self.weight).exp())
        self.proposal = torch.where(drawn[:, None], self.candidate, self.proposal)
        self.weight = torch.where(full, torch.logaddexp(self.weight, self.growing), self.weight)
        self.ends[rows, self.direction] = torch.where(full[:, None], self.point, self.ends[rows, self.direction])
        self.depth += full
        ends_u, ends_momentum, _ = self.ends.split(self.dim, 2)
        way = ends_u[:, 1] - ends_u[:, 0]
        turned = ((way[:, None] * ends_momentum).sum(-1) < 0).any(1)
        ended = full & (turned | (self.depth == MAX_DEPTH))
        again = full & ~ended
        self.direction = torch.where(again, (chance[1] < 0.5).to(self.direction), self.direction)
        self.point = torch.where(again[:, None], self.ends[rows, self.direction], self.point)
        self.leaf = torch.where(again, 0, self.leaf)
        self.growing = torch.where(again, -torch.inf, self.growing)
        return ended
