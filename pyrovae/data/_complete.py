"""Data with a draw of their missing cells in place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pyrovae._numbers import at_least
from pyrovae.data._container import Data

__all__ = ["complete"]


def complete(data: Data, imputed: Any, *, draw: int = 0, chain: int = 0) -> Data:
    """The data with one draw of their missing cells, as `pyrovae.impute` made it: one of several imputations.

    `decode` makes a data frame of it, with labels in place of codes.

    Parameters
    ----------
    data
        Those that `pyrovae.impute` was given, as `Data`.
    imputed
        What it returned.
    draw, chain
        Which draw.

    Raises
    ------
    TypeError
        If ``data`` are no `Data`.
    ValueError
        If the draws are not of these data, or there is no such draw.

    Examples
    --------
    >>> import pyrovae as pv
    >>> table = pv.Data(torch.tensor([[1.0, torch.nan], [0.5, 2.0], [torch.nan, 0.1]]))
    >>> vae = pv.VAE(pv.priors.Normal(1), pv.likelihoods.Normal(pv.networks.MLP(1, (), 2)),
    ...              pv.guides.Normal(pv.networks.MLP(2, (), 2, mask=True)))
    >>> complete(table, pv.impute(vae, table, draws=5), draw=3).x.isnan().any()
    tensor(False)
    """
    if not isinstance(data, Data):
        raise TypeError(f"complete: expected Data, got {type(data).__name__}: make them with pv.data.as_data(…) first")
    group = imputed["imputed"].dataset
    (name,) = group.data_vars
    sizes = {"draw": at_least("complete: draw", draw, 0), "chain": at_least("complete: chain", chain, 0)}
    for dim, place in sizes.items():
        if place >= group.sizes[dim]:
            raise ValueError(f"complete: {dim} {place} was asked for, and there are {group.sizes[dim]}, counted from 0")
    missing = torch.isnan(data.x)
    rows = missing.nonzero()
    known = [data.coords["obs_id"][1][rows[:, 0].numpy()]]
    known += [
        data.coords[d][1][rows[:, k + 1].numpy()] if d in data.coords else rows[:, k + 1].numpy()
        for k, d in enumerate(data.dims)
    ]
    theirs = [group[d].values for d in ("obs_id", *data.dims)] if {"obs_id", *data.dims} <= set(group.coords) else []
    if len(theirs) != len(known) or any(not np.array_equal(a, b) for a, b in zip(known, theirs, strict=True)):
        raise ValueError(
            "complete: these draws are of the missing cells of other data: pass those that impute was given"
        )
    x = data.x.clone()
    x[missing] = torch.from_numpy(group[name].isel(sizes).values).to(x.dtype)
    return replace(data, x=x)
