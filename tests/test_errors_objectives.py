"""Bad input to objectives, to what carries them and to model files: refused before training, or called what it is."""

from __future__ import annotations

import copy
import importlib
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.distributions import constraints

import pyrovae as pv
from pyrovae.cli.model_file import ModelFileError, read_model

MLP, J, P, G = pv.networks.MLP, pv.objectives, pv.priors, pv.guides
X = torch.rand(20, 4, generator=torch.Generator().manual_seed(1))
MODELS = Path(__file__).resolve().parents[1] / "models"
NAN = math.nan


def encoder(latents: int = 2) -> Any:
    return G.Normal(MLP(4, (8,), 2 * latents))


def decoder(latents: int = 2, **settings: Any) -> Any:
    return pv.likelihoods.Normal(MLP(latents, (8,), 4, **settings))


def vae(**parts: Any) -> pv.VAE:
    return pv.VAE(**{"prior": P.Normal(2), "likelihood": decoder(), "guide": encoder(), **parts})


def fit(program: Any, data: Any = X, **settings: Any) -> pv.Fit:
    return pv.fit(program, data, **{"epochs": 1, "batch_size": 10, "progress": False, **settings})


def critic(inputs: int = 2, outputs: int = 1) -> Any:
    return MLP(inputs, (8,), outputs)


def normed() -> Any:
    return nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))


def point() -> Any:
    return G.Delta(MLP(4, (8,), 2))


def mvn() -> Any:
    return G.MultivariateNormal(MLP(4, (8,), G.MultivariateNormal.outputs(2)))


def discrete(estimator: str = "score") -> dict[str, Any]:
    guide = G.OneHotCategorical(MLP(4, (8,), 3), estimator=estimator)
    return {"prior": P.OneHotCategorical(3), "likelihood": decoder(3), "guide": guide}


def listed(rows: int = 20) -> dict[str, Any]:
    return {"prior": P.Bernoulli(5), "likelihood": decoder(5), "guide": G.Truncated(rows, 5, states=8)}


def mmd() -> Any:
    return J.Discrepancy(J.MMD())


def model(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(-1, 4), 1.0).to_event(1), obs=x)


