"""How often the verdicts of `pyrovae.diagnose` are right: simulated fits whose fault is known.

    python -m analysis.power [--fits 100] [--out runs/power] [--jobs 2]

Each fit is of new data from a linear Gaussian model with two latents (probabilistic PCA), 1,000 to train, 400 held out,
by SVI with a full-covariance guide, which holds the exact posterior. Then one thing is wrong at a time:

- nothing;
- narrow guide: the fitted guide's standard deviations times .6, .7, .8;
- biased encoder: its means moved by 1, .75, .5 posterior standard deviations in every direction;
- wrong likelihood: noise of Student's t with 3 degrees of freedom, fitted as Normal;
- too tight prior: latents of standard deviation 1, fitted with a prior of .5 and the true loadings, which therefore
  cannot make up for it;
- collapsed latent: a third latent that the decoder cannot see;
- unconverged optimiser: 30 epochs instead of 300, at less than half the rate.

The verdict on the held-out data is right where it is good for nothing wrong, and where it names the fault; it is also
counted whether the fault stands first, as what to mend before anything else.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrovae as pv

FEATURES, LATENTS, TRAIN, HELD_OUT, NOISE = 8, 2, 1000, 400, 0.5
DRAWS = 1000


class Fault(NamedTuple):
    """A planted fault: what it is called, the words by which a verdict names it, and how hard it is to see."""

    name: str
    words: tuple[str, ...]
    size: str = ""


RIGHT = Fault("right model", ())
FAULTS = (
    Fault("narrow guide", ("too narrow", "cannot stand for"), "sd × .6"),
    Fault("narrow guide", ("too narrow", "cannot stand for"), "sd × .7"),
    Fault("narrow guide", ("too narrow", "cannot stand for"), "sd × .8"),
    Fault("biased encoder", ("wrong place",), "1 sd"),
    Fault("biased encoder", ("wrong place",), ".75 sd"),
    Fault("biased encoder", ("wrong place",), ".5 sd"),
    Fault("wrong likelihood", ("likelihood does not",), "t with 3 df"),
    Fault("too tight prior", ("prior is not",), "sd .5 for 1"),
    Fault("collapsed latent", ("latents carry nothing",), "1 of 3"),
    Fault("unconverged optimiser", ("converged",), "30 epochs"),
)


class Loadings(nn.Module):
    """x = z Wᵀ + μ; with ``fixed`` the loadings are known, and zero for latents beyond those."""

    def __init__(self, latents: int, fixed: Tensor | None = None) -> None:
        super().__init__()
        start = 0.5 * torch.randn(FEATURES, latents)
        self.w = nn.Parameter(start if fixed is None else fixed, requires_grad=fixed is None)
        self.mean = nn.Parameter(torch.zeros(FEATURES))
        seen = torch.ones(latents)
        seen[LATENTS:] = 0.0
        self.register_buffer("seen", seen)

    def forward(self, z: Tensor) -> Tensor:
        return z @ (self.w * self.seen).T + self.mean


class Changed(nn.Module):
    """A guide with its standard deviations times ``factor`` and its means moved by ``shift`` of them."""

    def __init__(self, guide: nn.Module, factor: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.guide, self.factor, self.shift = guide, factor, shift

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        q = self.guide(x)
        moved = q.loc + self.shift * q.variance.sqrt()
        return dist.MultivariateNormal(moved, scale_tril=self.factor * q.scale_tril)


def simulate(heavy: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Loadings, training and held-out data, by the global random state."""
    w = torch.randn(FEATURES, LATENTS)
    noise = dist.StudentT(3.0, 0.0, 1.0) if heavy else dist.Normal(0.0, 1.0)
    scale = NOISE / (math.sqrt(3.0) if heavy else 1.0)
    z = torch.randn(TRAIN + HELD_OUT, LATENTS)
    x = z @ w.T + scale * noise.sample((TRAIN + HELD_OUT, FEATURES))
    return w, x[:TRAIN], x[TRAIN:]


