"""Probabilistic PCA, where the evidence, the posterior and every figure of a diagnostic are known in closed form.

Tipping & Bishop 1999; Lucas et al. 2019 (1911.02469); Vehtari et al. 2024 (1507.02646) for the tail index.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from pyro.infer import Trace_ELBO
from scipy.stats import norm
from sklearn.decomposition import PCA
from torch import Tensor

import pyrovae as pv
from models import ppca

LATENTS = 3


@pytest.fixture(scope="module")
def x() -> Tensor:
    """300 data of 10 features from 3 latents with well separated eigenvalues, about 9, 4 and 1 above the noise's .25.

    Where two of them are close, a diagonal guide hardly tells rotations apart, and SVI takes long to find the best.
    """
    generator = torch.Generator().manual_seed(1)
    directions = torch.linalg.qr(torch.randn(10, LATENTS, generator=generator, dtype=torch.float64))[0]
    w = torch.tensor([[3.0], [2.0], [1.0]], dtype=torch.float64) * directions.T
    z = torch.randn(300, LATENTS, generator=generator, dtype=torch.float64)
    return z @ w + 0.5 * torch.randn(300, 10, generator=generator, dtype=torch.float64) + 1.0


def log_likelihood(x: Tensor, w: Tensor, mu: Tensor, sigma2: Tensor) -> Tensor:
    """log N(x; mu, W Wᵀ + σ² I) by datum."""
    covariance = w @ w.T + sigma2 * torch.eye(len(mu), dtype=w.dtype)
    return torch.distributions.MultivariateNormal(mu, covariance).log_prob(x)


def eigenvalues(x: Tensor) -> Tensor:
    centred = x.double() - x.double().mean(0)
    return torch.linalg.eigvalsh(centred.T @ centred / len(x)).flip(0)


def random_rotation(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(LATENTS, LATENTS, generator=generator, dtype=torch.float64))[0]


def weights_by_datum(vae: pv.VAE, x: Tensor, draws: int = 50) -> np.ndarray:
    tree = pv.posterior(vae, x, draws=draws, predictive=0)
    return tree["sample_stats"]["log_weight"].values[0]


def scale_guide(vae: pv.VAE, factor: float) -> None:
    """Multiply the guide's standard deviations, which do not depend on x here."""
    layer = vae.parts["guide"].network.layers[0]
    with torch.no_grad():
        raw = layer.bias[LATENTS:]
        raw.copy_(ppca.softplus_inverse(factor * torch.nn.functional.softplus(raw)))


def test_1_log_likelihood_at_the_maximum(x: Tensor) -> None:
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    n, d = x.shape
    values = eigenvalues(x)
    closed = -(n / 2) * (d * math.log(2 * math.pi) + values[:LATENTS].log().sum() + (d - LATENTS) * sigma2.log() + d)
    assert log_likelihood(x, w, mu, sigma2).sum().item() == pytest.approx(closed.item(), rel=1e-12)
    score = PCA(LATENTS, svd_solver="full").fit(x.numpy()).score(x.numpy())  # its σ² divides by N − 1
    assert closed.item() / n == pytest.approx(score, abs=2e-3)


def test_2_the_guide_is_the_exact_posterior(x: Tensor) -> None:
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    m = w.T @ w + sigma2 * torch.eye(LATENTS, dtype=w.dtype)
    q = ppca.exact_program(x, LATENTS).encode(x)
    torch.testing.assert_close(q.mean, torch.linalg.solve(m, w.T @ (x - mu).T).T, rtol=0, atol=1e-10)
    torch.testing.assert_close(torch.diag_embed(q.variance[0]), sigma2 * torch.linalg.inv(m), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("guide", "rotated"), [("normal", False), ("multivariate_normal", False), ("multivariate_normal", True)]
)
def test_3_the_elbo_is_log_p_for_every_datum(x: Tensor, guide: str, rotated: bool) -> None:
    vae = ppca.exact_program(x, LATENTS, guide=guide, rotation=random_rotation() if rotated else None)
    exact = log_likelihood(x, *ppca.maximum_likelihood(x, LATENTS)).numpy()
    tree = pv.posterior(vae, x, draws=50, predictive=0)
    np.testing.assert_allclose(
        tree["sample_stats"]["log_weight"].values[0], np.broadcast_to(exact, (50, 300)), atol=1e-10, rtol=0
    )
    np.testing.assert_allclose(pv.diagnostics.elbo_terms(tree)["elbo"].values[0], exact, atol=1e-10, rtol=0)
    np.testing.assert_allclose(pv.diagnostics.log_evidence(tree)["log_evidence"].values[0], exact, atol=1e-10, rtol=0)
    khat = pv.diagnostics.pareto_k(tree)
    assert bool(khat["exact"].all())
    assert float(khat["pareto_k"].max()) == 0
    elpd = pv.diagnostics.elpd(tree)
    assert elpd.elpd == pytest.approx(exact.sum(), rel=1e-12)
    assert elpd.se == pytest.approx(math.sqrt(300) * exact.std(ddof=1), rel=1e-9)
    table = pv.diagnose(tree).table.set_index("question")
    assert table.loc["Is the bound tight?", "verdict"] == "good"
    assert table.loc["Is q(z|x) usable for each datum?", "figure"] == "weights constant: q is exact"