class Own(nn.Module):
    """A program of the user's that does not take a plate of draws."""

    def __init__(self) -> None:
        super().__init__()
        self.network = MLP(4, (8,), 4)
        self.loss = J.Beta(9)

    model = staticmethod(model)

    def guide(self, x: torch.Tensor) -> None:
        loc, scale = self.network(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def shared_critic() -> pv.Fit:
    part = critic(2, 4)
    guide = G.Normal(nn.Sequential(MLP(4, (8,), 2), part))
    return fit(vae(guide=guide, loss=J.Adversarial(nn.Sequential(part, nn.Linear(4, 1)))))


def normal_of(loc: float) -> Callable[[], Any]:
    return lambda: dist.Normal(torch.full((2,), loc), 1.0).to_event(1)


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    # numbers, flags, schedules
    *((lambda k=k: J.ImportanceWeighted(k), ValueError, "k: expected a whole number") for k in (0, 1.5, True, NAN)),
    *((lambda a=a: J.Renyi(a, 3), ValueError, "at 1 it is the ELBO") for a in (1, 1 + 1e-12, 0.9995)),
    (lambda: J.Renyi(NAN, 3), ValueError, "alpha: expected a finite number"),
    *((lambda b=b: J.Beta(b), ValueError, "beta: expected a") for b in (-1, NAN, math.inf)),
    *((lambda b=b: J.Beta(b), TypeError, "beta: expected a number or a schedule") for b in ("4", None, True, [1])),
    (lambda: J.Beta(lambda epoch: "half"), ValueError, "expected a finite number, got 'half'"),
    (lambda: J.Beta(pv.schedules.linear), TypeError, "expected a function of the epoch"),
    (lambda: fit(vae(loss=J.Beta(lambda e: 1 - e)), epochs=3), ValueError, "got -1 in epoch 2"),
    (lambda: J.Beta(1, elbo=Trace_ELBO), TypeError, "elbo: expected one of Pyro's estimators"),
    (lambda: J.Discrepancy(J.MMD(), -1), ValueError, "weight: expected a number of at least 0"),
    (lambda: J.Discrepancy(J.MMD(), vectorize="no"), TypeError, "vectorize: expected True or False, got 'no'"),
    (lambda: J.TotalCorrelation(3, stratified="no"), TypeError, "stratified: expected True or False, got 'no'"),
    (lambda: J.TotalCorrelation(3, rate=0.1), ValueError, "learning rate of a critic, and there is none"),
    (lambda: J.Adversarial(critic(), rate=0), ValueError, "rate: expected a positive number"),
    (lambda: J.SlicedWasserstein(0), ValueError, "projections: expected a whole number"),
    (lambda: J.RBF(-1), ValueError, "bandwidth: expected a positive number"),
    # one thing in the place of another
    (lambda: J.Discrepancy(J.MMD), TypeError, r"write MMD\(\)"),
    (lambda: J.MMD("rbf"), TypeError, "kernel: expected a function"),
    (lambda: vae(loss=J.MMD()), TypeError, "a distance goes into objectives.Discrepancy"),
    (lambda: vae(loss=nn.MSELoss()), TypeError, "expected an ELBO object.*got MSELoss"),
    (lambda: vae(loss="elbo"), TypeError, "expected an ELBO object.*got str"),
    (lambda: vae(loss=J.DReG), TypeError, "the class DReG cannot be made .*'k'"),
    (lambda: pv.Program(model, model, loss=J.Energy), TypeError, "expected an ELBO object"),
    (lambda: setattr(vae(), "loss", 3), TypeError, "expected an ELBO object"),
    (lambda: J.Objective(), TypeError, r"define value\(terms\)"),
    (lambda: vae(loss=J.Discrepancy(Trace_ELBO())), ValueError, "return a tensor"),
    (lambda: vae(loss=J.Discrepancy(J.RBF())), ValueError, r"got one of shape \(6, 6\)"),
    (lambda: vae(loss=J.Discrepancy(lambda z, y: NAN * z.sum())), ValueError, "is not finite"),
    (lambda: vae(loss=J.Discrepancy(J.MMD(lambda a, b: a))), ValueError, r"kernel that makes \(6, 6\)"),
    (lambda: J.Energy()(torch.zeros(3, 2), torch.zeros(3, 2).double()), ValueError, "real numbers of one type"),
    # closed forms, and guides that an objective is not defined for: when the VAE is made
    *(
        (lambda p=p: vae(prior=p, loss=J.Discrepancy(J.Energy(closed=True))), ValueError, "in closed form")
        for p in (P.Laplace(2), P.Normal(2, learned=True), normal_of(1.0))
    ),
    *(
        (lambda o=o: vae(**discrete(), loss=o()), ValueError, "needs a gradient through each draw")
        for o in (mmd, lambda: J.DReG(3), lambda: J.TotalCorrelation(2), lambda: J.Adversarial(critic(3)))
    ),
    *(
        (lambda o=o: vae(guide=point(), loss=o()), ValueError, "point")
        for o in (
            lambda: J.ImportanceWeighted(3),
            lambda: J.DReG(3),
            lambda: J.Renyi(0.5, 3),
            lambda: J.TotalCorrelation(2),
            lambda: J.Discrepancy(J.MMD(), kl=1),
            lambda: J.Adversarial(critic(), kl=1),
            lambda: J.LearnedSimilarity(MLP(4, (8,), 5), critic(5)),
            lambda: J.Beta(2, capacity=3),
        )
    ),
    (lambda: vae(guide=mvn(), loss=J.TotalCorrelation(3)), ValueError, "independent dimensions.*or a critic"),
    (
        lambda: fit(vae(**discrete("enumerate"), loss=J.ImportanceWeighted(3))),
        ValueError,
        "does not sum over the sites z",
    ),
    (lambda: fit(vae(**listed(), loss=J.Renyi(0.5, 3))), ValueError, "does not sum over the sites z"),
    (lambda: fit(vae(guide=point()), loss=J.ImportanceWeighted(3)), ValueError, "a point has none"),
    # critics
    (lambda: J.Adversarial(MLP), TypeError, "critic: expected a torch.nn.Module.*the class MLP"),
    (lambda: J.Adversarial(lambda z: z[:, :1]), TypeError, "critic: expected a torch.nn.Module"),
    (lambda: J.Adversarial(nn.Identity()), ValueError, "expected a network that can be trained"),
    (lambda: J.Adversarial(critic().requires_grad_(False)), ValueError, "expected a network that can be trained"),
    (lambda: vae(loss=J.Adversarial(critic(3))), ValueError, "Adversarial: critic: given codes.*3 features.*2 latents"),
    (lambda: vae(loss=J.Adversarial(critic(2, 2))), ValueError, "critic: .*expected logits of shape"),
    (lambda: vae(loss=J.Adversarial(critic().double())), ValueError, "in the program's type"),
    (lambda: fit(vae(loss=J.Adversarial(critic())).double()), ValueError, "in the program's type"),
    (lambda: fit(vae(loss=J.LearnedSimilarity(MLP(5, (8,), 5), critic(5)))), ValueError, "features and critic, given"),
    (shared_critic, ValueError, "holds the program's own parts.guide.network"),
    (lambda: fit(vae(loss=J.Adversarial(normed())), X[:11]), ValueError, "batch normalisation.*the last has 1"),
    (
        lambda: fit(vae(loss=J.Adversarial(critic(), rate=0.5)), optimizer=torch.optim.LBFGS),
        ValueError,
        "the objective's rate asks for",
    ),
    # batches and sizes
    (lambda: fit(vae(loss=mmd()), X[:11]), ValueError, "the last has 1: choose a batch_size"),
    (lambda: fit(vae(loss=mmd()), X[:1]), ValueError, "expected 2 data or more, got 1"),
    (lambda: fit(vae(loss=J.TotalCorrelation(3)), batch_size=1), ValueError, "the last has 1"),
    (lambda: fit(vae(loss=mmd()), validation=X[:1]), ValueError, "validation: .*expected 2 data or more, got 1"),
    (lambda: fit(vae(loss=J.TotalCorrelation(3, size=25))), ValueError, "the number of training data, 20 here, got 25"),
    (lambda: fit(vae(loss=mmd()), context=X[:, :1]), ValueError, "no part of the VAE takes one"),
    (lambda: fit(vae(loss=mmd()), torch.where(X > 0.9, NAN, X)), ValueError, "the data hold NaN"),
    (lambda: fit(Own(), loss=J.DReG(3, vectorize=True)), ValueError, "vectorize: .*Leave vectorize out"),
    (lambda: fit(vae(loss=J.ImportanceWeighted(3, plate="nope"))), ValueError, "no latent in the plate 'nope'"),
    # guides and priors
    (lambda: vae(guide=G.Delta), TypeError, "the class Delta"),
    (lambda: G.Delta("mlp"), TypeError, "expected a network"),
    (lambda: G.Delta(MLP(4, (8,), 2), support=constraints.boolean), ValueError, "expected a continuous one"),
    (lambda: G.Truncated(20, 3, states=9), ValueError, "states=8 at most"),
    (lambda: G.Truncated(20, 0), ValueError, "latents: expected a whole number"),
    (lambda: fit(vae(**listed(19))), ValueError, "made for 19 training data, got 20"),
    (lambda: fit(vae(guide=G.Table(19, 2))), ValueError, "made for 19 training data, got 20"),
    (lambda: vae(**{**listed(), "prior": P.Normal(5)}), ValueError, "support real, the guide's distribution boolean"),
    (lambda: P.CategoricalSequence(3, 1), ValueError, "categories: expected a whole number of at least 2"),
    (lambda: vae(prior=P.CategoricalSequence(2, 4)), ValueError, "Use a guide that is discrete too"),
    # data
    (lambda: pv.likelihoods.suited(X, MLP(2, (8,), 4)), TypeError, "expected a pyrovae.Data, got Tensor"),
    (lambda: pv.likelihoods.suited(pv.Data(X), MLP(2, (8,), 4), "gauss"), ValueError, "expected one of auto"),
    (lambda: pv.likelihoods.suited(pv.Data(X), MLP(2, (8,), 4), "binomial"), ValueError, "whole numbers from 0"),
    (lambda: pv.likelihoods.suited(pv.Data(NAN * X), MLP(2, (8,), 4)), ValueError, "is missing"),
    (lambda: pv.data.labels_as_context(X), TypeError, "expected a pyrovae.Data with labels, got Tensor"),
    (lambda: pv.data.labels_as_context(pv.Data(X)), ValueError, r"pv.Data\(x, labels=…\)"),
    *(
        (lambda k=k: pv.data.labels_as_context(LABELLED, **k), ValueError, says)
        for k, says in (
            ({"labelled": 2}, "labelled=2: expected 0, or one for each of the 4 classes"),
            ({"labelled": 100}, "ask for fewer"),
            ({"labelled": True}, "labelled: expected a whole number"),
            ({"labelled": 8, "seed": "a"}, "seed: expected a whole number"),
        )
    ),
    (lambda: pv.data.features(pv.Data(X.reshape(-1, 2, 2))), ValueError, r"got \(2, 2\) of data: flatten them"),
]
LABELLED = pv.Data(X, labels=np.arange(20) % 4)


