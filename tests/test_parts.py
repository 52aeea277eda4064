"""Every listed prior, likelihood and guide: shapes, densities, gradients, weights, and the closed forms of the KL."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence

from pyrovae import guides, likelihoods, networks, priors
from tests.registry import GUIDES, LATENTS, LIKELIHOODS, PRIORS, call

PARTS = PRIORS + LIKELIHOODS + GUIDES
every_part = pytest.mark.parametrize("part", PARTS, ids=[f"{p.make().__module__}-{p}" for p in PARTS])


def changed(module: nn.Module) -> nn.Module:
    """The same module with other weights, drawn anew."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def batch_of(part, *batch: int) -> tuple[int, ...]:
    """The batch shape of what a part returns: a prior without a context knows of no batch."""
    return batch[-1:] * bool(part.context) if part.given is None else batch


@every_part
def test_shapes(part):
    made = part.make()
    for batch in ((1,), (5,), (7, 5)):
        fn = call(made, part.inputs(*batch))
        assert isinstance(fn, dist.torch_distribution.TorchDistributionMixin)
        expected = batch_of(part, *batch)
        assert tuple(fn.batch_shape) == expected
        assert tuple(fn.event_shape) == part.event
        assert tuple(fn.sample((2,)).shape) == (2, *expected, *part.event)


@every_part
def test_log_density_is_finite_where_it_was_drawn(part):
    with pyro.validation_enabled(True):
        fn = call(changed(part.make()), part.inputs(5))
        value = fn.sample((20,))
        log_prob = fn.log_prob(value)
    assert log_prob.shape == (20, *batch_of(part, 5))
    assert log_prob.isfinite().all()


@pytest.mark.parametrize("part", [p for p in PARTS if p.reference], ids=str)
def test_log_density_is_that_of_scipy(part):
    made = changed(part.make()).double()
    inputs = part.inputs(5, dtype=torch.float64)
    fn = call(made, inputs)
    value = fn.sample() if batch_of(part, 5) else fn.sample((5,))
    np.testing.assert_allclose(
        fn.log_prob(value).detach().numpy(), part.reference(made, inputs, value.numpy()), rtol=1e-10, atol=1e-10
    )


@every_part
def test_values_off_the_support_are_refused(part):
    with pyro.validation_enabled(True):
        fn = call(part.make(), part.inputs(5))
        value = fn.sample()
        if callable(part.off):
            value = part.off(value)
        else:
            value[..., 0] = part.off
        with pytest.raises(ValueError, match="to be within the support"):
            fn.log_prob(value)


@pytest.mark.parametrize("part", [p for p in PARTS if list(p.make().parameters())], ids=str)
def test_a_gradient_reaches_every_parameter(part):
    made = changed(part.make())
    fn = call(made, part.inputs(5))
    draws = part in GUIDES and fn.has_rsample
    value = fn.rsample() if draws else fn.sample()
    (fn.log_prob(value).sum() + (value.square().sum() if draws else 0)).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_part
def test_saved_and_loaded_into_a_fresh_part(part):
    made, fresh = changed(part.make()), part.make()
    if part in GUIDES:
        made.adapt(3 + 5 * torch.randn(50, *part.given))
    inputs = part.inputs(5)
    value = call(made, inputs).sample()
    fresh.load_state_dict(made.state_dict())
    assert torch.equal(call(fresh, inputs).log_prob(value), call(made, inputs).log_prob(value))


@pytest.mark.parametrize("part", [p for p in PARTS if p.learned], ids=str)
def test_reset_parameters_takes_learned_ones_back_to_the_start(part):
    made = part.make()
    own = {name: value.clone() for name, value in made.named_parameters(recurse=False)}
    assert own
    changed(made).reset_parameters()
    for name, value in made.named_parameters(recurse=False):
        assert torch.equal(value, own[name]), name


@every_part
def test_double(part):
    made = part.make().double()
    fn = call(made, part.inputs(5, dtype=torch.float64))
    value = fn.sample()
    assert value.dtype == fn.log_prob(value).dtype == torch.float64
    assert {p.dtype for p in made.parameters()} <= {torch.float64}


# Closed forms


def divergence(q, p) -> torch.Tensor | None:
    """KL(q ‖ p) in closed form, where torch or a part has one."""
    try:
        kl: torch.Tensor = kl_divergence(q, p)
    except NotImplementedError:
        return None
    return kl


