"""Total correlation: against a Gaussian's, brute force and the published weights; FactorVAE's players by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

import pyrovae as pv
from pyrovae.objectives import TotalCorrelation
from pyrovae.objectives.total_correlation import _stratified, aggregate

D, L = 5, 3
MLP = pv.networks.MLP


@pytest.fixture(autouse=True)
def store() -> Iterator[None]:
    with pyro.get_param_store().scope():
        yield


def program(loss: Any = None) -> pv.VAE:
    torch.manual_seed(1)
    return pv.VAE(
        pv.priors.Normal(L),
        pv.likelihoods.Normal(MLP(L, (6,), D), 0.7),
        pv.guides.Normal(MLP(D, (6,), 2 * L)),
        loss=loss,
    )


@pytest.fixture
def x() -> Tensor:
    return torch.randn(9, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def differentiated(objective: Any, vae: pv.VAE, x: Tensor) -> tuple[float, list[Tensor]]:
    torch.manual_seed(5)
    loss = objective.differentiable_loss(vae.model, vae.guide, x)
    parameters = [*vae.parameters(), *objective.parameters()]
    return float(loss.detach()), [*torch.autograd.grad(loss, parameters)]


def drawn(vae: pv.VAE, x: Tensor) -> tuple[Any, Tensor]:
    torch.manual_seed(5)
    q = vae.encode(x)
    return q.base_dist, q.rsample()


def by_hand(q: Any, z: Tensor, weight: Callable[[int, int], float]) -> tuple[Tensor, Tensor]:
    """log Σ_m w_im q(z_i|x_m) and Σ_j log Σ_m w_im q(z_ij|x_m), one density at a time."""
    joint, single = [], []
    for i in range(len(z)):
        each = [dist.Normal(q.loc[m], q.scale[m]).log_prob(z[i]).exp() for m in range(len(z))]
        joint.append(sum(weight(i, m) * each[m].prod() for m in range(len(z))).log())
        single.append(sum(weight(i, m) * each[m] for m in range(len(z))).log().sum())
    return torch.stack(joint), torch.stack(single)


# The aggregate


A = torch.tensor([[0.9, 0.4], [-0.3, 1.1]], dtype=torch.float64)
S = torch.tensor([0.7, 0.9], dtype=torch.float64)


def gaussian(n: int, seed: int) -> tuple[dist.Normal, Tensor]:
    """q(z|x) = N(A x, diag S²) of x ~ N(0, I), and a code of each: q(z) = N(0, A Aᵀ + diag S²)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    q = dist.Normal(x @ A.T, S.expand(n, 2))
    return q, q.loc + q.scale * torch.randn(n, 2, generator=generator, dtype=torch.float64)


COVARIANCE = A @ A.T + torch.diag(S**2)
EXACT_TC = float(0.5 * (COVARIANCE.diagonal().log().sum() - torch.logdet(COVARIANCE)))
EXACT_MI = float(0.5 * (torch.logdet(COVARIANCE) - (S**2).log().sum()))


def test_the_total_correlation_of_a_gaussian() -> None:
    """By all of 2,000 data: what is left of the bias, of the order 1/N, is far below the error of the mean."""
    q, z = gaussian(2000, 0)
    with torch.no_grad():
        joint, single = aggregate(q, z, _stratified(2000, 2000))
    for found, exact in ((joint - single, EXACT_TC), (q.log_prob(z).sum(-1) - joint, EXACT_MI)):
        assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / 2000**0.5


def test_the_bias_of_batches_and_its_direction() -> None:
    """The density of a batch has no bias, so its logarithm is too low: I too high, the less the larger the batch.

    The logarithm of the joint density varies most: TC is too low.
    """
    means = []
    for b in (4, 16, 64):
        found = []
        for seed in range(400 if b < 64 else 100):
            q, z = gaussian(b, seed + 1)
            joint, single = aggregate(q, z, _stratified(b, 100_000))
            found.append([float((q.log_prob(z).sum(-1) - joint).mean()), float((joint - single).mean())])
        mean, error = np.mean(found, 0), np.std(found, 0) / len(found) ** 0.5
        if b < 64:
            assert mean[0] > EXACT_MI + 4 * error[0]
            assert mean[1] < EXACT_TC - 4 * error[1]
        means.append(mean)
    assert means[0][0] > means[1][0] > means[2][0]
    assert means[0][1] < means[1][1] < means[2][1]


