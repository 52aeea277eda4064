"""Does changing one latent, and holding the rest, change one property?

The claim, the note that explains the loss: the KL divergence makes the latents "more independent of each other and
makes them in some cases reflect human understandable properties", and "modifying one and leaving the rest the same can
have the effect of only modifying that property"; more so the larger its weight. The encyclopaedia's article says of the
β-VAE that it finds "factorised latent representations" for β > 1 (Higgins et al. 2017).

It takes known properties to answer, as in dSprites: 1,024 images of 16 × 16 pixels of a square with a side and an
intensity at (x, y), 8 · 8 · 4 · 4 values, each pixel the area of it that is covered, times the intensity. The pixels
are Normal with a standard deviation of .1. Fitted are the VAE, β = 4 and 16, β-TCVAE (Chen et al. 2018, arXiv
1802.04942) and FactorVAE (Kim & Mnih 2018, arXiv 1802.05983), with six latents for four properties and two hidden
layers of 128, each from several seeds. Of each fit,

- one latent moves through the central 96 % of the prior, the others stay at the posterior means of an image. What is
  decoded has the properties of the image of the set that is nearest to it. Their variances along the way, in units of
  those in the set and averaged over 64 images, make the row of a latent; its largest share is how far the latent
  changes *one* property, and at .8 it does. "purity" is this share over all latents in use (Var_x(E[z_j|x]) > .01),
  each with the weight of what it changes. A decoder that draws the squares exactly has .95: a place between two of
  the set looks fainter;
- "turned" is the purity of the same code with axes turned at random (among the latents in use), mean of eight: what
  there would be without the help of the axes;
- MIG, SAP and DCI's disentanglement, `pyrovae.diagnostics.disentanglement`. Without supervision nothing asks for
  these axes (Locatello et al. 2019, arXiv 1811.12359), and scores vary by seed: each seed is a dot.

Training is short (200 epochs, batches of 128), and a verdict is one of these settings. By model it is "holds" where at
least .9 of the latents in use of all seeds change one property, "in part" where purity exceeds that of turned axes by
two standard errors over seeds, else "does not hold".

    python -m analysis.one_latent_at_a_time --out runs/one_latent --seeds 3

writes ``one_latent_at_a_time.csv`` (by model), ``one_latent_by_seed.csv`` and ``one_latent_at_a_time.png`` there; the
fits are kept in ``fits``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import pyrovae as pv
from analysis._claims import answer, parse

NAME = "one_latent_at_a_time"
SIDE, LATENTS, HIDDEN, NOISE = 16, 6, (128, 128), 0.1
FACTORS = ("x", "y", "side", "intensity")
VALUES = (np.linspace(4, 12, 8), np.linspace(4, 12, 8), np.linspace(3, 7, 4), np.linspace(0.4, 1, 4))
STARTS, STEPS, TAIL, TURNS = 64, 9, 0.02, 8
ONE, MOST, WITHIN = 0.8, 0.9, 2.0  # of a latent's share, of the latents in use, standard errors over seeds
MODELS: dict[str, Callable[[], Any]] = {
    "VAE": lambda: pv.objectives.Beta(1),
    "β = 4": lambda: pv.objectives.Beta(4),
    "β = 16": lambda: pv.objectives.Beta(16),
    "β-TCVAE, β = 16": lambda: pv.objectives.TotalCorrelation(16),
    "FactorVAE, γ = 16": lambda: pv.objectives.TotalCorrelation(16, critic=pv.networks.MLP(LATENTS, HIDDEN, 2)),
}


def render(factors: np.ndarray) -> np.ndarray:
    """Images (n, 256) of squares (n, 4): x, y, side, intensity. Each pixel is the area covered, times intensity."""
    x, y, side, intensity = factors.T[..., None]
    left = np.arange(SIDE)
    wide, tall = (np.clip(np.minimum(left + 1, c + side / 2) - np.maximum(left, c - side / 2), 0, None) for c in (x, y))
    return (intensity[..., None] * tall[:, :, None] * wide[:, None, :]).reshape(len(factors), -1)


def squares() -> tuple[pv.Data, np.ndarray]:
    """All images, and their factors (n, 4)."""
    factors = np.array(list(product(*VALUES)))
    return pv.Data(torch.tensor(render(factors), dtype=torch.float32), name="squares"), factors


def fitted(model: str, seed: int, data: pv.Data, options: argparse.Namespace) -> pv.Fit:
    """One fit; all see the images in the same order."""
    torch.manual_seed(seed)
    vae = pv.VAE(
        pv.priors.Normal(LATENTS),
        pv.likelihoods.Normal(pv.networks.MLP(LATENTS, HIDDEN, SIDE**2), NOISE, learn_scale=False),
        pv.guides.Normal(pv.networks.MLP(SIDE**2, HIDDEN, 2 * LATENTS)),
        loss=MODELS[model](),
    )
    kept = options.out / "fits" / f"{list(MODELS).index(model)}-{seed}-{options.epochs}"
    return pv.fit(vae, data, epochs=options.epochs, batch_size=128, seed=seed, resume=kept, progress=False)


def moved(fit: pv.Fit, data: pv.Data, factors: np.ndarray, starts: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Variance of each factor along traversals in directions ``axes`` (direction, latent), (direction, factor).

    From starts (start, latent); in units of the factor's variance in the set.
    """
    steps = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(TAIL, 1 - TAIL, STEPS)).numpy()
    by = steps[:, None] - (starts @ axes.T)[:, :, None, None]  # (start, direction, step, 1)
    if not len(axes):
        return np.zeros((0, len(FACTORS)))
    codes = starts[:, None, None] + by * axes[:, None]
    images = torch.as_tensor(pv.decode(fit, torch.as_tensor(codes.reshape(-1, LATENTS)).float(), data)["x"].values)
    nearest = torch.cdist(images.float(), data.x).argmin(1).numpy()
    found = (factors / factors.std(0))[nearest].reshape(*codes.shape[:3], -1)
    variances: np.ndarray = found.var(2).mean(0)
    return variances


