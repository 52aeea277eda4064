"""What the ranks of simulation-based calibration say: whether q is where it should be, and as wide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import norm

from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics._uniformity import SMALLEST, holm, p_uniform
from pyrovae.diagnostics.sbc import SCOPE

__all__ = ["LEVEL", "calibration", "coverage", "pits"]

LEVEL = 0.01
"""The chance that a calibrated guide is called anything else, in any dimension, by any of the tests."""

WHOLE = "log p"
"""The name of the quantity that is of all dimensions at once."""


def calibration(ranks: xr.Dataset, *, level: float = LEVEL) -> xr.Dataset:
    """Tests of the ranks, of each latent dimension and of log p(z0, x0), and what each amounts to.

    Three tests for each: that the PIT values are uniform, by their ECDF with simultaneous bands (exact); that their
    mean is ½, as VSBC asks whether the guide is biased; and that their variance is 1/12. Verdicts hold Holm's
    adjustment over all tests of all quantities to ``level``.

    Parameters
    ----------
    ranks
        From `sbc`.
    level
        The chance that anything is found in a calibrated guide.

    Returns
    -------
    xarray.Dataset
        By ``quantity``, ``z[0]``, ``z[1]`` … ``log p``:
        ``uniform_p``; ``bias`` = mean PIT − ½, above 0 where z0 is too often above the draws, so that q lies too low,
        with ``bias_z`` and ``bias_p``; ``dispersion`` = variance of the PIT · 12, above 1 where q is too narrow, below
        where it is too wide, with ``dispersion_z`` and ``dispersion_p``; ``adjusted_p``, the least of the three after
        Holm; and ``verdict``:

        - "calibrated": nothing found. Of few simulations it says little;
        - "biased", or "too narrow" or "too wide": where both mean and variance are off, that which is by more standard
          errors, as each moves the other;
        - "wrong shape": the ECDF alone is off.

        Of ``log p``, "too narrow" where log p(z0, x0) is too low among the draws', that is where q keeps to places that
        are too likely; "too wide or misplaced" where it is too high.

    Raises
    ------
    TypeError, ValueError
        If these are no ranks, or the level no probability.

    References
    ----------
    Säilynoja, Bürkner & Vehtari 2022, 2103.10522; Yao, Vehtari, Simpson & Gelman 2018, 1802.02538 (VSBC); Talts et
    al. 2018, 1804.06788, section 5; Holm 1979.
    """
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
        raise ValueError(f"level: expected a probability between 0 and 1, got {level!r}")
    values = pits(ranks)
    table = np.stack(list(values.values()))
    n = table.shape[1]
    bias, dispersion = table.mean(1) - 0.5, 12 * table.var(1, ddof=1)
    bias_z = bias * math.sqrt(12 * n)
    dispersion_z = (dispersion - 1) / math.sqrt((1.8 - (n - 3) / (n - 1)) / n)  # 1.8: the kurtosis of a uniform
    p = np.stack([[p_uniform(row) for row in table], _two_sided(bias_z), _two_sided(dispersion_z)])
    adjusted = holm(p)
    verdicts = [_verdict(name, adjusted[:, i] < level, bias_z[i], dispersion_z[i]) for i, name in enumerate(values)]
    columns = {
        "uniform_p": p[0],
        "bias": bias,
        "bias_z": bias_z,
        "bias_p": p[1],
        "dispersion": dispersion,
        "dispersion_z": dispersion_z,
        "dispersion_p": p[2],
        "adjusted_p": adjusted.min(0),
        "verdict": verdicts,
    }
    return xr.Dataset(
        {name: ("quantity", np.asarray(column)) for name, column in columns.items()},
        coords={"quantity": list(values)},
        attrs=dict(ranks.attrs) | {"level": level, "scope": SCOPE},
    )


def coverage(ranks: xr.Dataset, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95)) -> xr.Dataset:
    """How often q's central intervals hold the true latent, beside how often they should.

    A guide whose sd is c times that of a Gaussian posterior covers 2Φ(c Φ⁻¹((1 + α)/2)) − 1.

    Parameters
    ----------
    ranks
        From `sbc`.
    levels
        Probabilities α of the intervals.

    Returns
    -------
    xarray.Dataset
        By ``quantity``, a latent dimension each, and ``level``: ``coverage``, its binomial standard error under
        calibration ``se`` = √(α (1 − α)/simulations) (level), and ``z`` = (coverage − α)/se.

    Raises
    ------
    TypeError, ValueError
        If these are no ranks, or a level no probability.
    NotAvailable
        If no latent is a number, so that it has no intervals.
    """
    at = np.asarray(levels, dtype=float)
    if at.ndim != 1 or not at.size or not ((at > 0) & (at < 1)).all():
        raise ValueError(f"levels: expected probabilities between 0 and 1, such as (0.5, 0.9), got {levels!r}")
    values = {name: pit for name, pit in pits(ranks).items() if name != WHOLE}
    if not values:
        raise NotAvailable("the guide draws no latent of floating point: there are no intervals to cover it")
    table = np.stack(list(values.values()))
    inside = (np.abs(table - 0.5)[..., None] <= at / 2).mean(1)
    se = np.sqrt(at * (1 - at) / table.shape[1])
    return xr.Dataset(
        {
            "coverage": (("quantity", "level"), inside),
            "se": ("level", se),
            "z": (("quantity", "level"), (inside - at) / se),
        },
        coords={"quantity": list(values), "level": at},
        attrs=dict(ranks.attrs) | {"scope": SCOPE},
    )


def pits(ranks: Any) -> dict[str, np.ndarray]:
    """The PIT values (simulation,) of each quantity, by the names that `calibration` gives them."""
    if not isinstance(ranks, xr.Dataset):
        raise TypeError(f"expected the xarray.Dataset that pv.diagnostics.sbc returns, got {type(ranks).__name__}")
    found: dict[str, np.ndarray] = {}
    for name, values in ranks.data_vars.items():
        site = str(name).removeprefix("pit_")
        if site == str(name):
            continue
        if "simulation" not in values.dims:
            raise ValueError(f"{name}: expected the dimension simulation, got {tuple(map(str, values.dims))}")
        values = values.transpose("simulation", ...)
        labels = [values[d].values if d in values.coords else np.arange(values.sizes[d]) for d in values.dims[1:]]
        columns = values.values.reshape(values.shape[0], -1).T.astype(float)
        for at, column in zip(product(*labels), columns, strict=True):
            found[WHOLE if site == "log_p" else f"{site}[{', '.join(map(str, at))}]" if at else site] = column
    if not found:
        held = ", ".join(map(str, ranks.data_vars)) or "none"
        raise ValueError(f"expected the variables pit_… that pv.diagnostics.sbc makes, got {held}")
    if any(len(v) < 2 or not ((v >= 0) & (v <= 1)).all() for v in found.values()):
        raise ValueError("expected at least two simulations, whose PIT values are between 0 and 1")
    return found


def _two_sided(z: np.ndarray) -> np.ndarray:
    return np.maximum(2 * norm.sf(np.abs(z)), SMALLEST)


def _verdict(name: str, found: np.ndarray, bias_z: float, dispersion_z: float) -> str:
    _, biased, dispersed = found
    if not found.any():
        return "calibrated"
    if biased and not (dispersed and abs(dispersion_z) > abs(bias_z)):
        if name == WHOLE:
            return "too narrow" if bias_z < 0 else "too wide or misplaced"
        return "biased"
    if dispersed and name != WHOLE:
        return "too narrow" if dispersion_z > 0 else "too wide"
    return "wrong shape"
