"""Run the analyses of this folder, two at a time with one thread each.

    python -m analysis --out runs/analysis [names…] [--jobs 2] [--full]

Each writes into its own folder there, with what it printed in ``log.txt``. A line says how it ended: its name, its
seconds and its verdict, where it has one; all lines are kept in ``summary.csv``. The first that fails stops the rest.
The longest are given the smaller settings of ``QUICK``, which their line shows; ``--full`` runs them as documented.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import pandas as pd

HERE = Path(__file__).parent
QUICK: dict[str, list[str]] = {
    "guide_families": ["--seeds", "1", "--epochs", "100", "--gaps", "20", "--data", "100"],
    "prior_families": ["--seeds", "1", "--epochs", "100"],
    "power": ["--fits", "5", "--jobs", "1"],
    "collapse": ["--share", "0.3"],
    "calibration": ["--simulations", "1000", "--epochs", "100"],
    "imputation": ["--epochs", "60"],
    "posterior_workflow": ["--epochs", "100", "--draws", "500", "--data", "150"],
    "ppca_ground_truth": ["--epochs", "2000"],
    "semi_supervised": ["--digits", "--codes", "0", "--labels", "50", "300", "--latents", "16", "--batch", "200"],
    "importance_weighting": ["--data", "digits", "--epochs", "100", "100", "50", "--draws", "500"],
    "bars": ["--seeds", "3"],
}
"""Settings by which all of them end within a quarter of an hour."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | {"MPLBACKEND": "Agg"}


class Failed(Exception):
    """An analysis ended with an error."""


def analyses() -> list[str]:
    """Their names: the modules of this folder that are no one's helpers."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def verdict(log: str) -> str:
    """What an analysis concluded: the last of its lines that begins so."""
    said = [line.removeprefix("verdict: ") for line in log.splitlines() if line.startswith("verdict: ")]
    return said[-1] if said else ""


def run(name: str, out: Path, arguments: list[str], stop: Event) -> dict[str, object]:
    """Run one in a process of its own; its line of the summary.

    Raises
    ------
    Failed
        If it did, with the end of what it printed.
    """
    if stop.is_set():
        return {}
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"analysis.{name}", "--out", str(folder.resolve()), *arguments]
    began = time.monotonic()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        code = subprocess.run(
            command, cwd=HERE.parent, env=os.environ | ONE_THREAD, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    said = (folder / "log.txt").read_text(encoding="utf-8")
    if code:
        stop.set()
        raise Failed(f"{name} failed ({folder / 'log.txt'}):\n" + "\n".join(said.splitlines()[-15:]))
    line = {"analysis": name, "seconds": round(time.monotonic() - began), "settings": " ".join(arguments)}
    line["verdict"] = verdict(said)
    print(f"{name:<22} {line['seconds']:>4} s  {line['verdict'] or '–'}", flush=True)
    if arguments:
        print(f"{'':<30}(with {line['settings']})", flush=True)
    return line


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; the number to exit with."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(analyses())}; by default all")
    parser.add_argument("--out", type=Path, default=Path("runs/analysis"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="with their own settings, which takes some hours")
    options = parser.parse_args(arguments)
    names = options.names or analyses()
    if unknown := sorted(set(names) - set(analyses())):
        parser.error(f"no analysis is named {', '.join(unknown)}: choose from {', '.join(analyses())}")
    slow = [n for n in QUICK if n in names]  # first, so that none is left alone at the end
    order = [*slow, *(n for n in names if n not in slow)]
    stop = Event()
    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        asked = [pool.submit(run, n, options.out, [] if options.full else QUICK.get(n, []), stop) for n in order]
        done, _ = wait(asked, return_when=FIRST_EXCEPTION)
        errors = [f.exception() for f in done if f.exception() is not None]
    lines = [f.result() for f in asked if f.done() and f.exception() is None and f.result()]
    if lines:
        pd.DataFrame(lines).to_csv(options.out / "summary.csv", index=False)
    for error in errors:
        if not isinstance(error, Failed):
            raise error or RuntimeError(names)
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
