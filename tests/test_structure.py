"""What is found of a program by running it, and the errors that this can show."""

from __future__ import annotations

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoNormal
from torch import nn

import pyrovae as pv
from pyrovae._modes import evaluating
from pyrovae._support import describe
from pyrovae.program import Batch
from pyrovae.structure import inspect_program

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
N = dist.Normal


def model(x, plate="data"):
    with pyro.plate(plate, x.shape[0]):
        z = pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", N(z.sum(-1, keepdim=True), 1.0).expand([x.shape[0], 3]).to_event(1), obs=x)


def guide(x, plate="data"):
    with pyro.plate(plate, x.shape[0]):
        pyro.sample("z", N(x[:, :2], 1.0).to_event(1))


def structure(model=model, guide=guide, x=X, context=None, **settings):
    return inspect_program(pv.Program(model, guide, **settings), Batch(x, context))


def with_latent(prior, q):
    """A model and a guide whose latent has these distributions."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", prior())
            pyro.sample("x", N(torch.zeros(3), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", q())

    return model, guide


# What is found


def test_the_sites_of_a_program():
    found = structure()
    assert found.plate == "data"
    (z,), (x,) = found.latents, found.observed
    assert (z.name, z.event_shape, z.event_dim, z.plate_dim) == ("z", (2,), 1, -1)
    assert (x.name, x.event_shape, x.event_dim, x.plate_dim) == ("x", (3,), 1, -1)
    assert found.outside == found.enumerated == ()
    assert found.full_size is None
    assert describe(z.support) == "real"


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_any_number_of_data_will_do(n):
    found = structure(x=X[:n])
    assert (found.plate, found.full_size) == ("data", None)
    assert [(s.name, s.event_shape) for s in (*found.latents, *found.observed)] == [("z", (2,)), ("x", (3,))]


def test_the_plate_is_discovered_by_any_name():
    assert structure(lambda x: model(x, "people"), lambda x: guide(x, "people")).plate == "people"


def test_the_plate_may_be_named():
    assert structure(plate="data").plate == "data"


def test_a_plate_of_features_is_not_the_data():
    def model(x):
        with pyro.plate("data", x.shape[0], dim=-2):
            z = pyro.sample("z", N(0.0, 1.0))
            with pyro.plate("features", 3, dim=-1):
                pyro.sample("x", N(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0], dim=-2):
            pyro.sample("z", N(x.mean(-1, keepdim=True), 1.0))

    found = structure(model, guide)
    assert found.plate == "data"
    assert [(s.name, s.event_shape, s.event_dim, s.plate_dim) for s in (*found.latents, *found.observed)] == [
        ("z", (), 0, -2),
        ("x", (3,), 0, -2),
    ]


def test_of_two_plates_that_follow_the_data_one_is_named():
    def two(x):
        model(x)
        with pyro.plate("again", x.shape[0]):
            pyro.sample("y", N(0.0, 1.0), obs=x[:, 0])

    with pytest.raises(ValueError, match=r"\['data', 'again'\] all have the length .*plate='data'"):
        structure(two)
    found = structure(two, plate="data")
    assert found.plate == "data"
    assert [s.name for s in found.outside] == ["y"]


def test_a_program_that_subsamples_its_plate_itself():
    def own(function):
        def run(x):
            with pyro.plate("data", size=80, subsample_size=x.shape[0]):
                if function == "model":
                    z = pyro.sample("z", N(0.0, 1.0))
                    pyro.sample("x", N(z.unsqueeze(-1), 1.0).expand([len(x), 3]).to_event(1), obs=x)
                else:
                    pyro.sample("z", N(x[:, 0], 1.0))

        return run

    found = structure(own("model"), own("guide"))
    assert found.plate == "data"
    assert found.full_size == 80


def test_global_sites_stand_outside():
    def shared(x):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        pyro.sample("hint", N(scale, 1.0), obs=torch.tensor(2.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", N(0.0, 1.0))
            pyro.sample("x", N(z.unsqueeze(-1), scale).expand([len(x), 3]).to_event(1), obs=x)

    def q(x):
        pyro.sample("scale", dist.LogNormal(0.0, 0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", N(x[:, 0], 1.0))

    found = structure(shared, q)
    assert [s.name for s in found.outside] == ["scale", "hint"]
    assert [s.name for s in found.latents] == ["z"]
    assert all(s.plate_dim is None for s in found.outside)


def test_two_latents_and_two_observations():
    def two(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", N(0.0, 1.0))
            z = pyro.sample("z", N(top.unsqueeze(-1), 1.0).expand([len(x), 2]).to_event(1))
            pyro.sample("first", N(z[:, 0], 1.0), obs=x[:, 0])
            pyro.sample("rest", N(z, 1.0).to_event(1), obs=x[:, 1:])

    def q(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", N(x[:, :2], 1.0).to_event(1))
            pyro.sample("top", N(x[:, 0], 1.0))

    found = structure(two, q)
    assert [(s.name, s.event_shape) for s in found.latents] == [("top", ()), ("z", (2,))]
    assert [(s.name, s.event_shape) for s in found.observed] == [("first", ()), ("rest", (2,))]


def test_an_enumerated_latent_needs_no_guide():
    @config_enumerate
    def mixture(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            z = pyro.sample("z", N(0.0, 1.0))
            pyro.sample("x", N((z + k).unsqueeze(-1), 1.0).expand([len(x), 3]).to_event(1), obs=x)

    def q(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", N(x[:, 0], 1.0))

    found = structure(mixture, q)
    assert found.enumerated == ("k",)
    assert [s.name for s in found.latents] == ["z"]


def test_an_auxiliary_site_of_the_guide_is_left_alone():
    def q(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", N(0.0, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", N(x[:, :2] + u.unsqueeze(-1), 1.0).to_event(1))

    assert [s.name for s in structure(guide=q).latents] == ["z"]


def test_a_context_is_given_to_both():
    seen = []

    def conditional(x, c):
        seen.append(tuple(c.shape))
        model(x)

    def q(x, c):
        seen.append(tuple(c.shape))
        guide(x)

    structure(conditional, q, context=torch.zeros(6, 4))
    assert set(seen) == {(2, 4), (3, 4)}


def test_missing_values_that_a_program_deals_with_itself():
    def own(x):
        seen = ~torch.isnan(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", N(0.0, 1.0))
            mean = z.unsqueeze(-1).expand(x.shape)
            pyro.sample("x", N(mean, 1.0).mask(seen).to_event(1), obs=torch.nan_to_num(x))

    def q(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", N(torch.nan_to_num(x)[:, 0], 1.0))

    x = torch.where(X > 1, torch.nan, X)
    assert x.isnan().any()
    program = pv.Program(own, q)
    tree = pv.posterior(program, x, draws=4)
    z = torch.as_tensor(tree["posterior"]["z"].values[0])
    expected = torch.where(x.isnan(), 0.0, N(z.unsqueeze(-1), 1.0).log_prob(torch.nan_to_num(x))).sum(-1)
    np.testing.assert_allclose(tree["sample_stats"]["log_lik"][0], expected, rtol=1e-5)


# Nothing else changes


class Stateful(nn.Module):
    """A guide with every kind of state that running it could change."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.frozen = nn.BatchNorm1d(3), nn.Dropout(0.5), nn.BatchNorm1d(3).eval()

    def forward(self, x):
        random.random()
        np.random.rand()
        with pyro.plate("data", len(x)):
            pyro.sample("z", N(self.frozen(self.drop(self.norm(x)))[:, :2], 1.0).to_event(1))


