"""Claims about one latent at a time, rate and distortion, amortisation and distances: known answers, and small runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from analysis import amortisation, distances, one_latent_at_a_time, rate_distortion
from analysis._claims import verdict
from models import ppca


def written(folder: Path, name: str, table: pd.DataFrame, said: str) -> None:
    """The table, a figure and a verdict are there."""
    assert (folder / f"{name}.png").stat().st_size > 10_000
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / f"{name}.csv"), table, check_exact=False, rtol=1e-9, check_dtype=False
    )
    assert said.rstrip().splitlines()[-1].startswith(("verdict: holds", "verdict: does not hold: "))


# one_latent_at_a_time


def test_squares_cover_their_area() -> None:
    data, factors = one_latent_at_a_time.squares()
    assert data.x.shape == (1024, 256)
    np.testing.assert_allclose(data.x.sum(1), factors[:, 2] ** 2 * factors[:, 3], rtol=1e-5)
    image = one_latent_at_a_time.render(np.array([[3.25, 8.5, 2.5, 0.5]])).reshape(16, 16)
    np.testing.assert_allclose(image[8, :6], [0, 0, 0.5, 0.5, 0.25, 0])  # from 2 to 4.5
    np.testing.assert_allclose(image[6:11, 3], [0, 0.375, 0.5, 0.375, 0])  # from 7.25 to 9.75


def test_purity_of_a_planted_decoder() -> None:
    """A decoder of which each of four latents sets one factor, and two do nothing, is pure; turned, it is not."""
    data, factors = one_latent_at_a_time.squares()
    low, high = factors.min(0), factors.max(0)

    def likelihood(z: torch.Tensor) -> dist.TorchDistribution:
        u = dist.Normal(0.0, 1.0).cdf(z[..., :4]).flatten(0, -2).double().numpy()
        images = torch.as_tensor(one_latent_at_a_time.render(low + (high - low) * u)).float()
        return dist.Normal(images.reshape(*z.shape[:-1], 256), 0.1).to_event(1)

    vae = pv.VAE(pv.priors.Normal(6), likelihood, pv.guides.Normal(pv.networks.MLP(256, (), 12)))
    starts = np.random.default_rng(0).standard_normal((8, 6))
    moved = one_latent_at_a_time.moved(vae, data, factors, starts, np.eye(6))
    assert one_latent_at_a_time.purity(moved) > 0.93  # less than 1: between the places of the set
    assert moved[:4].argmax(1).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(moved[4:], 0, atol=1e-20)
    axes = one_latent_at_a_time.turn(4, np.random.default_rng(0)) @ np.eye(6)[:4]
    np.testing.assert_allclose(axes @ axes.T, np.eye(4), atol=1e-12)
    assert one_latent_at_a_time.purity(one_latent_at_a_time.moved(vae, data, factors, starts, axes)) < 0.75
    assert one_latent_at_a_time.moved(vae, data, factors, starts, np.eye(6)[:0]).shape == (0, 4)


def test_verdicts_by_model() -> None:
    rows = [
        {"model": name, "seed": s, "used": 4, "one property": one, "purity": pure + s / 100, "turned": 0.4}
        for name, one, pure in (("VAE", 0, 0.39), ("β = 4", 2, 0.7), ("β = 16", 4, 0.95))
        for s in range(3)
    ]
    table = one_latent_at_a_time.summarise(pd.DataFrame(rows))
    assert table["verdict"].tolist() == ["does not hold", "in part", "holds"]
    assert [holds for holds, _ in one_latent_at_a_time.findings(table, 3)] == [False, False, True, True]


def test_one_latent_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_latent_at_a_time, "STARTS", 2)
    monkeypatch.setattr(one_latent_at_a_time, "TURNS", 1)
    models = ("VAE", "β = 16", "FactorVAE, γ = 16")
    monkeypatch.setattr(one_latent_at_a_time, "MODELS", {m: one_latent_at_a_time.MODELS[m] for m in models})
    few = tuple(values[:: len(values) // 2] for values in one_latent_at_a_time.VALUES)
    monkeypatch.setattr(one_latent_at_a_time, "VALUES", (np.linspace(4, 12, 4), *few[1:]))
    table = one_latent_at_a_time.main(["--out", str(tmp_path), "--epochs", "1", "--seeds", "1"])
    written(tmp_path, one_latent_at_a_time.NAME, table, capsys.readouterr().out)
    assert table["model"].tolist() == list(models)


# rate_distortion


def test_a_curve_that_keeps_its_price_holds() -> None:
    """Of D = a/R the point with slope −β is R = √(a/β), D = √(aβ)."""
    beta = np.array(rate_distortion.BETAS)
    rate, distortion = np.sqrt(30 / beta), np.sqrt(30 * beta)
    rows = [
        {"β": b, "seed": s, "R": r, "D": d, "R + D": r + d, "R + D, held out": r + d, "active": 4}
        for b, r, d in zip(beta, rate, distortion, strict=True)
        for s in range(2)
    ]
    table = rate_distortion.summarise(pd.DataFrame(rows))
    np.testing.assert_allclose(table["slope"][:-1], np.sqrt(beta[1:] * beta[:-1]))
    assert verdict(rate_distortion.findings(table)).startswith("holds: ")
    moved = pd.DataFrame(rows)
    moved.loc[moved["β"] == 2, "D"] -= 6
    moved["R + D"] = moved["R"] + moved["D"]
    found = rate_distortion.findings(rate_distortion.summarise(moved))
    assert [holds for holds, _ in found] == [False, False, False, True]


def test_rate_distortion(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_distortion, "BETAS", (0.25, 1.0, 4.0))
    table = rate_distortion.main(["--out", str(tmp_path), "--epochs", "2", "--data", "60", "--seeds", "1"])
    written(tmp_path, rate_distortion.NAME, table, capsys.readouterr().out)
    np.testing.assert_allclose(table["R + D"], table["R"] + table["D"], rtol=1e-5)


# amortisation


def test_an_objective_given_later_is_the_one_that_is_trained() -> None:
    vae = ppca.build(pv.Data(torch.randn(20, 4)))
    parts = len(list(vae.modules()))
    vae.loss = pv.objectives.Beta(0.5)
    assert vae.loss.details() == "beta=0.5"
    assert len(list(vae.modules())) == parts
    vae.loss = None
    assert vae.loss is None


def test_exact_elbo_is_log_p_at_the_posterior() -> None:
    """And below it by KL(q ‖ p) elsewhere."""
    x = amortisation.simulate(n=50, latents=3)
    w, mu, sigma2 = ppca.maximum_likelihood(x, 3)
    m = w.T @ w + sigma2 * torch.eye(3).double()
    mean = torch.linalg.solve(m, w.T @ (x - mu).T).T
    scale = (sigma2 / m.diagonal()).sqrt().expand(50, 3)
    log_p = amortisation.marginal(w, mu, sigma2).log_prob(x)
    torch.testing.assert_close(amortisation.exact_elbo(x, w, mu, sigma2, mean, scale), log_p, rtol=0, atol=1e-10)
    below = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean + 0.1, 2 * scale), torch.distributions.Normal(mean, scale)
    ).sum(-1)
    elbo = amortisation.exact_elbo(x, w, mu, sigma2, mean + 0.1, 2 * scale)
    torch.testing.assert_close(elbo, log_p - below, rtol=0, atol=1e-10)


def test_numbers_held() -> None:
    """Of a linear encoder 2 L (d + 1), of a table 2 L n."""
    assert amortisation.numbers(pv.guides.Normal(pv.networks.MLP(10, (), 6))) == 66
    assert amortisation.numbers(pv.guides.Table(100, 3)) == 600
    assert amortisation.numbers(lambda x: x) == 0
    deep = {row["way"]: row["held for q"] for row in amortisation.deep()}
    assert deep == {"encoder, deep": 64 * 128 + 128 + 128 * 128 + 128 + 128 * 16 + 16, "table, for it": 24_000}


def test_amortisation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = amortisation.main(["--out", str(tmp_path), "--epochs", "10", "--data", "40"])
    written(tmp_path, amortisation.NAME, table, capsys.readouterr().out)
    rows = table.set_index(["way", "n"])
    assert rows.loc[("table", 80), "held for q"] == 480
    assert rows.loc[("EM", 80), "below"] < 1e-5  # of float32
    assert (table["ELBO below"].dropna() > -1e-5).all()
    assert (rows.loc["EM", "to EM"] == 1).all()


# distances


@pytest.mark.parametrize("distance", ["RBF", "InverseMultiquadratic", "energy"])
def test_closed_forms_of_the_distances(distance: str) -> None:
    """Against Monte Carlo over pairs of codes and draws: three independent means."""
    torch.manual_seed(0)
    n, shift = 200_000, distances.SHIFT / math.sqrt(distances.LATENTS)
    a, b, y, w = torch.randn(4, n, distances.LATENTS, dtype=torch.float64)
    a, b = shift + distances.SPREAD * a, shift + distances.SPREAD * b
    if distance == "energy":
        values = (a - y).norm(dim=-1) - (a - b).norm(dim=-1) / 2 - (y - w).norm(dim=-1) / 2
        found = pv.objectives.Energy()
    else:
        kernel = getattr(pv.objectives, distance)()
        pairs = ((a, b), (y, w), (a, y))
        own, rest, across = (_paired(kernel, *pair) for pair in pairs)
        values, found = own + rest - 2 * across, pv.objectives.MMD(kernel)
    error = values.std() / math.sqrt(n)
    assert abs(values.mean() - distances.exact(found, 10)[0]) < 4 * error


def _paired(kernel: torch.nn.Module, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """k(a_i, b_i): the kernels of ours depend on the distance alone."""
    apart = torch.zeros_like(a[:, :1]).expand_as(a).clone()
    apart[:, 0] = (a - b).norm(dim=-1)
    return kernel(apart, torch.zeros(1, a.shape[1], dtype=a.dtype))[:, 0]


def test_biases_of_the_estimates() -> None:
    """None of U-statistics; of V-statistics what is expected of them."""
    table = distances.estimates(20)
    known = table.dropna(subset=["off"])
    assert (known["off"].abs() < 4).all()
    assert (known.loc[known["estimate"].str.endswith("V"), "expected"] > 0).all()
    assert (known.loc[known["estimate"].str.contains("U"), "expected"] == 0).all()


def test_interpolation_stays_within_the_curve() -> None:
    fits = pd.DataFrame({"weight": [0, 1, 2], "D": [78.0, 70.0, 80.0], "effect": [0.9, 0.2, 0.1]})
    assert distances.interpolated(fits, 75) == pytest.approx(0.15)
    assert math.isnan(distances.interpolated(fits, 81))


def test_distances(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "WEIGHTS", {v: w[2:3] for v, w in distances.WEIGHTS.items()})
    monkeypatch.setattr(distances, "SIZES", (10, 20))
    table = distances.main(["--out", str(tmp_path), "--epochs", "1", "--data", "40", "--seeds", "1"])
    written(tmp_path, distances.NAME, table, capsys.readouterr().out)
    assert table["variant"].tolist() == list(distances.WEIGHTS)
    fits = pd.read_csv(tmp_path / "distances_fits.csv")
    assert fits["effect"].between(0, 1).all()