@pytest.mark.parametrize(("make", "error", "says"), REFUSED, ids=[f"{i}" for i in range(len(REFUSED))])
def test_refused_before_the_first_epoch(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=f"(?s){says}") as raised:
        make()
    assert not isinstance(raised.value, pv.NonFiniteError)


# Model files, from Python and by their annotations

DATA = pv.Data(torch.randint(0, 9, (40, 6), generator=torch.Generator().manual_seed(0)), labels=np.arange(40) % 4)
CONTEXT = pv.data.one_hot(DATA.labels)
LABELS = ("conditional", "semi_supervised", "supervised")
NO_CONTEXT = [p.stem for p in sorted(MODELS.glob("*.py")) if p.stem not in LABELS]


@pytest.mark.parametrize("name", NO_CONTEXT)
@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (pv.Data(torch.rand(8, 3, 3)), ValueError, r"one event dimension, got \(3, 3\)"),
        (torch.rand(8, 9), TypeError, "expected a pyrovae.Data, got Tensor"),
    ],
)
def test_models_want_vectors(name: str, data: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        importlib.import_module(f"models.{name}").build(data)


@pytest.mark.parametrize("name", LABELS)
def test_models_with_labels_say_what_is_missing(name: str) -> None:
    module = importlib.import_module(f"models.{name}")
    with pytest.raises(ValueError, match="context"):
        module.build(DATA)
    with pytest.raises(ValueError, match="labels"):
        module.prepare(pv.Data(X))
    images = pv.Data(torch.rand(40, 3, 3), labels=DATA.labels, context=CONTEXT)
    with pytest.raises(ValueError, match="flatten them"):
        module.build(module.prepare(images))


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("vae", {"latents": 0}, "got 0"),
        ("beta_vae", {"schedule": "cyclical", "cycles": 0}, "cycles: expected a whole number of at least 1"),
        ("beta_vae", {"schedule": "linear"}, "schedule: expected one of"),
        ("evolutionary", {"latents": 0}, "expected a whole number of at least 1, got 0"),
        ("evolutionary", {"latents": 3}, "states=8 at most"),
        ("hierarchy", {"latents": 16}, r"two numbers.*\(16, 8\), got 16"),
        ("importance_weighted", {"objective": "renyi", "alpha": 1}, "at 1 it is the ELBO"),
        ("kernel_vae", {"kernel": "nope"}, "kernel: expected one of"),
        ("learned_noise", {"floor": math.inf}, "floor: expected a positive number"),
        ("ppca_em", {"latents": 6}, "expected 1 to 5 latents"),
        ("ppca_em", {"latents": 1.5}, "expected 1 to 5 latents, got 1.5"),
        ("sparse_coding", {"latents": -1}, "latents: expected a whole number"),
        ("two_stage", {"switch": -1}, "switch: expected a whole number"),
        ("vae_gan", {"critic": ()}, "critic: expected its layers"),
        ("vq_vae", {"codes": 1}, "codes: expected one of .* 2 or more, got 'autoregressive' and 8, 1"),
        ("vq_vae", {"beta": NAN}, "beta from 0, got nan"),
        ("semi_supervised", {"alpha": -1.0}, "alpha: expected a number of at least 0"),
        ("supervised", {"weight": NAN}, "weight: expected a number of at least 0"),
    ],
)
def test_hyperparameters_out_of_range(name: str, settings: dict[str, Any], says: str) -> None:
    module = importlib.import_module(f"models.{name}")
    data = module.prepare(DATA, labelled=8) if hasattr(module, "prepare") else DATA
    with pytest.raises(ValueError, match=says):
        module.build(data, **settings)


