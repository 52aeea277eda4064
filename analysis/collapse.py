"""How many latents are used, and is that what theory says?

A latent that the data do not pay for goes back to its prior. For a linear VAE with noise variance σ² it is known which
(Lucas, Tucker, Grosse & Norouzi 2019, arXiv 1911.02469, section 4; Tipping & Bishop 1999): with λ_j the eigenvalues of
the data's covariance, the ELBO is highest where latent j carries Var_x(E[z_j|x]) = 1 − σ²/λ_j and ½ log(λ_j/σ²) nats if
λ_j > σ², and has collapsed if not. So the number of active units (Burda et al. 2015, arXiv 1509.00519) follows from
the eigenvalues alone. It stands here beside what SVI reaches:

- on simulated data of four latents, with six in the VAE and σ² between the eigenvalues, at the noise that the data were
  made with, and learned. The last two use all six: those too many describe the sampling noise of these 300 data, as
  maximum likelihood does, and nothing collapses;
- on the digits, with 32 latents and σ² in gaps of the spectrum, by a linear decoder, and by a deep one, of which the
  theory says nothing;
- on the digits with a Binomial likelihood, a deep decoder and 2 to 32 latents.

    python -m analysis.collapse --out runs/collapse

writes ``collapse.csv`` and ``collapse.png`` there and prints the table; the fits are kept in ``fits``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import pyrovae as pv
from analysis.ppca_ground_truth import simulate

TRUE, GIVEN, NOISE = 4, 6, 0.25  # simulated data: latents that they are made of, latents of the VAE, noise variance
GAPS, MANY = (3, 10, 18, 25), 32  # digits: σ² is exceeded by so many eigenvalues; latents
DEEP = (128, 128)
ACTIVE = 0.01  # of Var_x(E[z_j|x])
LEARNED, BINOMIAL = "learned", "Binomial"


class Case(NamedTuple):
    """A VAE to fit: its data, latents, hidden layers, noise (σ² or a name) and how it is trained."""

    name: str
    data: pv.Data
    latents: int
    hidden: tuple[int, ...]
    noise: float | str
    training: dict[str, Any]


def spectrum(x: torch.Tensor) -> np.ndarray:
    """Eigenvalues of the covariance (by 1/n) of data (n, d), the largest first."""
    return np.linalg.eigvalsh(np.cov(x.double().numpy(), rowvar=False, bias=True))[::-1]


def between(values: np.ndarray, k: int) -> float:
    """A noise variance that k eigenvalues exceed: the geometric mean of the k-th and the next."""
    return math.sqrt(values[k - 1] * values[k])


def theory(values: np.ndarray, latents: int, noise: float) -> tuple[np.ndarray, float]:
    """Var_x(E[z_j|x]) of each latent and the ELBO, nats per datum, where the linear VAE's is highest and log p(x)."""
    kept = (np.arange(len(values)) < latents) & (values > noise)
    terms = np.log(np.where(kept, values, noise)) + np.where(kept, 1, values / noise) + math.log(2 * math.pi)
    return 1 - noise / np.maximum(values[:latents], noise), -terms.sum() / 2


def cases(digits: int) -> Iterator[Case]:
    """What is fitted, in the order of the table."""
    made = pv.Data(simulate(latents=TRUE).float())
    values = spectrum(made.x)
    levels = [2 * values[0], *(between(values, k) for k in range(1, TRUE + 1)), NOISE, LEARNED]
    training = {"epochs": 4000, "batch_size": len(made), "lr": 0.1}
    for noise in levels:
        yield Case("simulated", made, GIVEN, (), noise, training)
    counts = pv.data.load("digits").split(seed=0)[0].take(range(digits))
    real = pv.Data(counts.x.float())
    levels = [between(spectrum(real.x), k) for k in GAPS]
    for hidden, training in (((), {"epochs": 1800, "lr": 0.05}), (DEEP, {"epochs": 200})):
        for noise in levels:
            yield Case("digits", real, MANY, hidden, noise, training)
    for latents in (2, 4, 8, 16, 32):
        yield Case("digits", counts, latents, DEEP, BINOMIAL, {"epochs": 200})


def build(case: Case) -> pv.VAE:
    """A VAE with a diagonal Normal guide, which has the posterior of a linear one in its family."""
    features = case.data.event_shape[0]
    decoder = pv.networks.MLP(case.latents, case.hidden, features)
    if case.noise == BINOMIAL:
        likelihood = pv.likelihoods.Binomial(16, decoder)
    else:
        learned = case.noise == LEARNED
        start = float(case.data.x.std()) if learned else math.sqrt(float(case.noise))
        likelihood = pv.likelihoods.Normal(decoder, start, learn_scale=learned)
    guide = pv.guides.Normal(pv.networks.MLP(features, case.hidden, 2 * case.latents))
    return pv.VAE(pv.priors.Normal(case.latents), likelihood, guide)