def test_3_in_float32(x: Tensor) -> None:
    vae = ppca.exact_program(x, LATENTS).float()
    exact = log_likelihood(x, *ppca.maximum_likelihood(x, LATENTS)).numpy()
    log_weight = weights_by_datum(vae, x)
    assert log_weight.std(0).max() < 2e-4
    assert abs(log_weight - exact).max() < 5e-4
    tree = pv.posterior(vae, x, draws=50, predictive=0)
    assert bool(pv.diagnostics.pareto_k(tree)["exact"].all())


def test_4_activity_kl_and_aggregate_posterior(x: Tensor) -> None:
    _, _, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    values = eigenvalues(x)[:LATENTS]
    draws = 2000
    tree = pv.posterior(ppca.exact_program(x, LATENTS), x, draws=draws, predictive=0)
    kl = pv.diagnostics.kl(tree)["z"].mean("obs_id").values[0]
    np.testing.assert_allclose(kl, (0.5 * (values / sigma2).log()).numpy(), atol=1e-10, rtol=0)
    active = pv.diagnostics.active_units(tree)
    expected = (1 - sigma2 / values).numpy()
    # the mean over S draws has variance v/S: the error of a sum of squares over n data
    within = (sigma2 / values).numpy() / draws
    error = np.sqrt((4 * expected * within + 2 * within**2) / 300)
    assert (abs(active["variance"].values[0] - expected) < 4 * error).all()
    assert bool(active["active"].all())
    assert not bool(pv.diagnostics.collapse(tree)["collapsed"].any())
    z = tree["posterior"]["z"].values[0].reshape(-1, LATENTS)
    within_cov = np.diag((sigma2 / values).numpy())
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(LATENTS), atol=0.02)
    codes = pv.encode(ppca.exact_program(x, LATENTS), x, draws=draws)["z_mean"].values[0]
    np.testing.assert_allclose(np.cov(codes.T, bias=True) + within_cov * (1 - 1 / draws), np.eye(LATENTS), atol=0.02)


def test_5_rotation_leaves_a_gap_to_a_diagonal_guide(x: Tensor) -> None:
    rotation = random_rotation()
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    m = (w @ rotation).T @ (w @ rotation) + sigma2 * torch.eye(LATENTS, dtype=w.dtype)
    gap = 0.5 * (m.diagonal().log().sum() - torch.linalg.slogdet(m)[1]).item()
    assert gap > 0.05
    exact = log_likelihood(x, w, mu, sigma2).numpy()
    draws = 4000
    log_weight = weights_by_datum(ppca.exact_program(x, LATENTS, rotation=rotation), x, draws)
    error = log_weight.std(0, ddof=1) / math.sqrt(draws)
    deviation = (exact - log_weight.mean(0) - gap) / error
    assert abs(deviation).max() < 4.5  # the largest of 300
    assert abs((exact - log_weight.mean(0)).mean() - gap) < 4 * np.sqrt((error**2).sum()) / 300


def test_5_a_shift_of_the_encoder_costs_a_quadratic_form(x: Tensor) -> None:
    delta = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    m = w.T @ w + sigma2 * torch.eye(LATENTS, dtype=w.dtype)
    vae = ppca.exact_program(x, LATENTS)
    with torch.no_grad():
        vae.parts["guide"].network.layers[0].bias[:LATENTS] += delta
    draws = 4000
    log_weight = weights_by_datum(vae, x, draws)
    gap = log_likelihood(x, w, mu, sigma2).numpy() - log_weight.mean(0)
    error = log_weight.std(0, ddof=1) / math.sqrt(draws)
    expected = (0.5 * delta @ m @ delta / sigma2).item()
    assert abs(gap.mean() - expected) < 4 * np.sqrt((error**2).sum()) / 300
    assert (abs(gap - expected) < 4.5 * error).all()