@pytest.mark.parametrize("name", ["learned_noise", "ppca_em", "sparse_coding"])
def test_data_that_are_all_the_same_have_no_maximum(name: str) -> None:
    with pytest.raises(ValueError, match=f"models/{name}.py: expected data that"):
        importlib.import_module(f"models.{name}").build(pv.Data(torch.ones(20, 6)), latents=2)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("swae", {"hidden": 64}, r"--set hidden: expected a tuple such as \(64, 64\), got 64"),
        ("swae", {"closed": "no"}, "--set closed: expected True or False, got 'no'"),
        ("swae", {"latents": True}, "--set latents: expected a whole number, got True"),
        ("supervised", {"labelled": 0.1}, "--set labelled: expected a whole number, got 0.1"),
        ("beta_vae", {"beta": "nan"}, "--set beta: expected a number, got 'nan'"),
        ("semi_supervised", {"alpha": "a"}, "--set alpha: expected a number or None, got 'a'"),
        ("hierarchy", {"latents": (8, 4, 2)}, "--set latents: expected a tuple such as"),
        ("conditional", {"labelled": 10}, "build has no 'labelled'"),
    ],
)
def test_settings_are_held_against_annotations(name: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelFileError, match=says):
        read_model(MODELS / f"{name}.py").check(settings)


