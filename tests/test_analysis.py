"""The analyses run as a user would run them, with small settings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis import ppca_ground_truth


def test_ppca_ground_truth(tmp_path: Path, capsys) -> None:
    """Far from converged after 200 epochs: below the exact value, the table says so, and files are written."""
    table = ppca_ground_truth.main(["--out", str(tmp_path), "--epochs", "200"])
    assert (tmp_path / "ppca.png").stat().st_size > 10_000
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "ppca.csv"), table, check_exact=False, rtol=1e-9)
    row = table.set_index("quantity").loc["log p(x), nats per datum"]
    assert -1 < row["difference"] < -row["tolerance"]
    assert not row["within"]
    assert "gap" in capsys.readouterr().out
