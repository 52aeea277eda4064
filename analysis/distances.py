"""Do the statistical distances match the codes to the prior, and which does it best at equal reconstruction?

The claim, the encyclopaedia's article: "more recent approaches replace Kullback–Leibler divergence with various
statistical distances", so that the loss is a reconstruction error and d² between the prior and the pushforward of the
data, which "ensures" that "we recover the target distribution"; d² must be an expectation, so that it can be estimated.

First the estimates, beside the closed form, of codes N(δ, c² I) and draws of N(0, I) in eight dimensions: the mean over
repetitions less d², what is expected of it (0 of a U-statistic, and of a V-statistic what the pairs of a point with
itself add), and the spread. The closed forms are those of Gaussian integrals, for the inverse multiquadratic one over
its scale by quadrature, for the energy distance Kummer's function, and |δ|²/L + (1 − c)² for the sliced Wasserstein
distance, of whose estimate no bias is known in closed form.

Then the digits: VAE (Kingma & Welling), MMD-VAE (Zhao et al. 2017, 1706.02262), WAE-MMD (Tolstikhin et al. 2018,
1711.01558), SWAE (Kolouri et al. 2018, 1804.01947) and the Radon–Sobolev VAE (Turinici 2021, 1911.13135), of the same
networks with 8 latents, each with several weights of its second term (of the KL for the VAE), and from several seeds.
"effect" is the energy between codes of held-out digits and the prior, as a share of its largest (.01 is a shift of all
dimensions by .2: `pyrovae.diagnostics.prior_match`), p its permutation test, D = −mean log p(x|z) of the same digits.
As weights of different d² are not comparable, each curve is interpolated where D is that of the VAE with β = 1; the
"lowest" effect of any weight, chosen on the same digits, stands beside it, and the plain autoencoder. Training is short
(60 epochs, batches of 150, a rate of .006), the same for all, and so are the 1,000 draws of the prior.

    python -m analysis.distances --out runs/distances --seeds 2

writes ``distances.csv`` (by variant), ``distances_fits.csv``, ``distances_estimates.csv`` and ``distances.png`` there;
the fits are kept in ``fits``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.integrate import quad
from scipy.special import hyp1f1
from torch import Tensor

import pyrovae as pv
from analysis._claims import answer, digits, parse
from models import autoencoder, mmd_vae, radon_sobolev, swae, vae, wae_mmd
from pyrovae.objectives import MMD, RBF, Energy, InverseMultiquadratic, SlicedWasserstein

NAME = "distances"
LATENTS, SHIFT, SPREAD = 8, 0.5, 0.8  # |δ| and c of part one
SIZES, REPEATS = (25, 100, 400), 100
WITHIN = 4.0  # Monte Carlo standard errors
AE, VAE = "autoencoder", "VAE"
WEIGHTS: dict[str, tuple[float, ...]] = {
    VAE: (0.1, 0.3, 1, 3),
    **dict.fromkeys(("MMD-VAE", "WAE-MMD", "SWAE"), (10, 100, 300, 1000)),
    "Radon–Sobolev": (10, 100, 1000, 3000),
}
REFERENCE = 1.0  # β, of the VAE at whose D the others are compared
COLOURS = dict(zip(WEIGHTS, ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7"), strict=True))


# Part one: estimates and closed forms.


def of_kernel(distance: MMD, squared: float, variance: float) -> float:
    """E k(a, b) where a − b ~ N(m, variance · I) with |m|² = squared."""
    kernel = distance.kernel

    def gaussian(rate: float) -> float:
        """E exp(−rate |a − b|²)."""
        wide = 1 + 2 * rate * variance
        return wide ** (-LATENTS / 2) * math.exp(-rate * squared / wide)

    if isinstance(kernel, RBF):
        return sum(gaussian(1 / (2 * g)) for g in kernel.widths(LATENTS))
    # c/(c + r²) = ∫ exp(−u) exp(−u r²/c) du
    sizes = [2 * LATENTS * s for s in kernel.scales]
    return sum(quad(lambda u, c=c: math.exp(-u) * gaussian(u / c), 0, math.inf)[0] for c in sizes)


def mean_distance(squared: float, variance: float) -> float:
    """E|a − b| of the same."""
    g = math.exp(math.lgamma((LATENTS + 1) / 2) - math.lgamma(LATENTS / 2))
    return math.sqrt(2 * variance) * g * float(hyp1f1(-0.5, LATENTS / 2, -squared / (2 * variance)))


def exact(distance: Any, n: int) -> tuple[float, float]:
    """d² of N(δ, c² I) and N(0, I), and the bias of the estimate with n of each; NaN where it is not known."""
    apart, c2 = SHIFT**2, SPREAD**2
    pairs = ((apart, c2 + 1), (0.0, 2 * c2), (0.0, 2.0))
    biased = not getattr(distance, "unbiased", True)
    if isinstance(distance, MMD):
        across, own, rest = (of_kernel(distance, *pair) for pair in pairs)
        same = of_kernel(distance, 0.0, 0.0)
        return own + rest - 2 * across, biased * (2 * same - own - rest) / n
    if isinstance(distance, Energy):
        across, own, rest = (mean_distance(*pair) for pair in pairs)
        return across - own / 2 - rest / 2, biased * (own + rest) / (2 * n)
    return apart / LATENTS + (1 - SPREAD) ** 2, math.nan


def estimates(repeats: int) -> pd.DataFrame:
    """Each estimate by sample size: bias beside what is expected of it, with its standard error, and spread."""
    distances: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "MMD, RBF, U": MMD(),
        "MMD, RBF, V": MMD(unbiased=False),
        "MMD, RBF, U, prior exact": MMD(closed=True),
        "MMD, multiquadratic, U": MMD(InverseMultiquadratic()),
        "MMD, multiquadratic, V": MMD(InverseMultiquadratic(), unbiased=False),
        "energy, U": Energy(),
        "energy, V": Energy(unbiased=False),
        "energy, U, prior exact": Energy(closed=True),
        "sliced": SlicedWasserstein(),
        "sliced, prior exact": SlicedWasserstein(closed=True),
    }
    generator, rows = torch.Generator().manual_seed(0), []
    shift = torch.full((LATENTS,), SHIFT / math.sqrt(LATENTS), dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # directions of the slices
        for n in SIZES:
            draws = torch.randn(repeats, 2, n, LATENTS, dtype=torch.float64, generator=generator)
            for name, distance in distances.items():
                found = np.array([float(distance(shift + SPREAD * z, y)) for z, y in draws])
                value, bias = exact(distance, n)
                error = found.std(ddof=1) / math.sqrt(repeats)
                row = {"estimate": name, "n": n, "d²": value, "bias": found.mean() - value, "± bias": error}
                rows.append(row | {"expected": bias, "spread": found.std(ddof=1)})
    table = pd.DataFrame(rows)
    table["off"] = (table["bias"] - table["expected"]) / table["± bias"]
    return table


# Part two: digits.


def build(variant: str, weight: float, data: pv.Data) -> pv.VAE:
    """One of the models with a weight of its second term."""
    if variant == VAE:
        parts = vae.build(data, latents=LATENTS).parts
        return pv.VAE(parts["prior"], parts["likelihood"], parts["guide"], loss=pv.objectives.Beta(weight))
    if variant == AE:
        return autoencoder.build(data, latents=LATENTS)
    if variant == "MMD-VAE":
        return mmd_vae.build(data, latents=LATENTS, lambda_=weight)
    model = {"WAE-MMD": wae_mmd, "SWAE": swae, "Radon–Sobolev": radon_sobolev}[variant]
    return model.build(data, latents=LATENTS, weight=weight)


def measure(variant: str, weight: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One fit: D, and how far the codes of held-out digits are from the prior."""
    train, test = digits(options)
    torch.manual_seed(seed)
    kept = options.out / "fits" / f"{variant}-{weight:g}-{seed}-{options.epochs}-{len(train)}"
    settings = {"epochs": options.epochs, "batch_size": 150, "lr": 6e-3, "seed": seed, "progress": False}
    fit = pv.fit(build(variant, weight, train), train, resume=kept, **settings)
    tree = pv.posterior(fit, test, draws=1000, predictive=0)  # the prior's draws are the same for all
    match = pv.diagnostics.prior_match(tree, permutations=99, corrected=False)
    return {
        "variant": variant,
        "weight": weight,
        "seed": seed,
        "D": -float(tree["sample_stats"]["log_lik"].mean()),
        "effect": match["effect"].values.item(),
        "p": match["p_value"].values.item(),
    }


