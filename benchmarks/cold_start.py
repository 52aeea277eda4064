"""What a fresh process waits for: importing the package beside importing Pyro, and the command line.

    OMP_NUM_THREADS=1 python benchmarks/cold_start.py [--rounds 15]

Each round starts a process of its own for every contestant, in an order that rotates; the table gives the median over
rounds of the wall-clock and the processor time, and of the ratio of each wall-clock time to that of ``import pyro`` in
the same round, with its quartiles. A first round, which is not counted, warms the file cache and compiles all modules,
as an installation does: bytecode lies in a folder of its own, whatever the environment says of it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

PYRO = "import pyro"
CODE = {
    PYRO: PYRO,
    "import pyrovae": "import pyrovae",
    "the class VAE": "from pyrovae import VAE",
    "what a fit needs": "from pyrovae import Data, VAE, fit, guides, likelihoods, networks, objectives, priors",
    "what judges a fit": "from pyrovae import posterior, diagnose",
    "every public name": "from pyrovae import *",
}
COMMANDS = {"pyrovae --help": 0, "pyrovae fit --help": 0, "pyrovae nonsense": 2}  # with their exit codes


def seconds(arguments: list[str], code: int, environment: dict[str, str]) -> tuple[float, float]:
    """Wall-clock and processor time of a fresh process."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != code:
        raise RuntimeError(f"{arguments} ended with exit code {process.returncode}, expected {code}")
    return wall, used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    settings = parser.parse_args()
    work = {name: (["-c", code], 0) for name, code in CODE.items()}
    work |= {name: (["-m", *name.split()], code) for name, code in COMMANDS.items()}
    names, times = list(work), {name: [] for name in work}
    with tempfile.TemporaryDirectory() as compiled:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        for turn in range(settings.rounds + 1):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                taken = seconds(*work[name], environment)
                if turn:
                    times[name].append(taken)
    pyro = np.array(times[PYRO])[:, 0]
    print(f"{'':18}  wall, s  processor, s  beside {PYRO} (quartiles)")
    for name, found in times.items():
        wall, used = np.array(found).T
        low, middle, high = np.quantile(wall / pyro, [0.25, 0.5, 0.75])
        print(f"{name:18}  {np.median(wall):7.2f}  {np.median(used):12.2f}  {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
