"""Comparison of models by the log evidence of the same held-out data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.utils import ELPDDataLOO

from pyrovae.diagnostics._observed import refuse_other_data
from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics.evidence import elpd

__all__ = ["compare"]


def compare(trees: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    """Rank models by Σ_i log p̂(x_i) over the same data, which no model may have been fitted to.

    Parameters
    ----------
    trees
        Two or more, by name, from `pyrovae.posterior` on the same held-out data. Of several restarts the one that the
        fit chose is taken. Data in another order are put in the first tree's.

    Returns
    -------
    pandas.DataFrame
        A row for each model, best first, in nats of the whole set: ``elpd``, the expected log predictive density, and
        its standard error ``se`` over data; ``elpd_diff``, elpd less that of the best, and the standard error ``dse``
        of that, from the differences by datum, √n times their standard deviation; ``weight``, by stacking;
        ``bad_k``, the share of data with k̂ > `good_k`. Of these log p̂(x_i) may be far too low: where ``bad_k`` differs
        between models, a difference may say which guide is better and nothing of the models.

    Raises
    ------
    TypeError, ValueError
        If these are not two or more trees by name, or not of the same data: what differs is said.
    NotAvailable
        If a tree has no log p̂(x_i): it holds draws of Markov chains, or latents that all data share, or too few draws;
        or log p̂(x_i) is infinite for some data.

    References
    ----------
    Vehtari, Gelman & Gabry 2017, 1507.04544, equation 24 (paired standard error); Yao, Vehtari, Simpson & Gelman 2018,
    1704.02030 (stacking), by ``arviz.compare``.

    Examples
    --------
    >>> import torch, pyrovae as pv
    >>> vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
    ...              pv.guides.Normal(pv.networks.MLP(3, (), 4)))
    >>> x = torch.randn(20, 3)
    >>> table = compare({"a": pv.posterior(vae, x, draws=50), "b": pv.posterior(vae, x, draws=50, seed=1)})
    >>> table.columns.tolist()
    ['rank', 'elpd', 'se', 'elpd_diff', 'dse', 'weight', 'bad_k']
    """
    if isinstance(trees, xr.DataTree) or not isinstance(trees, Mapping):
        raise TypeError(f"expected trees by name, such as {{'a': tree, 'b': other}}, got {type(trees).__name__}")
    if len(trees) < 2:
        raise ValueError(f"expected two trees or more to compare, got {len(trees)}")
    scores = {str(name): _score(str(name), tree) for name, tree in trees.items()}
    if len(scores) < len(trees):
        raise ValueError(f"expected a name of its own for each tree, got {list(trees)}")
    (first, reference), *others = ((str(name), tree) for name, tree in trees.items())
    order = {first: np.arange(scores[first].n_data_points)}
    for name, tree in others:
        order[name] = _order(first, scores[first], name, scores[name])
        refuse_other_data(first, reference, name, tree, order[name])
    values = {name: score.elpd_i.values[order[name]] for name, score in scores.items()}
    best = max(scores, key=lambda name: scores[name].elpd)
    weight = _stacking(scores, values)
    rows: dict[str, dict[str, Any]] = {}
    for name in sorted(scores, key=lambda name: -scores[name].elpd):
        score, difference = scores[name], values[name] - values[best]
        n = score.n_data_points
        rows[name] = {
            "rank": len(rows),
            "elpd": score.elpd,
            "se": score.se,
            "elpd_diff": float(difference.sum()),
            "dse": math.sqrt(n) * float(difference.std(ddof=1)),
            "weight": weight[name],
            "bad_k": float((score.pareto_k > score.good_k).mean()),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _score(name: str, tree: xr.DataTree) -> ELPDDataLOO:
    try:
        score = elpd(tree)
    except NotAvailable as error:
        raise NotAvailable(f"model {name!r}: {error}") from error
    except TypeError as error:
        raise TypeError(f"model {name!r}: {error}") from error
    if score.n_data_points < 2:
        raise NotAvailable("a comparison needs at least two data to have an error")
    return score


def _labels(score: ELPDDataLOO) -> np.ndarray:
    values = score.elpd_i
    return values["obs_id"].values if "obs_id" in values.coords else np.arange(values.sizes["obs_id"])


def _order(first: str, reference: ELPDDataLOO, name: str, score: ELPDDataLOO) -> np.ndarray:
    """Where the data of the first tree stand in the other."""
    ours, theirs = pd.Index(_labels(reference)), pd.Index(_labels(score))
    if len(ours) != len(theirs):
        raise ValueError(f"{first!r} has {len(ours)} data and {name!r} {len(theirs)}: compare models on the same data")
    if ours.equals(theirs):
        return np.arange(len(ours))
    surplus = ours.difference(theirs)
    if len(surplus):
        raise ValueError(
            f"{name!r} lacks {len(surplus)} of the {len(ours)} data of {first!r}, such as obs_id {surplus[0]}: "
            "compare models on the same data"
        )
    if not (ours.is_unique and theirs.is_unique):
        raise ValueError(
            f"{first!r} and {name!r} have their data in another order, and obs_id that repeat: which is which is not "
            "known"
        )
    return np.asarray(theirs.get_indexer(ours))


def _stacking(scores: dict[str, ELPDDataLOO], values: dict[str, np.ndarray]) -> dict[str, Any]:
    """ArviZ's weights. It takes exp(elpd_i), which would be 0: the best model's is subtracted, which changes none."""
    top = np.max(list(values.values()), axis=0)
    shifted = {}
    for name, score in scores.items():
        elpd_i = score.elpd_i.copy(data=values[name] - top)
        shifted[name] = replace(score, elpd=float(elpd_i.sum()), elpd_i=elpd_i)
    table = arviz_stats.compare(shifted, round_to="none")
    return {name: float(table.loc[name, "weight"]) for name in scores}
