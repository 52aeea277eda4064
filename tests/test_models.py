"""Whole models: each file of models/ builds, fits and is drawn from; what is known of each in closed form holds."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, ortho_group
from sklearn.decomposition import PCA
from torch import Tensor

import pyrovae as pv
from models import ppca, vae

ROOT = Path(__file__).resolve().parents[1]
MODELS = sorted(path.stem for path in (ROOT / "models").glob("*.py"))


@pytest.fixture(scope="module")
def digits() -> pv.Data:
    return pv.data.load("digits")


@pytest.mark.parametrize("name", MODELS)
def test_each_model_fits_and_is_drawn_from(name: str, digits: pv.Data) -> None:
    module = importlib.import_module(f"models.{name}")
    train, test = (module.prepare(digits) if hasattr(module, "prepare") else digits).split(seed=0)
    train, test = train.take(slice(0, 200)), test.take(slice(0, 20))
    program = module.build(train)
    fit = pv.fit(program, train, validation=test, epochs=2, progress=False)
    assert fit.history["elbo"].values[0, 1] > fit.history["elbo"].values[0, 0]
    tree = pv.posterior(fit, test, draws=7, seed=0)
    assert tree["posterior"].sizes["obs_id"] == 20
    assert tree["posterior"].sizes["draw"] == 7
    points = "point_sites" in tree["sample_stats"].attrs
    assert (np.isneginf if points else np.isfinite)(tree["sample_stats"]["log_weight"]).all()


@pytest.mark.parametrize("name", MODELS)
def test_each_build_takes_data_and_has_defaults(name: str) -> None:
    module = importlib.import_module(f"models.{name}")
    for function in filter(None, (module.build, getattr(module, "prepare", None))):
        data, *rest = inspect.signature(function).parameters.values()
        assert data.name == "data"
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty and p.annotation is not p.empty for p in rest)


@pytest.mark.parametrize("name", MODELS)
def test_each_model_is_in_the_list(name: str) -> None:
    assert f"`{name}.py`" in (ROOT / "models" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_each_docstring_names_paper_equation_settings_and_differences(name: str) -> None:
    text = importlib.import_module(f"models.{name}").__doc__ or ""
    assert re.search(r"\b(19|20)\d\d\b", text)
    assert re.search(r"\b(eq\.|equations?|algorithm) ", text)
    assert re.search(r"\b[Ss]ettings\b", text)
    assert "What differs" in text


@pytest.mark.parametrize("name", MODELS)
def test_each_file_is_short(name: str) -> None:
    assert len((ROOT / "models" / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 150


def test_there_is_one_training_loop() -> None:
    for name in MODELS:
        text = (ROOT / "models" / f"{name}.py").read_text(encoding="utf-8")
        assert not re.search(r"\.backward\(|\.zero_grad\(|optim\.", text), name


# vae


def family(program: pv.VAE) -> str:
    return type(program.parts["likelihood"]).__name__


@pytest.mark.parametrize(
    ("x", "draw", "expected"),
    [
        (torch.tensor([[0, 3], [16, 1]]), None, "Binomial"),
        (torch.tensor([[0, 3], [255, 1]], dtype=torch.uint8), None, "Binomial"),
        (torch.tensor([[0, 1], [1, 1]]), None, "Bernoulli"),
        (torch.tensor([[0.0, 1.0], [1.0, 1.0]]), None, "Bernoulli"),
        (torch.tensor([[0.0, 1.0], [1.0, torch.nan]]), None, "Bernoulli"),
        (torch.tensor([[0.2, 0.7], [0.4, 1.0]]), torch.bernoulli, "Bernoulli"),
        (torch.tensor([[0.2, 0.7], [0.4, 1.0]]), None, "Normal"),
        (torch.tensor([[-1, 3], [2, 0]]), None, "Normal"),
        (torch.tensor([[2.0, 3.0], [2.0, torch.nan]]), None, "Normal"),
    ],
)
def test_vae_takes_the_likelihood_that_suits(x: Tensor, draw: Any, expected: str) -> None:
    assert family(vae.build(pv.Data(x, draw=draw), latents=2, hidden=(4,))) == expected


def test_vae_counts_up_to_the_largest() -> None:
    program = vae.build(pv.Data(torch.tensor([[0, 3], [16, 1]])), hidden=(4,))
    assert program.parts["likelihood"].total == 16


def test_vae_takes_the_likelihood_that_is_named() -> None:
    data = pv.Data(torch.tensor([[0, 1], [1, 1]]))
    for name in ("bernoulli", "binomial", "normal"):
        assert family(vae.build(data, hidden=(4,), likelihood=name)) == name.capitalize()


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_vae_starts_the_noise_at_the_spread_of_the_data(unit: float) -> None:
    x = unit * torch.randn(500, 3)
    scale = vae.build(pv.Data(x), hidden=(4,)).parts["likelihood"].log_scale.detach().exp()
    assert float(scale) == pytest.approx(float(x.std()), rel=1e-5)
    constant = vae.build(pv.Data(torch.full((3, 2), 5.5)), hidden=(4,))
    assert float(constant.parts["likelihood"].log_scale.detach().exp()) == 1.0


def test_vae_is_told_which_cells_are_missing() -> None:
    x = torch.randn(60, 3)
    x[0, 1] = torch.nan
    program = vae.build(pv.Data(x), latents=1, hidden=(4,))
    assert program.takes_mask
    fit = pv.fit(program, x, epochs=1, progress=False)
    assert np.isfinite(fit.history["elbo"]).all()


@pytest.mark.parametrize("guide", vae.GUIDES)
def test_vae_has_the_guide_that_is_named(guide: str) -> None:
    program = vae.build(pv.Data(torch.randn(5, 3)), latents=3, hidden=(4,), guide=guide)
    covariance = program.encode(torch.randn(2, 3))
    assert covariance.event_shape == (3,)
    assert type(program.parts["guide"]).__name__.lower() == guide.replace("_", "")


@pytest.mark.parametrize("model", [vae, ppca])
def test_unknown_names_are_refused_with_the_known_ones(model: Any) -> None:
    data = pv.Data(torch.randn(5, 3))
    with pytest.raises(ValueError, match=r"guide: expected one of normal, multivariate_normal, got 'flow'"):
        model.build(data, guide="flow")
    with pytest.raises(ValueError, match="flatten"):
        model.build(pv.Data(torch.randn(5, 3, 3)))


def test_vae_refuses_an_unknown_likelihood() -> None:
    with pytest.raises(ValueError, match=r"one of auto, bernoulli, binomial, normal, got 'poisson'"):
        vae.build(pv.Data(torch.randn(5, 3)), likelihood="poisson")


# ppca


@pytest.fixture(scope="module")
def points() -> Tensor:
    """300 points in 7 dimensions around a plane of 3, far from 0."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return 3 * normal(300, 3) @ normal(3, 7) + 0.5 * normal(300, 7) + 20


