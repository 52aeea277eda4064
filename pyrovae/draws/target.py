"""The joint density of some data as a function of latents on the real line: what samplers and optimisers climb."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to

from pyrovae._rng import Stream, seeded
from pyrovae._support import unmixed
from pyrovae.draws.blocks import densities_of, replayable
from pyrovae.draws.chains import drawing, prepare_draws
from pyrovae.draws.plan import Plan
from pyrovae.program import Batch, Program, repeat
from pyrovae.structure import Site, prune
from pyrovae.svi.batches import Batches

__all__ = ["Evaluation", "Target", "evaluation"]


class Target:
    """log p(x, z) of each datum of a batch, where z = f(u) and u (copies, n, dim) is unconstrained.

    All latents of a datum stand side by side in u, each mapped onto its support by torch's ``biject_to``. Enumerated
    sites are summed out. The caller evaluates the program, in its scope.

    Raises
    ------
    ValueError
        If a latent is shared by all data, is a category or a count, or lies on a support that no bijection from the
        real line reaches: no gradient could then move it.
    """

    def __init__(self, program: Program, plan: Plan, batch: Batch) -> None:
        self.program, self.plan, self.batch = program, plan, batch
        self._repeated: dict[int, Batch] = {}
        if plan.shared:
            names = ", ".join(f"'{s.name}'" for s in plan.shared)
            raise ValueError(f"the latents {names} are shared by all data: a datum has no posterior of its own")
        if not plan.latents:
            raise ValueError("the guide draws no latent of a datum: there is nothing to move")
        self.sites = plan.latents
        self.transforms = {site.name: _transform(site) for site in self.sites}
        free = prune(poutine.trace(poutine.uncondition(program.model)).get_trace(*batch.args))
        self._shapes = {}
        for site in self.sites:
            z = site.to_front(free.nodes[site.name]["value"])
            self._shapes[site.name] = tuple(self.transforms[site.name].inv(z).shape[1:])

    @property
    def dim(self) -> int:
        """How many unconstrained numbers a datum's latents are."""
        return sum(math.prod(shape) for shape in self._shapes.values())

    def constrain(self, u: Tensor) -> dict[str, Tensor]:
        """Latents {site: (copies, n, *event)} of u (copies, n, dim)."""
        return self._constrain(u)[0]

    def unconstrain(self, latents: dict[str, Tensor]) -> Tensor:
        """u (copies, n, dim) of latents {site: (copies, n, *event)}."""
        parts = [self.transforms[s.name].inv(latents[s.name]) for s in self.sites]
        return torch.cat([p.reshape(*p.shape[:2], -1) for p in parts], -1)

    def log_jacobian(self, u: Tensor) -> Tensor:
        """log |dz/du| (copies, n): log q(u) = log q(z) + this."""
        return self._constrain(u)[1]

    def densities(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log p(z) + log |dz/du| and log p(x|z), each (copies, n), in unscaled nats: the terms of `__call__`.

        Differentiable with respect to u.
        """
        latents, jacobian = self._constrain(u)
        direct = None if self.plan.discrete else self.program.densities(self.batch, latents)
        if direct is not None:
            return direct[0] + jacobian, direct[1]
        copies, n = u.shape[:2]
        trace = replayable(self.plan, {name: value.flatten(0, 1) for name, value in latents.items()})
        log_p, log_lik = densities_of(self.program, self.plan, self._rows(copies), trace, copies * n)
        return (log_p - log_lik).reshape(copies, n) + jacobian, log_lik.reshape(copies, n)

    def __call__(self, u: Tensor) -> Tensor:
        """log p(x, z) + log |dz/du|, (copies, n)."""
        prior, likelihood = self.densities(u)
        return prior + likelihood

    def prior_draws(self, copies: int) -> Tensor:
        """u (copies, n, dim) of latents drawn from the prior of each datum, by the global random state."""
        free = poutine.uncondition(self.program.model)
        nodes = prune(poutine.trace(free).get_trace(*self._rows(copies).args)).nodes
        n = len(self.batch)
        return self.unconstrain(
            {s.name: s.to_front(nodes[s.name]["value"]).unflatten(0, (copies, n)) for s in self.sites}
        )

    def _rows(self, copies: int) -> Batch:
        if copies not in self._repeated:
            self._repeated = {copies: repeat(self.batch, copies)}  # samplers ask for the same number again and again
        return self._repeated[copies]

    def _constrain(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        latents, jacobian, start = {}, u.new_zeros(u.shape[:2]), 0
        for site in self.sites:
            shape = self._shapes[site.name]
            size = math.prod(shape)
            part = u[..., start : start + size].reshape(*u.shape[:2], *shape)
            transform = self.transforms[site.name]
            value = transform(part)
            log_abs = transform.log_abs_det_jacobian(part, value)
            jacobian = jacobian + log_abs.reshape(*u.shape[:2], -1).sum(-1)
            latents[site.name] = value
            start += size
        return latents, jacobian


def _transform(site: Site) -> torch.distributions.Transform:
    if site.support.is_discrete:
        raise ValueError(
            f"the latent {site.name!r} is a category or a count, which no gradient can move: this needs continuous "
            "latents (enumerated ones are summed out: infer={'enumerate': 'parallel'} in the model)"
        )
    try:
        return biject_to(unmixed(site.support))
    except NotImplementedError as error:
        raise ValueError(
            f"the latent {site.name!r} lies on {site.support}, which torch has no bijection onto from the real line: "
            "this needs latents on the real line, on an interval, on a simplex or the like"
        ) from error


@dataclass(frozen=True)
class Evaluation:
    """A program with the weights that the fit chose, and data as it takes them, while `evaluation` is open.

    ``rows`` is how many rows (a datum times a copy) memory takes at once without gradients.
    """

    program: Program
    batches: Batches
    plan: Plan
    rows: int

    def blocks(self, copies: int, seed: int = 0) -> Iterator[tuple[slice, Batch]]:
        """The data in blocks of which so many copies fit into memory; random data are drawn by the seed."""
        step = max(1, self.rows // copies)
        for start in range(0, len(self.batches), step):
            block = slice(start, min(start + step, len(self.batches)))
            with seeded(seed, Stream.DATA, start):
                batch = self.batches.take(block)
            yield block, batch


@contextmanager
def evaluation(fit: Any, data: Any, context: Any = None) -> Iterator[Evaluation]:
    """A block in which a fit's chosen chain, or a program, is evaluated on data: no gradient by default, no validation,
    its own parameters in scope, the global random state handed back.

    Raises
    ------
    ValueError
        If the data do not suit the program, or draws are not defined for it.
    """
    chains, batches, plan, rows = prepare_draws(fit, data, context, copies=1)
    program = chains.program
    with drawing(program), program.scope():
        yield Evaluation(program, batches, plan, rows)
