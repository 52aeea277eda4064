"""Sets of unique binary states that evolve towards a high log p(x, z), a set for each datum."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["duplicates", "evolve", "first_states"]

WORD = 62  # bits in a whole number
ALL = 16  # times as many states as are wanted: so few in all are listed, to choose from


def evolve(
    states: Tensor,
    joint: Callable[[Tensor], Tensor],
    generations: int,
    children: int,
    flips: float = 2.0,
    others: Iterable[Tensor] = (),
) -> tuple[Tensor, Tensor]:
    """States (n, S, H) after so many generations, and log p(x, z) of each (n, S).

    In each, children are made and the S best of the union survive: log Σ p(x, z) over the states of a datum never
    falls. No state is there twice. Before that, the S best of the states and of each of the ``others`` survive.

    Parameters
    ----------
    states
        Zeros and ones, as floating numbers; unique for each datum.
    joint
        z (S, n, H) → log p(x, z) (S, n).
    generations, children
        How often, and how many children of each datum each time.
    flips
        How many bits of a child are flipped, on average.
    others
        Further states (n, any, H).

    References
    ----------
    Guiraud, Drefs & Lücke 2020, 2011.13704; Drefs, Guiraud & Lücke 2022, JMLR 23(21): parents in proportion to their
    fitness, single-point crossover, bits flipped with an eye to sparsity.
    """
    value = joint(states.movedim(1, 0)).movedim(0, 1)
    kept = states.shape[1]
    if kept == 2 ** states.shape[2]:
        return states, value
    for given in (*others, *[None] * generations):
        born = flipped(crossed(states, value, children), ones(states, value), flips) if given is None else given
        union = torch.cat([states, born], 1)
        values = torch.cat([value, joint(born.movedim(1, 0)).movedim(0, 1)], 1)
        least = torch.finfo(values.dtype).min
        fitness = values.nan_to_num(least, -least, least).masked_fill(duplicates(union), -torch.inf)
        best = fitness.topk(kept, 1).indices
        states = union.gather(1, best.unsqueeze(-1).expand(-1, -1, states.shape[2]))
        value = values.gather(1, best)
    return states, value


def ones(states: Tensor, value: Tensor) -> Tensor:
    """How many bits of a datum are 1 on average over q ∝ p(x, z), (n,)."""
    return (value.softmax(1) * states.sum(2)).nan_to_num(0.0).sum(1)


def crossed(states: Tensor, value: Tensor, children: int) -> Tensor:
    """Children (n, children, H): the first bits of one parent, the others of another.

    A parent is drawn in proportion to its fitness, log p(x, z) above the worst of the states.
    """
    n, count, size = states.shape
    finite = value.isfinite()
    low = torch.where(finite, value, torch.inf).amin(1, keepdim=True)
    spread = torch.where(finite, value, -torch.inf).amax(1, keepdim=True) - low
    chance = torch.where(finite, (value - low) / spread.clamp_min(1e-30) + 1 / count, 1e-6)
    parents = chance.multinomial(2 * children, replacement=True).view(n, 2, children, 1).expand(-1, -1, -1, size)
    point = torch.randint(size, (n, children, 1), device=states.device)
    first = torch.arange(size, device=states.device) <= point
    return torch.where(first, states.gather(1, parents[:, 0]), states.gather(1, parents[:, 1]))


def flipped(states: Tensor, wanted: Tensor, flips: float) -> Tensor:
    """The states with so many bits flipped on average, so that about ``wanted`` (n,) are 1.

    A zero is flipped with probability (F + d)/2Z, a one with (F − d)/2E, of Z zeros, E ones and F flips, where d is
    how many ones are lacking, between −F and F.
    """
    have = states.sum(2, keepdim=True)
    lacking = (wanted[:, None, None] - have).clamp(-flips, flips)
    up = (flips + lacking) / 2 / (states.shape[2] - have).clamp_min(1)
    down = (flips - lacking) / 2 / have.clamp_min(1)
    flip = torch.rand_like(states) < torch.where(states > 0, down, up)
    return torch.where(flip, 1 - states, states)


def first_states(n: int, count: int, size: int, active: float, like: Tensor) -> Tensor:
    """Random unique states (n, count, size), each bit a one with probability active / size."""
    if count == 2**size:
        return _listed(size, like).expand(n, -1, -1).clone()
    chance = min(max(active / size, 1e-3), 0.999)
    if size < WORD and 2**size <= ALL * count:
        listed = _listed(size, like)
        odds = listed.sum(-1) * torch.tensor(chance / (1 - chance)).log()
        noise = torch.rand(n, len(listed), device=like.device, dtype=like.dtype).clamp_min(1e-30).log().neg().log()
        return listed[(odds - noise).topk(count, 1).indices]
    found = like.new_empty(n, 0, size)
    while True:  # ever nearer to one half, where no state comes twice
        drawn = (torch.rand(n, 2 * count, size, device=like.device) < chance).to(like.dtype)
        found = torch.cat([found, drawn], 1)
        fresh = ~duplicates(found)
        if int(fresh.sum(1).min()) >= count:
            first = fresh.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :count]
            return found.gather(1, first.unsqueeze(-1).expand(-1, -1, size))
        chance = (chance + 0.5) / 2


def duplicates(states: Tensor) -> Tensor:
    """Which states (n, P, H) have stood before in the list of their datum, (n, P)."""
    n, count, size = states.shape
    codes = torch.zeros(n, count, dtype=torch.int64, device=states.device)
    for start in range(0, size, WORD):  # a whole number for each word of bits, then for each combination of them
        word = states[..., start : start + WORD].to(torch.int64)
        number = (word << torch.arange(word.shape[2], device=word.device)).sum(2)
        if size > WORD:
            number = codes * codes.numel() + number.unique(return_inverse=True)[1]
            number = number.unique(return_inverse=True)[1]
        codes = number
    order = codes.sort(dim=1, stable=True).indices
    codes = codes.gather(1, order)
    again = torch.zeros_like(codes, dtype=torch.bool)
    again[:, 1:] = codes[:, 1:] == codes[:, :-1]
    return torch.zeros_like(again).scatter(1, order, again)


def _listed(size: int, like: Tensor) -> Tensor:
    """All states, (2^size, size)."""
    places = torch.arange(size - 1, -1, -1, device=like.device)
    return (torch.arange(2**size, device=like.device).unsqueeze(-1) >> places & 1).to(like.dtype)
