"""What a diagnostic needs of a tree, with an error that says what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import xarray as xr

__all__ = [
    "NotAvailable",
    "by_blocks",
    "chosen",
    "discrete_sites",
    "latent_sites",
    "one_chain",
    "one_site",
    "point_sites",
    "refuse_truncated",
    "shared_sites",
    "stats",
    "truncated_sites",
    "variable",
]


class NotAvailable(ValueError):
    """A figure that this tree cannot give, and why: a group that is missing, too few draws, no history."""


BLOCK = 64 * 2**20  # bytes of draws held at a time

LAYOUT = {
    "posterior": ("chain", "draw"),
    "posterior_predictive": ("chain", "draw", "obs_id"),
    "predictive_stats": ("chain", "draw", "obs_id"),
    "prior": ("chain", "draw"),
    "prior_predictive": ("chain", "draw"),
    "observed_data": ("obs_id",),
    "optimization": ("chain", "epoch"),
}
"""The dimensions that every variable of a group has, beside its own."""
ALIKE = ("posterior", "posterior_predictive", "predictive_stats", "observed_data")
"""Groups of the same chains, draws and data as ``sample_stats``; those of x̃ have its draws from the first on."""


def variable(tree: Any, group: str, name: str) -> xr.DataArray:
    """A variable of a group.

    Raises
    ------
    TypeError
        If this is no tree.
    NotAvailable
        If the group or the variable is not there, lacks a dimension or is empty, or holds other draws or data than the
        tree's other groups.
    """
    if not isinstance(tree, xr.DataTree):
        raise TypeError(
            f"expected an ArviZ tree (xarray.DataTree), as pv.posterior returns it, got {type(tree).__name__}"
        )
    if group not in tree.children:
        raise NotAvailable(
            f"the tree has no group {group!r} (it has {', '.join(tree.children) or 'none'}): make it with pv.posterior"
        )
    dataset = tree[group].dataset
    if name not in dataset:
        raise NotAvailable(
            f"the group {group!r} has no variable {name!r} (it has {', '.join(map(str, dataset)) or 'none'}): make the "
            "tree with pv.posterior"
        )
    _laid_out(f"{group}/{name}", dataset[name], LAYOUT.get(group, ()))
    if group in ALIKE:
        _alike(tree, group)
    return dataset[name]


def _laid_out(what: str, values: xr.DataArray, dims: Sequence[str]) -> None:
    """Refuse a variable that lacks a dimension, has one of no length, or holds no numbers."""
    if any(d not in values.dims for d in dims):
        raise NotAvailable(
            f"{what}: expected dimensions {', '.join(dims)}, got {tuple(map(str, values.dims))}: name them so, and "
            "keep those of length 1, as tree.isel(chain=[0]) does"
        )
    if empty := [d for d in ("chain", "draw", "obs_id", "epoch") if values.sizes.get(d) == 0]:
        raise NotAvailable(f"{what} is empty: its dimension {empty[0]} has length 0")
    if values.dtype.kind not in "biuf":
        raise NotAvailable(f"{what}: expected numbers, got values of type {values.dtype}")


def _alike(tree: xr.DataTree, group: str) -> None:
    """Refuse a group whose chains, draws or data are not those of ``sample_stats``, or else of ``posterior``.

    What belongs together is found by its position: a draw of x̃ would be taken for that of another z.
    """
    other = "sample_stats" if "sample_stats" in tree.children else "posterior"
    if other not in tree.children:
        return
    ours, theirs = tree[group].dataset, tree[other].dataset
    for dim in ("chain", "draw", "obs_id"):
        if dim not in ours.sizes or dim not in theirs.sizes:
            continue
        size = min(ours.sizes[dim], theirs.sizes[dim])
        some = dim == "draw" and group in ("posterior_predictive", "predictive_stats")
        differ = not some and ours.sizes[dim] != theirs.sizes[dim]
        if not differ and dim in ours.indexes and dim in theirs.indexes:
            differ = not ours.indexes[dim][:size].equals(theirs.indexes[dim][:size])
        if differ:
            what = {"chain": "chains", "draw": "draws", "obs_id": "data"}[dim]
            raise NotAvailable(
                f"the groups {group!r} and {other!r} hold other {what} ({ours.sizes[dim]} and {theirs.sizes[dim]} of "
                f"them): take the same ones of all groups, by their labels, as tree.sel({dim}=…) does"
            )


def stats(tree: Any, name: str) -> xr.DataArray:
    """A variable of ``sample_stats`` by (chain, draw, obs_id); of resampled draws, what the draws before them had.

    Raises
    ------
    NotAvailable
        If it is not there, is empty or has other dimensions; of the weights, if data share latents and so have none of
        their own, or if q is a point.
    """
    shared = shared_sites(tree)
    if name == "log_weight" and shared:
        names = ", ".join(map(repr, shared))
        latents = f"the latent {names} is" if len(shared) == 1 else f"the latents {names} are"
        raise NotAvailable(f"{latents} shared by all data, so log p(x_i) has no importance weights of its own")
    points = point_sites(tree) if name in ("log_weight", "log_q") else []
    if points:
        raise NotAvailable(
            f"q of the latent{'s' * (len(points) > 1)} {', '.join(map(repr, points))} is a point: it has no density, "
            "hence neither a bound nor weights. pv.refine(fit, data, tree=tree) finds a q of each datum that has one"
        )
    if name in ("log_weight", "log_q") and isinstance(tree, xr.DataTree) and tree.attrs.get("method") == "nuts":
        raise NotAvailable("these are draws of a Markov chain: they need no weights, and have none")
    original = isinstance(tree, xr.DataTree) and "importance" in tree.children and name in tree["importance"].dataset
    values = variable(tree, "importance" if original else "sample_stats", name)
    _laid_out(f"sample_stats/{name}", values, ("chain", "draw", "obs_id"))
    return values.transpose("chain", "draw", "obs_id")


def shared_sites(tree: Any) -> list[str]:
    """Names of the latents that all data share: those outside the data plate."""
    return _named(tree, "global_sites")


def point_sites(tree: Any) -> list[str]:
    """Names of the continuous latents of which q is a point, without a density."""
    return _named(tree, "point_sites")


def truncated_sites(tree: Any) -> list[str]:
    """Names of the latents of which q leaves out values by its make, as `guides.Truncated` does."""
    return _named(tree, "truncated_sites")


def discrete_sites(tree: Any) -> list[str]:
    """Names of the latents that the guide draws from a discrete support, numbers or not."""
    return _named(tree, "discrete_sites")


def refuse_truncated(tree: Any) -> None:
    """Weights are equal where q ∝ p(x, z) on a set K, whatever lies outside of it, where no draw is made.

    Raises
    ------
    NotAvailable
        Of such a tree.
    """
    if names := truncated_sites(tree):
        raise NotAvailable(
            f"q of {', '.join(map(repr, names))} is 0 outside of a set K of states, where no draw is made: the weights "
            "cannot tell how far the bound is below log p(x), which is -log p(K|x). See how it rises with more states="
        )


def latent_sites(tree: Any) -> list[str]:
    """Names of the latents of each datum that the guide draws.

    Raises
    ------
    NotAvailable
        If there are none.
    """
    if not isinstance(tree, xr.DataTree) or "posterior" not in tree.children:
        variable(tree, "posterior", "z")
    enumerated = _named(tree, "enumerated_sites")
    sites = [str(n) for n, v in tree["posterior"].dataset.items() if "obs_id" in v.dims and n not in enumerated]
    if not sites:
        raise NotAvailable(
            "the tree's posterior holds no latent with the dimension obs_id that the guide draws: those it has "
            f"({', '.join(map(str, tree['posterior'].dataset)) or 'none'}) are shared by all data or enumerated"
        )
    return sites


def _named(tree: Any, attribute: str) -> list[str]:
    if not isinstance(tree, xr.DataTree) or "sample_stats" not in tree.children:
        return []
    found = tree["sample_stats"].attrs.get(attribute, "[]")
    try:
        names = json.loads(found) if isinstance(found, str) else list(found)
    except (TypeError, json.JSONDecodeError):
        names = None
    if not isinstance(names, list):
        raise NotAvailable(f"sample_stats.attrs[{attribute!r}]: expected a JSON list of sites, got {found!r}")
    return [str(name) for name in names]


def one_site(tree: Any, site: str | None) -> str:
    """The site asked for, or the only one."""
    sites = latent_sites(tree)
    if site is None and len(sites) == 1:
        return sites[0]
    if site not in sites:
        raise ValueError(f"site: expected one of {sites}, got {site!r}")
    return site


def by_blocks(values: Sequence[xr.DataArray], reduce: Callable[..., Any]) -> Iterator[Any]:
    """``reduce`` of the same block of data of each array (chain, draw, block, …): lazily read trees stay on disk."""
    arrays = [v.transpose("chain", "draw", "obs_id", ...) for v in values]
    n = arrays[0].sizes["obs_id"]
    step = max(1, int(BLOCK / max(v.dtype.itemsize * max(1, v.size // n) for v in arrays)))
    for start in range(0, n, step):
        yield reduce(*(v.isel(obs_id=slice(start, start + step)).values for v in arrays))


def chosen(tree: xr.DataTree, values: xr.Dataset | xr.DataArray) -> int:
    """The position in ``values`` of the chain that the fit chose by its bound; the first one if it was cut away, and of
    Markov chains, which are all of that one. The history is that of the restarts, whatever the draws are of.

    Raises
    ------
    ValueError
        If there is no dimension ``chain``.
    """
    if "chain" not in values.dims:
        raise ValueError(f"expected the dimension chain, as pv.posterior makes it, got {tuple(map(str, values.dims))}")
    if tree.attrs.get("method") == "nuts" and "epoch" not in values.dims:
        return 0
    try:
        settings = json.loads(tree.attrs.get("settings", "null"))
    except (TypeError, json.JSONDecodeError):
        settings = None
    best = settings.get("best_chain") if isinstance(settings, dict) else None
    labels: list[Any] = values["chain"].values.tolist() if "chain" in values.coords else [*range(values.sizes["chain"])]
    return labels.index(best) if best in labels else 0


def one_chain(tree: xr.DataTree, chain: int | None) -> xr.DataTree:
    """The tree with one of its chains, or with all, and the history of the restart that the fit chose.

    Draws of that one alone, as of `pyrovae.refine` or of Markov chains, count their chains by themselves.
    """
    groups = {}
    for name, node in tree.children.items():
        group = node.to_dataset()
        which = chosen(tree, group) if "epoch" in group.dims and "chain" in group.dims else chain
        groups[f"/{name}"] = group if which is None or "chain" not in group.dims else group.isel(chain=[which])
    out = xr.DataTree.from_dict(groups)
    out.attrs = tree.attrs
    return out
