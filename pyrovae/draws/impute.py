"""Draws of missing cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
import xarray as xr
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae._missing import _ObservedNormal
from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive, seed_all, seeded
from pyrovae.data import Data
from pyrovae.draws.blocks import draw, draw_enumerated, join, observe, spans
from pyrovae.draws.chains import Chains, drawing, prepare_draws, shared_draws
from pyrovae.draws.plan import Plan
from pyrovae.draws.tree import MemoryTree
from pyrovae.structure import Site, trace_pair
from pyrovae.svi.batches import Batches

__all__ = ["impute"]

PROPOSALS = 10  # for each draw that is kept
FEW = 10  # observed cells, below which a column's own spread is not known
HELPS = 0.05  # of a column's spread that the other cells must explain


def impute(
    fit: Any, data: Any, *, context: Any = None, draws: int = 100, seed: int = 0, resample: bool = True
) -> xr.DataTree:
    """Draws of the missing cells (NaN) given those observed, p(x_mis|x_obs) = ∫ p(x_mis|z) p(z|x_obs) dz.

    The latents are drawn from the guide and, with ``resample``, drawn again from ten times as many with their
    importance weights p(x_obs, z) / q(z|x_obs) (sampling importance resampling; Mattei & Frellsen 2019, 1812.02633).
    That corrects a guide that is somewhat off, not one whose weights rest on few draws: see ``ess``.
    Nothing corrects a model that is not fitted yet: after too few epochs intervals are too narrow, and ``informed``,
    which is the model's own account, too high.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, whose restarts become chains, or a program, whose cells are independent given z, or
        multivariate Normal.
    data, context
        As for `pyrovae.fit`, with missing cells.
    draws
        Draws per chain and cell, at least 2.
    seed
        Decides every draw; the global random state is left as it was.
    resample
        Whether to weight the draws of the guide.

    Returns
    -------
    xarray.DataTree
        ``imputed``: the site ``x`` (chain, draw, cell), a cell for each that is missing, with the coordinates
        ``obs_id`` and the data's own, such as ``column``. `pyrovae.data.complete` puts a draw into the data, and
        `pyrovae.data.decode` makes a data frame of that. Categories are codes, whose means mean nothing; their labels
        stand in the attribute ``levels``, as JSON.
        ``sample_stats``: ``ess`` (chain, obs_id), the effective share of the draws of the guide, 1 / (S Σ w²).
        ``columns``: of each column with missing cells their number ``missing``, its ``kind``, a ``verdict``, and
        ``informed`` = 1 − mean Var(x_j|x_obs) / Var(x_j), over its missing cells and its observed ones: 0 where
        imputing is no better than drawing from the column itself. Positive numbers and counts count by log x and
        log(1 + x), categories by their quadratic entropy 1 − Σ p_k² in place of the variance. It is what the model
        claims: hide observed cells to see whether it is right.

    Raises
    ------
    TypeError
        If ``resample`` is no truth value.
    ValueError
        If no cell is missing, or the data do not suit the program.
    NotImplementedError
        If the likelihood's cells are not independent given z, and no multivariate Normal.

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4, mask=True)))
    >>> x = torch.zeros(5, 3)
    >>> x[1, 2] = x[4, 0] = torch.nan
    >>> tree = pv.impute(vae, x, draws=10)
    >>> dict(tree["imputed"].sizes), tree["imputed"]["obs_id"].values
    ({'chain': 1, 'draw': 10, 'cell': 2}, array([1, 4]))
    """
    at_least("draws", draws, 2)
    if not isinstance(resample, bool):
        raise TypeError(f"resample: expected True or False, whether to weight the draws, got {resample!r}")
    chains, batches, plan, rows = prepare_draws(fit, data, context)
    missing = torch.isnan(batches.x)
    holes = missing.flatten(1).any(1).nonzero().squeeze(1)
    if not len(holes):
        raise ValueError(f"no cell of {batches.data.name} is missing (NaN): there is nothing to impute")
    if plan.shared and resample:
        names = ", ".join(f"'{s.name}'" for s in plan.shared)
        raise ValueError(
            f"the latents {names} are shared by all data, so that draws cannot be weighted datum by datum: pass "
            "resample=False"
        )
    with drawing(chains.program):
        sites = _sites(chains, plan, batches)
        shared = shared_draws(chains, batches, plan, draws, seed)
        values: dict[str, list[Tensor]] = {s.name: [] for s in sites}
        shares = []
        for block, parts in spans(plan, len(holes), draws * (PROPOSALS if resample else 1), rows):
            index = holes[block]
            with seeded(seed, Stream.DATA, block.start):
                batch = batches.take(index)
            drawn, share = [], []
            for chain, program in chains:
                seed_all(derive(seed, Stream.IMPUTATION, chain, block.start))
                given = shared[chain]
                with program.scope():
                    lot = join([draw(program, plan, batch, m, given) for m in parts], parts)
                    weights = _weights(lot.log_weight)
                    share.append(1 / (len(weights) * weights.square().sum(0)))
                    latents = _again(lot.latents, weights, draws) if resample else lot.latents
                    step = draws if given else max(1, rows // len(index))
                    pieces = []
                    for start in range(0, draws, step):
                        some = {k: v[start : start + step] for k, v in latents.items()}
                        m = min(step, draws - start)
                        some |= draw_enumerated(program, plan, batch, some, m, given)
                        with _Given():
                            pieces.append(observe(program, plan, batch, some, m, "sample", given))
                drawn.append({s.name: torch.cat([p[s.name][:, missing[index]] for p in pieces]) for s in sites})
            shares.append(torch.stack(share))
            for name, list_of in values.items():
                list_of.append(torch.stack([d[name] for d in drawn]))
    return _tree(batches, missing.cpu(), {k: torch.cat(v, -1).cpu() for k, v in values.items()}, torch.cat(shares, -1))


class _Given(Messenger):
    """Draws of a multivariate Normal's missing cells given the observed ones, from draws of all.

    With x* ~ N(μ, Σ), x* + Σ_·o Σ_oo⁻¹ (x_o − x*_o) is a draw given x_o (Matheron's rule).
    """

    def _pyro_post_sample(self, msg: Any) -> None:
        fn, seen = msg["fn"], msg["infer"].get("obs")
        if isinstance(fn, _ObservedNormal) and seen is not None:
            here = fn.observed.to(seen.dtype).unsqueeze(-1)
            covariance = fn.base_dist.covariance_matrix
            observed = covariance * here * here.mT + torch.diag_embed(1 - here.squeeze(-1))
            gap = torch.where(fn.observed, seen - msg["value"], 0.0).unsqueeze(-1)
            msg["value"] = msg["value"] + (covariance @ torch.linalg.solve(observed, gap)).squeeze(-1)


def _weights(log_weight: Tensor) -> Tensor:
    """Normalised weights (S, n); equal where none is finite."""
    log_weight = torch.where(log_weight.isfinite(), log_weight, -torch.inf)
    return torch.where(log_weight.isinf().all(0), 0.0, log_weight).softmax(0)


def _again(latents: dict[str, Tensor], weights: Tensor, draws: int) -> dict[str, Tensor]:
    chosen = torch.multinomial(weights.T, draws, replacement=True).T
    datum = torch.arange(weights.shape[1], device=weights.device)
    return {name: value[chosen, datum] for name, value in latents.items()}


def _sites(chains: Chains, plan: Plan, batches: Batches) -> list[Site]:
    """The observed sites that the data are, whose cells must be independent given z."""
    sites = [s for s in plan.observed if tuple(s.event_shape) == tuple(batches.data.event_shape)]
    if not sites:
        found = ", ".join(f"'{s.name}' of shape {s.event_shape}" for s in plan.observed)
        raise NotImplementedError(
            f"no observed site has the shape {tuple(batches.data.event_shape)} of a datum ({found}), so that it is not "
            "known which missing cells are whose: observe the data in one site"
        )
    program = chains.program
    with seeded(0, Stream.CHECK), program.scope():
        _, model = trace_pair(program, batches.take(slice(0, 2)))
    for site in sites:
        fn = model.nodes[site.name]["fn"]
        while isinstance(fn, (dist.Independent, dist.MaskedDistribution, ExpandedDistribution)):
            fn = fn.base_dist
        if fn.event_shape and not (isinstance(fn, _ObservedNormal) or getattr(fn, "independent_cells", False)):
            raise NotImplementedError(
                f"site '{site.name}': the cells of {type(fn).__name__} are not independent given z, and draws of some "
                "given the others are not made: use a likelihood whose cells are, one that ends in .to_event(k)"
            )
    return sites


def _tree(batches: Batches, missing: Tensor, values: dict[str, Tensor], shares: Tensor) -> xr.DataTree:
    data = batches.data
    place = missing.nonzero().numpy()
    names = ("obs_id", *data.dims)
    labels = [
        data.coords[name][1] if name in data.coords else np.arange(size)
        for name, size in zip(names, missing.shape, strict=True)
    ]
    coords: dict[str, Any] = {
        name: ("cell", label[place[:, axis]]) for axis, (name, label) in enumerate(zip(names, labels, strict=True))
    }
    chains, draws = next(iter(values.values())).shape[:2]
    lead = {"chain": np.arange(chains), "draw": np.arange(draws)}
    imputed = xr.Dataset(
        {name: (("chain", "draw", "cell"), value.numpy()) for name, value in values.items()},
        coords=lead | {"cell": np.arange(len(place))} | coords,
    )
    levels = {c.name: list(c.levels) for c in data.columns or () if c.levels}
    imputed.attrs = {"levels": json.dumps(levels, ensure_ascii=False)} if levels else {}
    rows = np.flatnonzero(missing.flatten(1).any(1).numpy())
    stats = xr.Dataset(
        {"ess": (("chain", "obs_id"), shares.cpu().numpy())},
        coords={"chain": lead["chain"], "obs_id": labels[0][rows]},
    )
    tree = MemoryTree()
    tree.put("imputed", imputed)
    tree.put("sample_stats", stats)
    tree.put("columns", _columns(data, missing, next(iter(values.values())), labels[1:]))
    return tree.close({"inference_library": "pyrovae", "data": data.name, "draws": draws})


def _columns(data: Data, missing: Tensor, values: Tensor, labels: Sequence[np.ndarray]) -> xr.Dataset:
    """How many cells of each column were missing, and how much the others tell of them."""
    flat = missing.flatten(1)
    feature = flat.nonzero()[:, 1]
    x = data.x.flatten(1).double()
    kinds = [c.kind for c in data.columns] if data.columns else ["number"] * flat.shape[1]
    rows = []
    for j in feature.unique().tolist():
        seen = x[~flat[:, j], j][None, :, None]  # one chain, its "draws" the data
        claimed = _spread(values[..., feature == j].double(), kinds[j]).mean().item()
        own = _spread(seen, kinds[j]).item() if seen.shape[1] >= FEW else 0.0
        informed = 1 - claimed / own if own > 0 else float("nan")
        rows.append((j, int(flat[:, j].sum()), kinds[j], informed, _verdict(informed)))
    at, count, kind, share, verdict = (np.array(column) for column in zip(*rows, strict=True))
    dim = data.dims[0] if len(data.dims) == 1 else "feature"
    where = np.unravel_index(at, data.event_shape)
    return xr.Dataset(
        {"missing": (dim, count), "kind": (dim, kind), "informed": (dim, share), "verdict": (dim, verdict)},
        coords={name: (dim, label[w]) for name, label, w in zip(data.dims, labels, where, strict=True)},
    )


def _spread(values: Tensor, kind: str) -> Tensor:
    """The variance over draws (chain, draw, cell) → (chain, cell), without bias; of categories 1 − Σ p_k²."""
    if kind in ("categorical", "ordinal"):
        draws = values.shape[1]
        shares = [(values == level).double().mean(1) for level in values.unique()]
        return (1 - torch.stack(shares).square().sum(0)) * draws / (draws - 1)
    if kind == "positive":
        values = values.log()
    elif kind == "count":
        values = values.log1p()
    return values.var(1)


def _verdict(informed: float) -> str:
    if np.isnan(informed):
        return "cannot tell: too few observed cells, or all of one value"
    if informed < HELPS:
        return "cannot do: no better than a draw from the column itself"
    if informed < 0.5:
        return "weakly, by the model's own account: most of the column's spread is left"
    return "well, by the model's own account: most of the spread is explained"
