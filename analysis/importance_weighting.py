"""More draws in the bound: is the model better, and what becomes of the guide?

Burda, Grosse & Salakhutdinov 2015 (arXiv 1509.00519, Table 1) trained one network on MNIST, 784-200-200-50 with tanh,
by the ELBO and by importance-weighted bounds of k draws, and report the held-out negative log likelihood by 5,000
importance samples: 86.76 for the VAE, 85.54 with k = 5 and 84.78 with k = 50, after 3,280 epochs. Here the same network
is trained for the epochs given, as many as the time allowed, so the figures stand beside theirs and are not the same
experiment. The guide of an importance-weighted model need not be near the posterior: k̂ and the gap of its ELBO say how
far it is.

    python -m analysis.importance_weighting --out runs/importance_weighting

writes ``importance_weighting.csv`` and ``.png`` there and prints the table; the fits are kept in ``fits``. It needs
MNIST; ``--data digits`` does the same with smaller networks.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import pyrovae as pv
from models import importance_weighted

PUBLISHED = {1: 86.76, 5: 85.54, 50: 84.78}
NETWORKS: dict[str, dict[str, Any]] = {
    "mnist": {"latents": 50, "hidden": (200, 200), "activation": "tanh", "glorot": True},
    "digits": {"latents": 8, "hidden": (64,)},
}


def load(name: str) -> tuple[pv.Data, pv.Data]:
    """Training data, MNIST's binarised anew for each batch, and test data, binarised once."""
    if name == "digits":
        return pv.data.load("digits").split(seed=0)
    train, test = pv.data.load("mnist").split()
    return train.binarize("dynamic"), test.binarize("static", seed=0)


def measure(
    k: int, epochs: int, train: pv.Data, test: pv.Data, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """A row: trained with k draws, judged by many."""
    torch.manual_seed(0)
    program = importance_weighted.build(train, k=k, **NETWORKS[options.data])
    program.parts["guide"].adapted.fill_(
        options.data == "mnist"
    )  # pixels of 0 and 1 go in as they are, as in the paper
    began = time.perf_counter()
    fit = pv.fit(
        program,
        train,
        epochs=epochs,
        lr=options.lr,
        resume=folder / f"{options.data}-{k}-{epochs}",
        progress=options.progress,
    )
    seconds = time.perf_counter() - began
    found = pv.diagnostics.importance(fit, test, draws=options.draws)
    evidence = found["log_evidence"].values
    return {
        "k": k,
        "epochs": epochs,
        "NLL": -evidence.mean(),
        "s.e.": evidence.std(ddof=1) / np.sqrt(len(evidence)),
        "−ELBO": -float(found["elbo"].mean()),
        "gap": float((found["log_evidence"] - found["elbo"]).mean()),
        "k̂ bad, %": 100 * float((found["pareto_k"] > found.attrs["good_k"]).mean()),
        "Burda": PUBLISHED.get(k, np.nan) if options.data == "mnist" else np.nan,
        "seconds": seconds,
    }


def draw(table: pd.DataFrame, options: argparse.Namespace) -> plt.Figure:
    """The evidence and the ELBO of each model."""
    figure, ax = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
    at, handles = np.arange(len(table)), []
    for name, colour, marker in (("NLL", "#0072B2", "o"), ("−ELBO", "#D55E00", "s")):
        error = 2 * table["s.e."] if name == "NLL" else None
        handles.append(ax.errorbar(at, table[name], yerr=error, fmt=marker, color=colour, capsize=4, label=name))
    if table["Burda"].notna().any():
        handles += ax.plot(at, table["Burda"], "k_", ms=22, label="NLL of Burda et al., 3,280 epochs")
    ax.set_xticks(at, [f"k = {k}\n{counted(e)}" for k, e in zip(table["k"], table["epochs"], strict=True)])
    ax.set(ylabel="nats per held-out datum", xlim=(-0.5, len(table) - 0.5))
    ax.set_title(f"{options.data}: what more draws in the bound change (bars: ±2 s.e.)", loc="left", fontsize=11)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def counted(epochs: float) -> str:
    """So many epochs, in words."""
    return f"{epochs:.0f} epoch{'' if epochs == 1 else 's'}"


def verdict(table: pd.DataFrame) -> str:
    """What the figures say of the claims that more draws make a better model and a worse posterior."""
    first, last = table.iloc[0], table.iloc[-1]
    gain, gap = first["NLL"] - last["NLL"], last["gap"] - first["gap"]
    better = "is better by" if gain > 0 else "is worse by"
    return (
        f"With k = {last['k']:.0f} and {counted(last['epochs'])} the model {better} {abs(gain):.2f} nats than with "
        f"k = {first['k']:.0f} and {counted(first['epochs'])}; its guide's gap is "
        f"{'wider' if gap > 0 else 'narrower'} by {abs(gap):.2f}."
    )


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/importance_weighting"))
    parser.add_argument("--data", choices=list(NETWORKS), default="mnist")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5, 50])
    parser.add_argument("--epochs", type=int, nargs="+", default=[50, 20, 5], help="of each k")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--test", type=int, help="only so many of the test data")
    parser.add_argument("--progress", action="store_true")
    options = parser.parse_args(arguments)
    if len(options.k) != len(options.epochs):
        parser.error(f"--epochs: expected a number for each of --k, {len(options.k)}, got {len(options.epochs)}")
    train, test = load(options.data)
    test = test if options.test is None else test.take(range(options.test))
    rows = []
    for k, epochs in zip(options.k, options.epochs, strict=True):
        rows.append(measure(k, epochs, train, test, options.out / "fits", options))
        print(f"k = {k}, {counted(epochs)}: NLL {rows[-1]['NLL']:.2f} ± {rows[-1]['s.e.']:.2f}", flush=True)
    table = pd.DataFrame(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "importance_weighting.csv", index=False)
    figure = draw(table, options)
    figure.savefig(options.out / "importance_weighting.png", dpi=150)
    plt.close(figure)
    print("\n" + table.dropna(axis=1, how="all").to_string(index=False, float_format="{:.2f}".format, na_rep="–"))
    if len(table) > 1:
        print(f"\nverdict: {verdict(table)}")
    return table


if __name__ == "__main__":
    main()
