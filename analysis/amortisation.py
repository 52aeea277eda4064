"""What does amortised inference save beside parameters for each datum, and does it cost the optimum?

The claim, the encyclopaedia's article: q-distributions "are normally parameterized for each individual data point in a
separate optimization process"; a network does it for all, "which can result in massive memory savings". On
probabilistic PCA it can be answered, for its optimum is known (Tipping & Bishop 1999; Lucas et al. 2019, arXiv
1911.02469): a linear encoder holds it, and so does a table. Simulated data of 300 to 10,000 rows, 10 features and
3 latents, for which three ways are taken from the same start, in turn at each n:

- the linear encoder of `models/ppca.py`, by Adam in batches of 300;
- `guides.Table`, a mean and a scale for each row and latent, by Adam on all rows at once, as a row learns only when its
  turn comes, and in four times as many steps, as the noise of a row's one draw is not averaged over rows;
- exact EM, `models/ppca_em.py`, whose posterior is a formula in W and σ². It is stopped once it is within 1e-6 nats of
  the maximum, of which the others are asked .01 (W Wᵀ and σ²: 5 %).

"held for q" are the numbers that the inference keeps beside the model; of EM none, as its W and σ² are the model's.
Bytes are of all parameters and buffers, and, "training", with gradients and Adam's two moments. A table also keeps
24 bytes for a row, by which it knows it again. Seconds are those of the epochs. The ELBO and log p(x) are exact: of the
decoder and the q that were learned, in float64, without a draw.

What a linear encoder saves, a deep one need not: the one of the README's first example stands beside a table for its
1,500 digits. It pays from n = its weights/(2 · latents) on.

    python -m analysis.amortisation --out runs/amortisation --epochs 800

writes ``amortisation.csv`` and ``amortisation.png`` there and prints the table. ``--epochs`` counts steps here. Nothing
is kept: the fits are timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor

import pyrovae as pv
from analysis._claims import answer, parse
from analysis.ppca_ground_truth import simulate
from models import ppca, ppca_em

NAME = "amortisation"
SIZES, LATENTS, BATCH = (300, 2000, 10_000), 3, 300
WITHIN, CLOSE = 0.01, 0.05  # nats per datum below the maximum; of W Wᵀ and σ², relative
LONGER = 4  # steps of the table, for one of the encoder
MASSIVE = 10  # times fewer numbers
DIGITS, HIDDEN = 1500, (128, 128)
WAYS = ("encoder", "table", "EM")


def marginal(w: Tensor, mu: Tensor, sigma2: Tensor) -> torch.distributions.MultivariateNormal:
    """p(x)."""
    return torch.distributions.MultivariateNormal(mu, w @ w.T + sigma2 * torch.eye(len(mu), dtype=w.dtype))


def exact_elbo(x: Tensor, w: Tensor, mu: Tensor, sigma2: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """The ELBO of each datum for q = N(mean, diag(scale²)), both (n, latents), without a draw."""
    error = (x - mean @ w.T - mu).square().sum(-1) + scale.square() @ w.square().sum(0)
    log_lik = -(x.shape[1] * (2 * math.pi * sigma2).log() + error / sigma2) / 2
    return log_lik + (1 + 2 * scale.log() - mean**2 - scale**2).sum(-1) / 2


def learned(vae: pv.VAE) -> tuple[Tensor, Tensor, Tensor]:
    """W, μ and σ² of the decoder, in float64."""
    part = vae.parts["likelihood"]
    if isinstance(part, ppca_em.LinearGaussian):
        return part.weight.double(), part.mean.double(), part.variance.double()
    layer = part.network.layers[0]
    return layer.weight.detach().double(), layer.bias.detach().double(), (2 * part.log_scale.detach().double()).exp()


def numbers(module: torch.nn.Module | None) -> int:
    """Parameters and what else is needed to find a q: of a table the parameters, of EM nothing of its own."""
    return sum(p.numel() for p in module.parameters()) if isinstance(module, torch.nn.Module) else 0


def size(module: torch.nn.Module, *, training: bool = False) -> int:
    """Bytes of parameters and buffers; with gradients and Adam's two moments."""
    own = sum(b.numel() * b.element_size() for b in module.buffers())
    return own + sum((4 if training else 1) * p.numel() * p.element_size() for p in module.parameters())


def close_enough(x: Tensor, highest: float) -> Callable[[pv.EpochEnd], bool]:
    """Stops EM where log p(x) is within 1e-6 nats per datum of its maximum."""
    return lambda end: bool(highest - marginal(*learned(end.program)).log_prob(x).mean() < 1e-6)


