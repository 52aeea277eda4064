"""From data to an answer: a whole Bayesian workflow (Gelman et al. 2020, arXiv 2011.01808) with a VAE of the digits.

Read it from top to bottom: each step is a function with a few lines, says why it is made, and prints what it found.

    python -m analysis.posterior_workflow --out runs/workflow

writes ``workflow.csv`` (each repair beside exact draws), ``workflow.png``, ``compare.csv`` and ``report.html`` there;
the fits are kept in ``fits``. About a minute on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr

import pyrovae as pv

LATENTS, HIDDEN, LEVELS = 8, (128, 128), 17
WITHIN = 2.0  # standard errors: .95 of all |z| are below it where there is nothing but Monte Carlo error


def say(step: str, text: str) -> None:
    """A heading, and what there is to see."""
    print(f"\n── {step} {'─' * (100 - len(step))}\n{text}")


def digits(data: int) -> tuple[pv.Data, pv.Data, pv.Data]:
    """Digits to train on, to choose restart and epoch by, and ``data`` to answer for, of which neither knows anything.

    Each gets a name, by which it is found again when only some are looked at.
    """
    whole = pv.data.load("digits")
    names = {"obs_id": (("obs_id",), np.array([f"digit {i}" for i in range(len(whole))]))}
    rest, test = replace(whole, coords=whole.coords | names, numbered=False).split(seed=0)
    train, validation = rest.split(seed=0, test=200)
    return train, validation, test.take(range(data))


def build(likelihood: str) -> pv.VAE:
    """The model: z ~ N(0, I), 64 pixels given z, and a diagonal Normal as q(z|x)."""
    torch.manual_seed(0)
    decoder = pv.networks.MLP(LATENTS, HIDDEN, 64)
    pixels = {
        "Binomial": pv.likelihoods.Binomial(LEVELS - 1, decoder),
        "logistic": pv.likelihoods.DiscretizedLogistic(decoder, torch.full((64,), 0.3), levels=LEVELS),
    }[likelihood]
    return pv.VAE(pv.priors.Normal(LATENTS), pixels, pv.guides.Normal(pv.networks.MLP(64, HIDDEN, 2 * LATENTS)))


def look_before(vae: pv.VAE, train: pv.Data) -> None:
    """1. Does the model, before it has seen data, say anything absurd? All pixels near one value would be; so would
    nothing but black and white. Here the network decides, which is learned: it only has to be able to move."""
    made = pv.sample(vae, train, draws=500)["prior_predictive"]["x"].values[0]
    both = {"drawn": made, "data": train.x.numpy()}
    rows = {name: [v.mean(), v.std(0).mean(), (v == 0).mean()] for name, v in both.items()}
    table = pd.DataFrame(rows, index=["mean of a pixel", "standard deviation of a pixel", "share of zeros"])
    say("1. Prior predictive", table.round(2).to_string())


def train_it(likelihood: str, train: pv.Data, validation: pv.Data, options: argparse.Namespace) -> pv.Fit:
    """2. Fit from two starts, each stopped where it describes the validation digits best; the better one is chosen."""
    settings = {"epochs": options.epochs, "patience": 30, "restarts": 2, "progress": False}
    kept = options.out / "fits" / f"{likelihood}-{options.epochs}"
    return pv.fit(build(likelihood), train, validation=validation, resume=kept, **settings)


def look_after(fit: pv.Fit, tree: xr.DataTree) -> None:
    """3 and 4. Has the optimiser arrived, and can its q(z|x) stand for the posterior? Read the verdicts' last lines
    first: they name what is wrong, and what to mend before the rest."""
    moved = pv.diagnostics.convergence(tree).to_dataframe().drop(columns="rhat_chains")
    say("2, 3. Fit, and convergence of each restart", f"{fit}, best chain {fit.best}\n{moved.round(2).to_string()}")
    say("4. Can it be trusted?", str(pv.diagnose(tree)))


def repair(fit: pv.Fit, test: pv.Data, tree: xr.DataTree) -> dict[str, xr.DataTree]:
    """5. Improve q where k̂ is bad, then weight the draws. Weights alone do not reach a posterior where k̂ is bad; and a
    k̂ that is just good leaves few effective draws, so the last stage improves all digits."""
    some, every = (pv.refine(fit, test, tree=tree, everything=all_of_them) for all_of_them in (False, True))
    drawn = {"guide": tree, "refined": some, "all refined": every}
    return {f"{name}{how}": pv.correct(t) if how else t for name, t in drawn.items() for how in ("", ", weighted")}


def usable(tree: xr.DataTree) -> np.ndarray:
    """Of which digits k̂ is good, by the first chain."""
    khat = pv.diagnostics.pareto_k(tree)
    return khat["pareto_k"].values[0] < khat.attrs["good_k"]


def judge(tree: xr.DataTree, exact: xr.DataTree, started: np.ndarray) -> dict[str, float]:
    """A stage of the repair: k̂ and bound of all digits; and the means of some beside the exact ones, by whether their
    k̂ was good from the start: how far off in exact standard deviations, and z, in Monte Carlo errors."""
    terms, evidence = pv.diagnostics.elbo_terms(tree), pv.diagnostics.log_evidence(tree, k=[1])
    beside = pv.diagnostics.gold_standard(tree, exact)
    off, z = beside["z_mean"].values, (beside["z_mean"] / beside["z_mean_mcse"]).values
    row = {"k̂ bad": 1 - usable(tree).mean(), "log p̂": float(evidence["log_evidence"].mean())}
    row |= {"gap": row["log p̂"] - float(terms["elbo"].mean()), "sd ratio": float(beside["z_sd"].median())}
    for name, some in (("good", started), ("bad", ~started)):
        if some.any():
            row[f"{name}: off"] = float(np.sqrt((off[some] ** 2).mean()))
            row[f"{name}: |z| < 2"] = float((np.abs(z[some]) < WITHIN).mean())
            row[f"{name}: rms z"] = float(np.sqrt((z[some] ** 2).mean()))
    return row


def check(step: str, tree: xr.DataTree) -> None:
    """7. Does the likelihood describe the digits? Asked after the repair: before it, a finding may be the guide's."""
    found = pv.diagnostics.predictive_check(tree).to_dataframe().sort_values("p_adjusted", kind="stable")
    show = found[["observed", "replicated", "effect", "p_adjusted", "found"]].head(6).round(3)
    say(f"{step}. Predictive checks", show.to_string())


