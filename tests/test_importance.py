"""Evidence and k̂ in one pass, and densities that are asked of the parts instead of traced."""

from __future__ import annotations

import sys

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyrovae as pv
from models import ppca
from pyrovae.diagnostics.evidence import importance_evidence
from pyrovae.diagnostics.importance import importance
from pyrovae.draws.blocks import densities_of, replayable
from pyrovae.draws.target import evaluation
from pyrovae.program import repeat
from tests.programs import bayesian_decoder, gaussian, hierarchy
from tests.registry import LATENTS, LIKELIHOODS, Part


@pytest.fixture(scope="module")
def x() -> Tensor:
    return gaussian(150, 5).double()


def planted(x: Tensor, factor: float) -> tuple[pv.VAE, Tensor]:
    """Probabilistic PCA whose guide has ``factor`` times the exact standard deviations, and log p(x)."""
    w, mu, noise = ppca.maximum_likelihood(x, 2)
    m = w.T @ w + noise * torch.eye(2, dtype=x.dtype)
    sd = factor * (noise / m.diagonal()).sqrt()
    vae = pv.VAE(
        prior=lambda: dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0).to_event(1),
        likelihood=lambda z: dist.Normal(z @ w.T + mu, noise.sqrt()).to_event(1),
        guide=lambda x: dist.Normal(torch.linalg.solve(m, (x - mu) @ w, left=False), sd).to_event(1),
    )
    marginal = dist.MultivariateNormal(mu, w @ w.T + noise * torch.eye(5, dtype=x.dtype))
    return vae, marginal.log_prob(x)


def test_an_exact_guide_gives_the_evidence_of_each_datum(x: Tensor) -> None:
    vae, log_p = planted(x, 1.0)
    found = importance(vae, x, draws=40)
    np.testing.assert_allclose(found["log_evidence"], log_p, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found["elbo"], log_p, rtol=0, atol=1e-10)
    assert bool(found["exact"].all())
    assert float(found["pareto_k"].max()) == 0
    assert dict(found.sizes) == {"obs_id": 150}


def test_a_narrow_guide_within_the_errors_it_states(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[importance.__module__], "DATA", 16)
    vae, log_p = planted(x, 0.8)
    found = importance(vae, x, draws=2000, seed=3)
    z = (found["log_evidence"].values - log_p.numpy()) / found["mcse"].values
    assert abs(z.mean()) < 4 / np.sqrt(150)
    assert 0.7 < z.std() < 1.4
    gap = 2 * (-np.log(0.8) + (0.64 - 1) / 2)
    error = (found["log_evidence"] - found["elbo"]).std() / np.sqrt(150)
    assert float((log_p.numpy() - found["elbo"]).mean()) == pytest.approx(gap, abs=4 * float(error))
    relative_variance = (0.64 / np.sqrt(2 * 0.64 - 1)) ** 2 - 1
    assert float(found["ess"].mean()) / 2000 == pytest.approx(1 / (1 + relative_variance), rel=0.1)
    assert found.equals(importance(vae, x, draws=2000, seed=3))


def test_a_block_of_one_datum_and_parts_of_its_draws(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.draws.blocks.MOST_ROWS", 100)
    vae, log_p = planted(x[:20], 1.0)
    np.testing.assert_allclose(importance(vae, x[:20], draws=130)["log_evidence"], log_p, rtol=0, atol=1e-10)


def test_weights_without_a_mean_say_so() -> None:
    weights = np.array([[0.0, np.inf], [-np.inf, -np.inf], [0.0, -np.inf]])
    evidence, mcse, ess = importance_evidence(weights)
    np.testing.assert_array_equal(evidence, [np.inf, -np.inf, -np.log(2)])
    np.testing.assert_allclose(mcse, [np.inf, np.inf, 1.0])
    np.testing.assert_allclose(ess, [0, 0, 1])


def test_refusals(x: Tensor) -> None:
    with pytest.raises(ValueError, match="at least 30 draws"):
        importance(planted(x, 1.0)[0], x, draws=20)
    with pytest.raises(ValueError, match="shared by all data"):
        importance(bayesian_decoder(5), x.float(), draws=30)


@pytest.mark.parametrize("part", LIKELIHOODS, ids=str)
def test_densities_are_those_of_the_traced_model(part: Part) -> None:
    n, copies = 4, 3
    likelihood = part.make()
    inputs = part.inputs(n)
    context = inputs.get("context")

    def guide(x: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        return dist.Normal(x.new_zeros(len(x), LATENTS, dtype=torch.float32), 1.0).to_event(1)

    vae = pv.VAE(pv.priors.Normal(LATENTS), likelihood, guide)
    x = likelihood(inputs["input"], **({} if context is None else {"context": context})).sample()
    _compare(vae, x, context, torch.randn(copies, n, LATENTS))


def test_densities_of_a_function_and_of_missing_cells() -> None:
    x = gaussian(4, 5)
    x[1, 2] = torch.nan
    guide = pv.guides.Normal(pv.networks.MLP(5, (), 4, mask=True))
    vae = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (), 5)), guide)
    _compare(vae, x, None, torch.randn(3, 4, 2))

    def likelihood(z: Tensor) -> dist.TorchDistribution:
        assert z.dim() == 2  # a function is promised (n, latents)
        return dist.Normal(z @ torch.ones(2, 5), 1.0).to_event(1)

    _compare(pv.VAE(pv.priors.Normal(2), likelihood, guide), x, None, torch.randn(3, 4, 2))


def _compare(vae: pv.VAE, x: Tensor, context: Tensor | None, z: Tensor) -> None:
    with evaluation(vae, x, context) as e:
        batch = e.batches.take(slice(None))
        direct = e.program.densities(batch, {"z": z})
        trace = replayable(e.plan, {"z": z.flatten(0, 1)})
        rows = repeat(batch, len(z))
        log_p, log_lik = densities_of(e.program, e.plan, rows, trace, len(rows))
    assert direct is not None
    torch.testing.assert_close(direct[1].flatten(), log_lik)
    torch.testing.assert_close((direct[0] + direct[1]).flatten(), log_p)


def test_a_general_program_is_traced() -> None:
    x = gaussian(6, 4)
    with evaluation(hierarchy(4), x) as e:
        assert e.program.densities(e.batches.take(slice(None)), {}) is None
    found = importance(hierarchy(4), x, draws=30)
    assert np.isfinite(found["log_evidence"]).all()


@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0])
def test_bernoulli_cells_keep_their_digits(spread: float) -> None:
    """784 cells in single precision, beside double precision."""
    logits = spread * torch.randn(200, 784)
    x = (torch.rand(200, 784) < logits.sigmoid()).float()
    ours = pv.distributions.Bernoulli(logits=logits, validate_args=False).to_event(1).log_prob(x)
    exact = dist.Bernoulli(logits=logits.double()).to_event(1).log_prob(x.double())
    assert float((ours - exact).abs().max()) < 5e-4
