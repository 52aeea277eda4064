"""The objective that compares the aggregate of the codes with the prior: value, gradient, and what it works with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko
from pyro import poutine
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import Tensor, nn

import pyrovae as pv
from pyrovae.objectives import MMD, RBF, Discrepancy, Energy, InverseMultiquadratic, SlicedWasserstein
from pyrovae.schedules import linear
from tests.programs import bayesian_decoder, gaussian, hierarchy

FEATURES, LATENTS = 4, 2


def vae(loss: Any = None, *, prior: Any = None, guide: Any = None, context: int = 0) -> pv.VAE:
    inputs = pv.networks.MLP(FEATURES, (8,), 2 * LATENTS)
    return pv.VAE(
        prior or pv.priors.Normal(LATENTS),
        pv.likelihoods.Normal(pv.networks.MLP(LATENTS, (8,), FEATURES, context=context), 1.0),
        guide or pv.guides.Normal(inputs),
        loss=loss,
    )


def point(support: Any = dist.constraints.real) -> pv.guides.Delta:
    return pv.guides.Delta(pv.networks.MLP(FEATURES, (8,), LATENTS), support=support)


def with_delta(loss: Any) -> pv.VAE:
    return vae(loss, guide=point())


def short(program: Any, x: Any = None, **settings: Any) -> pv.Fit:
    settings = {"epochs": 2, "batch_size": 20, "progress": False} | settings
    return pv.fit(program, gaussian(60) if x is None else x, **settings)


def squared_means(codes: Tensor, draws: Tensor | None) -> Tensor:
    """A distance of the user's own: of the means alone."""
    assert draws is not None
    return (codes.mean(0) - draws.mean(0)).square().sum()


# the value


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("kl", [0.0, 0.3])
def test_value_is_its_three_terms(particles: int, kl: float) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def distance(codes: Tensor, draws: Tensor) -> Tensor:
        seen.append((codes, draws))
        return squared_means(codes, draws)

    loss, x = Discrepancy(distance, 5.0, kl, particles=particles), gaussian(7)
    program = vae()
    with program.scope():
        terms = loss.terms(program.model, program.guide, x)
        value = loss.value(terms)
    assert [tuple(c.shape) for c, _ in seen] == particles * [(7, LATENTS)]
    for (codes, draws), z in zip(seen, terms.codes(), strict=True):
        torch.testing.assert_close(codes, z)
        assert draws.shape == (7, LATENTS)
    assert len({float(draws.detach().sum()) for _, draws in seen}) == particles
    squared = sum(squared_means(c, d) for c, d in seen) / particles
    q = program.encode(x).base_dist
    exact_kl = -0.5 * (1 + (q.scale**2).log() - q.loc**2 - q.scale**2).sum()
    expected = terms.log_lik.sum() / particles - kl * exact_kl - 5.0 * 7 * squared
    torch.testing.assert_close(value, expected)
    found = loss.measures()
    assert found["distortion"] == pytest.approx(-float(terms.log_lik.detach().mean()), rel=1e-5)
    assert found["discrepancy"] == pytest.approx(float(squared.detach()), rel=1e-5)
    assert found["kl"] == pytest.approx(float(exact_kl.detach()) / 7, rel=1e-5)
    assert (found["weight"], found["kl_weight"]) == (5.0, pytest.approx(kl))


def test_the_prior_is_drawn_anew_each_time() -> None:
    drawn: list[Tensor] = []

    def distance(codes: Tensor, draws: Tensor) -> Tensor:
        drawn.append(draws)
        return squared_means(codes, draws)

    loss, program = Discrepancy(distance), with_delta(None)
    with program.scope():
        values = [loss.loss(program.model, program.guide, gaussian(6)) for _ in range(3)]
    assert len(set(values)) == len({float(d.sum()) for d in drawn}) == 3


def gradients(loss: Any, program: pv.VAE, x: Tensor) -> tuple[float, list[Tensor]]:
    torch.manual_seed(3)
    with program.scope():
        value = loss.differentiable_loss(program.model, program.guide, x)
        return float(value.detach()), list(torch.autograd.grad(value, list(program.parameters())))


