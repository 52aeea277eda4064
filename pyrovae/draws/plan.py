"""What there is to draw of a program: local latents, global ones, enumerated sites; and what cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyro import distributions as dist
from pyro import poutine

from pyrovae._rng import Stream, seeded
from pyrovae.program import Batch, Program
from pyrovae.structure import Site, Structure, site_of, trace_pair

__all__ = ["Plan", "plan_draws"]


@dataclass(frozen=True)
class Plan:
    """The sites to draw, by role.

    ``shared`` are the latents outside the data plate, of which all data have the same value; ``carriers`` the guide's
    sites that these are functions of, one to one; ``told`` what is observed outside the plate; ``discrete`` the
    enumerated sites, summed out of the densities; ``enum_dim`` the first dimension from the right that no plate uses.
    """

    structure: Structure
    shared: tuple[Site, ...]
    carriers: tuple[Site, ...]
    told: tuple[Site, ...]
    discrete: tuple[Site, ...]
    enum_dim: int

    @property
    def latents(self) -> tuple[Site, ...]:
        """The latents of each datum that the guide draws."""
        return self.structure.latents

    @property
    def points(self) -> tuple[Site, ...]:
        """Those of which q is a point."""
        return tuple(site for site in self.latents if site.name in self.structure.points)

    @property
    def observed(self) -> tuple[Site, ...]:
        """What is observed of each datum."""
        return self.structure.observed


def plan_draws(program: Program, structure: Structure, batch: Batch) -> Plan:
    """The plan of a program, from a run on some data; the caller evaluates, without gradient.

    Raises
    ------
    ValueError
        With the sites of which no draws are defined, and why.
    """
    with seeded(0, Stream.CHECK), program.scope():
        guide, model = trace_pair(program, batch)
    shared = tuple(s for s in structure.outside if not model.nodes[s.name]["is_observed"])
    carriers = _carriers(structure, shared, guide)
    _refuse_undrawable(structure, shared, carriers, model)
    dims = [
        frame.dim
        for trace in (guide, model)
        for site in trace.nodes.values()
        for frame in site.get("cond_indep_stack", ())
        if frame.vectorized
    ]
    return Plan(
        structure,
        shared=shared,
        carriers=carriers,
        told=tuple(s for s in structure.outside if s not in shared),
        discrete=tuple(site_of(model.nodes[name], structure.plate) for name in structure.enumerated),
        enum_dim=min(dims) - 1,
    )


def _carriers(structure: Structure, shared: tuple[Site, ...], guide: poutine.Trace) -> tuple[Site, ...]:
    """The auxiliary sites of Pyro's AutoGuides: every shared latent is a Delta, whose log density is the Jacobian's."""
    if not shared or not all(isinstance(guide.nodes[s.name]["fn"], dist.Delta) for s in shared):
        return ()
    sites = (site_of(guide.nodes[name], structure.plate) for name in structure.auxiliary)
    return tuple(s for s in sites if s.plate_dim is None)


def _refuse_undrawable(
    structure: Structure, shared: tuple[Site, ...], carriers: tuple[Site, ...], model: poutine.Trace
) -> None:
    hidden = [name for name in structure.auxiliary if all(name != site.name for site in carriers)]
    if hidden:
        raise ValueError(
            f"the guide's auxiliary sites {', '.join(map(repr, hidden))} are no latents of the model: log q is an "
            "integral over them that a draw does not give. Sum them out in the guide, for example by a mixture"
        )
    for name in structure.enumerated:
        _refuse_enumeration(name, model.nodes[name], structure.plate)
    if not (structure.latents or structure.enumerated or shared):
        raise ValueError("the program has no latent: there is nothing to draw")


def _refuse_enumeration(name: str, site: Any, plate: str) -> None:
    how = site["infer"]
    if all(frame.name != plate for frame in site["cond_indep_stack"]):
        raise ValueError(
            f"the site {name!r} is enumerated and stands outside the data plate '{plate}': summed out, it makes all "
            "data depend on each other, so that log p(x, z) has no value per datum. Give the guide a site for it"
        )
    if how["enumerate"] != "parallel" or how.get("num_samples") is not None:
        raise ValueError(
            f"the site {name!r} has infer={how!r} and no guide: write infer={{'enumerate': 'parallel'}}, which sums "
            "over all its values, or give the guide a site for it"
        )
