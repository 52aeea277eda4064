"""Two layers of latents: Burda, Grosse & Salakhutdinov 2015, "Importance Weighted Autoencoders", arXiv 1509.00519, and
Sønderby, Raiko, Maaløe, Sønderby & Winther 2016, "Ladder Variational Autoencoders", arXiv 1602.02282.

p(z2) p(z1|z2) p(x|z1): z2 ~ N(0, I), z1 | z2 ~ N(μ_p(z2), diag σ_p²(z2)). Inference is one of two.

"bottom_up" (Burda et al., section 5): q(z1|x) q(z2|z1), each from a network of what stands below it.
"ladder" (Sønderby et al., section 2): q(z2|x) q(z1|z2, x), in the model's order. A network of x gives μ̂(x) and σ̂²(x),
an approximate likelihood of z1, and the prior is corrected by it as Bayes' theorem corrects a Normal by a Normal:

    σ_q² = 1 / (σ̂⁻² + σ_p⁻²),  μ_q = σ_q² (μ̂ σ̂⁻² + μ_p σ_p⁻²).

By these equations z1 keeps to its prior where x says little. Given z2, KL(q(z1|z2, x) ‖ p(z1|z2)) has a closed form,
which bottom up it has not, as z2 is drawn from q(z2|z1): objectives take the draws there.

Their settings: Burda et al. layers of 100 and 50 latents with two tanh layers of 200 and of 100 units, and 1 to 50
importance weights (``pv.fit(…, loss=…)`` takes `pyrovae.objectives.ImportanceWeighted`). Sønderby et al. five layers of
64, 32, 16, 8 and 4 latents, batch normalisation and 200 epochs of warm-up, without which upper layers fall silent.

What differs: two layers for both, SiLU layers, no batch normalisation; warm-up on request; the likelihood suits the
data.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import pyrovae as pv

INFERENCES = ("bottom_up", "ladder")


class Hierarchy(nn.Module):
    """Sites z1, z2 and x in the plate ``data``.

    ``prior`` maps z2 to the raw numbers of p(z1|z2), ``first`` and ``second`` make those of inference, for "ladder" of
    the output of ``trunk``, else of x and of z1. Raw numbers are means, then what softplus makes scales.
    """

    shift: Tensor
    spread: Tensor

    def __init__(
        self, prior: nn.Module, likelihood: Any, first: nn.Module, second: nn.Module, trunk: nn.Module | None, top: int
    ) -> None:
        super().__init__()
        self.prior, self.likelihood, self.first, self.second, self.trunk = prior, likelihood, first, second, trunk
        self.top = top
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("spread", torch.tensor(1.0))

    def model(self, x: Tensor) -> None:
        """p(x, z1, z2)."""
        with pyro.plate("data", x.shape[0], dim=-1):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(self.top), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(*moments(self.prior(z2))).to_event(1))
            pyro.sample("x", self.likelihood(z1), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z1, z2|x)."""
        x = (x - self.shift) / self.spread
        with pyro.plate("data", x.shape[0], dim=-1):
            if self.trunk is None:
                z1 = pyro.sample("z1", dist.Normal(*moments(self.first(x))).to_event(1))
                pyro.sample("z2", dist.Normal(*moments(self.second(z1))).to_event(1))
            else:
                seen = self.trunk(x)
                z2 = pyro.sample("z2", dist.Normal(*moments(self.second(seen))).to_event(1))
                q = merge(moments(self.first(seen)), moments(self.prior(z2)))
                pyro.sample("z1", dist.Normal(*q).to_event(1))


def moments(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Means and positive scales."""
    loc, scale = raw.chunk(2, -1)
    return loc, softplus(scale) + 1e-4  # from 0, so that no precision is infinite


def merge(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and scale of the normalised product of two Normals."""
    precisions = one[1] ** -2, other[1] ** -2
    total = precisions[0] + precisions[1]
    return (one[0] * precisions[0] + other[0] * precisions[1]) / total, total**-0.5


def build(
    data: pv.Data,
    *,
    latents: tuple[int, int] = (16, 8),
    hidden: tuple[int, ...] = (128, 128),
    upper: tuple[int, ...] = (64,),
    inference: str = "ladder",
    warmup: int = 0,
    likelihood: str = "auto",
) -> pv.Program:
    """The program for data of one event dimension.

    ``latents`` of z1 and of z2; ``hidden`` layers between x and z1, ``upper`` ones between z1 and z2; ``inference``:
    "bottom_up" or "ladder"; epochs of ``warmup``, in which the weight of log p(z) − log q(z|x) rises from 0 to 1;
    ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    if inference not in INFERENCES:
        raise ValueError(f"inference: expected one of {', '.join(INFERENCES)}, got {inference!r}")
    if not isinstance(latents, (tuple, list)) or len(latents) != 2:
        raise ValueError(f"latents: expected two numbers, of z1 and of z2, such as (16, 8), got {latents!r}")
    features, (low, top), mlp = pv.data.features(data), latents, pv.networks.MLP
    ladder = inference == "ladder"
    width = hidden[-1] if hidden else features
    trunk = nn.Sequential(mlp(features, hidden[::-1][:-1], width), nn.SiLU()) if hidden else nn.Identity()
    found = Hierarchy(
        prior=mlp(top, upper, 2 * low),
        likelihood=pv.likelihoods.suited(data, mlp(low, hidden, features), likelihood),
        first=mlp(width, (), 2 * low) if ladder else mlp(features, hidden[::-1], 2 * low),
        second=mlp(width if ladder else low, upper, 2 * top),
        trunk=trunk if ladder else None,
        top=top,
    )
    cells = data.x.double()
    found.shift.fill_(cells.mean())
    found.spread.fill_(cells.std() if cells.std() > 0 else 1.0)
    loss = pv.objectives.Beta(pv.schedules.linear(0, 1, warmup)) if warmup else None
    return pv.Program(found.model, found.guide, loss=loss)
