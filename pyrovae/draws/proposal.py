"""A q of each datum to draw from: over the guide's own latent, or over unconstrained coordinates of all latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import biject_to

from pyrovae._rng import Stream, seeded
from pyrovae._support import by_element, describe
from pyrovae.draws.blocks import CACHED, Draws, _model, _model_densities, _site_kl, replayable
from pyrovae.draws.plan import Plan
from pyrovae.draws.target import Target
from pyrovae.program import Batch, Program, repeat

__all__ = ["Proposal", "judged", "lots", "of_guide", "of_target"]

FREEDOM = 10.0, 1.25  # degrees of freedom of "student": at least so many, and so many per dimension
JUDGES = 64  # draws that a q is judged by


@dataclass(frozen=True)
class Proposal:
    """q of n data over values, and what these are: ``latents(value)`` and ``value(latents)`` also return log
    |dz/dvalue| (S, n). ``marginals`` are the q of each site's cells, for sites whose cells have one each."""

    q: Any
    latents: Callable[[Tensor], tuple[dict[str, Tensor], Tensor]]
    value: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]
    marginals: dict[str, Any] = field(default_factory=dict)

    def log_q(self, latents: dict[str, Tensor]) -> Tensor:
        """log q(z) of latents {site: (S, n, *event)}, (S, n)."""
        value, jacobian = self.value(latents)
        log_q: Tensor = self.q.log_prob(value) - jacobian
        return log_q

    def draw(self, program: Program, plan: Plan, batch: Batch, draws: int) -> Draws:
        """S draws of each datum with their densities."""
        value = self.q.sample((draws,))
        latents, jacobian = self.latents(value)
        copies, n = jacobian.shape
        trace = replayable(plan, {name: z.flatten(0, 1) for name, z in latents.items()})
        model = _model(program, plan, repeat(batch, copies), trace)
        log_p, log_lik = _model_densities(plan, model, copies * n)
        for site in plan.latents:
            node, fn = trace.nodes[site.name], self.marginals.get(site.name)
            node["fn"] = None if fn is None else fn.expand(torch.Size((copies, n)))
            if fn is not None:
                node["log_prob"] = node["fn"].log_prob(latents[site.name]).flatten()
        return Draws(
            latents=latents,
            log_p=log_p.reshape(copies, n),
            log_q=self.q.log_prob(value) - jacobian,
            log_lik=log_lik.reshape(copies, n),
            site_kl=_site_kl(plan, trace, model, copies, n),
        )


def of_guide(name: str, q: Any) -> Proposal:
    """A q of the guide's family over its one site."""
    cells = q
    if isinstance(q, (dist.MultivariateNormal, dist.LowRankMultivariateNormal)):
        cells = dist.Normal(q.loc, q.variance.sqrt()).to_event(1)

    def nothing(z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:2])

    return Proposal(
        q, lambda z: ({name: z}, nothing(z)), lambda latents: (latents[name], nothing(latents[name])), {name: cells}
    )


def of_target(target: Target, family: str, loc: Tensor, factor: Tensor) -> Proposal:
    """A Normal ("full") or a t distribution ("student") over u, of location (n, d) and Cholesky factor (n, d, d)."""
    if family == "student":
        q = dist.MultivariateStudentT(torch.full_like(loc[:, 0], _freedom(target)), loc, factor)
    else:
        q = dist.MultivariateNormal(loc, scale_tril=factor)

    def value(latents: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        u = target.unconstrain({s.name: latents[s.name] for s in target.sites})
        return u, target.log_jacobian(u)

    def latents(u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        return target.constrain(u), target.log_jacobian(u)

    spread = factor.square().sum(-1).sqrt()
    return Proposal(q, latents, value, dict(_marginals(target, family, loc, spread)))


def _freedom(target: Target) -> float:
    """More with more dimensions, in which the radius of a t distribution with few is far from a Normal's."""
    least, each = FREEDOM
    return max(least, each * target.dim)


def _marginals(target: Target, family: str, loc: Tensor, spread: Tensor) -> Iterator[tuple[str, Any]]:
    """q of each cell, of the sites whose cells are mapped onto their support one by one."""
    start = 0
    for site in target.sites:
        size = math.prod(target._shapes[site.name])
        part = [v[:, start : start + size].reshape(-1, *site.event_shape) for v in (loc, spread)] if size else []
        start += size
        element = by_element(site.support)
        if size != math.prod(site.event_shape) or biject_to(element).domain.event_dim:
            continue
        cell = dist.StudentT(_freedom(target), *part) if family == "student" else dist.Normal(*part)
        if describe(element) != "real":
            cell = dist.TransformedDistribution(cell, [biject_to(element)])
        yield site.name, cell.to_event(len(site.event_shape))


def judged(proposal: Proposal, joint: Callable[[Tensor], Tensor], rows: int) -> Tensor:
    """The ELBO (n,) by draws that are the same each time."""
    with seeded(0, Stream.REFINEMENT):
        value = proposal.q.sample((JUDGES,))
    parts = value.split(lots(JUDGES, value.shape[1], rows))
    return (torch.cat([joint(part) for part in parts]) - proposal.q.log_prob(value)).mean(0)


def lots(draws: int, n: int, rows: int) -> list[int]:
    """So many draws of n data in parts of which memory, which takes so many rows, holds one."""
    most = max(1, rows // CACHED // n)
    return [min(most, draws - start) for start in range(0, draws, most)]
