"""Whether the aggregate posterior, the mean over data of q(z|x), is the prior, and where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._density import grids, ranked
from pyrovae.diagnostics._samples import Samples, samples
from pyrovae.diagnostics._tree import NotAvailable, stats
from pyrovae.diagnostics._two_sample import STATISTICS, standardised, two_sample

__all__ = ["density_gap", "prior_match"]

MOST = 2000
"""Data, and draws of the prior, that are compared: time and memory grow with the square."""
POINTS = 200_000
"""Draws of the aggregate posterior in a density."""


def prior_match(
    tree: xr.DataTree, *, statistic: str = "energy", permutations: int = 999, corrected: bool = True, seed: int = 0
) -> xr.Dataset:
    """Test whether the aggregate posterior is the prior: one draw of each datum against draws of the prior.

    A prior that the data do not fill makes draws that decode to nothing the program has seen, and costs the ELBO
    nats that a prior fitted to the data would save (`surgery` says how many). A small p-value says that the two differ;
    how much is said by ``effect``, which does not grow with the number of data: if all dimensions are shifted by δ
    standard deviations, it is about δ²/4, and a δ of .2 makes .01.

    The draws are independent, so that the p-value is uniform where the two agree, for data that the program was not
    fitted to; on its training data it is too large. All dimensions of all sites stand side by side, each divided by
    its standard deviation in both samples together, which keeps the test exact. Where programs have a context, a
    datum's draw is exchanged with the prior's for its context only: exact too, but a misfit that is small beside the
    spread of the prior over contexts is harder to see.

    Parameters
    ----------
    tree
        Reads ``posterior``, ``prior`` and ``sample_stats/log_weight``.
    statistic
        "energy" distance, or "mmd" with a Gaussian kernel whose bandwidth is the median distance.
    permutations
        B: the smallest p-value is 1/(1 + B).
    corrected
        Take the draw of a datum by its smoothed importance weights where its k̂ is good, so that a guide too narrow or
        too wide is not taken for a poor prior. Needs 30 draws.
    seed
        Decides draws, subsamples (of 2,000 data at most) and permutations.

    Returns
    -------
    xarray.Dataset
        ``statistic``, ``effect`` in [0, 1] (the energy coefficient of inhomogeneity), ``p_value``, and ``corrected``,
        the share of the data whose draw stands for p(z|x), by (chain). A mismatch where this share is small may be the
        guide's. ``attrs``: ``statistic``, ``permutations``, ``data``, ``prior_draws``.

    Raises
    ------
    NotAvailable
        If a group is missing, latents are shared by all data, or there are fewer than two data or prior draws; of some
        of a tree's data, where they have a context.
    ValueError
        For an unknown statistic, no permutation, or draws that are not finite.

    References
    ----------
    Székely & Rizzo 2013, "Energy statistics: a class of statistics based on distances", section 8; Gretton, Borgwardt,
    Rasch, Schölkopf & Smola 2012, JMLR 13, 723-773; Makhzani et al. 2015, 1511.05644, for the aggregate posterior.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"statistic: expected one of {', '.join(STATISTICS)}, got {statistic!r}")
    permutations = at_least("permutations", permutations, 1)
    drawn = _enough(samples(tree, copies=1, most=MOST, corrected=corrected, seed=seed))
    found = []
    for chain, (own, prior) in enumerate(zip(drawn.aggregate[:, 0], drawn.prior, strict=True)):
        rng = np.random.default_rng(derive(seed, Stream.PERMUTATION, chain))
        x, y = standardised(own, prior)
        found.append(two_sample(x, y, statistic, permutations, rng, paired=drawn.paired))
    return xr.Dataset(
        {
            "statistic": ("chain", [f.statistic for f in found]),
            "effect": ("chain", [f.effect for f in found]),
            "p_value": ("chain", [f.p_value for f in found]),
            "corrected": ("chain", drawn.corrected),
        },
        coords=_chains(tree),
        attrs={
            "statistic": statistic,
            "permutations": permutations,
            "data": drawn.aggregate.shape[2],
            "prior_draws": drawn.prior.shape[1],
        },
    )


