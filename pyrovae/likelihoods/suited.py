"""A likelihood that suits the data's kind of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pyrovae._part import Part
from pyrovae.data import Data
from pyrovae.likelihoods.bernoulli import Bernoulli
from pyrovae.likelihoods.binomial import Binomial
from pyrovae.likelihoods.normal import Normal

__all__ = ["suited"]

KINDS = ("auto", "bernoulli", "binomial", "normal")


def suited(data: Any, network: Callable[..., Tensor], kind: str = "auto") -> Part:
    """A `Bernoulli`, `Binomial` or `Normal` likelihood for these data, with one output of the network per cell.

    Parameters
    ----------
    data
        A `pyrovae.Data`: a Binomial takes its largest count as the total, a Normal starts its scale, one number that
        is learned, at the spread of all cells.
    network
        z (n, latents) → (n, *event).
    kind
        "bernoulli", "binomial" or "normal"; "auto" takes Bernoulli for zeros and ones or data binarised anew per
        batch, Binomial for other whole numbers from 0, else Normal.

    Raises
    ------
    TypeError
        If ``data`` are no `Data`.
    ValueError
        If the kind is unknown, no cell is observed, or a Binomial is asked for other values than whole numbers from 0.

    Examples
    --------
    >>> import pyrovae as pv
    >>> digits = pv.data.load("digits")
    >>> suited(digits, pv.networks.MLP(8, (32,), 64)).total
    16
    """
    if kind not in KINDS:
        raise ValueError(f"likelihood: expected one of {', '.join(KINDS)}, got {kind!r}")
    if not isinstance(data, Data):
        raise TypeError(
            f"suited: expected a pyrovae.Data, got {type(data).__name__}: make one, pyrovae.data.as_data(x)"
        )
    seen = data.x[~data.x.isnan()]
    if not seen.numel():
        raise ValueError(f"every value of {data.name} is missing (NaN): check the data")
    kind = _kind(data) if kind == "auto" else kind
    if kind == "bernoulli":
        return Bernoulli(network)
    if kind == "binomial":
        if not bool(((seen >= 0) & (seen == seen.round())).all() and seen.max() > 0):
            raise ValueError(
                f"likelihood='binomial': expected whole numbers from 0, got values from {float(seen.min()):g} to "
                f"{float(seen.max()):g}: choose 'normal', or check the data"
            )
        return Binomial(int(seen.max()), network)
    spread = float(seen.double().std()) if seen.numel() > 1 else 0.0
    return Normal(network, spread if spread > 0 else 1.0, learn_scale=True)


def _kind(data: Any) -> str:
    """What "auto" takes."""
    seen = data.x[~data.x.isnan()]
    if data.draw is not None or ((seen == 0) | (seen == 1)).all():
        return "bernoulli"
    return "binomial" if not data.x.is_floating_point() and seen.min() >= 0 else "normal"