def purity(variances: np.ndarray) -> float:
    """The largest share of each direction, weighted by what it changes; (direction, factor)."""
    return float(variances.max(1).sum() / max(variances.sum(), 1e-12))


def turn(size: int, rng: np.random.Generator) -> np.ndarray:
    """An orthogonal matrix, uniform."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    turned: np.ndarray = q * np.sign(np.diag(r))
    return turned


def measure(
    model: str, seed: int, data: pv.Data, factors: np.ndarray, options: argparse.Namespace
) -> tuple[dict[str, Any], np.ndarray]:
    """A row for one fit, and the shares (latent in use, factor), in order of the factors that they change."""
    fit = fitted(model, seed, data, options)
    tree = pv.posterior(fit, data, draws=20, predictive=0)
    rng = np.random.default_rng(seed)
    means = tree["posterior"]["z"].values[0].mean(0)
    starts = means[rng.choice(len(means), STARTS, replace=False)]
    used = np.flatnonzero(pv.diagnostics.active_units(tree)["active"].values[0])
    axes = np.eye(LATENTS)[used]
    variances = moved(fit, data, factors, starts, axes)
    turned = [purity(moved(fit, data, factors, starts, turn(len(used), rng) @ axes)) for _ in range(TURNS)]
    scores = pv.diagnostics.disentanglement(tree, pd.DataFrame(factors, columns=FACTORS), seed=seed)
    shares = variances / np.maximum(variances.sum(1, keepdims=True), 1e-12)
    terms = pv.diagnostics.elbo_terms(tree)
    row = {
        "model": model,
        "seed": seed,
        "used": len(used),
        "one property": int((shares.max(1) >= ONE).sum()),
        "purity": purity(variances),
        "turned": float(np.mean(turned)),
        "MIG": float(scores["mig"].mean()),
        "SAP": float(scores["sap"].mean()),
        "DCI": float(scores["disentanglement"].mean()),
        "R": float(terms["kl"].mean()),
        "D": -float(terms["log_lik"].mean()),
    }
    return row, shares[np.lexsort((-shares.max(1), shares.argmax(1)))]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds by model, and the verdict of each."""
    groups = rows.groupby("model", sort=False)
    table = groups.mean(numeric_only=True).drop(columns="seed")
    table["± purity"] = groups["purity"].sem().fillna(0)
    gain = rows["purity"] - rows["turned"]
    over, error = (getattr(gain.groupby(rows["model"], sort=False), f)() for f in ("mean", "sem"))
    good = (groups["one property"].sum() / groups["used"].sum().clip(lower=1)) >= MOST
    beyond = over > WITHIN * error.fillna(0)
    table["verdict"] = np.where(good & beyond, "holds", np.where(beyond, "in part", "does not hold"))
    return table.reset_index()