def test_without_a_distance_and_with_a_kl_of_1_it_is_the_elbo() -> None:
    program, x = vae().double(), gaussian(9).double()
    ours = gradients(Discrepancy(squared_means, 0.0, 1.0), program, x)
    theirs = gradients(TraceMeanField_ELBO(), program, x)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("guide", ["normal", "point"])
@pytest.mark.parametrize("distance", [MMD(), Energy(closed=True), SlicedWasserstein(5)], ids=repr)
def test_gradient_of_the_whole_is_that_of_differences(distance: Any, guide: str) -> None:
    loss = Discrepancy(distance, 3.0, 0.5 if guide == "normal" else 0.0)
    program, x = vae(guide=point() if guide == "point" else None).double(), gaussian(6).double()
    _, found = gradients(loss, program, x)
    for parameter, gradient in zip(program.parameters(), found, strict=True):
        at, step = divmod(5, parameter.shape[-1]) if parameter.dim() > 1 else (0, 0), 1e-5
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[at if parameter.dim() > 1 else 0] += sign * step
            sides.append(gradients(loss, program, x)[0])
            with torch.no_grad():
                parameter[at if parameter.dim() > 1 else 0] -= sign * step
        own = gradient[at if parameter.dim() > 1 else 0]
        assert float(own) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-6)


def test_the_scale_of_the_plate_multiplies_the_whole() -> None:
    program, x = vae(), gaussian(8)
    loss = Discrepancy(MMD(), 20.0, 0.5)
    plain = gradients(loss, program, x)[0]

    def scaled(fn: Callable[..., Any]) -> Callable[..., Any]:
        return poutine.scale(fn, scale=7.0)

    torch.manual_seed(3)
    with program.scope():
        value = loss.differentiable_loss(scaled(program.model), scaled(program.guide), x)
    assert float(value.detach()) == pytest.approx(7 * plain, rel=1e-6)


def subsampled(size: int | None) -> pv.Program:
    """A program whose plate says that its data are a part of ``size``."""
    encoder, decoder = pv.networks.MLP(FEATURES, (), 2 * LATENTS), pv.networks.MLP(LATENTS, (), FEATURES)

    def plate(x: Tensor) -> Any:
        return pyro.plate("data", size or len(x), subsample=torch.arange(len(x)) if size else None)

    def model(x: Tensor) -> None:
        network = pyro.module("decoder", decoder)
        with plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(network(z), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        loc, raw = pyro.module("encoder", encoder)(x).chunk(2, -1)
        with plate(x):
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw)).to_event(1))

    return pv.Program(model, guide)


def test_a_subsample_stands_for_all_data() -> None:
    loss, x, values = Discrepancy(MMD(), 20.0, 0.5), gaussian(10), []
    for size in (None, 80):
        torch.manual_seed(1)
        program = subsampled(size)
        torch.manual_seed(3)
        with program.scope():
            values.append(float(loss.differentiable_loss(program.model, program.guide, x).detach()))
    assert values[1] == pytest.approx(8 * values[0], rel=1e-6)


def test_history_adds_up_whatever_the_batches() -> None:
    program = vae(Discrepancy(Energy(), linear(1, 30, epochs=4), linear(1, 0.1, epochs=4)))
    history = short(program, gaussian(70), epochs=4, batch_size=32, validation=gaussian(20, seed=1)).history.isel(
        chain=0
    )
    assert history.attrs["objective"] == "Energy objective (weight = 30, kl = 0.1)"
    np.testing.assert_allclose(history["weight"], [1, 32 / 3, 61 / 3, 30], rtol=1e-6)
    np.testing.assert_allclose(history["kl_weight"], [1, 0.7, 0.4, 0.1], rtol=1e-6)
    total = -history["distortion"] - history["kl_weight"] * history["kl"] - history["weight"] * history["discrepancy"]
    np.testing.assert_allclose(history["elbo"], total, rtol=1e-5)
    assert np.isfinite(history["elbo_validation"]).all()


