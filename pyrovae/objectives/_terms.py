"""Densities of a program's sites by draw and datum: what the objectives of ours are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.objectives._sites import (
    PARTICLES,
    by_datum,
    check_sites,
    data_plate,
    in_front,
    inside,
    kl_of,
    latents,
    log_prob_of,
    observed,
    scale_of,
)
from pyrovae.program import Program
from pyrovae.structure import prune

__all__ = ["Terms", "draw_terms"]

Pair = tuple[poutine.Trace, poutine.Trace]


@dataclass
class Terms:
    """K draws of the latents of each of n data by the guide, and their densities in unscaled nats, (K, n).

    ``scale`` is the factor N/b of the data plate (and of handlers around the program), ``outside`` the scaled
    log p − log q of the sites outside the plate, a scalar, and ``shared`` their names. ``score`` is log q of the sites
    whose draws have no gradient, None where there are none. ``pairs`` are the traces of guide and model: one with all
    K draws, or one for each.
    """

    pairs: list[Pair]
    plate: str
    scale: float | Tensor
    log_lik: Tensor
    log_prior: Tensor
    log_q: Tensor
    score: Tensor | None
    outside: Tensor | float
    shared: list[str]
    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __len__(self) -> int:
        """n, the number of data."""
        return self.log_lik.shape[-1]

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) − log q(z|x), (K, n)."""
        return self.log_lik + self.log_prior - self.log_q

    @cached_property
    def names(self) -> list[str]:
        """The latents of a datum, in the guide's order."""
        return [n for n in latents(self.pairs[0][0]) if inside(self.pairs[0][0].nodes[n], self.plate)]

    @cached_property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)) (K, n): in closed form where it is known, else by the draws, log q − log p.

        Of several latents that guide and model draw in the same order it is the sum of the KL of each given those
        before it. Drawn in another order, p(z_i) depends on what was drawn after z_i: then by the draws.
        """
        model = self.pairs[0][1]
        if [n for n in model.nodes if n in self.names] != self.names:
            return self.log_q - self.log_prior
        total: Tensor | float = 0.0
        for name in self.names:
            try:
                pieces = [by_datum(g.nodes[name], kl_of(g, m, name), self.plate) for g, m in self.pairs]
            except NotImplementedError:
                pieces = [log_prob_of(g, name, self.plate) - log_prob_of(m, name, self.plate) for g, m in self.pairs]
            total = total + torch.cat(pieces)
        return torch.broadcast_to(torch.as_tensor(total), self.log_q.shape)

    def codes(self, trace: poutine.Trace | None = None) -> Tensor:
        """All latents of a datum side by side, (K, n, L); or those of another trace of one draw each, (1, n, L)."""
        traces = [g for g, _ in self.pairs] if trace is None else [trace]
        return torch.cat([torch.cat([in_front(t.nodes[n], self.plate) for n in self.names], -1) for t in traces])

    def prior_codes(self) -> Tensor:
        """A draw of the prior for each datum, (n, L), with gradients to the prior where its family has them."""
        if len(self.names) == 1:
            node = self.pairs[0][1].nodes[self.names[0]]
            fn = node["fn"]
            value = fn.rsample() if fn.has_rsample else fn.sample()
            return in_front({**node, "value": value}, self.plate)[0]
        free = poutine.trace(poutine.uncondition(self.model)).get_trace(*self.args, **self.kwargs)
        return self.codes(prune(free))[0]


def draw_terms(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    particles: int = 1,
    vectorize: bool = False,
    plate: str | None = None,
    draw: Callable[..., poutine.Trace] | None = None,
) -> Terms:
    """Run guide and model, with so many draws of the latents of each datum.

    Methods of a `Program` that takes latents with a dimension of draws in front are run once for all draws, as others
    are if ``vectorize`` says so; else once for each. ``draw`` traces the guide, of (guide, args, kwargs).

    Raises
    ------
    ValueError
        If the plate of the data cannot be told, a latent is not in it in guide and model alike, or the sites inside it
        are not weighted equally.
    """
    owner = getattr(model, "__self__", None)
    known = isinstance(owner, Program) and owner.broadcasts
    if isinstance(owner, Program):
        plate = plate or owner.plate
    if particles > 1 and (vectorize or known):
        with torch.no_grad():
            nesting = 1 if known else _nesting(_pair(model, guide, args, kwargs))
        wrap = lambda fn: pyro.plate(PARTICLES, particles, dim=-nesting - 1)(fn)  # noqa: E731
        try:
            pairs = [_pair(wrap(model), wrap(guide), args, kwargs, draw)]
        except (RuntimeError, ValueError, IndexError) as error:
            if known:
                raise
            raise ValueError(
                f"vectorize: run once for all {particles} draws, in a plate to the left of the others, the program "
                f"raised {type(error).__name__}: {error}. Leave vectorize out, or let it act on the last dimensions"
            ) from error
    else:
        pairs = [_pair(model, guide, args, kwargs, draw) for _ in range(particles)]
    for pair in pairs:
        for trace in pair:
            trace.compute_log_prob()
    first, shown = pairs[0]
    plate = plate or data_plate(first, shown)
    local = [n for n in latents(first) if inside(first.nodes[n], plate)]
    seen, factors = ([n for n in observed(t) if inside(t.nodes[n], plate)] for t in (shown, first))
    check_sites(first, shown, plate, local, seen)
    outside: Tensor | float = 0.0
    shared: dict[str, None] = {}
    for g, m in pairs:
        for sign, t in ((1, m), (-1, g)):
            for n in (*latents(t), *observed(t)):
                if not inside(t.nodes[n], plate):
                    shared[n] = None
                    outside = outside + sign * t.nodes[n]["log_prob"].sum()

    def total(which: int, names: list[str]) -> Tensor:
        return torch.cat([sum(log_prob_of(p[which], n, plate) for n in names) for p in pairs])  # type: ignore[misc]

    scored = [n for n in local if not first.nodes[n]["fn"].has_rsample]
    return Terms(
        pairs=pairs,
        plate=plate,
        scale=scale_of([first.nodes[n] for n in (*local, *factors)] + [shown.nodes[n] for n in (*local, *seen)]),
        log_lik=total(1, seen),
        log_prior=total(1, local),
        log_q=total(0, [*local, *factors]),
        score=total(0, scored) if scored else None,
        outside=outside / particles,
        shared=list(shared),
        model=model,
        guide=guide,
        args=args,
        kwargs=kwargs,
    )


def _pair(model: Any, guide: Any, args: Any, kwargs: Any, draw: Callable[..., poutine.Trace] | None = None) -> Pair:
    drawn = draw(guide, args, kwargs) if draw else poutine.trace(guide).get_trace(*args, **kwargs)
    replayed = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args, **kwargs)
    return prune(drawn), prune(replayed)


def _nesting(pair: Pair) -> int:
    dims = [f.dim for t in pair for s in t.nodes.values() for f in s.get("cond_indep_stack", ()) if f.vectorized]
    return -min(dims, default=0)
