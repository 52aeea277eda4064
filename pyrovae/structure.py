"""What a program is made of: its data plate and sites, found by running it once; and the errors that this can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyrovae._modes import evaluating
from pyrovae._rng import Stream, seeded
from pyrovae._support import check_reach
from pyrovae.program import Batch, Program

__all__ = ["Site", "Structure", "inspect_program", "prune", "site_of", "trace_pair", "try_pair"]

UNTOLD = (
    "and the guide cannot be told which cells are missing. If they are missing, build the guide's network with "
    "mask=True (or write the guide as f(x, mask)); if not, fill or drop them"
)


@dataclass(frozen=True)
class Site:
    """A sample site.

    ``event_shape`` is the shape of one datum: inner plates, then the distribution's event of ``event_dim`` dimensions;
    ``plate_dim`` the batch dimension of the data plate, None outside it; ``layout`` the batch shape without it.
    """

    name: str
    event_shape: tuple[int, ...]
    event_dim: int
    support: Any
    plate_dim: int | None
    layout: tuple[int, ...]

    def to_front(self, value: Tensor) -> Tensor:
        """The site's values with the data first: (rows, *event_shape)."""
        value = value.movedim((self.plate_dim or -1) - self.event_dim, 0)
        return value.reshape(value.shape[0], *self.event_shape)

    def to_plate(self, value: Tensor) -> Tensor:
        """Values (rows, *event_shape) as the program has them."""
        event = self.event_shape[len(self.event_shape) - self.event_dim :]
        value = value.reshape(value.shape[0], *self.layout, *event)
        return value.movedim(0, (self.plate_dim or -1) - self.event_dim)


@dataclass(frozen=True)
class Structure:
    """Sites of a program by role; ``auxiliary`` ones are the guide's alone.

    ``summed`` are sites that the guide enumerates, ``scored`` those whose draws have no gradient there, ``baselines``
    those whose score function has a baseline, ``points`` continuous latents of the data of which q is a point, without
    a density, ``truncated`` those of which q leaves out values by its make, so that no draw can show what lies there.
    ``nesting`` is how many batch dimensions its plates take; ``full_size`` the N of a program that subsamples its plate
    itself, else None.
    """

    plate: str
    latents: tuple[Site, ...]
    outside: tuple[Site, ...]
    observed: tuple[Site, ...]
    enumerated: tuple[str, ...]
    auxiliary: tuple[str, ...]
    summed: tuple[str, ...]
    baselines: tuple[str, ...]
    scored: tuple[str, ...]
    points: tuple[str, ...]
    truncated: tuple[str, ...]
    nesting: int
    full_size: int | None


def trace_pair(program: Program, batch: Batch) -> tuple[poutine.Trace, poutine.Trace]:
    """A guide trace and the model trace replayed against it, both without subsample sites."""
    guide = poutine.trace(program.guide).get_trace(*batch.args)
    model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*batch.args)
    return prune(guide), prune(model)


def try_pair(program: Program, batch: Batch, what: str = "data") -> tuple[poutine.Trace, poutine.Trace]:
    """As `trace_pair`, with an error of the program's told by role and shapes.

    Raises
    ------
    ValueError
        If guide or model do not run on these arguments.
    """
    role = "guide"
    try:
        guide = poutine.trace(program.guide).get_trace(*batch.args)
        role = "model"
        model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*batch.args)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
        came = str(error).split("\nTrace Shapes:")[0]
        shapes = " and ".join(str(tuple(t.shape)) for t in (batch.x, batch.context) if t is not None)
        mend = ""
        if "inside plate" in came or "broadcast" in came or "must match" in came:
            mend = (
                ". A program is run on two data, on three and on batches of them: its data plate must have their "
                "length, pyro.plate('data', x.shape[0]), and its guide must compute the latents from the data it is "
                "given (Pyro's AutoGuides do not)"
            )
        if bool(torch.isnan(batch.x).any()) and not getattr(program, "takes_mask", False):
            mend += ". The data hold NaN: fill or drop them, or let the program leave them out"
        raise ValueError(
            f"the {role} could not be run on {what} of shape {shapes}: {type(error).__name__}: {came}{mend}"
        ) from error
    return prune(guide), prune(model)


def prune(trace: poutine.Trace) -> poutine.Trace:
    """The trace without the sites that plates make to subsample."""
    return poutine.util.prune_subsample_sites(trace)


