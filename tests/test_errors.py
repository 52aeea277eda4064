"""Bad input to the public functions: each error says what was expected, what came, and what to do."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from tests.programs import counts, gaussian, linear_vae, small_vae

N, MLP = dist.Normal, pv.networks.MLP
X = torch.rand(20, 4, generator=torch.Generator().manual_seed(1))
BINARY = (X > 0.5).float()
LATENTS, FEATURES = 2, 4


def encoder(features=FEATURES, latents=LATENTS, **settings):
    return pv.guides.Normal(MLP(features, (8,), 2 * latents, **settings))


def decoder(latents=LATENTS, features=FEATURES, family=pv.likelihoods.Normal, **settings):
    return family(MLP(latents, (8,), features, **settings))


def vae(**parts):
    return pv.VAE(**{"prior": pv.priors.Normal(LATENTS), "likelihood": decoder(), "guide": encoder(), **parts})


def bernoulli():
    return vae(likelihood=decoder(family=pv.likelihoods.Bernoulli))


def conditional():
    return vae(likelihood=decoder(context=3), guide=encoder(context=3))


def of(family):
    """A likelihood without parameters."""
    return lambda z: family(z.sum(-1, keepdim=True).expand(-1, FEATURES))


def fit(program, data=X, **settings):
    return pv.fit(program, data, **{"epochs": 1, "progress": False, **settings})


def with_nan(row=7, column=2):
    x = X.clone()
    x[row, column] = torch.nan
    return x


# Data


DATA = {
    "grey pixels": (
        lambda: fit(bernoulli()),
        r"site 'x': the data must lie in the support of Bernoulli, boolean, got 0\.\d+ at obs_id=0, x_dim_0=0 "
        r"\(80 such values in these 20 data\)\. Binarise them \(data\.binarize\(\"dynamic\"\)\)",
    ),
    "counts over the total": (
        lambda: fit(
            vae(likelihood=pv.likelihoods.Binomial(16, MLP(LATENTS, (), FEATURES))),
            torch.tensor([[1, 2, 3, 4], [5, 6, 7, 17]]),
        ),
        r"support of Binomial, integer interval \(0, 16\), got 17 at obs_id=1, x_dim_0=3 .*Raise .* total",
    ),
    "grey pixels with holes": (
        lambda: fit(
            vae(likelihood=decoder(family=pv.likelihoods.Bernoulli), guide=encoder(mask=True)),
            torch.where(with_nan().isnan(), torch.nan, torch.where(torch.arange(4) == 3, X, BINARY)),
        ),
        r"support of Bernoulli, boolean, got 0\.\d+ at obs_id=0, x_dim_0=3 .*Binarise",
    ),
    "a late row": (
        lambda: fit(bernoulli(), torch.cat([torch.zeros(9000, 3), (torch.arange(9000.0) == 8500)[:, None] / 2], 1)),
        r"got 0\.5 at obs_id=8500, x_dim_0=3 \(1 such",
    ),
    "names of a frame": (
        lambda: fit(
            bernoulli(),
            pd.DataFrame(BINARY.numpy() + 3.0 * np.eye(20, 4, -5), list("ABCDEFGHIJKLMNOPQRST"), list("wxyz")),
        ),
        "got [34] at obs_id=F, column=w",
    ),
    "below a lower bound": (
        lambda: fit(vae(likelihood=of(lambda m: dist.LogNormal(m, 1.0).to_event(1))), X - 2),
        r"support of LogNormal, greater than \(0\), got -[\d.]+ at obs_id=0, x_dim_0=0 .*Choose a likelihood with",
    ),
    "a support of whole data": (
        lambda: fit(
            vae(likelihood=of(lambda m: dist.Dirichlet(m.exp()))),
            torch.eye(4)[[0, 1, 2, 3, 0]] * torch.tensor([1, 1, 1, 1, 2])[:, None],
        ),
        r"support of Dirichlet, simplex, got 2, 0, 0, 0 at obs_id=4 \(1 such values in these 5 data",
    ),
    "validation data": (
        lambda: fit(bernoulli(), BINARY, validation=X),
        "the validation data must lie in the support of Bernoulli",
    ),
    "wrong feature count": (
        lambda: fit(vae(), torch.rand(20, 5)),
        r"the guide, given data of shape \(2, 5\), raised .*expected 4 features .*: build it with in_features=5",
    ),
    "wrong feature count of one datum": (lambda: fit(vae(), torch.rand(1, 5)), "the guide.* expected 4 features"),
    "wrong feature count in validation": (
        lambda: fit(vae(), validation=torch.rand(5, 3)),
        "the guide, given data .*expected 4 features .*got shape .*3",
    ),
    "wrong feature count in posterior": (
        lambda: pv.posterior(vae(), torch.rand(5, 3)),
        "the guide, .*expected 4 features",
    ),
    "images in a perceptron": (
        lambda: fit(vae(), torch.rand(20, 2, 2)),
        r"got shape \(2, 2, 2\): flatten .*x\.flatten\(1\)",
    ),
    "rows for a likelihood of images": (
        lambda: fit(
            vae(
                likelihood=pv.likelihoods.Normal(pv.networks.Conv(2, (4,), (1, 2, 2))),
                guide=pv.guides.Normal(pv.networks.Conv((1, 2, 2), (4,), 4)),
            )
        ),
        r"the likelihood returned .*event shape \(1, 2, 2\), expected .*event shape \(4,\) \(the shape of one datum\)",
    ),
    "empty": (lambda: fit(vae(), torch.zeros(0, 4)), r"x is empty, of shape \(0, 4\): expected at least one datum"),
    "infinite": (
        lambda: fit(vae(), torch.where(with_nan().isnan(), torch.inf, X)),
        "holds an infinite value at obs_id=7, x_dim_0=2: expected finite values, or NaN for missing",
    ),
    "NaN, a guide without mask": (
        lambda: fit(vae(), with_nan()),
        r"the data hold NaN \(first: obs_id=7, x_dim_0=2\), and the guide cannot be told .*mask=True .*fill or drop",
    ),
    "NaN in the first row": (
        lambda: fit(vae(), with_nan(0, 3)),
        r"the data hold NaN \(first: .*0, .*3\)+, and the guide cannot be told .*mask=True .*fill or drop",
    ),
    "NaN in the third row": (
        lambda: fit(vae(), with_nan(2, 3)),
        r"the data hold NaN \(first: .*2, .*3\)+, and the guide",
    ),
    "NaN in validation": (
        lambda: fit(vae(), validation=with_nan()),
        r"the validation data hold NaN \(first: obs_id=7, x_dim_0=2\), and the guide cannot be told",
    ),
    "NaN in posterior": (lambda: pv.posterior(vae(), with_nan(0)), "the data hold NaN .*mask=True"),
    "NaN, dependent cells": (
        lambda: fit(vae(likelihood=of(lambda m: dist.Dirichlet(m.exp())), guide=encoder(mask=True)), with_nan()),
        r"Dirichlet cannot leave missing cells out: its cells are not independent .*\.to_event\(k\), or fill",
    ),
    "NaN, dependent cells, first row": (
        lambda: fit(vae(likelihood=of(lambda m: dist.Dirichlet(m.exp())), guide=encoder(mask=True)), with_nan(0)),
        "Dirichlet cannot leave missing cells out",
    ),
    "nothing observed": (
        lambda: fit(vae(guide=encoder(mask=True)), X * torch.nan),
        r"every value of the data, of shape \(20, 4\), is missing \(NaN\)",
    ),
    "counts that float32 does not hold": (
        lambda: fit(vae(), torch.full((20, 4), 2**30)),
        r"whole numbers up to 1073741824, and torch.float32 is exact only up to 16777216: .*program\.double\(\)",
    ),
    "no event dimension": (
        lambda: fit(vae(), torch.rand(4)),
        r"x has shape \(4,\), with no event dimension: .*reshape",
    ),
    "ragged lists": (lambda: fit(vae(), [[1, 2, 3, 4], [1, 2]]), "x is not a rectangular array of numbers"),
}


@pytest.mark.parametrize("case", DATA)
def test_data(case):
    run, says = DATA[case]
    with pytest.raises(ValueError, match=f"(?s){says}"):
        run()


@pytest.mark.parametrize("data", ["digits", None, 3, {"x": X}, torch.zeros(5, 4, dtype=torch.complex64)], ids=repr)
def test_data_of_another_kind(data):
    with pytest.raises(TypeError, match=r"cannot take x from a|expected real numbers"):
        fit(vae(), data)


def test_data_are_converted_not_refused():
    histories = {}
    for name, data in {
        "float32": BINARY,
        "float64": BINARY.double(),
        "float16": BINARY.half(),
        "int64": BINARY.long(),
        "int8": BINARY.to(torch.int8),
        "uint8": BINARY.to(torch.uint8),
        "bool": BINARY.bool(),
        "numpy": BINARY.numpy().astype(np.int16),
        "list": BINARY.tolist(),
        "frame": pd.DataFrame(BINARY.numpy().astype(bool)),
    }.items():
        torch.manual_seed(0)
        histories[name] = fit(bernoulli(), data, epochs=3).history["elbo_step"].values.tolist()
    assert np.isfinite(histories["float32"]).all()
    assert all(history == histories["float32"] for history in histories.values()), histories


def test_a_program_in_double_takes_float32_data():
    history = fit(vae().double(), X, epochs=2).history
    assert np.isfinite(history["elbo"]).all()


# Parts that do not fit


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(LATENTS, FEATURES), nn.Linear(LATENTS, FEATURES)

    def forward(self, z):
        return N(self.used(z), 1.0).to_event(1)


class Detached(Unused):
    def forward(self, z):
        return N(self.used(z) + self.idle(z).detach(), 1.0).to_event(1)


class Holder:
    """Holds a network and is no module."""

    def __init__(self):
        self.net = nn.Linear(LATENTS, FEATURES)


def held():
    holder = Holder()
    return lambda z: N(holder.net(z), 1.0).to_event(1)


def of_torch(z):
    return torch.distributions.Independent(torch.distributions.Normal(z.repeat(1, 2), 1.0), 1)


PARTS = {
    "latents, likelihood": (
        lambda: vae(likelihood=decoder(latents=3)),
        r"the likelihood, given latents, drawn from the prior, of shape \(2, 2\), .*: expected 3 features",
    ),
    "latents, guide": (
        lambda: vae(guide=encoder(latents=3)),
        r"the guide returned batch shape \(2,\) and event shape \(3,\), expected .*the prior's .*change the sizes",
    ),
    "features, guide": (
        lambda: vae(guide=encoder(features=5)),
        r"the guide, given data, drawn from the likelihood, of shape \(2, 4\), .*MLP\(5, …, 4\): expected 5 features",
    ),
    "event, prior": (
        lambda: vae(prior=lambda: N(torch.zeros(2), 1.0)),
        r"the prior returned batch shape \(2,\) and event shape \(\), expected batch shape \(\); add \.to_event\(1\)",
    ),
    "event, likelihood": (
        lambda: vae(likelihood=of(lambda m: N(m, 1.0))),
        r"the likelihood returned batch shape \(2, 4\) and event shape \(\), expected .*add \.to_event\(1\)",
    ),
    "event, likelihood of images": (
        lambda: vae(likelihood=lambda z: N(z.sum() + torch.zeros(len(z), 1, 5, 5), 1.0).to_event(1)),
        r"the likelihood returned batch shape \(2, 1, 5\) .*add \.to_event\(2\) so that the last 2 dimensions are",
    ),
    "event, guide": (
        lambda: vae(guide=lambda x: N(x[:, :2], 1.0)),
        r"the guide returned batch shape \(2, 2\) and event shape \(\), .*event shape \(2,\) .*add \.to_event\(1\)",
    ),
    "too much event, guide": (
        lambda: vae(guide=lambda x: N(x[:, :2], 1.0).to_event(2)),
        r"the guide returned batch shape \(\) and event shape \(2, 2\), .*must count the data: lower the k",
    ),
    "no batch, guide": (
        lambda: vae(guide=lambda x: N(torch.zeros(2), 1.0).to_event(1)),
        r"the guide returned batch shape \(\) .*add \.expand\(\[x\.shape\[0\]\]\)",
    ),
    "odd outputs": (
        lambda: vae(guide=pv.guides.Normal(MLP(4, (), 5))),
        "the guide, .*expected a network with 2 · latents outputs .* got 5 outputs",
    ),
    "a distribution of torch": (
        lambda: vae(likelihood=of_torch),
        "the likelihood returned torch.distributions.*Independent, expected .*: use pyro.distributions.Independent",
    ),
    "a tensor": (
        lambda: vae(likelihood=MLP(2, (), 4)),
        "the likelihood returned torch.Tensor, expected a Pyro distribution: return a distribution of",
    ),
    "nothing": (lambda: vae(guide=lambda x: None), "the guide returned .*NoneType, expected a Pyro distribution"),
    "no argument": (
        lambda: vae(likelihood=lambda: None),
        r"the likelihood, given latents.*takes 0 positional arguments",
    ),
    "prior and guide swapped": (
        lambda: pv.VAE(encoder(), decoder(), pv.priors.Normal(2)),
        "the prior raised TypeError.*missing 1 required positional argument: 'x'",
    ),
    "supports": (
        lambda: fit(vae(prior=lambda: dist.Gamma(torch.ones(2), 1.0).to_event(1), likelihood=decoder())),
        r"site 'z': the model's latent has support at least \(0\), the guide's distribution real, and draws",
    ),
    "a scale of another shape": (
        lambda: vae(likelihood=pv.likelihoods.Normal(MLP(2, (), 4), torch.ones(3))),
        r"the likelihood.*a scale of shape \(3,\) does not fit a datum of shape \(4,\)",
    ),
    "an unused parameter": (
        lambda: fit(vae(likelihood=Unused())),
        r"no gradient reached the parameters parts\.likelihood\.idle\.weight, .*use them .*requires_grad_\(False\)",
    ),
    "a detached parameter": (lambda: fit(vae(likelihood=Detached())), r"idle\.weight.*check for \.detach\(\)"),
    "a parameter that is not found": (
        lambda: fit(vae(likelihood=held())),
        r"the loss depends on a tensor of shape \(4, 2\) that requires a gradient and is no parameter .*nn\.Module",
    ),
    "nothing to train": (
        lambda: fit(vae().requires_grad_(False)),
        "the program has no parameters to train; pv.posterior takes it as it is",
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_that_do_not_fit(case):
    run, says = PARTS[case]
    with pytest.raises(ValueError, match=f"(?s){says}"):
        run()


CALLABLES = {
    "a distribution": (
        lambda: vae(prior=N(torch.zeros(2), 1.0).to_event(1)),
        "expected prior to be callable .*got the distribution Independent; write prior=lambda: …",
    ),
    "a distribution of torch": (
        lambda: vae(prior=torch.distributions.Normal(0.0, 1.0)),
        "got the distribution Normal; write prior=lambda: …",
    ),
    "a distribution as likelihood": (
        lambda: vae(likelihood=N(0.0, 1.0)),
        "expected likelihood .*got the distribution Normal; write likelihood=a function that makes it",
    ),
    "a class": (lambda: vae(prior=pv.priors.Normal), r"got the class Normal; write prior=Normal\(…\)"),
    "a class of distributions": (lambda: vae(prior=N), r"got the class Normal; write prior=Normal\(…\)"),
    "a number": (lambda: vae(guide=8), "expected guide to be callable and return a distribution, got int"),
    "too many arguments": (
        lambda: vae(likelihood=lambda z, a, b: None),
        r"<lambda> requires the arguments \(z, a, b\), and is given one, a context .*functools\.partial",
    ),
    "misspelt part": (lambda: vae(decoder=decoder()), "unexpected keyword argument 'decoder'"),
    "misspelt option": (lambda: fit(vae(), epoch=3), "unexpected keyword argument 'epoch'"),
    "misspelt option of posterior": (lambda: pv.posterior(vae(), X, draw=3), "unexpected keyword argument 'draw'"),
    "loss by position": (lambda: pv.fit(vae(), X, None), "takes 2 positional arguments"),
    "no program": (
        lambda: fit(object()),
        r"expected a program \(pv.VAE\(...\), pv.Program\(model, guide\), .*got object",
    ),
    "a network": (lambda: fit(MLP(4, (), 4)), r"expected a program .*got MLP"),
    "data for a program": (lambda: fit(X, vae()), r"expected a program .*got Tensor"),
    "no program in posterior": (lambda: pv.posterior(3, X), r"expected a program .*got int"),
    "a model that is no function": (
        lambda: pv.Program("model", encoder()),
        "Program: expected a callable model, got str",
    ),
    "an optimizer instance": (
        lambda: fit(vae(), optimizer=torch.optim.Adam([nn.Parameter(torch.zeros(1))])),
        r"optimizer: expected a class of torch\.optim or functools\.partial .*got an instance of torch.optim.*Adam",
    ),
    "an optimizer of Pyro": (
        lambda: fit(vae(), optimizer=pyro.optim.Adam({"lr": 0.1})),
        r"optimizer: expected a class of torch\.optim .*got an instance of pyro\.optim",
    ),
    "the name of an optimizer": (lambda: fit(vae(), optimizer="adam"), "optimizer: expected a class .*str"),
    "a loss of torch": (
        lambda: fit(vae(), loss=nn.MSELoss()),
        r"loss: expected an ELBO object, such as pyro\.infer\.Trace_ELBO\(\), got MSELoss",
    ),
    "the name of a loss": (lambda: fit(vae(), loss="elbo"), "loss: expected an ELBO object, .*got str"),
}


@pytest.mark.parametrize("case", CALLABLES)
def test_things_of_another_type(case):
    run, says = CALLABLES[case]
    with pytest.raises(TypeError, match=f"(?s){says}"):
        run()


# Context


CONTEXTS = {
    "unwanted": (
        lambda: fit(vae(), context=torch.zeros(20, 3)),
        r"a context was given, and no part of the VAE takes one: build a network with context=3, write .*or leave",
    ),
    "missing": (
        lambda: fit(conditional()),
        "the likelihood and the guide of the VAE take a context and none was given: pass context=",
    ),
    "missing, one part": (
        lambda: fit(vae(prior=lambda labels: N(labels[:, :2], 1.0).to_event(1))),
        "the prior of the VAE takes a context and none was given",
    ),
    "missing in validation": (
        lambda: fit(conditional(), context=torch.zeros(20, 3), validation=X),
        r"none was given: .*for validation data, pv\.data\.as_data\(x, context=c\)",
    ),
    "missing in posterior": (lambda: pv.posterior(conditional(), X), "none was given: pass context="),
    "wrong length": (
        lambda: fit(conditional(), context=torch.zeros(19, 3)),
        r"context has shape \(19, 3\): expected \(20, c\)",
    ),
    "wrong width": (
        lambda: fit(conditional(), context=torch.zeros(20, 2)),
        "built for 3 covariates, got a context of 2: build it with context=2",
    ),
    "not finite": (
        lambda: fit(conditional(), context=torch.full((20, 3), torch.nan)),
        "context is nan at obs_id=0, column 0: expected finite covariates",
    ),
}


@pytest.mark.parametrize("case", CONTEXTS)
def test_context(case):
    run, says = CONTEXTS[case]
    with pytest.raises(ValueError, match=f"(?s){says}"):
        run()


# Numbers


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lr": -1}, "lr: expected a positive number, got -1"),
        ({"lr": 0.0}, r"lr: expected a positive number, got 0\.0"),
        ({"lr": float("nan")}, "lr: expected a positive number, got nan"),
        ({"epochs": 0}, "epochs: expected a whole number of at least 1, got 0"),
        ({"epochs": True}, "epochs: .* got True"),
        ({"epochs": 1.5}, r"epochs: .* got 1\.5"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1, got 0"),
        ({"restarts": 0}, "restarts: expected a whole number of at least 1, got 0"),
        ({"patience": 0}, "patience: expected a whole number of at least 1, got 0"),
        ({"clip_norm": -1.0}, r"clip_norm: expected a positive number, got -1\.0"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"seed": "a"}, "seed: expected a whole number of at least 0, got 'a'"),
    ],
    ids=str,
)
def test_numbers_out_of_range(settings, says):
    with pytest.raises(ValueError, match=says):
        fit(vae(), **settings)


@pytest.mark.parametrize("draws", [0, -1, 2.5, True])
def test_draws_out_of_range(draws):
    with pytest.raises(ValueError, match=f"draws: expected a whole number of at least 1, got {re.escape(repr(draws))}"):
        pv.posterior(vae(), X, draws=draws)


# A refusal leaves no trace


def test_a_refused_fit_leaves_weights_and_random_state():
    program, state = bernoulli(), torch.get_rng_state()
    before = {name: value.detach().clone() for name, value in program.named_parameters()}
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="Binarise"):
        fit(program)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in program.named_parameters())
    assert all(p.grad is None for p in program.parameters())
    assert program.training


# General programs


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", N(z.repeat(1, 2), 1.0).to_event(1), obs=x)


def guide(x):
    loc = pyro.param("loc", torch.zeros(2))
    with pyro.plate("data", len(x)):
        pyro.sample("z", N(loc + x[:, :2], 1.0).to_event(1))


def test_nan_in_a_program_that_does_not_deal_with_it():
    with pytest.raises(
        ValueError, match=r"hold NaN \(first: obs_id=7, x_dim_0=2\), which reach the site 'x' of the model.*mask"
    ):
        fit(pv.Program(model, guide), with_nan())
    with pytest.raises(ValueError, match="which reach the site 'z' of the guide"):
        fit(pv.Program(model, guide), with_nan(7, 1))
    with pytest.raises(ValueError, match=r"(?s)guide could not be run .*The data hold NaN: fill or drop them"):
        fit(pv.Program(model, guide), with_nan(0, 0))


def test_a_tensor_that_is_no_parameter_of_a_program():
    holder = Holder()
    holder.net = nn.Linear(4, 2)

    def q(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", N(holder.net(x), 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"a tensor of shape \(2, 4\) that requires a gradient and is no parameter"):
        fit(pv.Program(model, q))
    holder.net.requires_grad_(False)
    assert pv.posterior(pv.Program(model, q), X, draws=2)["posterior"].sizes["draw"] == 2


def test_a_context_that_a_program_does_not_take():
    with pytest.raises(
        ValueError, match=r"the guide could not be run .*\(2, 4\) and \(2, 3\): TypeError: guide\(\) takes 1"
    ):
        fit(pv.Program(model, guide), context=torch.zeros(20, 3))


class TestArguments:
    """Arguments out of range are named with what was expected, before anything is changed."""

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("lr", "0.1", "lr: expected a positive number, got '0.1'"),
            ("lr", True, "lr: expected a positive number, got True"),
            ("clip_norm", "a", "clip_norm: expected a positive number, got 'a'"),
            ("epochs", 1.5, "epochs: expected a whole number of at least 1, got 1.5"),
            ("patience", 0, "patience: expected a whole number of at least 1, got 0"),
            ("callbacks", print, "callbacks: expected a list of functions"),
            ("callbacks", [3], "callbacks: expected a list of functions"),
            ("schedule", torch.optim.lr_scheduler.StepLR, "schedule: expected a function of the optimizer alone"),
            ("schedule", "linear", 'schedule: expected "cosine", None, or a function'),
            ("validation", (1, 2), "validation: expected data, got a tuple"),
        ],
    )
    def test_of_fit(self, name, value, message) -> None:
        with pytest.raises((ValueError, TypeError), match=message):
            pv.fit(linear_vae(), gaussian(), progress=False, **{name: value})

    def test_numpy_integers_are_taken(self) -> None:
        import numpy as np

        fit = pv.fit(linear_vae(), gaussian(), epochs=np.int64(2), progress=False)
        assert fit.history.sizes["epoch"] == 2

    def test_resume_in_a_file(self, tmp_path) -> None:
        (tmp_path / "run").write_text("")
        with pytest.raises(NotADirectoryError, match="expected a folder for checkpoints"):
            pv.fit(linear_vae(), gaussian(), resume=tmp_path / "run", progress=False)

    @pytest.mark.parametrize(
        ("function", "least"), [(pv.posterior, 1), (pv.sample, 1), (pv.encode, 2), (pv.reconstruct, 1)]
    )
    def test_no_draws(self, function, least: int) -> None:
        with pytest.raises(ValueError, match=f"draws: expected a whole number of at least {least}, got 0"):
            function(linear_vae(), gaussian(), draws=0)

    def test_negative_predictive_draws(self) -> None:
        with pytest.raises(ValueError, match="predictive: expected a whole number of at least 0, got -1"):
            pv.posterior(linear_vae(), gaussian(), predictive=-1)

    def test_a_class_in_the_place_of_a_program(self) -> None:
        with pytest.raises(TypeError, match="expected a program, got the class VAE"):
            pv.fit(pv.VAE, gaussian())


def test_data_that_are_refused_leave_the_guide_as_it_was() -> None:
    vae = small_vae()
    with pytest.raises(ValueError, match="support"):
        pv.fit(vae, counts() * 255, progress=False)
    assert vae.parts["guide"].shift == 0
    assert not vae.parts["guide"].adapted


def test_lbfgs_too_refuses_a_parameter_without_gradient() -> None:
    vae = linear_vae()
    vae.parts["guide"].spare = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"no gradient reached the parameters .*spare"):
        pv.fit(vae, gaussian(), optimizer=torch.optim.LBFGS, lr=1.0, progress=False)


def test_frozen_modules_stay_frozen() -> None:
    vae = linear_vae()
    norm = torch.nn.BatchNorm1d(4)
    vae.parts["guide"].network.layers.append(norm.eval().requires_grad_(False))
    pv.fit(vae, gaussian(), epochs=2, progress=False)
    assert norm.running_mean.eq(0).all()
    assert not norm.training


def test_enumerated_sites_need_an_elbo_that_sums_over_them() -> None:
    import pyro
    import pyro.distributions as dist

    weight = torch.nn.Parameter(torch.tensor([0.0, 1.0]))

    def model(x):
        loc = pyro.param("loc", weight)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            k = pyro.sample("k", dist.Categorical(torch.ones(2)), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(z + loc[k], 1.0), obs=x[:, 0])

    def guide(x):
        slope = pyro.param("slope", torch.tensor(0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x[:, 0], 0.7))

    program = pv.Program(model, guide)
    with pytest.raises(ValueError, match=r"Trace_ELBO does not sum over the sites k.*TraceEnum_ELBO"):
        pv.fit(program, gaussian(features=1), loss=pyro.infer.Trace_ELBO(), progress=False)
    assert pv.fit(program, gaussian(features=1), epochs=2, progress=False).settings["loss"] == "TraceEnum_ELBO"


def test_auxiliary_sites_of_the_guide_have_no_density_to_weight_with() -> None:
    import pyro
    import pyro.distributions as dist

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(u, 0.1))

    with pytest.raises(ValueError, match=r"auxiliary sites 'u' are no latents of the model"):
        pv.posterior(pv.Program(model, guide), gaussian(features=1))
