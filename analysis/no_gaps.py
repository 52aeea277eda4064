"""Has the latent space of a VAE no gaps, and that of an autoencoder some?

The claim, the project's source notes (those on the parts of the VAE, after an essay on understanding it intuitively,
and those on its encoder and decoder): an autoencoder's latent space may have gaps between its clusters, and a point
from there decodes to something unrealistic; a VAE's "is continuous, allowing easy random sampling and interpolation",
and a point never seen by the decoder is likely to decode to a well-formed image.

Both are fitted to digits with the same networks. x̃ ~ p(x|z) is drawn for z from four places: codes of held-out digits;
the middles between two such codes of different classes; N(0, I); and a Normal with the mean and covariance of the
training codes, which is fairer to the autoencoder, whose codes have no prior. How realistic an x̃ is say two referees
that are neither of the two: a kernel density and a mixture of Normals fitted to the training digits, their settings by
what they say of digits left out. An x̃ is unlikely if it is less likely than 95 % of the held-out digits. There is a gap
where more of a place's x̃ are unlikely than of the codes' own, by over 5 points beyond two standard errors: the codes'
own share is what reconstruction and pixel noise cost, and is not the space between them. Either model may so have gaps,
both or none.

The VAE's own log p̂(x̃), by draws of a q refined for each x̃, stands beside, with that of the held-out digits. A model
finds its own draws likely by construction, so that it is not asked about gaps. `diagnostics.density_gap` says which
share of the prior lies in holes, where it is denser than the codes by more than two standard errors, of the three pairs
of latents that differ most.

    python -m analysis.no_gaps --out runs/no_gaps --epochs 200

writes ``no_gaps.csv`` and ``no_gaps.png`` there and prints the table, which a verdict follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy.spatial.distance import cdist
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

import pyrovae as pv
from analysis._claims import AE, VAE, answer, codes, digits, fitted, parse

NAME = "no_gaps"
CODES, BETWEEN, PRIOR, NORMAL = "codes", "between codes", "N(0, I)", "Normal of codes"
DATA = "held-out digits"
REFEREES = ("kernels", "mixture")
POINTS, OWN, UNLIKELY, MARGIN = 594, 100, 0.05, 0.05
REFINED = 200

Referee = Callable[[np.ndarray], np.ndarray]


def kernels(x: np.ndarray, widths: np.ndarray) -> Referee:
    """The density of Normal kernels on data (n, d), of the width by which each datum is likeliest given the others.

    Not scikit-learn's ``KernelDensity``, whose sums over its tree lose hundreds of nats where the kernels of 64
    dimensions are narrow.
    """
    n, d = x.shape

    def score(squared: np.ndarray, width: float, others: int) -> np.ndarray:
        total = torch.logsumexp(torch.as_tensor(squared) / (-2 * width**2), 1).numpy()
        return total - np.log(others) - d / 2 * np.log(2 * np.pi * width**2)

    within = cdist(x, x, "sqeuclidean")
    np.fill_diagonal(within, np.inf)
    best = max(widths, key=lambda width: score(within, width, n - 1).mean())
    return lambda points: score(cdist(points, x, "sqeuclidean"), best, n)


def referees(x: np.ndarray) -> dict[str, Referee]:
    """Log densities fitted to data (n, d), none of which is a model with latents of few dimensions."""
    some = max(2, min(20, len(x) // 20))
    sizes = {"n_components": [some // 2, some], "reg_covar": [0.3, 1.0, 3.0]}
    mixture = GridSearchCV(GaussianMixture(random_state=0, max_iter=50, tol=0.01), sizes, cv=3).fit(x)
    widths = x.std() * np.geomspace(0.2, 1, 10)
    return {"kernels": kernels(x, widths), "mixture": mixture.best_estimator_.score_samples}


def places(fit: pv.Fit, train: pv.Data, test: pv.Data, points: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Latents (points, latent) from the four places."""
    rng = np.random.default_rng(seed)
    own, seen = codes(fit, test)[0], codes(fit, train)[0]
    labels = np.asarray(test.labels)
    first, second = rng.integers(len(own), size=(2, 40 * points))
    apart = np.flatnonzero(labels[first] != labels[second])[:points]
    latents = own.shape[1]
    return {
        CODES: own[np.arange(points) % len(own)],
        BETWEEN: (own[first[apart]] + own[second[apart]]) / 2,
        PRIOR: rng.standard_normal((points, latents)),
        NORMAL: rng.multivariate_normal(seen.mean(0), np.cov(seen, rowvar=False), points),
    }


def drawn(fit: pv.Fit, z: np.ndarray, seed: int = 0) -> np.ndarray:
    """x̃ ~ p(x|z) of each."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        return fit.program.parts["likelihood"](torch.as_tensor(z, dtype=torch.float)).sample().numpy()


def share(scores: np.ndarray, line: float) -> tuple[float, float]:
    """Of the points below a line, and its standard error, of one of n + 2 points at least."""
    low, n = float((scores < line).mean()), len(scores)
    padded = (low * n + 1) / (n + 2)
    return low, float(np.sqrt(padded * (1 - padded) / n))


def excess(scores: np.ndarray, own: np.ndarray, line: float) -> tuple[float, float]:
    """How many more points are unlikely than of the codes' own, and the standard error."""
    (a, sa), (b, sb) = share(scores, line), share(own, line)
    return a - b, float(np.hypot(sa, sb))


def holes(tree: xr.DataTree) -> float:
    """The share of the prior where it is surely denser than the codes, mean of three pairs."""
    found = pv.diagnostics.density_gap(tree, pairs=3, corrected=False).isel(chain=0)
    cell = found["x_value"].diff("x").mean("x") * found["y_value"].diff("y").mean("y")
    hole = -found["gap"].where(found["gap"] < -2 * found["error"], 0)
    return float((hole.sum(("x", "y")) * cell).mean())


