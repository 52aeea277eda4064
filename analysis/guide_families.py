"""Which family of q(z|x) should a user take?

Fits the VAE of the digits with a diagonal Normal guide, a Normal with full covariance, an inverse autoregressive flow
(Kingma et al. 2016, arXiv 1606.04934) and a diagonal Normal that climbs each datum's ELBO by five steps (Kim et al.
2018, arXiv 1802.02550), all else equal, from several seeds. Each is asked how well its model describes new digits, how
far its bound is from log p(x), for how many digits its draws can stand for the posterior, whether its intervals hold
what they promise, and where the bound loses: to the family, or to the encoder (Cremer et al. 2018, arXiv 1801.03558).

The answer for 1,500 digits: the diagonal Normal, then `pyrovae.refine`. The families lose .7 (diagonal), .4 (flow) and
.1 nats (full covariance), the encoders 6 to 7 on new digits and 1.3 to 1.8 on those they were trained on: it is the
network that does not carry over, and a richer family, which it has to serve too, does not help. The full covariance
also trains more slowly, and ends with the worse model. Climbing from the encoder is the one that helps, by half of its
loss at a rate of .05, for twelve times the time; and still k̂ is bad for 8 digits in 10. A full covariance pays where
``encoder`` is small and ``family`` is not.

    python -m analysis.guide_families --out runs/guides --epochs 200 --seeds 3

writes ``guides.csv`` (a row for each fit) and ``guides.png`` there and prints the table; the fits are kept in ``fits``,
so that the figures can be taken again without training.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr

import pyrovae as pv

LATENTS, HIDDEN, FEATURES = 8, (128, 128), 32


def encoder(outputs: int) -> pv.networks.MLP:
    """The same network for all, but for its last layer."""
    return pv.networks.MLP(64, HIDDEN, outputs)


def flow() -> pv.guides.Flow:
    """Two inverse autoregressive steps, told 32 features of x."""
    steps = pv.guides.inverse_autoregressive(LATENTS, FEATURES)
    return pv.guides.Flow(encoder(pv.guides.Flow.outputs(LATENTS, FEATURES)), steps)


GUIDES: dict[str, Callable[[], torch.nn.Module]] = {
    "Normal": lambda: pv.guides.Normal(encoder(2 * LATENTS)),
    "MultivariateNormal": lambda: pv.guides.MultivariateNormal(encoder(pv.guides.MultivariateNormal.outputs(LATENTS))),
    "Flow": flow,
    "SemiAmortized": lambda: pv.guides.SemiAmortized(pv.guides.Normal(encoder(2 * LATENTS))),
    "SemiAmortized, lr .05": lambda: pv.guides.SemiAmortized(pv.guides.Normal(encoder(2 * LATENTS)), lr=0.05),
}


def fitted(guide: str, seed: int, epochs: int, train: pv.Data, folder: Path) -> pv.Fit:
    """The fit of this guide, read from its checkpoint if it was made before."""
    torch.manual_seed(seed)
    likelihood = pv.likelihoods.Binomial(16, pv.networks.MLP(LATENTS, HIDDEN, 64))  # the same weights for all guides
    vae = pv.VAE(pv.priors.Normal(LATENTS), likelihood, GUIDES[guide]())
    kept = folder / f"{guide.replace(', ', '-')}-{seed}-{epochs}"
    return pv.fit(vae, train, epochs=epochs, seed=seed, resume=kept, progress=False)


def measure(fit: pv.Fit, tree: xr.DataTree, better: xr.DataTree, train: pv.Data, test: pv.Data, steps: int) -> dict:
    """What the diagnostics say of one fit: nats per datum, shares of the data."""
    khat, elbo = pv.diagnostics.pareto_k(tree), pv.diagnostics.elbo_terms(tree)["elbo"]
    lost, seen = (pv.diagnostics.gaps(fit, some, draws=khat.attrs["draws"], steps=steps) for some in (test, train))
    try:
        held = pv.diagnostics.intervals(tree)
    except pv.diagnostics.NotAvailable:  # no weights to judge by
        held = xr.Dataset({"coverage_mean": np.nan})
    return {
        "by own weights": pv.diagnostics.elpd(tree).elpd / len(elbo["obs_id"]),
        "ELBO": float(elbo.mean()),
        "gap": float((pv.diagnostics.log_evidence(better)["log_evidence"] - elbo).mean()),
        "family": float(lost["approximation"].mean()),
        "encoder": float(lost["amortisation"].mean()),
        "encoder, seen": float(seen["amortisation"].mean()),
        "k̂ median": float(khat["pareto_k"].median()),
        "k̂ bad": float((khat["pareto_k"] > khat.attrs["good_k"]).mean()),
        "90 % holds": float(held["coverage_mean"].mean()),
        "seconds": float(fit.history["seconds"].sum()),
    }


def one_seed(seed: int, options: argparse.Namespace) -> pd.DataFrame:
    """A row for each guide, from the same seed. The evidence by which the models are compared is of draws improved
    digit by digit: of the guides' own draws it would say which guide is better, and little of the models."""
    train, test = pv.data.load("digits").split(seed=0)
    test = test.take(range(options.data or len(test)))
    some = range(min(options.gaps, len(test)))
    rows, trees = {}, {}
    for guide in GUIDES:
        fit = fitted(guide, seed, options.epochs, train, options.out / "fits")
        tree = pv.posterior(fit, test, draws=options.draws, predictive=0, seed=seed)
        trees[guide] = pv.refine(fit, test, tree=tree, everything=True, steps=options.steps)
        rows[guide] = measure(fit, tree, trees[guide], train.take(some), test.take(some), options.steps)
        print(f"seed {seed}  {guide:<21}", *(f"{k} {v:.2f} " for k, v in rows[guide].items()), flush=True)
    ranked = pv.compare(trees)[["elpd", "elpd_diff", "dse"]] / len(test)
    return (
        ranked.join(pd.DataFrame.from_dict(rows, orient="index")).rename_axis("guide").reset_index().assign(seed=seed)
    )


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, and how elpd differs from the first guide's, paired by seed, with its standard error."""
    table = rows.drop(columns="seed").groupby("guide")[[*rows.columns[1:-1]]].mean().loc[list(GUIDES)]
    by_seed = rows.pivot(index="seed", columns="guide", values="elpd")
    gain = by_seed.sub(by_seed[next(iter(GUIDES))], axis=0)
    table.insert(3, "to Normal", gain.mean())
    table.insert(4, "± seeds", gain.std() / np.sqrt(len(gain)))
    return table.reset_index()