def density_gap(
    tree: xr.DataTree,
    *,
    pairs: int | Sequence[tuple[str, str]] = 3,
    bins: int = 40,
    corrected: bool = True,
    seed: int = 0,
) -> xr.Dataset:
    """Density of the aggregate posterior minus the prior's, in pairs of latent dimensions.

    Negative: a hole, where the prior draws and no data are encoded. Positive: data that the prior calls unlikely. Both
    densities are histograms smoothed by the same Gaussian kernel (Scott's rule), so that the smoothing alone makes no
    gap.

    Parameters
    ----------
    tree
        Reads ``posterior``, ``prior`` and ``sample_stats/log_weight``.
    pairs
        How many pairs, those that differ most in energy; or pairs of names, ``[("z[0]", "z[3]")]``.
    bins
        Cells along each axis of the grid, on the scale of the latents.
    corrected, seed
        As for `prior_match`; several draws of each datum are taken.

    Returns
    -------
    xarray.Dataset
        ``gap``, ``aggregate`` and ``prior`` (chain, pair, y, x), densities per unit of area on the latents' scale, and
        ``error``, one standard error of the gap, in which each datum counts once;
        ``effect`` (chain, pair) as in `prior_match`, of the pair alone; ``x_value``, ``y_value`` (chain, pair, bin)
        the middles of the cells; ``first`` and ``second`` (chain, pair), the names of the dimensions.

    Raises
    ------
    NotAvailable
        If there is but one latent dimension, and for what `prior_match` needs.
    ValueError
        For names that there are not, or fewer than 4 bins.

    References
    ----------
    Scott 1992, Multivariate Density Estimation, section 6.3; Rosca, Lakshminarayanan & Mohamed 2018, 1802.06847, for
    the holes.
    """
    bins = at_least("bins", bins, 4)
    n = stats(tree, "log_lik").sizes["obs_id"]
    drawn = _enough(samples(tree, copies=max(1, POINTS // n), most=POINTS, corrected=corrected, seed=seed))
    if len(drawn.names) < 2:
        raise NotAvailable("there is but one latent dimension: pairs need two")
    if isinstance(pairs, Sequence) and not isinstance(pairs, str):
        chosen: Any = [_numbers(drawn.names, p) for p in pairs]
    else:
        chosen = at_least("pairs", pairs, 1)
    rows = []
    for own, prior in zip(drawn.aggregate, drawn.prior, strict=True):
        order, effects = ranked(own[0], prior, chosen, seed)
        rows.append(
            {
                "effect": effects,
                "first": [drawn.names[i] for i, _ in order],
                "second": [drawn.names[j] for _, j in order],
                **grids(own, prior, order, bins),
            }
        )
    own_dims = {"x_value": ("x",), "y_value": ("y",), "effect": (), "first": (), "second": ()}
    return xr.Dataset(
        {
            name: (("chain", "pair", *own_dims.get(name, ("y", "x"))), np.array([row[name] for row in rows]))
            for name in rows[0]
        },
        coords=_chains(tree),
        attrs={"data": drawn.aggregate.shape[2], "prior_draws": drawn.prior.shape[1]},
    )


def _numbers(names: list[str], pair: tuple[str, str]) -> tuple[int, int]:
    two = isinstance(pair, Sequence) and len(pair) == 2 and pair[0] != pair[1]
    if not two or any(name not in names for name in pair):
        raise ValueError(f"pairs: expected a number, or pairs of two of {', '.join(names)}, got {pair!r}")
    return names.index(pair[0]), names.index(pair[1])


def _enough(drawn: Samples) -> Samples:
    n, draws = drawn.aggregate.shape[2], drawn.prior.shape[1]
    if min(n, draws) < 2:
        raise NotAvailable(f"two samples need at least two data and two draws of the prior, got {n} and {draws}")
    return drawn


def _chains(tree: xr.DataTree) -> dict[str, np.ndarray]:
    values = stats(tree, "log_lik")
    return {"chain": values["chain"].values if "chain" in values.coords else np.arange(values.sizes["chain"])}
