"""Aggregate posterior against prior, ELBO surgery, rate and distortion: closed forms, planted misfits, refusals."""

from __future__ import annotations

import math
import sys
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from scipy.special import gammaln, hyp1f1
from scipy.stats import kstest
from torch import Tensor

import pyrovae as pv
from models import ppca
from pyrovae.diagnostics import _guide_density, _tree
from pyrovae.diagnostics._density import dimension_effects
from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics._two_sample import pair_effects, two_sample
from pyrovae.diagnostics.aggregate import density_gap, prior_match
from pyrovae.diagnostics.elbo import elbo_terms
from pyrovae.diagnostics.surgery import rate_distortion, surgery
from pyrovae.plots.aggregate_posterior import plot_aggregate_posterior
from pyrovae.plots.rate_distortion import plot_rate_distortion
from tests.programs import bayesian_decoder, gaussian, hierarchy, linear_vae, mixture_vae, two_components

LEAD = ("chain", "draw", "obs_id")
SURGERY = sys.modules["pyrovae.diagnostics.surgery"]  # the module: the package has the function under its name


def planted(
    z: np.ndarray, prior: np.ndarray, log_weight: np.ndarray | None = None, context: bool = False, **more: Any
) -> xr.DataTree:
    """A tree of draws z (chain, draw, datum, dim), prior draws (chain, draw, dim) and further sites."""
    sites = {"z": (z, prior), **more}
    stats = np.zeros(z.shape[:3]) if log_weight is None else log_weight
    groups = {
        "posterior": xr.Dataset({k: ((*LEAD, f"{k}_dim_0"), v) for k, (v, _) in sites.items()}),
        "prior": xr.Dataset({k: (("chain", "draw", f"{k}_dim_0"), v) for k, (_, v) in sites.items()}),
        "sample_stats": xr.Dataset({"log_weight": (LEAD, stats), "log_lik": (LEAD, stats)}),
    }
    if context:
        groups["constant_data"] = xr.Dataset({"context": (("obs_id", "covariate"), np.zeros((z.shape[2], 1)))})
    return xr.DataTree.from_dict(groups)


def simulated(
    seed: int, n: int = 60, draws: int = 30, prior_draws: int = 50, scale: float = 1.0, context: float = 0.0
) -> xr.DataTree:
    """Exact posteriors of pPCA, 2 latents, for data simulated from it: the aggregate posterior is N(0, I)."""
    rng = np.random.default_rng(seed)
    w, noise = np.array([[1.5, 0.3, 0.2], [0.1, 0.8, -0.4]]), 0.7
    c = context * np.linspace(-1, 1, max(n, prior_draws))[:, None]
    centred = rng.normal(size=(n, 2)) @ w + noise * rng.normal(size=(n, 3))  # x − c W: the prior is N(c, I)
    m = w @ w.T + noise**2 * np.eye(2)
    mean = centred @ np.linalg.solve(m, w).T + c[:n]
    z = mean + rng.normal(size=(1, draws, n, 2)) @ np.linalg.cholesky(noise**2 * np.linalg.inv(m)).T
    prior = scale * rng.normal(size=(1, prior_draws, 2)) + c[:prior_draws]
    return planted(z, prior, context=context > 0)


# The estimators


def distance_to_normal(z: np.ndarray) -> np.ndarray:
    """E|z − Y|, Y ~ N(0, I), of points (…, L)."""
    size = z.shape[-1]
    g = math.exp(gammaln((size + 1) / 2) - gammaln(size / 2))
    return math.sqrt(2) * g * hyp1f1(-0.5, size / 2, -(z**2).sum(-1) / 2)


