"""Small programs and data whose answers are known."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrovae as pv


def linear_vae(features: int = 4, latents: int = 2, *, learn_scale: bool = True) -> pv.VAE:
    """A linear VAE: its evidence is that of probabilistic PCA."""
    return pv.VAE(
        pv.priors.Normal(latents),
        pv.likelihoods.Normal(pv.networks.MLP(latents, (), features), 1.0, learn_scale=learn_scale),
        pv.guides.Normal(pv.networks.MLP(features, (), 2 * latents)),
    )


def small_vae(features: int = 6, latents: int = 2, total: int = 5) -> pv.VAE:
    """A Binomial VAE with one hidden layer."""
    return pv.VAE(
        pv.priors.Normal(latents),
        pv.likelihoods.Binomial(total, pv.networks.MLP(latents, (8,), features)),
        pv.guides.Normal(pv.networks.MLP(features, (8,), 2 * latents)),
    )


def counts(n: int = 50, features: int = 6, total: int = 5, seed: int = 0) -> Tensor:
    """Binomial counts with two clusters of rates."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.where(torch.rand(n, 1, generator=generator) < 0.5, 0.2, 0.8).expand(n, features)
    return torch.stack([torch.bernoulli(rates, generator=generator) for _ in range(total)]).sum(0)


def gaussian(n: int = 200, features: int = 4, latents: int = 2, seed: int = 0) -> Tensor:
    """Draws of probabilistic PCA with noise .5."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(latents, features, generator=generator)
    z = torch.randn(n, latents, generator=generator)
    return z @ w + 0.5 * torch.randn(n, features, generator=generator)


class TutorialDecoder(nn.Module):
    """The decoder of Pyro's VAE tutorial, small."""

    def __init__(self, z_dim: int, x_dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(z_dim, 16), nn.Linear(16, x_dim)

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(nn.functional.softplus(self.fc1(z))))


class TutorialEncoder(nn.Module):
    """The encoder of Pyro's VAE tutorial, small."""

    def __init__(self, x_dim: int, z_dim: int) -> None:
        super().__init__()
        self.fc1, self.loc, self.scale = nn.Linear(x_dim, 16), nn.Linear(16, z_dim), nn.Linear(16, z_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = nn.functional.softplus(self.fc1(x))
        return self.loc(hidden), self.scale(hidden).exp()


def tutorial(x_dim: int = 6, z_dim: int = 2) -> pv.Program:
    """The VAE of Pyro's tutorial as plain functions with ``pyro.module``."""
    decoder, encoder = TutorialDecoder(z_dim, x_dim), TutorialEncoder(x_dim, z_dim)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(x.shape[0], z_dim), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(decoder(z), validate_args=False).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = encoder(x)
            pyro.sample("latent", dist.Normal(loc, scale).to_event(1))

    return pv.Program(model, guide)


def hierarchy(features: int = 4) -> pv.Program:
    """Two latent sites, z1 of 2 dimensions given a scalar z2, with parameters made by ``pyro.param`` only."""

    def model(x: Tensor) -> None:
        w = pyro.param("w", lambda: 0.3 * torch.ones(2, features))
        noise = pyro.param("noise", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("rows", x.shape[0]):
            z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
            z1 = pyro.sample("z1", dist.Normal(z2.unsqueeze(-1), torch.ones(2)).to_event(1))
            pyro.sample("y", dist.Normal(z1 @ w, noise).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a = pyro.param("a", lambda: 0.1 * torch.ones(features))
        b = pyro.param("b", lambda: 0.1 * torch.ones(features, 2))
        s = pyro.param("s", torch.tensor(0.7), constraint=dist.constraints.positive)
        with pyro.plate("rows", x.shape[0]):
            z2 = pyro.sample("z2", dist.Normal(x @ a, s))
            pyro.sample("z1", dist.Normal(x @ b + 0.3 * z2.unsqueeze(-1), s).to_event(1))

    return pv.Program(model, guide)
