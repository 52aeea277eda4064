"""Whether single latent dimensions stand for single known factors: MIG, SAP and DCI."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyrovae._rng import Stream, derive
from pyrovae.diagnostics._codes import posterior_means
from pyrovae.diagnostics._tree import NotAvailable, latent_sites, one_site, variable

__all__ = ["disentanglement"]

BINS = 20
"""Bins of equal frequency that means and continuous factors are cut into; a number with more kinds is continuous."""
TREES = 100
FOLDS = 5
FEWEST = 20
"""Data with known factors, below which nothing is said."""


def disentanglement(tree: xr.DataTree, factors: Any, *, site: str | None = None, seed: int = 0) -> xr.Dataset:
    """How far single dimensions of the posterior means stand for single factors that are known.

    To be read with care: without supervision no data tell a disentangled code from a rotated one, the scores disagree
    with each other, and they vary more by seed than by model (Locatello et al. 2019). They compare codes with factors
    that someone knows; a low score is no fault of the posterior.

    Parameters
    ----------
    tree
        Reads ``posterior``.
    factors
        Known factors of the data: a DataFrame, whose index must hold the tree's ``obs_id``; a DataArray (obs_id,
        factor); a Series or an array (n,) or (n, factors) in the data's order. Text, booleans, categories, and numbers
        with at most 20 kinds, all whole, are discrete; others are continuous. Data without a known value of all factors
        are left out.
    site
        The latent site; all of whose draws are numbers by default.
    seed
        Of the folds and the forests.

    Returns
    -------
    xarray.Dataset
        ``mig`` and ``sap`` (chain, factor), to be averaged over factors, 1 if one dimension alone knows the factor and
        0 if two know as much; ``completeness`` (chain, factor), 1 if one dimension suffices for it;
        ``disentanglement`` (chain), with two factors or more, 1 if each dimension serves one; ``informativeness``
        (chain, factor), how well all dimensions together predict it: out of bag, R², or balanced accuracy rescaled so
        that chance is 0 and perfection 1. Behind them ``mutual_information``, in units of the factor's entropy, and
        ``importance`` (chain, factor, latent). The coordinate ``kind`` says how a factor was taken.

        Of SAP too, accuracy is rescaled by chance, so that 1 can be reached whatever the number of classes; and of
        ``mutual_information``, what chance gives by counts in 20 bins is subtracted from it and from the entropy.

    Raises
    ------
    NotAvailable
        With a single latent dimension, of which there is no second best.
    ValueError
        If the factors do not fit the data, are known for fewer than 20 of them, are constant, or have a class of a
        single datum.

    References
    ----------
    Chen, Li, Grosse & Duvenaud 2018, 1802.04942, equation 6 (MIG); Kumar, Sattigeri & Balakrishnan 2017, 1711.00848,
    section 3 (SAP); Eastwood & Williams 2018, "A framework for the quantitative evaluation of disentangled
    representations" (DCI, here with random forests); Locatello et al. 2019, 1811.12359.
    """
    sites = latent_sites(tree) if site is None else [one_site(tree, site)]
    sites = [s for s in sites if variable(tree, "posterior", s).dtype.kind == "f"]
    if not sites:
        raise NotAvailable("the latents of a datum are categories, which have no mean")
    latents, means = posterior_means(tree, sites)
    if len(latents) < 2:
        raise NotAvailable("there is but one latent dimension: these scores compare the best with the second best")
    first = variable(tree, "posterior", sites[0])
    ids = first["obs_id"].values if "obs_id" in first.coords else np.arange(first.sizes["obs_id"])
    frame = _aligned(factors, ids)
    known = frame.notna().all(axis=1).to_numpy()
    if known.sum() < FEWEST:
        raise ValueError(f"factors: expected at least {FEWEST} data with all factors known, got {int(known.sum())}")
    values = [_taken(str(name), frame[name][known]) for name in frame]
    random = derive(seed, Stream.RESAMPLING) % 2**32
    parts = [_scores(codes[known], values, random) for codes in means]
    out = {name: (dims, np.array([part[name] for part in parts])) for name, dims in DIMS.items() if name in parts[0]}
    coords: dict[str, Any] = {"factor": [str(c) for c in frame], "latent": latents}
    coords["kind"] = ("factor", ["discrete" if discrete else "continuous" for _, discrete in values])
    if "chain" in first.coords:
        coords["chain"] = first["chain"].values
    return xr.Dataset(out, coords=coords, attrs={"data": int(known.sum()), "bins": BINS})


DIMS = {
    "mig": ("chain", "factor"),
    "sap": ("chain", "factor"),
    "disentanglement": ("chain",),
    "completeness": ("chain", "factor"),
    "informativeness": ("chain", "factor"),
    "mutual_information": ("chain", "factor", "latent"),
    "importance": ("chain", "factor", "latent"),
}


def _aligned(factors: Any, ids: np.ndarray) -> pd.DataFrame:
    """The factors (n, factor) in the order of the data."""
    if isinstance(factors, xr.DataArray):
        if "obs_id" not in factors.dims or factors.ndim > 2:
            raise ValueError(f"factors: expected the dimensions obs_id and factor, got {tuple(map(str, factors.dims))}")
        table = factors.transpose("obs_id", ...)
        frame = table.to_pandas()
        factors = frame if "obs_id" in table.coords else frame.to_numpy()
    if isinstance(factors, pd.Series):
        factors = factors.to_frame(factors.name or "factor")
    if isinstance(factors, pd.DataFrame):
        if factors.index.has_duplicates:
            raise ValueError("factors: expected an index without duplicates, which says whose factors they are")
        missing = [i for i in ids.tolist() if i not in factors.index]
        if missing:
            raise ValueError(
                f"factors: expected an index that holds the data's obs_id, {len(missing)} of {len(ids)} are missing "
                f"(the first: {missing[0]!r}): set the index, or give an array in the data's order"
            )
        frame = factors.loc[ids]
    else:
        array = np.asarray(factors)
        if array.ndim not in (1, 2) or len(array) != len(ids):
            raise ValueError(f"factors: expected {len(ids)} rows, one for each datum, got shape {array.shape}")
        array = array.reshape(len(ids), -1)
        frame = pd.DataFrame(array, columns=[f"factor_{k}" for k in range(array.shape[1])]).infer_objects()
    if not frame.shape[1]:
        raise ValueError("factors: expected at least one factor, got none")
    return frame


def _taken(name: str, column: pd.Series) -> tuple[np.ndarray, bool]:
    """Values of a factor, and whether it is discrete; the classes numbered from 0."""
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    codes, kinds = pd.factorize(column, sort=True)
    if len(kinds) < 2:
        raise ValueError(f"the factor {name!r} is constant: expected at least two values")
    if numeric:
        numbers = column.to_numpy(dtype=float)
        if not np.isfinite(numbers).all():
            raise ValueError(f"the factor {name!r} holds infinite values")
        if len(kinds) > BINS or (numbers != np.round(numbers)).any():
            return numbers, False
    counts = np.bincount(codes)
    if counts.min() < 2:
        raise ValueError(
            f"the factor {name!r} has the value '{kinds[int(counts.argmin())]}' once: a class needs two data or more"
        )
    return codes, True


def _scores(codes: np.ndarray, factors: list[tuple[np.ndarray, bool]], seed: int) -> dict[str, Any]:
    information = np.array([_information(codes, *factor) for factor in factors])
    single = np.array([[_alone(code, *factor, seed) for code in codes.T] for factor in factors])
    forests = [_forest(codes, *factor, seed) for factor in factors]
    importance = np.array([weights for weights, _ in forests])
    out = {
        "mig": _lead(information),
        "sap": _lead(single),
        "completeness": 1 - _entropy(importance) / math.log(codes.shape[1]),
        "informativeness": np.array([score for _, score in forests]),
        "mutual_information": information,
        "importance": importance,
    }
    if len(factors) > 1:
        each = 1 - _entropy(importance.T) / math.log(len(factors))
        out["disentanglement"] = (each * importance.sum(0)).sum() / max(importance.sum(), 1e-300)
    return out


def _lead(scores: np.ndarray) -> np.ndarray:
    """How far the best dimension is ahead of the second, (factor)."""
    ordered = np.sort(scores, axis=1)
    lead: np.ndarray = ordered[:, -1] - ordered[:, -2]
    return lead


def _information(codes: np.ndarray, factor: np.ndarray, discrete: bool) -> list[float]:
    """I(z_j; v)/H(v) of each dimension, by counts in bins; from both, what chance gives such counts is subtracted."""
    from sklearn.metrics import mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    v = factor if discrete else _binned(factor)
    entropy, out = mutual_info_score(v, v), []
    for code in codes.T:
        table = contingency_matrix(v, _binned(code), sparse=True)
        chance = expected_mutual_information(table, len(v))
        out.append((mutual_info_score(None, None, contingency=table) - chance) / max(entropy - chance, 1e-12))
    return out


def _binned(values: np.ndarray) -> np.ndarray:
    """Numbers of bins of equal frequency; equal values share one."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="left")


