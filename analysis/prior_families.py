"""Does a richer prior describe new data better, at equal training?

Fits the VAE of the digits with a standard Normal prior, a mixture of Normals, a VampPrior (Tomczak & Welling 2017,
arXiv 1705.07120) and a spline flow (Durkan et al. 2019, arXiv 1906.04032), all else equal, from several seeds, and
compares the held-out negative log likelihood, estimated by importance sampling, seed by seed.

    python -m analysis.prior_families --out runs/priors --epochs 200 --seeds 3

writes ``priors.csv`` (a row for each fit), ``priors.png`` and ``priors.md`` (the table) there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import zuko

import pyrovae as pv

LATENTS = 8
PRIORS: dict[str, Callable[[], torch.nn.Module]] = {
    "Normal": lambda: pv.priors.Normal(LATENTS),
    "GaussianMixture, 50": lambda: pv.priors.GaussianMixture(50, LATENTS),
    "VampPrior, 50": lambda: pv.priors.VampPrior(50, (64,)),
    "Flow, spline": lambda: pv.priors.Flow(zuko.flows.NSF(LATENTS, transforms=2, hidden_features=(64, 64))),
}


def measure(prior: str, seed: int, epochs: int, draws: int) -> dict:
    """One fit, and what it says of the digits held out: nats per datum."""
    train, test = pv.data.load("digits").split(seed=0)
    torch.manual_seed(seed)
    vae = pv.VAE(
        PRIORS[prior](),
        pv.likelihoods.Binomial(16, pv.networks.MLP(LATENTS, (128, 128), 64)),
        pv.guides.Normal(pv.networks.MLP(64, (128, 128), 2 * LATENTS)),
    )
    began = time.perf_counter()
    fit = pv.fit(vae, train, epochs=epochs, seed=seed, progress=False)
    seconds = time.perf_counter() - began
    tree = pv.posterior(fit, test, draws=draws, predictive=0, seed=seed)
    evidence, terms = pv.diagnostics.log_evidence(tree), pv.diagnostics.elbo_terms(tree)
    khat = pv.diagnostics.pareto_k(tree)["pareto_k"]
    return {
        "prior": prior,
        "seed": seed,
        "NLL": -float(evidence["log_evidence"].mean()),
        "−ELBO": -float(terms["elbo"].mean()),
        "KL": float(terms["kl"].mean()),
        "median k̂": float(khat.median()),
        "prior's parameters": sum(p.numel() for p in vae.parts["prior"].parameters()) if "prior" in vae.parts else 0,
        "seconds": seconds,
    }


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with standard errors, and the difference of NLL to the Normal prior, paired by seed."""
    columns = ["NLL", "−ELBO", "KL", "median k̂", "prior's parameters", "seconds"]
    table = rows.groupby("prior", sort=False)[columns].mean()
    by_seed = rows.pivot(index="seed", columns="prior", values="NLL")
    seeds = len(by_seed)
    table.insert(1, "± s.e.", by_seed.std() / np.sqrt(seeds))
    gain = by_seed.sub(by_seed["Normal"], axis=0)
    table.insert(2, "to Normal", gain.mean())
    table.insert(3, "± s.e. ", gain.std() / np.sqrt(seeds))
    return table.reset_index()


def draw(rows: pd.DataFrame) -> plt.Figure:
    """A dot for each fit, a bar for the mean of a prior."""
    figure, axes = plt.subplots(figsize=(7, 0.6 * rows["prior"].nunique() + 1.4), layout="constrained")
    names = list(rows["prior"].unique())
    for place, name in enumerate(names):
        values = rows.loc[rows["prior"] == name, "NLL"]
        axes.plot(values, np.full(len(values), place), "o", color="#0072B2", alpha=0.7)
        axes.plot([values.mean()] * 2, [place - 0.25, place + 0.25], color="#D55E00", lw=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("held-out negative log likelihood (nats per datum, importance sampling)")
    axes.set_title("Digits: one dot per seed, bars are means", loc="left", fontsize=11)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/priors"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    found = []
    for seed in range(options.seeds):
        for prior in PRIORS:
            found.append(measure(prior, seed, options.epochs, options.draws))
            print(f"seed {seed}  {prior:<20} NLL {found[-1]['NLL']:.2f}  {found[-1]['seconds']:.0f} s", flush=True)
    rows = pd.DataFrame(found)
    table = summarise(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    rows.to_csv(options.out / "priors.csv", index=False)
    (options.out / "priors.md").write_text(markdown(table), encoding="utf-8")
    figure = draw(rows)
    figure.savefig(options.out / "priors.png", dpi=150)
    plt.close(figure)
    print("\n" + table.to_string(index=False, float_format="{:.2f}".format))
    return table


def markdown(table: pd.DataFrame) -> str:
    """The table as Markdown."""
    cells = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row] for row in table.itertuples(index=False)]
    lines = [list(map(str, table.columns)), ["---"] * len(table.columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
