"""What the analyses of the source notes' claims share: the fits on digits, and how an answer is written and printed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr

import pyrovae as pv
from models import autoencoder, vae

VAE, AE, BETA = "VAE", "autoencoder", "β = 4"
COLOURS = {VAE: "#0072B2", AE: "#D55E00", BETA: "#009E73"}
LATENTS = 8


def fitted(kind: str, data: pv.Data, options: argparse.Namespace, seed: int = 0) -> pv.Fit:
    """A fit of the same networks, kept in ``fits``: Normal guide and ELBO, that with β = 4, or a point and no KL."""
    torch.manual_seed(seed)
    program = (autoencoder if kind == AE else vae).build(data, latents=LATENTS)
    loss = pv.objectives.Beta(4) if kind == BETA else None
    kept = options.out / "fits" / f"{kind.replace(' = ', '-')}-{seed}-{options.epochs}-{len(data)}"
    return pv.fit(program, data, loss=loss, epochs=options.epochs, seed=seed, resume=kept, progress=False)


def digits(options: argparse.Namespace) -> tuple[pv.Data, pv.Data]:
    """Training and held-out digits, the first of them if so many were asked for."""
    train, test = pv.data.load("digits").split(seed=0)
    few = options.data or len(train)
    return train.take(range(min(few, len(train)))), test.take(range(min(few, len(test))))


def codes(fit: pv.Fit, data: pv.Data, draws: int = 1, seed: int = 0) -> np.ndarray:
    """Draws of q(z|x), (draw, datum, latent); of a point, the point."""
    tree: xr.DataTree = pv.posterior(fit, data, draws=draws, predictive=0, seed=seed)
    return tree["posterior"]["z"].values[fit.best].astype(float)


def positive[T: (int, float)](kind: type[T]) -> Callable[[str], T]:
    """What `argparse` reads a number above 0 by."""

    def number(text: str) -> T:
        if not (value := kind(text)) > 0:
            raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
        return value

    return number


def parse(
    name: str, doc: str, arguments: list[str] | None, *, epochs: int | None = None, seeds: int | None = None
) -> argparse.Namespace:
    """The options that the analysis has; its folder is made."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / name)
    if epochs is not None:
        parser.add_argument("--epochs", type=positive(int), default=epochs)
        parser.add_argument("--data", type=int, default=0, help="digits of either half; 0 for all")
    if seeds is not None:
        parser.add_argument("--seeds", type=positive(int), default=seeds)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def verdict(findings: Iterable[tuple[bool, str]]) -> str:
    """One line that the findings alone decide: each is whether a part of the claim holds, and what was found."""
    found = list(findings)
    held, failed = ("; ".join(text for holds, text in found if holds is which) for which in (True, False))
    if not failed:
        return f"holds: {held}"
    return f"holds in part: {held}; but not: {failed}" if held else f"does not hold: {failed}"


def answer(
    name: str,
    options: argparse.Namespace,
    table: pd.DataFrame,
    draw: Callable[[], plt.Figure],
    findings: Iterable[tuple[bool, str]],
) -> pd.DataFrame:
    """Write the table and the figure, print the table and, last, the verdict."""
    table.to_csv(options.out / f"{name}.csv", index=False)
    figure = draw()
    figure.savefig(options.out / f"{name}.png", dpi=130)
    plt.close(figure)
    with pd.option_context("display.width", 220, "display.max_columns", 20, "display.max_colwidth", 90):
        print(table.to_string(index=False, float_format="{:.4g}".format, na_rep="–"))
    print(f"\nverdict: {verdict((bool(holds), text) for holds, text in findings)}")
    return table
