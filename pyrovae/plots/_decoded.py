"""Codes on the real line, and what they decode to: what the plots of chosen latents share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from pyrovae._rng import Stream, derive, seed_all, seeded
from pyrovae.diagnostics._codes import names_of
from pyrovae.draws.decode import decoded
from pyrovae.draws.groups import _observed
from pyrovae.draws.target import Evaluation, Target
from pyrovae.draws.tree import dataset, site_dims
from pyrovae.plots._images import Scale
from pyrovae.program import Batch
from pyrovae.structure import Site

__all__ = [
    "Codes",
    "carried",
    "chosen_dims",
    "data_of",
    "latent_names",
    "latent_values",
    "means_of",
    "obs_ids",
    "observed_site",
    "prior_steps",
    "scale_of",
]

DRAWS = 200
"""Draws of q(z|x) by which a datum is placed."""
PRIOR = 4000
"""Draws of the prior by which its quantiles are found."""
DATA = 200
"""Data by which the dimensions are ordered."""


class Codes:
    """Some of the data, with draws of their latents by the guide, {site: (draw, datum, …)}, seeded.

    ``place`` (datum, dim) are the posterior means E_q[z|x], on the real line.

    Raises
    ------
    ValueError
        If the latents cannot be put on the real line, or a mean is not finite there.
    """

    def __init__(self, e: Evaluation, rows: Any, seed: int) -> None:
        with seeded(seed, Stream.DATA, 0):
            self.batch: Batch = e.batches.take(torch.as_tensor(rows, device=e.batches.x.device))
        self.target = Target(e.program, e.plan, self.batch)
        seed_all(derive(seed, Stream.CODES))
        n, pieces = len(self.batch), []
        step = max(1, min(DRAWS, e.rows // n))
        for start in range(0, DRAWS, step):
            guide, copies = e.program.draw_guide(self.batch, min(step, DRAWS - start))
            nodes = guide.nodes
            pieces.append(
                {s.name: s.to_front(nodes[s.name]["value"]).unflatten(0, (copies, n)) for s in self.target.sites}
            )
        self.draws = {name: torch.cat([p[name] for p in pieces]) for name in pieces[0]}
        self.place = self.target.unconstrain({name: z.mean(0, keepdim=True) for name, z in self.draws.items()})[0]
        if not torch.isfinite(self.place).all():
            bad = int((~torch.isfinite(self.place)).any(1).sum())
            raise ValueError(
                f"the posterior means of {bad} of {n} data are not finite on the real line: look at the fit"
            )


def carried(e: Evaluation, seed: int) -> np.ndarray:
    """KL(q(z_j|x) ‖ p(z_j)) of each dimension on the real line, as of Gaussians with their moments: mean over data."""
    found = Codes(e, _some(e), seed)
    prior = found.target.prior_draws(max(2, min(PRIOR * 2, e.rows) // len(found.batch)))
    own = prior if found.batch.context is not None else prior.flatten(0, 1)[:, None]
    (mean, var), (centre, spread) = _moments(found.target.unconstrain(found.draws)), _moments(own)
    ratio = var / spread
    kl = 0.5 * (ratio - 1 - ratio.log() + (mean - centre).square() / spread).mean(0)
    out: np.ndarray = kl.cpu().numpy()
    return out


def _moments(u: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the draws, of those that are finite."""
    there = torch.isfinite(u)
    count = there.sum(0).clamp(min=1)
    mean = torch.where(there, u, 0).sum(0) / count
    return mean, (torch.where(there, u - mean, 0).square().sum(0) / count).clamp(min=1e-12)


