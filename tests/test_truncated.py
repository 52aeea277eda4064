"""Truncated posteriors that evolve, and EM: the bound against sums over all states, and each M step against theirs."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor

import pyrovae as pv
from analysis import bars
from models import evolutionary, ppca, ppca_em, sparse_coding
from pyrovae.distributions import spike_and_slab_normal
from pyrovae.guides import _evolution, _rows

H, N = 5, 12


def every(bits: int) -> Tensor:
    """All states, (2^bits, bits)."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=bits)), dtype=torch.float64)


def small(states: int, **settings: Any) -> tuple[pv.VAE, Tensor]:
    """A program of five bits in float64 with a deep decoder, and its data."""
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Bernoulli(H, probs=torch.linspace(0.1, 0.6, H), learned=True),
        pv.likelihoods.Normal(pv.networks.MLP(H, (6,), 3), 0.3, learn_scale=True),
        pv.guides.Truncated(N, H, states=states, **settings),
    ).double()
    x = torch.randn(N, 3, dtype=torch.float64)
    vae.adapt(x)
    return vae, x


def log_joint(vae: pv.VAE, x: Tensor) -> Tensor:
    """log p(x, z) of all states, (2^H, n)."""
    z = every(H).unsqueeze(1).expand(-1, len(x), -1)
    return vae._p().log_prob(z) + vae._log_lik(z, x, None, None)


def free_energy(vae: pv.VAE, x: Tensor, states: Tensor | None = None, best: int = 2**H) -> Tensor:
    """log Σ p(x, z) over the states of each datum, or the best of them, by brute force, (n,)."""
    states = vae.parts["guide"].states if states is None else states
    kept = (states.double().unsqueeze(2) == every(H)).all(-1).any(1)  # (n, 2^H)
    return log_joint(vae, x).T.masked_fill(~kept, -torch.inf).topk(best, 1).values.logsumexp(1).detach()


def visit(vae: pv.VAE, x: Tensor) -> Any:
    return vae._q(x, index=torch.arange(len(x)))


def is_unique(states: Tensor) -> bool:
    return all(len(row.unique(dim=0)) == len(row) for row in states)


# The distribution over listed states


def test_listed_states_are_a_distribution() -> None:
    states = torch.stack([every(3)[[0, 3, 5]], every(3)[[7, 1, 2]]])
    logits = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.0, 0.5]], dtype=torch.float64)
    q = pv.distributions.ListedStates(states, logits)
    probs = logits.softmax(-1)
    torch.testing.assert_close(q.log_prob(every(3).unsqueeze(1)).exp().sum(0), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(q.log_prob(q.enumerate_support()), probs.log().T)
    torch.testing.assert_close(q.log_prob(q.enumerate_support().clone()), probs.log().T)
    assert q.log_prob(every(3)[4]).tolist() == [-torch.inf, -torch.inf]
    draws = q.sample((20_000,))
    error = (probs.unsqueeze(-2) @ states).squeeze(-2) - draws.mean(0)
    assert (error.abs() < 4 * (q.variance / 20_000).sqrt() + 1e-12).all()
    torch.testing.assert_close(q.mean, (probs.unsqueeze(-2) @ states).squeeze(-2))
    torch.testing.assert_close(q.entropy(), -(probs * probs.log()).sum(-1))
    torch.testing.assert_close(q.expand((4, 2)).log_prob(draws[:4]), q.log_prob(draws[:4]))
    assert q.truncated
    assert not pv.distributions.ListedStates(every(2), torch.zeros(4)).truncated
    with pytest.raises(ValueError, match=r"expected states \(\*batch, S, H\) and logits \(\*batch, S\)"):
        pv.distributions.ListedStates(states, logits[:, :2])


# Evolution


@pytest.mark.parametrize("size", [1, 3, 61, 62, 63, 130])
def test_duplicates_are_those_of_a_set(size: int) -> None:
    states = (torch.rand(20, 30, size) < 0.5).float()
    states[:, 10:20] = states[:, :10]  # and twins that differ in the last bit alone
    states[:, 20:] = states[:, :10]
    states[:, 20:, -1] = 1 - states[:, 20:, -1]
    found = _evolution.duplicates(states)
    for row, again in zip(states.tolist(), found.tolist(), strict=True):
        seen: set[tuple[float, ...]] = set()
        for state, twice in zip(map(tuple, row), again, strict=True):
            assert twice == (state in seen)
            seen.add(state)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (8, 3), (5, 3), (40, 6), (64, 10), (300, 200), (7, 100)])