def run(way: str, x: Tensor, steps: int) -> dict[str, Any]:
    """One fit, and how far from the maximum it ends: a row of the table."""
    data, n = pv.Data(x.float(), name="simulated"), len(x)
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    highest = marginal(w, mu, sigma2).log_prob(x).mean().item()
    torch.manual_seed(0)
    training: dict[str, Any] = {"lr": 0.1, "epochs": math.ceil(steps / math.ceil(n / BATCH)), "batch_size": BATCH}
    if way == "EM":
        vae = ppca_em.build(data, latents=LATENTS)
        training = {"epochs": 500, "batch_size": n, "schedule": None, "callbacks": [close_enough(x, highest)]}
    else:
        vae = ppca.build(data, latents=LATENTS)
    if way == "table":
        vae = pv.VAE(vae.parts["prior"], vae.parts["likelihood"], pv.guides.Table(n, LATENTS))
        training |= {"epochs": LONGER * steps, "batch_size": n}
    fit = pv.fit(vae, data, progress=False, **training)
    found = learned(vae)
    with torch.no_grad():
        q = vae.encode(data.x)
        log_p = marginal(*found).log_prob(x).mean()
        elbo = log_p if way == "EM" else exact_elbo(x, *found, q.mean.double(), q.stddev.double()).mean()
    covariance = w @ w.T
    return {
        "n": n,
        "way": way,
        "below": highest - log_p.item(),
        "ELBO below": highest - elbo.item(),
        "W Wᵀ off": ((found[0] @ found[0].T - covariance).norm() / covariance.norm()).item(),
        "σ² off": abs(found[2] / sigma2 - 1).item(),
        "held for q": numbers(vae.parts["guide"]) if "guide" in vae.parts else 0,
        "bytes": size(vae),
        "training": size(vae, training=True),
        "steps": fit.history.sizes["step"],
        "seconds": float(fit.history["seconds"].sum()),
    }


def deep() -> list[dict[str, Any]]:
    """What the encoder of the README's first example and a table for its digits hold; nothing is fitted."""
    latents = 8
    guides = {
        "encoder, deep": pv.guides.Normal(pv.networks.MLP(64, HIDDEN, 2 * latents)),
        "table, for it": pv.guides.Table(DIGITS, latents),
    }
    return [
        {"n": DIGITS, "way": way, "held for q": numbers(g), "bytes": size(g), "training": size(g, training=True)}
        for way, g in guides.items()
    ]


def measure(sizes: tuple[int, ...], steps: int) -> pd.DataFrame:
    """All fits, the ways in turn."""
    x = simulate(n=max(sizes), latents=LATENTS)
    table = pd.DataFrame([run(way, x[:n], steps) for n in sizes for way in WAYS] + deep())
    em = table[table["way"] == "EM"].set_index("n")["seconds"]
    table["to EM"] = table["seconds"] / table["n"].map(em)
    return table


def findings(table: pd.DataFrame) -> list[tuple[bool, str]]:
    """What the verdict is made of."""
    by = table.set_index(["way", "n"])
    fitted = table.dropna(subset=["below"])
    gradient = fitted[fitted["way"] != "EM"]
    off = fitted[["W Wᵀ off", "σ² off"]].max(axis=1)
    reached = (fitted["ELBO below"] < WITHIN) & (off < CLOSE)
    n = int(fitted["n"].max())
    encoder, rows = by.loc[("encoder", n), "held for q"], by.loc[("table", n), "held for q"]
    wide, some = by.loc[("encoder, deep", DIGITS), "held for q"], by.loc[("table, for it", DIGITS), "held for q"]
    pays = math.ceil(wide / (some / DIGITS))
    time = by["to EM"]
    return [
        (
            bool(reached.all()),
            f"{reached.sum()} of {len(fitted)} fits end at the optimum of the likelihood (ELBO at most "
            f"{gradient['ELBO below'].max():.2g} nats below, W Wᵀ and σ² within {off.max():.1%})",
        ),
        (
            rows >= MASSIVE * encoder,
            f"at n = {n:,} the linear encoder holds {encoder:.0f} numbers, the table {rows:,.0f}, "
            f"{rows / encoder:,.0f} times more, and exact EM none; their time is {time['encoder', n]:.2g} and "
            f"{time['table', n]:.2g} times that of EM",
        ),
        (
            some > wide,
            f"for {DIGITS:,} digits the deep encoder's {wide:,.0f} numbers save anything beside a table's {some:,.0f}: "
            f"it pays from n = {pays:,}",
        ),
    ]


def draw(table: pd.DataFrame) -> plt.Figure:
    """Numbers held, how far from the optimum, and seconds, by n."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    shown = (
        ("held for q", "numbers held for q(z|x)", "Memory"),
        ("ELBO below", "maximum of log p(x) − ELBO (nats per datum)", "The same optimum"),
        ("to EM", "seconds, by those of EM", "Time"),
    )
    looks = {"encoder": ("o-", "#0072B2"), "table": ("s-", "#D55E00"), "EM": ("^-", "#009E73")}
    for ax, (column, label, title) in zip(axes, shown, strict=True):
        for way, (marker, colour) in looks.items():
            rows = table[(table["way"] == way) & (table[column] > 0)]
            ax.plot(rows["n"], rows[column], marker, color=colour, label=way, mfc="none", mew=1.8)
        ax.set(xscale="log", yscale="log", xlabel="rows of data, n", ylabel=label)
        ax.set_title(title, loc="left", fontsize=11)
    wide, rows = (table.set_index("way")["held for q"][way] for way in ("encoder, deep", "table, for it"))
    sizes = np.array([SIZES[0], SIZES[-1]])
    axes[0].axhline(wide, color="#0072B2", ls=":", label="deep encoder of the digits")
    axes[0].plot(sizes, rows / DIGITS * sizes, ":", color="#D55E00", label="table for them")
    axes[0].legend(frameon=False, fontsize=9)
    axes[1].axhline(WITHIN, color="black", lw=1)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=800)
    table = measure(SIZES if not options.data else (options.data, 2 * options.data), options.epochs)
    return answer(NAME, options, table, lambda: draw(table), findings(table))


if __name__ == "__main__":
    main()
