"""The two-stage VAE: Dai & Wipf 2019, "Diagnosing and Enhancing VAE Models", arXiv 1903.05789.

A VAE with Gaussian noise of learned scale γ, x | z ~ N(D(z), γ² I), finds the manifold of the data, but its codes are
not distributed as N(0, I) there, and z ~ N(0, I) decodes badly. A second VAE of the same number of latents has draws
of the first one's q(z|x) for data: u ~ N(0, I), z | u ~ N(D'(u), γ'² I), q'(u|z). Samples go u → z → x (section 4).

Here both are one program, p(u) p(z|u) p(x|z) with q(z|x) q'(u|z). Its ELBO is the figure reported, a lower bound on
log p(x) of what is sampled: that of the first stage (equation 1), with the second's on log p(z) in the place of the
log density of N(0, I). It is not what is climbed. Each stage climbs its own ELBO, under which neither moves the other:

    first:  log p(x|z) + log N(z; 0, I) − log q(z|x)
    second: log p(u) + log p(z̄|u) − log q'(u|z̄), z̄ = z without gradient.

Their settings: 64 latents, the second stage three layers of 1,024 units, Adam with a step of 1e-4 that is halved,
hundreds of epochs for the first stage, then as many and more for the second on the finished codes.

What differs: by default both are trained at once, so that the second follows codes that still move, fewer of its steps
are on the final ones, and one rate serves both, which falls to 0 together. ``switch`` epochs of the first alone,
followed by the second alone, is their order; the first then rests but for what momentum is left in Adam's first steps.
Fully connected SiLU layers; those of the second stage add to their input, and γ' starts at .3: else u falls silent.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

import pyrovae as pv


class TwoStage(nn.Module):
    """Sites z, u and x in the plate ``data``: p(x|z) and q(z|x) of the first stage, p(z|u) and q(u|z) of the second."""

    def __init__(
        self, decoder: nn.Module, encoder: nn.Module, decoder2: nn.Module, encoder2: nn.Module, latents: int
    ) -> None:
        super().__init__()
        self.decoder, self.encoder, self.decoder2, self.encoder2 = decoder, encoder, decoder2, encoder2
        self.latents = latents

    def model(self, x: Tensor) -> None:
        """p(u) p(z|u) p(x|z)."""
        with pyro.plate("data", x.shape[0], dim=-1):
            u = pyro.sample("u", dist.Normal(x.new_zeros(self.latents), 1.0).to_event(1))
            z = pyro.sample("z", self.decoder2(u))
            pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z|x) q(u|z), the second without a gradient to the first while it trains."""
        with pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("z", self.encoder(x))
            pyro.sample("u", self.encoder2(z.detach() if self.training else z))


class Shortcut(nn.Module):
    """A network's output with its input added to the first numbers: u starts as z and has something to say."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension."""
        out: Tensor = self.network(x)
        return out + nn.functional.pad(x, (0, out.shape[-1] - x.shape[-1]))


@dataclass(frozen=True)
class Switch:
    """1 − end in so many epochs, then end; a schedule that warns if training stops before."""

    after: int
    end: float

    @property
    def epochs(self) -> int:
        """How many it needs to get there."""
        return self.after + 1

    def __call__(self, epoch: int) -> float:
        """The value in this epoch."""
        return self.end if epoch >= self.after else 1 - self.end


class Stages(pv.objectives.Objective):
    """The ELBO of the whole, with the gradients of the two ELBOs of its stages, from ``switch`` on of the second."""

    def __init__(self, switch: int = 0) -> None:
        super().__init__()
        self.first_weight, self.second_weight = (
            pv.schedules.Scheduled(f"two_stage: weight of the {name} stage", Switch(switch, end) if switch else 1.0)
            for name, end in (("first", 0.0), ("second", 1.0))
        )

    @property
    def label(self) -> str:
        """What is reported."""
        return "ELBO"

    def stages(self, terms: object) -> tuple[Tensor, Tensor]:
        """The ELBO of each stage by datum, (n,)."""
        guide, model = terms.pairs[0]  # type: ignore[attr-defined]
        q, p = guide.nodes, model.nodes
        z = q["z"]["value"]
        standard = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
        first = terms.log_lik[0] + standard - q["z"]["unscaled_log_prob"]  # type: ignore[attr-defined]
        given = p["z"]["fn"].log_prob(z.detach())
        return first, p["u"]["unscaled_log_prob"] + given - q["u"]["unscaled_log_prob"]

    def value(self, terms: object) -> Tensor:
        """Σ log p(x, z, u) − log q(z, u|x)."""
        first, second = (stage.sum() for stage in self.stages(terms))
        self.note(len(terms), first_elbo=first, second_elbo=second)  # type: ignore[arg-type]
        climbed = self.first_weight.value * first + self.second_weight.value * second
        bound: Tensor = terms.log_weight.sum().detach()  # type: ignore[attr-defined]
        return bound + climbed - climbed.detach()


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    upper: tuple[int, ...] = (128, 128),
    switch: int = 0,
) -> pv.Program:
    """The program for data of one event dimension, counts included: they are taken as reals.

    ``upper`` layers of the second stage; ``switch``: how many epochs the first stage is trained alone, after which only
    the second is; 0 trains both throughout.
    """
    if not isinstance(switch, int) or switch < 0:
        raise ValueError(f"switch: expected a whole number of at least 0, got {switch!r}")
    features, mlp, normal = pv.data.features(data), pv.networks.MLP, pv.guides.Normal
    encoder = normal(mlp(features, hidden[::-1], normal.outputs(latents)))
    encoder.adapt(data.x)
    parts = TwoStage(
        decoder=pv.likelihoods.suited(data, mlp(latents, hidden, features), "normal"),
        encoder=encoder,
        decoder2=pv.likelihoods.Normal(Shortcut(mlp(latents, upper, latents)), 0.3, learn_scale=True),
        encoder2=normal(Shortcut(mlp(latents, upper, normal.outputs(latents)))),
        latents=latents,
    )
    return pv.Program(parts.model, parts.guide, loss=Stages(switch))