def own_evidence(fit: pv.Fit, sets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """log p̂(x) of each by the model itself."""
    n = [len(x) for x in sets.values()]
    refined = pv.refine(
        fit, torch.as_tensor(np.concatenate(list(sets.values()))), draws=100, steps=REFINED, everything=True
    )
    values = pv.diagnostics.log_evidence(refined, k=[1])["log_evidence"].values[0]
    return dict(zip(sets, np.split(values, np.cumsum(n)[:-1]), strict=True))


def measure(
    kind: str, fit: pv.Fit, train: pv.Data, test: pv.Data, judges: dict[str, Referee], points: int
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A row for each place, the draws, and the first referee's scores."""
    digit = test.x.numpy().astype(float)
    made = {place: drawn(fit, z) for place, z in places(fit, train, test, points).items()}
    hole = holes(pv.posterior(fit, train, draws=500, predictive=0))
    rows = [{"model": kind, "x̃ from": place, "prior in holes": hole} for place in made]
    kept = {}
    for name, judge in judges.items():
        real, scores = judge(digit), {place: judge(x) for place, x in made.items()}
        line = float(np.quantile(real, UNLIKELY))
        kept = kept or {DATA: real, **scores}
        for row in rows:
            own = scores[row["x̃ from"]]
            row[f"{name}: mean − data"] = float(own.mean() - real.mean())
            row[f"{name}: unlikely"] = share(own, line)[0]
            row[f"{name}: excess"], row[f"{name}: s.e."] = excess(own, scores[CODES], line)
    if kind == VAE:
        mine = own_evidence(fit, {DATA: digit[:OWN]} | {p: x[:OWN] for p, x in made.items()})
        for row in rows:
            row["own log p̂"] = float(mine[row["x̃ from"]].mean())
        rows.append({"model": kind, "x̃ from": DATA, "own log p̂": float(mine[DATA].mean())})
    return rows, made, kept


def gapless(table: pd.DataFrame, kind: str, place: str) -> bool:
    """Whether neither referee sees a gap."""
    row = table.set_index(["model", "x̃ from"]).loc[(kind, place)]
    return all(row[f"{n}: excess"] - 2 * row[f"{n}: s.e."] <= MARGIN for n in REFEREES)


def fewer(table: pd.DataFrame, place: str) -> bool:
    """Whether both referees see less of a gap in the VAE than in the autoencoder, by two standard errors."""
    at = table.set_index(["model", "x̃ from"])
    own, other = at.loc[(VAE, place)], at.loc[(AE, place)]
    errors = {n: np.hypot(own[f"{n}: s.e."], other[f"{n}: s.e."]) for n in REFEREES}
    return all(other[f"{n}: excess"] - own[f"{n}: excess"] > 2 * errors[n] for n in REFEREES)


def draw(made: dict[str, dict[str, np.ndarray]], scores: dict[str, dict[str, np.ndarray]]) -> plt.Figure:
    """Draws from each place, and the distribution of the first referee's scores."""
    figure, axes = plt.subplots(2, 5, figsize=(14, 5.6), layout="constrained", width_ratios=[1, 1, 1, 1, 1.8])
    side = int(np.sqrt(next(iter(made[VAE].values())).shape[1]))
    for row, kind in zip(axes, made, strict=True):
        for ax, (place, x) in zip(row, made[kind].items(), strict=False):
            tiles = np.pad(x[:25].reshape(5, 5, side, side), ((0, 0), (0, 0), (1, 1), (1, 1)))
            tiles = tiles.transpose(0, 2, 1, 3).reshape(5 * (side + 2), 5 * (side + 2))
            ax.imshow(tiles, cmap="gray_r")
            ax.set_title(f"{kind}: {place}", loc="left", fontsize=9)
            ax.set_axis_off()
        for place, values in scores[kind].items():
            style: dict[str, Any] = {"color": "black", "ls": "--"} if place == DATA else {}
            row[4].plot(np.sort(values), np.linspace(0, 1, len(values)), label=place, **style)
        row[4].set(xlim=(-320, None), ylabel="share below", xlabel="log density by kernels (nats)")
        row[4].legend(frameon=False, fontsize=8)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=200)
    train, test = digits(options)
    judges = referees(train.x.numpy().astype(float))
    points = min(POINTS, 2 * len(test))
    rows, made, scores = [], {}, {}
    for kind in (VAE, AE):
        found, made[kind], scores[kind] = measure(kind, fitted(kind, train, options), train, test, judges, points)
        rows += found
    table = pd.DataFrame(rows)
    at = table.set_index(["model", "x̃ from"])

    def tell(kind: str, place: str) -> str:
        row = at.loc[(kind, place)]
        seen = " and ".join(f"{row[f'{n}: excess']:+.0%} ± {row[f'{n}: s.e.']:.0%}" for n in REFEREES)
        return f"{kind}, {place}: {seen} unlikely (by kernels and mixture)"

    findings = [
        (all(fewer(table, p) for p in (BETWEEN, NORMAL)), "the VAE has less of a gap than the autoencoder"),
        *((not gapless(table, AE, p), f"gaps of the {tell(AE, p)}") for p in (BETWEEN, NORMAL)),
        *((gapless(table, VAE, p), f"no gaps of the {tell(VAE, p)}") for p in (BETWEEN, PRIOR)),
    ]
    return answer(NAME, options, table, lambda: draw(made, scores), findings)


if __name__ == "__main__":
    main()
