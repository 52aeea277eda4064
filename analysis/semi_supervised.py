"""How far do a few labels go, with the images of all the others?

The M2 of Kingma, Rezende, Mohamed & Welling 2014, arXiv 1406.5298 (`models.semi_supervised`) learns MNIST with the
labels of 100 and of 3,000 training images, and is asked for the class of the 10,000 test images, beside the accuracies
that Pyro's tutorial on it reports (200 epochs) and a network of one layer that sees the labelled images alone. The
verdict asks of each number of labels whether the other images take it further, and whether it reaches the tutorial's.

The labelled images are repeated in the training set until they are ``--share`` of it, so that every batch has some:
each then counts so many times in the sums of the paper's eq. 8. Images are binarised anew for each batch; q(y|x) is
asked about the grey test image. Settings are to be chosen with ``--choose``, which trains on the first 50,000 training
images and scores on the other 10,000, never by the test set, whose labels are looked at once, at the end of a fit.

    python -m analysis.semi_supervised --out runs/semi_supervised --epochs 20

writes ``semi_supervised.csv`` (a row for each fit) and ``semi_supervised.png``, prints the table and the verdict; fits
are kept in ``fits``, and one that was interrupted goes on. ``--digits`` takes the small digits, which need no files.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from pyro import poutine
from sklearn.neural_network import MLPClassifier

import pyrovae as pv
from analysis._claims import answer
from models import semi_supervised

TUTORIAL = {100: 0.9319, 600: 0.9437, 1000: 0.9487, 3000: 0.9582}  # test accuracy by labels
BATCH = 200
CHOOSING = 10_000  # training images that settings are chosen by


def load(options: argparse.Namespace) -> tuple[pv.Data, pv.Data]:
    """Images to train on, and to be scored on: the test set, or the last of the training set to choose by."""
    data = pv.data.load("digits") if options.digits else pv.data.load("mnist").binarize("dynamic")
    train, test = data.split()
    if options.choose:
        cut = len(train) - (len(train) // 6 if options.digits else CHOOSING)
        train, test = train.take(slice(0, cut)), train.take(slice(cut, None))
    return train.take(slice(0, options.images or None)), test


def repeated(data: pv.Data, share: float) -> pv.Data:
    """The data with their labelled rows so often that these are about such a share of them."""
    known = np.flatnonzero(data.context.sum(-1).numpy())
    times = max(1, round(share * len(data) / len(known)))
    return data.take(np.concatenate([np.arange(len(data)), np.repeat(known, times - 1)]))


def q_y(program: pv.Program, x: torch.Tensor) -> torch.Tensor:
    """q(y|x) of images whose label is not known, (n, classes)."""
    with torch.no_grad():
        trace = poutine.trace(program.guide).get_trace(x.float())
    probabilities: torch.Tensor = trace.nodes["y"]["fn"].probs
    return probabilities


def alone(data: pv.Data, hidden: int, seed: int) -> MLPClassifier:
    """A network as wide as that of q(y|x), trained on the labelled images alone."""
    known = data.context.sum(-1).numpy() > 0
    network = MLPClassifier((hidden,), max_iter=1000, random_state=seed)
    return network.fit(scaled(data)[known], data.labels[known])


def scaled(data: pv.Data) -> np.ndarray:
    """Pixels between 0 and 1."""
    return data.x.numpy() / float(data.x.max())


def measure(labels: int, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """One fit, read from ``fits`` if it was made before, and its accuracy."""
    train, test = load(options)
    data = repeated(pv.data.labels_as_context(train, labels, seed), options.share)
    settings = {name: getattr(options, name) for name in ("latents", "hidden", "alpha")}
    epochs = options.epochs
    if options.steps:
        epochs = max(1, min(epochs, options.steps // math.ceil(len(data) / BATCH)))
    torch.manual_seed(seed)
    program = semi_supervised.build(data, **settings)
    what = (data.name, labels, seed, epochs, len(train), len(data), options.lr, *settings.values())
    kept = options.out / "fits" / "-".join(map(str, what))
    fit = pv.fit(program, data, epochs=epochs, batch_size=BATCH, lr=options.lr, seed=seed, resume=kept, progress=False)
    without = alone(data, options.hidden, seed)
    found = np.unique(train.labels)[q_y(fit.program, test.x).argmax(-1).numpy()]
    return {
        "labels": labels,
        "seed": seed,
        "images": len(train),
        "epochs": epochs,
        **settings,
        "share": options.share,
        "accuracy": float((found == test.labels).mean()),
        "without the others": float(without.score(scaled(test), test.labels)),
        "tutorial": math.nan if options.digits or options.choose else TUTORIAL.get(labels, math.nan),
        "seconds": float(fit.history["seconds"].sum()),
    }


def draw(rows: pd.DataFrame, options: argparse.Namespace) -> plt.Figure:
    """Accuracy by labels: a dot for each fit, and the figures beside it."""
    figure, axes = plt.subplots(figsize=(6.5, 4.4), layout="constrained")
    for name, colour in (("accuracy", "#0072B2"), ("without the others", "#D55E00")):
        axes.plot(rows["labels"], rows[name], "o", color=colour, alpha=0.6)
        means = rows.groupby("labels")[name].mean()
        axes.plot(means.index, means, color=colour, label="M2" if name == "accuracy" else "labelled images alone")
    if not options.digits:
        axes.plot(list(TUTORIAL), list(TUTORIAL.values()), "k_", ms=14, mew=2, label="Pyro's tutorial, 200 epochs")
    axes.set(xscale="log", xlabel="labels", ylabel="accuracy on images held out")
    axes.set_title(f"{rows['images'].max():,} images, {rows['epochs'].max()} epochs", loc="left", fontsize=11)
    axes.legend(frameon=False)
    return figure


def findings(rows: pd.DataFrame) -> list[tuple[bool, str]]:
    """What the verdict is made of, from means over the seeds."""
    found = []
    for labels, row in rows.groupby("labels").mean().iterrows():
        ours, others, theirs = (row[name] for name in ("accuracy", "without the others", "tutorial"))
        found.append((ours > others, f"{labels} labels give {ours:.4f}, and {others:.4f} without the other images"))
        if not math.isnan(theirs):
            found.append((ours >= theirs, f"with {labels} the tutorial's {theirs:.4f}"))
    return found


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/semi_supervised"))
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 3000])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=0, help="at most so many steps; 0 for all of the epochs'")
    parser.add_argument("--images", type=int, default=0, help="train on the first of them; 0 for all")
    parser.add_argument("--latents", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--alpha", type=float, default=50.0, help="weight of log q(y|x) of each labelled row")
    parser.add_argument("--share", type=float, default=0.1, help="of the rows, with a label")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--digits", action="store_true", help="the small digits instead of MNIST")
    parser.add_argument("--choose", action="store_true", help="score on training images left out, not on test images")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for labels in options.labels:
        for seed in range(options.seeds):
            rows.append(measure(labels, seed, options))
            print(f"{labels:>5} labels, seed {seed}: {rows[-1]['accuracy']:.4f}", flush=True)
    return answer(
        "semi_supervised", options, (table := pd.DataFrame(rows)), lambda: draw(table, options), findings(table)
    )


if __name__ == "__main__":
    main()
