"""Is an amortised guide calibrated, and do the diagnostics that ask it agree?

On probabilistic PCA (Tipping & Bishop 1999; `models/ppca.py`) with the exact encoder, and with encoders whose standard
deviation is c times that of the posterior or whose mean is δ of them off, the answers of simulation-based calibration
(Talts et al. 2018, arXiv 1804.06788), of the bias test and of Pareto k̂ (Yao et al. 2018, arXiv 1802.02538) and of
interval coverage have closed forms, which stand beside them. Then the VAE of the digits, where nothing is known: k̂ of
held-out digits and of simulated ones, beside what the simulated ones alone can tell.

    python -m analysis.calibration --out runs/calibration --simulations 2000 --epochs 200

writes ``calibration.csv``, ``calibration.png`` and ``digits.png`` there and prints the table.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy.stats import multivariate_normal, norm
from torch import nn

import pyrovae as pv
from analysis.ppca_ground_truth import simulate
from models import ppca, vae
from pyrovae.diagnostics.calibration import calibration, coverage, pits
from pyrovae.diagnostics.sbc import sbc
from pyrovae.plots.calibration import plot_calibration

LATENTS = 3
DIGITS = "digits VAE"
CASES = {  # c, δ
    "exact": (1.0, 0.0),
    "sd × 0.9": (0.9, 0.0),
    "sd × 0.7": (0.7, 0.0),
    "sd × 0.5": (0.5, 0.0),
    "sd × 1.5": (1.5, 0.0),
    "mean + 0.3 sd": (1.0, 0.3),
    "mean − 1 sd": (1.0, -1.0),
}
NOMINAL = 0.9
LEVELS = np.linspace(0.05, 0.95, 19).round(2)
FIGURES = {"bias": "mean PIT − ½", "dispersion": "12 Var PIT", "coverage": "90 % interval", "khat": "k̂"}


def planted(x: torch.Tensor, c: float, delta: float) -> pv.VAE:
    """Probabilistic PCA at its maximum, with the exact encoder's sd times c and its mean moved by δ sd."""
    program = ppca.exact_program(x, LATENTS)
    bias = program.parts["guide"].network.layers[0].bias
    sd = nn.functional.softplus(bias[LATENTS:].detach())
    with torch.no_grad():
        bias[:LATENTS] += delta * sd
        bias[LATENTS:] = ppca.softplus_inverse(c * sd)
    return program


def closed(c: float, delta: float, draws: int, nominal: Any = NOMINAL) -> dict[str, Any]:
    """What each diagnostic should say: with u = Φ((Z − δ)/c) and Z ~ N(0, 1), E u = Φ(h), h = −δ/√(1 + c²), and E u² is
    the probability that two Normals with correlation 1/(1 + c²) are both below h. A rank is Binomial(draws, u)."""
    h, correlation = -delta / math.sqrt(1 + c**2), 1 / (1 + c**2)
    square = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf([h, h])
    mean, variance = norm.cdf(h), square - norm.cdf(h) ** 2
    half = c * norm.ppf((1 + np.asarray(nominal)) / 2)
    return {
        "bias": draws / (draws + 1) * (mean - 0.5),
        "dispersion": 12 * (draws**2 * variance + draws * (mean - square) + 1 / 12) / (draws + 1) ** 2,
        "coverage": norm.cdf(delta + half) - norm.cdf(delta - half),
        "khat": 1 - c**2 if c <= 1 else -2 / LATENTS,  # weights of a wide guide are bounded, reached as |z|² → 0
    }


def khat(program: Any, x: Any, draws: int) -> float:
    """The median Pareto k̂ over data."""
    tree = pv.posterior(program, x, draws=draws, predictive=0)
    return float(pv.diagnostics.pareto_k(tree)["pareto_k"].median())


def measure(program: Any, x: Any, simulations: int, draws: int) -> tuple[dict, xr.Dataset]:
    """What the diagnostics say of a program: means over latent dimensions, verdicts; and the ranks."""
    ranks = sbc(program, x, simulations=simulations, draws=draws)
    found = calibration(ranks).to_dataframe()
    latents = found.drop("log p")
    u = np.stack([v for name, v in pits(ranks).items() if name != "log p"])
    inside = np.abs(u - 0.5) <= NOMINAL / 2
    squares = 12 * (u - u.mean(1, keepdims=True)) ** 2
    made = pv.sample(program, x, draws=300)["prior_predictive"]["x"].values[0]
    row = {
        "bias": latents["bias"].mean(),
        "dispersion": latents["dispersion"].mean(),
        "coverage": float(coverage(ranks, [NOMINAL])["coverage"].mean()),
        "khat": khat(program, x, 5 * draws),
        "k̂ of simulated data": khat(program, torch.as_tensor(made), 5 * draws),
        "latents": ", ".join(f"{count} {verdict}" for verdict, count in latents["verdict"].value_counts().items()),
        "log p": found.loc["log p", "verdict"],
        "largest p": latents["adjusted_p"].max(),
    }
    errors = {
        name: v.std() / math.sqrt(u.size) for name, v in (("bias", u), ("dispersion", squares), ("coverage", inside))
    }
    return row | {f"{name} s.e.": error for name, error in errors.items()}, ranks


