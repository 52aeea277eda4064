"""Does evolution find what the data were made of?

The bars test (Földiák 1990; Drefs, Guiraud & Lücke 2022, JMLR 23(21)): images of side × side pixels are sums of a few
of 2 · side bars, rows and columns, each of its own intensity, and noise. Which bars there are is known, and that a
program finds them is not: each datum has 2^H sets of bars, and neither an encoder nor a gradient tells which. Compared
over ten seeds, each with data and a start of its own, are

- `models/sparse_coding.py`, the model that the data are from, by EM alone;
- `models/evolutionary.py` with a linear decoder, for which a bar has one intensity;
- the same with a deep decoder, for which bars need not add up.

A bar counts as recovered if, of the best matching one to one, what its latent adds to the image has a cosine above .9
with it. There are half as many latents again as bars: with no latent to spare, a local maximum that merges two bars is
often the end. The bound of each program stands beside the count.

    python -m analysis.bars --out runs/bars

writes ``bars.csv`` and ``bars.png`` there and prints the table, a row for each seed and program, and the totals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

import pyrovae as pv
from analysis._claims import positive
from models import evolutionary, sparse_coding

ACTIVE, INTENSITY, SPREAD, NOISE = 2.0, 3.0, 0.5, 0.5  # bars of an image; intensity of a bar, its s.d.; noise
SPARE, MATCH = 1.5, 0.9  # latents for each bar; cosine
SEARCH: dict[str, Any] = {"states": 16, "children": 16}


def planted(side: int) -> Tensor:
    """The bars (2 · side, side²)."""
    rows = torch.eye(side).repeat_interleave(side, 1)
    return torch.cat([rows, rows.view(side, side, side).mT.reshape(side, -1)])


def simulate(side: int, n: int, seed: int) -> Tensor:
    """Images (n, side²)."""
    generator = torch.Generator().manual_seed(seed)
    made = planted(side)
    on = torch.rand(n, len(made), generator=generator) < ACTIVE / len(made)
    intensity = INTENSITY + SPREAD * torch.randn(n, len(made), generator=generator)
    return (on * intensity) @ made + NOISE * torch.randn(n, side**2, generator=generator)


def recovered(found: Tensor, made: Tensor) -> int:
    """How many of the bars that were planted are among the fields found (latents, features), matched one to one."""
    cosine = (normalize(made) @ normalize(found).T).abs()
    return int((cosine[linear_sum_assignment(-cosine)] > MATCH).sum())


def fields(likelihood: Callable[[Tensor], Any], latents: int) -> Tensor:
    """What each latent adds to the mean image when it alone is 1, (latents, features)."""
    with torch.no_grad():
        mean = likelihood(torch.cat([torch.zeros(1, latents), torch.eye(latents)])).mean
    return mean[1:] - mean[:1]


Made = tuple[pv.VAE, Any, dict[str, Any]]


def _sparse(data: pv.Data, latents: int) -> Made:
    program = sparse_coding.build(data, latents=latents, active=ACTIVE, **SEARCH)
    return program, program.parts["prior"], {"epochs": 30, "batch_size": len(data)}


def _evolved(*hidden: int) -> Callable[[pv.Data, int], Made]:
    def make(data: pv.Data, latents: int) -> Made:
        program = evolutionary.build(data, latents=latents, hidden=hidden, active=ACTIVE, **SEARCH)
        return program, program.parts["likelihood"], {"epochs": 60, "batch_size": 100, "lr": 0.03}

    return make


MODELS: dict[str, Callable[[pv.Data, int], Made]] = {
    "sparse coding": _sparse,
    "linear decoder": _evolved(),
    "deep decoder": _evolved(32),
}


def measure(name: str, side: int, n: int, seed: int, share: float) -> tuple[dict[str, Any], Tensor]:
    """A row of the table, and the fields."""
    torch.manual_seed(seed)
    data, latents = pv.Data(simulate(side, n, seed)), round(SPARE * 2 * side)
    program, likelihood, training = MODELS[name](data, latents)
    training["epochs"] = max(2, round(share * training["epochs"]))
    fit = pv.fit(program, data, seed=seed, progress=False, **training)
    found = fields(likelihood, latents)
    row = {
        "model": name,
        "seed": seed,
        "bars": 2 * side,
        "recovered": recovered(found, planted(side)),
        "bound": float(fit.history["elbo"].values[0, -1]),
    }
    return row, found


def draw(shown: dict[str, Tensor], side: int) -> plt.Figure:
    """The fields of the last seed: a row of images for each program, the longest first, below the bars."""
    shown = {"planted": planted(side)} | shown
    columns = max(map(len, shown.values()))
    figure, axes = plt.subplots(len(shown), columns, figsize=(0.55 * columns, 0.75 * len(shown)), layout="constrained")
    for row, (name, images) in zip(axes, shown.items(), strict=True):
        row[0].set_title(name, loc="left", fontsize=9)
        images = images[images.norm(dim=1).argsort(descending=True, stable=True)]
        for i, ax in enumerate(row):
            ax.set_axis_off()
            if i < len(images):
                limit = float(images.abs().max())
                ax.imshow(images[i].view(side, side).numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/bars"))
    parser.add_argument("--seeds", type=positive(int), default=10)
    parser.add_argument("--side", type=positive(int), default=5)
    parser.add_argument("--data", type=positive(int), default=500)
    parser.add_argument("--share", type=positive(float), default=1.0, help="of the usual number of epochs")
    options = parser.parse_args(arguments)
    rows, shown = [], {}
    for name in MODELS:
        for seed in range(options.seeds):
            row, shown[name] = measure(name, options.side, options.data, seed, options.share)
            rows.append(row)
    options.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "bars.csv", index=False)
    figure = draw(shown, options.side)
    figure.savefig(options.out / "bars.png", dpi=150)
    plt.close(figure)
    print(table.to_string(index=False, float_format="{:.2f}".format))
    print()
    for name, mine in table.groupby("model", sort=False):
        whole = int((mine["recovered"] == mine["bars"]).sum())
        print(
            f"{name}: {mine['recovered'].sum()} of {mine['bars'].sum()} bars, all of them with {whole} of {len(mine)} "
            f"seeds; bound {mine['bound'].mean():.2f} nats per datum"
        )
    return table


if __name__ == "__main__":
    main()