@pytest.mark.parametrize("family", ["MultivariateNormal", "LowRankMultivariateNormal", "Flow", "Table", "Laplace"])
def test_5_a_guide_with_a_full_covariance_closes_the_gap_of_the_diagonal_one(x: Tensor, family: str) -> None:
    """W rotated: the diagonal guide's gap is ½ (Σ log M_jj − log |M|); a richer guide, trained, leaves < 2e-3 nats."""
    rotation = torch.linalg.qr(torch.randn(LATENTS, LATENTS, generator=torch.Generator().manual_seed(3)))[0].double()
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    m = (w @ rotation).T @ (w @ rotation) + sigma2 * torch.eye(LATENTS, dtype=w.dtype)
    stated = 0.5 * (m.diagonal().log().sum() - torch.logdet(m)).item()
    assert stated > 0.1
    exact = log_likelihood(x, w, mu, sigma2).mean().item()
    diagonal = ppca.exact_program(x, LATENTS, rotation=rotation)
    likelihood = diagonal.parts["likelihood"].requires_grad_(False)
    torch.manual_seed(0)
    features, guides = x.shape[1], pv.guides

    def network(outputs: int) -> torch.nn.Module:
        return pv.networks.MLP(features, (), outputs)

    guide = {
        "MultivariateNormal": lambda: guides.MultivariateNormal(network(guides.MultivariateNormal.outputs(LATENTS))),
        "LowRankMultivariateNormal": lambda: guides.LowRankMultivariateNormal(
            network(guides.LowRankMultivariateNormal.outputs(LATENTS, rank=2)), rank=2
        ),
        "Flow": lambda: guides.Flow(
            network(guides.Flow.outputs(LATENTS, 16)), guides.inverse_autoregressive(LATENTS, 16, hidden_features=(32,))
        ),
        "Table": lambda: guides.Table(len(x), LATENTS, family=guides.MultivariateNormal),
        "Laplace": lambda: guides.Laplace(LATENTS),
    }[family]()
    vae = pv.VAE(pv.priors.Normal(LATENTS).double(), likelihood, guide.double())
    fit = vae
    if any(p.requires_grad for p in vae.parameters()):
        loss = Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
        fit = pv.fit(vae, x, loss=loss, epochs=1500, batch_size=300, lr=3e-2, clip_norm=10.0, progress=False)
    gaps = {}
    for name, program in (("diagonal", diagonal), (family, fit)):
        terms = pv.diagnostics.elbo_terms(pv.posterior(program, x, draws=1000, predictive=0))
        error = math.sqrt(float((terms["elbo_mcse"] ** 2).sum())) / len(x)
        gaps[name] = exact - float(terms["elbo"].mean()), error
    assert abs(gaps["diagonal"][0] - stated) < 4 * gaps["diagonal"][1]
    gap, error = gaps[family]
    assert -4 * error < gap < 2e-3


def test_6_svi_reaches_the_maximum_likelihood(x: Tensor) -> None:
    """4,000 full-batch steps of Adam: gap ≤ 2e-3 nats per datum, σ² 1 %, W Wᵀ 2 %."""
    torch.manual_seed(0)
    data = pv.Data(x.float())
    vae = ppca.build(data, latents=LATENTS)
    fit = pv.fit(vae, data, epochs=4000, batch_size=300, lr=3e-2, seed=0, progress=False)
    w, mu, sigma2 = ppca.maximum_likelihood(x, LATENTS)
    decoder = vae.parts["likelihood"].network.layers[0].weight.detach().double()
    learned = vae.parts["likelihood"].log_scale.exp().item() ** 2
    tree = pv.posterior(fit, data, draws=2000, predictive=0)
    best = log_likelihood(x, w, mu, sigma2).mean().item()
    assert best - float(pv.diagnostics.elbo_terms(tree)["elbo"].mean()) < 2e-3
    assert learned == pytest.approx(sigma2.item(), rel=0.01)
    assert ((decoder @ decoder.T - w @ w.T).norm() / (w @ w.T).norm()).item() < 0.02


