"""Posterior draws of a fitted program as an ArviZ tree."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import xarray as xr

from pyrovae._atomic import refuse_existing
from pyrovae._numbers import at_least
from pyrovae.draws.blocks import most_predictive, spans
from pyrovae.draws.chains import Chains, drawing, prepare_draws, shared_draws
from pyrovae.draws.groups import Sampler, by_guide, write_block
from pyrovae.draws.markov import nuts_bar, nuts_options
from pyrovae.draws.predict import prior_groups
from pyrovae.draws.together import SharedTree
from pyrovae.draws.tree import DiskTree, MemoryTree, write_netcdf
from pyrovae.svi.batches import Batches
from pyrovae.svi.distributed import by_first, in_order, is_first, joined
from pyrovae.svi.processes import Processes

__all__ = ["make_tree", "posterior"]

METHODS = ("guide", "nuts")


def posterior(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    draws: int = 1000,
    method: str = "guide",
    chains: int | None = None,
    warmup: int | None = None,
    target_accept: float | None = None,
    seed: int = 0,
    predictive: int | None = None,
    discrete: bool = False,
    path: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> xr.DataTree:
    """Draws of q(z|x), or of the exact p(z|x), for each datum, with what is needed to judge them, as an ArviZ tree.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, whose restarts become chains, or a program.
    data, context
        As for `pyrovae.fit`; ideally held out.
    draws
        Draws per chain and datum.
    method
        "guide": independent draws of q(z|x), at once. "nuts": Markov chains of p(z|x) under the parameters that the
        fit chose, by the No-U-Turn sampler, for latents that a gradient can move: exact as far as they have mixed
        (`pyrovae.diagnostics.sampler_checks`), and some thousand times the work; a few dozen data tell how far q is
        off (`pyrovae.diagnostics.gold_standard`).
    chains, warmup, target_accept
        Of "nuts" alone: Markov chains per datum (4), transitions of each that adapt and are thrown away (500), and the
        acceptance rate that they adapt the step size to (.8; more of it for draws that diverge).
    seed
        Decides every draw; the global random state is left as it was.
    predictive
        How many draws of x to keep for each datum; by default as many as 256 MiB hold, at most 100.
    discrete
        Draw the enumerated sites too, given the data and the draws of the other latents.
    path
        A ``.zarr`` folder, written block by block so that memory holds one block at a time, or a ``.nc`` file. The
        tree that is returned then reads from the store. Several processes (torchrun) share the blocks of a ``.zarr``
        folder, to the bits that one would write.
    overwrite
        Replace what is at ``path``.
    progress
        Show how far the Markov chains are, on a terminal.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (latents; chain, draw, obs_id, …) · ``posterior_predictive`` · ``prior``,
        ``prior_predictive`` (chain, draw, …) · ``observed_data`` · ``constant_data`` (context, mask, label where there
        are such) · ``sample_stats``: ``log_p`` = log p(x, z), ``log_q`` = log q(z|x), ``log_weight`` = log p − log q,
        and ``log_lik`` = log p(x|z), per draw and datum in unscaled nats, and ``kl_z`` = KL(q(z_j|x) ‖ p(z_j)) per
        dimension, where the prior is independent over them · ``predictive_stats``: ``log_lik`` = log p(x̃|z) of the
        predictive draws x̃, over the cells that the data have · ``optimization``, of a `Fit`: its history.

    Notes
    -----
    Latents θ outside the data plate have one value in each draw for all data, (chain, draw, …), and draw s of a datum
    is one of q(z|x, θ_s). ``log_p``, ``log_q`` and ``log_lik`` are then conditional on θ_s, a datum has no weight of
    its own, and ``log_p_global`` and ``log_q_global`` (chain, draw) hold log p(θ_s), together with what is observed
    outside the plate, and log q(θ_s), in nats of the whole set; ``attrs["global_sites"]`` names the sites. Where each
    datum has no other latent than enumerated ones, the group ``log_likelihood`` holds log p(x_i|θ_s), for ``az.loo``
    of data that the program was fitted to; ``az.loo_approximate_posterior`` corrects it for the guide.

    Chains of "nuts" start from draws of the guide, twice as far from its median, with its spread as the first metric;
    step size and diagonal metric are each chain's and datum's own. ``sample_stats`` then has no ``log_q`` or
    ``log_weight``, but what ArviZ knows of a sampler: ``lp`` (log p(x, z) of the unconstrained latents), ``energy``,
    ``diverging``, ``acceptance_rate``, ``tree_depth``, ``n_steps`` and ``step_size``.

    Enumerated sites c, named in ``attrs["enumerated_sites"]``, are summed out of ``log_p`` and ``log_lik`` exactly. A
    draw of x is made given one of p(c|x, z), as it is given one of q(z|x). Latents that q draws from a discrete support
    are named in ``attrs["discrete_sites"]``.

    Raises
    ------
    ValueError
        If the data do not suit the program, or draws are not defined for it; with "nuts", if a latent is shared by all
        data, discrete, or on a support that no bijection from the real line reaches.
    FileExistsError
        If ``path`` exists and ``overwrite`` is False.

    References
    ----------
    Hoffman & Gelman 2014, 1111.4246; Betancourt 2017, 1701.02434.

    Examples
    --------
    >>> import pyrovae as pv, torch
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> tree = pv.posterior(vae, torch.zeros(5, 3), draws=10)
    >>> dict(tree["posterior"].sizes)
    {'chain': 1, 'draw': 10, 'obs_id': 5, 'z_dim_0': 2}
    >>> exact = pv.posterior(vae, torch.zeros(2, 3), draws=10, method="nuts", chains=2, warmup=30)
    >>> dict(exact["posterior"].sizes)
    {'chain': 2, 'draw': 10, 'obs_id': 2, 'z_dim_0': 2}
    """
    options: dict[str, Any] = {
        "context": context,
        "draws": draws,
        "seed": seed,
        "predictive": predictive,
        "discrete": discrete,
        "path": path,
        "overwrite": overwrite,
    }
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    given: dict[str, Any] = {"chains": chains, "warmup": warmup, "target_accept": target_accept}
    if method == "guide":
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{name}={value!r} is of Markov chains, and draws of the guide are independent, a chain for each "
                    "restart of the fit: leave it out, or ask for method='nuts'"
                )
        return make_tree(fit, data, **options)
    with nuts_bar(progress and is_first()) as bar:
        return make_tree(fit, data, **options, **nuts_options(draws, seed, discrete, bar, **given))


def make_tree(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    draws: int = 1000,
    seed: int = 0,
    predictive: int | None = None,
    discrete: bool = False,
    path: str | Path | None = None,
    overwrite: bool = False,
    copies: int | None = None,
    sampler: Callable[[Sampler], Sampler] | None = None,
    most_rows: int | None = None,
    guide_draws: int | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """As `posterior`, with draws made in another way.

    Parameters
    ----------
    copies
        So many chains of the restart that the fit chose, instead of the restarts.
    sampler
        Makes what draws from what draws by the guide; called for each block of data.
    most_rows
        Rows (data times draws made at once) that a block may hold, if fewer than memory would take.
    guide_draws
        How many draws the guide makes of each datum, where the sampler turns them into ``draws`` of another kind.
    attrs
        Further attributes of the tree.
    """
    at_least("draws", draws, 1)
    if predictive is not None:
        at_least("predictive", predictive, 0)
    sink: DiskTree | MemoryTree | SharedTree = MemoryTree()
    suffix = None if path is None else Path(path).suffix
    if suffix not in (None, ".zarr", ".nc"):
        raise ValueError(f"path: expected a name that ends in .zarr (streamed) or .nc, got {str(path)!r}")
    if path is not None and (suffix == ".zarr" or is_first()):
        refuse_existing(Path(path), overwrite)
    chains, batches, plan, rows = prepare_draws(fit, data, context, copies)
    rows = min(rows, most_rows or rows)
    together = joined(batches.x.device) if suffix == ".zarr" else nullcontext(Processes())
    with together as processes:
        with drawing(chains.program):
            blocks = list(spans(plan, len(batches), guide_draws or draws, rows))
            blocks = blocks[processes.share(len(blocks))]
            if processes.size > 1:
                processes.check_same(_given(chains, batches, draws, seed, rows))
                _, index = batches.data.coords["obs_id"]
                sink = SharedTree(Path(str(path)), overwrite, processes, [block for block, _ in blocks], index)
            elif suffix == ".zarr":
                sink = DiskTree(Path(str(path)), overwrite=overwrite)
            cells = batches.x[0].numel()
            most = most_predictive(len(chains), len(batches), cells, draws)
            keep = most if predictive is None else min(predictive, draws)
            shared = shared_draws(chains, batches, plan, draws, seed)
            for block, parts in blocks:
                make = by_guide(parts, discrete and guide_draws is None)
                make = make if sampler is None else sampler(make)
                write_block(sink, chains, plan, batches, block, make, keep, rows, seed, shared)
            if processes.first:
                prior = prior_groups(chains, plan, batches, min(draws, 1000), rows, seed, enumerated=discrete)
                for name, group in prior.items():
                    sink.put(name, group)
        if chains.fit is not None:
            sink.put("optimization", chains.fit.history)
        tree = sink.close(_attrs(chains, batches, draws, seed) | dict(attrs or {}))
    if path is not None and suffix == ".nc":
        by_first(f"write {path}", lambda: write_netcdf(tree, Path(str(path)), overwrite=overwrite))
    return tree


def _given(chains: Chains, batches: Batches, draws: int, seed: int, rows: int) -> dict[str, Any]:
    """What several processes must agree on."""
    weights = sum(float(value.double().sum()) for value in chains.program.weights().values())
    given = {"draws": draws, "seed": seed, "rows in a block": rows, "n": len(batches), "chains": len(chains)}
    return {**given, "data_sum": batches.sums, "order of the data": in_order(batches), "weights_sum": weights}


def _attrs(chains: Chains, batches: Batches, draws: int, seed: int) -> dict[str, Any]:
    from pyrovae.svi.history import versions

    return {
        "inference_library": "pyrovae",
        "inference_library_version": versions()["pyrovae"],
        "program": type(chains.program).__name__,
        "data": batches.data.name,
        "data_size": len(batches),
        "draws": draws,
        "seed": seed,
        "method": "guide",
        "units": "log densities in nats per datum, unscaled",
        "settings": json.dumps(None if chains.fit is None else chains.fit.settings),
        "note": "draws are independent draws of the guide: their R-hat and ESS say nothing of its quality",
    }
