"""Cost of a training step on weighted draws beside the same step written directly in torch, interleaved, as ratios.

    OMP_NUM_THREADS=1 python benchmarks/objectives.py [--draws 50] [--rounds 15]

The network of Burda et al. (1509.00519): 784-200-200 tanh, 50 latents, Bernoulli pixels, batches of 100. By hand: the
encoder once, K draws of each datum, one pass of the decoder over all of them, log mean w, backward, fused Adam. Ours is
what `pyrovae.fit` does in a step, its checks included. First each is checked to compute the same: the same weights and
random state give the same value. Each round times every contestant, in an order that rotates; the table gives medians
over rounds, the ratio being that of one round's two times, with quartiles. Times are the processor's for this process.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import pyrovae as pv
from pyrovae.program import Batch
from pyrovae.structure import inspect_program
from pyrovae.svi.loss import Loss, quiet
from pyrovae.svi.step import take_step

FEATURES, HIDDEN, LATENTS, BATCH = 784, (200, 200), 50, 100
Step = Callable[[Tensor], float]


def program() -> pv.VAE:
    """The program, with the same weights each time."""
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.Normal(LATENTS),
        pv.likelihoods.Bernoulli(pv.networks.MLP(LATENTS, HIDDEN, FEATURES, activation=nn.Tanh)),
        pv.guides.Normal(pv.networks.MLP(FEATURES, HIDDEN, 2 * LATENTS, activation=nn.Tanh)),
    )


def by_hand(draws: int) -> Step:
    """The step as one writes it without a library."""
    parts = program().parts
    encoder, decoder = parts["guide"].network.layers, parts["likelihood"].network.layers
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    constant = LATENTS * math.log(2 * math.pi) / 2

    def step(x: Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loc, raw = encoder(x).chunk(2, -1)
        scale = nn.functional.softplus(raw)
        noise = torch.randn(draws, *loc.shape)
        z = loc + scale * noise
        log_q = -0.5 * noise.square().sum(-1) - scale.log().sum(-1) - constant
        log_prior = -0.5 * z.square().sum(-1) - constant
        logits = decoder(z)
        target = x.expand_as(logits)
        log_lik = -nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)
        bound = torch.logsumexp(log_lik + log_prior - log_q, 0) - math.log(draws)
        loss = -bound.mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def ours(objective: pv.objectives.Objective) -> Step:
    """What `pyrovae.fit` does in a step."""
    vae = program()
    loss = Loss(objective, vae, inspect_program(vae, Batch(torch.zeros(4, FEATURES))), 60_000)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)

    def step(x: Tensor) -> float:
        with vae.scope(), quiet():
            return take_step(loss, Batch(x), optimizer, None)

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    k = options.draws
    contestants = {
        "by hand": by_hand(k),
        f"ImportanceWeighted({k})": ours(pv.objectives.ImportanceWeighted(k)),
        f"Renyi(0.5, {k})": ours(pv.objectives.Renyi(0.5, k)),
        f"DReG({k})": ours(pv.objectives.DReG(k)),
    }
    x = (torch.rand(BATCH, FEATURES) > 0.8).float()
    first = {}
    for name, step in contestants.items():
        torch.manual_seed(1)
        first[name] = step(x)
    if not all(abs(v - first["by hand"]) < 1e-3 for name, v in first.items() if "Renyi" not in name):
        raise ValueError(f"not the same computation: {first}")
    times = np.empty((options.rounds, len(contestants)))
    for index in range(options.rounds):
        for which in np.roll(np.arange(len(contestants)), index):
            began = time.process_time()
            [*contestants.values()][which](x)
            times[index, which] = time.process_time() - began
    print(f"torch {torch.__version__}, 784-200-200-50, batch {BATCH}, K = {k}, 1 thread, {options.rounds} rounds\n")
    print(f"{'':26}{'ms':>8}{'ratio':>8}{'quartiles':>16}")
    for which, name in enumerate(contestants):
        low, middle, high = np.quantile(times[:, which] / times[:, 0], [0.25, 0.5, 0.75])
        print(f"{name:26}{1e3 * np.median(times[:, which]):8.1f}{middle:8.2f}{f'{low:.2f} – {high:.2f}':>16}")


if __name__ == "__main__":
    main()
