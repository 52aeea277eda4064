"""Posterior predictive checks: whether the likelihood, given the latents, describes the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._discrepancies import Discrepancy, discrepancies
from pyrovae.diagnostics._exchange import exchange_test, flip_tests
from pyrovae.diagnostics._observed import observed_name
from pyrovae.diagnostics._pairs import FEWEST_DATA, Pairs, pairs
from pyrovae.diagnostics._tree import variable
from pyrovae.diagnostics._uniformity import holm

__all__ = ["LEVEL", "MATERIAL", "predictive_check"]

LEVEL = 0.01
"""The chance that anything is found where the model is right."""
MATERIAL = 0.15
"""Effects below it, in standard deviations of a datum, are left alone, however many data show them."""

SETS = 20
"""Replicated sets that statistics of many features are averaged over."""
CELLS = 2**24
"""Values of x, beyond which the check is of some of the data, taken by the seed."""


def predictive_check(
    tree: xr.DataTree,
    *,
    statistics: Mapping[str, Callable[[np.ndarray], float]] | None = None,
    var_name: str | None = None,
    permutations: int = 9999,
    seed: int = 0,
) -> xr.Dataset:
    """Whether the likelihood, given the latents, describes the data: exact tests of data against replicates of them.

    If the model is right and z_i a draw of p(z|x_i), then x_i and a replicate x̃_i ~ p(x|z_i) are exchangeable given
    z_i. So one draw of z_i is taken for each datum, by smoothed importance weights, and the difference
    T(x, z) − T(x̃, z) of any statistic of the set is compared with what it is after each pair changes places, or not,
    at random: an exact test in finite samples. Everything is of the chain that the fit chose.

    Parameters
    ----------
    tree
        Of held-out data. Reads ``observed_data`` and ``posterior_predictive``, and, where there are such,
        ``posterior``, ``sample_stats`` and ``predictive_stats``. Of data that the parameters were fitted to the checks
        are lenient: the fit has made the two alike.
    statistics
        More of them: {name: T}, each T(x) → number of the data (n, …), an array with NaN in missing cells. The cells
        of x̃ are missing where those of x are. Each is computed some 2,000 times.
    var_name
        Which observed variable; the first by default. log p(x|z) is of all of them.
    permutations
        At most so many exchanges; fewer, at least 999, of very large sets. No adjusted p-value can be below the number
        of statistics over this.
    seed
        Decides which draws are taken and the exchanges.

    Returns
    -------
    xarray.Dataset
        By ``statistic``:

        - ``observed`` and ``replicated``: T(x, z) and T(x̃, z), averaged over the replicated sets; ``replicated_sd``,
          of these. T is: the mean over data of log p(x|z), its standard deviation, the share above the pooled median
          (of most power against heavy tails, which flips of a few outliers do not show), and the mean shortfall below
          the pooled 5 % point, nats; average and standard deviation over data of the statistics of `plot_ppc`; means of
          features, where they are more than four; the noise of features, and along directions: the standard deviation
          of what z does not say of x, in units of what the replicates lead one to expect, for each feature and along
          the principal directions of x − x̃; these see noise of the wrong size and dependence that the latents miss.
        - ``p_posterior`` = P(T(x̃, z) ≥ T(x, z)) over the draws, ties by half: the posterior predictive p-value, which
          is known to be conservative.
        - ``p_value``: of the exact test, two-sided. ``p_adjusted``: after Holm, over all statistics.
        - ``effect``: the difference of the averages in standard deviations of a datum, as two replicates of it differ:
          it does not grow with the number of data. Above 0 where the data have more.
        - ``where``: the feature, or direction, that it is of; "" of the others.
        - ``found``: ``p_adjusted`` below .01, and an effect of at least .15 either way.

        ``attrs``: ``p``, the least adjusted p-value; ``worst``, its statistic; ``found``, how many; ``corrected``, the
        share of the data whose k̂ is good, so that their draws stand for p(z|x) (NaN: not known); ``data``, how many,
        of very large sets a part; ``left_out``, what could not be had, and why.

    Raises
    ------
    NotAvailable
        If a group is missing, or replicates are infinite.
    TypeError, ValueError
        If a statistic is no function, or gives no number.

    Notes
    -----
    Where ``corrected`` is below about .75, a finding may be the guide's: with draws of z that are too wide or misplaced
    data are less likely than replicates, with draws that are too narrow more. Draws of a better guide, or
    ``pv.posterior(…, method="nuts")`` of some data, tell.

    Parameters fitted to N other data are a little wrong, which many data show. Seen of pPCA at maximum likelihood,
    N = 500: n = 300 data are found to differ in 1 % of the sets, n = 3,000 in none, though p is below .01 in 30 % of
    them: it is the threshold of the effect that leaves small errors alone.

    References
    ----------
    Johnson 2004, Bayesian Analysis 2(4), and Gelman, Meng & Stern 1996, Statistica Sinica 6 (discrepancies, and one
    draw of the posterior); Besag & Clifford 1989, Biometrika 76 (exchangeable Monte Carlo tests); Westfall & Young
    1993 (the largest of several).

    Examples
    --------
    Of an exact guide, with noise of the right size and twice too small.

    >>> import torch, pyrovae as pv, pyro.distributions as dist
    >>> def vae(noise):
    ...     spread = (1 + 2 / noise**2) ** -0.5
    ...     return pv.VAE(
    ...         pv.priors.Normal(1),
    ...         lambda z: dist.Normal(z.expand(-1, 2), noise).to_event(1),
    ...         lambda x: dist.Normal((spread / noise) ** 2 * x.sum(-1, keepdim=True), spread).to_event(1),
    ...     )
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(200, 1, generator=generator) + 0.5 * torch.randn(200, 2, generator=generator)
    >>> for noise in (0.5, 0.25):
    ...     checked = pv.diagnostics.predictive_check(pv.posterior(vae(noise), x, draws=50))
    ...     print(checked.attrs["found"] > 0, float(checked["effect"].values[0]) > -0.2)
    False True
    True False
    """
    more = _functions(statistics)
    permutations = at_least("permutations", permutations, 99)
    rng = np.random.default_rng(derive(seed, Stream.PERMUTATION))
    tree = _some(tree, var_name, rng)
    made = pairs(tree, var_name, seed)
    found = discrepancies(tree, made, rng)
    if taken := sorted({d.name for d in found} & set(more)):
        raise ValueError(f"statistics: expected names other than those there are, got {taken}")
    differences = [np.subtract(*d.values(0)) for d in found]
    tests = flip_tests(differences, permutations, rng)
    rows = [_row(d, made, diff, *test) for d, diff, test in zip(found, differences, tests, strict=True)]
    rows += [_user_row(name, f, made, permutations, rng) for name, f in more.items()]
    table = xr.Dataset(
        {name: ("statistic", np.array([row[name] for row in rows])) for name in rows[0]},
        coords={"statistic": [d.name for d in found] + list(more)},
    )
    adjusted = holm(table["p_value"].values)
    table["p_adjusted"] = ("statistic", adjusted)
    table["found"] = (table["p_adjusted"] < LEVEL) & (np.abs(table["effect"]) >= MATERIAL)
    worst = min(range(len(rows)), key=lambda i: (adjusted[i], -abs(rows[i]["effect"])))
    return table.assign_attrs(
        p=float(adjusted.min()),
        worst=str(table["statistic"].values[worst]),
        found=int(table["found"].sum()),
        corrected=made.corrected,
        data=len(made.x),
        draws=len(made.pick),
        left_out=""
        if made.log_lik is not None and made.made_log_lik is not None
        else "log p(x|z): the tree does not hold it of the replicates, as of programs that sum a latent out",
    )


def _some(tree: xr.DataTree, var_name: str | None, rng: np.random.Generator) -> xr.DataTree:
    """The tree, or as many of its data as memory takes."""
    values = variable(tree, "observed_data", observed_name(tree, "observed_data", var_name))
    n = values.sizes["obs_id"]
    most = max(FEWEST_DATA, CELLS * n // max(1, values.size))
    return tree if n <= most else tree.isel(obs_id=np.sort(rng.choice(n, most, replace=False)))


def _functions(statistics: Any) -> dict[str, Callable[[np.ndarray], float]]:
    if statistics is None:
        return {}
    if not isinstance(statistics, Mapping) or not all(callable(f) for f in statistics.values()):
        raise TypeError(
            f"statistics: expected {{name: function of the data (n, …)}}, got {type(statistics).__name__} "
            f"{statistics!r}"
        )

    def checked(name: str, f: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
        def value(x: np.ndarray) -> float:
            out = np.asarray(f(x), float)
            if out.size != 1 or not np.isfinite(out).all():
                raise ValueError(
                    f"statistics: expected one finite number of {name!r}, got {out!r}: missing cells are NaN, and "
                    "np.nanmean, np.nanstd, … leave them out"
                )
            return float(out.item())

        return value

    return {str(name): checked(str(name), f) for name, f in statistics.items()}


def _row(found: Discrepancy, made: Pairs, difference: np.ndarray, p: float, column: int) -> dict[str, Any]:
    most = len(made.pick) if len(found.columns) == 1 else SETS
    sets = np.array([[v[:, column].mean() for v in found.values(r)] for r in range(len(made.pick))[:most]])
    own = difference[:, column]
    between = found.values(0)[1][:, column] - found.values(1)[1][:, column] if len(made.pick) > 1 else own
    spread = (between if between.any() else own).std(ddof=1) / np.sqrt(2)
    effect = (sets[:, 0] - sets[:, 1]).mean() / spread if spread > 0 else 0.0
    return _figures(sets, found.show, p, effect, found.columns[column])


def _user_row(
    name: str, statistic: Callable[[np.ndarray], float], made: Pairs, permutations: int, rng: np.random.Generator
) -> dict[str, Any]:
    """For averages of a function of the datum, the effect is as two exchangeable ones would differ, as in `_row`."""
    p, exchanged = exchange_test(statistic, made.x, made.replicate(0), permutations, rng)
    own = statistic(made.x)
    sets = np.array([[own, statistic(made.replicate(r))] for r in range(len(made.pick))])
    share = (sets[:, 0] - sets[:, 1]).mean() / (np.sqrt(len(made.x)) * exchanged) if exchanged > 0 else 0.0
    share = np.clip(share, -0.99, 0.99)
    return _figures(sets, float, p, np.sqrt(2) * share / np.sqrt(1 - share**2), "")


def _figures(sets: np.ndarray, show: Callable[[float], float], p: float, effect: float, where: str) -> dict[str, Any]:
    own, replicated = sets.T
    return {
        "observed": show(own.mean()),
        "replicated": show(replicated.mean()),
        "replicated_sd": np.std([show(v) for v in replicated]),
        "p_posterior": (replicated > own).mean() + 0.5 * (replicated == own).mean(),
        "p_value": p,
        "effect": effect,
        "where": where,
    }