def ask(stages: dict[str, xr.DataTree], exact: xr.DataTree, rows: np.ndarray) -> None:
    """8. What the draws are for: an expectation, here of |z|², how far from the prior's centre a digit lies, with its
    error. The guide's own answers have small errors, and most are wrong by many of them."""

    def distance(draws: xr.Dataset) -> xr.DataArray:
        return (draws["z"] ** 2).sum("z_dim_0")

    asked = {
        "q alone": pv.expectation(stages["guide"], distance, method="q").isel(obs_id=rows),
        "repaired": pv.expectation(stages["all refined"], distance).isel(obs_id=rows),
        "exact": pv.expectation(exact, distance),
    }
    text = pd.DataFrame(index=exact["posterior"]["obs_id"].values)
    for name, found in asked.items():
        mean, error = (found[k].values.ravel() for k in ("mean", "mcse"))
        text[name] = [f"{m:.2f} ± {e:.2f}" for m, e in zip(mean, error, strict=True)]
    say("8. E[|z|²|x], and its Monte Carlo error", text.iloc[:: max(1, len(rows) // 6)].to_string())


def draw(stages: dict[str, xr.DataTree], exact: xr.DataTree) -> plt.Figure:
    """k̂ of all digits before and after, and errors of the posterior means of some at each stage of the repair."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for ax, name in zip(axes, ("guide", "all refined"), strict=False):
        pv.plots.plot_khat(stages[name], ax=ax)
        ax.set_title(name, loc="right", pad=24)
    colours = [c for c in ("#999999", "#E69F00", "#0072B2") for _ in range(2)]
    for (name, tree), colour, style in zip(stages.items(), colours, [":", "-"] * 3, strict=True):
        off = np.abs(pv.diagnostics.gold_standard(tree, exact)["z_mean"].values.ravel())
        axes[2].plot(np.sort(off), np.linspace(0, 1, len(off)), style, color=colour, lw=2, label=name)
    axes[2].set(xscale="log", xlim=(3e-3, None), xlabel="error of a mean (sd of NUTS)", ylabel="share of means")
    axes[2].legend(frameon=False, fontsize=8.5)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/workflow"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--data", type=int, default=297, help="held-out digits to answer for")
    parser.add_argument("--exact", type=int, default=24, help="digits with Markov chains")
    options = parser.parse_args(arguments)
    train, validation, test = digits(options.data)
    look_before(build("Binomial"), train)
    fit = train_it("Binomial", train, validation, options)
    tree = pv.posterior(fit, test, draws=options.draws)
    look_after(fit, tree)

    tree = tree.isel(chain=[fit.best])
    stages, good = repair(fit, test, tree), usable(tree)
    # 6. The gold standard: Markov chains of p(z|x) for a few digits, half of which had a good k̂ from the start.
    rows = np.concatenate([np.flatnonzero(some)[: options.exact // 2] for some in (good, ~good)])
    chains = {"method": "nuts", "draws": options.draws, "warmup": max(20, options.draws // 2), "progress": False}
    exact = pv.posterior(fit, test.take(rows), **chains)
    table = pd.DataFrame.from_dict({n: judge(t, exact, good[rows]) for n, t in stages.items()}, orient="index")
    mixed = pv.diagnose(exact).table["figure"].iloc[0]
    say("5, 6. Repair, beside exact draws", f"{table.round(2).to_string()}\nof the exact draws: {mixed}")
    check("7", stages["all refined, weighted"])
    ask(stages, exact, rows)

    # 9. The checks say that pixels spread otherwise than a Binomial's: another likelihood, and the same steps again.
    better = train_it("logistic", train, validation, options)
    other = pv.refine(better, test, draws=options.draws, everything=True)
    ranked = pv.compare({"Binomial": stages["all refined"], "logistic": other})
    say("9. Which model describes the digits better? (nats of all digits)", ranked.round(2).to_string())
    check("9", final := pv.correct(other))

    table.to_csv(options.out / "workflow.csv", index_label="stage")
    ranked.to_csv(options.out / "compare.csv", index_label="model")
    figure = draw(stages, exact)
    figure.savefig(options.out / "workflow.png", dpi=120)
    plt.close(figure)
    # 10. All of it on one page, for those who were not there.
    say("10. Where this ends", str(pv.diagnose(final)))
    pv.report(final, options.out / "report.html", overwrite=True)
    return table


if __name__ == "__main__":
    main()
