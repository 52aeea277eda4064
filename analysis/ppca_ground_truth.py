"""Does SVI on a linear VAE reach probabilistic PCA, where everything is known?

Fits the linear VAE of `models/ppca.py` and compares it with the closed form: the log likelihood at its maximum, the
noise, the loadings, the exact posterior, and what the diagnostics say of it. Tipping & Bishop 1999; Lucas, Tucker,
Grosse & Norouzi 2019, arXiv 1911.02469.

    python -m analysis.ppca_ground_truth --out runs/ppca --epochs 4000

writes ``ppca.csv`` and ``ppca.png`` there and prints the table.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor

import pyrovae as pv
from models import ppca


def simulate(n: int = 300, features: int = 10, latents: int = 3, seed: int = 1) -> Tensor:
    """Draws (n, features) of probabilistic PCA with loadings of length 3, 2, 1, … on orthogonal axes and noise .5."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(features, latents, generator=generator, dtype=torch.float64))[0]
    loadings = torch.arange(latents, 0, -1, dtype=torch.float64)[:, None] * axes.T
    z = torch.randn(n, latents, generator=generator, dtype=torch.float64)
    return z @ loadings + 0.5 * torch.randn(n, features, generator=generator, dtype=torch.float64)


def compare(x: Tensor, latents: int, epochs: int, *, seed: int = 0, progress: bool = True) -> tuple[pd.DataFrame, dict]:
    """The table (quantity, SVI, exact, difference, tolerance, within) and what the figure needs."""
    w, mu, sigma2 = ppca.maximum_likelihood(x, latents)
    identity = torch.eye(latents, dtype=w.dtype)
    marginal = torch.distributions.MultivariateNormal(mu, w @ w.T + sigma2 * torch.eye(len(mu), dtype=w.dtype))
    exact = marginal.log_prob(x)

    data = pv.Data(x.float(), name="simulated pPCA")
    torch.manual_seed(seed)
    vae = ppca.build(data, latents=latents)
    fit = pv.fit(vae, data, epochs=epochs, batch_size=len(x), lr=3e-2, seed=seed, progress=progress)
    tree = pv.posterior(fit, data, draws=2000, seed=seed)

    decoder = vae.parts["likelihood"].network.layers[0]
    learned = decoder.weight.detach().double()
    noise = vae.parts["likelihood"].log_scale.exp().item() ** 2
    m = learned.T @ learned + noise * identity
    posterior_mean = torch.linalg.solve(m, learned.T @ (x - decoder.bias.detach().double()).T).T
    codes = pv.encode(fit, data, draws=2000)
    terms = pv.diagnostics.elbo_terms(tree)
    elbo = terms["elbo"].isel(chain=0)
    khat = pv.diagnostics.pareto_k(tree)["pareto_k"].isel(chain=0)
    codes_error = float(np.abs(codes["z_mean"].values[0] - posterior_mean.numpy()).max())
    rows = [
        ("log p(x), nats per datum", float(elbo.mean()), exact.mean().item(), 2e-3, "absolute"),
        ("noise variance", noise, sigma2.item(), 0.01, "relative"),
        (
            "loadings, Frobenius norm of W Wᵀ",
            (learned @ learned.T).norm().item(),
            (w @ w.T).norm().item(),
            0.02,
            "relative",
        ),
        (
            "loadings, distance of W Wᵀ",
            ((learned @ learned.T - w @ w.T).norm() / (w @ w.T).norm()).item(),
            0.0,
            0.02,
            "absolute",
        ),
        ("posterior mean, largest distance", codes_error, 0.0, 0.1, "absolute"),
        ("Pareto k̂, share above 0.7", float((khat > 0.7).mean()), 0.0, 0.0, "absolute"),
    ]
    table = pd.DataFrame(rows, columns=["quantity", "SVI", "exact", "tolerance", "kind"])
    scale = np.where(table["kind"] == "relative", table["exact"].abs().replace(0, 1), 1)
    table["difference"] = (table["SVI"] - table["exact"]) / scale
    table["within"] = table["difference"].abs() <= table["tolerance"]
    mcse = terms["elbo_mcse"].values[0]
    error = math.sqrt((mcse**2).sum()) / len(x)
    return table, {"history": fit.history, "exact": exact.numpy(), "elbo": elbo.values, "mcse": mcse, "error": error}


def draw(found: dict) -> plt.Figure:
    """The ELBO over epochs against the exact log likelihood, and the gap datum by datum."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    gap = found["exact"].mean() - found["history"]["elbo"].values[0]
    edges = np.unique(np.geomspace(1, len(gap) + 1, 50).astype(int))
    middle = np.sqrt(edges[:-1] * edges[1:])
    means = np.array([gap[i - 1 : j - 1].mean() for i, j in pairwise(edges)])
    left.plot(middle, np.where(means > 0, means, np.nan), color="#0072B2", marker="o", ms=3)
    left.set(xscale="log", yscale="log", xlabel="epoch", ylabel="exact log p(x) − ELBO (nats per datum)")
    left.set_title("SVI approaches the maximum likelihood\n(means over windows of epochs)")
    right.errorbar(
        found["exact"],
        found["exact"] - found["elbo"],
        2 * found["mcse"],
        fmt="o",
        ms=3,
        lw=0.5,
        color="#D55E00",
        alpha=0.6,
    )
    right.axhline(0, color="black", lw=1)
    right.set(xlabel="exact log p(x) of a datum (nats)", ylabel="exact log p(x) − ELBO (nats)")
    right.set_title("The bound is tight for every datum\n(± 2 Monte Carlo standard errors)")
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ppca"))
    parser.add_argument("--epochs", type=int, default=4000)
    parser.add_argument("--latents", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    table, found = compare(simulate(latents=options.latents), options.latents, options.epochs, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "ppca.csv", index=False)
    figure = draw(found)
    figure.savefig(options.out / "ppca.png", dpi=150)
    plt.close(figure)
    with pd.option_context("display.width", 200, "display.max_columns", 20, "display.float_format", "{:.5g}".format):
        print(table.to_string(index=False))
    gap = found["exact"].mean() - found["elbo"].mean()
    print(f"\ngap {gap:.1e} ± {found['error']:.0e} nats per datum (Monte Carlo error)")
    return table


if __name__ == "__main__":
    main()
