"""What the likelihood makes of latents that were chosen, not drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from pyrovae._rng import Stream, derive, seed_all
from pyrovae._support import describe
from pyrovae.draws.blocks import observe, per_datum, replayable
from pyrovae.draws.target import Evaluation, evaluation
from pyrovae.draws.tree import dataset, site_dims
from pyrovae.program import Batch
from pyrovae.structure import Site, prune

__all__ = ["decode", "decoded"]

MOST_VALUES = 256
"""Values that enumerated sites may have together, to be summed over."""


def decode(fit: Any, latents: Any, data: Any, *, context: Any = None, seed: int = 0) -> xr.Dataset:
    """E[x|z], the mean of the likelihood, for latents of your own.

    Enumerated sites are summed out, E[x|z] = Σ_c p(c|z) E[x|z, c], unless their values are given with the others.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, by the restart that it chose, or a program.
    latents
        z (code, *latent) of the program's one latent site, or a mapping of such by site.
    data, context
        Only the shape of the data and, for a conditional program, their context are used: code i is given the context
        of datum i mod n.
    seed
        Of the draws of x of a family that has no mean, such as categories.

    Returns
    -------
    xarray.Dataset
        A variable by observed site, (code, …) with the data's own coordinates. A family without a mean gives a draw.

    Raises
    ------
    ValueError
        If a site is missing or unknown, its values have another shape or lie outside its support, latents are shared by
        all data, or the likelihood's mean is not a number.

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> decode(vae, torch.zeros(5, 2), torch.zeros(1, 3))["x"].sizes
    Frozen({'code': 5, 'x_dim_0': 3})
    """
    with evaluation(fit, data, context) as e:
        seed_all(derive(seed, Stream.RECONSTRUCTION))
        means = decoded(e, _given(e, latents))
        names = e.batches.data
        dims = {s.name: ("code", *site_dims(s.name, s.event_shape, names)) for s in e.plan.observed}
        return dataset({name: (dims[name], means[name]) for name in dims}, names)


def decoded(e: Evaluation, latents: Mapping[str, Tensor], rows: Tensor | None = None) -> dict[str, Tensor]:
    """The mean of x by observed site, (code, *event), of latents {site: (code, *event)}.

    Code i has the context of datum ``rows[i]``, of datum i mod n by default.

    Raises
    ------
    ValueError
        If a mean is not a number, or enumerated sites have too many values to be summed over.
    """
    count = len(next(iter(latents.values())))
    rows = torch.arange(count) % len(e.batches) if rows is None else rows
    rows = rows.to(e.batches.x.device)
    pieces = []
    for start in range(0, count, e.rows):
        block = slice(start, start + e.rows)
        pieces.append(_means(e, e.batches.take(rows[block]), {name: z[block] for name, z in latents.items()}))
    out = {name: torch.cat([p[name] for p in pieces]) for name in pieces[0]}
    for name, value in out.items():
        bad = int(torch.isnan(value).reshape(count, -1).any(1).sum())
        if bad:
            raise ValueError(
                f"the mean of {name!r} is not a number for {bad} of {count} codes: its family has none there, as "
                "Pyro's Categorical, or the network gives NaN"
            )
    return out


def _given(e: Evaluation, latents: Any) -> dict[str, Tensor]:
    """The user's values by site, as the program takes them."""
    if e.plan.shared:
        names = ", ".join(f"'{s.name}'" for s in e.plan.shared)
        raise ValueError(f"the latents {names} are shared by all data: decode takes latents of each datum alone")
    sites = {site.name: site for site in (*e.plan.latents, *e.plan.discrete)}
    needed = [s.name for s in e.plan.latents] or list(sites)
    given = dict(latents) if isinstance(latents, Mapping) else {needed[0]: latents}
    if not set(needed) <= given.keys() <= sites.keys():
        raise ValueError(
            f"latents: expected values of {', '.join(map(repr, needed))}, got those of "
            f"{', '.join(map(repr, given)) or 'none'}: pass a mapping with each site"
        )
    free = _free(e, e.batches.take(slice(0, 1)))
    out = {name: _values(sites[name], value, free.nodes[name], e.batches.x) for name, value in given.items()}
    if len({len(z) for z in out.values()}) > 1:
        found = ", ".join(f"{len(z)} of {name!r}" for name, z in out.items())
        raise ValueError(f"latents: expected as many codes of each site, got {found}")
    return out


