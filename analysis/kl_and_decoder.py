"""Does the KL term matter for the encoder only?

The claim, the project's source notes (the one on the sampling layer): the KL divergence "can only affect the gradients
of the encoder, since the layers of the decoder come after them". Its gradient at the decoder's parameters is then zero.
But the decoder is trained on what the encoder hands it, and that the KL decides; so that a second question is whether
the decoder that training reaches is the same whatever the KL's weight.

- At the start of training and at its end: the gradient of the objective E log p(x|z) − β KL on the same draws, with
  β = 0, 1 and 4, and the largest difference between them at the decoder's and at the encoder's parameters.
- Step by step, from the same weights, batches and noise: how far apart the decoders of different β are. The first step
  is the same to the bit, if the gradient is; a later one need not be.
- At the end: log p̂(x) of held-out digits, p(x) = ∫ p(z) p(x|z) dz, of which the encoder is no part: it serves as the
  starting point of a q refined for each digit. The difference between weights, paired by digit, beside that between
  seeds.

    python -m analysis.kl_and_decoder --out runs/kl_and_decoder --epochs 100 --seeds 2

writes ``kl_and_decoder.csv`` and ``kl_and_decoder.png`` there and prints the table, which a verdict follows.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor

import pyrovae as pv
from analysis._claims import LATENTS, answer, digits, parse
from models import vae

NAME = "kl_and_decoder"
WEIGHTS = (0.25, 1.0, 4.0)
GRADIENTS = (0.0, 1.0, 4.0)
STEPS, HELD, REFINED = 20, 80, 200
COLOURS = dict(zip(WEIGHTS, ("#56B4E9", "#0072B2", "#009E73"), strict=True))


def flat(program: pv.VAE, part: str, *, gradient: bool = False) -> Tensor:
    """The parameters of a part, or their gradients, as one vector."""
    found = [p.grad if gradient else p.detach() for p in program.parts[part].parameters()]
    return torch.cat([torch.zeros(0) if v is None else v.flatten() for v in found]).clone()


def gradients(program: pv.VAE, x: Tensor, beta: float, seed: int = 0) -> dict[str, Tensor]:
    """Of the objective of weight β on given noise, at the parameters of decoder and encoder."""
    program.zero_grad(set_to_none=True)
    with program.scope(), torch.random.fork_rng():
        torch.manual_seed(seed)
        pv.objectives.Beta(beta).differentiable_loss(program.model, program.guide, x).backward()
    found = {part: flat(program, part, gradient=True) for part in ("likelihood", "guide")}
    program.zero_grad(set_to_none=True)
    return found


def apart(program: pv.VAE, x: Tensor) -> dict[str, float]:
    """The largest difference between the gradients of two weights, in units of the largest gradient of β = 1."""
    found = {beta: gradients(program, x, beta) for beta in GRADIENTS}
    largest = {}
    for part, name in (("likelihood", "decoder"), ("guide", "encoder")):
        pairs = [found[a][part] - found[b][part] for a, b in combinations(GRADIENTS, 2)]
        largest[name] = float(max(d.abs().max() for d in pairs) / found[1.0][part].abs().max())
    return largest


def paths(data: pv.Data, steps: int) -> dict[float, list[Tensor]]:
    """The decoder's parameters after each step on all data, from the same weights on the same noise."""
    found: dict[float, list[Tensor]] = {}
    for beta in WEIGHTS:
        torch.manual_seed(0)
        program = vae.build(data, latents=LATENTS)
        own = found[beta] = [flat(program, "likelihood")]

        def keep(end: pv.EpochEnd, own: list[Tensor] = own) -> None:
            own.append(flat(end.program, "likelihood"))

        settings = {"epochs": steps, "batch_size": len(data), "callbacks": [keep], "progress": False}
        pv.fit(program, data, loss=pv.objectives.Beta(beta), **settings)
    return found


def distances(found: dict[float, list[Tensor]]) -> dict[float, np.ndarray]:
    """From the decoder of β = 1 after the same step, over how far that has come from the start."""
    base = found[1.0]
    moved = [float((w - base[0]).norm()) for w in base[1:]]
    return {
        beta: np.array([float((a - b).norm()) for a, b in zip(own[1:], base[1:], strict=True)]) / moved
        for beta, own in found.items()
        if beta != 1
    }


