"""What the analyses of the source notes' claims compute, where the answer is known; and tiny runs of each."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import Tensor

import pyrovae as pv
from analysis import (
    __main__ as runner,
)
from analysis import (
    _claims,
    class_clusters,
    gradients_by_hand,
    kl_and_decoder,
    lipschitz,
    no_gaps,
    three_latent_spaces,
)
from models import vae

TINY = ["--epochs", "2", "--data", "30"]
RUNS: list[tuple[ModuleType, list[str]]] = [
    (gradients_by_hand, []),
    (three_latent_spaces, TINY),
    (no_gaps, TINY),
    (class_clusters, [*TINY, "--seeds", "2"]),
    (kl_and_decoder, [*TINY, "--seeds", "1"]),
    (lipschitz, [*TINY, "--seeds", "1"]),
]


@pytest.mark.parametrize(("module", "few"), RUNS, ids=[m.NAME for m, _ in RUNS])
def test_it_runs(
    module: ModuleType,
    few: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for constant in ("REFINED", "POINTS", "OWN", "HELD"):
        monkeypatch.setattr(module, constant, 4 if constant != "POINTS" else 60, raising=False)
    table = module.main(["--out", str(tmp_path), *few])
    assert (tmp_path / f"{module.NAME}.png").stat().st_size > 10_000
    assert len(pd.read_csv(tmp_path / f"{module.NAME}.csv")) == len(table)
    said = runner.verdict(capsys.readouterr().out)
    assert said.startswith(("holds: ", "holds in part: ", "does not hold: "))
    assert "the project's source notes" in " ".join(module.__doc__.split()).lower()


def test_a_verdict_is_what_was_found() -> None:
    assert _claims.verdict([(True, "a"), (True, "b")]) == "holds: a; b"
    assert _claims.verdict([(True, "a"), (False, "b")]) == "holds in part: a; but not: b"
    assert _claims.verdict([(False, "a"), (False, "b")]) == "does not hold: a; b"


# Gradients by hand


def test_the_gradient_of_a_linear_decoder_is_known() -> None:
    """E = ½|x − W z|²: dE/dz = Wᵀ(W z − x), and so on down to μ and v, without autograd."""
    w, x = torch.randn(4, 2, dtype=torch.double), torch.randn(4, dtype=torch.double)
    mu, v, eps = (torch.randn(2, dtype=torch.double) for _ in range(3))

    def error(mu: Tensor, v: Tensor) -> Tensor:
        return (x - w @ (mu + (v / 2).exp() * eps)).square().sum() / 2

    hand = gradients_by_hand.sampling_layer(w.T @ (w @ (mu + (v / 2).exp() * eps) - x), eps, v)
    step = 1e-6
    for index, found in enumerate(hand):
        for j in range(2):
            up, down = ([mu.clone(), v.clone()] for _ in range(2))
            up[index][j] += step
            down[index][j] -= step
            assert float(found[j]) == pytest.approx(float(error(*up) - error(*down)) / (2 * step), rel=1e-6)


def test_formulas_of_the_kl() -> None:
    mu, v = torch.tensor([[1.0, -2.0]], dtype=torch.double), torch.tensor([[0.0, 1.0]], dtype=torch.double)
    q = torch.distributions.Normal(mu, (v / 2).exp())
    right = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    for formula in (gradients_by_hand.kl, gradients_by_hand.quadrature):
        torch.testing.assert_close(formula(mu, v), right, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients_by_hand.slip(mu, v), -2 * right)
    one = torch.full((1, 1), 0.7, dtype=torch.double)
    less = gradients_by_hand.isotropic(mu, one) - gradients_by_hand.kl(mu, one.expand(1, 2))
    assert float(less) == pytest.approx(1.0)  # N/2


def test_the_slips_are_found_and_nothing_else(tmp_path: Path) -> None:
    table = gradients_by_hand.main(["--out", str(tmp_path)]).set_index("formula")
    assert table.loc[table["equal"], "largest difference"].max() <= gradients_by_hand.TOLERANCE
    wrong = table[~table["equal"]]
    assert len(wrong) == 2
    assert wrong["slope"].round(9).tolist() == [2.0, -2.0]


# Three latent spaces


def test_the_objective_of_the_kl_alone_is_the_kl() -> None:
    program = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(torch.nn.Linear(2, 3)),
        pv.guides.Normal(pv.networks.MLP(3, (), 4)),
    )
    x = torch.randn(6, 3)
    q = program.encode(x)
    exact = torch.distributions.kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0)).sum()
    with program.scope():
        loss = three_latent_spaces.PriorOnly().differentiable_loss(program.model, program.guide, x)
    torch.testing.assert_close(loss, exact)
    loss.backward()
    assert program.parts["likelihood"].network.weight.grad is None


def test_no_latents_is_the_pixels_own_binomial() -> None:
    data = pv.Data(torch.tensor([[0, 4], [4, 4]]))
    half, full = (4 + 0.5) / 9, (8 + 0.5) / 9
    exact = np.mean([4 * np.log(1 - half), 4 * np.log(half)]) + 4 * np.log(full)
    found = three_latent_spaces.constant(data, data)
    assert found["log p(x|z)"] == found["log p(x|z), seen"] == pytest.approx(exact, rel=1e-6)


# No gaps


def test_kernels_are_a_mixture_and_their_width_is_chosen_by_the_others() -> None:
    x = np.random.default_rng(0).normal(size=(300, 2))
    score = no_gaps.kernels(x, np.array([0.4]))
    at = np.array([[0.3, -0.2], [40.0, 0.0]])
    exact = [np.log(np.mean([multivariate_normal.pdf(a, c, 0.4**2) for c in x])) for a in at[:1]]
    np.testing.assert_allclose(score(at)[:1], exact, rtol=1e-10)
    far = norm.logpdf(40 - x[:, 0], scale=0.4).max() - np.log(300)  # no underflow, far from all
    assert far - 20 < score(at)[1] < far + 20
    chosen = no_gaps.kernels(x, np.array([0.01, 0.4, 20.0]))
    np.testing.assert_array_equal(chosen(at), score(at))


def test_a_gap_is_an_excess_of_unlikely_draws() -> None:
    own, other = np.array([1.0] * 95 + [-1.0] * 5), np.array([1.0] * 60 + [-1.0] * 40)
    assert no_gaps.share(own, 0.0)[0] == 0.05
    assert no_gaps.share(np.ones(10), 0.0)[1] > 0  # none seen is not none there
    mean, error = no_gaps.excess(other, own, 0.0)
    assert mean == pytest.approx(0.35)
    assert error == pytest.approx(np.hypot(np.sqrt(0.4 * 0.6 / 100), np.sqrt(0.05 * 0.95 / 100)), rel=0.05)
    row = {"kernels: s.e.": 0.02, "mixture: s.e.": 0.02, "x̃ from": no_gaps.BETWEEN}
    table = pd.DataFrame(
        [
            {"model": _claims.VAE, "kernels: excess": 0.08, "mixture: excess": 0.08} | row,
            {"model": _claims.AE, "kernels: excess": 0.08, "mixture: excess": 0.3} | row,
        ]
    )
    assert no_gaps.gapless(table, _claims.VAE, no_gaps.BETWEEN)
    assert not no_gaps.gapless(table, _claims.AE, no_gaps.BETWEEN)
    assert not no_gaps.fewer(table, no_gaps.BETWEEN)  # by one referee only
    table.loc[1, "kernels: excess"] = 0.2
    assert no_gaps.fewer(table, no_gaps.BETWEEN)


# Clusters of classes


def test_separation_of_planted_clusters() -> None:
    """Two classes of spread √(1 + 1) whose centres are 6 apart, in any unit."""
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    z, labels = np.concatenate([corners, corners + np.array([6.0, 0.0])]), np.repeat([3, 8], 4)
    for unit in (1.0, 100.0):
        assert class_clusters.separation(unit * z, labels) == pytest.approx(6 / np.sqrt(2))
    found = class_clusters.measure(np.repeat(z, 5, 0), np.repeat(labels, 5), z, labels)
    assert found["accuracy"] == 1.0
    assert 0 < found["silhouette"] < 1


def test_closer_needs_more_than_one_seed() -> None:
    rows = [("a", 0, 1.0), ("a", 1, 1.1), ("b", 0, 2.0), ("b", 1, 2.2)]
    frame = pd.DataFrame(rows, columns=["kind", "seed", "distance / spread"])
    assert class_clusters.closer(frame, "a", "b")[0]
    assert not class_clusters.closer(frame, "b", "a")[0]
    assert not class_clusters.closer(frame[frame["seed"] == 0], "a", "b")[0]


# The KL and the decoder


def test_the_decoder_parts_at_the_second_step_and_not_at_the_first() -> None:
    data = pv.data.load("digits").take(range(30))
    program = vae.build(data, latents=2)
    apart = kl_and_decoder.apart(program, data.x.float())
    assert apart["decoder"] == 0.0
    assert apart["encoder"] > 0
    assert all(p.grad is None for p in program.parameters())
    far = kl_and_decoder.distances(kl_and_decoder.paths(data, 3))
    assert set(far) == {0.25, 4.0}
    for values in far.values():
        assert values[0] == 0.0
        assert values[1] > 0


# The Lipschitz constant


def test_steepness_where_it_is_known() -> None:
    found, exact = lipschitz.linear()
    assert found == pytest.approx(exact, abs=lipschitz.TOLERANCE)
    z = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.double)
    slopes = torch.tensor([3.0, 5.0], dtype=torch.double)
    bent = lipschitz.steepness(lambda z: torch.tanh(slopes * z), z)  # a diagonal Jacobian
    exact_at = (slopes / torch.cosh(slopes * z) ** 2).max(1).values
    torch.testing.assert_close(bent, exact_at, rtol=1e-12, atol=1e-12)


def test_a_finite_move_is_not_longer_than_the_constant_says() -> None:
    w = torch.randn(6, 3, dtype=torch.double)
    z = torch.randn(40, 3, dtype=torch.double)
    largest = torch.linalg.svdvals(w)[0]
    moves = lipschitz.moved(lambda z: z @ w.T, z, 0.3)
    assert float(moves.max()) <= float(largest) * (1 + 1e-12)
    assert float(moves.max()) > float(torch.linalg.svdvals(w)[-1])
    assert lipschitz.spread(torch.tensor([[0.0, 3.0], [0.0, -3.0]])) == 3.0


# All of them


def test_all_analyses_are_run_and_the_quick_settings_are_of_some() -> None:
    names = runner.analyses()
    assert {m.NAME for m, _ in RUNS} <= set(names)
    assert set(runner.QUICK) <= set(names)
    assert not [n for n in names if n.startswith("_")]


def test_the_runner_tells_how_each_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["gradients_by_hand", "--out", str(tmp_path)]) == 0
    line = capsys.readouterr().out
    assert line.startswith("gradients_by_hand")
    assert "holds in part" in line
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert summary["analysis"].tolist() == ["gradients_by_hand"]
    assert (tmp_path / "gradients_by_hand" / "gradients_by_hand.csv").exists()


def test_a_failure_stops_it_with_the_name(tmp_path: Path) -> None:
    stop = Event()
    with pytest.raises(runner.Failed, match="gradients_by_hand failed"):
        runner.run("gradients_by_hand", tmp_path, ["--nonsense"], stop)
    assert stop.is_set()
    assert runner.run("gradients_by_hand", tmp_path, [], stop) == {}
    with pytest.raises(SystemExit):
        runner.main(["no_such_analysis"])
