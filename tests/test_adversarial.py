"""Objectives with a critic: each player's gradient by hand, the critic's optimum, and `fit` and SVI with one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

import pyrovae as pv
from pyrovae.objectives import Adversarial, LearnedSimilarity
from pyrovae.objectives._frozen import frozen
from pyrovae.svi.optimizers import make_optimizer

D, L, F = 5, 2, 3
MLP = pv.networks.MLP


def program(guide: str = "Normal", loss: Any = None) -> pv.VAE:
    torch.manual_seed(1)
    family = getattr(pv.guides, guide)
    return pv.VAE(
        pv.priors.Normal(L),
        pv.likelihoods.Normal(MLP(L, (6,), D), 0.7),
        family(MLP(D, (6,), family.outputs(L))),
        loss=loss,
    )


def players(vae: pv.VAE) -> tuple[list[Tensor], list[Tensor]]:
    return [*vae.parts["guide"].parameters()], [*vae.parts["likelihood"].parameters()]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(7, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture(autouse=True)
def store() -> Iterator[None]:
    with pyro.get_param_store().scope():
        yield


def same(gradients: Any, parameters: list[Tensor]) -> None:
    for by_hand, parameter in zip(gradients, parameters, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, by_hand, rtol=0, atol=1e-10)


def differentiated(objective: Any, vae: pv.VAE, x: Tensor) -> float:
    torch.manual_seed(5)
    loss = objective.differentiable_loss(vae.model, vae.guide, x)
    loss.backward()
    return float(loss.detach())


@pytest.mark.parametrize(("guide", "kl"), [("Normal", 0.0), ("Normal", 0.5), ("Delta", 0.0)])
def test_each_player_gets_the_gradient_of_its_own_loss(guide: str, kl: float, x: Tensor) -> None:
    vae = program(guide).double()
    objective = Adversarial(MLP(L, (4,), 1), weight=2, kl=kl).double()
    loss = differentiated(objective, vae, x)

    torch.manual_seed(5)
    q = vae.encode(x)
    z, prior = q.rsample(), vae._p()
    drawn = prior.sample((len(x),))
    fit = vae._likelihood(z).log_prob(x).sum()
    reward = logsigmoid(objective.critic(z)).sum()
    penalty = kl * torch.distributions.kl_divergence(q, prior).sum() if kl else 0.0
    own = -logsigmoid(objective.critic(drawn)).sum() - logsigmoid(-objective.critic(z.detach())).sum()
    encoder, decoder = players(vae)
    lost = -(fit + 2 * reward - penalty)
    same(torch.autograd.grad(lost, encoder, retain_graph=True), encoder)
    same(torch.autograd.grad(-fit, decoder, retain_graph=True), decoder)
    critic = [*objective.critic.parameters()]
    same(torch.autograd.grad(own, critic), critic)
    assert loss == pytest.approx(float(lost.detach()), abs=1e-10)  # without the critic's
    assert objective.loss(vae.model, vae.guide, x) != loss  # on other draws
    found = objective.measures()
    assert found["critic"] == pytest.approx(float(own.detach()) / 7)
    assert found["distortion"] == pytest.approx(-float(fit.detach()) / 7)
    assert ("kl" in found) == (kl > 0)


def test_vae_gan_players_get_the_gradients_of_algorithm_1(x: Tensor) -> None:
    vae = program().double()
    objective = LearnedSimilarity(MLP(D, (), F), MLP(F, (4,), 1), weight=0.25, kl=2).double()
    loss = differentiated(objective, vae, x)

    torch.manual_seed(5)
    f, critic = objective.features, objective.critic
    q = vae.encode(x)
    z = q.rsample()
    drawn = vae._p().sample((len(x),))

    def mean(z: Tensor) -> Tensor:
        return vae._likelihood(z).mean

    def similarity() -> Tensor:
        return dist.Normal(f(mean(z)), 1.0).log_prob(f(x)).sum()

    kl = torch.distributions.kl_divergence(q, vae._p()).sum()
    encoder, decoder = players(vae)
    same(torch.autograd.grad(-(similarity() - 2 * kl), encoder, retain_graph=True), encoder)
    reward = logsigmoid(critic(f(mean(z)))).sum() + logsigmoid(critic(f(mean(drawn)))).sum()
    same(torch.autograd.grad(-(0.25 * similarity() + reward), decoder, retain_graph=True), decoder)
    fakes = [mean(z).detach(), mean(drawn).detach()]
    own = -logsigmoid(critic(f(x))).sum() - sum(logsigmoid(-critic(f(fake))).sum() for fake in fakes)
    theirs = [*f.parameters(), *critic.parameters()]
    same(torch.autograd.grad(own, theirs), theirs)
    elbo = vae._likelihood(z).log_prob(x).sum() - kl
    assert loss == pytest.approx(-float(elbo.detach()), abs=1e-10)  # the program's own
    assert objective.measures()["similarity"] == pytest.approx(float(similarity().detach()) / 7)


@pytest.mark.parametrize("own", [False, True])
def test_batches_of_a_plate_are_weighted_by_its_scale(own: bool, x: Tensor) -> None:
    """28 data, 7 of them here, in a program that subsamples its plate itself."""
    vae = program().double()

    def inside(method: Callable[..., Any]) -> Callable[..., Any]:
        models = method == vae.model

        def run(x: Tensor) -> None:
            with pyro.plate("rows", 28, subsample=torch.arange(7)):
                z = pyro.sample("z", vae._p() if models else vae._q(x))
                if models:
                    pyro.sample("x", vae._likelihood(z), obs=x)

        return run

    make: Any = Adversarial(MLP(L, (4,), 1)) if own else LearnedSimilarity(MLP(D, (), F), MLP(F, (), 1))
    objective = make.double()
    whole = differentiated(objective, vae, x)
    before = [p.grad.clone() for p in (*vae.parameters(), *objective.parameters())]
    for p in (*vae.parameters(), *objective.parameters()):
        p.grad = None
    torch.manual_seed(5)
    loss = objective.differentiable_loss(inside(vae.model), inside(vae.guide), x)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(4 * whole, abs=1e-10)
    for p, gradient in zip((*vae.parameters(), *objective.parameters()), before, strict=True):
        torch.testing.assert_close(p.grad, 4 * gradient, rtol=0, atol=1e-10)


class Quadratic(nn.Module):
    """a + b z + c z²: holds the log ratio of any two Normals."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3))

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(z), z, z**2], 1) @ self.weights.unsqueeze(1)