def evidence(beta: float, seed: int, data: pv.Data, test: pv.Data, options: argparse.Namespace) -> np.ndarray:
    """log p̂(x) of each held-out digit by the decoder that training with this weight reaches."""
    torch.manual_seed(seed)
    kept = options.out / "fits" / f"{beta:g}-{seed}-{options.epochs}-{len(data)}"
    settings = {"epochs": options.epochs, "seed": seed, "resume": kept, "progress": False}
    fit = pv.fit(vae.build(data, latents=LATENTS), data, loss=pv.objectives.Beta(beta), **settings)
    refined = pv.refine(fit, test.take(range(min(HELD, len(test)))), draws=200, steps=REFINED, everything=True)
    values: np.ndarray = pv.diagnostics.log_evidence(refined, k=[1])["log_evidence"].values[0]
    return values


def draw(far: dict[float, np.ndarray], reached: dict[float, np.ndarray]) -> plt.Figure:
    """How the decoders part, and the held-out digits by each, beside β = 1."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for beta, values in far.items():
        axes[0].plot(np.arange(1, len(values) + 1), values, "o-", ms=4, color=COLOURS[beta], label=f"β = {beta:g}")
    axes[0].set(xlabel="steps", ylabel="distance from the decoder of β = 1 / its path")
    axes[0].legend(frameon=False)
    for beta in far:
        difference = np.sort((reached[beta] - reached[1.0]).mean(0))
        share = np.linspace(0, 1, len(difference))
        axes[1].plot(difference, share, color=COLOURS[beta], lw=2, label=f"β = {beta:g}")
    axes[1].axvline(0, color="black", lw=0.8)
    axes[1].set(xlabel="log p̂(x) less that of β = 1 (nats per digit)", ylabel="share of held-out digits")
    axes[1].legend(frameon=False)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=100, seeds=2)
    data, test = digits(options)
    x = data.x.float()
    torch.manual_seed(0)
    program = vae.build(data, latents=LATENTS)
    at = {"start": apart(program, x)}
    reached = {b: np.stack([evidence(b, s, data, test, options) for s in range(options.seeds)]) for b in WEIGHTS}
    pv.fit(program, data, epochs=options.epochs, resume=options.out / "fits" / "measured", progress=False)
    at["end"] = apart(program, x)
    far = distances(paths(data, STEPS))
    rows = [
        {"what": f"gradient at the {part}, β = 0, 1, 4: largest difference, {when}", "figure": found[part]}
        for part in ("decoder", "encoder")
        for when, found in at.items()
    ]
    for beta, values in far.items():
        for step in (1, 2, STEPS):
            name = f"decoder of β = {beta:g} from that of β = 1 after {step} step{'s' * (step > 1)}, of its path"
            rows.append({"what": name, "figure": values[step - 1]})
    for beta, values in reached.items():
        rows.append({"what": f"log p̂(x) by the decoder of β = {beta:g}", "figure": values.mean()})
    gaps = {}
    for beta in far:
        difference = (reached[beta] - reached[1.0]).mean(0)
        gaps[beta] = difference.mean(), difference.std(ddof=1) / np.sqrt(len(difference))
        rows.append({"what": f"log p̂(x), β = {beta:g} less β = 1", "figure": gaps[beta][0], "s.e.": gaps[beta][1]})
    between = float(np.ptp(reached[1.0].mean(1)))
    rows.append({"what": "log p̂(x), between seeds at β = 1", "figure": between})
    table = pd.DataFrame(rows)
    exact = max(found["decoder"] for found in at.values())
    least = min(found["encoder"] for found in at.values())
    same = all(abs(mean) <= max(2 * error, between) for mean, error in gaps.values())
    told = ", ".join(f"{mean:+.2f} ± {error:.2f} at β = {beta:g}" for beta, (mean, error) in gaps.items())
    steps = {n: max(values[n - 1] for values in far.values()) for n in (1, 2)}
    findings = [
        (exact == 0 < least, f"the KL's gradient at the decoder is zero (difference {exact:g}; encoder {least:.2g})"),
        (steps[1] == 0, f"the first step of the decoder is the same (apart by {steps[1]:g} of its path)"),
        (
            steps[2] == 0 and same,
            f"one decoder whatever the KL's weight: {steps[2]:.1e} of the path apart after the second step; log p̂(x) "
            f"less that of β = 1 is {told} nats per digit (between seeds {between:.2f})",
        ),
    ]
    return answer(NAME, options, table, lambda: draw(far, reached), findings)


if __name__ == "__main__":
    main()