def pairs():
    """Every guide with every prior of its event shape and support that has a closed form for their divergence."""
    for guide in GUIDES:
        for prior in PRIORS:
            if guide.event == prior.event and not prior.context:
                with pyro.validation_enabled(False), torch.no_grad():
                    q, p = call(guide.make(), guide.inputs(2)), call(prior.make(), prior.inputs())
                    kl = divergence(q, p.expand((2,)))
                    if kl is not None and kl.isfinite().all():  # torch knows of infinite ones, of other supports
                        yield pytest.param(guide, prior, id=f"{guide}-{prior}")


@pytest.mark.parametrize(("guide", "prior"), [*pairs()])
def test_a_divergence_in_closed_form_is_that_of_draws(guide, prior):
    torch.manual_seed(0)
    q = call(changed(guide.make()).double(), guide.inputs(6, dtype=torch.float64))
    p = call(changed(prior.make()).double(), {})
    exact = divergence(q, p.expand((6,)))
    z = q.sample((20_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((ratio.mean(0) - exact).abs() < 4 * error).all()


@pytest.mark.parametrize("part", [p for p in GUIDES if p.name.startswith("Normal")], ids=str)
def test_kl_of_the_normal_guide_by_hand(part):
    q = call(changed(part.make()).double(), part.inputs(6, dtype=torch.float64))
    exact = kl_divergence(q, priors.Normal(LATENTS).double()().expand((6,)))
    mu, s = q.base_dist.loc, q.base_dist.scale
    by_hand = -0.5 * (1 + s.square().log() - mu.square() - s.square()).sum(-1)
    torch.testing.assert_close(exact, by_hand, rtol=0, atol=1e-10)


def test_log_q_of_the_multivariate_normal_from_its_noise():
    size = 4
    out = torch.randn(6, guides.MultivariateNormal.outputs(size), dtype=torch.float64)
    q = guides.MultivariateNormal(nn.Identity()).double()(out)
    torch.manual_seed(1)
    z = q.rsample()
    torch.manual_seed(1)
    eps = torch.randn(6, size, dtype=torch.float64)
    factor = q.scale_tril
    torch.testing.assert_close(z, q.loc + (factor @ eps.unsqueeze(-1)).squeeze(-1), rtol=0, atol=1e-12)
    by_hand = (
        -0.5 * eps.square().sum(-1) - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) - size / 2 * math.log(2 * math.pi)
    )
    torch.testing.assert_close(q.log_prob(z), by_hand, rtol=0, atol=1e-10)
    assert torch.equal(factor, factor.tril())
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0).all()
    torch.testing.assert_close(factor[0, 1, 0], out[0, size + 1])  # the triangle is filled by rows
    torch.testing.assert_close(factor[0, 2, 1], out[0, size + 4])


def test_outputs_of_the_multivariate_normal():
    assert [guides.MultivariateNormal.outputs(m) for m in (1, 2, 3, 8)] == [2, 5, 9, 44]
    for m in range(1, 40):
        q = guides.MultivariateNormal(nn.Identity())(torch.zeros(1, guides.MultivariateNormal.outputs(m)))
        assert tuple(q.event_shape) == (m,)


def reconstruction(z: torch.Tensor) -> torch.Tensor:
    """A smooth function of z that is not quadratic, standing for log p(x|z)."""
    w = torch.linspace(-1, 1, 5 * z.shape[-1], dtype=z.dtype).reshape(z.shape[-1], 5)
    return -(torch.tanh(z @ w) - 0.3).square().sum(-1)


def slope_of_reconstruction(z: torch.Tensor) -> torch.Tensor:
    leaf = z.detach().requires_grad_()
    return torch.autograd.grad(reconstruction(leaf).sum(), leaf)[0]