def fixed(loss: Any) -> pv.VAE:
    """q(z|x) = N(.5, .8²) for all x, and nothing to learn but a critic."""
    return pv.VAE(
        lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1),
        lambda z: dist.Normal(z, 1.0).to_event(1),
        lambda x: dist.Normal(0.5 + 0 * x, 0.8).to_event(1),
        loss=loss,
    )


def test_the_best_critic_is_the_log_density_ratio() -> None:
    """log N(z; 0, 1) − log N(z; m, s²) = a + b z + c z²; its loss is convex in a, b and c, and the slope there is 0.

    What it loses there is 2 log 2 − 2 JS, by quadrature.
    """
    a, b, c = np.log(0.8) + 0.5**2 / (2 * 0.64), -0.5 / 0.64, 1 / (2 * 0.64) - 0.5
    critic = Quadratic()
    objective = Adversarial(critic)
    vae = fixed(objective)
    with torch.no_grad():
        critic.weights.copy_(torch.tensor([a, b, c]))
    slopes, losses = [], []
    for _ in range(200):
        critic.weights.grad = None
        objective.differentiable_loss(vae.model, vae.guide, torch.zeros(200, 1)).backward()
        slopes.append(critic.weights.grad / 200)
        losses.append(objective.measures()["critic"])
    mean, error = torch.stack(slopes).mean(0), torch.stack(slopes).std(0) / 200**0.5
    assert (mean.abs() < 4 * error).all()
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    p, q = dist.Normal(0.0, 1.0).log_prob(z), dist.Normal(0.5, 0.8).log_prob(z)
    torch.testing.assert_close(critic(z.float().unsqueeze(1)).double()[:, 0], p - q, rtol=0, atol=1e-4)
    exact = -torch.trapezoid(p.exp() * logsigmoid(p - q) + q.exp() * logsigmoid(q - p), z)
    assert abs(np.mean(losses) - float(exact)) < 4 * np.std(losses) / 200**0.5
    with torch.no_grad():
        critic.weights.add_(torch.tensor([0.0, 0.3, 0.0]))
    objective.differentiable_loss(vae.model, vae.guide, torch.zeros(40000, 1)).backward()
    assert objective.measures()["critic"] > float(exact)