def log_likelihood(x: Tensor, latents: int) -> np.ndarray:
    """log p(x) of each datum at maximum likelihood, by NumPy's eigenvalues."""
    covariance = np.cov(x.numpy().T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    noise = values[:-latents].mean()
    w = vectors[:, -latents:] * np.sqrt(values[-latents:] - noise)
    return multivariate_normal(x.numpy().mean(0), w @ w.T + noise * np.eye(len(values))).logpdf(x.numpy())


def log_weights(program: pv.VAE, x: Tensor) -> np.ndarray:
    return pv.posterior(program, x, draws=5, predictive=1)["sample_stats"]["log_weight"].values[0]


def rotation(latents: int) -> Tensor:
    return torch.as_tensor(ortho_group.rvs(latents, random_state=3)) if latents > 1 else torch.ones(1, 1).double()


@pytest.mark.parametrize("latents", [1, 2, 3, 6])
def test_ppca_maximum_likelihood_is_that_of_principal_components(points: Tensor, latents: int) -> None:
    w, mu, sigma2 = ppca.maximum_likelihood(points, latents)
    n, d = points.shape
    pca = PCA(latents, svd_solver="full").fit(points.numpy())  # divides by n − 1
    covariance = (w @ w.T + sigma2 * torch.eye(d, dtype=w.dtype)).numpy()
    np.testing.assert_allclose(covariance, pca.get_covariance() * (n - 1) / n, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mu, pca.mean_, rtol=1e-12)
    gram = (w.T @ w).numpy()
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-10)
    assert (np.diff(np.diag(gram)) <= 0).all()
    values = np.linalg.eigvalsh(np.cov(points.numpy().T, bias=True))[::-1]
    closed = -0.5 * (d * np.log(2 * np.pi) + np.log(values[:latents]).sum() + (d - latents) * np.log(float(sigma2)) + d)
    assert log_likelihood(points, latents).mean() == pytest.approx(closed, abs=1e-10)
    assert closed >= pca.score(points.numpy())  # which is at other parameters, by the factor of n − 1


