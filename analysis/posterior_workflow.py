"""From data to an answer: a whole Bayesian workflow (Gelman et al. 2020, arXiv 2011.01808) with a VAE of the digits.

Read it from top to bottom: each step is a function with a few lines, says why it is made, and prints what it found.

    python -m analysis.posterior_workflow --out runs/workflow

writes ``workflow.csv`` (each repair beside exact draws), ``workflow.png``, ``compare.csv`` and ``report.html`` there;
the fits are kept in ``fits``. Some two minutes on one core.
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
from pyrovae.repair.refine import refine

LATENTS, HIDDEN, LEVELS = 8, (128, 128), 17
WITHIN = 2.0  # standard errors, within which 95 % of differences lie if there is nothing but Monte Carlo error


def say(step: str, text: str) -> None:
    """A heading, and what there is to see."""
    print(f"\n── {step} {'─' * (100 - len(step))}\n{text}", flush=True)


def digits(data: int) -> tuple[pv.Data, pv.Data, pv.Data]:
    """Digits to train on, to choose restart and epoch by, and ``data`` to answer for, of which neither knows anything.

    Each gets a name, by which it is found again when only some are looked at.
    """
    whole = pv.data.load("digits")
    names = np.array([f"digit {i}" for i in range(len(whole))])
    whole = replace(whole, coords=whole.coords | {"obs_id": (("obs_id",), names)}, numbered=False)
    rest, test = whole.split(seed=0)
    train, validation = rest.split(seed=0, test=200)
    return train, validation, test.take(range(data))


def build(likelihood: str) -> pv.VAE:
    """The model: z ~ N(0, I), 64 pixels given z, and a diagonal Normal as q(z|x)."""
    torch.manual_seed(0)
    network = pv.networks.MLP(LATENTS, HIDDEN, 64)
    pixels: torch.nn.Module
    if likelihood == "Binomial":
        pixels = pv.likelihoods.Binomial(LEVELS - 1, network)
    else:
        pixels = pv.likelihoods.DiscretizedLogistic(network, torch.full((64,), 0.3), levels=LEVELS)
    return pv.VAE(pv.priors.Normal(LATENTS), pixels, pv.guides.Normal(pv.networks.MLP(64, HIDDEN, 2 * LATENTS)))


def look_before(vae: pv.VAE, train: pv.Data) -> None:
    """1. Does the model, before it has seen data, say anything absurd? All pixels near one value would be; so would
    nothing but black and white. Here the network decides, which is learned: it only has to be able to move."""
    made = pv.sample(vae, train, draws=500)["prior_predictive"]["x"].values[0]
    x = train.x.numpy()
    rows = {
        "mean of a pixel": [made.mean(), x.mean()],
        "standard deviation of a pixel": [made.std(0).mean(), x.std(0).mean()],
        "share of zeros": [(made == 0).mean(), (x == 0).mean()],
    }
    say("1. Prior predictive", pd.DataFrame(rows, index=["drawn", "data"]).T.round(2).to_string())


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
    k̂ that is just good leaves few effective draws, so that the last stage improves all digits."""
    better, best = (refine(fit, test, tree=tree, everything=all_of_them) for all_of_them in (False, True))
    return {
        "guide": tree,
        "guide, weighted": pv.correct(tree),
        "refined": better,
        "refined, weighted": pv.correct(better),
        "all refined": best,
        "all refined, weighted": pv.correct(best),
    }


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
    row = {
        "k̂ bad": float(1 - usable(tree).mean()),
        "log p̂": float(evidence["log_evidence"].mean()),
        "gap": float((evidence["log_evidence"] - terms["elbo"]).mean()),
        "sd ratio": float(beside["z_sd"].median()),
    }
    for name, some in (("good", started), ("bad", ~started)):
        if some.any():
            row[f"{name}: off"] = float(np.sqrt((off[some] ** 2).mean()))
            row[f"{name}: |z| < 2"] = float((np.abs(z[some]) < WITHIN).mean())
            row[f"{name}: rms z"] = float(np.sqrt((z[some] ** 2).mean()))
    return row


