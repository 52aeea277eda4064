"""Does β trade rate for distortion, at the price that it names?

The claim: the weight of the KL divergence sets how much the code is held to the prior, and with it how much it says of
the data. The note that explains the loss says so ("tweaked by scaling the divergence term by a hyperparameter"), the
encyclopaedia's article says it of the β-VAE. Alemi et al. 2018, arXiv 1711.00464, say what is traded: rate
R = E KL(q(z|x) ‖ p(z)) and distortion D = −E log p(x|z). The β-VAE minimises D + βR, so that of two fits i and j with
β_i < β_j neither can be better by the other's measure,

    β_i ≤ (D_j − D_i)/(R_i − R_j) ≤ β_j:

each secant of the curve has a slope between the two weights, and dD/dR = −β in the limit. This needs no smoothing, and
holds for every family of networks, at the optimum of the training data, where R + D = −ELBO is lowest at β = 1.

The VAE of the digits (8 latents, two hidden layers of 128, Binomial pixels), with its KL in closed form, is fitted with
each β from each seed, in batches of 300 and with twice the usual rate: a third of the time. Four checks decide: R falls
and D rises with β; the secants keep their bounds; R + D is lowest at β = 1; the active units (Var_x(E[z_j|x]) > .01)
fall with β. Each may fail by two standard errors over the seeds. That optimum is one of training data: R + D of
held-out digits stands beside it, and is no part of the verdict.

    python -m analysis.rate_distortion --out runs/rate_distortion --seeds 3

writes ``rate_distortion.csv`` and ``rate_distortion.png`` there and prints the table; the fits are kept in ``fits``.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
from pyro.infer import TraceMeanField_ELBO

import pyrovae as pv
from analysis._claims import answer, digits, parse

NAME = "rate_distortion"
BETAS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
LATENTS, HIDDEN, DRAWS = 8, (128, 128), 20
WITHIN = 2.0  # standard errors over seeds


def measure(beta: float, seed: int, options: argparse.Namespace) -> tuple[dict[str, float], xr.DataTree]:
    """One fit: its place on the curve of the training data, in nats per datum, and their tree."""
    train, test = digits(options)
    torch.manual_seed(seed)
    vae = pv.VAE(
        pv.priors.Normal(LATENTS),
        pv.likelihoods.Binomial(16, pv.networks.MLP(LATENTS, HIDDEN, 64)),
        pv.guides.Normal(pv.networks.MLP(64, HIDDEN, 2 * LATENTS)),
        loss=pv.objectives.Beta(beta, elbo=TraceMeanField_ELBO()),
    )
    kept = options.out / "fits" / f"{beta:g}-{seed}-{options.epochs}-{len(train)}"
    settings = {"epochs": options.epochs, "batch_size": 300, "lr": 8e-3, "seed": seed, "progress": False}
    fit = pv.fit(vae, train, resume=kept, **settings)
    tree, other = (pv.posterior(fit, data, draws=DRAWS, predictive=0) for data in (train, test))
    place = {k: v.values.item() for k, v in pv.diagnostics.rate_distortion(tree).items()}
    row = {"β": beta, "seed": seed, "R": place["rate"], "D": place["distortion"], "R + D": -place["elbo"]}
    row["R + D, held out"] = -pv.diagnostics.rate_distortion(other)["elbo"].values.item()
    row["active"] = int(pv.diagnostics.active_units(tree)["active"].sum())
    return row, tree


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds by β, standard errors, and the slope of the secant to the next β, seed by seed."""
    groups = rows.drop(columns="seed").groupby("β")
    table = groups.mean().reset_index()
    error = groups.sem().reset_index()
    for name in ("R", "D", "R + D"):
        table[f"± {name}"] = error[name]
    rate, distortion = (rows.pivot(index="seed", columns="β", values=name).to_numpy() for name in ("R", "D"))
    slopes = np.diff(distortion) / -np.diff(rate)
    spread = np.std(slopes, 0, ddof=1) if len(slopes) > 1 else np.zeros(slopes.shape[1])
    table["slope"] = [*slopes.mean(0), np.nan]
    table["± slope"] = [*spread / np.sqrt(len(slopes)), np.nan]
    low, high = table["slope"] + WITHIN * table["± slope"], table["slope"] - WITHIN * table["± slope"]
    kept = [bool(low[i] >= a and high[i] <= b) for i, (a, b) in enumerate(pairwise(table["β"]))]
    table["between"] = [*kept, np.nan]
    return table


