"""Draws of the exact posterior of each datum in the place of the guide's: chains of the No-U-Turn sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrovae._numbers import at_least, positive
from pyrovae._rng import Stream, seeded
from pyrovae.draws.blocks import Draws, draw_enumerated, rows_in_memory
from pyrovae.draws.groups import Sampler
from pyrovae.draws.hamiltonian import Density
from pyrovae.draws.nuts import MAX_DEPTH, nuts
from pyrovae.draws.plan import Plan
from pyrovae.draws.shared import Shared
from pyrovae.draws.target import Target
from pyrovae.program import Batch, repeat

__all__ = ["nuts_bar", "nuts_options"]

CHAINS, WARMUP, TARGET_ACCEPT = 4, 500, 0.8
GUIDE_DRAWS = 100  # of each datum, from which its chains take their first metric and where they start
SPREAD = 2.0  # how much further apart than the guide's draws they start
PAIR = 8  # rows without gradients, whose memory one with them may take
DRAWS_HELD = 2**19  # of all chains and data of a block

Bar = Callable[[str, int], Callable[[int], None]]
"""What is going on, of how many transitions → what is to be told how many have been made since."""


def nuts_options(
    draws: int,
    seed: int,
    discrete: bool,
    bar: Bar,
    *,
    chains: int | None = None,
    warmup: int | None = None,
    target_accept: float | None = None,
) -> dict[str, Any]:
    """What `pyrovae.draws.posterior.make_tree` is to be told for trees of Markov chains.

    Blocks hold so many data that their draws fit into memory, and their pairs (chain, datum) with gradients.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    draws = at_least("draws", draws, 1)
    chains = at_least("chains", CHAINS if chains is None else chains, 1)
    warmup = at_least("warmup", WARMUP if warmup is None else warmup, 1)
    target_accept = positive("target_accept", TARGET_ACCEPT if target_accept is None else target_accept)
    if target_accept >= 1:
        raise ValueError(f"target_accept: expected a rate below 1, got {target_accept:g}")
    guide_draws = max(GUIDE_DRAWS, PAIR * chains)
    return {
        "copies": chains,
        "sampler": _by_nuts(chains, draws, warmup, target_accept, seed, discrete, bar),
        "guide_draws": guide_draws,
        "most_rows": guide_draws * max(1, DRAWS_HELD // (chains * draws)),
        "attrs": {
            "method": "nuts",
            "chains": chains,
            "warmup": warmup,
            "target_accept": target_accept,
            "max_tree_depth": MAX_DEPTH,
            "note": "draws are those of Markov chains: R-hat and ESS say whether they stand for the posterior",
        },
    }


def _by_nuts(
    chains: int, draws: int, warmup: int, target_accept: float, seed: int, discrete: bool, bar: Bar
) -> Callable[[Sampler], Sampler]:
    """Chains of p(z|x), one block of data after the other, started from draws of the guide.

    All chains of a block are run at its first one, and handed out one by one.
    """
    waiting: list[Draws] = []

    def replace(guide: Sampler) -> Sampler:
        def sampler(chain: int, program: Any, plan: Plan, batch: Batch, block: slice, shared: Shared | None) -> Draws:
            if chain == 0:
                target = Target(program, plan, batch)
                with seeded(seed, Stream.NUTS, block.start):
                    first = target.unconstrain(guide(chain, program, plan, batch, block, shared).latents)
                    tell = bar(f"NUTS, data {block.start} to {block.stop - 1}", chains * len(batch) * (warmup + draws))
                    u, stats = _run(target, first, chains, draws, warmup, target_accept, block, tell)
                    waiting[:] = [
                        _draws(target, u[:, c], {k: v[:, c] for k, v in stats.items()}, discrete) for c in range(chains)
                    ]
            return waiting.pop(0)

        return sampler

    return replace


def _run(
    target: Target,
    first: Tensor,
    chains: int,
    draws: int,
    warmup: int,
    target_accept: float,
    block: slice,
    tell: Callable[[int], None],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draws u (draws, chains, n, dim) and what is said of each, {name: (draws, chains, n)}, from draws of the guide."""
    n = len(target.batch)
    centre, scale = _location_scale(first)
    start = _start(target, first[:chains], centre, block)
    batch = repeat(target.batch, chains)

    def narrow(rows: Tensor) -> Density:
        some = Target(target.program, target.plan, batch.take(rows))
        return lambda u: some(u[None])[0]

    variance = (scale**2).expand(chains, n, -1)
    markov = nuts(
        narrow,
        start.flatten(0, 1),
        variance.flatten(0, 1),
        warmup=warmup,
        draws=draws,
        target_accept=target_accept,
        tell=tell,
    )
    return markov.u.unflatten(1, (chains, n)), {k: v.unflatten(1, (chains, n)) for k, v in markov.stats.items()}


def _location_scale(first: Tensor) -> tuple[Tensor, Tensor]:
    """Median and half the central 68 % interval of each coordinate, (n, dim): a draw at infinity does no harm."""
    ordered = first.sort(0).values
    low, middle, high = (ordered[int(share * (len(first) - 1))] for share in (0.16, 0.5, 0.84))
    scale = (high - low) / 2
    usable = torch.isfinite(scale) & (scale > 0)
    return middle.nan_to_num(0.0, 0.0, 0.0), torch.where(usable, scale, 1.0)


def _start(target: Target, first: Tensor, centre: Tensor, block: slice) -> Tensor:
    """Where the chains start, (chains, n, dim): draws of the guide moved apart, or as they are, or at its centre."""
    apart = centre + SPREAD * (first - centre)
    start = centre.expand_as(first).clone()
    for candidate in (first, apart):
        start = torch.where(torch.isfinite(target(candidate))[..., None], candidate, start)
    bad = (~torch.isfinite(target(start))).any(0).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"log p(x, z) is not finite where the guide draws, for {len(bad)} data (first: obs_id position "
            f"{block.start + bad[0]}): no Markov chain can start there. Does the guide know the model's support?"
        )
    return start


def _draws(target: Target, u: Tensor, stats: dict[str, Tensor], discrete: bool) -> Draws:
    """One chain's draws u (draws, n, dim) as latents, with their densities."""
    program, plan, batch = target.program, target.plan, target.batch
    step = max(1, rows_in_memory(program, plan, batch, None) // len(batch))
    pieces: list[dict[str, Tensor]] = []
    log_p, log_lik = [], []
    for some in u.split(step):
        latents = target.constrain(some)
        prior, likelihood = target.densities(some)
        log_p.append(prior + likelihood - target.log_jacobian(some))
        log_lik.append(likelihood)
        if discrete:
            latents |= draw_enumerated(program, plan, batch, latents, len(some))
        pieces.append(latents)
    return Draws(
        latents={name: torch.cat([p[name] for p in pieces]) for name in pieces[0]},
        log_p=torch.cat(log_p),
        log_q=None,
        log_lik=torch.cat(log_lik),
        sampler=stats,
    )


@contextmanager
def nuts_bar(show: bool) -> Iterator[Bar]:
    """A bar of transitions for each block of data, on a terminal or in a notebook."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    live = show and bool(console.is_terminal or console.is_jupyter)
    with Progress(console=console, refresh_per_second=4, disable=not live) as progress:

        def bar(what: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(what, total=total)
            return lambda made: progress.update(task, advance=made)

        yield bar