def test_a_critic_of_two_latents_sees_them_side_by_side(x: Tensor) -> None:
    seen = []

    class Critic(nn.Linear):
        def forward(self, z: Tensor) -> Tensor:
            seen.append(z.shape)
            return super().forward(z)

    net = nn.Linear(D, 3).double()

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(a.sum(-1), 1.0))
            pyro.sample("x", dist.Normal(b.unsqueeze(-1).expand(x.shape), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        loc = net(x)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(loc[:, :2], 0.5).to_event(1))
            pyro.sample("b", dist.Normal(loc[:, 2], 0.5))

    objective = Adversarial(Critic(3, 1)).double()
    pv.fit(pv.Program(model, guide), x, loss=objective, epochs=1, progress=False)
    assert {tuple(s)[1] for s in seen} == {3}


def make_fit(objective: Any, x: Tensor, **settings: Any) -> pv.Fit:
    return pv.fit(program(loss=objective), x.float(), progress=False, **{"epochs": 4, "batch_size": 4, **settings})


OBJECTIVES: dict[str, Callable[[], Any]] = {
    "latents": lambda: Adversarial(MLP(L, (4,), 1, norm="batch"), weight=2, rate=0.5),
    "data": lambda: LearnedSimilarity(MLP(D, (8,), F), MLP(F, (4,), 1), rate=0.5),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_interrupted_run_goes_on_to_the_same_bits(name: str, x: Tensor, tmp_path: Path) -> None:
    def run(folder: Path | None, *callbacks: Any) -> tuple[pv.Fit, Any]:
        torch.manual_seed(0)
        objective = OBJECTIVES[name]()
        settings = {"restarts": 2, "resume": folder, "checkpoint_seconds": 0, "callbacks": callbacks}
        return make_fit(objective, x, **settings), objective

    def interrupt(end: pv.EpochEnd) -> None:
        if (end.chain, end.epoch) == (1, 2):
            raise KeyboardInterrupt

    whole, first = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupt)
    resumed, second = run(tmp_path)
    for ours, theirs in zip(whole.chains, resumed.chains, strict=True):
        for key in ours:
            assert torch.equal(ours[key], theirs[key])
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    assert whole.history.drop_vars("seconds").identical(resumed.history.drop_vars("seconds"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_saved_fit_does_without_the_critic(name: str, x: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    fit = make_fit(OBJECTIVES[name](), x, validation=x[:3].float())
    assert not any("critic" in key for key in fit.program.weights())
    fit.save(tmp_path / "run")
    read = pv.load(tmp_path / "run", program())
    for key, value in fit.program.weights().items():
        assert torch.equal(value, read.program.weights()[key])
    assert {"critic", "distortion", "reward"} <= set(read.history)


def test_restarts_draw_a_new_critic(x: Tensor) -> None:
    first = []

    def look(end: pv.EpochEnd) -> None:
        if end.epoch == 0:
            first.append(objective.critic.layers[0].weight.detach().clone())

    torch.manual_seed(0)
    objective = Adversarial(MLP(L, (4,), 1))
    start = objective.critic.layers[0].weight.detach().clone()
    make_fit(objective, x, restarts=2, callbacks=[look], lr=1e-6)
    torch.testing.assert_close(first[0], start, rtol=0, atol=1e-4)
    assert (first[1] - start).abs().max() > 0.1


def test_validation_leaves_the_critic_as_it_is(x: Tensor) -> None:
    objective = OBJECTIVES["latents"]()
    vae = program()
    state = copy.deepcopy(objective.state_dict())
    assert objective.training
    objective.loss(vae.model, vae.guide, x.float())
    assert objective.training
    assert all(torch.equal(value, state[key]) for key, value in objective.state_dict().items())


@pytest.mark.parametrize("schedule", [None, "cosine"])
def test_the_critic_may_learn_at_its_own_rate(schedule: str | None, x: Tensor) -> None:
    """A step of gradient descent moves it by rate times as much, and the program as before."""

    def moved(rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(0)
        objective = Adversarial(MLP(L, (4,), 1), rate=rate)
        start = objective.critic.layers[0].weight.detach().clone()
        settings = {"optimizer": torch.optim.SGD, "lr": 1e-3, "epochs": 1, "batch_size": 7, "schedule": schedule}
        fit = make_fit(objective, x, **settings)
        assert float(fit.history["learning_rate"][0, 0]) == 1e-3
        return objective.critic.layers[0].weight.detach() - start, fit.chains[0]

    plain, ours = moved(1.0)
    slow, theirs = moved(0.25)
    torch.testing.assert_close(slow, 0.25 * plain, rtol=1e-3, atol=1e-7)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_groups_of_parameters_have_their_rates() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1}, {"params": [nn.Parameter(torch.zeros(1))]}]
    assert [g["lr"] for g in make_optimizer(torch.optim.Adam, groups, 0.2).param_groups] == [0.1, 0.2]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_pyro_alone_trains_it(name: str, x: Tensor) -> None:
    objective, vae = OBJECTIVES[name](), program()
    before = [p.detach().clone() for p in (*objective.parameters(), *vae.parameters())]
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), objective)
    losses = [svi.step(x.float()) for _ in range(5)]
    assert np.isfinite([*losses, svi.evaluate_loss(x.float())]).all()
    after = [*objective.parameters(), *vae.parameters()]
    assert all((p - old).abs().max() > 1e-3 for p, old in zip(after, before, strict=True))


def test_a_module_is_frozen_in_the_block_alone() -> None:
    layer = nn.Linear(2, 1)
    layer.bias.requires_grad_(False)
    with frozen(layer, layer):
        assert not any(p.requires_grad for p in layer.parameters())
    assert layer.weight.requires_grad
    with pytest.raises(KeyError), frozen(layer):
        raise KeyError
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False)