def findings(table: pd.DataFrame) -> list[tuple[bool, str]]:
    """What the verdict is made of; differences may fail by two standard errors."""

    def monotone(name: str, sign: int) -> bool:
        slack = WITHIN * np.hypot(table[f"± {name}"], table[f"± {name}"].shift())
        return bool((sign * table[name].diff() >= -slack)[1:].all())

    total, one = table["R + D"], int((table["β"] - 1).abs().idxmin())
    slack = WITHIN * np.hypot(table["± R + D"], table.loc[one, "± R + D"])
    kept, secants = int(table["between"].eq(True).sum()), len(table) - 1
    lowest, used = table.loc[total.idxmin(), "β"], table["active"]
    return [
        (
            monotone("R", -1) and monotone("D", 1),
            f"R falls ({_ends(table, 'R')} nats) and D rises ({_ends(table, 'D')})",
        ),
        (kept == secants, f"{kept} of {secants} secants have slopes between their two β"),
        (
            bool((total[one] <= total + slack).all()),
            f"R + D of the training data is lowest at β = {lowest:g}, not 1"
            if lowest != 1
            else "R + D of the training data is lowest at β = 1",
        ),
        (bool((used.diff()[1:] <= 0).all()), f"active units fall from {used.iloc[0]:g} to {used.iloc[-1]:g}"),
    ]


def _ends(table: pd.DataFrame, name: str) -> str:
    return f"{table[name].iloc[0]:.1f} → {table[name].iloc[-1]:.1f}"


def draw(table: pd.DataFrame, trees: dict[str, xr.DataTree]) -> plt.Figure:
    """The curve, its slope, what it costs, and the latents that it uses."""
    figure, axes = plt.subplots(1, 4, figsize=(19, 4.6), layout="constrained")
    pv.plots.plot_rate_distortion(trees, ax=axes[0])
    beta = table["β"].to_numpy()
    for (a, b), slope, error in zip(pairwise(beta), table["slope"], table["± slope"], strict=False):
        axes[1].fill_between([a, b], a, b, color="#cdd9e5", lw=0)
        axes[1].errorbar(np.sqrt(a * b), slope, WITHIN * error, fmt="o", color="#D55E00", capsize=3)
    axes[1].plot(beta, beta, color="black", lw=1)
    axes[1].set(xscale="log", yscale="log", xlabel="β", ylabel="−ΔD/ΔR of neighbours")
    axes[1].set_title("Secants; shaded: where they must be", loc="left", fontsize=11)
    for name, colour in (("R + D", "#0072B2"), ("R + D, held out", "#E69F00")):
        axes[2].plot(beta, table[name], "o-", color=colour, label=name)
    axes[2].axvline(1, color="black", lw=1)
    axes[2].set(xscale="log", xlabel="β", ylabel="−ELBO (nats per datum)")
    axes[2].set_title("The ELBO asks for β = 1", loc="left", fontsize=11)
    axes[2].legend(frameon=False)
    axes[3].plot(beta, table["active"], "o-", color="#0072B2")
    axes[3].set(xscale="log", xlabel="β", ylabel=f"active units of {LATENTS}", ylim=(0, LATENTS + 0.5))
    axes[3].set_title("Latents in use", loc="left", fontsize=11)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=150, seeds=3)
    found = [(measure(beta, seed, options), (beta, seed)) for beta in BETAS for seed in range(options.seeds)]
    table = summarise(pd.DataFrame([row for (row, _), _ in found]))
    trees = {f"β = {beta:g}": tree for (_, tree), (beta, seed) in found if seed == 0}
    return answer(NAME, options, table, lambda: draw(table, trees), findings(table))


if __name__ == "__main__":
    main()