def compare(simulations: int, draws: int, epochs: int) -> tuple[pd.DataFrame, dict[str, xr.Dataset]]:
    """A row for each case: what was measured, beside what it should be where that is known; and the ranks."""
    x = simulate(latents=LATENTS)
    rows, ranks = [], {}
    for name, (c, delta) in CASES.items():
        row, ranks[name] = measure(planted(x, c, delta), x, simulations, draws)
        rows.append({"case": name} | row | {f"{k} exact": v for k, v in closed(c, delta, draws).items()})
    train, test = pv.data.load("digits").split(seed=0)
    torch.manual_seed(0)
    program = vae.build(train)
    fit = pv.fit(program, train, epochs=epochs, progress=False)
    row, ranks[DIGITS] = measure(fit, test, simulations, draws)
    rows.append({"case": DIGITS} | row)
    return pd.DataFrame(rows), ranks


def draw(table: pd.DataFrame, ranks: dict[str, xr.Dataset]) -> plt.Figure:
    """Coverage of each case and its closed form; bias and width of each, and where they should be."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    colours = dict(zip(CASES, plt.get_cmap("tab10").colors, strict=False)) | {DIGITS: "black"}
    for name, found in ranks.items():
        shares = coverage(found, LEVELS.tolist())["coverage"].mean("quantity")
        row, colour, marker = table.set_index("case").loc[name], colours[name], "o" if name in CASES else "s"
        left.plot(LEVELS, shares, marker, color=colour, ms=4, label=name)
        if name in CASES:
            left.plot(LEVELS, closed(*CASES[name], found.attrs["draws"], LEVELS)["coverage"], color=colour, lw=1)
            right.plot(row["bias exact"], row["dispersion exact"], "+", color="black", ms=13, zorder=3)
        right.plot(row["bias"], row["dispersion"], marker, color=colour, ms=7)
        right.annotate(
            name,
            (row["bias"], row["dispersion"]),
            (-8 if abs(row["bias"]) > 0.05 else 8, 4),
            ha="right" if abs(row["bias"]) > 0.05 else "left",
            textcoords="offset points",
            fontsize=9,
        )
    left.plot([0, 1], [0, 1], color="grey", lw=0.8)
    left.set(xlabel="nominal probability of q's central interval", ylabel="share of true latents inside")
    left.set_title("Coverage: dots measured, lines closed form", loc="left", fontsize=11)
    left.legend(fontsize=8.5, frameon=False)
    right.axhline(1, color="grey", lw=0.8)
    right.axvline(0, color="grey", lw=0.8)
    right.set(xlabel="mean PIT − ½: < 0 where q lies too high", ylabel="12 Var PIT: > 1 where q is too narrow")
    right.margins(0.45, 0.1)
    right.set_title("Bias and width: crosses are closed forms", loc="left", fontsize=11)
    return figure


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each figure and its closed form in one cell."""
    out = table[["case"]].copy()
    for name, title in FIGURES.items():
        exact = table[f"{name} exact"].map(lambda v: "" if np.isnan(v) else f" ({v:.2f})")
        out[f"{title} (exact)"] = table[name].map("{:.2f}".format) + exact
    out["k̂ simulated"] = table["k̂ of simulated data"].map("{:.2f}".format)
    out["latent dimensions"], out["log p(z, x)"] = table["latents"], table["log p"]
    return out


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/calibration"))
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=200)
    options = parser.parse_args(arguments)
    table, ranks = compare(options.simulations, options.draws, options.epochs)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "calibration.csv", index=False)
    for name, figure in (("calibration", draw(table, ranks)), ("digits", plot_calibration(ranks[DIGITS]))):
        figure.savefig(options.out / f"{name}.png", dpi=150)
        plt.close(figure)
    with pd.option_context("display.width", 220, "display.max_columns", 20, "display.max_colwidth", 60):
        print(readable(table).to_string(index=False))
    known = table[table["case"] != DIGITS]
    off = max(
        float(((known[n] - known[f"{n} exact"]) / known[f"{n} s.e."]).abs().max()) for n in FIGURES if n != "khat"
    )
    print(f"\nfurthest from a closed form: {off:.1f} standard errors")
    return table


if __name__ == "__main__":
    main()
