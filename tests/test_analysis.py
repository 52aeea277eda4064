"""The analyses run as a user would run them, with small settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import collapse, guide_families, posterior_workflow, ppca_ground_truth
from models import ppca


def test_ppca_ground_truth(tmp_path: Path, capsys) -> None:
    """Far from converged after 200 epochs: below the exact value, the table says so, and files are written."""
    table = ppca_ground_truth.main(["--out", str(tmp_path), "--epochs", "200"])
    assert (tmp_path / "ppca.png").stat().st_size > 10_000
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "ppca.csv"), table, check_exact=False, rtol=1e-9)
    row = table.set_index("quantity").loc["log p(x), nats per datum"]
    assert -1 < row["difference"] < -row["tolerance"]
    assert not row["within"]
    assert "gap" in capsys.readouterr().out


def test_theory_of_collapse() -> None:
    """At the maximum of the likelihood it is that of probabilistic PCA; below σ² nothing is carried."""
    x = ppca_ground_truth.simulate(latents=4)
    values = collapse.spectrum(x)
    w, mu, sigma2 = ppca.maximum_likelihood(x, 3)
    marginal = torch.distributions.MultivariateNormal(mu, w @ w.T + sigma2 * torch.eye(len(mu), dtype=w.dtype))
    carried, highest = collapse.theory(values, 3, sigma2.item())
    assert highest == pytest.approx(marginal.log_prob(x).mean().item(), abs=1e-10)
    np.testing.assert_allclose(carried, (w**2).sum(0) / ((w**2).sum(0) + sigma2), rtol=1e-10)
    carried, highest = collapse.theory(values, 6, collapse.between(values, 2))
    assert (carried > 0).sum() == 2
    assert highest < collapse.theory(values, 6, collapse.between(values, 3))[1]
    alone = torch.distributions.Normal(x.mean(0), values[0] ** 0.5).log_prob(x).sum(-1).mean().item()
    assert collapse.theory(values, 6, values[0])[1] == pytest.approx(alone, abs=1e-10)


def test_collapse_is_found_where_theory_says(tmp_path: Path) -> None:
    case = list(collapse.cases(60))[2]
    row, found, _ = collapse.measure(case, 0.2, tmp_path)
    assert (row["latents"], row["predicted"], row["active"], row["collapsed"]) == (6, 2, 2, 4)
    assert 0 < row["short by"] < 0.02
    np.testing.assert_allclose(found["found"], found["exact"], atol=0.05)


def test_collapse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = collapse.main(["--out", str(tmp_path), "--share", "0.002", "--digits", "40"])
    assert (tmp_path / "collapse.png").stat().st_size > 10_000
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "collapse.csv"), table, check_exact=False, rtol=1e-9)
    assert table["predicted"].dropna().tolist() == [0, 1, 2, 3, 4, 6, 6, *collapse.GAPS]
    assert (table["short by"].dropna() > 0).all()
    assert "pv.diagnose" in capsys.readouterr().out


def test_guide_families(tmp_path: Path) -> None:
    few = ["--epochs", "1", "--draws", "30", "--steps", "2", "--data", "6", "--gaps", "4", "--seeds", "1"]
    table = guide_families.main(["--out", str(tmp_path), *few])
    assert (tmp_path / "guides.png").stat().st_size > 10_000
    rows = pd.read_csv(tmp_path / "guides.csv").set_index("guide")
    assert set(rows.index) == set(guide_families.GUIDES)
    assert table["guide"].tolist() == list(guide_families.GUIDES)
    assert (rows["gap"] > 0).all()
    assert rows["elpd_diff"].max() == 0
    np.testing.assert_allclose(rows["gap"], rows["elpd"] - rows["ELBO"], rtol=1e-9)


def test_posterior_workflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every step is there; after the repair fewer k̂ are bad, and means are nearer to those of Markov chains."""
    few = ["--epochs", "16", "--draws", "40", "--data", "16", "--exact", "2"]
    table = posterior_workflow.main(["--out", str(tmp_path), *few])
    assert list(pd.read_csv(tmp_path / "workflow.csv")["stage"]) == list(table.index)
    assert table.loc["all refined", "k̂ bad"] < table.loc["guide", "k̂ bad"]
    assert table.loc["all refined, weighted", "bad: off"] < table.loc["guide", "bad: off"]
    assert (tmp_path / "workflow.png").stat().st_size > 10_000
    assert (tmp_path / "report.html").stat().st_size > 100_000
    out = capsys.readouterr().out
    assert all(f"── {step}" in out for step in ("1.", "2, 3.", "4.", "5, 6.", "7.", "8.", "9.", "10."))
