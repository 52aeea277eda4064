"""Cost of k̂ and log p(x) of many images beside the bare decoder over the same rows, and the memory it takes.

    OMP_NUM_THREADS=1 python benchmarks/importance.py [--images 10000] [--draws 1000] [--rounds 3]

A row is a draw of z for an image. Ours is one call of `pyrovae.diagnostics.importance`: encoder, draws, log q, log p,
decoder, log p(x|z) of 784 Bernoulli cells, the bound, the evidence with its error and the Pareto fit. Beside it stand,
over as many rows of the same decoder 20-400-784 in torch: the network alone, in blocks that fit the processor's cache,
and the network with the cross entropy (`binary_cross_entropy_with_logits`), which is the least that log p(x|z) needs by
hand. The three alternate in rounds over a part of the images; times are the processor's on one thread, medians over
rounds. Then all images are judged in one call, for its memory: the process's largest resident set above that before the
call. With ``PYROVAE_DATA_DIR`` the images are MNIST's test set, binarised; without it random ones, which cost the same.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import pyrovae as pv

BLOCK = 2048


def images(count: int) -> torch.Tensor:
    """Binary images (count, 784)."""
    if os.environ.get("PYROVAE_DATA_DIR"):
        x = pv.data.load("mnist", binarize="static").split(seed=0)[1].x
        return x.reshape(len(x), -1)[torch.arange(count) % len(x)].float()
    return (torch.rand(count, 784) > 0.8).float()


def decoder_alone(network: torch.nn.Module, rows: int) -> None:
    """The network over so many rows."""
    z = torch.randn(BLOCK, 20)
    with torch.no_grad():
        for start in range(0, rows, BLOCK):
            network(z[: min(BLOCK, rows - start)])


def decoder_and_density(network: torch.nn.Module, x: torch.Tensor, rows: int) -> None:
    """The network and the cross entropy of its cells, over so many rows."""
    z, cells = torch.randn(BLOCK, 20), x[torch.arange(BLOCK) % len(x)]
    with torch.no_grad():
        for start in range(0, rows, BLOCK):
            stop = min(BLOCK, rows - start)
            binary_cross_entropy_with_logits(network(z[:stop]), cells[:stop], reduction="none").sum(-1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    settings = parser.parse_args()
    torch.manual_seed(0)
    x = images(settings.images)
    decoder = pv.networks.MLP(20, (400,), 784)
    vae = pv.VAE(
        pv.priors.Normal(20), pv.likelihoods.Bernoulli(decoder), pv.guides.Normal(pv.networks.MLP(784, (400,), 40))
    )
    part = x[: max(1, min(len(x), 400))]
    rows = len(part) * settings.draws
    work: dict[str, Callable[[], object]] = {
        "importance": lambda: pv.diagnostics.importance(vae, part, draws=settings.draws),
        "decoder": lambda: decoder_alone(decoder, rows),
        "decoder and density": lambda: decoder_and_density(decoder, part, rows),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for run in work.values():
        run()
    for _ in range(settings.rounds):
        for name, run in work.items():
            began = time.process_time()
            run()
            times[name].append((time.process_time() - began) / rows * 1e6)
    print(f"{len(part)} images, {settings.draws:,} draws each, 20-400-784, {torch.get_num_threads()} thread(s)\n")
    print(f"{'':22}  µs a row  throughput of importance beside it")
    ours = np.array(times["importance"])
    for name, found in times.items():
        ratio = np.array(found) / ours
        low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
        print(f"{name:22}  {np.median(found):8.2f}  {100 * middle:4.0f} % ({100 * low:.0f} to {100 * high:.0f})")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    found = pv.diagnostics.importance(vae, x, draws=settings.draws)
    seconds = time.perf_counter() - began
    above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(f"\n{len(x):,} images in one call: {seconds:.0f} s, {above:.2f} GiB above the model and the images")
    print(f"log p̂(x) {float(found['log_evidence'].mean()):.2f} nats, k̂ median {float(found['pareto_k'].median()):.2f}")


if __name__ == "__main__":
    main()
