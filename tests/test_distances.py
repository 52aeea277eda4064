"""Distances of codes from the prior: closed forms, brute force, other libraries, and planted shifts."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import ot
import pytest
import torch
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.special import gammaln, hyp1f1
from scipy.stats import ncx2, poisson, wasserstein_distance
from torch import Tensor

from pyrovae.objectives import MMD, RBF, Energy, InverseMultiquadratic, SlicedWasserstein
from pyrovae.objectives.distances._normal import distance_from_normal, half_distance_of_normals
from pyrovae.objectives.distances.sliced_wasserstein import directions, sliced, sliced_from_normal

DISTANCES: dict[str, Callable[[], Any]] = {
    "mmd": lambda: MMD(RBF((1, 4))),
    "mmd, default": MMD,
    "mmd, V": lambda: MMD(RBF(2), unbiased=False),
    "mmd, closed": lambda: MMD(RBF((1, 4)), closed=True),
    "mmd, closed, V": lambda: MMD(unbiased=False, closed=True),
    "imq": lambda: MMD(InverseMultiquadratic()),
    "energy": Energy,
    "energy, V": lambda: Energy(unbiased=False),
    "energy, closed": lambda: Energy(closed=True),
    "energy, closed, V": lambda: Energy(closed=True, unbiased=False),
    "sliced": lambda: SlicedWasserstein(7),
    "sliced, p": lambda: SlicedWasserstein(7, p=1.5),
    "sliced, closed": lambda: SlicedWasserstein(7, closed=True),
}
UNBIASED = ["mmd", "mmd, default", "mmd, closed", "imq", "energy", "energy, closed"]
NEVER_NEGATIVE = [name for name in DISTANCES if name not in UNBIASED]


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def repeated(distance: Any, times: int, n: int, m: int, latents: int, shift: float = 0.0) -> Tensor:
    """Its value of codes from N(shift, I), so many times."""
    return torch.stack([distance(normal(n, latents) + shift, normal(m, latents)) for _ in range(times)])


def agrees(values: Tensor, expected: float) -> bool:
    """Whether their mean is within four standard errors."""
    return abs(float(values.mean()) - expected) < 4 * float(values.std()) / len(values) ** 0.5


def kummer(latents: int, r: np.ndarray | float) -> np.ndarray:
    """E|z − Y| by scipy, |z| = r; its 1F1 overflows from about 100 latents on."""
    constant = math.sqrt(2) * np.exp(gammaln((latents + 1) / 2) - gammaln(latents / 2))
    return np.asarray(constant * hyp1f1(-0.5, latents / 2, -(np.asarray(r) ** 2) / 2))


# Kummer's function


def mixture(latents: int, r: np.ndarray) -> np.ndarray:
    """E|z − Y| as the mean of a chi variable with L + 2k degrees of freedom, k a Poisson variable of mean |z|²/2."""
    k, t = np.arange(2000), r[:, None] ** 2 / 2
    ratios = math.sqrt(2) * np.exp(gammaln(latents / 2 + 0.5 + k) - gammaln(latents / 2 + k))
    return (poisson(t).pmf(k) * ratios).sum(1)


@pytest.mark.parametrize("latents", [1, 2, 3, 8, 33])
def test_mean_distance_from_a_normal_is_kummers_function(latents: int) -> None:
    r = np.concatenate([[0, 1e-9, 1e-3, 100, 1e3], np.linspace(0.05, 30, 200)])
    np.testing.assert_allclose(distance_from_normal(torch.as_tensor(r) ** 2, latents), kummer(latents, r), rtol=5e-9)


@pytest.mark.parametrize("latents", [1, 2, 3, 8, 33, 64, 128])
def test_mean_distance_from_a_normal_is_a_mixture(latents: int) -> None:
    r = np.concatenate([[0, 1e-9, 1e-3], np.linspace(0.05, 30, 200)])
    expected = mixture(latents, r)
    np.testing.assert_allclose(distance_from_normal(torch.as_tensor(r) ** 2, latents), expected, rtol=5e-9)
    single = distance_from_normal(torch.as_tensor(r).float() ** 2, latents)
    np.testing.assert_allclose(single, expected, rtol=1e-6)


@pytest.mark.parametrize(("latents", "r"), [(1, 0.5), (2, 3.0), (8, 7.0), (64, 20.0), (128, 30.0)])
def test_mean_distance_from_a_normal_is_the_mean_of_a_noncentral_chi(latents: int, r: float) -> None:
    law = ncx2(latents, r**2)
    mean, spread = math.sqrt(law.mean()), 1.5
    expected, _ = quad(
        lambda v: 2 * v * v * law.pdf(v * v), max(0.0, mean - 8 * spread), mean + 8 * spread, limit=200, epsrel=1e-10
    )
    assert float(distance_from_normal(torch.tensor(r**2).double(), latents)) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("latents", [1, 2, 5, 128])
def test_gradient_of_the_mean_distance(latents: int) -> None:
    squared = torch.tensor([0.0, 1e-3, 1.0, 60.0, 900.0], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(distance_from_normal(squared, latents).sum(), squared)
    t = squared.detach().numpy()  # M' (a; b; x) = a/b M(a + 1; b + 1; x)
    constant = math.sqrt(2) * np.exp(gammaln((latents + 1) / 2) - gammaln(latents / 2))
    expected = constant * (-0.5 / (latents / 2)) * hyp1f1(0.5, latents / 2 + 1, -t / 2) * -0.5
    np.testing.assert_allclose(found, expected, rtol=5e-8)


def test_mean_distance_by_hand() -> None:
    assert half_distance_of_normals(1) == pytest.approx(1 / math.sqrt(math.pi))
    assert half_distance_of_normals(2) == pytest.approx(math.sqrt(math.pi) / 2)
    zero = torch.zeros((), dtype=torch.float64)
    for latents in (2, 3, 64):
        centre = float(distance_from_normal(zero, latents))
        assert centre == pytest.approx(math.sqrt(2) * half_distance_of_normals(latents), rel=1e-9)


# brute force


def test_mmd_is_its_definition() -> None:
    z, y = normal(5, 3), normal(7, 3)

    def k(a: Tensor, b: Tensor) -> float:
        squared = float((a - b).square().sum())
        return math.exp(-squared / 3) + 6 / (6 + squared)

    own = [k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]
    rest = [k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    across = np.mean([k(a, b) for a in z for b in y])
    rbf, imq = RBF(1.5), InverseMultiquadratic(1)

    def both(a: Tensor, b: Tensor) -> Tensor:
        return rbf(a, b) + imq(a, b)

    assert float(MMD(both)(z, y)) == pytest.approx(np.mean(own) + np.mean(rest) - 2 * across, abs=1e-12)
    biased = (sum(own) + 2 * 5) / 25 + (sum(rest) + 2 * 7) / 49 - 2 * across
    assert float(MMD(both, unbiased=False)(z, y)) == pytest.approx(biased, abs=1e-12)


def test_energy_is_its_definition() -> None:
    z, y = normal(5, 3), normal(7, 3)
    zz, yy, zy = cdist(z, z), cdist(y, y), cdist(z, y)
    unbiased = zy.mean() - zz.sum() / 40 - yy.sum() / 84
    assert float(Energy()(z, y)) == pytest.approx(unbiased, abs=1e-12)
    biased = zy.mean() - zz.mean() / 2 - yy.mean() / 2
    assert float(Energy(unbiased=False)(z, y)) == pytest.approx(biased, abs=1e-12)
    closed = kummer(3, z.norm(dim=1).numpy()).mean() - zz.sum() / 40 - half_distance_of_normals(3)
    assert float(Energy(closed=True)(z)) == pytest.approx(closed, abs=1e-7)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 30), (7, 11), (1, 4)])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_sliced_wasserstein_is_that_of_pot(n: int, m: int, p: int) -> None:
    z, y = normal(n, 4), normal(m, 4) + 0.5
    theta = directions(25, z)
    np.testing.assert_allclose(theta.norm(dim=0), 1.0, rtol=1e-12)
    theirs = ot.sliced_wasserstein_distance(z.numpy(), y.numpy(), projections=theta.numpy(), p=p)
    assert float(sliced(z, y, theta, p)) == pytest.approx(theirs**p, rel=0, abs=1e-10)


def test_sliced_wasserstein_in_one_dimension_is_scipys() -> None:
    z, y = normal(9, 1), normal(14, 1)
    found = SlicedWasserstein(3, p=1)(z, y)
    assert float(found) == pytest.approx(wasserstein_distance(z[:, 0], y[:, 0]), abs=1e-12)


def test_sliced_wasserstein_from_a_normal_is_that_from_its_quantiles() -> None:
    z, theta = normal(6, 3), directions(4, normal(1, 3))
    u = (torch.arange(600_000, dtype=torch.float64) + 0.5) / 600_000
    quantiles = torch.special.ndtri(u).unsqueeze(-1)
    each = [sliced((z @ t).unsqueeze(-1), quantiles, torch.ones(1, 1).double(), 2) for t in theta.T]
    assert float(sliced_from_normal(z, theta)) == pytest.approx(float(torch.stack(each).mean()), abs=1e-4)


@pytest.mark.parametrize("latents", [1, 3])
def test_mmd_closed_forms_by_quadrature(latents: int) -> None:
    kernel = RBF((0.7, 3))
    z = normal(4, latents)
    of_codes, of_prior = kernel.normal_means(z)

    def mean(loc: float, g: float, spread: float) -> float:  # E exp(−(loc − Y)²/2g), Y ~ N(0, spread²)
        norm = spread * math.sqrt(2 * math.pi)
        return quad(
            lambda y: math.exp(-((loc - y) ** 2) / (2 * g) - y * y / (2 * spread**2)) / norm,
            -15,
            15,
            epsabs=1e-12,
        )[0]

    expected = [sum(math.prod(mean(float(v), g, 1.0) for v in row) for g in (0.7, 3)) for row in z]
    np.testing.assert_allclose(of_codes, expected, rtol=1e-9)
    assert of_prior == pytest.approx(sum(mean(0.0, g, math.sqrt(2)) ** latents for g in (0.7, 3)), rel=1e-9)


# means


@pytest.mark.parametrize("name", UNBIASED)
def test_u_statistics_have_mean_0_where_the_laws_agree(name: str) -> None:
    values = repeated(DISTANCES[name](), 1500, 8, 6, 3)
    assert agrees(values, 0.0)
    assert (values < 0).any()


@pytest.mark.parametrize("latents", [1, 5])
@pytest.mark.parametrize("closed", [False, True])
def test_mean_of_the_mmd_of_a_shift(latents: int, closed: bool) -> None:
    g, shift = 2.0, 0.6
    between = math.exp(-latents * shift**2 / (2 * (g + 2)))
    expected = 2 * (g / (g + 2)) ** (latents / 2) * (1 - between)
    assert agrees(repeated(MMD(RBF(g), closed=closed), 1500, 10, 8, latents, shift), expected)


@pytest.mark.parametrize("latents", [1, 5])
@pytest.mark.parametrize("closed", [False, True])
def test_mean_of_the_energy_of_a_shift(latents: int, closed: bool) -> None:
    shift = 0.6
    across = math.sqrt(2) * float(kummer(latents, math.sqrt(latents / 2) * shift))
    expected = across - 2 * half_distance_of_normals(latents)
    assert agrees(repeated(Energy(closed=closed), 1500, 10, 8, latents, shift), expected)


def test_bias_of_v_statistics() -> None:
    g, n, m, latents = 2.0, 6, 9, 3
    gap = 1 - (g / (g + 2)) ** (latents / 2)
    assert agrees(repeated(MMD(RBF(g), unbiased=False), 1000, n, m, latents), gap / n + gap / m)
    assert agrees(repeated(MMD(RBF(g), unbiased=False, closed=True), 1000, n, m, latents), gap / n)
    half = half_distance_of_normals(latents)
    assert agrees(repeated(Energy(unbiased=False), 1000, n, m, latents), half / n + half / m)
    assert agrees(repeated(Energy(unbiased=False, closed=True), 1000, n, m, latents), half / n)


def test_sliced_wasserstein_of_a_shift() -> None:
    y, shift = normal(50, 4), normal(4)
    theta = directions(30, y)
    moved = sliced(y + shift, y, theta, 2)
    torch.testing.assert_close(moved, (shift @ theta).square().mean(), rtol=0, atol=1e-12)
    means = torch.stack([SlicedWasserstein(20)(y + shift, y) for _ in range(100)])
    assert agrees(means, float(shift.square().sum()) / 4)


def test_sliced_wasserstein_of_one_code_from_a_normal() -> None:
    z = normal(1, 3)  # W² of a point at s from N(0, 1) is s² + 1
    theta = directions(5, z)
    torch.testing.assert_close(sliced_from_normal(z, theta), (z @ theta).square().mean() + 1)


@pytest.mark.parametrize("name", [n for n in DISTANCES if "closed" in n and "sliced" not in n])
def test_closed_forms_are_means_over_the_prior(name: str) -> None:
    closed = DISTANCES[name]()
    z = normal(6, 2)
    drawn = (MMD(closed.kernel, unbiased=True) if "mmd" in name else Energy()).double()
    values = torch.stack([drawn(z, normal(30, 2)) for _ in range(1000)])
    expected = float((type(closed)(closed.kernel, closed=True) if "mmd" in name else Energy(closed=True))(z))
    assert agrees(values, expected)
    assert float(closed(z, torch.full((2, 2), torch.nan))) == float(closed(z))


# what all of them are


@pytest.mark.parametrize("name", DISTANCES)
def test_order_does_not_matter(name: str) -> None:
    distance, z, y = DISTANCES[name](), normal(12, 3), normal(12, 3)
    values = []
    for order in (slice(None), torch.randperm(12)):
        torch.manual_seed(1)
        values.append(distance(z[order], y[order]))
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", DISTANCES)
def test_gradient_is_that_of_differences(name: str) -> None:
    distance, z, y = DISTANCES[name](), normal(5, 2).requires_grad_(), normal(4, 2).requires_grad_()

    def seeded(codes: Tensor, draws: Tensor) -> Tensor:
        torch.manual_seed(1)
        return distance(codes, draws)

    inputs = (z, y.detach()) if "closed" in name else (z, y)
    assert torch.autograd.gradcheck(seeded, inputs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", DISTANCES)
def test_gradient_is_finite_where_codes_are_the_same(name: str) -> None:
    z = torch.zeros(4, 2, requires_grad=True)
    DISTANCES[name]()(z, torch.zeros(4, 2)).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("name", NEVER_NEGATIVE)
def test_what_is_no_u_statistic_is_never_negative(name: str) -> None:
    assert (repeated(DISTANCES[name](), 200, 6, 6, 2) >= -1e-12).all()


@pytest.mark.parametrize("name", DISTANCES)
def test_a_larger_shift_is_farther(name: str) -> None:
    z = normal(200, 3)
    y = normal(200, 3)
    values = []
    for shift in (0.0, 1.0, 2.0, 4.0):
        torch.manual_seed(1)
        values.append(float(DISTANCES[name]()(z + shift, y)))
    assert all(a < b for a, b in pairwise(values))


@pytest.mark.parametrize("name", DISTANCES)
def test_types_are_kept(name: str) -> None:
    assert DISTANCES[name]()(torch.randn(6, 2), torch.randn(6, 2)).dtype == torch.float32
    assert DISTANCES[name]()(normal(6, 2), normal(6, 2)).dtype == torch.float64
    assert repr(DISTANCES[name]()).startswith(type(DISTANCES[name]()).__name__ + "(")


def test_settings_are_shown() -> None:
    shown = {
        MMD(): "MMD(RBF())",
        MMD(RBF((1, 2)), unbiased=False, closed=True): "MMD(RBF((1, 2)), unbiased=False, closed=True)",
        MMD(InverseMultiquadratic(0.5)): "MMD(InverseMultiquadratic(0.5))",
        MMD(torch.cdist): "MMD(cdist)",
        Energy(unbiased=False): "Energy(unbiased=False)",
        SlicedWasserstein(9, p=1): "SlicedWasserstein(9, p=1)",
        SlicedWasserstein(closed=True): "SlicedWasserstein(50, closed=True)",
    }
    assert {repr(distance): text for distance, text in shown.items()} == {text: text for text in shown.values()}


def test_default_width_follows_the_latents() -> None:
    for latents in (1, 10):
        z, y = normal(4, latents), normal(3, latents)
        torch.testing.assert_close(RBF()(z, y), RBF(latents)(z, y))
        c = 2 * latents * 0.5
        expected = c / (c + torch.as_tensor(cdist(z, y)) ** 2)
        torch.testing.assert_close(InverseMultiquadratic(0.5)(z, y), expected)


# bad input


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: MMD("rbf"), TypeError, "expected a function.*such as objectives.RBF.*'rbf'"),
        (lambda: MMD(3.0), TypeError, "expected a function"),
        (lambda: MMD(RBF), TypeError, r"the class RBF: write RBF\(\)"),
        (lambda: MMD(unbiased=1), TypeError, "unbiased: expected True or False, got 1"),
        (lambda: MMD(closed="yes"), TypeError, "closed: expected True or False"),
        (
            lambda: MMD(InverseMultiquadratic(), closed=True),
            ValueError,
            "needs the kernel objectives.RBF.*leave",
        ),
        (lambda: RBF(0), ValueError, "RBF: bandwidth: expected a positive number, got 0"),
        (lambda: RBF((1, -1)), ValueError, "positive number, got -1"),
        (lambda: RBF(()), ValueError, "at least one"),
        (lambda: RBF("wide"), ValueError, "positive number"),
        (lambda: InverseMultiquadratic([]), ValueError, "InverseMultiquadratic: scales: expected at least one"),
        (lambda: InverseMultiquadratic(math.inf), ValueError, "positive number, got inf"),
        (lambda: SlicedWasserstein(0), ValueError, "projections: expected a whole number of at least 1"),
        (lambda: SlicedWasserstein(p=0.5), ValueError, "p: expected a number of at least 1"),
        (lambda: SlicedWasserstein(p="2"), ValueError, "p: expected a positive number"),
        (lambda: SlicedWasserstein(p=1, closed=True), ValueError, "needs p = 2.*leave closed out"),
        (lambda: Energy(closed=None), TypeError, "closed: expected True or False"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize("name", DISTANCES)
def test_bad_samples_are_refused(name: str) -> None:
    distance = DISTANCES[name]()
    with pytest.raises(ValueError, match=r"expected codes \(number, latents\) as a tensor, got \(3,\)"):
        distance(torch.zeros(3), torch.zeros(3))
    if not distance.closed:
        with pytest.raises(ValueError, match=r"expected draws of the prior .* got \(4, 3\)"):
            distance(torch.zeros(4, 2), torch.zeros(4, 3))
        with pytest.raises(ValueError, match="expected draws of the prior .* got NoneType"):
            distance(torch.zeros(4, 2))
    if name in UNBIASED:
        with pytest.raises(ValueError, match="at least 2 codes, got 1: choose larger batches, or unbiased=False"):
            distance(torch.zeros(1, 2), torch.zeros(4, 2))


@pytest.mark.parametrize(
    ("kernel", "came"),
    [(lambda a, b: (a @ b.T).sum(), r"\(\)"), (lambda a, b: a, r"\(4, 2\)"), (lambda a, b: 1.0, "float")],
)
def test_kernels_of_another_shape_are_refused(kernel: Any, came: str) -> None:
    with pytest.raises(ValueError, match=rf"expected a kernel that makes \(4, 4\).*<lambda> made {came}"):
        MMD(kernel)(torch.zeros(4, 2), torch.zeros(3, 2))
