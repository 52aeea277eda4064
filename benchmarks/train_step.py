"""Cost of one training step: ours beside a hand-written torch step and Pyro's own ``SVI.step``, interleaved, as ratios.

    python benchmarks/train_step.py [--rounds 15] [--threads 2]

Each round times every contestant on the same data, in an order that rotates; the table gives the median over rounds of
the time per step, and of its ratio to the hand-written step of the same round, with the quartiles of that ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

import pyrovae as pv
from pyrovae.program import Batch
from pyrovae.structure import inspect_program
from pyrovae.svi.loss import Loss, quiet

CASES = {
    "64-64-8, batch 64": (64, 64, 8, 64),
    "784-400-20, batch 128": (784, 400, 20, 128),
    "784-400-20, batch 512": (784, 400, 20, 512),
}


def program(features: int, hidden: int, latents: int) -> pv.VAE:
    """The same program for every contestant that takes one."""
    return pv.VAE(
        pv.priors.Normal(latents),
        pv.likelihoods.Bernoulli(pv.networks.MLP(latents, (hidden,), features)),
        pv.guides.Normal(pv.networks.MLP(features, (hidden,), 2 * latents)),
    )


def by_hand(features: int, hidden: int, latents: int) -> Callable[[Tensor], None]:
    """The step as one writes it without a library."""
    encoder = nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latents))
    decoder = nn.Sequential(nn.Linear(latents, hidden), nn.SiLU(), nn.Linear(hidden, features))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)

    def step(x: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loc, raw = encoder(x).chunk(2, -1)
        scale = nn.functional.softplus(raw)
        z = loc + scale * torch.randn_like(loc)
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = -0.5 * (1 + 2 * scale.log() - loc**2 - scale**2).sum()
        ((cross_entropy + kl) / len(x)).backward()
        optimizer.step()

    return step


def pyros_svi(features: int, hidden: int, latents: int) -> Callable[[Tensor], None]:
    """``SVI.step`` with Pyro's optimiser, validation off."""
    vae = program(features, hidden, latents)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())

    def step(x: Tensor) -> None:
        with pyro.validation_enabled(False):
            svi.step(x)

    return step


def ours(features: int, hidden: int, latents: int) -> Callable[[Tensor], None]:
    """What `pyrovae.fit` does in a step, its checks included."""
    vae = program(features, hidden, latents)
    x = torch.zeros(4, features)
    loss = Loss(Trace_ELBO(), vae, inspect_program(vae, Batch(x)), 1000)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    from pyrovae.svi.step import take_step

    def step(x: Tensor) -> None:
        with vae.scope(), quiet():
            take_step(loss, Batch(x), optimizer, None)

    return step


def measure(case: tuple[int, int, int, int], rounds: int, seconds: float) -> dict[str, np.ndarray]:
    """Seconds per step, by contestant and round."""
    *sizes, batch = case
    torch.manual_seed(0)
    x = torch.bernoulli(torch.full((batch, sizes[0]), 0.3))
    steps = {"by hand": by_hand(*sizes), "pyrovae.fit": ours(*sizes), "Pyro SVI.step": pyros_svi(*sizes)}
    counts = {}
    for name, step in steps.items():
        for _ in range(5):
            step(x)
        began = time.perf_counter()
        step(x)
        counts[name] = max(3, int(seconds / (time.perf_counter() - began)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(rounds):
        names = list(steps)
        for name in names[index % 3 :] + names[: index % 3]:
            began = time.perf_counter()
            for _ in range(counts[name]):
                steps[name](x)
            times[name].append((time.perf_counter() - began) / counts[name])
    pyro.clear_param_store()
    return {name: np.array(values) for name, values in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="per contestant and round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, pyro {pyro.__version__}, {options.threads} threads, {options.rounds} rounds\n")
    print(f"{'case':<24}{'step':<16}{'ms':>8}{'ratio':>8}{'quartiles':>16}")
    for case, sizes in CASES.items():
        times = measure(sizes, options.rounds, options.seconds)
        for name, values in times.items():
            ratio = values / times["by hand"]
            low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
            print(f"{case:<24}{name:<16}{1e3 * np.median(values):>8.2f}{middle:>8.2f}{f'{low:.2f} – {high:.2f}':>16}")


if __name__ == "__main__":
    main()