def test_first_states_are_unique(count: int, size: int) -> None:
    states = _evolution.first_states(4, count, size, 2.0, torch.empty(0))
    assert states.shape == (4, count, size)
    assert is_unique(states)


def test_flips_have_the_number_and_lead_to_the_sparsity_that_are_wanted() -> None:
    states = torch.zeros(3, 20_000, 10)
    states[..., :4] = 1
    wanted = torch.tensor([4.0, 3.5, 9.0])
    after = _evolution.flipped(states, wanted, 2.0)
    flips, ones = (after != states).sum(2).double(), after.sum(2).double()
    for values, expected in ((flips, torch.tensor([2.0, 2.0, 2.0])), (ones, torch.tensor([4.0, 3.5, 6.0]))):
        error = 4 * values.std(1) / values.shape[1] ** 0.5
        assert ((values.mean(1) - expected).abs() <= error).all()


def test_children_are_of_two_parents() -> None:
    states = torch.stack([torch.zeros(8), torch.ones(8)]).expand(2, 2, 8)
    born = _evolution.crossed(states, torch.tensor([[0.0, 1.0], [0.0, -torch.inf]]), 500)
    assert ((born[..., 1:] != born[..., :-1]).sum(-1) <= 1).all()  # one point
    assert born[0].mean() > 0.6  # the fitter is a parent more often
    assert born[1].mean() < 0.4


# The guide


def test_the_free_energy_never_falls_while_the_parameters_stay() -> None:
    vae, x = small(4, children=6)
    vae.train()
    before = first = free_energy(vae, x)
    for _ in range(60):
        q = visit(vae, x)
        assert is_unique(vae.parts["guide"].states)
        after = free_energy(vae, x)
        assert (after >= before - 1e-12).all()
        torch.testing.assert_close(q.log_prob(q.enumerate_support()).logsumexp(0), torch.zeros(N).double())
        before = after
    assert (after > first + 0.1).any()
    best = log_joint(vae, x).topk(4, 0).values.logsumexp(0).detach()
    assert (after > best - 1e-9).sum() >= N - 1  # of so few states the best are found


def test_only_the_rows_that_are_visited_evolve_and_only_in_training() -> None:
    vae, x = small(4)
    states = vae.parts["guide"].states
    start = states.clone()
    vae.eval()
    visit(vae, x)
    assert torch.equal(states, start)
    vae.train()
    vae._q(x[3:5], index=torch.tensor([3, 4]))
    assert torch.equal(states[:3], start[:3])
    assert torch.equal(states[5:], start[5:])
    assert not torch.equal(states[3:5], start[3:5])


@pytest.mark.parametrize("states", [1, 4, 2**H])
def test_the_bound_is_the_evidence_less_the_mass_left_out(states: int) -> None:
    vae, x = small(states)
    vae.train()
    for _ in range(3):
        visit(vae, x)
    vae.eval()
    with torch.no_grad(), vae.scope():
        elbo = -TraceEnum_ELBO(max_plate_nesting=1).loss(vae.model, vae.guide, x) / N
        joint = log_joint(vae, x)
        evidence = joint.logsumexp(0)
        q = vae.encode(x)
        z = q.enumerate_support()
        lost = torch.where(q.log_prob(every(H).unsqueeze(1)).isfinite(), 0.0, (joint - evidence).exp()).sum(0)
        weights = vae._p().log_prob(z) + vae._log_lik(z, x, None, None) - q.log_prob(z)
    free = free_energy(vae, x)
    torch.testing.assert_close(weights, free.expand_as(weights), rtol=0, atol=1e-12)
    assert elbo == pytest.approx(float(free.mean()), abs=1e-12)
    torch.testing.assert_close(evidence - free, -torch.log1p(-lost), rtol=0, atol=1e-12)
    if states == 2**H:
        assert float(lost.max()) == 0
        tree = pv.posterior(vae, x, draws=3, predictive=1)
        exact = evidence.numpy()
        np.testing.assert_allclose(tree["sample_stats"]["log_weight"].values[0], [exact] * 3, rtol=0, atol=1e-12)