@pytest.mark.parametrize("c", [0.5, 0.7, 0.9])
def test_khat_of_a_guide_that_is_too_narrow(x: Tensor, c: float) -> None:
    """One latent, sd c times the posterior's: k = 1 − c², here within 4 standard errors (1 + k)/√M of the tail's M."""
    vae = ppca.exact_program(x, 1)
    layer = vae.parts["guide"].network.layers[0]
    with torch.no_grad():
        raw = layer.bias[1:]
        raw.copy_(ppca.softplus_inverse(c * torch.nn.functional.softplus(raw)))
    draws = 20_000
    tree = pv.posterior(vae, x[:40], draws=draws, predictive=0)
    khat = pv.diagnostics.pareto_k(tree)
    k, tail = 1 - c**2, math.ceil(3 * math.sqrt(draws))
    values = khat["pareto_k"].values[0]
    assert not bool(khat["exact"].any())
    assert (abs(values - k) < 4 * (1 + k) / math.sqrt(tail)).all()
    # a finite tail has a mean of its own: that of the same weights drawn without program, tree or guide
    noise = np.random.default_rng(0).standard_normal((150, draws))
    reference = array_stats.psislw(-0.5 * (1 - c**2) * noise**2, axis=-1)[1]
    error = math.hypot(values.std(ddof=1) / math.sqrt(len(values)), reference.std(ddof=1) / math.sqrt(len(reference)))
    assert abs(values.mean() - reference.mean()) < 4 * error
    variance = c**2 / math.sqrt(2 * c**2 - 1) - 1 if c**2 > 0.5 else math.inf
    if c == 0.9:  # for .7 the fourth moment is infinite, and with it the error of this estimate
        log_weight = tree["sample_stats"]["log_weight"].values[0]
        weight = np.exp(log_weight - log_weight.max(0))
        relative = weight.var(0) / weight.mean(0) ** 2
        assert abs(relative.mean() - variance) < 4 * relative.std() / math.sqrt(40)


@pytest.mark.parametrize("c", [0.5, 0.7, 0.9, 1.0])
def test_coverage_of_a_guide_that_is_too_narrow(x: Tensor, c: float) -> None:
    """The central 90 % interval of q covers the z that made the datum with probability 2Φ(c Φ⁻¹(.95)) − 1."""
    vae = ppca.exact_program(x, LATENTS)
    n = 4000
    prior = pv.sample(vae, x, draws=n, seed=5)
    truth = prior["prior"]["z"].values[0]
    simulated = torch.as_tensor(prior["prior_predictive"]["x"].values[0])
    scale_guide(vae, c)
    q = vae.encode(simulated)
    lower, upper = (q.mean + q.stddev * norm.ppf(p) for p in (0.05, 0.95))
    inside = ((truth > lower.detach().numpy()) & (truth < upper.detach().numpy())).mean(0)
    expected = 2 * norm.cdf(c * norm.ppf(0.95)) - 1
    assert (abs(inside - expected) < 4 * math.sqrt(expected * (1 - expected) / n)).all()


def test_the_bound_rises_in_k_with_the_known_bias(x: Tensor) -> None:
    """L_K ≤ log p(x), rising, with log p − L_K ≈ Var(w/p)/(2K) for a guide .9 times too narrow."""
    c, draws = 0.9, 50_000
    vae = ppca.exact_program(x, 1)
    layer = vae.parts["guide"].network.layers[0]
    with torch.no_grad():
        raw = layer.bias[1:]
        raw.copy_(ppca.softplus_inverse(c * torch.nn.functional.softplus(raw)))
    tree = pv.posterior(vae, x[:20], draws=draws, predictive=0)
    exact = log_likelihood(x[:20], *ppca.maximum_likelihood(x, 1)).numpy()
    bound = pv.diagnostics.log_evidence(tree, k=[1, 10, 100, 1000])["bound"].values[0]
    assert (np.diff((exact - bound).mean(1)) < 0).all()
    step = bound[3] - bound[2]  # of the same draws, so that their common error cancels
    expected = (c**2 / math.sqrt(2 * c**2 - 1) - 1) / 2 * (1 / 100 - 1 / 1000)
    assert abs(step.mean() - expected) < 4 * step.std(ddof=1) / math.sqrt(len(step))