def test_the_density_of_a_batch_has_no_bias() -> None:
    """Σ_m w_m q(z|x_m) over all batches of 3 of 6 that hold the code's own datum is the mean over the 6."""
    q, z = gaussian(6, 1)
    density = q.log_prob(z[:1].unsqueeze(1))[0].sum(-1).exp()
    weights = _stratified(3, 6).exp()[0]
    batches = [(0, i, j) for i in range(1, 6) for j in range(i + 1, 6)]
    means = [float((weights * density[list(rows)]).sum()) for rows in batches]
    assert np.mean(means) == pytest.approx(float(density.mean()), abs=1e-12)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)


def test_stratified_weights_are_the_published_ones_averaged() -> None:
    """Those have 1/N for the code's own, (N − M)/(N M) for one of the M others, 1/M for the rest."""
    n, total = 5, 40
    m = n - 1
    published = (m - 1) / m * 1 / m + 1 / m * (total - m) / (total * m)
    weights = _stratified(n, total).exp()
    assert float(weights[0, 0]) == pytest.approx(1 / total, abs=1e-12)
    assert float(weights[0, 1]) == pytest.approx(published, abs=1e-12)
    torch.testing.assert_close(_stratified(7, 7).exp(), torch.full((7, 7), 1 / 7, dtype=torch.float64))


