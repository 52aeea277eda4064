"""Time and memory of `fit` by the number of rows, of data on disk and in memory, each in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--rows 1e4 1e5 1e6 1e7] [--stores npy zarr memory] [--folder /tmp]

Rows of 64 float32 features, networks 64-64-8, batches of 1,000. The columns: rows; where they are; the seconds that
reading through the data takes when they are opened, then the checks before the first epoch; the last epoch, in
microseconds a row; the memory of the process before it opens the data and its peak, in MB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, LATENTS, BLOCK = 64, 8, 100_000
MOST_IN_MEMORY = 2_000_000


def write(path: Path, rows: int) -> None:
    """Data with eight factors and noise, a block at a time."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(LATENTS, FEATURES)).astype(np.float32)
    if path.suffix == ".zarr":
        import zarr

        out: Any = zarr.create_array(path, shape=(rows, FEATURES), chunks=(min(rows, 8192), FEATURES), dtype="float32")
    else:
        out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, FEATURES))
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        out[start : start + n] = rng.normal(size=(n, LATENTS)).astype(np.float32) @ loadings + rng.normal(
            size=(n, FEATURES)
        ).astype(np.float32)


def measure(path: Path, store: str, epochs: int) -> dict[str, float]:
    """What a fit takes, in this process."""
    import torch

    import pyrovae as pv

    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Normal(LATENTS),
        pv.likelihoods.Normal(pv.networks.MLP(LATENTS, (64,), FEATURES)),
        pv.guides.Normal(pv.networks.MLP(FEATURES, (64,), 2 * LATENTS)),
    )
    settings: dict[str, Any] = {"batch_size": 1_000, "progress": False, "engine": "traced"}
    pv.fit(vae, torch.randn(4_000, FEATURES), epochs=2, **settings)  # so that what is loaded once is loaded
    before = memory("VmRSS")
    began = time.perf_counter()
    data = pv.data.load(path) if store != "memory" else pv.data.as_data(np.load(path))
    opened = time.perf_counter()
    fit = pv.fit(vae, data, epochs=epochs, **settings)
    seconds = fit.history["seconds"].values[0]
    ended = time.perf_counter()
    return {
        "open": opened - began,
        "checks": ended - opened - float(seconds.sum()),
        "epoch": float(seconds[-1]),
        "before": before,
        "peak": memory("VmHWM"),
        "elbo": float(fit.history["elbo"].values[0, -1]),
    }


def memory(name: str) -> float:
    """A figure of this process in MB; `resource` would count what the process that started it held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", nargs="+", type=lambda text: int(float(text)), default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--stores", nargs="+", choices=("npy", "zarr", "memory"), default=["npy", "zarr", "memory"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the data are written, and removed from again")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), options.one[1], options.epochs)))
        return
    heads = ("rows", "store", "open, s", "checks, s", "µs a row", "before, MB", "peak, MB")
    print("  ".join(f"{head:>10}" for head in heads))
    for rows in options.rows:
        for store in options.stores:
            if store == "memory" and rows > MOST_IN_MEMORY:
                continue
            folder = Path(tempfile.mkdtemp(dir=options.folder))
            try:
                path = folder / ("x.zarr" if store == "zarr" else "x.npy")
                write(path, rows)
                command = [sys.executable, __file__, "--one", str(path), store, "--epochs", str(options.epochs)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            finally:
                shutil.rmtree(folder)
            if done.returncode:
                raise SystemExit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            figures = (found["open"], found["checks"], found["epoch"] / rows * 1e6, found["before"], found["peak"])
            cells = [
                f"{rows:,}",
                store,
                *(f"{value:,.2f}" for value in figures[:3]),
                *(f"{v:,.0f}" for v in figures[3:]),
            ]
            print("  ".join(f"{cell:>10}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
