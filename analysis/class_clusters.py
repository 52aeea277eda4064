"""Do the classes form clusters that are distinct, and yet close to each other?

The claim, the project's source notes (those on the parts of the VAE, after an essay on understanding it intuitively):
the KL divergence is "for forcing distributions of different classes to be as close as possible to each other while
still being distinct"; the notes on theory add that the latent space "merges the distributions of all classes together".

A VAE, one with β = 4 and an autoencoder of the same networks are fitted to digits, without their labels, from several
seeds. Of a draw of q(z|x) for each held-out digit (of the autoencoder, its point):

- distinct: the share that the nearest training codes give the right class, beside the same in pixels, and the
  silhouette of the classes, in [−1, 1], below 0 where a digit is nearer to another class than to its own;
- close: the distance between the centres of two classes, in units of their spread (root mean square distance of a code
  from its centre), mean of all pairs. The unit of a latent is arbitrary and that of the spread is not.

Distinct is an accuracy of at least 9 in 10 of that in pixels and a silhouette above 0; close is nearer than the
autoencoder's, by two standard errors of the differences between fits of one seed.

    python -m analysis.class_clusters --out runs/class_clusters --epochs 100 --seeds 3

writes ``class_clusters.csv`` and ``class_clusters.png`` there and prints the table, which a verdict follows.
"""

from __future__ import annotations

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from analysis._claims import AE, BETA, COLOURS, VAE, answer, codes, digits, fitted, parse

NAME = "class_clusters"
SHARE = 0.9  # of the accuracy in pixels
FIGURES = ("accuracy", "silhouette", "distance / spread")


def separation(z: np.ndarray, labels: np.ndarray) -> float:
    """Distance of two class centres over the root mean square distance from them, mean of all pairs of classes."""
    centre, square = {}, {}
    for label in np.unique(labels):
        own = z[labels == label]
        centre[label] = own.mean(0)
        square[label] = ((own - centre[label]) ** 2).sum(1).mean()
    pairs = combinations(centre, 2)
    ratios = [np.linalg.norm(centre[a] - centre[b]) / np.sqrt((square[a] + square[b]) / 2) for a, b in pairs]
    return float(np.mean(ratios))


def measure(seen: np.ndarray, known: np.ndarray, held: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The figures of held-out points (n, d), by training points with their labels."""
    neighbours = KNeighborsClassifier(5).fit(seen, known)
    found = (neighbours.score(held, labels), silhouette_score(held, labels), separation(held, labels))
    return dict(zip(FIGURES, map(float, found), strict=True))


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of each kind, and standard errors where there are several."""
    grouped = rows.groupby("kind", sort=False)[list(FIGURES)]
    means, errors = grouped.mean(), grouped.sem()
    return pd.concat([means, errors.add_suffix(" s.e.")], axis=1).reset_index()


def closer(rows: pd.DataFrame, kind: str, than: str) -> tuple[bool, str]:
    """Whether its classes are nearer to each other, by two standard errors over seeds, and by how much."""
    wide = rows.pivot(index="seed", columns="kind", values="distance / spread")
    difference = wide[kind] - wide[than]
    error = float(difference.sem()) if len(difference) > 1 else np.inf
    text = f"{kind} {wide[kind].mean():.2f}, {than} {wide[than].mean():.2f} (difference {difference.mean():+.2f}"
    return bool(difference.mean() < -2 * error), f"{text} ± {error:.2f})"


def draw(points: dict[str, np.ndarray], labels: np.ndarray, rows: pd.DataFrame) -> plt.Figure:
    """The first two principal components of the codes, and distance against accuracy."""
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.9), layout="constrained")
    for ax, (kind, z) in zip(axes, points.items(), strict=False):
        shown = ax.scatter(*PCA(2).fit_transform(z).T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=10)
        ax.set_title(kind, loc="left", fontsize=11)
        ax.set(xlabel="first component", ylabel="second component")
    figure.colorbar(shown, ax=axes[:3], ticks=range(10), label="digit")
    for kind, own in rows.groupby("kind", sort=False):
        if kind in COLOURS:
            axes[3].plot(own["distance / spread"], own["accuracy"], "o", color=COLOURS[str(kind)], label=kind)
    axes[3].set(xlabel="distance of classes / their spread", ylabel="accuracy of nearest neighbours")
    axes[3].legend(frameon=False)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=100, seeds=3)
    train, test = digits(options)
    known, labels = np.asarray(train.labels), np.asarray(test.labels)
    points, rows = {}, []
    for seed in range(options.seeds):
        for kind in (VAE, BETA, AE):
            fit = fitted(kind, train, options, seed)
            seen, held = codes(fit, train)[0], codes(fit, test)[0]
            rows.append({"kind": kind, "seed": seed} | measure(seen, known, held, labels))
            points.setdefault(kind, held)
    pixels = measure(train.x.numpy(), known, test.x.numpy(), labels)
    found = pd.DataFrame(rows)
    found.to_csv(options.out / "fits.csv", index=False)
    table = pd.concat([summarise(found), pd.DataFrame([{"kind": "pixels"} | pixels])], ignore_index=True)
    own = table.set_index("kind").loc[VAE]
    nearer, told = closer(found, VAE, AE)
    more, beside = closer(found, BETA, VAE)
    findings = [
        (
            own["accuracy"] >= SHARE * pixels["accuracy"] and own["silhouette"] > 0,
            f"the VAE's classes are distinct (accuracy {own['accuracy']:.3f}, in pixels {pixels['accuracy']:.3f}; "
            f"silhouette {own['silhouette']:.2f})",
        ),
        (nearer, f"they are closer than the autoencoder's, in spreads: {told}"),
        (more, f"and closer still where the KL weighs more: {beside}"),
    ]
    return answer(NAME, options, table, lambda: draw(points, labels, found), findings)


if __name__ == "__main__":
    main()