def _alone(code: np.ndarray, factor: np.ndarray, discrete: bool, seed: int) -> float:
    """How well one dimension predicts a factor: the squared correlation, or thresholds on it, cross-validated."""
    if not discrete:
        if np.ptp(code) <= 1e-12 * np.abs(code).max():
            return 0.0
        return float(np.corrcoef(code, factor)[0, 1] ** 2)
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    counts = np.bincount(factor)
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    thresholds = DecisionTreeClassifier(max_leaf_nodes=2 * len(counts), class_weight="balanced", random_state=seed)
    predicted = cross_val_predict(thresholds, code[:, None], factor, cv=folds)
    return max(0.0, float(balanced_accuracy_score(factor, predicted, adjusted=True)))


def _forest(codes: np.ndarray, factor: np.ndarray, discrete: bool, seed: int) -> tuple[np.ndarray, float]:
    """The share of each dimension in a random forest's prediction of a factor, and how good this is out of bag."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.metrics import balanced_accuracy_score, r2_score

    settings = {"n_estimators": TREES, "min_samples_leaf": 2, "max_features": None, "random_state": seed}
    if discrete:
        forest = RandomForestClassifier(class_weight="balanced", oob_score=True, **settings).fit(codes, factor)
        predicted = np.nan_to_num(forest.oob_decision_function_).argmax(1)
        score = float(balanced_accuracy_score(factor, predicted, adjusted=True))
    else:
        forest = RandomForestRegressor(oob_score=True, **settings).fit(codes, factor)
        score = float(r2_score(factor, forest.oob_prediction_))
    return forest.feature_importances_, score


def _entropy(weights: np.ndarray) -> np.ndarray:
    """Entropy of each row, scaled to add up to 1; that of equal ones where all are 0."""
    total = weights.sum(1, keepdims=True)
    p = np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / weights.shape[1])
    entropy: np.ndarray = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
    return entropy
