"""How soon each engine has a good model: held-out negative log likelihood of MNIST against minutes of training.

    PYROVAE_DATA_DIR=… python benchmarks/nll_curve.py [--minutes 10] [--engines eager compiled] [--test 10000]

The network of Burda, Grosse & Salakhutdinov 2015 (arXiv 1509.00519) with one stochastic layer: 784-200-200-50, tanh,
Glorot's initial weights, pixels of 0 and 1 as they are, binarised anew for each batch, trained on the ELBO. Adam; its
rate falls along half a cosine of the time, so that each engine comes to rest when its minutes are over. The clock runs
from the call of `fit`, compilation included, and stands still while a model is judged: at checkpoints on the same
images, evenly taken from the test set, at the end on ``--test`` of them. Each engine is a process of its own, with an
empty cache of compiled code. NLL is that of `pyrovae.diagnostics.importance` with ``--draws`` draws. The paper has
86.76 nats after 3,280 epochs of batches of 20.

It writes ``nll_curve.csv``, ``nll_curve_final.csv`` and ``nll_curve.png`` into ``--out``.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from beside.drive import CORES, machine
from beside.ours import extra
from beside.table import markdown
from matplotlib.ticker import LogLocator, NullLocator
from torch import nn

import pyrovae as pv
from pyrovae.svi import EpochEnd

PUBLISHED = 86.76
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")


def program() -> pv.VAE:
    """Burda's network, its pixels as they are."""
    torch.manual_seed(0)
    encoder = pv.networks.MLP(784, (200, 200), 100, activation=nn.Tanh)
    decoder = pv.networks.MLP(50, (200, 200), 784, activation=nn.Tanh)
    for layer in (*encoder.modules(), *decoder.modules()):
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    guide = pv.guides.Normal(encoder)
    guide.adapted.fill_(True)
    return pv.VAE(pv.priors.Normal(50), pv.likelihoods.Bernoulli(decoder), guide)


def nll(fitted: Any, test: pv.Data, count: int, draws: int) -> np.ndarray:
    """By image, of so many evenly taken from the test set."""
    rows = np.linspace(0, len(test), min(count, len(test)), endpoint=False).astype(int)
    return -pv.diagnostics.importance(fitted, test.take(rows), draws=draws)["log_evidence"].values


class Clock:
    """The callback: it judges at checkpoints, off the clock, and stops when the time is over."""

    def __init__(self, engine: str, test: pv.Data, options: argparse.Namespace) -> None:
        self.engine, self.test, self.options = engine, test, options
        self.budget = 60 * options.minutes
        self.at = list(self.budget * np.geomspace(1 / 2 ** (options.checkpoints - 1), 1, options.checkpoints))
        self.rows: list[dict[str, Any]] = []
        self.off, self.began = 0.0, time.perf_counter()

    def elapsed(self) -> float:
        """Seconds of training."""
        return time.perf_counter() - self.began - self.off

    def rate(self, _: int) -> float:
        """By which the learning rate is multiplied."""
        return (1 + math.cos(math.pi * min(self.elapsed() / self.budget, 1))) / 2

    def __call__(self, end: EpochEnd) -> bool:
        elapsed = self.elapsed()
        if self.at and elapsed >= self.at[0]:
            self.at = [later for later in self.at if later > elapsed]
            found = nll(end.program, self.test, self.options.subset, self.options.draws)
            figures = {"minutes": elapsed / 60, "epoch": end.epoch + 1, "NLL": found.mean(), "−ELBO train": -end.elbo}
            self.rows.append({"engine": self.engine, **figures})
            line = "{}: {minutes:.2f} min, epoch {epoch}, NLL {NLL:.2f}, −ELBO {−ELBO train:.2f}"
            print(line.format(self.engine, **figures), flush=True)
            self.off = time.perf_counter() - self.began - elapsed
        return elapsed >= self.budget


def train(name: str, options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Checkpoints, and the final row. A name is an engine, or engine-bf16."""
    engine, _, precision = name.partition("-")
    torch.set_num_threads(options.threads)
    whole, test = pv.data.load("mnist").split()
    whole = whole if options.rows is None else whole.take(range(options.rows))
    data = whole.binarize("dynamic"), test.binarize("static", seed=0)
    vae, how = program(), extra(engine, precision or None)
    clock = Clock(name, data[1], options)
    fit = pv.fit(
        vae,
        data[0],
        lr=options.lr,
        batch_size=options.batch,
        epochs=10**6,
        schedule=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, clock.rate),
        callbacks=[clock],
        progress=False,
        **how,
    )
    epochs, minutes = fit.history.sizes["epoch"], clock.elapsed() / 60
    found = nll(fit, data[1], options.test, options.draws)
    error = found.std(ddof=1) / math.sqrt(len(found))
    ran = fit.settings.get("engine", engine)
    return clock.rows, {
        "engine": name if ran == engine else f"{name} (ran {ran})",
        "minutes": minutes,
        "epochs": epochs,
        "steps a second": epochs * math.ceil(len(data[0]) / options.batch) / (60 * minutes),
        "NLL": found.mean(),
        "s.e.": error,
        "images": len(found),
    }


def draw(curve: pd.DataFrame, final: pd.DataFrame) -> plt.Figure:
    """NLL against minutes."""
    figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for (name, rows), last, colour in zip(
        curve.groupby("engine", sort=False), final.itertuples(), COLOURS * len(final), strict=False
    ):
        ax.plot(rows["minutes"], rows["NLL"], "o-", color=colour, ms=3, lw=1.5, label=name)
        ax.plot(last.minutes, last.NLL, "D", color=colour, ms=6, mfc="none")
    ax.axhline(PUBLISHED, color="0.4", lw=1, ls="--", label=f"Burda et al., {PUBLISHED}, 3,280 epochs")
    ax.set(xlabel="minutes of training", ylabel="NLL, nats per image", xscale="log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_title("MNIST, 784-200-200-50: NLL of some test images (diamond: of all judged)", loc="left", fontsize=10)
    ax.legend(frameon=False)
    return figure


def main(words: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", nargs="+", default=["eager", "traced", "compiled"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--checkpoints", type=int, default=7, help="each after twice the time of the one before")
    parser.add_argument("--subset", type=int, default=200, help="test images judged at checkpoints")
    parser.add_argument("--test", type=int, default=1000, help="test images judged at the end")
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--rows", type=int, help="train on so many images only")
    parser.add_argument("--out", type=Path, default=Path("runs/nll_curve"))
    options = parser.parse_args(words)
    print(machine(options.threads), flush=True)
    rows, last = [], []
    for name in options.engines:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                found, end = alone.submit(train, name, options).result()
        rows += found
        last.append(end)
    curve, final = pd.DataFrame(rows), pd.DataFrame(last)
    options.out.mkdir(parents=True, exist_ok=True)
    curve.to_csv(options.out / "nll_curve.csv", index=False)
    final.to_csv(options.out / "nll_curve_final.csv", index=False)
    figure = draw(curve, final)
    figure.savefig(options.out / "nll_curve.png", dpi=150)
    plt.close(figure)
    cells = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()] for row in last]
    print(f"\n{markdown(list(last[0]), cells)}\n\nBurda et al.: {PUBLISHED}")
    return final


if __name__ == "__main__":
    main()
