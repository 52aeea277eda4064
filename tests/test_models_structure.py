"""Models with several latent spaces, discrete codes or learned noise: what of each is known in closed form."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from scipy.stats import ortho_group
from torch import Tensor, nn

import pyrovae as pv
from models import (
    denoising,
    encoder_free,
    full_covariance,
    hierarchy,
    learned_noise,
    ppca,
    two_stage,
    vamp_prior,
    vq_vae,
)
from pyrovae._modes import evaluating
from pyrovae.objectives._terms import draw_terms
from pyrovae.program import Batch

DOUBLE = torch.float64


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def terms_of(program: pv.Program, x: Tensor, draws: int = 1) -> Any:
    with program.scope():
        return draw_terms(program.model, program.guide, (x,), {}, particles=draws, vectorize=True)


def log_weight(program: pv.Program, x: Tensor, draws: int = 1) -> Tensor:
    """(draws, n), as it is after training."""
    with evaluating(program), torch.no_grad():
        return terms_of(program, x, draws).log_weight


def loss_of(program: Any, x: Tensor) -> Tensor:
    with program.scope():
        return program.loss.differentiable_loss(program.model, program.guide, x)


def gradients(program: nn.Module, loss: Tensor) -> dict[str, Tensor | None]:
    parameters = dict(program.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return dict(zip(parameters, found, strict=True))


def set_affine(layer: Any, weight: Any, bias: Any) -> None:
    layer = layer.layers[0] if hasattr(layer, "layers") else layer
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight, dtype=DOUBLE))
        layer.bias.copy_(torch.as_tensor(bias, dtype=DOUBLE))


def raw(scale: float) -> float:
    """What `hierarchy.moments` makes this scale of."""
    return math.log(math.expm1(scale - 1e-4))


# hierarchy: z2 ~ N(0, 1), z1 ~ N(a z2, s²), x ~ N(w z1, t² I), of which all is known


A, S, T = 1.3, 0.6, 0.8
W = torch.tensor([0.5, -1.0, 2.0], dtype=DOUBLE)


def linear_hierarchy(inference: str, *, exact: bool) -> tuple[pv.Program, Tensor]:
    """The program and data from it."""
    z1 = A * normal(50) + S * normal(50, seed=2)
    x = z1[:, None] * W + T * normal(50, 3, seed=3)
    program = hierarchy.build(pv.Data(x), latents=(1, 1), hidden=(), upper=(), inference=inference).double()
    parts: Any = program.found["model"]
    parts.shift.fill_(0.0)
    parts.spread.fill_(1.0)
    set_affine(parts.likelihood.network, W[:, None], torch.zeros(3))
    with torch.no_grad():
        parts.likelihood.log_scale.fill_(math.log(T))
    set_affine(parts.prior, [[A], [0.0]], [0.0, raw(S)])
    if not exact:
        return program, x
    precision = float(W @ W) / T**2  # of x's likelihood as a function of z1, with mean x · w / |w|²
    if inference == "bottom_up":
        total = precision + 1 / (A**2 + S**2)
        first = torch.stack([W / T**2 / total, torch.zeros(3)]), [0.0, raw(total**-0.5)]
        v = 1 / (1 + A**2 / S**2)
        second = [[v * A / S**2], [0.0]], [0.0, raw(v**0.5)]
    else:
        first = torch.stack([W / (W @ W), torch.zeros(3)]), [0.0, raw(precision**-0.5)]
        noise = S**2 + 1 / precision  # of x · w / |w|² around a z2
        v = 1 / (1 + A**2 / noise)
        second = torch.stack([v * A / noise * W / (W @ W), torch.zeros(3)]), [0.0, raw(v**0.5)]
    set_affine(parts.first, *first)
    set_affine(parts.second, *second)
    return program, x


def exact_log_p(x: Tensor) -> Tensor:
    covariance = (A**2 + S**2) * torch.outer(W, W) + T**2 * torch.eye(3, dtype=DOUBLE)
    log_p: Tensor = dist.MultivariateNormal(torch.zeros(3, dtype=DOUBLE), covariance).log_prob(x)
    return log_p


@pytest.mark.parametrize("inference", hierarchy.INFERENCES)
def test_the_exact_guide_of_a_linear_hierarchy_has_a_gap_of_0(inference: str) -> None:
    program, x = linear_hierarchy(inference, exact=True)
    weights = log_weight(program, x, 5)
    torch.testing.assert_close(weights, exact_log_p(x).expand_as(weights), rtol=0, atol=1e-10)


@pytest.mark.parametrize("inference", hierarchy.INFERENCES)
def test_the_elbo_of_a_hierarchy_does_not_exceed_log_p(inference: str) -> None:
    program, x = linear_hierarchy(inference, exact=False)
    weights = log_weight(program, x, 200)
    assert (weights.mean(0) < exact_log_p(x) + 4 * weights.std(0) / math.sqrt(200)).all()
    gap = (exact_log_p(x) - weights.logsumexp(0) + math.log(200)).mean()  # E w is p(x)
    assert weights.mean() < exact_log_p(x).mean() - 0.1
    assert gap.abs() < (exact_log_p(x) - weights.mean(0)).mean()


@pytest.mark.parametrize("inference", hierarchy.INFERENCES)
def test_the_kl_of_a_hierarchy_is_that_of_draws_on_average(inference: str) -> None:
    program, x = linear_hierarchy(inference, exact=False)
    with torch.no_grad():
        terms = terms_of(program, x[:5], 2000)
    difference = terms.kl - (terms.log_q - terms.log_prior)
    assert (difference.mean(0).abs() <= 4 * difference.std(0) / math.sqrt(2000)).all()
    assert (difference.abs().max() > 1e-3) == (inference == "ladder")  # a closed form, where there is one


def test_the_merge_is_the_normalised_product() -> None:
    one, other = ((normal(4, seed=s), normal(4, seed=s + 10).abs() + 0.1) for s in (1, 2))
    loc, scale = hierarchy.merge(one, other)
    grid = torch.linspace(-3, 3, 7, dtype=DOUBLE)[:, None]
    left = (
        dist.Normal(*one).log_prob(grid) + dist.Normal(*other).log_prob(grid) - dist.Normal(loc, scale).log_prob(grid)
    )
    torch.testing.assert_close(left, left[:1].expand_as(left), rtol=0, atol=1e-10)  # a constant


def test_a_ladder_keeps_to_the_prior_where_x_says_nothing() -> None:
    prior = normal(4), normal(4, seed=2).abs() + 0.1
    loc, scale = hierarchy.merge((normal(4, seed=3), torch.full((4,), 1e8, dtype=DOUBLE)), prior)
    torch.testing.assert_close((loc, scale), prior, rtol=0, atol=1e-10)


def test_a_hierarchy_takes_importance_weights_and_broadcasts() -> None:
    program, x = linear_hierarchy("ladder", exact=True)
    loss = pv.objectives.ImportanceWeighted(4, vectorize=True)
    assert -loss.loss(program.model, program.guide, x) == pytest.approx(float(exact_log_p(x).sum()), abs=1e-8)


def test_a_hierarchy_warms_up() -> None:
    x = torch.randn(40, 3)
    program = hierarchy.build(pv.Data(x), latents=(2, 1), hidden=(4,), upper=(), warmup=3)
    fit = pv.fit(program, x, epochs=3, progress=False)
    assert fit.history["beta"].values[0].tolist() == [0.0, 0.5, 1.0]


# two stages


@pytest.fixture
def staged() -> tuple[pv.Program, Any, Tensor]:
    torch.manual_seed(0)
    x = normal(30, 4).float()
    program = two_stage.build(pv.Data(x), latents=2, hidden=(5,), upper=(5,)).double()
    return program, program.found["model"], x.double()


def test_neither_stage_moves_the_other(staged: Any) -> None:
    program, _, x = staged
    objective: Any = program.loss
    for which, own in ((0, ("decoder.", "encoder.")), (1, ("decoder2.", "encoder2."))):
        stage = objective.stages(terms_of(program, x))[which].sum()
        for name, gradient in gradients(program, stage).items():
            mine = name.removeprefix("found.model.").startswith(own)
            assert (gradient is not None and bool(gradient.abs().sum() > 0)) == mine, name


def test_the_first_stage_is_climbed_as_a_vae_alone(staged: Any) -> None:
    program, parts, x = staged
    alone = pv.VAE(pv.priors.Normal(2).double(), parts.decoder, parts.encoder)
    torch.manual_seed(1)
    loss = loss_of(program, x)
    mine = gradients(parts, loss)
    torch.manual_seed(1)
    elbo = terms_of(alone, x).log_weight.sum()
    for name, gradient in gradients(parts, -elbo).items():
        if gradient is not None:
            torch.testing.assert_close(mine[name], gradient, rtol=0, atol=1e-10)


def test_the_second_stage_is_climbed_as_a_vae_of_the_codes(staged: Any) -> None:
    program, parts, x = staged
    torch.manual_seed(1)
    terms = terms_of(program, x)
    guide = terms.pairs[0][0]
    z, u = guide.nodes["z"]["value"].detach(), guide.nodes["u"]["value"]
    q, p = parts.encoder2(z), parts.decoder2(u)
    by_hand = dist.Normal(0, 1).log_prob(u).sum(-1) + p.log_prob(z) - q.log_prob(u)
    torch.testing.assert_close(program.loss.stages(terms)[1], by_hand, rtol=0, atol=1e-10)


def test_the_figure_of_two_stages_is_the_elbo_of_the_whole(staged: Any) -> None:
    program, parts, x = staged
    torch.manual_seed(1)
    loss = loss_of(program, x).item()
    torch.manual_seed(1)
    terms = terms_of(program, x)
    guide = terms.pairs[0][0].nodes
    z, u = guide["z"]["value"], guide["u"]["value"]
    whole = dist.Normal(0, 1).log_prob(u).sum(-1) + parts.decoder2(u).log_prob(z) + parts.decoder(z).log_prob(x)
    whole = whole - parts.encoder(x).log_prob(z) - parts.encoder2(z).log_prob(u)
    assert loss == pytest.approx(-whole.sum().item(), abs=1e-9)


def test_after_the_switch_only_the_second_stage_is_trained() -> None:
    x = normal(40, 3).float()
    program = two_stage.build(pv.Data(x), latents=2, hidden=(4,), upper=(4,), switch=1)
    fit = pv.fit(program, x, epochs=2, progress=False)
    assert fit.history["first_weight"].values[0].tolist() == [1.0, 0.0]
    assert fit.history["second_weight"].values[0].tolist() == [0.0, 1.0]
    with pytest.warns(UserWarning, match="needs|ends before"):
        pv.fit(two_stage.build(pv.Data(x), latents=2, hidden=(4,), upper=(4,), switch=5), x, epochs=2, progress=False)


# discrete codes


P, K, D = 2, 3, 2


@pytest.fixture(params=vq_vae.PRIORS)
def quantised(request: Any) -> tuple[Any, Tensor]:
    """A tiny program in float64 with parameters away from where they start, and data."""
    torch.manual_seed(0)
    x = torch.randn(20, 4)
    program = vq_vae.build(pv.Data(x), positions=P, codes=K, size=D, hidden=(5,), prior=request.param).double()
    program.adapt(x.double())
    with torch.no_grad():
        for parameter in program.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return program, x.double()


def parts_of(program: Any) -> tuple[Any, Any, Any]:
    return program.parts["prior"], program.parts["likelihood"], program.parts["guide"]


def test_codes_are_the_nearest_by_brute_force(quantised: Any) -> None:
    program, x = quantised
    guide = parts_of(program)[2]
    e = guide.encoded(x)
    for datum, z in zip(e.tolist(), program.encode(x).sample().tolist(), strict=True):
        for vector, code in zip(datum, z, strict=True):
            distances = [math.dist(vector, c) for c in guide.codebook.tolist()]
            assert code == distances.index(min(distances))


def test_the_point_mass_has_log_probability_0(quantised: Any) -> None:
    program, x = quantised
    q = program.encode(x)
    z = q.sample((3,))
    assert (z == z[0]).all()
    assert (q.log_prob(z) == 0).all()
    assert (q.log_prob((z + 1) % K) == -math.inf).all()


def test_the_codebook_starts_at_vectors_of_the_encoder_once() -> None:
    x = torch.randn(20, 4)
    program = vq_vae.build(pv.Data(x), positions=P, codes=K, size=D, hidden=(5,))
    guide: Any = program.parts["guide"]
    program.adapt(x)
    apart = guide.codebook[:, None] - guide.encoded(x).flatten(0, 1)
    assert (apart.abs().sum(-1).min(1).values < 1e-6).all()
    before = guide.codebook.clone()
    program.adapt(x)
    assert torch.equal(guide.codebook, before)


def test_straight_through_gradients_are_those_at_the_codes(quantised: Any) -> None:
    program, x = quantised
    _, likelihood, guide = parts_of(program)
    program.loss.beta = 0.0
    terms = terms_of(program, x)
    encoder = list(guide.encoder.parameters())
    climbed = program.loss.climbed(terms)
    mine = torch.autograd.grad(climbed, encoder, retain_graph=True)
    e = guide.encoded(x)
    v = guide.codebook[program.encode(x).sample().long()].detach().requires_grad_()
    (slope,) = torch.autograd.grad(likelihood(v.flatten(-2)).log_prob(x).sum(), v)
    for one, other in zip(mine, torch.autograd.grad((e * slope).sum(), encoder), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("beta", [0.25, 2.0])
def test_codebook_and_commitment_gradients_by_hand(quantised: Any, beta: float) -> None:
    program, x = quantised
    guide = parts_of(program)[2]
    terms = terms_of(program, x)
    encoder = list(guide.encoder.parameters())
    found = []
    for program.loss.beta in (0.0, beta):
        found.append(torch.autograd.grad(program.loss.climbed(terms), [guide.codebook, *encoder], retain_graph=True))
    e, z = guide.encoded(x), program.encode(x).sample().long()
    error = (e - guide.codebook[z]).detach()
    codebook = torch.zeros_like(guide.codebook)
    for k in range(K):
        codebook[k] = 2 * error[z == k].sum(0)
    for gradient in (found[0][0], found[1][0]):  # nothing of log p(x|z), and nothing of the commitment
        torch.testing.assert_close(gradient, codebook, rtol=0, atol=1e-10)
    commitment = torch.autograd.grad((e * (-2 * beta * error)).sum(), encoder)
    for with_it, without, by_hand in zip(found[1][1:], found[0][1:], commitment, strict=True):
        torch.testing.assert_close(with_it - without, by_hand, rtol=0, atol=1e-10)


def test_the_prior_learns_by_cross_entropy_and_moves_nothing_else(quantised: Any) -> None:
    program, x = quantised
    prior = parts_of(program)[0]
    terms = terms_of(program, x)
    own = list(prior.parameters())
    mine = torch.autograd.grad(program.loss.climbed(terms), own, retain_graph=True)
    z = program.encode(x).sample().long()
    if prior.hidden:
        logits = prior.logits_after(torch.nn.functional.pad(nn.functional.one_hot(z, K)[:, :-1], (0, 0, 1, 0)))
    else:
        logits = prior.held("logits").expand(len(x), P, K)
    entropy = nn.functional.cross_entropy(logits.flatten(0, 1), z.flatten(), reduction="sum")
    for one, other in zip(mine, torch.autograd.grad(-entropy, own), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    reached = gradients(program, terms.log_prior.sum())
    ids = {id(p) for p in own}
    for name, parameter in program.named_parameters():
        assert (reached[name] is not None) == (id(parameter) in ids), name


def test_the_bound_of_codes_is_below_log_p_by_minus_log_of_their_posterior(quantised: Any) -> None:
    program, x = quantised
    prior, likelihood, _ = parts_of(program)
    states = torch.tensor([*product(range(K), repeat=P)], dtype=DOUBLE)
    with evaluating(program), torch.no_grad():
        joint = prior().log_prob(states)[:, None] + likelihood(states[:, None].expand(-1, len(x), -1)).log_prob(x)
        weights = log_weight(program, x)[0]
        chosen = program.encode(x).sample() @ torch.tensor([K, 1.0], dtype=DOUBLE)
    log_p = joint.logsumexp(0)
    assert (weights <= log_p + 1e-12).all()
    torch.testing.assert_close(
        log_p - weights, -(joint - log_p)[chosen.long(), torch.arange(len(x))], rtol=0, atol=1e-10
    )
    assert -loss_of(program, x).item() == pytest.approx(float(weights.sum()), abs=1e-9)


def test_the_history_tells_how_many_codes_are_used(quantised: Any) -> None:
    program, x = quantised
    fit = pv.fit(program, x, epochs=1, lr=1e-12, progress=False)
    share = torch.bincount(program.encode(x).sample().long().flatten(), minlength=K) / (P * len(x))
    assert float(fit.history["perplexity"][0, -1]) == pytest.approx(float(torch.special.entr(share).sum().exp()), 1e-5)


def test_a_sequence_of_categories_has_mass_1_and_draws_of_it() -> None:
    torch.manual_seed(0)
    prior = pv.priors.CategoricalSequence(3, 3, hidden=4).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter))
        states = torch.tensor([*product(range(3), repeat=3)], dtype=DOUBLE)
        probability = prior().log_prob(states).exp()
        z = prior().sample((20_000,))
    assert float(probability.sum()) == pytest.approx(1, abs=1e-12)
    share = torch.bincount((z @ torch.tensor([9.0, 3, 1]).double()).long(), minlength=27) / 20_000
    assert ((share - probability).abs() <= 4 * (probability * (1 - probability) / 20_000).sqrt() + 1e-9).all()
    assert prior().expand((5,)).sample((2,)).shape == (2, 5, 3)
    assert prior().expand((5,)).log_prob(states[0]).shape == (5,)


# noise that is seen, and noise that is learned


@pytest.mark.parametrize("kind", denoising.KINDS)
def test_nothing_is_corrupted_after_training(kind: str) -> None:
    x = 3 + 2 * torch.randn(400, 5)
    program = denoising.build(pv.Data(x), latents=2, hidden=(4,), corruption=kind, level=0.25)
    program.adapt(x)
    guide: Any = program.parts["guide"]
    program.eval()
    plain = pv.guides.Normal.parameters_of(guide.double(), x.double())
    torch.testing.assert_close(guide.parameters_of(x.double()), plain, rtol=0, atol=0)
    program.train()
    assert not torch.equal(guide.parameters_of(x.double()), guide.parameters_of(x.double()))
    seen = guide.corrupted(x)
    if kind == "gaussian":
        assert float((seen - x).std()) == pytest.approx(0.25 * float(x.std()), rel=4 / math.sqrt(2 * x.numel()))
    else:
        assert ((seen == x) | (seen == 0)).all()
        share = float((seen == 0).float().mean())
        assert share == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / x.numel()))


def test_a_corrupted_encoder_still_makes_a_bound() -> None:
    """Of a linear model whose log p(x) is known, at the exact guide of the clean x."""
    x = normal(200, 3) @ normal(3, 3, seed=2)
    exact = ppca.exact_program(x, 1)
    network = exact.parts["guide"].network
    guide = denoising.Denoising(network, "gaussian", 0.3).double()
    guide.adapt(x)
    guide.shift.fill_(0.0)
    program = pv.VAE(exact.parts["prior"], exact.parts["likelihood"], guide).train()
    guide.spread.fill_(1.0)
    log_p = log_weight(exact, x)[0]
    torch.testing.assert_close(log_weight(program, x)[0], log_p, rtol=0, atol=1e-10)
    with torch.no_grad():
        drawn = torch.cat([terms_of(program, x).log_weight for _ in range(200)])
    assert (drawn.mean(0) < log_p + 4 * drawn.std(0) / math.sqrt(200)).all()
    assert drawn.mean() < log_p.mean() - 0.01


def test_planted_noise_of_each_feature_is_recovered() -> None:
    torch.manual_seed(0)
    true = torch.tensor([0.1, 0.3, 0.6, 1.0, 0.2, 0.5])
    w = torch.tensor([[1.0, -1, 0.5, 1, 2, -1], [0.5, 1, 1, -1, 1, 1]])
    x = torch.randn(2000, 2) @ w + true * torch.randn(2000, 6)
    program = learned_noise.build(pv.Data(x), latents=2, hidden=(), noise="per_feature")
    pv.fit(program, x, epochs=60, lr=2e-2, batch_size=200, progress=False)
    likelihood: Any = program.parts["likelihood"]
    found = likelihood(torch.zeros(1, 2)).base_dist.scale[0].detach()
    # a scale known from 2,000 data has a standard error of 1.6 %; Adam's last steps and the bound's bias are small
    torch.testing.assert_close(found, true, rtol=0.08, atol=0)


@pytest.mark.parametrize("noise", learned_noise.NOISES)
def test_a_feature_that_never_changes_has_the_floor(noise: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(100, 4)
    x[:, 2] = 5.0
    program = learned_noise.build(pv.Data(x), latents=2, hidden=(4,), noise=noise, floor=0.02)
    likelihood: Any = program.parts["likelihood"]
    floor = 0.02 * float(x.double().std())
    with torch.no_grad():
        assert (likelihood(torch.randn(9, 2)).base_dist.scale >= floor * (1 - 1e-6)).all()
        for parameter in likelihood.parameters():
            parameter.fill_(-50.0)
        lowest = likelihood(torch.ones(9, 2)).base_dist.scale
    torch.testing.assert_close(lowest, torch.full_like(lowest, floor), rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="no maximum"):
        learned_noise.build(pv.Data(x), floor=0.0)


# families of q, and priors


@pytest.fixture
def turned() -> tuple[Tensor, Tensor, pv.VAE]:
    """Data of a linear model, a rotation by 45°, and the program that has the exact posterior there."""
    x = (normal(200, 2) * torch.tensor([3.0, 1.0])) @ torch.as_tensor(ortho_group.rvs(5, random_state=3))[:2]
    x, turn = x + 0.7 * normal(200, 5, seed=3), torch.tensor([[1.0, -1], [1, 1]], dtype=DOUBLE) / math.sqrt(2)
    return x, turn, ppca.exact_program(x, 2, rotation=turn, guide="multivariate_normal")


def test_a_full_covariance_has_a_gap_of_0_on_a_turned_linear_model(turned: Any) -> None:
    x, turn, exact = turned
    program = full_covariance.build(pv.Data(x), latents=2, hidden=()).double()
    program.load_weights(exact.weights())
    w, mu, sigma2 = ppca.maximum_likelihood(x, 2)
    log_p = dist.MultivariateNormal(mu, w @ w.T + sigma2 * torch.eye(5, dtype=DOUBLE)).log_prob(x)
    weights = log_weight(program, x, 3)
    torch.testing.assert_close(weights, log_p.expand_as(weights), rtol=0, atol=1e-9)
    m = turn.T @ w.T @ w @ turn + sigma2 * torch.eye(2, dtype=DOUBLE)
    gap = (log_p - log_weight(ppca.exact_program(x, 2, rotation=turn), x, 500)).mean(-1)  # of independent latents
    closed = 0.5 * float(m.diagonal().log().sum() - m.logdet())
    assert closed > 0.1
    assert float(gap.mean()) == pytest.approx(closed, abs=4 * float(gap.std()) / math.sqrt(500))


def test_a_full_covariance_is_learned(turned: Any) -> None:
    x, _, exact = turned
    torch.manual_seed(0)
    program: Any = full_covariance.build(pv.Data(x), latents=2, hidden=()).double()
    program.load_weights(exact.weights())
    with torch.no_grad():
        for parameter in program.parts["guide"].parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    program.parts["likelihood"].requires_grad_(False)
    log_p = log_weight(exact, x).mean()
    assert log_p - log_weight(program, x, 100).mean() > 0.05
    pv.fit(program, x, epochs=250, lr=2e-2, batch_size=200, progress=False)
    assert log_p - log_weight(program, x, 100).mean() < 2e-3


def test_a_new_datum_is_inferred_without_an_encoder() -> None:
    x = normal(30, 4).float()
    program = encoder_free.build(pv.Data(x), latents=2, hidden=(4,))
    pv.fit(program, x, epochs=1, progress=False)
    guide: Any = program.parts["guide"]
    assert guide.raw.shape == (30, 4)
    torch.testing.assert_close(program.encode(x[3:4]).base_dist.loc[0], guide.raw[3, :2].detach())
    assert program.encode(x[:3] + 1).batch_shape == (3,)


def test_an_encoder_may_be_followed_by_steps() -> None:
    program: Any = encoder_free.build(pv.Data(torch.randn(9, 4)), hidden=(4,), guide="semi_amortized", steps=3)
    assert program.parts["guide"].steps == 3


def test_the_vamp_prior_is_the_guide_at_its_pseudo_inputs() -> None:
    x = torch.randn(40, 4)
    program: Any = vamp_prior.build(pv.Data(x), latents=2, components=5, hidden=(4,))
    program.adapt(x)
    prior, guide = program.parts["prior"], program.parts["guide"]
    assert all(bool((row == x).all(-1).any()) for row in prior.inputs)
    z = torch.randn(7, 2)
    by_hand = torch.stack([guide(u[None]).log_prob(z) for u in prior.inputs]).logsumexp(0) - math.log(5)
    torch.testing.assert_close(program._p().log_prob(z), by_hand)


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        (hierarchy, {"inference": "up"}, "expected one of bottom_up, ladder, got 'up'"),
        (vq_vae, {"prior": "pixelcnn"}, "autoregressive, independent"),
        (vq_vae, {"size": 1}, "2 or more, got 'autoregressive' and 1"),
        (denoising, {"corruption": "salt"}, "expected one of gaussian, masking, got 'salt'"),
        (denoising, {"corruption": "masking", "level": 1}, "below 1 for masking, got 1"),
        (learned_noise, {"noise": "none"}, "expected one of one, per_feature, network, got 'none'"),
        (encoder_free, {"guide": "none"}, "expected one of table, semi_amortized, got 'none'"),
    ],
)
def test_unknown_settings_are_refused_with_the_known_ones(model: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        model.build(pv.Data(torch.randn(5, 3)), **settings)


@pytest.mark.parametrize("model", [hierarchy, two_stage, vq_vae])
def test_weights_are_read_back(model: Any, tmp_path: Any) -> None:
    data = pv.Data(torch.randn(40, 3))
    fit = pv.fit(model.build(data), data, epochs=1, progress=False)
    fit.save(tmp_path / "run")
    again = pv.load(tmp_path / "run", model.build(data)).program
    for name, value in fit.program.weights().items():
        assert torch.equal(again.weights()[name], value), name
    assert Batch(data.x).take(slice(0, 2)).x.shape == (2, 3)