def test_settings_that_may_be_meant_are_taken(tmp_path: Path) -> None:
    read_model(MODELS / "swae.py").check({"hidden": [64, 64], "weight": 100, "closed": True})
    read_model(MODELS / "kernel_vae.py").check({"kernel": "matern"})
    file = tmp_path / "own.py"
    file.write_text("from __future__ import annotations\ndef build(data, *, a: Unknown = 1, b=2): ...\n")
    read_model(file).check({"a": "x", "b": (1,)})


# What is accepted is called what it is


@pytest.mark.parametrize(
    ("loss", "label"),
    [
        (None, "log p(x, z)"),
        (J.Beta(0), "log p(x|z)"),
        (J.Beta(2), "log p(x|z) + β log p(z) (β = 2)"),
        (TraceMeanField_ELBO(), "log p(x, z)"),
    ],
)
def test_figures_of_a_point_are_no_bound(loss: Any, label: str) -> None:
    assert fit(vae(guide=point(), loss=loss)).history.attrs["objective"] == label


def test_the_loss_of_fit_goes_before_the_program_s() -> None:
    program = vae(loss=J.Beta(4, capacity=3))
    assert fit(program, loss=J.ImportanceWeighted(3)).history.attrs["objective"] == "IWAE bound (K = 3)"
    assert fit(program).history.attrs["objective"] == "β-ELBO (β = 4, C = 3)"
    assert repr(program.loss) == "Beta(beta=4, capacity=3)"


def test_a_program_of_the_users_brings_its_loss() -> None:
    assert fit(Own()).history.attrs["objective"] == "β-ELBO (β = 9)"