def test_the_gradient_is_the_mean_of_the_gradients() -> None:
    vae, x = small(4)
    index = torch.arange(N)
    vae.eval()
    parameters = list(vae.parameters())
    with vae.scope():
        loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(vae.model, vae.guide, x, None, index)
    found = torch.autograd.grad(loss, parameters)
    q = visit(vae, x)
    expected = [torch.zeros_like(p) for p in parameters]
    for z in q.enumerate_support():
        log_p = vae._p().log_prob(z) + vae._log_lik(z, x, None, None)
        value = -(q.log_prob(z).exp() * log_p).sum()
        expected = [e + g for e, g in zip(expected, torch.autograd.grad(value, parameters), strict=True)]
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-12)


def test_training_data_are_known_again_and_others_evolve() -> None:
    vae, x = small(4, steps=60)
    vae.train()
    for _ in range(4):
        visit(vae, x)
    vae.eval()
    torch.testing.assert_close(vae.encode(x[5:7]).states, vae.parts["guide"].states[5:7].double())
    new = torch.randn(6, 3, dtype=torch.float64)
    first, again = vae.encode(torch.cat([x[:2], new])), vae.encode(torch.cat([x[:2], new]))
    assert torch.equal(first.states, again.states)
    best = log_joint(vae, new).topk(4, 0).indices.T
    assert (every(H)[best].sum((1, 2)) == first.states[2:].sum((1, 2))).all()  # the four best of 32 states
    assert is_unique(first.states)


def test_new_data_start_from_the_best_states_of_the_nearest_rows() -> None:
    vae, x = small(2, steps=1)
    vae.train()
    for _ in range(4):
        visit(vae, x)
    vae.eval()
    new = x.flip(0) + 0.1 * torch.randn(N, 3, dtype=torch.float64)
    near = (new.unsqueeze(1) - x).square().sum(-1).argsort(1)[:, :4]
    states = vae.parts["guide"].states[near].flatten(1, 2)  # two of each of the four rows, the nearest first
    start, found = free_energy(vae, new, states, best=2), vae.encode(new).states
    assert is_unique(found)
    assert (free_energy(vae, new, found) >= start - 1e-12).all()
    assert (start > free_energy(vae, new, states[:, :2]) + 0.01).any()  # one row alone would be worse


def test_sketches_keep_distances() -> None:
    few = torch.randn(6, 20, dtype=torch.float64)
    torch.testing.assert_close(torch.cdist(_rows.sketched(few), _rows.sketched(few)), torch.cdist(few, few))
    many = torch.randn(400, 784, dtype=torch.float64)
    ratio = _rows.sketched(many).square().sum(1) / many.square().sum(1)  # a mean of 32 squares: variance 2 / 32
    assert abs(float(ratio.mean()) - 1) < 4 * (2 / 32 / 400 + 2 / 32 / 784) ** 0.5
    torch.testing.assert_close(_rows.sketched(many[:3]), _rows.sketched(many)[:3], rtol=1e-12, atol=0)
    rows = torch.tensor([[5.0, 5.0], [0.0, 0.0], [1.0, 1.0]])
    assert _rows.nearest(torch.tensor([[0.0, 0.1], [5.0, 4.0]]), rows, 2).tolist() == [[1, 2], [0, 2]]


def test_it_goes_on_after_a_break_to_the_same_bits(tmp_path: Path) -> None:
    def run(folder: Path | None, stop: int | None) -> Tensor:
        vae, x = small(4)

        def interrupt(end: Any) -> None:
            if end.epoch == stop:
                raise KeyboardInterrupt

        settings: dict[str, Any] = {"epochs": 6, "batch_size": 5, "checkpoint_seconds": 0, "progress": False}
        with contextlib.suppress(KeyboardInterrupt):
            pv.fit(vae, x, resume=folder, callbacks=[interrupt], **settings)
        return torch.cat([v.double().flatten() for _, v in sorted(vae.weights().items())])

    whole = run(None, None)
    run(tmp_path / "run", 3)
    assert torch.equal(run(tmp_path / "run", None), whole)