def interpolated(fits: pd.DataFrame, reference: float) -> float:
    """The effect where D is that of the reference, linear between weights; NaN if no weight comes so far.

    Of weights below that with the lowest D, which only describe the training data better, nothing is taken.
    """
    curve = fits.sort_values("weight", ignore_index=True)
    curve = curve[curve["D"].idxmin() :].sort_values("D")
    return float(np.interp(reference, curve["D"], curve["effect"], left=np.nan, right=np.nan))


def summarise(fits: pd.DataFrame) -> pd.DataFrame:
    """By variant: the effect at the reference's D, mean over seeds and its standard error, and its best weight."""
    is_reference = (fits["variant"] == VAE) & (fits["weight"] == REFERENCE)
    reference = fits[is_reference].set_index("seed")["D"]
    rows = []
    for variant in WEIGHTS:
        mine = fits[fits["variant"] == variant]
        effects = pd.Series([interpolated(mine[mine["seed"] == s], d) for s, d in reference.items()])
        by_weight = mine.groupby("weight").mean(numeric_only=True)
        best = by_weight["effect"].idxmin()
        rows.append(
            {
                "variant": variant,
                "effect": effects.mean(skipna=False),
                "± effect": effects.sem(skipna=False) if len(effects) > 1 else 0.0,
                "lowest": by_weight.loc[best, "effect"],
                "its weight": best,
                "its D": by_weight.loc[best, "D"],
                "its p": mine[mine["weight"] == best]["p"].min(),
            }
        )
    table = pd.DataFrame(rows)
    table.insert(1, "D", reference.mean())
    return table


