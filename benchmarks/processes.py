"""Time of `fit` by the number of processes that share each batch, and how far their bounds are from those of one.

    OMP_NUM_THREADS=1 python benchmarks/processes.py [--processes 1 2] [--batch-size 1000] [--hidden 400] [--epochs 8]

Data of 784 binary features, a Bernoulli VAE with one hidden layer on each side and 20 latents. The columns: processes;
milliseconds of a step, in the best epoch after the first; how many times faster than one process that is; the largest
relative difference of a step's bound from that of one process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS, FEATURES, LATENTS = 20_000, 784, 20


def measure(out: Path, batch_size: int, hidden: int, epochs: int) -> None:
    """One of the processes: fit, and let the first say what it saw."""
    import torch

    import pyrovae as pv

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    x = (torch.rand(ROWS, FEATURES) < torch.rand(FEATURES) * torch.rand(ROWS, 1)).float()
    vae = pv.VAE(
        prior=pv.priors.Normal(LATENTS),
        likelihood=pv.likelihoods.Bernoulli(pv.networks.MLP(LATENTS, (hidden,), FEATURES)),
        guide=pv.guides.Normal(pv.networks.MLP(FEATURES, (hidden,), 2 * LATENTS)),
    )
    fit = pv.fit(vae, x, epochs=epochs, batch_size=batch_size, engine="traced", progress=False)
    seconds, steps = fit.history["seconds"].values[0, 1:].min(), -(-ROWS // batch_size)
    if os.environ.get("RANK", "0") == "0":
        found = {"step": 1e3 * seconds / steps, "bounds": fit.history["elbo_step"].values[0].tolist()}
        out.write_text(json.dumps(found), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--hidden", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.out:
        measure(given.out, given.batch_size, given.hidden, given.epochs)
        return
    options = ["--batch-size", str(given.batch_size), "--hidden", str(given.hidden), "--epochs", str(given.epochs)]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in dict.fromkeys([1, *given.processes]):
            out = Path(folder) / f"{count}.json"
            start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), __file__]
            subprocess.run([*start, *options, "--out", str(out)], check=True)
            found[count] = json.loads(out.read_text(encoding="utf-8"))
    print("| processes | ms a step | faster | bounds off by |\n|---|---|---|---|")
    for count, figures in found.items():
        off = max(abs(a / b - 1) for a, b in zip(figures["bounds"], found[1]["bounds"], strict=True))
        print(f"| {count} | {figures['step']:.1f} | {found[1]['step'] / figures['step']:.2f} | {off:.0e} |")


if __name__ == "__main__":
    main()