def test_reparameterisation_gradients_with_a_log_variance():
    mu = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    v = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    q = dist.Normal(mu, (v / 2).exp()).to_event(1)
    z = q.rsample()
    eps = ((z - mu) / (v / 2).exp()).detach()
    recon = torch.autograd.grad(reconstruction(z).sum(), (mu, v), retain_graph=True)
    slope = slope_of_reconstruction(z)
    torch.testing.assert_close(recon[0], slope, rtol=0, atol=1e-10)
    torch.testing.assert_close(recon[1], slope * eps * (v / 2).exp() / 2, rtol=0, atol=1e-10)
    kl = torch.autograd.grad(kl_divergence(q, priors.Normal(3).double()().expand((7,))).sum(), (mu, v))
    torch.testing.assert_close(kl[0], mu, rtol=0, atol=1e-10)
    torch.testing.assert_close(kl[1], (v.exp() - 1) / 2, rtol=0, atol=1e-10)


def test_reparameterisation_gradients_of_the_normal_guide():
    out = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    q = guides.Normal(nn.Identity()).double()(out)
    z = q.rsample()
    mu, raw = out.detach().chunk(2, -1)
    s = q.base_dist.scale.detach()
    eps, slope = (z.detach() - mu) / s, slope_of_reconstruction(z)
    (recon,) = torch.autograd.grad(reconstruction(z).sum(), out, retain_graph=True)
    torch.testing.assert_close(recon, torch.cat([slope, slope * eps * raw.sigmoid()], -1), rtol=0, atol=1e-10)
    (kl,) = torch.autograd.grad(kl_divergence(q, priors.Normal(3).double()().expand((7,))).sum(), out)
    torch.testing.assert_close(kl, torch.cat([mu, (s - 1 / s) * raw.sigmoid()], -1), rtol=0, atol=1e-10)


def test_reparameterisation_gradients_of_the_multivariate_normal_guide():
    size, n = 3, 7
    out = torch.randn(n, guides.MultivariateNormal.outputs(size), dtype=torch.float64, requires_grad=True)
    q = guides.MultivariateNormal(nn.Identity()).double()(out)
    z = q.rsample()
    factor, rows, columns = q.scale_tril.detach(), *torch.tril_indices(size, size)
    eps = torch.linalg.solve_triangular(factor, (z - q.loc).detach().unsqueeze(-1), upper=False).squeeze(-1)
    chain = torch.where(rows == columns, out.detach()[:, size:].sigmoid(), torch.ones(())).double()
    slope = slope_of_reconstruction(z)
    (recon,) = torch.autograd.grad(reconstruction(z).sum(), out, retain_graph=True)
    by_hand = slope.unsqueeze(-1) * eps.unsqueeze(-2)  # dE/dL = dE/dz epsᵀ
    torch.testing.assert_close(recon, torch.cat([slope, by_hand[:, rows, columns] * chain], -1), rtol=0, atol=1e-10)
    standard = dist.MultivariateNormal(torch.zeros(size).double(), torch.eye(size).double())
    (kl,) = torch.autograd.grad(kl_divergence(q, standard).sum(), out)
    by_hand = factor - torch.diag_embed(1 / factor.diagonal(dim1=-2, dim2=-1))  # dKL/dL
    torch.testing.assert_close(
        kl, torch.cat([q.loc.detach(), by_hand[:, rows, columns] * chain], -1), rtol=0, atol=1e-10
    )


# What is particular to a part


def test_a_guide_standardises_by_the_training_data_once():
    guide = guides.Normal(nn.Identity())
    x = 100 + 20 * torch.randn(400, 4, dtype=torch.float64).float()
    x[3, 1] = torch.nan
    seen = x[~x.isnan()].double()
    guide.adapt(x)
    q = guide(torch.nan_to_num(x[4:9]))
    expected = (x[4:9] - seen.mean().float()) / seen.std().float()
    torch.testing.assert_close(q.base_dist.loc, expected[:, :2])
    guide.adapt(torch.zeros(5, 4))
    torch.testing.assert_close(guide(x[4:9]).base_dist.loc, expected[:, :2])


@pytest.mark.parametrize("x", [torch.full((5, 3), 7.0), torch.full((1, 1), 7.0)], ids=["constant", "one cell"])
def test_a_guide_does_not_divide_by_a_spread_of_nothing(x):
    guide = guides.Normal(nn.Identity())
    guide.adapt(x)
    assert guide.shift == 7
    assert guide.spread == 1


def test_half_the_squared_error_is_the_normal_likelihood_with_scale_one():
    z, x = torch.randn(6, 3), torch.randn(6, 4)
    part = likelihoods.Normal(networks.MLP(3, (), 4))
    squared = (x - part.network(z)).square().sum(-1)
    torch.testing.assert_close(-part(z).log_prob(x), squared / 2 + 2 * math.log(2 * math.pi))


