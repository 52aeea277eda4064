"""What does each of the two terms make of the latent space, alone and together?

The claim, the project's source notes (the one on the theory of VAEs, which shows three latent spaces side by side):
with reconstruction alone the encoder gives each datum a distribution of its own, with low variance and a different
mean, "essentially acting as a normal autoencoder"; with the regularisation alone all are the standard Normal, and the
latent space ignores x; with both it is smooth, near the prior, and merges the distributions of the classes, while the
data can be reconstructed from it.

The same program with two latents is fitted to digits three times: on E log p(x|z) alone (`objectives.Beta(0)`), on −KL
alone, and on their sum, the ELBO. The guide is the random one, `guides.Normal`, in all three, since the claim is about
what it does when it is free: a `guides.Delta` would be an autoencoder by construction. On the KL alone no gradient
reaches the decoder; it is frozen meanwhile, and trained afterwards on the codes that came out, so that its
reconstructions say what those codes hold. What a model without latents reaches, the mean of each pixel, stands beside.

Of held-out digits: how far one draw of q(z|x) each is from the prior (`diagnostics.prior_match`, energy, effect in
[0, 1] and p of a permutation test); standard deviations of q
in units of the spread of the codes; whether a draw tells its class (nearest neighbours; .1 by chance); the expected log
likelihood.

    python -m analysis.three_latent_spaces --out runs/three_latent_spaces --epochs 150

writes ``three_latent_spaces.csv`` and ``three_latent_spaces.png`` there and prints the table, which a verdict follows.
"""

from __future__ import annotations

import argparse
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro.distributions as dist
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

import pyrovae as pv
from analysis._claims import answer, digits, parse
from models import vae
from pyrovae.objectives._objective import Objective
from pyrovae.objectives._terms import Terms

NAME = "three_latent_spaces"
RECONSTRUCTION, REGULARISATION, BOTH = "reconstruction only", "KL only", "both"
DRAWS, LEVEL = 100, 0.05
OWN = 0.1  # of the spread of the codes: a datum's own place


class PriorOnly(Objective):
    """−KL(q(z|x) ‖ p(z)), without the data."""

    label = "−KL"

    def value(self, terms: Terms) -> Tensor:
        """Of the batch."""
        return -terms.kl.sum()


def train(kind: str, data: pv.Data, options: argparse.Namespace) -> pv.Fit:
    """The fit on one term or both; where the KL stands alone, a second one of the decoder on what the first left."""
    torch.manual_seed(0)
    program = vae.build(data, latents=2)
    settings: dict[str, Any] = {"epochs": options.epochs, "progress": False}
    kept = options.out / "fits" / f"{kind.replace(' ', '-')}-{options.epochs}-{len(data)}"
    if kind != REGULARISATION:
        loss = pv.objectives.Beta(0) if kind == RECONSTRUCTION else None
        return pv.fit(program, data, loss=loss, resume=kept, **settings)
    program.parts["likelihood"].requires_grad_(False)
    pv.fit(program, data, loss=PriorOnly(), resume=kept, **settings)
    program.parts["likelihood"].requires_grad_(True)
    program.parts["guide"].requires_grad_(False)
    return pv.fit(program, data, loss=pv.objectives.Beta(0), resume=kept.with_name(f"{kept.name}-decoder"), **settings)


def measure(kind: str, fit: pv.Fit, data: pv.Data, test: pv.Data) -> tuple[dict[str, Any], np.ndarray]:
    """Its row of the table, and a draw of q(z|x) of each held-out datum."""
    tree = pv.posterior(fit, test, draws=DRAWS, predictive=0)
    seen = pv.posterior(fit, data, draws=10, predictive=0)
    match = pv.diagnostics.prior_match(tree, statistic="energy", corrected=False).isel(chain=0)
    with torch.no_grad():
        sd = fit.program.encode(test.x.float()).stddev.numpy()
    one, known = tree["posterior"]["z"].values[0, 0], seen["posterior"]["z"].values[0, 0]
    neighbours = KNeighborsClassifier(min(15, len(known))).fit(known, data.labels)
    row = {
        "trained on": kind,
        "energy effect": float(match["effect"]),
        "p": float(match["p_value"]),
        "KL": float(pv.diagnostics.elbo_terms(tree)["kl"].mean()),
        "sd of q / spread": float(np.median(sd / one.std(0))),
        "class known": float(neighbours.score(one, test.labels)),
        "log p(x|z), seen": float(seen["sample_stats"]["log_lik"].mean()),
        "log p(x|z)": float(tree["sample_stats"]["log_lik"].mean()),
    }
    return row, one


def constant(data: pv.Data, test: pv.Data) -> dict[str, float]:
    """The mean log likelihood of seen and held-out digits by each pixel's own Binomial, without latents."""
    total = int(data.x.max())
    share = (data.x.double().sum(0) + 0.5) / (len(data) * total + 1)
    alone = dist.Binomial(total, probs=share)
    seen, held = (float(alone.log_prob(d.x.double()).sum(-1).mean()) for d in (data, test))
    return {"log p(x|z), seen": seen, "log p(x|z)": held}


def draw(points: dict[str, np.ndarray], labels: np.ndarray) -> plt.Figure:
    """The three latent spaces side by side, coloured by class, on a circle of the prior's 2 standard deviations."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    for ax, (kind, z) in zip(axes, points.items(), strict=True):
        shown = ax.scatter(*z.T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=12)
        ax.add_patch(plt.Circle((0, 0), 2, fill=False, color="black", lw=0.8))
        ax.set_title(f"{kind} (circle: two s.d. of the prior)", loc="left", fontsize=11)
        ax.set(xlabel="z[0]", ylabel="z[1]")
        ax.set_aspect("equal", "datalim")
    figure.colorbar(shown, ax=axes, ticks=range(10), label="digit")
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=150)
    data, test = digits(options)
    rows, points = [], {}
    for kind in (RECONSTRUCTION, REGULARISATION, BOTH):
        row, points[kind] = measure(kind, train(kind, data, options), data, test)
        rows.append(row)
    rows.append({"trained on": "no latents"} | constant(data, test))
    table = pd.DataFrame(rows)
    of = table.set_index("trained on")
    far, prior, both = (of.loc[k] for k in (RECONSTRUCTION, REGULARISATION, BOTH))
    nothing = of.loc["no latents", "log p(x|z)"]
    column = "log p(x|z)"
    findings = [
        (
            far["sd of q / spread"] < OWN and far["energy effect"] > both["energy effect"] and far[column] > nothing,
            f"reconstruction alone acts as an autoencoder (sd of q {far['sd of q / spread']:.0e} of the spread, effect "
            f"{far['energy effect']:.2f} from the prior)",
        ),
        (
            prior["p"] > LEVEL and prior["class known"] < 0.2 and prior[column] < nothing + 1,
            f"the KL alone ignores x (p {prior['p']:.2f} for the prior, class known {prior['class known']:.2f}, "
            f"log p(x|z) {prior[column] - nothing:+.1f} of no latents)",
        ),
        (
            both["energy effect"] < far["energy effect"] and both[column] > nothing + 1 and both["class known"] > 0.5,
            f"both bring the codes nearer to the prior (effect {both['energy effect']:.3f}), and they tell of x "
            f"(log p(x|z) {both[column] - nothing:+.1f}, class known {both['class known']:.2f})",
        ),
        (both["p"] > LEVEL, f"codes that are the prior's with both (p {both['p']:.3f})"),
    ]
    return answer(NAME, options, table, lambda: draw(points, np.asarray(test.labels)), findings)


if __name__ == "__main__":
    main()
