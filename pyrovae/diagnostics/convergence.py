"""Whether the optimiser has stopped moving, and whether it went on too long."""

from __future__ import annotations

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from pyrovae.diagnostics._tree import NotAvailable, variable

__all__ = ["convergence"]

FEWEST = 16


def convergence(tree: xr.DataTree) -> xr.Dataset:
    """How the ELBO moved over the last half of the path of the optimiser, and how far it fell from its best.

    The path is measured by the sum of the learning rates, not by epochs: a rate that falls to 0 stops every path, also
    one that is far from the optimum. It ends at the epoch whose weights are kept, which patience may put before the
    last. The ELBO is that of the validation data where there are any: on the training data it goes on rising as the
    program learns them by heart.

    Epochs in which a schedule still changed the objective are left out.

    R̂ compares windows of the same optimisation: it is about the optimiser's path, not about draws of the guide.

    Returns
    -------
    xarray.Dataset
        ``rhat`` (chain), split R̂ over the two last quarters of the path; ``rhat_chains``, over all chains' last
        quarters, with two or more chains; ``change`` (chain), the ELBO's mean in the last quarter minus that in the
        quarter before; ``remaining`` (chain), how much further it would rise in a path as long again if its gains went
        on falling from quarter to quarter as the last two did: an upper estimate where the rate was annealed, whose
        last gain is noise that was averaged out; ``after`` (chain), how many epochs came after those kept; and, with
        validation data, ``validation_loss`` (chain) = best − last validation bound, each smoothed over a twentieth of
        the epochs; nats per datum.

    Raises
    ------
    NotAvailable
        If there is no history of at least 16 epochs, or a critic that learned too decided what was raised.

    References
    ----------
    Dhaka, Catalina, Andersen, Magnusson, Huggins & Vehtari 2020, 2009.00666, section 4.
    """
    variable(tree, "optimization", "elbo")
    history = tree["optimization"].dataset
    if history.attrs.get("game"):
        raise NotAvailable(
            "a critic learned against the program, so that the objective need not rise: look at the figures of the "
            "epochs, such as distortion and critic, in fit.history"
        )
    held_out = "elbo_validation" in history
    elbo = variable(tree, "optimization", "elbo_validation" if held_out else "elbo").transpose("chain", "epoch")
    rates = history["learning_rate"].transpose("chain", "epoch").values if "learning_rate" in history else None
    kept, settled = history.get("kept_epoch"), int(history.attrs.get("settled", 0))
    found: dict[str, list[float]] = {"rhat": [], "change": [], "remaining": [], "after": []}
    paths, tails = [], []
    for i, values in enumerate(elbo.values):
        stop = len(values) if kept is None else int(kept[i]) + 1
        path = values[settled:stop]
        finite = np.isfinite(path)
        if finite.sum() < FEWEST:
            since = f", from the one on in which the schedules ended, {settled}" if settled else ""
            raise NotAvailable(
                f"convergence needs a history of at least {FEWEST} epochs{since}, got {finite.sum()}: fit with more "
                "epochs"
            )
        rate = np.ones(len(path)) if rates is None else np.nan_to_num(rates[i, settled:stop])
        quarters = _quarters(path[finite], rate[finite])
        means = [float(q.mean()) for q in quarters]
        found["rhat"].append(_rhat(_even(quarters[2:])))
        found["change"].append(means[3] - means[2])
        found["remaining"].append(_remaining(means[2] - means[1], means[3] - means[2]))
        found["after"].append(int(np.isfinite(values[stop:]).sum()))
        paths.append(path[finite])
        tails.append(quarters[3])
    out = xr.Dataset(
        {name: ("chain", column) for name, column in found.items()},
        coords={"chain": elbo["chain"]},
        attrs={"units": "nats per datum", "objective": history.attrs.get("objective", "ELBO")},
    )
    if len(tails) > 1:
        out["rhat_chains"] = _rhat(_even(tails))
    if held_out:
        out["validation_loss"] = ("chain", [_fall(path) for path in paths])
    return out


def _quarters(path: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
    """The path in four parts of equal sums of learning rates, each of two epochs at least."""
    total = np.cumsum(rate)
    if not total[-1] > 0:
        total = np.arange(1, len(path) + 1)
    cuts = np.searchsorted(total, total[-1] * np.array([0.25, 0.5, 0.75])) + 1
    n = len(path)
    for i, least in enumerate((2, 4, 6)):
        cuts[i] = min(max(cuts[i], least, cuts[i - 1] + 2 if i else 0), n - 2 * (3 - i))
    return np.split(path, cuts)


def _even(parts: list[np.ndarray]) -> np.ndarray:
    """Parts of different lengths as rows of one, the longer ones thinned evenly."""
    size = min(map(len, parts))
    return np.stack([p[np.linspace(0, len(p) - 1, size).round().astype(int)] for p in parts])


def _rhat(windows: np.ndarray) -> float:
    """Split R̂ of windows (window, value); 1 if the bound no longer moves at all."""
    if windows.shape[1] < 4:
        windows = np.repeat(windows, 2, axis=1)
    return 1.0 if np.ptp(windows) == 0 else float(array_stats.rhat(windows, method="split"))


def _remaining(before: float, last: float) -> float:
    """The sum of four more quarters' gains, each as much smaller than the one before as the last was; none rises."""
    ratio = min(1.0, last / before) if before > 0 else 1.0
    return max(0.0, last) * sum(ratio**k for k in range(1, 5))


def _fall(values: np.ndarray) -> float:
    width = max(1, len(values) // 20)
    smooth = np.convolve(values, np.ones(width) / width, "valid")
    return float(smooth.max() - smooth[-1])