@pytest.mark.parametrize("statistic", ["energy", "mmd"])
def test_estimators_are_the_closed_forms_against_a_standard_normal(statistic: str) -> None:
    """Codes held fixed, the mean over draws of N(0, I), within 4 standard errors of it."""
    rng = np.random.default_rng(0)
    codes, gamma = 0.5 + 0.8 * rng.normal(size=(30, 3)), 1.7
    apart = np.sqrt(((codes[:, None] - codes) ** 2).sum(-1))
    among = ~np.eye(30, dtype=bool)
    if statistic == "energy":
        g = math.gamma(2) / math.gamma(1.5)
        exact = 2 * distance_to_normal(codes).mean() - apart[among].mean() - 2 * g
    else:
        across = (gamma / (1 + gamma)) ** 1.5 * np.exp(-(codes**2).sum(-1) / (2 * (1 + gamma)))
        exact = np.exp(-(apart[among] ** 2) / (2 * gamma)).mean() + (gamma / (gamma + 2)) ** 1.5 - 2 * across.mean()
    found = np.array(
        [two_sample(codes, rng.normal(size=(40, 3)), statistic, 1, rng, gamma=gamma).statistic for _ in range(400)]
    )
    assert abs(found.mean() - exact) < 4 * found.std(ddof=1) / 20


def test_the_effect_is_the_coefficient_of_inhomogeneity_and_does_not_grow_with_n() -> None:
    """N(δ, I) against N(0, I): x − y ~ N(δ, 2 I), so all distances are known."""
    delta = np.array([0.8, 0.5])
    across = math.sqrt(2) * float(distance_to_normal(delta / math.sqrt(2)))
    within = math.sqrt(2) * float(distance_to_normal(np.zeros(2)))
    exact, rng = (across - within) / across, np.random.default_rng(1)
    for n, reps in ((50, 400), (200, 100)):
        found = [(delta + rng.normal(size=(n, 2)), rng.normal(size=(n, 2))) for _ in range(reps)]
        effects = np.array([two_sample(x, y, "energy", 1, rng).effect for x, y in found])
        assert abs(effects.mean() - exact) < 4 * effects.std(ddof=1) / math.sqrt(reps)
    x, y = found[0]
    assert pair_effects(x, y, [(0, 1)])[0] == pytest.approx(two_sample(x, y, "energy", 1, rng).effect, rel=1e-4)


def test_the_effect_of_a_shift() -> None:
    """As documented: of all dimensions by δ standard deviations, about δ²/4."""
    rng = np.random.default_rng(2)
    x, y = 0.2 + rng.normal(size=(2000, 5)), rng.normal(size=(2000, 5))
    assert two_sample(x, y, "energy", 1, rng).effect == pytest.approx(0.2**2 / 4, rel=0.25)


def test_points_that_coincide() -> None:
    rng = np.random.default_rng(0)
    same = np.zeros((30, 2))
    for statistic in ("energy", "mmd"):
        assert two_sample(same, same, statistic, 9, rng) == (0.0, 0.0, 1.0)
        assert two_sample(same, same + 1, statistic, 99, rng).p_value == 0.01
    assert two_sample(same, same + 1, "energy", 9, rng).effect == pytest.approx(1)


# The test of the prior


@pytest.mark.parametrize(("statistic", "context"), [("energy", 0.0), ("mmd", 0.0), ("energy", 4.0)])
def test_p_is_uniform_where_the_aggregate_posterior_is_the_prior(statistic: str, context: float) -> None:
    jitter = np.random.default_rng(0).random(80)
    ps = [
        float(prior_match(simulated(s, context=context), statistic=statistic, permutations=39, seed=s)["p_value"][0])
        for s in range(80)
    ]
    assert kstest(np.array(ps) - jitter / 40, "uniform").statistic < 1.63 / math.sqrt(80)  # the 1 % point


@pytest.mark.parametrize("statistic", ["energy", "mmd"])
@pytest.mark.parametrize("context", [0.0, 0.5])
def test_a_prior_that_is_too_tight_is_found(statistic: str, context: float) -> None:
    found = prior_match(simulated(0, n=200, prior_draws=200, scale=0.5, context=context), statistic=statistic)
    assert float(found["p_value"][0]) == 0.001
    assert 0.001 < float(found["effect"][0]) < 1
    assert dict(found.attrs) == {"statistic": statistic, "permutations": 999, "data": 200, "prior_draws": 200}


