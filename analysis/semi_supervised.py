"""How far do a few labels go, with the images of all the others?

The M1+M2 of Kingma, Rezende, Mohamed & Welling 2014, arXiv 1406.5298 learns MNIST with the labels of 100 and of 3,000
training images, and is asked for the class of the 10,000 test images. Beside it stand the accuracies that Pyro's
tutorial reports of M2 (200 epochs), and those of a network of one layer that sees the labelled images alone. The
verdict asks of each number of labels whether the other images take it further, and whether it reaches the tutorial's.

M1 is a VAE of all training images, without labels (`models.vae`, ``--codes`` latents); its KL is weighted from 0 to 1
over the first half of its epochs, without which most of its latents fall silent. M2 (`models.semi_supervised`) has the
means of M1's q(z|x) as its data; the paper's has draws. ``--codes 0`` is M2 of the images themselves.

The labelled data are repeated in the training set until they are ``--share`` of it, so that every batch has some: each
then counts so many times in the sums of the paper's eq. 8. ``--alpha``, the weight of log q(y|x) in eq. 9, is that of a
labelled image with all its copies; the paper's is .1 N / N_l, which is 50 with 100 labels of 50,000 images.

Images are binarised anew for each batch; the guides are asked about the grey test image. Settings are to be chosen with
``--choose``, which trains on the first 50,000 training images and scores on the other 10,000, never by the test set,
whose labels are looked at once, at the end of a fit.

    python -m analysis.semi_supervised --out runs/semi_supervised

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
from pyro.infer import TraceMeanField_ELBO
from sklearn.neural_network import MLPClassifier

import pyrovae as pv
from analysis._claims import answer
from models import semi_supervised, vae

TUTORIAL = {100: 0.9319, 600: 0.9437, 1000: 0.9487, 3000: 0.9582}  # test accuracy by labels
M1 = {"hidden": (500, 500), "batch_size": 200, "lr": 2e-3}
CHOOSING = 10_000  # training images that settings are chosen by


def load(options: argparse.Namespace) -> tuple[pv.Data, pv.Data]:
    """Images to train on, and to be scored on: the test set, or the last of the training set to choose by."""
    data = pv.data.load("digits") if options.digits else pv.data.load("mnist").binarize("dynamic")
    train, test = data.split()
    if options.choose:
        cut = len(train) - (len(train) // 6 if options.digits else CHOOSING)
        train, test = train.take(slice(0, cut)), train.take(slice(cut, None))
    return train.take(slice(0, options.images or None)), test


def encoded(train: pv.Data, test: pv.Data, options: argparse.Namespace) -> tuple[pv.Data, pv.Data, float]:
    """The codes of a VAE of the training images for both, and the seconds that it took."""
    torch.manual_seed(0)
    hidden, batch_size, lr = M1.values()
    epochs = epochs_of(len(train), batch_size, options.first, options.steps)
    weight = pv.schedules.linear(0, 1, epochs=max(1, epochs // 2))
    kept = options.out / "fits" / f"M1-{train.name}-{len(train)}-{options.codes}-{epochs}"
    fit = pv.fit(
        vae.build(train, latents=options.codes, hidden=hidden),
        train,
        loss=pv.objectives.Beta(weight, elbo=TraceMeanField_ELBO()),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        resume=kept,
        progress=False,
    )
    guide = fit.program.parts["guide"]
    with torch.no_grad():
        codes = [guide(data.x.float()).mean for data in (train, test)]
    both = [pv.Data(z, name=f"{train.name} codes", labels=d.labels) for z, d in zip(codes, (train, test), strict=True)]
    return both[0], both[1], float(fit.history["seconds"].sum())


def epochs_of(size: int, batch: int, epochs: int, steps: int) -> int:
    """So many epochs, or fewer where the steps would exceed a number above 0."""
    return max(1, min(epochs, steps // math.ceil(size / batch))) if steps else epochs


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


def model(options: argparse.Namespace) -> str:
    """What is fitted, as the paper names it."""
    return "M1+M2" if options.codes else "M2"


def measure(labels: int, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """One fit, read from ``fits`` if it was made before, and its accuracy."""
    train, test = load(options)
    seen, asked, seconds = encoded(train, test, options) if options.codes else (train, test, 0.0)
    data = repeated(pv.data.labels_as_context(seen, labels, seed), options.share)
    alpha = options.alpha * labels / float(data.context.sum())  # of each copy
    epochs = epochs_of(len(data), options.batch, options.epochs, options.steps)
    torch.manual_seed(seed)
    program = semi_supervised.build(data, latents=options.latents, hidden=options.hidden, alpha=alpha)
    of_m1 = (options.codes, options.first) if options.codes else ()
    settings = {name: getattr(options, name) for name in ("latents", "hidden", "alpha", "share", "batch", "lr")}
    what = (train.name, *of_m1, labels, seed, epochs, len(train), *settings.values())
    fit = pv.fit(
        program,
        data,
        epochs=epochs,
        batch_size=options.batch,
        lr=options.lr,
        seed=seed,
        resume=options.out / "fits" / "-".join(map(str, what)),
        progress=False,
    )
    without = alone(pv.data.labels_as_context(train, labels, seed), options.hidden, seed)
    found = np.unique(train.labels)[q_y(fit.program, asked.x).argmax(-1).numpy()]
    return {
        "model": model(options),
        "labels": labels,
        "seed": seed,
        "images": len(train),
        "epochs": epochs,
        **settings,
        "accuracy": float((found == test.labels).mean()),
        "without the others": float(without.score(scaled(test), test.labels)),
        "tutorial": math.nan if options.digits or options.choose else TUTORIAL.get(labels, math.nan),
        "seconds": seconds + float(fit.history["seconds"].sum()),
    }


def draw(rows: pd.DataFrame, options: argparse.Namespace) -> plt.Figure:
    """Accuracy by labels: a dot for each fit, and the figures beside it."""
    figure, axes = plt.subplots(figsize=(6.5, 4.4), layout="constrained")
    shown = {"accuracy": ("#0072B2", model(options)), "without the others": ("#D55E00", "labelled images alone")}
    for name, (colour, label) in shown.items():
        axes.plot(rows["labels"], rows[name], "o", color=colour, alpha=0.6)
        means = rows.groupby("labels")[name].mean()
        axes.plot(means.index, means, color=colour, label=label)
    if not options.digits:
        axes.plot(list(TUTORIAL), list(TUTORIAL.values()), "k_", ms=14, mew=2, label="Pyro's tutorial, M2")
    axes.set(xscale="log", xlabel="labels", ylabel="accuracy on images held out")
    axes.set_title(f"{rows['images'].max():,} images, {rows['epochs'].max()} epochs", loc="left", fontsize=11)
    axes.legend(frameon=False)
    return figure


def findings(rows: pd.DataFrame, name: str) -> list[tuple[bool, str]]:
    """What the verdict is made of, from means over the seeds."""
    found = []
    for labels, row in rows.groupby("labels").mean(numeric_only=True).iterrows():
        ours, others, theirs = (row[name] for name in ("accuracy", "without the others", "tutorial"))
        said = f"{labels} labels give {name} {ours:.4f}, and {others:.4f} without the other images"
        found.append((ours > others, said))
        if not math.isnan(theirs):
            found.append((ours >= theirs, f"with {labels} the {theirs:.4f} of the tutorial's M2"))
    return found


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/semi_supervised"))
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 3000])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--codes", type=int, default=10, help="latents of M1; 0 for M2 of the images")
    parser.add_argument("--first", type=int, default=16, help="epochs of M1")
    parser.add_argument("--epochs", type=int, default=60, help="of M2")
    parser.add_argument("--steps", type=int, default=0, help="of a fit, at most; 0 for all of its epochs'")
    parser.add_argument("--images", type=int, default=0, help="train on the first of them; 0 for all")
    parser.add_argument("--latents", type=int, default=10, help="of M2")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=100.0, help="weight of log q(y|x) of each label")
    parser.add_argument("--share", type=float, default=0.1, help="of the rows, with a label")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--digits", action="store_true", help="the small digits instead of MNIST")
    parser.add_argument("--choose", action="store_true", help="score on training images left out, not on test images")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for labels in options.labels:
        for seed in range(options.seeds):
            rows.append(measure(labels, seed, options))
            print(f"{labels:>5} labels, seed {seed}: {rows[-1]['accuracy']:.4f}", flush=True)
    table = pd.DataFrame(rows)
    return answer("semi_supervised", options, table, lambda: draw(table, options), findings(table, model(options)))


if __name__ == "__main__":
    main()
