"""Cost of each part beside the same computation written directly in torch, interleaved, as ratios.

    OMP_NUM_THREADS=1 python benchmarks/parts.py [--only NAME] [--rounds 101] [--seconds 0.01]

A step is the network forward, the density, and backward: of a likelihood log p(x|z) for given x and z, of a guide a
draw and its log q(z|x). A prior (and a table) has no network: its step is log p(z) and a Bernoulli decoder 20-400-784
written by hand on both sides; what it costs alone, forward and backward, is given beside it in µs. Batches of 128;
networks 784-400-20, or 64-64-20 where a feature has several outputs. Validation is off, as in training.

Before it is timed, each pair is checked, in double precision, to give the same value. A round times both, in an order
that alternates; the table gives medians over rounds, the ratio being that of one round's two times, with quartiles.
Times are the processor's for this process, on one thread: what else runs on the machine is left out.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable

import numpy as np
import pyro
import torch
from by_hand import guides, likelihoods, priors
from by_hand._case import Case
from torch import Tensor

LIMIT = 1.3
KINDS = {"priors": priors, "likelihoods": likelihoods, "guides": guides}


def check(make: Callable[[], Case]) -> None:
    """Raise `ValueError` unless both sides compute the same."""
    own = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    case = make()
    ours, by_hand = (float(value.detach().double()) for value in case.agree())
    torch.set_default_dtype(own)
    if not abs(ours - by_hand) <= 1e-4 * max(abs(by_hand), 1):
        raise ValueError(f"{case.name}: {ours:.7g} by the part, {by_hand:.7g} by hand: not the same computation")


def step(case: Case, density: Callable[[], Tensor], rest: Callable[[], Tensor] | None) -> Callable[[], None]:
    """Forward and backward."""

    def run() -> None:
        for leaf in case.leaves:
            leaf.grad = None
        value = density() if rest is None else density() + rest()
        if value.requires_grad:
            value.backward()

    return run


def measure(pair: list[Callable[[], None]], rounds: int, seconds: float) -> np.ndarray:
    """Processor seconds per step, (rounds, 2)."""
    counts = []
    for run in pair:
        for _ in range(3):
            run()
        began = time.process_time()
        run()
        counts.append(max(1, int(seconds / (time.process_time() - began))))
    times = np.empty((rounds, 2))
    gc.collect()
    gc.disable()
    for index in range(rounds):
        for which in (0, 1) if index % 2 else (1, 0):
            began = time.process_time()
            for _ in range(counts[which]):
                pair[which]()
            times[index, which] = (time.process_time() - began) / counts[which]
    gc.enable()
    return times


def line(case: Case, rounds: int, seconds: float) -> str:
    """A row of the table."""
    times = measure([step(case, f, case.rest) for f in (case.by_hand, case.ours)], rounds, seconds)
    low, middle, high = np.quantile(times[:, 1] / times[:, 0], [0.25, 0.5, 0.75])
    by_hand, ours = 1e3 * np.median(times, 0)
    out = f"{case.name:<32}{by_hand:>9.2f}{ours:>9.2f}{middle:>8.2f}{f'{low:.2f} – {high:.2f}':>16}"
    if case.rest is not None:
        alone = 1e6 * np.median(measure([step(case, f, None) for f in (case.by_hand, case.ours)], rounds, seconds), 0)
        out += f"{alone[0]:>10.0f}{alone[1]:>8.0f}"
    return out + (f"   above {LIMIT}" if middle > LIMIT else "")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", help="parts whose name holds this, such as Poisson or guides.Normal")
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--seconds", type=float, default=0.01, help="per side and round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, pyro {pyro.__version__}, 1 thread, {options.rounds} rounds")
    with pyro.validation_enabled(False):
        for kind, module in KINDS.items():
            chosen = [(n, make) for n, make in module.cases() if options.only is None or options.only in f"{kind}.{n}"]
            if chosen:
                alone = f"{'alone, µs':>18}" if kind == "priors" else ""
                print(f"\n{kind:<32}{'by hand':>9}{'ours, ms':>9}{'ratio':>8}{'quartiles':>16}{alone}")
            for _, make in chosen:
                check(make)
                torch.manual_seed(0)
                print(line(make(), options.rounds, options.seconds), flush=True)


if __name__ == "__main__":
    main()