def narrow(c: float, n: int = 400, draws: int = 1000) -> xr.DataTree:
    """z ~ N(0, 1), x ~ N(z/2, 1): posterior N(.4 x, .8), and draws of a guide whose sd is c times the posterior's."""
    rng = np.random.default_rng(0)
    x = 0.5 * rng.normal(size=n) + rng.normal(size=n)
    u = rng.normal(size=(1, draws, n))
    z = 0.4 * x + c * math.sqrt(0.8) * u
    log_weight = u**2 / 2 - (c * u) ** 2 / 2
    return planted(z[..., None], rng.normal(size=(1, 1000, 1)), log_weight)


def test_a_poor_guide_is_not_taken_for_a_poor_prior() -> None:
    tree = narrow(0.7)
    corrected, plain = prior_match(tree), prior_match(tree, corrected=False)
    assert float(plain["p_value"][0]) <= 0.01
    assert float(plain["corrected"][0]) == 0
    assert float(corrected["p_value"][0]) > 0.1
    assert float(corrected["corrected"][0]) > 0.9
    assert float(corrected["effect"][0]) < float(plain["effect"][0])


def test_weights_that_do_not_reach_are_said_and_not_used() -> None:
    """At half the standard deviation k is .75, above what 1,000 draws bear."""
    found = prior_match(narrow(0.5, n=100))
    assert float(found["corrected"][0]) < 0.5


def test_draws_that_need_no_weights_are_not_weighted() -> None:
    tree = simulated(0)
    tree.attrs["method"] = "nuts"
    assert float(prior_match(tree)["corrected"][0]) == 1
    few = planted(np.zeros((1, 10, 30, 1)), np.zeros((1, 30, 1)))
    assert float(prior_match(few)["corrected"][0]) == 0
    again = narrow(0.7, n=50, draws=100)
    again["importance"] = xr.DataTree(again["sample_stats"].to_dataset()[["log_weight"]])
    found = prior_match(again)
    assert 0 < float(found["corrected"][0]) <= 1
    assert float(found["p_value"][0]) == float(prior_match(again, corrected=False)["p_value"][0])


def test_the_exact_encoder_on_its_training_data() -> None:
    x = gaussian(n=150, features=5, latents=2).double()
    tree = pv.posterior(ppca.exact_program(x, 2), x, draws=40, predictive=0)
    for statistic in ("energy", "mmd"):
        found = prior_match(tree, statistic=statistic)
        assert float(found["p_value"][0]) > 0.2
        assert float(found["corrected"][0]) == 1
    gap = density_gap(tree)
    assert gap["first"].values.tolist() == [["z[0]"]]
    assert float((abs(gap["gap"]) > 2 * gap["error"]).mean()) < 0.1


def test_sites_chains_kinds_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sites, one of categories and one one-hot; two chains; whatever the blocks."""
    rng = np.random.default_rng(0)
    z, prior = rng.normal(size=(2, 40, 50, 2)), rng.normal(size=(2, 60, 2))
    z[1] += 1  # a shift in the second chain alone
    eye = np.eye(3)
    hot = (eye[rng.integers(3, size=(2, 40, 50))], eye[rng.integers(3, size=(2, 60))])
    kind = (rng.integers(4, size=(2, 40, 50, 1)), rng.integers(4, size=(2, 60, 1)))
    tree = planted(z, prior, rng.normal(size=(2, 40, 50)), a=hot, k=kind)
    found = prior_match(tree, seed=3)
    assert found["p_value"].dims == ("chain",)
    assert float(found["p_value"][0]) > 0.05
    assert float(found["p_value"][1]) < 0.05
    assert density_gap(tree)["first"].values[1, 0] == "z[0]"
    monkeypatch.setattr(_tree, "BLOCK", 2 * 40 * 8 * 3 * 7)
    xr.testing.assert_identical(prior_match(tree, seed=3), found)
    assert not prior_match(tree, seed=4).equals(found)


def test_a_hole_and_an_island_are_found() -> None:
    """Data on a ring of radius 2 against N(0, I): none in the middle, too many on the ring; z[2] matches."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 500)
    ring = np.stack([2 * np.cos(angle), 2 * np.sin(angle), rng.normal(size=500)], -1)
    z = np.repeat(ring[None, None], 2, 1) + 0.1 * rng.normal(size=(1, 2, 500, 3))
    gap = density_gap(planted(z, rng.normal(size=(1, 800, 3))), bins=41)
    assert (gap["first"].values[0, 0], gap["second"].values[0, 0]) == ("z[0]", "z[1]")
    one = gap.isel(chain=0, pair=0)
    x, y = one["x_value"].values, one["y_value"].values
    middle, edge = ((np.abs(y).argmin(), np.abs(x - at).argmin()) for at in (0, 2))
    assert one["gap"].values[middle] < -3 * one["error"].values[middle]
    assert one["gap"].values[edge] > 3 * one["error"].values[edge]
    area = (x[1] - x[0]) * (y[1] - y[0])
    for name in ("aggregate", "prior"):
        assert float(one[name].sum()) * area == pytest.approx(1, abs=0.02)
    assert gap["effect"].values[0, 0] > gap["effect"].values[0, 1]
    asked = density_gap(planted(z, rng.normal(size=(1, 800, 3))), pairs=[("z[2]", "z[0]")])
    assert (asked["first"].item(), asked["second"].item()) == ("z[2]", "z[0]")


