"""Relaxed discrete distributions where their draws saturate: masses, ratios, gradients."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, special

from pyrovae import guides, priors
from pyrovae.distributions import RelaxedBernoulli, RelaxedOneHotCategorical

SINGLE = torch.finfo(torch.float32)
EDGE = 16 * SINGLE.eps
END = special.logit(1 - EDGE)
FLOOR = SINGLE.tiny / SINGLE.eps
DRAWS = 400_000
SATURATED = [(0.05, 1.0), (0.1, 3.0), (0.3, -4.0), (0.7, 9.0)]  # temperature and log odds


def bits(temperature, logits, dtype=torch.float32):
    return RelaxedBernoulli(temperature, logits=torch.as_tensor(logits, dtype=dtype))


def classes(temperature, logits):
    return RelaxedOneHotCategorical(torch.tensor(temperature), logits=torch.as_tensor(logits))


def within(values, expected, errors=4.0):
    """Whether a mean of draws is what it should be, within so many standard errors."""
    values = values.detach().double()
    return abs(values.mean().item() - expected) <= errors * values.std().item() / math.sqrt(len(values)) + 1e-9


def log_ratio(p, q, n=DRAWS):
    z = q.sample((n,))
    return (p.log_prob(z) - q.log_prob(z)).double(), z


# Bernoulli


@pytest.mark.parametrize(("temperature", "logits"), SATURATED)
def test_the_density_of_a_bit_has_total_one(temperature, logits):
    """Its lower half and, as the interval has more numbers there, that of its mirror image."""
    edge = 16 * torch.finfo(torch.float64).eps
    y = torch.linspace(-special.logit(1 - edge), 0, 20_001, dtype=torch.float64)
    total = 0.0
    for sign in (-1, 1):
        q, z = bits(temperature, sign * logits, torch.float64), y.sigmoid()
        z[0] *= 1 + 1e-12
        total += torch.trapezoid((q.log_prob(z) + z.log() + (-z).log1p()).exp(), y).item()
        below = torch.tensor([0.0, edge / 2, edge], dtype=torch.float64)
        masses = edge * q.log_prob(below).exp()
        torch.testing.assert_close(masses, masses[:1].expand(3))
        torch.testing.assert_close(masses, edge * bits(temperature, -sign * logits).log_prob(1 - below).exp())
        total += masses[0].item()
    assert total == pytest.approx(1, abs=1e-5)


def test_the_mass_on_an_edge_is_the_tail_beyond_it():
    q = bits(0.1, 0.4)
    z = q.sample((DRAWS,))
    for edge, sign in ((EDGE, -1), (1 - EDGE, 1)):
        mass = special.expit(sign * 0.4 - 0.1 * END)
        assert q.log_prob(torch.tensor(edge)).item() == pytest.approx(math.log(mass / EDGE), rel=1e-5)
        assert within((z == edge).double(), mass)
    assert z.min() == EDGE
    assert z.max() == 1 - EDGE


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_inside_the_density_is_that_of_pyro(temperature):
    logits = torch.tensor([-3.0, 0.0, 0.5, 20.0], dtype=torch.float64)
    z = torch.linspace(0.001, 0.999, 50, dtype=torch.float64).unsqueeze(-1)
    t = torch.tensor(temperature, dtype=torch.float64)
    torch.testing.assert_close(
        RelaxedBernoulli(t, logits=logits).log_prob(z), dist.RelaxedBernoulli(t, logits=logits).log_prob(z)
    )
    probs = logits[:3].sigmoid()
    torch.testing.assert_close(
        RelaxedBernoulli(t, probs=probs).log_prob(z), dist.RelaxedBernoulli(t, probs=probs).log_prob(z)
    )


@pytest.mark.parametrize(("temperature", "logits"), SATURATED)
@pytest.mark.parametrize("p", [(0.05, 0.0), (0.1, 1.0), (0.5, 0.0)], ids=str)
def test_saturated_bits_have_ratios_of_mean_one_and_a_divergence_above_zero(temperature, logits, p):
    """Where the evidence is 1, the ELBO stays below 0, by the divergence that quadrature gives."""
    q, p = (temperature, logits), p
    ratio, _ = log_ratio(bits(*p), bits(*q))
    assert within(ratio, -divergence(*q, *p))
    assert ratio.mean() < 0
    reverse, _ = log_ratio(bits(*q), bits(*p))  # p has mass where q has, so that the ratios are bounded
    assert within(reverse.exp(), 1)


@pytest.mark.parametrize("prior", [dist.Uniform(0.0, 1.0), dist.Beta(0.5, 0.5)], ids=["Uniform", "Beta"])
def test_a_relaxed_guide_does_not_inflate_the_bound_under_another_density(prior):
    ratio, _ = log_ratio(prior, bits(0.2, 0.5))
    weights = ratio.exp()
    assert weights.mean() < 1 + 4 * weights.std() / math.sqrt(DRAWS)
    assert weights.mean() > 0.99


def divergence(t, a, t_p, a_p):
    """KL(q ‖ p) of bits censored as in float32, by quadrature."""

    def log_density(y, t, a):
        return math.log(t) + special.log_expit(a - t * y) + special.log_expit(t * y - a)

    def term(y):
        return math.exp(log_density(y, t, a)) * (log_density(y, t, a) - log_density(y, t_p, a_p))

    total = integrate.quad(term, -END, END, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
    for sign in (-1, 1):
        log_q, log_p = (special.log_expit(sign * b - s * END) for s, b in ((t, a), (t_p, a_p)))
        total += math.exp(log_q) * (log_q - log_p)
    return total


@pytest.mark.parametrize(("temperature", "logits"), SATURATED)
@pytest.mark.parametrize("p", [(0.1, 1.0), (0.5, 0.0)], ids=str)
def test_the_gradient_of_the_divergence_of_bits_is_that_of_quadrature(temperature, logits, p):
    a = torch.full((DRAWS,), logits, requires_grad=True)
    t = torch.full((DRAWS,), temperature, requires_grad=True)
    q = RelaxedBernoulli(t, logits=a)
    z = q.rsample()
    slopes = torch.autograd.grad((bits(*p).log_prob(z) - q.log_prob(z)).sum(), (a, t))
    h = 1e-4
    by_logits = (divergence(temperature, logits + h, *p) - divergence(temperature, logits - h, *p)) / (2 * h)
    h *= temperature
    by_temperature = (divergence(temperature + h, logits, *p) - divergence(temperature - h, logits, *p)) / (2 * h)
    assert within(slopes[0], -by_logits)
    assert within(slopes[1], -by_temperature)


def test_the_gradient_of_a_likelihood_does_not_feel_the_edge():
    a = torch.full((DRAWS,), 2.0, requires_grad=True)
    (slope,) = torch.autograd.grad(bits(0.1, a).rsample().sum(), a)

    def term(noise):
        y = (2 + noise) / 0.1
        return (
            math.exp(special.log_expit(noise) + special.log_expit(-noise)) * special.expit(y) * special.expit(-y) / 0.1
        )

    assert within(slope, integrate.quad(term, -10, 6, points=[-2], epsabs=1e-12)[0])


@pytest.mark.parametrize("logits", [-200.0, 200.0])
def test_a_bit_beyond_all_numbers_is_finite(logits):
    a = torch.full((1000, 4), logits, requires_grad=True)
    with pyro.validation_enabled(True):
        q = RelaxedBernoulli(torch.tensor(0.05), logits=a).to_event(1)
        z = q.rsample()
        p = priors.RelaxedBernoulli(4, temperature=0.05)()
        bound = p.log_prob(z) - q.log_prob(z)
    assert bound.isfinite().all()
    assert bound.max() < 0
    bound.sum().backward()
    assert a.grad.isfinite().all()
    torch.testing.assert_close(p.log_prob(z.round()), p.log_prob(z))


def test_a_relaxed_bernoulli_is_a_distribution_like_others():
    q = RelaxedBernoulli(0.5, probs=torch.tensor([0.2, 0.9]))
    assert q.expand((3, 2)).sample((5,)).shape == (5, 3, 2)
    assert not q.sample().requires_grad
    torch.testing.assert_close(q.expand((3, 2)).logits[1], torch.logit(torch.tensor([0.2, 0.9])))
    torch.testing.assert_close(bits(0.5, 0.0).probs, torch.tensor(0.5))
    assert RelaxedBernoulli(torch.tensor([0.1, 0.2]), logits=torch.tensor(0.0)).batch_shape == (2,)
    with pytest.raises(ValueError, match="either probs or logits"):
        RelaxedBernoulli(0.5)
    with pytest.raises(ValueError, match="either probs or logits"):
        RelaxedBernoulli(0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="temperature"):
        RelaxedBernoulli(0.0, 0.5, validate_args=True)
    with pytest.raises(ValueError, match="within the support"):
        RelaxedBernoulli(0.5, 0.5, validate_args=True).log_prob(torch.tensor(1.5))


# One-hot

COLD = [
    (0.1, [1.0, 0.0, -1.0]),
    (0.1, [5.0, 0.0, -30.0]),
    (0.3, [5.0, 0.0, -15.0]),
    (0.3, [30.0, 28.0, 0.0]),
    (0.7, [30.0, -15.0, -20.0]),
]


def concrete(z, temperature, logits):
    """Log density with cells floored, by hand in float64, and which are."""
    z, a = z.double().numpy(), np.asarray(logits)
    under = z <= FLOOR
    log_z = np.log(np.maximum(z, FLOOR))
    terms = a - temperature * log_z
    n = (~under).sum(-1)
    total = special.gammaln(n) + (n - 1) * math.log(temperature) - n * special.logsumexp(terms, -1)
    return torch.from_numpy(total + np.where(under, 0, terms).sum(-1) - log_z.sum(-1)), torch.from_numpy(under)


def patterns(under):
    """Which cells are on the floor, as a number."""
    return (under * 2 ** torch.arange(under.shape[-1])).sum(-1)


@pytest.mark.parametrize(("temperature", "logits"), COLD, ids=str)
def test_cells_reach_the_floor_as_often_as_without_one(temperature, logits):
    z = classes(temperature, logits).sample((DRAWS,))
    t, a = torch.tensor(temperature, dtype=torch.float64), torch.tensor(logits, dtype=torch.float64)
    log_z = dist.RelaxedOneHotCategorical(t, logits=a).base_dist.sample((DRAWS,))
    ours, theirs = patterns(z <= FLOOR), patterns(log_z <= math.log(FLOOR))
    for pattern in range(7):
        one, other = (ours == pattern).double(), (theirs == pattern).double()
        error = math.sqrt((one.var() + other.var()).item() / DRAWS)
        assert abs((one.mean() - other.mean()).item()) <= 4 * error + 1e-12
    alone = z[(z > FLOOR).sum(-1) == 1]
    torch.testing.assert_close(alone.amax(-1), torch.ones(len(alone)))


@pytest.mark.parametrize(("temperature", "logits"), COLD, ids=str)
def test_saturated_classes_have_ratios_of_mean_one_on_every_face(temperature, logits):
    q, shift = classes(temperature, logits), torch.tensor([-0.5, 0.5, 0.2])
    p = classes(temperature, torch.tensor(logits) + shift)
    ratio, z = log_ratio(p, q)
    expected = concrete(z, temperature, torch.tensor(logits) + shift)[0] - concrete(z, temperature, logits)[0]
    torch.testing.assert_close(ratio, expected, rtol=1e-4, atol=1e-3)
    assert within(ratio.exp(), 1)
    assert ratio.mean() < 0
    here, there = patterns(z <= FLOOR), patterns(p.sample((DRAWS,)) <= FLOOR)
    for pattern in range(7):
        weights, share = ratio.exp() * (here == pattern), (there == pattern).double()
        error = math.sqrt((weights.var() + share.var()).item() / DRAWS)
        assert abs((weights.mean() - share.mean()).item()) <= 4 * error + 1e-12


@pytest.mark.parametrize(("temperature", "logits"), COLD, ids=str)
def test_the_bound_of_classes_is_no_higher_than_the_exact_one(temperature, logits):
    """Censoring loses information, never gains: 0 ≤ KL ≤ that of the draws in log coordinates, in float64."""
    p = classes(0.7, [0.0, 0.0, 0.0])
    ratio, _ = log_ratio(p, classes(temperature, logits))
    exact = [
        dist.RelaxedOneHotCategorical(torch.tensor(t, dtype=torch.float64), logits=torch.tensor(a).double()).base_dist
        for t, a in ((temperature, logits), (0.7, [0.0] * 3))
    ]
    log_z = exact[0].sample((DRAWS,))
    log_ratios = exact[1].log_prob(log_z) - exact[0].log_prob(log_z)
    assert ratio.mean() < 0
    assert ratio.mean() > log_ratios.mean() - 4 * (ratio.std() + log_ratios.std()) / math.sqrt(DRAWS)


def test_above_the_floor_the_density_is_that_of_pyro():
    logits = torch.tensor([3.0, 0.0, -2.0, 1.0], dtype=torch.float64)
    z = torch.distributions.Dirichlet(torch.full((4,), 0.3, dtype=torch.float64)).sample((200,))
    for temperature in (0.1, 0.7, 2.0):
        t = torch.tensor(temperature, dtype=torch.float64)
        ours, theirs = (f(t, logits=logits) for f in (RelaxedOneHotCategorical, dist.RelaxedOneHotCategorical))
        torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))


def test_two_classes_have_total_one():
    temperature, logits = 0.05, [1.0, -0.3]
    q = classes(temperature, logits)
    y = torch.linspace(math.log(FLOOR), -math.log(FLOOR), 20_001)[1:-1]
    z = torch.stack([y.sigmoid(), (-y).sigmoid()], -1)
    inside = torch.trapezoid((q.log_prob(z) + z.log().sum(-1)).double().exp(), y.double())
    ends = (q.log_prob(torch.eye(2)).double() + math.log(FLOOR)).exp()
    assert (inside + ends.sum()).item() == pytest.approx(1, abs=1e-3)
    assert ends.min() > 1e-3


def mean_ratio(temperature, logits, p):
    """E_q[log p − log q] of three classes, floored as in float32, by quadrature over differences of the noise."""
    step = 0.05
    u = np.arange(-18, 18, step)
    u, v = (g.ravel() for g in np.meshgrid(u, u + step / 3))
    weights = 2 * step**2 * np.exp(-u - v - 3 * np.logaddexp(np.logaddexp(-u, -v), 0))
    scores = (np.asarray(logits) + np.stack([u, v, np.zeros_like(u)], -1)) / temperature
    z = torch.from_numpy(special.softmax(scores, -1)).clamp(min=FLOOR)
    return float(weights @ (concrete(z, *p)[0] - concrete(z, temperature, logits)[0]).numpy())


@pytest.mark.parametrize(("temperature", "logits"), COLD[:4], ids=str)
def test_the_gradient_of_the_divergence_of_classes_is_that_of_quadrature(temperature, logits):
    p, n, h = (0.2, [0.5, 0.0, -0.5]), 200_000, 0.4
    a = torch.tensor(logits).expand(n, 3).clone().requires_grad_()
    q = RelaxedOneHotCategorical(torch.tensor(temperature), logits=a)
    z = q.rsample()
    ratio = classes(*p).log_prob(z) - q.log_prob(z)
    (slopes,) = torch.autograd.grad(ratio.sum(), a)
    assert within(ratio, mean_ratio(temperature, logits, p))
    torch.testing.assert_close(slopes.double().sum(-1), torch.zeros(n).double(), rtol=0, atol=1e-2)
    for cell in range(2):
        ends = [mean_ratio(temperature, logits + k * h * np.eye(3)[cell], p) for k in (-2, -1, 1, 2)]
        exact = (8 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / (12 * h)
        assert within(slopes[:, cell], exact)


@pytest.mark.parametrize("make", [guides.RelaxedBernoulli, guides.RelaxedOneHotCategorical])
def test_many_cold_cells_are_within_the_support(make):
    raw = 200 * torch.randn(50, 1000, requires_grad=True)
    q = make(torch.nn.Identity(), temperature=0.05)(raw)
    with pyro.validation_enabled(True):
        z = q.rsample((3,))
        log_prob = q.log_prob(z)
    assert q.support.check(z).all()
    assert log_prob.isfinite().all()