def draw(rows: pd.DataFrame) -> plt.Figure:
    """Where each bound loses, and for how many digits the draws cannot be used: bars are means, dots are seeds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    means = rows.groupby("guide").mean(numeric_only=True).loc[list(GUIDES)]
    family = means["family"]
    left.barh(means.index, family, color="#0072B2", label="to the family")
    left.barh(means.index, means["encoder"], left=family, color="#E69F00", label="to the encoder")
    left.plot(family + means["encoder, seen"], means.index, "k|", ms=15, mew=2.5, label="on training digits")
    left.plot(rows["family"] + rows["encoder"], rows["guide"], "ko", ms=4)
    left.set_xlabel("log p̂(x) − ELBO (nats per datum)")
    left.set_title("What the bound loses on held-out digits", loc="left", fontsize=11)
    figure.legend(frameon=False, fontsize=9, loc="outside lower left", ncols=3)
    right.barh(means.index, means["k̂ bad"], color="#999999")
    right.plot(rows["k̂ bad"], rows["guide"], "ko", ms=4)
    right.set(xlabel="share of held-out digits with a bad k̂", xlim=(0, 1))
    right.set_title("Digits whose draws cannot stand for p(z|x)", loc="left", fontsize=11)
    left.invert_yaxis()
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/guides"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=200, help="gradient steps on each datum's own ELBO")
    parser.add_argument("--data", type=int, help="only so many of the held-out digits")
    parser.add_argument("--gaps", type=int, default=100, help="digits of each set whose gaps are told apart")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    rows = pd.concat([one_seed(seed, options) for seed in range(options.seeds)], ignore_index=True)
    table = summarise(rows)
    rows.to_csv(options.out / "guides.csv", index=False)
    figure = draw(rows)
    figure.savefig(options.out / "guides.png", dpi=150)
    plt.close(figure)
    with pd.option_context("display.width", 250, "display.max_columns", 30, "display.float_format", "{:.2f}".format):
        print("\n" + table.to_string(index=False))
    return table


if __name__ == "__main__":
    main()