def test_dimensions_alone() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)) * [1, 3, 1], rng.normal(size=(300, 3))
    effects = dimension_effects(x, y)
    assert effects.argmax() == 1
    assert effects[1] > 10 * effects[[0, 2]].max()


def test_what_prior_match_refuses() -> None:
    tree = simulated(0)
    with pytest.raises(ValueError, match="statistic: expected one of energy, mmd, got 'ks'"):
        prior_match(tree, statistic="ks")
    with pytest.raises(ValueError, match="permutations"):
        prior_match(tree, permutations=0)
    with pytest.raises(NotAvailable, match="no group 'prior'"):
        prior_match(xr.DataTree.from_dict({k: v.to_dataset() for k, v in tree.children.items() if k != "prior"}))
    with pytest.raises(NotAvailable, match="at least two data"):
        prior_match(tree.isel(obs_id=slice(1)))
    with pytest.raises(ValueError, match=r"'z' from the prior: expected finite values, 100 of 100"):
        prior_match(planted(tree["posterior"]["z"].values, np.full((1, 50, 2), np.inf)))
    many = np.arange(100).reshape(1, 1, 100, 1)
    with pytest.raises(ValueError, match="at most 64 categories"):
        prior_match(planted(np.zeros((1, 1, 100, 1)), np.zeros((1, 100, 1)), k=(many, many[0])))
    with pytest.raises(ValueError, match=r"pairs: expected a number, or pairs of two of z\[0\], z\[1\]"):
        density_gap(tree, pairs=[("z[0]", "y")])
    with pytest.raises(NotAvailable, match="but one latent dimension"):
        density_gap(planted(np.zeros((1, 2, 9, 1)), np.zeros((1, 9, 1))))
    shared = pv.posterior(bayesian_decoder(), gaussian(20), draws=3, predictive=0)
    with pytest.raises(NotAvailable, match="the data share 'w'"):
        prior_match(shared)


# Rate and distortion


def test_rate_and_distortion_add_up_to_the_elbo() -> None:
    x = gaussian(n=60)
    tree = pv.posterior(linear_vae(), x, draws=20, predictive=0)
    found, terms = rate_distortion(tree), elbo_terms(tree)
    assert float(found["rate"][0] + found["distortion"][0]) == pytest.approx(-float(found["elbo"][0]), rel=1e-12)
    assert float(found["elbo"][0]) == pytest.approx(float(terms["elbo"].mean()), rel=1e-12)
    assert float(found["rate_se"][0]) == pytest.approx(float(terms["kl"].std(ddof=1)) / math.sqrt(60), rel=1e-9)
    with pytest.raises(NotAvailable, match="at least two data"):
        rate_distortion(tree.isel(obs_id=slice(1)))


# Surgery


def gaussian_vae(slope: float, scale: float) -> pv.VAE:
    """z ~ N(0, 1), q(z|x) = N(slope x, scale²), in double precision."""
    one = torch.ones(1, dtype=torch.float64)
    return pv.VAE(
        prior=lambda: dist.Normal(0 * one, one).to_event(1),
        likelihood=lambda z: dist.Normal(z, 1.0).to_event(1),
        guide=lambda x: dist.Normal(slope * x, scale * one).to_event(1),
    )