CRITIC = MLP(L, (), 1)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a function": (lambda: Adversarial(lambda z: z), "critic: expected a torch.nn.Module"),
    "a class": (lambda: Adversarial(MLP), "got the class MLP"),
    "closed": (lambda: Adversarial(MLP(L, (), 1).requires_grad_(False)), "no parameter that requires a gradient"),
    "weight": (lambda: Adversarial(CRITIC, weight=-1), "weight: expected a number of at least 0, got -1"),
    "kl": (lambda: Adversarial(CRITIC, kl=-1), "kl: expected a number of at least 0"),
    "rate": (lambda: Adversarial(CRITIC, rate=0), "rate: expected a positive number, got 0"),
    "outputs": (lambda: program(loss=Adversarial(MLP(L, (), 2))), r"expected logits of shape \(2, 1\), got \(2, 2\)"),
    "one dimension": (
        lambda: program(loss=Adversarial(nn.Sequential(MLP(L, (), 1), nn.Flatten(0)))),
        r"expected logits of shape \(2, 1\), got \(2,\)",
    ),
    "inputs": (lambda: program(loss=Adversarial(nn.Linear(3, 1))), "must take the 2 latents"),
    "type": (lambda: program(loss=Adversarial(nn.Linear(L, 1).double())), "in the program's type"),
    "kl of a point": (lambda: program("Delta", Adversarial(CRITIC, kl=1)), "whose KL to the prior is infinite"),
    "a point": (
        lambda: program("Delta", LearnedSimilarity(MLP(D, (), F), MLP(F, (), 1))),
        "is a point, whose KL to the prior is infinite",
    ),
    "features": (lambda: LearnedSimilarity(len, CRITIC), "features: expected a torch.nn.Module"),
    "gamma": (lambda: LearnedSimilarity(MLP(D, (), F), MLP(F, (), 1), weight=-1), "weight: expected a number of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_game_is_refused_at_construction(name: str) -> None:
    make, says = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=says):
        make()