def test_the_kl_is_shown_where_there_is_one() -> None:
    assert "kl" in short(vae(Discrepancy(MMD()))).history
    assert "kl" not in short(with_delta(Discrepancy(MMD()))).history


# training


@pytest.mark.parametrize(
    "distance",
    [MMD(), MMD(InverseMultiquadratic()), MMD(closed=True), Energy(), Energy(closed=True)],
    ids=repr,
)
def test_training_brings_the_distance_to_the_noise(distance: Any) -> None:
    x = 3 * gaussian(256) + 4
    program = pv.VAE(
        pv.priors.Normal(LATENTS),
        pv.likelihoods.Normal(pv.networks.MLP(LATENTS, (), FEATURES), 1.0, learn_scale=True),
        pv.guides.Delta(pv.networks.MLP(FEATURES, (), LATENTS)),
        loss=Discrepancy(distance, 100.0),
    )
    with torch.no_grad():  # codes that lie far from the prior
        for parameter in program.parts["guide"].parameters():
            parameter.add_(1.5 * torch.randn_like(parameter))
    fit = short(program, x, epochs=50, batch_size=64, lr=0.03)
    found = fit.history["discrepancy"].values[0]
    noise = float(torch.stack([distance(torch.randn(64, 2), torch.randn(64, 2)) for _ in range(200)]).std())
    assert found[0] > 10 * noise
    assert abs(found[-10:].mean()) < 4 * noise


def test_pyros_own_svi_takes_it() -> None:
    program, x = with_delta(None), gaussian(30)
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 0.01}), Discrepancy(MMD(), 10.0))
    losses = [svi.step(x) for _ in range(30)]
    assert losses[-1] < losses[0]
    pyro.clear_param_store()


# what it works with


def frozen_vamp() -> pv.priors.VampPrior:
    prior = pv.priors.VampPrior(5, FEATURES)
    prior.inputs.requires_grad_(False)
    return prior


PRIORS: dict[str, Callable[[], Any]] = {
    "Normal, learned": lambda: pv.priors.Normal(LATENTS, learned=True),
    "Laplace": lambda: pv.priors.Laplace(LATENTS),
    "GaussianMixture": lambda: pv.priors.GaussianMixture(3, LATENTS, loc=torch.randn(3, LATENTS), learned=False),
    "VampPrior": frozen_vamp,
    "Flow": lambda: pv.priors.Flow(zuko.flows.NSF(LATENTS, transforms=1, hidden_features=(8,))),
    "a function": lambda: lambda: dist.StudentT(5.0, torch.zeros(LATENTS), 1.0).to_event(1),
}


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("distance", [MMD(), SlicedWasserstein(5)], ids=repr)
def test_any_prior(name: str, distance: Any) -> None:
    fit = short(vae(Discrepancy(distance, 10.0), prior=PRIORS[name](), guide=point()), epochs=1)
    assert np.isfinite(fit.history["discrepancy"]).all()


def test_a_mixture_is_learned_by_the_kl_only() -> None:
    assert np.isfinite(
        short(vae(Discrepancy(MMD(), kl=1.0), prior=pv.priors.VampPrior(5, FEATURES))).history["kl"]
    ).all()
    with pytest.raises(ValueError, match="no gradient reached the parameter.*prior.inputs"):
        short(vae(Discrepancy(MMD()), prior=pv.priors.VampPrior(5, FEATURES)))


def test_a_prior_given_a_context() -> None:
    context = torch.randn(60, 3)
    prior = pv.priors.Conditional(pv.guides.Normal(pv.networks.MLP(3, (), 2 * LATENTS)))
    fit = short(vae(Discrepancy(MMD(), 10.0), prior=prior, guide=point(), context=3), context=context)
    assert np.isfinite(fit.history["discrepancy"]).all()