def measure(case: Case, share: float, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], Any]:
    """Its row of the table, Var_x(E[z_j|x]) found and predicted, and, of simulated data, the tree."""
    torch.manual_seed(0)
    epochs = max(16, round(share * case.training["epochs"]))
    level = case.noise if isinstance(case.noise, str) else f"{case.noise:.4g}"
    kept = folder / f"{case.name}-{len(case.data)}-{len(case.hidden)}-{level}-{case.latents}-{epochs}"
    training = case.training | {"epochs": epochs, "resume": kept, "progress": False}
    tree = pv.posterior(pv.fit(build(case), case.data, **training), case.data, draws=300, predictive=0)
    units, collapsed = pv.diagnostics.active_units(tree, threshold=ACTIVE), pv.diagnostics.collapse(tree)["collapsed"]
    row = {
        "data": case.name,
        "decoder": "-".join(map(str, case.hidden)) or "linear",
        "noise": case.noise if case.noise in (LEARNED, BINOMIAL) else "fixed",
        "σ²": np.nan,
        "latents": case.latents,
        "predicted": np.nan,
        "active": int(units["active"].sum()),
        "collapsed": int(collapsed.sum()),
        "ELBO": float(pv.diagnostics.elbo_terms(tree)["elbo"].mean()),
    }
    found = {"found": np.sort(units["variance"].values[0])[::-1]}
    if case.noise != BINOMIAL:
        values = spectrum(case.data.x)
        row["σ²"] = float(values[case.latents :].mean()) if case.noise == LEARNED else case.noise
    if case.noise != BINOMIAL and not case.hidden:
        found["exact"], row["highest ELBO"] = theory(values, case.latents, row["σ²"])
        row |= {
            "predicted": int((found["exact"] > ACTIVE).sum()),
            "short by": row["highest ELBO"] - row["ELBO"],
            "variance off by": float(np.abs(found["found"] - found["exact"]).max()),
        }
    return row, found, tree if case.name == "simulated" else None


def draw(table: pd.DataFrame, variances: Sequence[dict[str, np.ndarray]], spectra: dict[str, np.ndarray]) -> plt.Figure:
    """Active units against σ², with the theory's steps; and what each latent carries beside what it should."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    looks = {"linear": ("o", "#0072B2"), "128-128": ("s", "#D55E00")}
    fixed = table[table["noise"] == "fixed"]
    for ax, (name, latents) in zip(axes, {"simulated": GIVEN, "digits": MANY}.items(), strict=False):
        mine = fixed[fixed["data"] == name]
        noise = np.geomspace(mine["σ²"].min() / 1.5, mine["σ²"].max() * 1.5, 1000)
        counts = [(theory(spectra[name], latents, s)[0] > ACTIVE).sum() for s in noise]
        ax.plot(noise, counts, color="black", lw=1, label="linear, theory")
        for decoder, rows in mine.groupby("decoder", sort=False):
            marker, colour = looks[str(decoder)]
            ax.plot(
                rows["σ²"], rows["active"], marker, color=colour, ms=7, mfc="none", mew=1.8, label=f"{decoder}, SVI"
            )
        ax.set(
            xscale="log", xlabel="noise variance σ²", ylabel=f"active units of {latents}", ylim=(-0.03 * latents, None)
        )
        ax.set_title(name.capitalize(), loc="left", fontsize=11)
        ax.legend(frameon=False, fontsize=9)
    axes[2].axline((0, 0), slope=1, color="black", lw=1)
    for name, colour in (("digits", "#E69F00"), ("simulated", "#0072B2")):
        both = [v for v, data in zip(variances, table["data"], strict=True) if data == name and "exact" in v]
        points = (np.concatenate([v[k] for v in both]) for k in ("exact", "found"))
        axes[2].plot(*points, "o", ms=4, alpha=0.7, color=colour, label=f"{name}, linear")
    axes[2].set(xlabel="1 − σ²/λ, or 0", ylabel="Var E[z|x] found")
    axes[2].set_title("What each latent carries", loc="left", fontsize=11)
    axes[2].legend(frameon=False, fontsize=9)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of epochs")
    parser.add_argument("--digits", type=int, default=1500)
    options = parser.parse_args(arguments)
    planned = list(cases(options.digits))
    rows, variances, trees = zip(*(measure(c, options.share, options.out / "fits") for c in planned), strict=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "collapse.csv", index=False)
    figure = draw(table, variances, {c.name: spectrum(c.data.x) for c in planned})
    figure.savefig(options.out / "collapse.png", dpi=150)
    plt.close(figure)
    with pd.option_context("display.width", 250, "display.max_columns", 20):
        print(table.to_string(index=False, float_format="{:.4g}".format, na_rep="–"))
    one = pv.diagnose(trees[TRUE]).table.set_index("question").loc["Are all latents used?"]
    print(f"\npv.diagnose of the {GIVEN} latents at σ² = {rows[TRUE]['σ²']:.2f}: {one['figure']} → {one['action']}")
    return table


if __name__ == "__main__":
    main()