def discrete() -> pv.VAE:
    return pv.VAE(
        pv.priors.Bernoulli(L),
        pv.likelihoods.Normal(MLP(L, (), D), 0.7),
        pv.guides.Bernoulli(MLP(D, (), L), estimator="score"),
    )


def test_draws_without_a_gradient_are_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match="needs a gradient through each draw"):
        pv.fit(discrete(), x.float(), loss=Adversarial(CRITIC), epochs=1, progress=False)
    svi = SVI(discrete().model, discrete().guide, pyro.optim.Adam({}), Adversarial(CRITIC))
    with pytest.raises(ValueError, match="needs a gradient through each draw"):
        svi.step(x.float())


@pytest.mark.parametrize(
    ("features", "critic", "says"),
    [
        (MLP(D, (), F), MLP(F + 1, (), 1), "expected 4 features in the last dimension"),
        (nn.Linear(D + 1, F), MLP(F, (), 1), "must fit the data and each other"),
        (MLP(D, (), F), MLP(F, (), 2), r"expected logits of shape \(2, 1\), got \(2, 2\)"),
        (nn.Sequential(nn.Unflatten(1, (1, D)), nn.Conv1d(1, 2, 3)), MLP(F, (), 1), "end it with torch.nn.Flatten"),
    ],
)
def test_networks_that_do_not_fit_the_data_are_refused(features: Any, critic: Any, says: str, x: Tensor) -> None:
    with pytest.raises(ValueError, match=says):
        make_fit(LearnedSimilarity(features, critic), x)


def test_a_critic_of_data_needs_whole_data_and_one_site_with_a_mean(x: Tensor) -> None:
    holes = x.float().clone()
    holes[0, 0] = torch.nan
    objective = LearnedSimilarity(MLP(D, (), F), MLP(F, (), 1))
    guide = pv.guides.Normal(MLP(D, (), 2 * L, mask=True))
    vae = pv.VAE(pv.priors.Normal(L), pv.likelihoods.Normal(MLP(L, (), D), 0.7), guide, loss=objective)
    with pytest.raises(ValueError, match="needs whole ones"):
        pv.fit(vae, holes, epochs=1, progress=False)

    def twice(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(L), 1.0).to_event(1))
            for name in ("x", "y"):
                pyro.sample(name, dist.Normal(z.sum(-1, keepdim=True).expand(x.shape), 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="observes one site, got 2"):
        pv.fit(pv.Program(twice, program().guide), x.float(), loss=objective, epochs=1, progress=False)

    def own(x: Tensor) -> None:
        with pyro.plate("data", 3 * len(x), subsample_size=len(x)) as rows:
            z = pyro.sample("z", dist.Normal(torch.zeros(L), 1.0).to_event(1))
            y = rows.float().unsqueeze(-1).expand(x.shape)
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(x.shape), 1.0).to_event(1), obs=y)

    with pytest.raises(ValueError, match="runs on other data each time"):
        objective.differentiable_loss(own, own_guide, x.float())


def own_guide(x: Tensor) -> None:
    with pyro.plate("data", 3 * len(x), subsample_size=len(x)):
        pyro.sample("z", dist.Normal(x[:, :L], 1.0).to_event(1))


def test_a_learned_scale_would_not_be_trained(x: Tensor) -> None:
    learned = pv.likelihoods.Normal(MLP(L, (), D), 0.7, learn_scale=True)
    objective = LearnedSimilarity(MLP(D, (), F), MLP(F, (), 1))
    vae = pv.VAE(pv.priors.Normal(L), learned, pv.guides.Normal(MLP(D, (), 2 * L)), loss=objective)
    with pytest.raises(ValueError, match=r"no gradient reached the parameter .*log_scale"):
        pv.fit(vae, x.float(), epochs=1, progress=False)