GUIDES: dict[str, Callable[[], Any]] = {
    "MultivariateNormal": lambda: pv.guides.MultivariateNormal(pv.networks.MLP(FEATURES, (), 5)),
    "Delta": point,
    "Normal": lambda: pv.guides.Normal(pv.networks.MLP(FEATURES, (), 4)),
    "a function": lambda: lambda x: dist.Normal(x[:, :2], 1.0).to_event(1),
}


@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize("particles", [1, 3])
def test_any_continuous_guide(name: str, particles: int) -> None:
    loss = Discrepancy(Energy(closed=True), 10.0, 0.1 if name != "Delta" else 0.0, particles=particles)
    assert np.isfinite(short(vae(loss, guide=GUIDES[name]()), epochs=1).history["elbo"]).all()


def test_a_relaxed_guide() -> None:
    guide = pv.guides.RelaxedBernoulli(pv.networks.MLP(FEATURES, (), LATENTS), temperature=0.5)
    prior = pv.priors.RelaxedBernoulli(LATENTS, temperature=0.5)
    assert np.isfinite(short(vae(Discrepancy(MMD()), prior=prior, guide=guide)).history["discrepancy"]).all()


def test_a_point_on_another_support() -> None:
    prior = pv.priors.Gamma(LATENTS)
    program = vae(Discrepancy(MMD(), 10.0), prior=prior, guide=point(dist.constraints.positive))
    assert np.isfinite(short(program).history["discrepancy"]).all()
    with pytest.raises(ValueError, match="'z' is a point"):
        vae(Discrepancy(MMD(), kl=1.0), prior=prior, guide=point(dist.constraints.positive))


@pytest.mark.parametrize("particles", [1, 2])
def test_several_latents_stand_side_by_side(particles: int) -> None:
    shapes = []

    def distance(codes: Tensor, draws: Tensor) -> Tensor:
        shapes.append((codes.shape, draws.shape))
        return squared_means(codes, draws)

    fit = short(hierarchy(), loss=Discrepancy(distance, 5.0, 0.5, particles=particles), epochs=1)
    assert np.isfinite(fit.history["discrepancy"]).all()
    assert shapes[-1] == ((20, 3), (20, 3))


def test_latents_of_the_whole_data_stay_outside() -> None:
    fit = short(bayesian_decoder(), loss=Discrepancy(Energy(closed=True), 5.0, 1.0))
    assert np.isfinite(fit.history["discrepancy"]).all()


def test_restarts_and_checkpoints(tmp_path: Any) -> None:
    fit = short(with_delta(Discrepancy(MMD(), linear(0, 10, epochs=2))), restarts=2, resume=tmp_path)
    assert fit.history["discrepancy"].shape == (2, 2)


# what is refused


def discrete() -> pv.VAE:
    return vae(
        Discrepancy(MMD()),
        prior=pv.priors.Bernoulli(LATENTS),
        guide=pv.guides.Bernoulli(pv.networks.MLP(FEATURES, (), LATENTS)),
    )


def closed(prior: Any) -> pv.VAE:
    return vae(Discrepancy(Energy(closed=True)), prior=prior)


