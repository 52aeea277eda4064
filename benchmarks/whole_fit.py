"""Wall-clock time of a whole `pyrovae.fit` with its default settings, from a cold and from a warm compiler cache.

    python benchmarks/whole_fit.py [--rounds 3] [--contestants torch auto compiled] [--epochs 20] [--restarts 8]
                            [--json FILE]

The bundled digits (1,500 of 64 pixels), Binomial(16), 64-128-128-8, and what `fit` does unless told otherwise: Adam at
4e-3 that falls along a cosine, batches of 100, 100 epochs unless ``--epochs`` says otherwise. ``torch`` is the same by
hand, one chain after another. Each run is a process of its own; in each round each contestant starts with an empty
compiler cache, then runs again with what it left there. The table gives medians over rounds: the seconds of the fit,
cold and warm, the ratio of the warm ones to torch's in the same round with quartiles, the seconds of the whole process
(warm), imports included, and its largest memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from beside.drive import CORES, environment, few_cores, machine
from beside.rounds import MEBIBYTE
from beside.table import markdown

CONTESTANTS = ("torch", "auto", "eager", "traced", "compiled")
EPOCHS, BATCH, LR = 100, 100, 4e-3


def by_hand(x: Any, epochs: int) -> float:
    """The fit as one writes it without a library; the last epoch's bound, in nats per datum."""
    import torch
    from torch import nn
    from torch.nn.functional import softplus

    encoder = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 16))
    decoder = nn.Sequential(nn.Linear(8, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LR, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    constant = (torch.lgamma(torch.tensor(17.0)) - torch.lgamma(x + 1) - torch.lgamma(17 - x)).sum(-1)
    shift, spread, bound = x.mean(), x.std(), 0.0
    for _ in range(epochs):
        bound = 0.0
        for rows in torch.randperm(len(x)).split(BATCH):
            batch = x[rows]
            optimizer.zero_grad(set_to_none=True)
            loc, raw = encoder((batch - shift) / spread).chunk(2, -1)
            scale = softplus(raw)
            logits = decoder(loc + scale * torch.randn_like(loc))
            log_lik = (batch * logits - 16 * softplus(logits)).sum() + constant[rows].sum()
            kl = 0.5 * (loc**2 + scale**2 - 1).sum() - scale.log().sum()
            loss = (kl - log_lik) / len(batch)
            loss.backward()
            optimizer.step()
            bound -= loss.item() * len(rows) / len(x)
        schedule.step()
    return bound


def one(name: str, threads: int, restarts: int, epochs: int) -> None:
    """What a process does: it prints its figures."""
    import torch
    from beside.ours import extra

    import pyrovae as pv

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    train, _ = pv.data.load("digits").split(seed=0)
    ran = ""
    if name == "torch":
        x = train.x.float()
        began = time.perf_counter()
        bound = max(by_hand(x, epochs) for _ in range(restarts))
    else:
        vae = pv.VAE(
            prior=pv.priors.Normal(8),
            likelihood=pv.likelihoods.Binomial(16, pv.networks.MLP(8, (128, 128), 64)),
            guide=pv.guides.Normal(pv.networks.MLP(64, (128, 128), 2 * 8)),
        )
        how = extra(name, None)
        began = time.perf_counter()
        fit = pv.fit(vae, train, epochs=epochs, restarts=restarts, progress=False, **how)
        bound, ran = float(fit.history["elbo"][:, -1].max()), fit.settings.get("engine", "")
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE
    print(json.dumps({"seconds": seconds, "peak": peak, "elbo": bound, "ran": ran}))


def run(name: str, threads: int, restarts: int, epochs: int, cache: str) -> dict[str, Any]:
    """A process of its own."""
    began = time.perf_counter()
    settings = {"--one": name, "--threads": threads, "--restarts": restarts, "--epochs": epochs}
    done = subprocess.run(
        [sys.executable, __file__, *(str(word) for pair in settings.items() for word in pair)],
        env={**environment(threads), "TORCHINDUCTOR_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    process = time.perf_counter() - began
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]}
    return {**json.loads(done.stdout.splitlines()[-1]), "process": process}


def row(name: str, found: list[dict[str, dict[str, Any]]], base: list[dict[str, dict[str, Any]]]) -> list[str]:
    """Of the table."""

    def middle(what: str, cache: str = "warm") -> float:
        return float(np.median([f[cache][what] for f in found]))

    ratio = "–"
    if base:
        pairs = zip(found, base, strict=True)
        low, half, high = np.quantile(
            [f["warm"]["seconds"] / b["warm"]["seconds"] for f, b in pairs], [0.25, 0.5, 0.75]
        )
        ratio = f"{half:.2f} ({low:.2f} – {high:.2f})"
    ran = found[-1]["warm"]["ran"]
    figures = [f"{middle('seconds', 'cold'):.2f}", f"{middle('seconds'):.2f}", ratio, f"{middle('process'):.1f}"]
    return [
        name + (f" (ran {ran})" if ran not in ("", name) else ""),
        *figures,
        f"{middle('peak'):,.0f}",
        f"{middle('elbo'):.2f}",
    ]


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--restarts", type=int, default=1, help="chains; the ELBO is that of the best")
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.one:
        one(options.one, options.threads, options.restarts, options.epochs)
        return
    found: dict[str, list[dict[str, dict[str, Any]]]] = {name: [] for name in options.contestants}
    print(f"{machine(options.threads)}; {options.rounds} rounds\n", flush=True)
    with few_cores(options.threads):
        for index in range(options.rounds):
            for name in np.roll(options.contestants, -index).tolist():
                with tempfile.TemporaryDirectory() as cache:
                    how = (name, options.threads, options.restarts, options.epochs, cache)
                    found[name].append({state: run(*how) for state in ("cold", "warm")})
    failed = {n: next((r["failed"] for f in fs for r in f.values() if "failed" in r), "") for n, fs in found.items()}
    base = [] if failed.get("torch", "none") else found["torch"]
    rows = [row(n, fs, base) if not failed[n] else [n, *"––––––"] for n, fs in found.items()]
    head = ["", "cold, s", "warm, s", "ratio, warm", "process, s", "peak MiB", "ELBO"]
    print("\n".join([markdown(head, rows), *(f"{n}: {why}" for n, why in failed.items() if why)]))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        out = {"machine": machine(options.threads), "fits": found}
        options.json.write_text(json.dumps(out, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
