"""Are missing cells of a table of mixed columns imputed better than by means, and than by linear regressions?

Removes a fifth of the cells at random of a simulated table, whose columns are of six kinds and bent functions of two
latents, and of scikit-learn's wine and diabetes data; fits a VAE with `pyrovae.likelihoods.Columns` to the rest; and
compares `pyrovae.impute` on the removed cells with each column's mean or mode and with scikit-learn's
`IterativeImputer` (Bayesian ridge regressions, van Buuren & Groothuis-Oudshoorn 2011), which is given categories as
codes. Mattei & Frellsen 2019, arXiv 1812.02633.

    python -m analysis.imputation --out runs/imputation --epochs 200

writes ``imputation.csv`` and ``imputation.png`` there and prints the table.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

import pyrovae as pv

METHODS = {"margin": "#999999", "iterative": "#D55E00", "pyrovae": "#0072B2"}


def simulate(n: int = 2000, seed: int = 1) -> pd.DataFrame:
    """A table whose columns are functions of two latents, and one, ``lottery``, that is noise."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    noise = rng.normal(size=(6, n))
    towns = np.stack([2.5 * a, 2.5 * b, -2.5 * (a + b)]) + rng.gumbel(size=(3, n))
    stage = np.digitize(3 * b + rng.logistic(size=n), [-3, 0, 3])
    return pd.DataFrame(
        {
            "wave": np.sin(2 * a) + 0.15 * noise[0],
            "bowl": a**2 - b + 0.2 * noise[1],
            "saddle": a * b + 0.2 * noise[2],
            "slope": a + b + 0.2 * noise[3],
            "income": np.exp(3 + 0.5 * b + 0.4 * np.cos(a) + 0.15 * noise[4]),
            "visits": rng.poisson(np.exp(1.5 + 0.8 * np.cos(1.5 * a) + 0.3 * b)),
            "smokes": rng.random(n) < 1 / (1 + np.exp(-6 * (np.abs(a) - 0.7))),
            "town": pd.Categorical.from_codes(towns.argmax(0), ["Bonn", "Köln", "Ulm"]),
            "stage": pd.Categorical.from_codes(stage, ["I", "II", "III", "IV"], ordered=True),
            "lottery": noise[5],
        }
    )


KINDS = {"simulated": {"income": "positive"}, "wine": {}, "diabetes": {}}
SETTINGS = {"simulated": (4, 64, 1), "wine": (4, 16, 4), "diabetes": (8, 32, 3)}  # latents, width, times the epochs


def tables() -> dict[str, pd.DataFrame]:
    """The simulated table and the real ones."""
    wine, diabetes = load_wine(as_frame=True), load_diabetes(as_frame=True, scaled=False)
    cultivar = pd.Categorical.from_codes(wine.target, ["A", "B", "C"])
    sick = diabetes.data.assign(sex=diabetes.data["sex"] == 2, progression=diabetes.target)
    return {"simulated": simulate(), "wine": wine.data.assign(cultivar=cultivar), "diabetes": sick}


def remove(data: pv.Data, share: float = 0.2, seed: int = 0) -> pv.Data:
    """The same data with this share of their cells missing, at random."""
    x = data.x.double()
    gone = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < share
    return pv.Data(torch.where(gone, torch.nan, x), data.name, data.dims, data.coords, columns=data.columns)


def build(data: pv.Data, latents: int = 4, width: int = 64) -> pv.VAE:
    """A VAE whose guide and likelihood know the columns."""
    columns, outputs = data.columns, pv.guides.MultivariateNormal.outputs(latents)
    features = pv.networks.MLP(pv.networks.Columns.features(columns), (width, width), outputs)
    decoder = pv.networks.MLP(latents, (width, width), pv.likelihoods.Columns.outputs(columns))
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.Columns(columns, decoder),
        guide=pv.guides.MultivariateNormal(pv.networks.Columns(columns, features)),
    )