def gaussian_program(slope: float, scale: float) -> pv.Program:
    """The same with two latents: z, and y ~ N(z, 1) with q(y|x, z) = N(z, 1), which adds nothing."""

    def model(x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x[:, 0]), 1.0))
            pyro.sample("y", dist.Normal(z, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(slope * x[:, 0], scale))
            pyro.sample("y", dist.Normal(z, 1.0))

    return pv.Program(model, guide)


PROGRAMS = pytest.mark.parametrize("program", [gaussian_vae, gaussian_program])


def points(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def closed_form(x: Tensor, slope: float, scale: float) -> tuple[float, float]:
    """The mean KL, and I by quadrature: the entropy of the mixture less that of a component."""
    loc = slope * x[:, 0].numpy()
    kl = (-0.5 * (1 + 2 * math.log(scale) - loc**2 - scale**2)).mean()
    z = np.linspace(loc.min() - 9 * scale, loc.max() + 9 * scale, 20_001)
    density = np.exp(-(((z[:, None] - loc) / scale) ** 2) / 2).mean(1) / (scale * math.sqrt(2 * math.pi))
    log = np.log(np.where(density > 0, density, 1))
    return kl, np.trapezoid(-density * log, z) - 0.5 * math.log(2 * math.pi * math.e * scale**2)


@PROGRAMS
def test_surgery_of_a_linear_gaussian_guide(program: Any) -> None:
    x = torch.linspace(-2, 2, 40, dtype=torch.float64)[:, None]
    found = surgery(program(0.7, 0.4), x, draws=50)
    kl, information = closed_form(x, 0.7, 0.4)
    exact = {"kl": kl, "information": information, "marginal_kl": kl - information}
    for name, value in exact.items():
        assert abs(float(found[name]) - value) < 4 * float(found[f"{name}_mcse"]), name
        assert float(found[f"{name}_mcse"]) < 0.05
    assert float(found["kl"]) == pytest.approx(float(found["information"] + found["marginal_kl"]), abs=1e-12)
    assert float(found["elbo"]) == pytest.approx(float(found["log_lik"] - found["kl"]), abs=1e-12)
    assert float(found["bound"]) == math.log(40)
    assert dict(found.attrs) == {"units": "nats per datum", "data": 40, "drawn": 40, "draws": 50}


@PROGRAMS
def test_data_far_apart_and_data_alike(program: Any) -> None:
    apart = surgery(program(1.0, 0.1), points(-50.0, 50.0))
    assert float(apart["information"]) == pytest.approx(math.log(2), abs=1e-12)
    assert float(apart["information_mcse"]) == pytest.approx(0, abs=1e-12)
    alike = surgery(program(0.0, 0.5), points(-1.0, 0.0, 2.0))
    assert float(alike["information"]) == pytest.approx(0, abs=1e-12)
    assert float(alike["marginal_kl"]) == pytest.approx(float(alike["kl"]), abs=1e-12)


@PROGRAMS
def test_of_many_data_some_are_drawn_for(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAIRS", "REPLAYED"):
        monkeypatch.setattr(SURGERY, name, 40 * 400 * 5)
    x = torch.linspace(-2, 2, 400, dtype=torch.float64)[:, None]
    found = surgery(program(0.7, 0.4), x, draws=5)
    assert found.attrs["drawn"] == 40
    kl, information = closed_form(x, 0.7, 0.4)
    for name, value in (("kl", kl), ("information", information), ("marginal_kl", kl - information)):
        assert abs(float(found[name]) - value) < 4 * float(found[f"{name}_mcse"]), name
        assert float(found[f"{name}_mcse"]) > 0.01  # that the data are a part is in it


def test_surgery_agrees_with_the_tree_and_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enumerated sites, hierarchies and blocks; rate and distortion of draws of their own."""
    x = gaussian(n=30)
    found = surgery(hierarchy(), x, draws=20)
    both = rate_distortion(pv.posterior(hierarchy(), x, draws=400, predictive=0))
    assert abs(float(found["kl"]) - float(both["rate"][0])) < 4 * float(found["kl_mcse"])
    assert abs(float(found["log_lik"]) + float(both["distortion"][0])) < 4 * float(found["log_lik_mcse"])
    mixture = mixture_vae(torch.tensor([0.4, 0.6]), torch.tensor([-1.0, 1.0]), torch.tensor([0.0, 0.5]))
    assert np.isfinite(float(surgery(mixture, x[:, :1])["marginal_kl"]))

    real = _guide_density.aggregate_density

    def small(e: Any, *rest: Any) -> Any:
        object.__setattr__(e, "rows", 7)
        return real(e, *rest)

    monkeypatch.setattr(SURGERY, "aggregate_density", small)
    blocked = surgery(hierarchy(), x, draws=20)
    for name in found:
        assert float(blocked[name]) == pytest.approx(float(found[name]), abs=1e-4), name


def test_what_surgery_refuses() -> None:
    x = gaussian(20)
    with pytest.raises(NotAvailable, match="'w' are shared by all data"):
        surgery(bayesian_decoder(), x)
    with pytest.raises(NotAvailable, match="the guide draws no latent"):
        surgery(two_components(torch.tensor([0.4, 0.6]), torch.tensor([-1.0, 1.0])), x[:, :1])
    with pytest.raises(ValueError, match="draws: expected a whole number of at least 2"):
        surgery(linear_vae(), x, draws=1)

    def vae(prior: Any = None, guide: Any = None) -> pv.VAE:
        return pv.VAE(
            prior or (lambda: dist.Normal(torch.zeros(4), 1.0).to_event(1)),
            lambda z: dist.Normal(z, 1.0).to_event(1),
            guide or (lambda x: dist.Normal(x, 1.0).to_event(1)),
        )

    conditional = vae(prior=lambda context: dist.Normal(context.expand(-1, 4), 1.0).to_event(1))
    with pytest.raises(NotAvailable, match="the prior differs from datum to datum"):
        surgery(conditional, x, context=torch.arange(20.0)[:, None])
    with pytest.raises(NotAvailable, match="the guide is random"):
        surgery(vae(guide=lambda x: dist.Normal(x + torch.randn(()), 1.0).to_event(1)), x)


# Plots


def test_plots_say_what_the_diagnostics_say() -> None:
    tree = simulated(0, n=200, prior_draws=200, scale=0.5)
    figure = plot_aggregate_posterior(tree)
    said = "\n".join(t.get_text() for t in figure.findobj(plt.Text))
    assert "p ≤ 0.001" in said
    assert f"effect {float(prior_match(tree)['effect'][0]):.3f}" in said
    assert "data\nwithout\nprior" in said
    x = gaussian(n=30)
    one, two = (pv.posterior(linear_vae(), x, draws=10, predictive=0) for _ in range(2))
    drawn = plot_rate_distortion({"first": one, "second": two})
    said = "\n".join(t.get_text() for t in drawn.findobj(plt.Text))
    for name, t in (("first", one), ("second", two)):
        assert f"{name}: ELBO −{-float(rate_distortion(t)['elbo'][0]):.2f}" in said
    centre = drawn.axes[0].containers[0].lines[0].get_xydata()[0]
    np.testing.assert_allclose(centre, [rate_distortion(one)[k][0] for k in ("rate", "distortion")])
    with pytest.raises(ValueError, match="at least one tree"):
        plot_rate_distortion({})


def test_plots_of_odd_trees() -> None:
    rng = np.random.default_rng(0)
    eye = np.eye(2)
    hot = planted(eye[rng.integers(2, size=(1, 3, 40))], eye[rng.integers(2, size=(1, 30))])
    scalar = planted(rng.normal(size=(1, 3, 40, 1)), rng.normal(size=(1, 30, 1)))
    wide = planted(rng.normal(size=(1, 3, 40, 25)), rng.normal(size=(1, 30, 25)))
    still = planted(np.zeros((1, 3, 40, 2)), np.zeros((1, 30, 2)))
    for tree in (hot, scalar, wide, still):
        figure = plot_aggregate_posterior(tree)
        figure.canvas.draw()
        plt.close(figure)
    figure, ax = plt.subplots()
    assert plot_aggregate_posterior(wide, ax=ax) is figure
    figure.canvas.draw()