def test_it_is_saved_and_loaded_with_its_states(tmp_path: Path) -> None:
    vae, x = small(4)
    fit = pv.fit(vae, x, epochs=2, progress=False)
    fit.save(tmp_path / "run")
    other = pv.load(tmp_path / "run", small(4)[0]).program
    assert torch.equal(other.parts["guide"].states, vae.parts["guide"].states)
    assert torch.equal(other.encode(x).logits, vae.encode(x).logits)


def test_restarts_have_states_of_their_own() -> None:
    guide = pv.guides.Truncated(3, 10, states=4)
    before = guide.states.clone()
    guide.reset_parameters()
    assert not torch.equal(before, guide.states)


def test_what_cannot_be_seen_is_not_called_exact() -> None:
    vae, x = small(4)
    tree = pv.posterior(vae, x, draws=40, predictive=1)
    table = pv.diagnose(tree).table.set_index("question")
    assert "≥" in table.loc["Does it describe these data?", "figure"]
    for question in ("Is the bound tight?", "Is q(z|x) usable for each datum?"):
        assert table.loc[question, "verdict"] == "not available"
        assert "-log p(K|x)" in table.loc[question, "action"] or table.loc[question, "action"] == "as above"
    vae, x = small(2**H)
    assert pv.diagnostics.pareto_k(pv.posterior(vae, x, draws=40, predictive=1))["exact"].all()


