"""Whether the optimiser has stopped moving, and whether it went on too long."""

from __future__ import annotations

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from pyrovae.diagnostics._tree import NotAvailable, variable

__all__ = ["convergence"]

FEWEST = 16


def convergence(tree: xr.DataTree) -> xr.Dataset:
    """Split R̂ of the ELBO over the last half of the epochs, and how far the validation bound fell from its best.

    The path ends at the epoch whose weights are kept, which patience may put before the last. The ELBO is that of
    the validation data where there are any: on the training data it goes on rising as the program learns them by heart.

    R̂ compares windows of the same optimisation: it is about the optimiser's path, not about draws of the guide.

    Returns
    -------
    xarray.Dataset
        ``rhat`` (chain); ``rhat_chains``, over all chains' last windows, with two or more chains;
        ``change`` (chain), the ELBO's mean in the last quarter of the epochs minus that in the quarter before; and,
        with validation data, ``validation_loss`` (chain) = best − last validation bound, each smoothed over a twentieth
        of the epochs; nats per datum.

    Raises
    ------
    NotAvailable
        If there is no history of at least 16 epochs.

    References
    ----------
    Dhaka, Catalina, Andersen, Magnusson, Huggins & Vehtari 2020, 2009.00666, section 4.
    """
    variable(tree, "optimization", "elbo")
    held_out = "elbo_validation" in tree["optimization"].dataset
    elbo = variable(tree, "optimization", "elbo_validation" if held_out else "elbo").transpose("chain", "epoch")
    rhat, change, tails = [], [], []
    kept = tree["optimization"].dataset.get("kept_epoch")
    paths = [c if kept is None else c[: int(kept[i]) + 1] for i, c in enumerate(elbo.values)]
    paths = [path[np.isfinite(path)] for path in paths]
    for chain in paths:
        if len(chain) < FEWEST:
            raise NotAvailable(f"convergence needs a history of at least {FEWEST} epochs, got {len(chain)}")
        quarter = len(chain) // 4
        tail = chain[-2 * quarter :].reshape(2, quarter)
        rhat.append(_rhat(tail))
        change.append(tail[1].mean() - tail[0].mean())
        tails.append(tail[1])
    out = xr.Dataset(
        {"rhat": ("chain", rhat), "change": ("chain", change)},
        coords={"chain": elbo["chain"]},
        attrs={"units": "nats per datum"},
    )
    if len(tails) > 1:
        size = min(map(len, tails))
        out["rhat_chains"] = _rhat(np.stack([t[-size:] for t in tails]))
    if held_out:
        out["validation_loss"] = ("chain", [_fall(path) for path in paths])
    return out


def _rhat(windows: np.ndarray) -> float:
    """Split R̂ of windows (window, value); 1 if the bound no longer moves at all."""
    return 1.0 if np.ptp(windows) == 0 else float(array_stats.rhat(windows, method="split"))


def _fall(values: np.ndarray) -> float:
    width = max(1, len(values) // 20)
    smooth = np.convolve(values, np.ones(width) / width, "valid")
    return float(smooth.max() - smooth[-1])