def test_validation_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    q, z = gaussian(50, 0)
    whole = aggregate(q, z, _stratified(50, 90))
    monkeypatch.setattr("pyrovae.objectives.total_correlation.CELLS", 700)
    with torch.no_grad():
        pieces = aggregate(q, z, _stratified(50, 90))
    for ours, theirs in zip(whole, pieces, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


# β-TCVAE


def test_the_whole_set_as_a_batch_by_brute_force(x: Tensor) -> None:
    """I + TC + Σ KL_j is log q(z|x) − log p(z), and each part is that of the mean density over all data."""
    vae = program().double()
    objective = TotalCorrelation(6, alpha=0.5, gamma=2, stratified=True, size=9)
    loss, _ = differentiated(objective, vae, x)
    q, z = drawn(vae, x)
    joint, single = by_hand(q, z, lambda i, m: 1 / 9)
    log_q, log_p = q.log_prob(z).sum(-1), vae._p().log_prob(z)
    distortion = -vae._likelihood(z).log_prob(x)
    parts = {
        "distortion": distortion,
        "index_code_mi": log_q - joint,
        "total_correlation": joint - single,
        "dimension_kl": single - log_p,
    }
    found = objective.measures()
    for name, part in parts.items():
        assert found[name] == pytest.approx(float(part.mean().detach()), abs=1e-10)
    whole = found["index_code_mi"] + found["total_correlation"] + found["dimension_kl"]
    assert whole == pytest.approx(float((log_q - log_p).mean().detach()), abs=1e-10)
    weighted = distortion + 0.5 * (log_q - joint) + 6 * (joint - single) + 2 * (single - log_p)
    assert loss == pytest.approx(float(weighted.sum().detach()), abs=1e-10)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("size", [9, 50])
def test_with_all_weights_1_it_is_the_elbo(stratified: bool, size: int, x: Tensor) -> None:
    vae = program().double()
    ours, gradients = differentiated(TotalCorrelation(1, stratified=stratified, size=size), vae, x)
    torch.manual_seed(5)
    theirs = Trace_ELBO().differentiable_loss(vae.model, vae.guide, x)
    assert ours == pytest.approx(float(theirs.detach()), abs=1e-10)
    for gradient, exact in zip(gradients, torch.autograd.grad(theirs, [*vae.parameters()]), strict=True):
        torch.testing.assert_close(gradient, exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("stratified", [False, True])
def test_the_gradient_is_that_of_the_published_estimate(stratified: bool, x: Tensor) -> None:
    vae = program().double()
    ours, gradients = differentiated(TotalCorrelation(6, stratified=stratified, size=40), vae, x)
    q, z = drawn(vae, x)

    def loss(weight: Callable[[int, int], float]) -> Tensor:
        joint, single = by_hand(q, z, weight)
        elbo = vae._likelihood(z).log_prob(x) + vae._p().log_prob(z) - q.log_prob(z).sum(-1)
        return -(elbo - 5 * (joint - single)).sum()

    by_strata = loss(lambda i, m: 1 / 40 if i == m else 39 / (40 * 8))
    by_weights = loss(lambda i, m: 1 / (40 * 9))
    assert ours == pytest.approx(float(by_strata.detach()), abs=1e-10)
    chosen = by_strata if stratified else by_weights
    for gradient, exact in zip(gradients, torch.autograd.grad(chosen, [*vae.parameters()]), strict=True):
        torch.testing.assert_close(gradient, exact, rtol=0, atol=1e-10)


def test_the_weighted_estimate_is_low_by_log_n_on_the_whole_set() -> None:
    q, z = gaussian(30, 0)
    joint, single = aggregate(q, z, torch.full((30, 30), -2 * math.log(30), dtype=torch.float64))
    exact, exact_single = aggregate(q, z, _stratified(30, 30))
    torch.testing.assert_close(joint, exact - math.log(30), rtol=0, atol=1e-12)
    torch.testing.assert_close(single, exact_single - 2 * math.log(30), rtol=0, atol=1e-12)


def test_a_batch_of_a_plate_is_weighted_by_its_scale(x: Tensor) -> None:
    vae = program().double()

    def model(x: Tensor) -> None:
        with pyro.plate("rows", 36, subsample=torch.arange(9)):
            z = pyro.sample("z", vae._p())
            pyro.sample("x", vae._likelihood(z), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("rows", 36, subsample=torch.arange(9)):
            pyro.sample("z", vae._q(x))

    for objective in (TotalCorrelation(6, size=36), TotalCorrelation(6, critic=MLP(L, (4,), 1).double())):
        plain, gradients = differentiated(objective, vae, x)
        torch.manual_seed(5)
        loss = objective.differentiable_loss(model, guide, x)
        assert float(loss.detach()) == pytest.approx(4 * plain, abs=1e-9)
        scaled = torch.autograd.grad(loss, [*vae.parameters(), *objective.parameters()])
        for ours, theirs in zip(scaled, gradients, strict=True):
            torch.testing.assert_close(ours, 4 * theirs, rtol=0, atol=1e-9)


# FactorVAE


@pytest.mark.parametrize("outputs", [1, 2])
def test_factor_vae_players_get_the_gradients_of_algorithm_2(outputs: int, x: Tensor) -> None:
    vae = program().double()
    critic = MLP(L, (4,), outputs).double()
    objective = TotalCorrelation(7, critic=critic)
    loss, gradients = differentiated(objective, vae, x)

    _, z = drawn(vae, x)
    permuted = z.detach().gather(0, torch.rand_like(z).argsort(0))
    out = critic(z)
    ratio = (out[:, 0] if outputs == 1 else out[:, 0] - out[:, 1]).sum()
    kl = torch.distributions.kl_divergence(vae.encode(x), vae._p()).sum()
    lost = -(vae._likelihood(z).log_prob(x).sum() - kl - 7 * ratio)
    if outputs == 2:  # the cross entropy of two classes
        classes = torch.arange(2).repeat_interleave(9)
        own = cross_entropy(critic(torch.cat([z.detach(), permuted])), classes, reduction="sum")
    else:
        own = softplus(-critic(z.detach())).sum() + softplus(critic(permuted)).sum()
    exact = [
        *torch.autograd.grad(lost, [*vae.parameters()], retain_graph=True),
        *torch.autograd.grad(own, [*critic.parameters()]),
    ]
    for ours, theirs in zip(gradients, exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert loss == pytest.approx(float(lost.detach()), abs=1e-10)
    found = objective.measures()
    assert found["critic"] == pytest.approx(float(own.detach()) / 9, abs=1e-10)
    assert found["total_correlation"] == pytest.approx(float(ratio.detach()) / 9, abs=1e-10)
    assert found["kl"] == pytest.approx(float(kl.detach()) / 9, abs=1e-10)


class Ratio(nn.Module):
    """log q(z) − log Π_j q(z_j) of the Gaussian above, its first number to be learned."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.seen: list[Tensor] = []

    def forward(self, z: Tensor) -> Tensor:
        self.seen.append(z.detach())
        joint = dist.MultivariateNormal(torch.zeros(2, dtype=torch.float64), COVARIANCE).log_prob(z)
        single = dist.Normal(0.0, COVARIANCE.diagonal().sqrt()).log_prob(z).sum(-1)
        return self.scale * (joint - single).unsqueeze(1)


def test_the_exact_ratio_is_a_critic_at_its_best_and_gives_the_total_correlation() -> None:
    critic = Ratio()
    objective = TotalCorrelation(1, critic=critic)
    prior = dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1)
    vae = pv.VAE(
        lambda: prior,
        lambda z: dist.Normal(z, 1.0).to_event(1),
        lambda x: dist.Normal(x.double() @ A.T, S.expand(len(x), 2)).to_event(1),
    )
    found, slopes = [], []
    for _ in range(100):
        critic.scale.grad = None
        objective.differentiable_loss(vae.model, vae.guide, torch.randn(500, 2, dtype=torch.float64)).backward()
        found.append(objective.measures()["total_correlation"])
        slopes.append(float(critic.scale.grad) / 500)
    assert abs(np.mean(found) - EXACT_TC) < 4 * np.std(found) / 10
    assert abs(np.mean(slopes)) < 4 * np.std(slopes) / 10
    codes, permuted = critic.seen[-2:]
    for j in range(2):  # the marginals are those of the batch
        assert torch.equal(codes[:, j].sort().values, permuted[:, j].sort().values)
    assert not torch.equal(codes[:, 0].argsort(), permuted[:, 0].argsort())


# What fit and SVI do with them


OBJECTIVES: dict[str, Callable[[], Any]] = {
    "batch": lambda: TotalCorrelation(pv.schedules.linear(1, 6, 4)),
    "critic": lambda: TotalCorrelation(6, critic=MLP(L, (4,), 2), rate=0.5),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_interrupted_run_goes_on_to_the_same_bits(name: str, x: Tensor, tmp_path: Path) -> None:
    def run(folder: Path | None, *callbacks: Any) -> tuple[pv.Fit, Any]:
        torch.manual_seed(0)
        objective = OBJECTIVES[name]()
        settings = {"restarts": 2, "resume": folder, "checkpoint_seconds": 0, "callbacks": callbacks}
        x32, validation = x.float(), x[:4].float()
        vae = program(objective)
        return pv.fit(vae, x32, validation=validation, epochs=4, batch_size=5, progress=False, **settings), objective

    def interrupt(end: pv.EpochEnd) -> None:
        if (end.chain, end.epoch) == (1, 2):
            raise KeyboardInterrupt

    whole, first = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupt)
    resumed, second = run(tmp_path)
    for ours, theirs in zip(whole.chains, resumed.chains, strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    assert whole.history.drop_vars("seconds").identical(resumed.history.drop_vars("seconds"))
    assert {"distortion", "total_correlation", "weight"} <= set(whole.history)
    assert not any("critic" in key for key in whole.program.weights())
    assert first.total == 9


def test_the_history_adds_up_to_the_value(x: Tensor) -> None:
    fit = pv.fit(program(TotalCorrelation(6)), x.float(), epochs=3, batch_size=5, progress=False)
    h = fit.history
    value = -(h["distortion"] + h["index_code_mi"] + 6 * h["total_correlation"] + h["dimension_kl"])
    np.testing.assert_allclose(value, h["elbo"], rtol=0, atol=1e-4)
    assert h.attrs["objective"] == "β-TCVAE objective (β = 6)"


@pytest.mark.parametrize("name", ["size", "critic"])
def test_pyro_alone_trains_it(name: str, x: Tensor) -> None:
    objective = TotalCorrelation(6, size=100) if name == "size" else OBJECTIVES["critic"]()
    vae = program()
    before = [p.detach().clone() for p in (*objective.parameters(), *vae.parameters())]
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), objective)
    losses = [svi.step(x.float()) for _ in range(5)]
    assert np.isfinite([*losses, svi.evaluate_loss(x.float())]).all()
    after = [*objective.parameters(), *vae.parameters()]
    assert all((p - old).abs().max() > 1e-3 for p, old in zip(after, before, strict=True))


def test_pyro_alone_must_be_told_the_size(x: Tensor) -> None:
    vae = program()
    for objective, says in (
        (TotalCorrelation(6), "give it, size=N"),
        (TotalCorrelation(6, size=5), "expected the number of training data, got 5, and 9 are here"),
    ):
        with pytest.raises(ValueError, match=says):
            SVI(vae.model, vae.guide, pyro.optim.Adam({}), objective).step(x.float())


CRITIC = MLP(L, (), 1)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "weight": (lambda: TotalCorrelation(-1), "weight: expected a number of at least 0, got -1"),
    "alpha": (lambda: TotalCorrelation(1, alpha=-1), "alpha: expected a number of at least 0"),
    "size": (lambda: TotalCorrelation(1, size=1), r"size \(the number of training data\): expected a whole number"),
    "both": (lambda: TotalCorrelation(1, critic=CRITIC, gamma=2), "leave them, or the critic, out"),
    "a function": (lambda: TotalCorrelation(1, critic=len), "critic: expected a torch.nn.Module"),
    "outputs": (
        lambda: program(TotalCorrelation(1, critic=MLP(L, (), 3))),
        r"expected logits of shape \(2, 1\) or \(2, 2\), got \(2, 3\): change its last layer to 1 or 2 outputs",
    ),
    "inputs": (lambda: program(TotalCorrelation(1, critic=nn.Linear(2, 1))), "must take the 3 latents"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_at_once_is_refused_at_once(name: str) -> None:
    make, says = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=says):
        make()


def vae(prior: Any = None, guide: Any = None, **settings: Any) -> pv.VAE:
    return pv.VAE(
        prior or pv.priors.Normal(L),
        pv.likelihoods.Normal(MLP(L, (), D)),
        guide or pv.guides.Normal(MLP(D, (), 2 * L)),
        loss=TotalCorrelation(6, **settings),
    )


def full() -> Any:
    return pv.guides.MultivariateNormal(MLP(D, (), pv.guides.MultivariateNormal.outputs(L)))


def test_latents_that_are_not_independent_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match=r"the guide of 'z' .*use guides.Normal.* or a critic"):
        vae(guide=full())
    with pytest.raises(ValueError, match=r"the prior of 'z' .*use priors.Normal"):
        vae(prior=pv.priors.MultivariateNormal(L))
    with pytest.raises(ValueError, match="is a point"):
        vae(guide=pv.guides.Delta(MLP(D, (), L)))
    vae(guide=full(), critic=CRITIC)
    vae(prior=pv.priors.Laplace(L))


def test_more_than_one_latent_needs_a_critic(x: Tensor) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = [pyro.sample(name, dist.Normal(0.0, 1.0)) for name in "ab"]
            pyro.sample("x", dist.Normal(sum(z).unsqueeze(-1).expand(x.shape), 1.0).to_event(1), obs=x)

    net = nn.Linear(D, 2)

    def guide(x: Tensor) -> None:
        loc = net(x)
        with pyro.plate("data", len(x)):
            for j, name in enumerate("ab"):
                pyro.sample(name, dist.Normal(loc[:, j], 1.0))

    for objective, says in (
        (TotalCorrelation(6), "expected one latent, got 'a', 'b'.*give a critic"),
        (TotalCorrelation(6, critic=MLP(3, (), 1)), "expected 3 features|must take the 2 latents"),
    ):
        with pytest.raises(ValueError, match=says):
            pv.fit(pv.Program(model, guide), x.float(), loss=objective, epochs=1, progress=False)
    pv.fit(
        pv.Program(model, guide), x.float(), loss=TotalCorrelation(6, critic=MLP(2, (), 1)), epochs=1, progress=False
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_of_one_is_refused_before_the_first_epoch(name: str, x: Tensor) -> None:
    program_of_it = program(OBJECTIVES[name]())
    before = {k: v.clone() for k, v in program_of_it.weights().items()}
    with pytest.raises(
        ValueError, match=r"of 9 data in batches of 4 the last has 1: choose a batch_size that leaves 2"
    ):
        pv.fit(program_of_it, x.float(), epochs=4, batch_size=4, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in program_of_it.weights().items())
    objective = TotalCorrelation(6, size=9)
    with pytest.raises(ValueError, match="a single datum"):
        objective.differentiable_loss(program_of_it.model, program_of_it.guide, x[:1].float())
    assert np.isfinite(objective.loss(program_of_it.model, program_of_it.guide, x[:1].float()))