@pytest.mark.parametrize("latents", [1, 2, 3, 6])
@pytest.mark.parametrize(
    ("guide", "rotated"), [("normal", False), ("multivariate_normal", False), ("multivariate_normal", True)]
)
def test_ppca_bound_is_the_log_likelihood_of_each_datum(
    points: Tensor, latents: int, guide: str, rotated: bool
) -> None:
    turn = rotation(latents) if rotated else None
    program = ppca.exact_program(points, latents, rotation=turn, guide=guide)
    weights = log_weights(program, points)
    assert weights.dtype == np.float64
    exact = log_likelihood(points, latents)
    np.testing.assert_allclose(weights, np.broadcast_to(exact, weights.shape), rtol=0, atol=1e-10)
    assert abs(weights.mean() - exact.mean()) < 1e-10


def test_ppca_is_exact_off_the_training_data_too(points: Tensor) -> None:
    w, mu, sigma2 = ppca.maximum_likelihood(points, 3)
    new = 5 * torch.randn(40, 7, dtype=torch.float64)
    exact = multivariate_normal(mu.numpy(), (w @ w.T).numpy() + float(sigma2) * np.eye(7)).logpdf(new.numpy())
    weights = log_weights(ppca.exact_program(points, 3), new)
    np.testing.assert_allclose(weights, np.broadcast_to(exact, weights.shape), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("latents", [2, 3])
def test_ppca_gap_of_a_diagonal_guide_at_a_rotation(points: Tensor, latents: int) -> None:
    turn = rotation(latents)
    program = ppca.exact_program(points, latents, rotation=turn)
    w, _, sigma2 = ppca.maximum_likelihood(points, latents)
    w = w @ turn
    m = w.T @ w + sigma2 * torch.eye(latents, dtype=w.dtype)
    gap = 0.5 * float(m.diagonal().log().sum() - torch.logdet(m))
    assert gap > 1e-3
    q = program.encode(points).base_dist
    posterior = torch.linalg.solve(m, w.T @ (points - points.mean(0)).T).T
    torch.testing.assert_close(q.loc, posterior, rtol=0, atol=1e-11)
    exact = torch.distributions.MultivariateNormal(posterior, sigma2 * torch.linalg.inv(m))
    mean_field = torch.distributions.MultivariateNormal(q.loc, torch.diag_embed(q.scale**2))
    kl = torch.distributions.kl_divergence(mean_field, exact)
    torch.testing.assert_close(kl, torch.full_like(kl, gap), rtol=0, atol=1e-10)


def test_ppca_fit_stays_at_the_maximum(points: Tensor) -> None:
    program = ppca.exact_program(points, 3)
    fit = pv.fit(program, points, epochs=1, lr=1e-12, progress=False)
    assert float(fit.history["elbo"][0, -1]) == pytest.approx(log_likelihood(points, 3).mean(), abs=1e-8)


@pytest.mark.parametrize("latents", [0, 7, 8])
def test_ppca_refuses_a_number_of_latents_without_a_maximum(points: Tensor, latents: int) -> None:
    with pytest.raises(ValueError, match=f"1 to d − 1 latents.*{latents} latents"):
        ppca.maximum_likelihood(points, latents)


def test_ppca_refuses_data_without_noise(points: Tensor) -> None:
    with pytest.raises(ValueError, match="without noise"):
        ppca.maximum_likelihood(points[:3], 2)
