"""Cost of a training step, and of log p(x): ours beside torch by hand, Pyro, pythae and NumPyro, as ratios.

    python benchmarks/train_step.py [--cases small wide] [--rounds 15] [--contestants torch pyrovae-eager] [--json FILE]

Each contestant is a process of its own with the same cores and threads; all draw the same binary data (32 steps an
epoch) and have the same networks, a Bernoulli likelihood and Adam. Each warms up, then waits. The driver has them work
a round (whole epochs, as many as fill ``--seconds``) one after another, never two at a time, in an order that rotates.
The table gives medians over rounds of the time per step and of its ratio to torch by hand in the same round, with the
quartiles of that ratio; what the warm-up took beyond as many epochs, which is tracing and compiling with an empty
cache; and the largest resident memory of the process, in all and above that after its imports.

Ours is measured through `pyrovae.fit` itself, from one callback to the next; what it does per step and epoch counts:
checks that loss and gradient are finite, the history, standardising the guide's input. Contestants are ``torch``,
``pyro``, ``pythae``, ``numpyro`` and ``pyrovae-ENGINE``; in bfloat16 ``pyrovae-ENGINE-bf16`` and ``torch-bf16``, which
is automatic mixed precision. pythae and NumPyro run in ``.venv-peers``, which ``make bench`` makes. The case
``evidence`` is log p(x) by 5,000 draws of ``--images`` images.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from beside.cases import CASES
from beside.drive import CONTESTANTS, CORES, PEERS, compete, few_cores, machine, summary
from beside.table import of_case


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a round, at least one epoch")
    parser.add_argument("--warm-up", type=int, default=5, help="epochs before the first round")
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument(
        "--images", type=int, default=20, help="of the case evidence; 10,000 take ten minutes a pass and core"
    )
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python of pythae and NumPyro")
    parser.add_argument("--json", type=Path, help="also write all times there")
    options = parser.parse_args(words)
    if not 1 <= options.threads <= CORES:
        parser.error(f"--threads: expected 1 to {CORES}, got {options.threads}")
    settings = {name: getattr(options, name) for name in ("threads", "seconds", "warm_up", "images")}
    out: dict[str, Any] = {"machine": machine(options.threads), "settings": settings, "cases": {}}
    print(f"{out['machine']}; {options.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory() as cache, few_cores(options.threads):
        for name in options.cases:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(cache) / name)
            names = list(options.contestants)
            if CASES[name].evidence:  # which knows no engine
                ours = [n for n in names if n.startswith("pyrovae")]
                names = [n for n in names if n not in ours[1:] and not n.endswith("-bf16")]
            found = summary(compete(name, names, options.rounds, settings, options.peers))
            out["cases"][name] = found
            says = CASES[name].says + (f", {options.images} images" if CASES[name].evidence else "")
            print(f"\n{says}\n\n{of_case(found, 'datum' if CASES[name].evidence else 'step')}", flush=True)
    versions = {k: v for c in out["cases"].values() for f in c.values() for k, v in f.pop("versions", {}).items()}
    out["versions"] = versions
    print("\n" + ", ".join(f"{k} {v}" for k, v in sorted(versions.items())))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(out, indent=1, ensure_ascii=False), encoding="utf-8")
    return out


if __name__ == "__main__":
    main()