def random_state():
    legacy = np.random.get_state()[1]
    return torch.get_rng_state().tolist(), random.getstate(), legacy.tolist()


@pytest.mark.parametrize("training", [True, False])
def test_inspecting_leaves_everything_as_it_was(training):
    q = Stateful()
    program = pv.Program(model, q)
    program.train(training)
    q.frozen.eval()
    modes = [(name, m.training) for name, m in program.named_modules()]
    before = {k: v.clone() for k, v in q.state_dict().items()}
    streams = random_state()
    inspect_program(program, Batch(X))
    assert random_state() == streams
    assert all(torch.equal(value, before[k]) for k, value in q.state_dict().items())
    assert [(name, m.training) for name, m in program.named_modules()] == modes
    assert all(p.grad is None for p in program.parameters())
    assert torch.is_grad_enabled()


def test_inspecting_leaves_everything_as_it_was_when_it_fails():
    q = Stateful()
    program, state = pv.Program(lambda x: None, q), random_state()
    with pytest.raises(ValueError, match="site 'z' that the model lacks"):
        inspect_program(program, Batch(X))
    assert random_state() == state
    assert program.training
    assert not q.frozen.training


def test_checking_the_data_leaves_modes_and_statistics_as_they_were():
    q = Stateful()
    before = {k: v.clone() for k, v in q.state_dict().items()}
    program = pv.Program(model, q)
    pv.posterior(program, X, draws=2)
    assert all(torch.equal(value, before[k]) for k, value in q.state_dict().items())


def test_evaluating_gives_each_module_its_mode_back():
    module = nn.Sequential(nn.Dropout(), nn.Dropout().eval(), nn.Sequential(nn.Dropout()))
    before = [m.training for m in module.modules()]
    with evaluating(module):
        assert not any(m.training for m in module.modules())
    assert [m.training for m in module.modules()] == before


