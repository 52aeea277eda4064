"""The VAE that learns its noise: Rybkin, Daniilidis & Levine 2020, "Simple and Effective VAE Training with Calibrated
Decoders" (the σ-VAE), arXiv 2006.13202.

p(x|z) = N(μ(z), σ²), and the squared error weighs 1/(2σ²) in log p(x|z): so σ takes the place of a β chosen by hand.
σ is one number for all cells (the σ-VAE, whose best value at given means has the closed form of a maximum-likelihood
estimate), one for each feature, or a second network of z (Kingma & Welling 2013, 1312.6114, the equations of appendix
C.2; Detlefsen, Jørgensen & Hauberg 2019, 1906.03260, on how unreliable the last one is where there are few data).

A density has no upper bound: a cell that is the same in all data, the corner of a digit, is described ever better as
its σ goes to 0, log p runs to infinity and drowns all else. Its noise cannot be below what the record resolves, so
σ² = learned² + floor², the floor a share of the data's standard deviation. Figures of different floors, or of
different units of the data, are not to be compared.

Their settings: log σ softly kept above −6 for data in [0, 1], which is a floor of .0025; convolutions for images.

What differs: the floor is .01 standard deviations; fully connected SiLU layers; the learned part starts at the data's
standard deviation, each feature's own where each has a scale, a network's near .7 of it.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

import pyrovae as pv

NOISES = ("one", "per_feature", "network")


class Floored(pv.likelihoods.Normal):
    """A Normal with σ² = (unit · scale)² + floor², where scale is what `pyrovae.likelihoods.Normal` makes of it."""

    unit: Tensor

    def __init__(self, network: Any, scale: Any, *, unit: float, floor: float) -> None:
        super().__init__(network, scale, learn_scale=not callable(scale))
        self.register_buffer("unit", torch.tensor(unit))
        self.floor = floor

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        p: Any = super().forward(z, context)
        sigma = ((self.unit * p.base_dist.scale) ** 2 + self.floor**2).sqrt()
        return dist.Normal(p.base_dist.loc, sigma).to_event(p.event_dim)


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    noise: str = "one",
    floor: float = 0.01,
) -> pv.VAE:
    """The program for data of one event dimension, counts included: they are taken as reals.

    ``noise``: "one" number, "per_feature", or "network" of z; ``floor`` in standard deviations of all cells.
    """
    if noise not in NOISES:
        raise ValueError(f"noise: expected one of {', '.join(NOISES)}, got {noise!r}")
    if not 0 < floor < float("inf"):
        raise ValueError(f"floor: expected a positive number, got {floor!r}: without one the likelihood has no maximum")
    features = pv.data.features(data)
    cells = data.x.double()
    unit = float(cells.std())
    if not 0 < unit < float("inf"):
        raise ValueError("models/learned_noise.py: expected data that vary, without missing values: check the data")
    scales = {
        "one": lambda: 1.0,
        "per_feature": lambda: (cells.std(0) / unit).clamp_min(floor).float(),
        "network": lambda: pv.networks.MLP(latents, hidden, features),
    }
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=Floored(pv.networks.MLP(latents, hidden, features), scales[noise](), unit=unit, floor=floor * unit),
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], pv.guides.Normal.outputs(latents))),
    )