def compare(whole: pv.Data, part: pv.Data, tree: xr.DataTree) -> pd.DataFrame:
    """For each column the error of each method on the removed cells: RMSE in units of the column's standard deviation
    (of log x for positive numbers), or the share of wrong categories; and how many of them lie in central 90 %
    intervals."""
    truth, seen = whole.x.double().numpy(), part.x.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        linear = IterativeImputer(random_state=0, max_iter=20).fit_transform(seen)
    imputed = tree["imputed"]["x"].isel(chain=0)
    rows = []
    for j, column in enumerate(whole.columns or ()):
        gone = np.isnan(seen[:, j])
        true, known, fitted = truth[gone, j], seen[~gone, j], linear[gone, j]
        draws = imputed.values[:, (imputed["column"] == column.name).values].astype(float)
        row = {"column": column.name, "kind": column.kind, "removed": int(gone.sum())}
        if column.kind in ("categorical", "ordinal", "binary"):
            shares = np.stack([(draws == level).mean(0) for level in range(len(column.levels))])
            mode = np.bincount(known.astype(int)).argmax()
            nearest = fitted.round().clip(0, len(column.levels) - 1)
            row |= {
                "margin": (true != mode).mean(),
                "iterative": (true != nearest).mean(),
                "pyrovae": (true != shares.argmax(0)).mean(),
                "90 % interval": np.nan,
                "claimed": 1 - shares.max(0).mean(),
            }
        else:
            low, high = np.quantile(draws, [0.05, 0.95], axis=0)
            covered = ((low <= true) & (true <= high)).mean()
            if column.kind == "positive":
                true, known, draws = np.log(true), np.log(known), np.log(draws)
                fitted = np.log(fitted.clip(np.exp(known.min())))
            sd = known.std()
            error = {"margin": known.mean(), "iterative": fitted, "pyrovae": draws.mean(0)}
            row |= {name: np.sqrt(np.square(guess - true).mean()) / sd for name, guess in error.items()}
            row |= {"90 % interval": covered, "claimed": np.sqrt(draws.var(0, ddof=1).mean()) / sd}
        rows.append(row)
    table = pd.DataFrame(rows)
    report = tree["columns"].to_dataset().to_dataframe()[["informed"]]
    return table.merge(report, left_on="column", right_index=True, how="left")


def impute(frame: pd.DataFrame, name: str, epochs: int, seed: int, *, progress: bool = True) -> pd.DataFrame:
    """Remove cells, fit, impute and compare."""
    whole = pv.data.as_data(frame, name=name, kinds=KINDS[name])
    part = remove(whole, seed=seed)
    torch.manual_seed(seed)
    latents, width, times = SETTINGS[name]
    vae = build(part, latents, width)
    fit = pv.fit(vae, part, epochs=times * epochs, batch_size=100, seed=seed, progress=progress)
    tree = pv.impute(fit, part, draws=200, seed=seed)
    table = compare(whole, part, tree)
    table.insert(0, "table", name)
    return table


def draw(table: pd.DataFrame) -> plt.Figure:
    """The errors of each method by column, a panel for each table."""
    names = list(dict.fromkeys(table["table"]))
    rows = [int((table["table"] == name).sum()) for name in names]
    figure, panels = plt.subplots(
        1, len(names), figsize=(4.6 * len(names), 1.8 + 0.3 * max(rows)), layout="constrained", squeeze=False
    )
    for panel, name in zip(panels[0], names, strict=True):
        own = table[table["table"] == name].reset_index(drop=True)
        for method, colour in METHODS.items():
            panel.plot(own[method], own.index, "o", color=colour, ms=6, label=method)
        panel.hlines(
            own.index, own[list(METHODS)].min(axis=1), own[list(METHODS)].max(axis=1), color="#dddddd", zorder=0
        )
        panel.set_yticks(own.index, [f"{c} ({k})" for c, k in zip(own["column"], own["kind"], strict=True)])
        panel.invert_yaxis()
        panel.set(title=name, xlim=(0, None), xlabel="error on removed cells")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(METHODS), frameon=False)
    figure.suptitle("Root mean squared error in standard deviations of the column, or share of wrong categories")
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/imputation"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args(arguments)
    frames = tables()
    table = pd.concat(
        [impute(frames[name], name, options.epochs, options.seed) for name in options.tables], ignore_index=True
    )
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "imputation.csv", index=False)
    figure = draw(table)
    figure.savefig(options.out / "imputation.png", dpi=150)
    plt.close(figure)
    with pd.option_context("display.width", 220, "display.max_columns", 20, "display.float_format", "{:.3f}".format):
        print(table.to_string(index=False))
    return table


if __name__ == "__main__":
    main()