def program(prior: Any, latents: int = 2, **settings: Any) -> pv.VAE:
    return pv.VAE(
        prior,
        pv.likelihoods.Normal(pv.networks.MLP(2, (), 3)),
        pv.guides.Truncated(N, latents, **{"states": 2} | settings),
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pv.guides.Truncated(5, 3, states=9), "3 latents have 8 states.*states=8 at most"),
        (lambda: pv.guides.Truncated(5, 3, states=0), "states.*at least 1, got 0"),
        (lambda: pv.guides.Truncated(5, 0), "latents.*at least 1, got 0"),
        (lambda: pv.guides.Truncated(0, 3), "rows .*at least 1, got 0"),
        (lambda: pv.guides.Truncated(5, 6, children=0), "children.*at least 1, got 0"),
        (lambda: pv.guides.Truncated(5, 6, generations=0), "generations.*at least 1"),
        (lambda: pv.guides.Truncated(5, 6, steps=0), "steps.*at least 1"),
        (lambda: pv.guides.Truncated(5, 6, active=0), "active"),
        (lambda: pv.guides.Truncated(5, 6)(torch.zeros(2, 3)), r"inside pv\.VAE, or pass joint="),
        (lambda: pv.fit(program(pv.priors.Bernoulli(2)), torch.zeros(N + 1, 3), progress=False), f"rows={N + 1}"),
        (lambda: program(pv.priors.Normal(2)), "support real.*Use a guide on the reals, such as guides.Normal"),
        (lambda: program(pv.priors.Gamma(2)), "support at least .*Use a guide on at least"),
        (lambda: program(pv.priors.OneHotCategorical(2)), "Use guides.OneHotCategorical"),
        (lambda: program(pv.priors.Bernoulli(2), latents=3), "latents of shape"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_do(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


# Spike-and-slab sparse coding


def code(x: Tensor, latents: int = 3) -> pv.VAE:
    """All states kept: exact EM."""
    torch.manual_seed(1)
    return sparse_coding.build(pv.Data(x), latents=latents, states=2**latents).double()


def marginals(c: Any, x: Tensor) -> Tensor:
    """log p(x) by the sum over all states of multivariate Normals, (n,)."""
    terms = []
    for s in every(len(c.pi)):
        w = c.w * s
        covariance = w @ torch.diag(c.spread**2) @ w.T + c.sigma**2 * torch.eye(len(w)).double()
        normal = torch.distributions.MultivariateNormal(w @ c.slab, covariance)
        prior = (s * c.pi.log() + (1 - s) * torch.log1p(-c.pi)).sum()
        terms.append(prior + normal.log_prob(x))
    return torch.stack(terms).logsumexp(0)


@pytest.fixture(scope="module")
def coded() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    s = (torch.rand(60, 3, generator=generator) < 0.4).double()
    v = 2 + 0.5 * torch.randn(60, 3, generator=generator, dtype=torch.float64)
    w = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    return (s * v) @ w + 0.3 * torch.randn(60, 4, generator=generator, dtype=torch.float64)


def test_sparse_coding_density_is_that_of_the_multivariate_normal() -> None:
    torch.manual_seed(0)
    w, mean, spread = torch.randn(6, 4).double(), torch.randn(4).double(), torch.rand(4).double() + 0.2
    s, sigma, x = every(4), torch.tensor(0.4).double(), torch.randn(16, 6).double()
    p = pv.distributions.SpikeAndSlabNormal(s, w, mean, spread, sigma)
    ws = w * s.unsqueeze(1)
    covariance = ws @ torch.diag(spread**2) @ ws.mT + sigma**2 * torch.eye(6).double()
    normal = torch.distributions.MultivariateNormal(ws @ mean, covariance)
    torch.testing.assert_close(p.log_prob(x), normal.log_prob(x), rtol=1e-12, atol=1e-11)
    kappa, within = p.moments(x)
    for i, on in enumerate(s.bool()):
        inverse = torch.linalg.inv(w[:, on].T @ w[:, on] / sigma**2 + torch.diag(spread[on] ** -2))
        rest = x[i] - w[:, on] @ mean[on]
        torch.testing.assert_close(within[i][on][:, on], inverse, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(kappa[i][on], mean[on] + inverse @ w[:, on].T @ rest / sigma**2)
        assert not kappa[i][~on].any()
        assert not within[i][~on].any()
    draws = p.sample((40_000,))
    error = (draws.mean(0) - p.mean).abs() / (draws.var(0) / 40_000).sqrt()
    assert error.max() < 4.5  # the largest of 96
    torch.testing.assert_close(torch.cov(draws[:, -1].T), covariance[-1], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_sparse_coding_solves_in_blocks_of_any_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spike_and_slab_normal, "BLOCK", block)
    root, s = torch.randn(5, 5, dtype=torch.float64), every(5)[torch.randperm(32)]
    inner, right = root @ root.T, torch.randn(32, 5, dtype=torch.float64)
    square, log_det = spike_and_slab_normal.solved(inner, s, right)
    matrix = torch.eye(5) + s.unsqueeze(-1) * inner * s.unsqueeze(-2)
    r = s * right
    torch.testing.assert_close(square, (r * torch.linalg.solve(matrix, r)).sum(-1))
    torch.testing.assert_close(log_det, torch.logdet(matrix))
    w, mean, sigma = torch.randn(6, 5).double(), torch.randn(5).double(), torch.tensor(0.4).double()
    p, x = pv.distributions.SpikeAndSlabNormal(s, w, mean, right[0].abs(), sigma), torch.randn(3, 1, 6).double()
    kappa, within = p.moments(x)
    assert p.log_prob(x).shape == (3, 32)
    for some, k, v in zip(x, kappa, within, strict=True):
        torch.testing.assert_close(p.moments(some.expand(32, -1)), (k, v))


def test_sparse_coding_with_all_states_is_exact_em(coded: Tensor) -> None:
    vae = code(coded)
    fit = pv.fit(vae, coded, epochs=25, batch_size=20, progress=False)
    elbo = fit.history["elbo"].values[0]
    assert (np.diff(elbo) > -1e-10).all()
    assert elbo[-1] - elbo[0] > 0.5
    assert elbo[-1] == pytest.approx(float(marginals(vae.parts["prior"], coded).mean()), abs=1e-10)


def test_sparse_coding_m_step_is_where_the_expected_log_density_is_highest(coded: Tensor) -> None:
    """Its gradient is 0 there, by automatic differentiation of the log-likelihood at the same parameters (Fisher)."""
    vae = code(coded)
    pv.fit(vae, coded, epochs=200, batch_size=60, progress=False)
    c = vae.parts["prior"]
    names = ("w", "slab", "spread", "pi", "sigma")
    for name in names:
        setattr(c, name, getattr(c, name).clone().requires_grad_())
    gradients = torch.autograd.grad(marginals(c, coded).mean(), [getattr(c, n) for n in names])
    assert max(float(g.abs().max()) for g in gradients) < 2e-3


def test_sparse_coding_with_few_states_never_falls(coded: Tensor) -> None:
    torch.manual_seed(0)
    vae = sparse_coding.build(pv.Data(coded), latents=6, states=5, children=5).double()
    elbo = pv.fit(vae, coded, epochs=30, batch_size=60, progress=False).history["elbo"].values[0]
    assert (np.diff(elbo) > -1e-9).all()
    assert elbo[-1] <= float(marginals(vae.parts["prior"], coded).mean()) + 1e-9


# Probabilistic PCA by EM


def test_ppca_em_reaches_the_maximum_and_never_falls() -> None:
    generator = torch.Generator().manual_seed(1)
    z, noise = (torch.randn(200, k, generator=generator, dtype=torch.float64) for k in (2, 6))
    x = z @ torch.tensor([[3.0, 0, 1, 0, 0, 2], [0, 2, 0, -1, 1, 0]]).double() + 0.5 * noise + 20
    w, mu, sigma2 = ppca.maximum_likelihood(x, 2)
    vae = ppca_em.build(pv.Data(x), latents=2).double()
    part = vae.parts["likelihood"]
    elbo = pv.fit(vae, x, epochs=20, batch_size=200, progress=False).history["elbo"].values[0]
    assert (np.diff(elbo) > -1e-10).all()
    for _ in range(500):
        part.update(x)
    elbo = pv.fit(vae, x, epochs=1, batch_size=200, progress=False).history["elbo"].values[0]
    exact = torch.distributions.MultivariateNormal(mu, w @ w.T + sigma2 * torch.eye(6).double()).log_prob(x)
    assert elbo[-1] == pytest.approx(float(exact.mean()), abs=1e-9)
    torch.testing.assert_close(part.weight @ part.weight.T, w @ w.T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(part.variance, sigma2, rtol=1e-6, atol=0)
    torch.testing.assert_close(part.mean, mu)
    weights = pv.posterior(vae, x, draws=3, predictive=1)["sample_stats"]["log_weight"].values[0]
    np.testing.assert_allclose(weights, [exact.numpy()] * 3, rtol=0, atol=1e-8)


@pytest.mark.parametrize("latents", [0, 6])
def test_ppca_em_refuses_as_many_latents_as_features(latents: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to 5 latents, got {latents}"):
        ppca_em.build(pv.Data(torch.randn(5, 6)), latents=latents)


def test_ppca_em_refuses_data_without_noise() -> None:
    x = torch.randn(100, 2) @ torch.randn(2, 5) + 3
    with pytest.raises(ValueError, match="2 latents describe these data without noise"):
        pv.fit(ppca_em.build(pv.Data(x), latents=2), x, epochs=400, progress=False)


# The evolutionary autoencoder and the bars


def test_evolutionary_trains_all_it_has() -> None:
    train = pv.data.load("digits").take(slice(0, 60))
    vae = evolutionary.build(train, latents=6, hidden=(8,), states=4)
    before = {name: value.clone() for name, value in vae.named_parameters()}
    pv.fit(vae, train, epochs=1, progress=False)
    assert all(not torch.equal(before[name], value) for name, value in vae.named_parameters())
    assert any("probs" in name for name in before)


def test_bars_are_recovered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = bars.main(["--out", str(tmp_path), "--seeds", "1", "--side", "3", "--data", "60", "--share", "0.05"])
    assert (tmp_path / "bars.csv").exists()
    assert (tmp_path / "bars.png").stat().st_size > 5_000
    assert len(table) == len(bars.MODELS)
    assert "of 6 bars" in capsys.readouterr().out
    row, _ = bars.measure("sparse coding", 3, 200, 0, 1.5)
    assert row["recovered"] == 6


def test_bars_are_matched_one_to_one() -> None:
    planted = bars.planted(3)
    assert planted.shape == (6, 9)
    assert bars.recovered(planted.flip(0) * torch.tensor([1.0, -2.0, 3.0, 4.0, 5.0, 6.0])[:, None], planted) == 6
    assert bars.recovered(planted[[0, 0, 1, 2, 3, 4]], planted) == 5
    assert bars.recovered(torch.randn(6, 9), planted) < 3
