"""The driver's side: start contestants, have them work one after another, and put their figures beside each other.

It imports neither torch nor jax: the largest memory of a process is counted from that of the one it came from.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "BASE",
    "CONTESTANTS",
    "CORES",
    "PEERS",
    "Contestant",
    "compete",
    "environment",
    "few_cores",
    "machine",
    "summary",
]

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BASE = "torch"
PAUSE = 0.02  # seconds, for the threads of the one before to fall asleep
OURS = ("pyrovae-eager", "pyrovae-traced", "pyrovae-compiled")
CONTESTANTS = (BASE, "torch-bf16", *OURS, "pyrovae-compiled-bf16", "pyro", "pythae", "numpyro")
MODULES = {
    "torch": "torch_by_hand",
    "pyrovae": "ours",
    "pyro": "pyro_svi",
    "pythae": "pythae_trainer",
    "numpyro": "numpyro_scan",
}


@dataclass
class Contestant:
    """A process that waits for its turn, or the reason why there is none."""

    name: str
    process: subprocess.Popen[str] | None = None
    log: Any = None
    about: dict[str, Any] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    failed: str = ""

    def read(self) -> dict[str, Any] | None:
        """Its next answer; None if it ended."""
        line = self.process.stdout.readline() if self.process is not None else ""
        if line:
            return json.loads(line)
        if self.process is not None:
            self.process.wait()
            self.log.seek(0)
            said = [text.strip() for text in self.log.read().splitlines() if text.strip()]
            self.failed = said[-1] if said else f"ended with status {self.process.returncode}"
        return None

    def go(self) -> None:
        """One round."""
        time.sleep(PAUSE)
        print("go", file=self.process.stdin, flush=True)
        if (answer := self.read()) is not None:
            self.times.append(answer["seconds"])
            self.about["peak"] = answer["peak"]

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stdin.close()
            for line in self.process.stdout:  # what it says of itself at the end
                self.about |= json.loads(line)
            self.process.wait()
            self.process.stdout.close()
            self.log.close()


def start(name: str, case: str, settings: Mapping[str, Any], peers: Path) -> Contestant:
    """Start one, and wait until it has warmed up. ``pyrovae-compiled-bf16``: library, engine, precision."""
    library, _, how = name.partition("-")
    engine, _, precision = how.partition("-")
    python = peers if library in ("pythae", "numpyro") else Path(sys.executable)
    if library not in MODULES or (how and name != "torch-bf16" and library != "pyrovae"):
        raise SystemExit(f"--contestants: expected some of {', '.join(CONTESTANTS)}, got {name}")
    if library == "torch":
        engine, precision = "", how
    if not python.exists():
        return Contestant(name, failed=f"no {python}: make bench creates it")
    told = {**settings, **({"engine": engine} if engine else {}), **({"precision": precision} if precision else {})}
    command = [str(python), "-m", f"beside.{MODULES[library]}", case]
    command += [word for key, value in told.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115
    process = subprocess.Popen(
        command,
        cwd=ROOT / "benchmarks",
        env=environment(int(told["threads"])),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    contestant = Contestant(name, process, log)
    contestant.about = contestant.read() or {}
    return contestant


def environment(threads: int) -> dict[str, str]:
    """The same threads for all."""
    each = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
    xla = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
    return {**os.environ, **each, "XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


@contextmanager
def few_cores(threads: int) -> Iterator[None]:
    """A block whose processes see as many cores as they may have threads, which is what XLA counts."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def compete(
    case: str, names: list[str], rounds: int, settings: Mapping[str, Any], peers: Path = PEERS
) -> list[Contestant]:
    """Rounds of all contestants, one at a time, in an order that rotates."""
    everyone: list[Contestant] = []
    try:
        for name in names:
            everyone.append(start(name, case, settings, peers))
        for index in range(rounds):
            alive = [c for c in everyone if not c.failed]
            for which in np.roll(np.arange(len(alive)), -index):
                alive[which].go()
    finally:
        for contestant in everyone:
            contestant.stop()
    return everyone


def summary(everyone: list[Contestant]) -> dict[str, dict[str, Any]]:
    """Medians over rounds, the ratio being that of one round's two times, with quartiles."""
    base = next((np.array(c.times) for c in everyone if c.name == BASE and not c.failed), None)
    found: dict[str, dict[str, Any]] = {}
    for c in everyone:
        if c.failed:
            found[c.name] = {"failed": c.failed}
            continue
        found[c.name] = {**c.about, "times": c.times, "seconds": float(np.median(c.times))}
        if base is not None:
            quartiles = np.quantile(np.array(c.times) / base, [0.25, 0.5, 0.75])
            found[c.name]["ratio"], found[c.name]["quartiles"] = float(quartiles[1]), quartiles[[0, 2]].tolist()
    return found


def machine(threads: int) -> str:
    """Processor, cores and load."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        model = platform.processor() or platform.machine()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{model}, {threads} of {os.cpu_count()} cores, load average {load}; Python {sys.version.split()[0]}"