def fitted(train: Tensor, held_out: Tensor, w: Tensor, fault: str, seed: int, epochs: int) -> pv.Fit:
    """A fit of the program that the fault calls for."""
    latents = LATENTS + (fault == "collapsed latent")
    tight = fault == "too tight prior"
    vae = pv.VAE(
        prior=pv.priors.Normal(latents, scale=0.5 if tight else 1.0),
        likelihood=pv.likelihoods.Normal(Loadings(latents, w if tight else None), scale=1.0, learn_scale=True),
        guide=pv.guides.MultivariateNormal(
            pv.networks.MLP(FEATURES, (), pv.guides.MultivariateNormal.outputs(latents))
        ),
    )
    unfinished = fault == "unconverged optimiser"
    return pv.fit(
        vae,
        train,
        validation=held_out,
        epochs=epochs // 10 if unfinished else epochs,
        lr=0.02 if unfinished else 0.05,
        batch_size=TRAIN,
        seed=seed,
        progress=False,
    )


def judged(program: Any, fit: pv.Fit, held_out: Tensor, seed: int) -> pv.diagnostics.Diagnosis:
    """The verdict on a program, with the history of its fit."""
    tree = pv.posterior(program, held_out, draws=DRAWS, seed=seed)
    tree["optimization"] = fit.history
    return pv.diagnose(tree, seed=seed)


def verdicts(seed: int, epochs: int = 300) -> list[dict[str, Any]]:
    """What is said of one fit of each kind: whether all is called good, whether its fault is named, and named first."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rows = []
    w, train, held_out = simulate(heavy=False)
    right = fitted(train, held_out, w, "", seed, epochs)
    guide = right.program.parts["guide"]
    for fault in (RIGHT, *FAULTS):
        planted = fault.name in ("narrow guide", "biased encoder")
        size = float(fault.size.replace("sd", "").replace("×", "")) if planted else 0.0
        if fault is RIGHT:
            found = judged(right.program, right, held_out, seed)
        elif size:
            changed = Changed(guide, factor=size) if "×" in fault.size else Changed(guide, shift=size)
            program = pv.VAE(right.program.parts["prior"], right.program.parts["likelihood"], changed)
            found = judged(program, right, held_out, seed)
        else:
            drawn = simulate(heavy=True) if fault.name == "wrong likelihood" else (w, train, held_out)
            fit = fitted(drawn[1], drawn[2], drawn[0], fault.name, seed, epochs)
            found = judged(fit.program, fit, drawn[2], seed)
        named = [any(word in text for word in fault.words) for text in found.faults]
        rows.append({
            "fault": fault.name,
            "size": fault.size,
            "good": found.verdict == "good",
            "named": any(named),
            "first": bool(named) and named[0],
            "said": "; ".join(found.faults) or found.verdict,
        })  # fmt: skip
    return rows


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts by fault: called good, fault named, and named first."""
    return rows.groupby(["fault", "size"], sort=False)[["good", "named", "first"]].sum().assign(
        fits=rows.groupby(["fault", "size"], sort=False).size()
    ).reset_index()  # fmt: skip


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/power"))
    settings = parser.parse_args(arguments)
    run: Callable[..., Iterator[list[dict[str, Any]]]] = map
    rows: list[dict[str, Any]] = []
    seeds = range(settings.fits)
    with ProcessPoolExecutor(settings.jobs) if settings.jobs > 1 else _none() as pool:
        run = pool.map if pool is not None else map
        for found in run(verdicts, seeds, [settings.epochs] * len(seeds)):
            rows += found
            print(f"\r{len(rows) // (1 + len(FAULTS))} of {settings.fits} fits of each kind", end="", flush=True)
    frame = pd.DataFrame(rows)
    settings.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(settings.out / "verdicts.csv", index=False)
    summary = table(frame)
    summary.to_csv(settings.out / "power.csv", index=False)
    print("\n\n" + summary.to_string(index=False))
    return summary


class _none:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


if __name__ == "__main__":
    main()