def _values(site: Site, value: Any, node: Any, like: Tensor) -> Tensor:
    z = value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.array(value))
    if tuple(z.shape[1:]) != site.event_shape or not z.dim() or not len(z):
        shape = ", ".join(map(str, ("codes", *site.event_shape)))
        raise ValueError(f"latents: expected {site.name!r} of shape ({shape}), got {tuple(z.shape)}")
    z = z.to(like.device, like.dtype if node["value"].is_floating_point() else node["value"].dtype)
    inside = node["fn"].support.check(site.to_plate(z))
    outside = ~inside.movedim(site.plate_dim or -1, 0).reshape(len(z), -1).all(1)
    if outside.any():
        raise ValueError(
            f"latents: {int(outside.sum())} of {len(z)} values of {site.name!r} lie outside its support, "
            f"{describe(node['fn'].support)}; the first is number {int(outside.nonzero()[0])}"
        )
    return z


def _means(e: Evaluation, batch: Batch, latents: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of x of each code, averaged over the enumerated sites that are not given by p(c|z)."""
    absent = [s for s in e.plan.discrete if s.name not in latents]
    made, weights = [], []
    for values in _combinations(e, absent, batch):
        some = latents | values
        found = observe(e.program, e.plan, batch, {name: z[None] for name, z in some.items()}, 1, "mean")
        made.append({name: value[0] for name, value in found.items()})
        if absent:
            weights.append(_log_prior(e, batch, some))
    if not absent:
        return made[0]
    share = torch.stack(weights).softmax(0)
    out = {}
    for name in made[0]:
        means = torch.stack([one[name] for one in made])
        out[name] = (share.reshape(*share.shape, *(1,) * (means.dim() - 2)) * means).sum(0)
    return out


def _combinations(e: Evaluation, sites: list[Site], batch: Batch) -> Iterator[dict[str, Tensor]]:
    """All values that enumerated sites may have together, the same for every row."""
    if not sites:
        yield {}
        return
    free, kinds = _free(e, batch), {}
    for site in sites:
        fn = free.nodes[site.name]["fn"]
        event = site.event_shape[len(site.event_shape) - site.event_dim :]
        kinds[site.name] = fn.enumerate_support(expand=False).reshape(-1, *event)
    cells = {s.name: math.prod(s.event_shape[: len(s.event_shape) - s.event_dim]) for s in sites}
    total = math.prod(len(kinds[name]) ** count for name, count in cells.items())
    if total > MOST_VALUES:
        names = ", ".join(f"'{s.name}'" for s in sites)
        raise ValueError(
            f"the enumerated sites {names} have {total:,} values together, and at most {MOST_VALUES} are summed over: "
            "give their values to pv.decode with the other latents"
        )
    choices = [itertools.product(range(len(kinds[s.name])), repeat=cells[s.name]) for s in sites]
    for chosen in itertools.product(*choices):
        yield {
            s.name: kinds[s.name][list(index)].reshape(1, *s.event_shape).expand(len(batch), *s.event_shape)
            for s, index in zip(sites, chosen, strict=True)
        }


def _log_prior(e: Evaluation, batch: Batch, values: dict[str, Tensor]) -> Tensor:
    """log p(z, c) of each row."""
    trace = replayable(e.plan, values)
    model = prune(poutine.trace(poutine.replay(e.program.model, trace=trace)).get_trace(*batch.args))
    sites = (*e.plan.latents, *e.plan.discrete)
    model.compute_log_prob(lambda name, _: any(name == s.name for s in sites))
    return torch.stack([per_datum(model.nodes[s.name], s) for s in sites]).sum(0)


def _free(e: Evaluation, batch: Batch) -> poutine.Trace:
    return prune(poutine.trace(poutine.uncondition(e.program.model)).get_trace(*batch.args))
