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


def shared_mean(x: Tensor, prior: float = 2.0, between: float = 0.7, noise: float = 0.5) -> pv.Program:
    """m ~ N(0, prior²) shared, z_i ~ N(m, between²), x_i ~ N(z_i, noise²), and its exact posterior as the guide."""
    variance = between**2 + noise**2
    precision = 1 / prior**2 + len(x) / variance
    centre, spread = x.sum() / variance / precision, precision**-0.5
    weight = between**2 / variance

    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(x.new_tensor(0.0), prior))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(m, between))
            pyro.sample("x", dist.Normal(z, noise).expand([len(x)]), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(centre, spread))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(weight * x[:, 0] + (1 - weight) * m, weight**0.5 * noise))

    return pv.Program(model, guide)


def regression(x: Tensor, covariates: Tensor, prior: float = 1.5, noise: float = 0.8) -> pv.Program:
    """y_i ~ N(w·c_i, noise²) with shared weights w ~ N(0, prior² I), and their exact posterior as the guide."""
    precision = covariates.T @ covariates / noise**2 + torch.eye(covariates.shape[1], dtype=x.dtype) / prior**2
    centre = torch.linalg.solve(precision, covariates.T @ x[:, 0] / noise**2)

    def model(x: Tensor, covariates: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros_like(covariates[0]), prior).to_event(1))
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(covariates @ w, noise), obs=x[:, 0])

    def guide(x: Tensor, covariates: Tensor) -> None:
        pyro.sample("w", dist.MultivariateNormal(centre, precision_matrix=precision))

    return pv.Program(model, guide)


def bayesian_decoder(features: int = 4) -> pv.Program:
    """A linear decoder whose weights are latent, with a Normal guide, and a local z of two dimensions."""
    encoder = pv.networks.MLP(features, (), 4)

    def model(x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(2, features), 1.0).to_event(2))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ w, 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        loc = pyro.param("loc", lambda: 0.3 * torch.randn(2, features))
        scale = pyro.param("scale", lambda: torch.full((2, features), 0.1), constraint=dist.constraints.positive)
        pyro.sample("w", dist.Normal(loc, scale).to_event(2))
        centre, raw = pyro.module("encoder", encoder)(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(centre, nn.functional.softplus(raw)).to_event(1))

    return pv.Program(model, guide)


SUMMED = {"enumerate": "parallel"}


def two_components(weights: Tensor, centres: Tensor, scale: float = 0.6) -> pv.Program:
    """A mixture of Gaussians with known parameters, its component the only latent."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(weights), infer=SUMMED)
            pyro.sample("x", dist.Normal(centres[c], scale), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        """Nothing is left to draw."""

    return pv.Program(model, guide)


def mixture_vae(weights: Tensor, centres: Tensor, shift: Tensor, slope: float = 0.8) -> pv.Program:
    """c ~ Categorical, z ~ N(centres[c], 1), x ~ N(slope z + shift[c], .5²), q(z|x) = N(x/2, 1)."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(weights), infer=SUMMED)
            z = pyro.sample("z", dist.Normal(centres[c], 1.0))
            pyro.sample("x", dist.Normal(slope * z + shift[c], 0.5), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] / 2, 1.0))

    return pv.Program(model, guide)


def shared_components() -> pv.Program:
    """The mixture of Pyro's tutorial: shared weights, scale and component means, enumerated assignments."""

    def model(x: Tensor) -> None:
        weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2)))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
        with pyro.plate("components", 2):
            locs = pyro.sample("locs", dist.Normal(0.0, 3.0))
        with pyro.plate("data", len(x)):
            c = pyro.sample("assignment", dist.Categorical(weights), infer=SUMMED)
            pyro.sample("obs", dist.Normal(locs[c], scale), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        share = pyro.param("share", torch.tensor([4.0, 6.0]), constraint=dist.constraints.positive)
        centre = pyro.param("centre", torch.tensor([-2.0, 2.0]))
        spread = pyro.param("spread", torch.tensor(0.3), constraint=dist.constraints.positive)
        pyro.sample("weights", dist.Dirichlet(share))
        pyro.sample("scale", dist.LogNormal(-0.3, 0.2 * torch.ones(())))
        with pyro.plate("components", 2):
            pyro.sample("locs", dist.Normal(centre, spread))

    return pv.Program(model, guide)