def inspect_program(program: Program, batch: Batch) -> Structure:
    """Run the program on two and on three data; the plate whose length follows is the data plate.

    Parameters
    ----------
    program
        Left as it was: evaluated without gradient, in ``eval`` mode, with its own random stream.
    batch
        Some data, at least one.

    Raises
    ------
    ValueError
        If the program does not run, has no data plate, leaves a latent without a guide, has a site in the guide
        that the model lacks, observes nothing, or has a latent whose support the guide does not have.
    """
    missing = torch.isnan(batch.x).nonzero()
    if getattr(program, "takes_mask", None) is False and len(missing):
        raise ValueError(f"the data hold NaN (first: at index {tuple(missing[0].tolist())}), {UNTOLD}")
    with seeded(0, Stream.CHECK), program.scope(), torch.no_grad(), pyro.validation_enabled(True), evaluating(program):
        program.check(_rows(batch, 2))
        try:
            traces = {n: try_pair(program, _rows(batch, n)) for n in (2, 3)}
        except ValueError:
            _check_events(program, _rows(batch, 2))
            raise
    program.settle()
    (guide, model), (guide3, model3) = traces[2], traces[3]
    plate = _data_plate(program.plate, {**_plates(model), **_plates(guide)}, {**_plates(model3), **_plates(guide3)})
    full = _full_size(plate, guide, model)
    latents = {n: s for n, s in model.nodes.items() if s["type"] == "sample" and not s["is_observed"]}
    enumerated = tuple(n for n in latents if n not in guide and latents[n]["infer"].get("enumerate"))
    _check_cover(latents, guide, model, enumerated)
    _check_place(plate, latents, guide)
    with seeded(1, Stream.CHECK), torch.no_grad():
        for name in latents:
            if name in guide:
                check_reach(name, latents[name]["fn"], guide.nodes[name]["fn"])
    sites = {n: site_of(s, plate) for n, s in model.nodes.items() if s["type"] == "sample"}
    observed = tuple(
        s
        for n, s in sites.items()
        if model.nodes[n]["is_observed"] and not model.nodes[n]["infer"].get("_deterministic")
    )
    inside = tuple(s for s in observed if s.plate_dim is not None)
    if not inside:
        raise ValueError(
            f"the model observes nothing inside its data plate '{plate}': give a sample statement obs=x in it"
        )
    local = [sites[n] for n in latents if n not in enumerated]
    return Structure(
        plate=plate,
        latents=tuple(s for s in local if s.plate_dim is not None),
        outside=tuple(s for s in (*local, *observed) if s.plate_dim is None),
        observed=inside,
        enumerated=enumerated,
        auxiliary=tuple(n for n, s in guide.nodes.items() if s["type"] == "sample" and n not in model),
        summed=_marked(guide, "enumerate"),
        baselines=_marked(guide, "baseline"),
        scored=tuple(
            n for n, s in guide.nodes.items() if s["type"] == "sample" and n in latents and not s["fn"].has_rsample
        ),
        points=tuple(
            s.name
            for s in local
            if s.plate_dim is not None and not s.support.is_discrete and _is_point(guide.nodes[s.name]["fn"])
        ),
        truncated=tuple(s.name for s in local if getattr(guide.nodes[s.name]["fn"], "truncated", False)),
        nesting=max(
            -f.dim
            for t in (model, guide)
            for s in t.nodes.values()
            for f in s.get("cond_indep_stack", ())
            if f.vectorized
        ),
        full_size=full,
    )


def _marked(trace: poutine.Trace, mark: str) -> tuple[str, ...]:
    """The sites whose ``infer`` has this mark."""
    return tuple(n for n, s in trace.nodes.items() if s["type"] == "sample" and s["infer"].get(mark))


def _is_point(fn: Any) -> bool:
    """Whether it is a Delta that states no density, on whatever support; one that does carries another site's."""
    while not isinstance(fn, dist.Delta) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, dist.Delta) and not bool(torch.as_tensor(fn.log_density).any())


def _rows(batch: Batch, n: int) -> Batch:
    return batch.take(torch.arange(n, device=batch.x.device) % len(batch))


def _plates(trace: poutine.Trace) -> dict[str, int]:
    return {
        frame.name: frame.size
        for site in trace.nodes.values()
        if site["type"] == "sample"
        for frame in site["cond_indep_stack"]
        if frame.vectorized
    }


def _data_plate(named: str | None, two: dict[str, int], three: dict[str, int]) -> str:
    following = [name for name in two if two[name] == 2 and three.get(name) == 3]
    if named is not None:
        if named not in two:
            raise ValueError(f"the program has no plate named {named!r}; it has {sorted(two) or 'none'}")
        if named not in following:
            raise ValueError(
                f"the plate {named!r} has length {two[named]} whatever the length of the data: write "
                f"pyro.plate({named!r}, x.shape[0]), or plate(size=N, subsample_size=x.shape[0])"
            )
        return named
    if len(following) == 1:
        return following[0]
    if following:
        raise ValueError(
            f"the plates {following} all have the length of the data: say which is the data plate, "
            f"pv.Program(model, guide, plate={following[0]!r})"
        )
    found = ", ".join(f"'{n}' of length {s}" for n, s in two.items()) or "none"
    raise ValueError(
        f"no plate of the program has the length of the data it is given (plates found: {found}): write "
        "`with pyro.plate('data', x.shape[0]):` around the sample statements of one datum"
    )