def test_cross_entropy_is_the_bernoulli_likelihood():
    z, x = torch.randn(6, 3), (torch.rand(6, 4) > 0.5).float()
    part = likelihoods.Bernoulli(networks.MLP(3, (), 4))
    entropy = nn.functional.binary_cross_entropy_with_logits(part.network(z), x, reduction="none").sum(-1)
    torch.testing.assert_close(-part(z).log_prob(x), entropy)


def test_a_scale_for_each_channel_of_an_image():
    part = likelihoods.Normal(networks.Conv(3, (4,), (2, 5, 6)), torch.tensor([0.5, 2.0]).reshape(2, 1, 1))
    fn = part(torch.zeros(4, 3))
    assert tuple(fn.batch_shape) == (4,)
    assert tuple(fn.event_shape) == (2, 5, 6)
    torch.testing.assert_close(fn.variance[:, 0], torch.full((4, 5, 6), 0.25))
    torch.testing.assert_close(fn.variance[:, 1], torch.full((4, 5, 6), 4.0))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: priors.Normal(0), ValueError, r"priors.Normal: size .*expected a whole number of at least 1, got 0"),
        (lambda: priors.Normal(2.0), ValueError, r"got 2\.0"),
        (lambda: priors.Normal(True), ValueError, "got True"),
        (lambda: likelihoods.Binomial(0, nn.Identity()), ValueError, "Binomial: total .* at least 1, got 0"),
        (lambda: likelihoods.Binomial(nn.Identity(), 16), TypeError, "Binomial: expected a network, .*got int"),
        (lambda: likelihoods.Bernoulli(nn.Linear), TypeError, "Bernoulli: expected a network, .*got Linear"),
        (lambda: guides.Normal(None), TypeError, r"guides.Normal: expected a network, .*got NoneType"),
        (lambda: guides.Normal(nn.Linear), TypeError, "guides.Normal: expected a network, .*got Linear"),
        (lambda: likelihoods.Normal(nn.Identity(), 0.0), ValueError, r"expected a positive, finite scale, got 0\.0"),
        (lambda: likelihoods.Normal(nn.Identity(), math.inf), ValueError, "positive, finite scale, got inf"),
        (lambda: likelihoods.Normal(nn.Identity(), torch.tensor([1.0, -1.0])), ValueError, "positive, finite scale"),
        (lambda: likelihoods.Normal(nn.Identity(), "1"), TypeError, "a number, a tensor or a network of z as scale"),
        (
            lambda: likelihoods.Normal(nn.Identity(), nn.Identity(), learn_scale=True),
            ValueError,
            "learn_scale is for a number or a tensor",
        ),
        (
            lambda: likelihoods.Normal(nn.Identity(), torch.ones(3))(torch.zeros(5, 4)),
            ValueError,
            r"a scale of shape \(3,\) does not fit a datum of shape \(4,\)",
        ),
        (
            lambda: likelihoods.Normal(nn.Identity(), torch.ones(5, 4))(torch.zeros(5, 4)),
            ValueError,
            r"a scale of shape \(5, 4\) does not fit a datum of shape \(4,\)",
        ),
        (
            lambda: likelihoods.Normal(nn.Identity(), networks.MLP(4, (), 3))(torch.zeros(5, 4)),
            ValueError,
            r"a scale of shape \(3,\) does not fit a datum of shape \(4,\)",
        ),
        (lambda: guides.Normal(nn.Identity())(torch.zeros(5, 3)), ValueError, r"2 · latents outputs .*got 3"),
        (
            lambda: guides.MultivariateNormal(nn.Identity())(torch.zeros(5, 4)),
            ValueError,
            r"m \+ m\(m \+ 1\)/2 outputs .*got 4",
        ),
        (
            lambda: guides.Normal(nn.Identity()).adapt(torch.full((2, 3), torch.nan)),
            ValueError,
            r"every value of the data, of shape \(2, 3\), is missing",
        ),
    ],
)
def test_what_cannot_be_a_part_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_sizes_may_be_numpys():
    assert tuple(priors.Normal(np.int64(3))().event_shape) == (3,)
    assert likelihoods.Binomial(np.int32(16), nn.Identity()).total == 16