def findings(table: pd.DataFrame, seeds: int) -> list[tuple[bool, str]]:
    """By model; and whether the weight helps."""
    told = [
        (
            row["verdict"] == "holds",
            f"{name} {row['verdict']} ({row['one property']:.1f} of {row['used']:.1f} latents in use change one "
            f"property, purity {row['purity']:.2f}, turned {row['turned']:.2f})",
        )
        for name, row in table.set_index("model").iterrows()
    ]
    by = table.set_index("model")
    gain = by["purity"]["β = 16"] - by["purity"]["VAE"]
    error = np.hypot(by["± purity"]["β = 16"], by["± purity"]["VAE"])
    more = (bool(gain > WITHIN * error), f"β = 16 has {gain:+.2f} ± {error:.2f} purity beside β = 1 ({seeds} seeds)")
    return [*told, more]


def draw(rows: pd.DataFrame, shares: dict[str, np.ndarray], fits: dict[str, pv.Fit], data: pv.Data) -> plt.Figure:
    """Scores by model and seed; which property each latent changes; traversals of the first model and of the purest."""
    figure, axes = plt.subplots(1, 4, figsize=(21, 4.6), layout="constrained", width_ratios=(1.3, 1, 1.2, 1.2))
    place = {model: i for i, model in enumerate(MODELS)}
    looks = {"purity": "#0072B2", "turned": "#999999", "MIG": "#D55E00", "SAP": "#E69F00", "DCI": "#009E73"}
    for k, (name, colour) in enumerate(looks.items()):
        axes[0].plot(rows["model"].map(place) + 0.14 * (k - 2), rows[name], "o", color=colour, alpha=0.8, label=name)
    axes[0].set_xticks(range(len(MODELS)), [m.replace(", ", "\n") for m in MODELS])
    axes[0].set(ylim=(0, 1.02), ylabel="score")
    axes[0].legend(frameon=False, fontsize=9, ncols=3)
    axes[0].set_title("One dot per seed", loc="left", fontsize=11)
    edges = np.cumsum([0, *(len(s) for s in shares.values())])
    axes[1].imshow(np.concatenate(list(shares.values())), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes[1].set_xticks(range(len(FACTORS)), FACTORS)
    axes[1].set_yticks((edges[1:] + edges[:-1] - 1) / 2, list(shares))
    for edge in edges[1:-1]:
        axes[1].axhline(edge - 0.5, color="black", lw=1)
    axes[1].set_title("Share of what a latent changes (seed 0)", loc="left", fontsize=11)
    best = rows.groupby("model")["purity"].mean().idxmax()
    for ax, model in zip(axes[2:], ("VAE", best), strict=True):
        found = pv.plots.plot_traversal(fits[model], data, datum=len(data) // 2, steps=STEPS, backend="none")
        images = found["mean"].values.reshape(found.sizes["latent"], STEPS, SIDE, SIDE)
        ax.imshow(np.block([list(row) for row in images]), cmap="gray", vmin=0, vmax=1)
        ax.set_yticks(SIDE * (np.arange(len(images)) + 0.5), found["latent"].values)
        ax.set_xticks([])
        ax.set_title(f"{model}: one latent moves", loc="left", fontsize=11)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=200, seeds=3)
    data, factors = squares()
    found = {(m, s): measure(m, s, data, factors, options) for m in MODELS for s in range(options.seeds)}
    rows = pd.DataFrame([row for row, _ in found.values()])
    rows.to_csv(options.out / "one_latent_by_seed.csv", index=False)
    shares = {m: found[m, 0][1] for m in MODELS}
    fits = {m: fitted(m, 0, data, options) for m in MODELS}
    table = summarise(rows)
    return answer(NAME, options, table, lambda: draw(rows, shares, fits, data), findings(table, options.seeds))


if __name__ == "__main__":
    main()