def test_parameters_of_the_first_run_can_be_trained():
    def q(x):
        slope = pyro.param("slope", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", N(slope * x[:, :2], 1.0).to_event(1))

    program = pv.Program(model, q)
    inspect_program(program, Batch(X))
    ((name, slope),) = program.named_parameters()
    assert name == "slope"
    assert slope.requires_grad
    assert slope.is_leaf


# Errors


def without_plate(x):
    z = pyro.sample("z", N(torch.zeros(len(x), 2), 1.0).to_event(2))
    pyro.sample("x", N(z.sum(-1, keepdim=True), 1.0).expand([len(x), 3]).to_event(2), obs=x)


def fixed(x):
    with pyro.plate("data", 6):
        z = pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", N(z.sum(-1, keepdim=True), 1.0).expand([len(z), 3]).to_event(1), obs=x)


def fixed_guide(x):
    with pyro.plate("data", 6):
        pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))


def guide_elsewhere(x):
    guide(x, "batch")


def guide_without_plate(x):
    pyro.sample("z", N(x[:, :2], 1.0).to_event(1))


def fixed_values(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", N(torch.zeros(6, 3), 1.0).to_event(1), obs=x)
    return z


def own_size(x):
    with pyro.plate("data", size=80, subsample_size=len(x)):
        z = pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", N(z.sum(-1, keepdim=True), 1.0).expand([len(x), 3]).to_event(1), obs=x)


def another_latent(x):
    with pyro.plate("data", len(x)):
        pyro.sample("w", N(0.0, 1.0))
        z = pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", N(z.sum(-1, keepdim=True), 1.0).expand([len(x), 3]).to_event(1), obs=x)


def another_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", N(x[:, :2], 1.0).to_event(1))
        pyro.sample("w", N(0.0, 1.0))


def guide_of_the_data(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", N(x[:, :2], 1.0).to_event(1))
        pyro.sample("x", N(torch.zeros(3), 1.0).to_event(1))


def unobserved(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("y", N(0.0, 1.0), obs=torch.tensor(1.0))


def another_event(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", N(x, 1.0).to_event(1))


def no_event(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", N(x[:, 0], 1.0))


@pytest.mark.parametrize(
    ("model", "guide", "settings", "says"),
    [
        (
            without_plate,
            lambda x: pyro.sample("z", N(x[:, :2], 1.0).to_event(2)),
            {},
            "no plate .*found: none.*with pyro",
        ),
        (fixed, guide, {}, "'data' has size 6 in the model and 2 in the guide.* in both"),
        (fixed, fixed_guide, {}, r"'data' of length 6\): write `with pyro.plate\('data', x.shape\[0\]\):`"),
        (fixed_values, guide, {}, r"inside plate\('data'\).*run on two data, on three and on batches"),
        (model, guide_elsewhere, {}, r"\['data', 'batch'\] all have the length .*plate='data'"),
        (
            model,
            guide_elsewhere,
            {"plate": "data"},
            "'z' stands inside .* 'data' in the model and outside it in the guide",
        ),
        (
            model,
            guide_without_plate,
            {},
            r"outside it in the guide: .*`with pyro.plate\('data', x.shape\[0\]\):` in both",
        ),
        (own_size, guide, {}, "has size 80 in the model and 2 in the guide"),
        (model, guide, {"plate": "people"}, r"no plate named 'people'; it has \['data'\]"),
        (another_latent, guide, {}, r"no site for the model's latent 'w': add pyro.sample\('w', …\) to the guide"),
        (model, another_guide, {}, r"guide has a site 'w' that the model lacks; .* are \['z'\]: rename it, or mark"),
        (model, guide_of_the_data, {}, "the guide samples 'x', which the model observes: remove it"),
        (unobserved, guide, {}, "observes nothing inside its data plate 'data': give a sample statement obs=x"),
        (model, another_event, {}, r"site 'z': the guide's event shape is \(3,\), the model's \(2,\): .*to_event"),
        (model, no_event, {}, r"site 'z': the guide's event shape is \(\), the model's \(2,\): .*to_event"),
        (lambda x: x.nothing, guide, {}, "the model could not be run .*AttributeError: .*'nothing'"),
        (model, lambda: None, {}, r"the guide could not be run on data of shape \(2, 3\): TypeError"),
        (model, lambda x: pyro.sample("z", N(x[:, :2], -1.0)), {}, "the guide could not be run .*parameter scale"),
    ],
)
def test_what_is_wrong_with_a_program(model, guide, settings, says):
    with pytest.raises(ValueError, match=f"(?s){says}"):
        structure(model, guide, **settings)


def test_a_plate_inside_that_does_not_follow_the_data():
    def named(x):
        model(x)
        with pyro.plate("colours", 4):
            pyro.sample("colour", N(0.0, 1.0), obs=torch.zeros(4))

    with pytest.raises(ValueError, match=r"'colours' has length 4 whatever the length .*subsample_size=x.shape\[0\]"):
        structure(named, plate="colours")


def test_a_guide_that_keeps_a_value_per_datum_of_its_first_call():
    with pytest.raises(ValueError, match=r"could not be run on data of shape \(3, 3\).*AutoGuides do not"):
        structure(model, AutoNormal(model))


SUPPORTS = {
    "Gamma, Normal": (
        lambda: dist.Gamma(1.0, 1.0),
        lambda: N(0.0, 1.0),
        r"support at least \(0\), the guide's distribution real, and draws of the guide fall outside it",
    ),
    "Normal, LogNormal": (
        lambda: N(0.0, 1.0),
        lambda: dist.LogNormal(0.0, 1.0),
        r"support real, the guide's distribution greater than \(0\), and the guide cannot reach all of it",
    ),
    "Beta, Normal": (
        lambda: dist.Beta(1.0, 1.0),
        lambda: N(0.5, 1.0),
        r"support interval \(0, 1\), .* draws of the guide fall outside",
    ),
    "Bernoulli, Normal": (lambda: dist.Bernoulli(0.5), lambda: N(0.0, 1.0), "support boolean.* fall outside"),
    "Dirichlet, Normal": (
        lambda: dist.Dirichlet(torch.ones(3)),
        lambda: N(torch.zeros(3), 1.0).to_event(1),
        "support simplex, the guide's distribution real",
    ),
    "Uniform, shorter Uniform": (
        lambda: dist.Uniform(0.0, 2.0),
        lambda: dist.Uniform(0.0, 1.0),
        r"support interval \(0, 2\), the guide's distribution interval \(0, 1\), and the guide cannot reach",
    ),
    "Normal, Gamma of several": (
        lambda: N(torch.zeros(2), 1.0).to_event(1),
        lambda: dist.Gamma(torch.ones(2), 1.0).to_event(1),
        "support real, .* cannot reach",
    ),
}


@pytest.mark.parametrize("case", SUPPORTS)
def test_a_support_that_the_guide_does_not_have(case):
    prior, q, says = SUPPORTS[case]
    with pytest.raises(ValueError, match=f"site 'z': the model's latent has {says}.*Use (a guide on|guides)"):
        structure(*with_latent(prior, q))


SAME = {
    "Gamma, LogNormal": (lambda: dist.Gamma(1.0, 1.0), lambda: dist.LogNormal(0.0, 1.0)),
    "Beta, pushed Normal": (
        lambda: dist.Beta(1.0, 1.0),
        lambda: dist.TransformedDistribution(N(0.0, 1.0), [dist.transforms.SigmoidTransform()]),
    ),
    "Normal, Delta": (lambda: N(0.0, 1.0), lambda: dist.Delta(torch.tensor(0.3))),
    "Laplace, Normal": (
        lambda: dist.Laplace(torch.zeros(2), 1.0).to_event(1),
        lambda: N(torch.zeros(2), 1.0).to_event(1),
    ),
    "Normal, multivariate Normal": (
        lambda: N(torch.zeros(2), 1.0).to_event(1),
        lambda: dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
    ),
    "Dirichlet": (lambda: dist.Dirichlet(torch.ones(3)), lambda: dist.Dirichlet(2 * torch.ones(3))),
    "Bernoulli": (lambda: dist.Bernoulli(0.5), lambda: dist.Bernoulli(0.2)),
    "mixture, Normal": (
        lambda: dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), N(torch.zeros(3), 1.0)),
        lambda: N(0.0, 1.0),
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_a_support_that_the_guide_has(case):
    assert [s.name for s in structure(*with_latent(*SAME[case])).latents] == ["z"]


@pytest.mark.parametrize(
    ("support", "words"),
    [
        (N(0.0, 1.0).support, "real"),
        (N(torch.zeros(2), 1.0).to_event(1).support, "real"),
        (dist.Binomial(16, 0.5).support, "integer interval (0, 16)"),
        (dist.Bernoulli(0.5).support, "boolean"),
        (dist.Uniform(torch.zeros(2), torch.ones(2)).to_event(1).support, "interval (0, 1)"),
        (dist.Dirichlet(torch.ones(2)).support, "simplex"),
    ],
)
def test_a_support_in_words(support, words):
    assert describe(support) == words