def check(tree: xr.DataTree) -> None:
    """7. Does the likelihood describe the digits? Asked after the repair: before it, a finding may be the guide's."""
    found = pv.diagnostics.predictive_check(tree).to_dataframe().sort_values("p_adjusted", kind="stable")
    columns = ["observed", "replicated", "effect", "p_adjusted", "found"]
    say("7. Predictive checks", found[columns].head(6).round(3).to_string())


def ask(stages: dict[str, xr.DataTree], exact: xr.DataTree, rows: np.ndarray) -> None:
    """8. What the draws are for: an expectation, here of |z|², how far from the prior's centre a digit lies, with its
    error. The guide's own answer has a small error, and is wrong."""
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


def distance(draws: xr.Dataset) -> xr.DataArray:
    """|z|²."""
    return (draws["z"] ** 2).sum("z_dim_0")


def draw(stages: dict[str, xr.DataTree], exact: xr.DataTree) -> plt.Figure:
    """k̂ of all digits, and errors of the posterior means of some, at each stage of the repair."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for name, colour in {"guide": "#999999", "refined": "#E69F00", "all refined": "#0072B2"}.items():
        khat = np.sort(pv.diagnostics.pareto_k(stages[name])["pareto_k"].values[0])
        left.plot(khat, np.linspace(0, 1, len(khat)), color=colour, lw=2, label=name)
        for stage, style in ((name, ":"), (f"{name}, weighted", "-")):
            off = np.abs(pv.diagnostics.gold_standard(stages[stage], exact)["z_mean"].values.ravel())
            right.plot(np.sort(off), np.linspace(0, 1, len(off)), style, color=colour, lw=2, label=stage)
    left.axvline(pv.diagnostics.pareto_k(stages["guide"]).attrs["good_k"], color="black", lw=1)
    left.set(xlabel="k̂ (good left of the line)", ylabel="share of digits", title="Can the draws be weighted?")
    right.set(xscale="log", xlim=(3e-3, None), xlabel="error of a posterior mean (exact standard deviations)")
    right.set(ylabel="share of means", title="Beside Markov chains")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8.5)
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
    half = options.exact // 2
    rows = np.concatenate([np.flatnonzero(good)[:half], np.flatnonzero(~good)[: options.exact - half]])
    exact = pv.posterior(fit, test.take(rows), method="nuts", draws=options.draws, progress=False)
    table = pd.DataFrame.from_dict({n: judge(t, exact, good[rows]) for n, t in stages.items()}, orient="index")
    say("5, 6. Repair, beside exact draws", table.round(2).to_string())
    print(
        f"exact draws: {pv.diagnose(exact).table['figure'].iloc[0]}; of z of Monte Carlo error alone, .95 are below 2"
    )
    check(stages["all refined, weighted"])
    ask(stages, exact, rows)

    # 9. The check says that pixels vary otherwise than a Binomial does: another likelihood, and the same steps again.
    second = train_it("logistic", train, validation, options)
    other = refine(second, test, draws=options.draws, everything=True)
    ranked = pv.compare({"Binomial": stages["all refined"], "logistic": other})
    say("9. Which model describes the digits better?", ranked.round(2).to_string())
    check(pv.correct(other))

    table.rename_axis("stage").to_csv(options.out / "workflow.csv")
    ranked.rename_axis("model").to_csv(options.out / "compare.csv")
    figure = draw(stages, exact)
    figure.savefig(options.out / "workflow.png", dpi=150)
    plt.close(figure)
    # 10. All of it on one page, for those who were not there.
    say("10. Report", str(pv.report(pv.correct(other), options.out / "report.html", overwrite=True)))
    return table


if __name__ == "__main__":
    main()