def _full_size(plate: str, guide: poutine.Trace, model: poutine.Trace) -> int | None:
    """The N of a program that subsamples its plate itself; model and guide must agree, or their scales do not."""
    sizes = [
        {f.full_size for s in trace.nodes.values() for f in s.get("cond_indep_stack", ()) if f.name == plate}
        for trace in (model, guide)
    ]
    if len(sizes[0] | sizes[1]) > 1:
        ours, theirs = (" and ".join(map(str, sorted(s))) or "no length" for s in sizes)
        raise ValueError(
            f"given two data, the data plate '{plate}' has size {ours} in the model and {theirs} in the guide, so that "
            f"their densities would be scaled differently: write pyro.plate({plate!r}, x.shape[0]) in both, or "
            "plate(size=N, subsample_size=x.shape[0]) in both"
        )
    size = max(sizes[0] | sizes[1])
    return None if size == 2 else size


def _check_cover(
    latents: dict[str, Any], guide: poutine.Trace, model: poutine.Trace, enumerated: tuple[str, ...]
) -> None:
    uncovered = [n for n in latents if n not in guide and n not in enumerated]
    if uncovered:
        raise ValueError(
            f"the guide has no site for the model's latent {', '.join(map(repr, uncovered))}: add "
            f"pyro.sample({uncovered[0]!r}, …) to the guide, or observe it in the model"
        )
    for name, site in guide.nodes.items():
        if site["type"] == "sample" and not site["is_observed"] and not site["infer"].get("is_auxiliary"):
            if name not in model:
                raise ValueError(
                    f"the guide has a site {name!r} that the model lacks; the model's latents are {sorted(latents)}: "
                    "rename it, or mark it infer={'is_auxiliary': True}"
                )
            if model.nodes[name]["is_observed"]:
                raise ValueError(f"the guide samples {name!r}, which the model observes: remove it from the guide")
            _check_event(name, site["fn"].event_shape, model.nodes[name]["fn"].event_shape)


def _check_place(plate: str, latents: dict[str, Any], guide: poutine.Trace) -> None:
    """A latent in the data plate of one program only would be weighted differently in the two."""
    for name in latents.keys() & guide.nodes.keys():
        ours, theirs = ({f.name for f in s["cond_indep_stack"]} for s in (latents[name], guide.nodes[name]))
        if (plate in ours) != (plate in theirs):
            inside, outside = ("model", "guide") if plate in ours else ("guide", "model")
            raise ValueError(
                f"site {name!r} stands inside the data plate '{plate}' in the {inside} and outside it in the {outside}"
                f": sample it under `with pyro.plate({plate!r}, x.shape[0]):` in both"
            )


def _check_event(name: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    if ours != theirs:
        raise ValueError(
            f"site {name!r}: the guide's event shape is {tuple(ours)}, the model's {tuple(theirs)}: they must be equal "
            "(.to_event(k) moves batch dimensions into the event)"
        )


def _check_events(program: Program, batch: Batch) -> None:
    """Whether a model that does not run on the guide's draws was given draws of another shape than its own."""
    try:
        guide, model = (
            poutine.trace(program.guide).get_trace(*batch.args),
            poutine.trace(program.model).get_trace(*batch.args),
        )
    except Exception:  # it does not run by itself either: what it said first stands
        return
    for name in prune(guide).nodes.keys() & prune(model).nodes.keys():
        if guide.nodes[name]["type"] == "sample" and not model.nodes[name]["is_observed"]:
            _check_event(name, guide.nodes[name]["fn"].event_shape, model.nodes[name]["fn"].event_shape)


def site_of(site: Any, plate: str) -> Site:
    """A site of a trace, as it stands to the data plate."""
    fn = site["fn"]
    frames = {frame.name: frame.dim for frame in site["cond_indep_stack"] if frame.vectorized}
    others = [d for n, d in frames.items() if n != plate]
    batch = tuple(fn.batch_shape)
    return Site(
        name=site["name"],
        event_shape=tuple(batch[d] for d in sorted(others)) + tuple(fn.event_shape),
        event_dim=len(fn.event_shape),
        support=fn.support,
        plate_dim=frames.get(plate),
        layout=tuple(size for d, size in enumerate(batch, -len(batch)) if d != frames.get(plate)),
    )
