"""The benchmark's driver and contestants end to end, and that the contestants compute the same. Nothing is timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The contestants that this environment can run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from beside import cases, ours, pyro_svi, table, torch_by_hand

    return SimpleNamespace(cases=cases, ours=ours, pyro=pyro_svi, table=table, torch=torch_by_hand)


def test_driver_and_contestants(tmp_path: Path) -> None:
    """Each answers all rounds; one that cannot run is named with the reason."""
    command = [sys.executable, str(BENCHMARKS / "train_step.py"), "--cases", "small", "--rounds", "2", "--threads", "1"]
    command += ["--seconds", "0.001", "--warm-up", "1", "--peers", str(tmp_path / "no python")]
    command += ["--contestants", "torch", "pyro", "pyrovae-eager", "numpyro", "--json", str(tmp_path / "x.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["cases"]["small"]
    assert "make bench" in found.pop("numpyro")["failed"]
    assert set(found) == {"torch", "pyro", "pyrovae-eager"}
    for name, figures in found.items():
        assert len(figures["times"]) == 2
        assert min(figures["times"]) > 0
        assert figures["steps"] == 32
        assert figures["peak"] >= figures["before"] > 0
        assert f"| {name} " in done.stdout
    assert (found["torch"]["ratio"], found["torch"]["quartiles"]) == (1, [1, 1])
    assert "numpyro: no " in done.stdout


@pytest.mark.parametrize("name", ["small", "conv", "flow"])
def test_contestants_compute_the_same(beside: SimpleNamespace, name: str) -> None:
    """With the same weights and noise: torch by hand and Pyro (the KL in closed form, if it has one), ours and Pyro."""
    case = beside.cases.CASES[name]
    x = torch.from_numpy(beside.cases.data(case, 10))
    torch.manual_seed(0)
    theirs, vae = beside.pyro.Program(case), beside.ours.program(case)
    with torch.no_grad():
        mine = [vae.parts["guide"].network, vae.parts["likelihood"].network]
        mine += [vae.parts["prior"].flow] if case.flow else []
        parts = [theirs.encoder, theirs.decoder, *([theirs.flow] if case.flow else [])]
        for one, other in zip(mine, parts, strict=True):
            for p, q in zip(one.parameters(), other.parameters(), strict=True):
                q.copy_(p)

    def value(elbo: pyro.infer.ELBO, pair: object) -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            return float(elbo.loss(pair.model, pair.guide, x)) / len(x)

    loss = beside.torch.loss_of(case, theirs.encoder, theirs.decoder, theirs.flow)
    torch.manual_seed(1)
    by_hand = loss(x).item()
    assert by_hand == pytest.approx(value((Trace_ELBO if case.flow else TraceMeanField_ELBO)(), theirs), rel=1e-5)
    with vae.scope():
        ours = value(Trace_ELBO(), vae)
    assert ours == pytest.approx(value(Trace_ELBO(), theirs), rel=1e-5)
    pyro.clear_param_store()


def test_evidence_by_hand_is_that_of_importance(beside: SimpleNamespace) -> None:
    """Of the same weights, within four standard errors."""
    case = beside.cases.CASES["small"]
    vae, x = beside.ours.program(case), torch.from_numpy(beside.cases.data(case, 3))
    with torch.no_grad():
        by_hand = beside.torch.evidence(vae.parts["guide"].network, vae.parts["likelihood"].network, x)
    found = beside.ours.pv.diagnostics.importance(vae, x, draws=beside.cases.DRAWS)
    error = 2**0.5 * found["mcse"].values
    assert (abs(by_hand.numpy() - found["log_evidence"].values) < 4 * error).all()


def test_table(beside: SimpleNamespace) -> None:
    """Aligned, and Markdown."""
    assert beside.table.markdown(["", "ms"], [["torch", "1.00"], ["ours", "10.25"]]).splitlines() == [
        "|       |    ms |",
        "| ----- | ----: |",
        "| torch |  1.00 |",
        "| ours  | 10.25 |",
    ]