def findings(table: pd.DataFrame, fits: pd.DataFrame, estimated: pd.DataFrame) -> list[tuple[bool, str]]:
    """What the verdict is made of."""
    known = estimated.dropna(subset=["off"])
    good, plain = known["off"].abs() < WITHIN, fits.loc[fits["variant"] == AE, "effect"].mean()
    kl, others = table.iloc[0], table.iloc[1:]
    told = [
        (bool(good.all()), f"{good.sum()} of {len(good)} estimates have the bias that is expected of them"),
    ]
    for _, row in others.iterrows():
        told.append(
            (
                bool(row["lowest"] < plain / 10),
                f"{row['variant']} brings the effect from {plain:.2g} (autoencoder) to {row['lowest']:.2g}",
            )
        )
    low = others["effect"] < kl["effect"] - 2 * np.hypot(others["± effect"], kl["± effect"])
    effects = ", ".join(f"{row['variant']} {row['effect']:.2g}" for _, row in others.iterrows())
    told.append(
        (
            bool(low.all()),
            f"at the reconstruction of the reference (D = {kl['D']:.1f}) {low.sum()} of {len(low)} match the prior "
            f"better than the KL does ({kl['effect']:.2g}): {effects}",
        )
    )
    return told


def draw(fits: pd.DataFrame, table: pd.DataFrame, estimated: pd.DataFrame) -> plt.Figure:
    """Bias and spread of the estimates, and prior match against reconstruction."""
    figure, axes = plt.subplots(1, 3, figsize=(18, 4.8), layout="constrained")
    for k, (name, rows) in enumerate(estimated.groupby("estimate", sort=False)):
        look = {"label": name, "color": f"C{k}", "marker": "o", "mfc": "none"}
        axes[0].plot(rows["n"], (rows["bias"] / rows["d²"]).abs(), **look)
        axes[1].plot(rows["n"], rows["spread"] / rows["d²"], **look)
    for ax, title in zip(axes, ("|bias|, as a share of d²", "standard deviation, as a share of d²"), strict=False):
        ax.set(xscale="log", yscale="log", xlabel="codes, and draws of the prior")
        ax.set_xticks(SIZES, list(map(str, SIZES)))
        ax.minorticks_off()
        ax.set_title(title, loc="left", fontsize=11)
    axes[1].legend(frameon=False, fontsize=8)
    floor = 1e-4
    for variant, colour in COLOURS.items():
        rows = fits[fits["variant"] == variant]
        means = rows.groupby("weight").mean(numeric_only=True)
        axes[2].plot(rows["D"], rows["effect"].clip(lower=floor), "o", ms=4, alpha=0.5, color=colour)
        axes[2].plot(means["D"], means["effect"].clip(lower=floor), "-", color=colour, label=variant)
    plain = fits[fits["variant"] == AE]
    axes[2].plot(plain["D"], plain["effect"], "k*", ms=9, label=AE)
    axes[2].axvline(table["D"].iloc[0], color="black", lw=1)
    axes[2].set(
        yscale="log",
        xlabel="D, held-out digits (nats per datum)",
        ylabel="effect: codes against prior (at the foot: 0)",
    )
    axes[2].legend(frameon=False, fontsize=9)
    axes[2].set_title("Prior match at equal reconstruction", loc="left", fontsize=11)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=60, seeds=2)
    estimated = estimates(10 if options.data else REPEATS)
    planned = [(AE, 0.0), *((variant, weight) for variant, weights in WEIGHTS.items() for weight in weights)]
    fits = pd.DataFrame([measure(*case, seed, options) for case in planned for seed in range(options.seeds)])
    table = summarise(fits)
    estimated.to_csv(options.out / "distances_estimates.csv", index=False)
    fits.to_csv(options.out / "distances_fits.csv", index=False)
    for shown in (estimated, fits):
        print(shown.to_string(index=False, float_format="{:.4g}".format, na_rep="–"), end="\n\n")
    found = findings(table, fits, estimated)
    return answer(NAME, options, table, lambda: draw(fits, table, estimated), found)


if __name__ == "__main__":
    main()