def test_one_objective_for_two_programs_in_turn() -> None:
    loss = J.TotalCorrelation(pv.schedules.linear(0, 3, epochs=2))
    first, second = (fit(vae(loss=loss), x, epochs=2) for x in (X, X[:12]))
    assert loss.total == 12
    assert first.history["weight"].values.tolist() == second.history["weight"].values.tolist() == [[0, 3]]
    beta = J.Beta(3)
    assert [fit(vae(guide=g, loss=beta)).history.attrs["objective"][:3] for g in (point(), encoder())] == ["log", "β-E"]


def test_sums_of_another_run_are_not_in_the_first_epoch() -> None:
    loss = mmd()
    program = vae(loss=loss)
    with program.scope():
        loss.loss_and_grads(program.model, program.guide, X)
    history = fit(program).history
    np.testing.assert_allclose(history["elbo"], -history["distortion"] - history["discrepancy"], rtol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda program: pickle.loads(pickle.dumps(program))])
@pytest.mark.parametrize("make", [lambda: J.Beta(4), lambda: J.Adversarial(critic()), mmd, lambda: J.DReG(2)])
def test_a_copy_has_an_objective_of_its_own(make: Callable[[], Any], copied: Callable[[Any], Any]) -> None:
    program = vae(loss=make())
    other = copied(program)
    before = [p.clone() for p in program.loss.parameters()]
    fit(other)
    assert repr(other.loss) == repr(program.loss)
    assert all(torch.equal(a, b) for a, b in zip(before, program.loss.parameters(), strict=True))


@pytest.mark.parametrize("loss", [None, J.Beta(2)])
def test_a_fit_is_loaded_with_or_without_the_objective(loss: Any, tmp_path: Path) -> None:
    done = fit(vae(loss=J.Adversarial(critic())))
    done.save(tmp_path / "run")
    again = pv.load(tmp_path / "run", vae(loss=loss))
    assert again.history.attrs["objective"] == "adversarial objective (λ = 1)"
    assert again.settings["loss"] == "Adversarial"


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (lambda: J.Beta(4), lambda: J.TotalCorrelation(4)),
        (lambda: J.Beta(4), lambda: J.Beta(4, elbo=TraceMeanField_ELBO())),
        (lambda: J.Beta(lambda e: 1.0), lambda: J.Beta(lambda e: 2.0)),
        (mmd, lambda: J.Discrepancy(J.MMD(), particles=2)),
        (lambda: J.ImportanceWeighted(2), lambda: J.ImportanceWeighted(3)),
        (lambda: J.Adversarial(critic()), lambda: J.Adversarial(MLP(2, (9,), 1))),
    ],
)
def test_a_run_does_not_go_on_with_another_objective(then: Any, now: Any, tmp_path: Path) -> None:
    fit(vae(loss=then()), resume=tmp_path, checkpoint_seconds=0)
    with pytest.raises(pv.RunFolderError, match="other settings"):
        fit(vae(loss=now()), resume=tmp_path)


def test_a_run_goes_on_with_a_schedule_made_anew(tmp_path: Path) -> None:
    def ramp() -> Any:
        return J.Beta(lambda epoch: 0.5 * epoch)

    one = fit(vae(loss=ramp()), resume=tmp_path, checkpoint_seconds=0, epochs=2)
    two = fit(vae(loss=ramp()), resume=tmp_path, epochs=2)
    np.testing.assert_array_equal(one.history["elbo"], two.history["elbo"])


def test_a_schedule_that_does_not_end_is_told() -> None:
    with pytest.warns(UserWarning, match="a run of 2 epochs ends before it does.*train for 50 epochs"):
        fit(vae(loss=J.Beta(pv.schedules.linear(0, 1, 50))), epochs=2, patience=1, validation=X[:5])


def test_restarts_draw_another_critic_for_each_chain() -> None:
    loss = J.Adversarial(critic())
    done = fit(vae(loss=loss), restarts=2)
    assert not np.isclose(*done.history["critic"].values[:, 0], rtol=1e-6)