def prior_steps(e: Evaluation, target: Target, steps: int, tail: float, seed: int) -> tuple[Tensor, Tensor]:
    """Even steps (dim, step) between the prior's quantiles ``tail`` and 1 − ``tail``, and its medians (dim)."""
    seed_all(derive(seed, Stream.PRIOR))
    drawn = target.prior_draws(max(2, min(PRIOR, e.rows) // len(target.batch))).flatten(0, 1)
    shares = torch.tensor([tail, 0.5, 1 - tail], dtype=drawn.dtype, device=drawn.device)
    found = torch.stack([torch.quantile(u[torch.isfinite(u)], shares) for u in drawn.T])
    share = torch.linspace(0, 1, steps, dtype=drawn.dtype, device=drawn.device)
    return found[:, :1] + share * (found[:, 2:] - found[:, :1]), found[:, 1]


def latent_names(target: Target) -> list[str]:
    """``z[0]``, ``z[1]``, … as the trees have them; of a site that fewer numbers stand for, by number of these."""
    names = []
    for site in target.sites:
        shape = tuple(target.transforms[site.name].inverse_shape(site.event_shape))
        name = site.name if shape == site.event_shape else f"{site.name}, real"
        names += names_of(xr.DataArray(np.zeros(shape), dims=site_dims(name, shape), name=name))
    return names


def latent_values(target: Target, u: Tensor) -> np.ndarray:
    """The latents' own values of codes u (code, dim) that are named so, (code, dim); u itself of the others."""
    parts, start = [], 0
    for name, z in target.constrain(u[None]).items():
        shape = tuple(target.transforms[name].inverse_shape(z.shape[2:]))
        size = math.prod(shape)
        own = z[0].reshape(len(u), -1)
        parts.append(own if shape == tuple(z.shape[2:]) else u[:, start : start + size])
        start += size
    return torch.cat(parts, 1).cpu().numpy()


def observed_site(e: Evaluation, name: str | None) -> Site:
    """The observed variable asked for, or the first one."""
    sites = {site.name: site for site in e.plan.observed}
    if name is not None and name not in sites:
        raise ValueError(f"var_name: expected one of {list(sites)}, got {name!r}")
    return sites[name] if name is not None else e.plan.observed[0]


def chosen_dims(dims: Any, target: Target, default: np.ndarray) -> list[int]:
    """Positions of latent dimensions, checked."""
    if dims is None:
        return [int(d) for d in default]
    found = list(dims) if isinstance(dims, (Sequence, np.ndarray)) and not isinstance(dims, str) else []
    whole = all(isinstance(d, (int, np.integer)) and not isinstance(d, bool) for d in found)
    if not found or not whole or not all(0 <= d < target.dim for d in found) or len(set(found)) < len(found):
        names = latent_names(target)
        raise ValueError(
            f"dims: expected different whole numbers from 0 ({names[0]}) to {target.dim - 1} ({names[-1]}), got "
            f"{dims!r}"
        )
    return [int(d) for d in found]


def means_of(
    e: Evaluation, target: Target, u: Tensor, rows: np.ndarray, site: Site, lead: dict[str, int]
) -> xr.DataArray:
    """What codes u (code, dim) with the contexts of some rows decode to, by the dimensions and sizes of ``lead``."""
    latents = {name: z[0] for name, z in target.constrain(u[None]).items()}
    made = decoded(e, latents, torch.as_tensor(rows))[site.name]
    return _array(e, site, tuple(lead), made.unflatten(0, tuple(lead.values())))


def data_of(e: Evaluation, batch: Batch, site: Site, lead: dict[str, int]) -> xr.DataArray:
    """Some data as the model observes them, by the dimensions and sizes of ``lead``."""
    model = poutine.trace(e.program.model).get_trace(*batch.args)
    values = _observed(e.plan, model, batch.x, None)[site.name][1]
    return _array(e, site, tuple(lead), values.reshape(*lead.values(), *values.shape[1:]))


def _array(e: Evaluation, site: Site, lead: tuple[str, ...], values: Tensor) -> xr.DataArray:
    data = e.batches.data
    made = dataset({site.name: ((*lead, *site_dims(site.name, site.event_shape, data)), values)}, data)
    return made.drop_vars(lead, errors="ignore")[site.name]


def obs_ids(e: Evaluation, rows: Any) -> np.ndarray:
    """The data's own names of some rows."""
    n = len(e.batches)
    return np.asarray(e.batches.data.coords.get("obs_id", (None, np.arange(n)))[1])[rows]


def scale_of(e: Evaluation, site: Site, seed: int) -> Scale:
    """How features are put on one axis, by up to `DATA` of the data."""
    with seeded(seed, Stream.DATA, 0):
        batch = e.batches.take(_some(e))
    return Scale(data_of(e, batch, site, {"datum": len(batch)}).values)


def _some(e: Evaluation) -> Tensor:
    n = len(e.batches)
    count = min(n, DATA, max(2, e.rows // 2))
    return torch.linspace(0, n - 1, count, dtype=torch.float64).long().to(e.batches.x.device)
