"""What the likelihood makes of latents that were chosen, not drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pyrovae.draws.blocks import observe
from pyrovae.draws.target import Evaluation, evaluation
from pyrovae.draws.tree import site_dims

__all__ = ["decode", "decoded"]


def decode(fit: Any, latents: Any, data: Any, *, context: Any = None) -> xr.Dataset:
    """E[x|z], the mean of the likelihood, for latents of your own.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, by the restart that it chose, or a program.
    latents
        z (code, *latent) of the program's one latent site, or a mapping of such by site.
    data, context
        Only the shape of the data and, for a conditional program, their context are used: code i is given the context
        of datum i mod n.

    Returns
    -------
    xarray.Dataset
        A variable by observed site, (code, …) with the data's own coordinates. A family without a mean gives a draw.

    Raises
    ------
    ValueError
        If a site is missing or unknown, or its values have another shape.

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> decode(vae, torch.zeros(5, 2), torch.zeros(1, 3))["x"].sizes
    Frozen({'code': 5, 'x_dim_0': 3})
    """
    with evaluation(fit, data, context) as e:
        sites = {site.name: site for site in e.plan.latents}
        if e.plan.shared:
            names = ", ".join(f"'{s.name}'" for s in e.plan.shared)
            raise ValueError(f"the latents {names} are shared by all data: decode takes latents of each datum alone")
        given = dict(latents) if isinstance(latents, Mapping) else {next(iter(sites)): latents}
        if given.keys() != sites.keys():
            raise ValueError(
                f"latents: expected values of {', '.join(map(repr, sites))}, got those of "
                f"{', '.join(map(repr, given))}: pass a mapping with each site"
            )
        values = {}
        for name, value in given.items():
            z = torch.as_tensor(np.asarray(value)).to(e.batches.x)
            if tuple(z.shape[1:]) != sites[name].event_shape or not len(z):
                raise ValueError(
                    f"latents: expected {name!r} of shape (codes, {', '.join(map(str, sites[name].event_shape))}), got "
                    f"{tuple(z.shape)}"
                )
            values[name] = z
        means = decoded(e, values)
        data = e.batches.data
        out = {
            s.name: (("code", *site_dims(s.name, s.event_shape, data)), means[s.name].cpu().numpy())
            for s in e.plan.observed
        }
        known = {name: c for name, c in data.coords.items() if "obs_id" not in c[0]}
        found = xr.Dataset(out)
        return found.assign_coords({k: c for k, c in known.items() if all(d in found.dims for d in c[0])})


def decoded(e: Evaluation, latents: Mapping[str, Tensor], rows: Tensor | None = None) -> dict[str, Tensor]:
    """The mean of x by observed site, (code, *event), of latents {site: (code, *event)}.

    Code i has the context of datum ``rows[i]``, of datum i mod n by default.
    """
    count = len(next(iter(latents.values())))
    rows = torch.arange(count, device=e.batches.x.device) % len(e.batches) if rows is None else rows
    pieces = []
    for start in range(0, count, e.rows):
        block = slice(start, start + e.rows)
        some = {name: z[block][None] for name, z in latents.items()}
        made = observe(e.program, e.plan, e.batches.take(rows[block]), some, 1, "mean")
        pieces.append({name: value[0] for name, value in made.items()})
    return {name: torch.cat([p[name] for p in pieces]) for name in pieces[0]}