class Learned(nn.Module):
    """A kernel with a width that would be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.width = nn.Parameter(torch.ones(()))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a, b) / self.width)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (discrete, ValueError, "objectives.Discrepancy needs a gradient through each draw.*'z' .*Bernoulli"),
        (lambda: Discrepancy("mmd"), TypeError, "such as objectives.MMD.*'mmd'"),
        (lambda: Discrepancy(MMD), TypeError, r"the class MMD: write MMD\(\)"),
        (lambda: Discrepancy(None), TypeError, "expected a function of codes and draws"),
        (lambda: Discrepancy(MMD(Learned())), ValueError, "kernel.width of the distance would be trained.*freeze"),
        (lambda: Discrepancy(MMD(), -1.0), ValueError, "Discrepancy: weight: expected a number of at least 0, got -1"),
        (lambda: Discrepancy(MMD(), kl=-0.1), ValueError, "Discrepancy: kl: expected a number of at least 0"),
        (lambda: Discrepancy(MMD(), linear(1, -1, 3)), ValueError, "weight: expected a number of at least 0, got -1"),
        (lambda: Discrepancy(MMD(), "much"), TypeError, "weight: expected a number or a schedule"),
        (lambda: Discrepancy(MMD(), math.nan), ValueError, "weight: expected a finite number"),
        (lambda: Discrepancy(MMD(), particles=0), ValueError, "particles: expected a whole number of at least 1"),
        (lambda: with_delta(Discrepancy(MMD(), kl=1.0)), ValueError, "'z' is a point, whose KL is infinite.*kl is 1"),
        (lambda: with_delta(Discrepancy(MMD(), kl=linear(0, 1, 5))), ValueError, "is a point.*linear.*leave kl out"),
        (lambda: closed(pv.priors.Laplace(2)), ValueError, r"N\(0, I\).*'z' is another, Laplace: leave closed out"),
        (lambda: closed(pv.priors.Normal(2, scale=2.0)), ValueError, "prior of 'z' is another, Normal"),
        (lambda: closed(pv.priors.Normal(2, loc=0.1)), ValueError, "prior of 'z' is another"),
        (lambda: closed(pv.priors.GaussianMixture(2, 2)), ValueError, "prior of 'z' is another"),
        (lambda: vae(Discrepancy(lambda a, b: 1.0)), ValueError, r"tensor of shape \(\) with a gradient.*got 1.0"),
        (lambda: vae(Discrepancy(lambda a, b: a)), ValueError, r"expected <lambda> to return a tensor of shape \(\)"),
        (lambda: vae(Discrepancy(lambda a, b: b.sum())), ValueError, "got one without a gradient"),
        (lambda: vae(Discrepancy(lambda a: a.sum())), ValueError, "could not be computed of codes.*TypeError"),
        (
            lambda: vae(Discrepancy(MMD(lambda a, b: a))),
            ValueError,
            "could not be computed.*expected a kernel that makes",
        ),
    ],
)
def test_bad_input_is_refused_before_training(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_a_learned_normal_is_no_standard_normal() -> None:
    with pytest.raises(ValueError, match="leave closed out.*not learned"):
        closed(pv.priors.Normal(2, learned=True))  # though it is at first

    class Moving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(2))

        def forward(self) -> Any:
            return dist.Normal(self.loc + 0, 1.0).to_event(1)

    program = closed(Moving())  # which cannot be told without gradients
    with pytest.raises(ValueError, match="leave closed out"):
        short(program)


def test_a_frozen_kernel_is_taken() -> None:
    assert np.isfinite(short(vae(Discrepancy(MMD(Learned().requires_grad_(False))))).history["elbo"]).all()


@pytest.mark.parametrize("distance", [MMD(), Energy(), MMD(closed=True)], ids=repr)
def test_a_batch_of_one_is_refused_with_the_mend(distance: Any) -> None:
    program = with_delta(Discrepancy(distance))
    before = [p.detach().clone() for p in program.parameters()]
    with pytest.raises(ValueError, match="of 41 data in batches of 20 the last has 1: choose a batch_size"):
        short(program, gaussian(41))
    assert all(torch.equal(a, b) for a, b in zip(before, program.parameters(), strict=True))
    with program.scope(), pytest.raises(ValueError, match="at least 2 codes, and this batch has 1: choose"):
        program.loss.loss(program.model, program.guide, gaussian(1))


def test_a_batch_of_one_is_enough_for_other_distances() -> None:
    for distance in (MMD(unbiased=False), SlicedWasserstein(5), squared_means):
        assert np.isfinite(short(with_delta(Discrepancy(distance)), gaussian(41)).history["elbo"]).all()


def test_what_it_shows() -> None:
    assert repr(Discrepancy(MMD(RBF(2)), linear(0, 9, 5), 0.5)) == (
        "Discrepancy(MMD(RBF(2)), weight=linear(0, 9, epochs=5), kl=0.5)"
    )
    assert repr(Discrepancy(squared_means, 3)) == "Discrepancy(squared_means, weight=3, kl=0)"
    assert Discrepancy(squared_means, 3).label == "squared_means objective (weight = 3, kl = 0)"
