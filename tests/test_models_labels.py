"""Models that use labels: labels as a context, the conditional VAE, M2 and labels read off the code."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

import pyrovae as pv
from analysis import semi_supervised as analysis
from models import conditional, semi_supervised, supervised
from pyrovae.program import Batch
from pyrovae.structure import inspect_program
from pyrovae.svi.loss import Loss

CLASSES, LATENTS = 3, 2


@pytest.fixture(scope="module")
def digits() -> pv.Data:
    return pv.data.load("digits")


def toy(n: int = 6, labelled: int = 3) -> pv.Data:
    """Binary data in float64, the first few with a label."""
    generator = torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((n, 4), 0.5, dtype=torch.float64), generator=generator)
    labels = np.arange(n) % CLASSES
    context = pv.data.one_hot(labels, range(CLASSES)).double() * (torch.arange(n) < labelled).unsqueeze(-1)
    return pv.Data(x, context=context, labels=labels)


# labels as a context


@pytest.mark.parametrize("labelled", [0, 10, 100, 503])
@pytest.mark.parametrize("test", [None, 50, 297, 0.3, 0.5])
def test_no_datum_held_out_has_a_label(digits: pv.Data, labelled: int, test: Any) -> None:
    data = pv.data.labels_as_context(digits, labelled, seed=labelled)
    train, held_out = data.split(test=test)
    assert held_out.context is not None
    assert not held_out.context.any()
    np.testing.assert_array_equal(data.labels, digits.labels)
    known = train.context.sum(-1) == 1
    assert int(known.sum()) == int(train.context.sum()) == labelled
    counts = np.bincount(train.labels[known.numpy()], minlength=10)
    np.testing.assert_array_equal(train.context.sum(0), counts)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(train.context[known].argmax(-1), train.labels[known.numpy()])


def test_no_datum_of_a_published_test_set_has_a_label() -> None:
    data = pv.Data(torch.rand(40, 2), labels=np.arange(40) % 2, test=30)
    data = pv.data.labels_as_context(data, 4)
    assert float(data.split()[0].context.sum()) == 4
    with pytest.raises(ValueError, match=r"labelled=12 asks for 6 data of the class 0, and \d of it are sure to be"):
        pv.data.labels_as_context(data, 12)


def test_the_seed_chooses_which(digits: pv.Data) -> None:
    one, same, other = (pv.data.labels_as_context(digits, 100, seed).context for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_all_labels_as_a_context() -> None:
    data = pv.Data(torch.rand(3, 2), labels=["b", "a", "b"])
    assert pv.data.labels_as_context(data).context.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_labels_that_will_not_do(digits: pv.Data) -> None:
    with pytest.raises(ValueError, match="has no labels to make a context of: give them"):
        pv.data.labels_as_context(pv.Data(torch.rand(3, 2)), 2)
    with pytest.raises(ValueError, match="labelled=9: expected 0, or one for each of the 10 classes"):
        pv.data.labels_as_context(digits, 9)


@pytest.mark.parametrize("model", [conditional, semi_supervised, supervised])
def test_models_want_labels(model: Any, digits: pv.Data) -> None:
    with pytest.raises(ValueError, match=r"build\(prepare\(data"):
        model.build(digits)
    with pytest.raises(ValueError, match="labels"):
        model.prepare(pv.Data(torch.rand(3, 2)))
    own = pv.Data(torch.rand(3, 2), context=torch.rand(3, 4), labels=[0, 1, 0])
    assert model.prepare(own) is own
    if model is not conditional:
        with pytest.raises(ValueError, match="expected a context with one 1 in a row, the label's, or none"):
            model.build(own)


# M2


def exact_m2(parts: semi_supervised.M2, data: pv.Data, noise: Tensor) -> Tensor:
    """−J^α (Kingma et al. 2014, eq. 8 and 9), α for each label, summed over the data; noise (classes, n, latents)."""
    x, label = data.x, data.context
    bounds = []
    for k in range(CLASSES):
        y = torch.eye(CLASSES, dtype=x.dtype)[k].expand(len(x), CLASSES)
        raw = parts.q_z.parameters_of(x, y)
        loc, scale = raw[:, :LATENTS], torch.nn.functional.softplus(raw[:, LATENTS:])
        z = loc + scale * noise[k]
        log_x = dist.Bernoulli(logits=parts.p_x.network(z, context=y)).log_prob(x).sum(-1)
        log_z = dist.Normal(0.0, 1.0).log_prob(z).sum(-1) - dist.Normal(loc, scale).log_prob(z).sum(-1)
        bounds.append(log_x + log_z - np.log(CLASSES))
    minus_l = torch.stack(bounds, -1)
    log_q = parts.q_y.parameters_of(x).log_softmax(-1)
    labelled = (label * minus_l).sum(-1) + parts.alpha * (label * log_q).sum(-1)
    unlabelled = (log_q.exp() * (minus_l - log_q)).sum(-1)
    return -torch.where(label.sum(-1) > 0, labelled, unlabelled).sum()


def parts_of(program: pv.Program, kind: type) -> Any:
    return next(m for m in program.modules() if isinstance(m, kind))


def gradients(program: pv.Program, loss: Tensor) -> list[Tensor]:
    own = [p for name, p in program.named_parameters() if "baseline" not in name]
    found = torch.autograd.grad(loss, own, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(own, found, strict=True)]


@pytest.mark.parametrize("labelled", [0, 3, 6])
def test_m2_by_enumeration_is_the_paper_s_objective(labelled: int) -> None:
    data = toy(labelled=labelled)
    program = semi_supervised.build(data, latents=LATENTS, hidden=5, alpha=7.0).double()
    parts = parts_of(program, semi_supervised.M2)
    torch.manual_seed(1)
    loss = program.loss.differentiable_loss(program.model, program.guide, data.x, data.context)
    torch.manual_seed(1)
    exact = exact_m2(parts, data, torch.randn(CLASSES, len(data), LATENTS, dtype=torch.float64))
    torch.testing.assert_close(loss, exact, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(program, loss), gradients(program, exact), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("labelled", [0, 1])
def test_m2_by_the_score_function_is_so_on_average(labelled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One datum: the mean of loss and gradient over its classes, each with the probability that q(y|x) gives it."""
    data = toy(n=1, labelled=labelled)
    program = semi_supervised.build(data, latents=LATENTS, hidden=5, alpha=7.0, estimator="score").double()
    parts, batch = parts_of(program, semi_supervised.M2), Batch(data.x, data.context)
    objective = Loss(program.loss, program, inspect_program(program, batch), total=1)
    noise = torch.randn(1, LATENTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = exact_m2(parts, data, noise.expand(CLASSES, 1, LATENTS))
    q = data.context[0] if labelled else parts.q_y(data.x).probs[0].detach()
    own = [p for name, p in program.named_parameters() if "baseline" not in name]
    loss, mean = 0.0, [torch.zeros_like(p) for p in own]
    monkeypatch.setattr(dist.Normal, "rsample", lambda self, *shape: self.loc + self.scale * noise)
    for k in q.nonzero()[:, 0].tolist():
        drawn = torch.eye(CLASSES, dtype=torch.float64)[k].expand(1, CLASSES)
        monkeypatch.setattr(dist.OneHotCategorical, "sample", lambda self, *shape, drawn=drawn: drawn)
        program.zero_grad()
        with program.scope():
            loss += q[k].item() * objective.gradients(batch).item()
        for total, p in zip(mean, own, strict=True):
            total += q[k] * (0.0 if p.grad is None else p.grad)
    assert loss == pytest.approx(exact.item(), rel=1e-6)  # a figure in single precision; its gradient is not
    for ours, theirs in zip(mean, gradients(program, exact), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_m2_weighs_labels_as_the_paper_does() -> None:
    """α = .1 · N of the mean over labelled data (eq. 9); and only in training."""
    data = toy(n=60, labelled=12)
    program = semi_supervised.build(data, latents=LATENTS, hidden=5).double()
    parts = parts_of(program, semi_supervised.M2)
    assert parts.alpha == pytest.approx(0.1 * 60 / 12)
    assert program.loss.label == "ELBO + α log q(y|x) (α = 0.5)"
    assert semi_supervised.build(toy(labelled=0), latents=LATENTS).loss.label == "ELBO"

    def loss() -> Tensor:
        torch.manual_seed(0)
        return program.loss.differentiable_loss(program.model, program.guide, data.x, data.context)

    log_q = parts.q_y(data.x).logits.log_softmax(-1)
    extra = 0.5 * (data.context * log_q).sum()
    training, evaluated = loss(), (program.eval(), loss())[1]
    torch.testing.assert_close(evaluated - training, extra, rtol=0, atol=1e-10)


def test_m2_without_a_context_is_that_of_unknown_labels() -> None:
    data = toy(labelled=0)
    program = semi_supervised.build(data, latents=LATENTS, hidden=5).double()
    trees = [pv.posterior(program, data.x, context=c, draws=5, predictive=0) for c in (None, data.context)]
    for group in ("posterior", "sample_stats"):
        xr.testing.assert_allclose(trees[0][group].to_dataset(), trees[1][group].to_dataset(), rtol=1e-12)


def test_m2_knows_what_it_is_told() -> None:
    data = toy(n=9, labelled=6)
    program = semi_supervised.build(data, latents=LATENTS, hidden=5).double()
    y = pv.posterior(program, data, draws=50, predictive=0)["posterior"]["y"].values[0]
    np.testing.assert_array_equal(y[:, :6], np.broadcast_to(data.context[:6], (50, 6, CLASSES)))
    assert (y[:, 6:].std(0) > 0).any()


@pytest.mark.parametrize(("estimator", "epochs", "least"), [("enumerate", 8, 0.75), ("score", 2, 0.0)])
def test_m2_learns_the_digits(digits: pv.Data, estimator: str, epochs: int, least: float) -> None:
    train, test = semi_supervised.prepare(digits).split()
    torch.manual_seed(0)
    program = semi_supervised.build(train, hidden=32, latents=4, alpha=50.0, estimator=estimator)
    fit = pv.fit(program, train, epochs=epochs, batch_size=50, lr=1e-2, progress=False)
    assert float(fit.history["elbo"][0, -1]) > float(fit.history["elbo"][0, 0])
    tree = pv.posterior(fit, test, draws=50)
    assert accuracy(tree, test) > least
    assert str(pv.diagnose(tree))


def accuracy(tree: Any, data: pv.Data) -> float:
    found = tree["posterior"]["y"].mean(("chain", "draw")).values.argmax(-1)
    return float((np.unique(data.labels)[found] == data.labels).mean())


# labels read off the code


def test_supervised_loss_is_the_bound() -> None:
    """log p(y|z), weighted, where y is known; nothing of y where it is not."""
    data = toy()
    program = supervised.build(data, latents=LATENTS, hidden=(5,), weight=4.0).double()
    parts = parts_of(program, supervised.Supervised)
    torch.manual_seed(1)
    loss = program.loss.differentiable_loss(program.model, program.guide, data.x, data.context)
    torch.manual_seed(1)
    vae = pv.VAE(parts.p_z, parts.p_x, parts.q_z)
    with vae.scope():
        exact = Trace_ELBO().differentiable_loss(vae.model, vae.guide, data.x)
    torch.manual_seed(1)
    z = parts.q_z(data.x).rsample()
    exact = exact - 4 * (data.context * parts.y(z).log_softmax(-1)).sum()
    torch.testing.assert_close(loss, exact, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(program, loss), gradients(program, exact), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_m1_s_code_knows_no_label() -> None:
    """Its gradient is that of a VAE but for the classifier."""
    data = toy()
    program = supervised.build(data, latents=LATENTS, hidden=(5,), joint=False).double()
    without = dataclasses.replace(data, context=torch.zeros_like(data.context))
    found = []
    for part in (data, without):
        torch.manual_seed(1)
        loss = program.loss.differentiable_loss(program.model, program.guide, part.x, part.context)
        found.append(gradients(program, loss))
    classifier = [id(p) for p in parts_of(program, supervised.Supervised).y.parameters()]
    names = [id(p) for _, p in program.named_parameters()]
    for which, ours, theirs in zip(names, *found, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12) != (which in classifier)


@pytest.mark.parametrize("joint", [True, False])
def test_supervised_predicts_digits(digits: pv.Data, joint: bool) -> None:
    train, test = supervised.prepare(digits).split()
    torch.manual_seed(0)
    program = supervised.build(train, hidden=(32,), joint=joint)
    fit = pv.fit(program, train, epochs=12, batch_size=50, lr=1e-2, progress=False)
    assert accuracy(pv.posterior(fit, test, draws=20, predictive=0), test) > 0.6


# the conditional VAE


@pytest.mark.parametrize("prior", conditional.PRIORS)
def test_conditional_recovers_the_means_of_classes(prior: str) -> None:
    """x = mean of the class + noise: p(x|z, y) has these means, whatever z."""
    generator = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(4, 5, generator=generator)
    labels = torch.arange(600) % 4
    data = pv.Data(means[labels] + 0.5 * torch.randn(600, 5, generator=generator), labels=labels.numpy())
    data = conditional.prepare(data)
    torch.manual_seed(0)
    vae = conditional.build(data, latents=2, hidden=(32,), prior=prior)
    pv.fit(vae, data, epochs=60, lr=1e-2, progress=False)
    with torch.no_grad(), vae.scope():  # x given y, over draws of z by the prior
        drawn = [poutine.trace(poutine.uncondition(vae.model)).get_trace(data.x, data.context) for _ in range(20)]
    found = torch.stack([trace.nodes["x"]["fn"].mean for trace in drawn]).mean(0)
    found = torch.stack([found[labels == k].mean(0) for k in range(4)])
    own = torch.stack([data.x[labels == k].mean(0) for k in range(4)])
    torch.testing.assert_close(found, own, rtol=0, atol=0.1)
    assert float(vae.parts["likelihood"].log_scale.detach().exp()) == pytest.approx(0.5, abs=0.06)


def test_conditional_describes_given_the_label(digits: pv.Data) -> None:
    """Its parts are told of y, and y is no latent."""
    train, test = conditional.prepare(digits).split()
    vae = conditional.build(train.take(slice(0, 200)), latents=2, hidden=(8,), prior="conditional")
    tree = pv.posterior(vae, test.take(slice(0, 5)), draws=3)
    assert set(tree["posterior"].data_vars) == {"z"}
    np.testing.assert_array_equal(tree["constant_data"]["context"].values.argmax(-1), test.labels[:5])
    with pytest.raises(ValueError, match="prior: expected one of normal, conditional, got 'vamp'"):
        conditional.build(train, prior="vamp")


# the analysis


def test_labelled_rows_are_repeated_up_to_a_share(digits: pv.Data) -> None:
    data = pv.data.labels_as_context(digits, 20).take(slice(0, 1000))
    known = int(data.context.sum())
    found = analysis.repeated(data, 0.2)
    times = round(200 / known)
    assert (len(found), int(found.context.sum())) == (1000 + (times - 1) * known, times * known)
    torch.testing.assert_close(
        found.context.argmax(-1)[1000:], data.context.argmax(-1)[data.context.sum(-1) > 0].repeat_interleave(times - 1)
    )


def test_m2_is_given_the_codes_of_m1(digits: pv.Data, tmp_path: Path) -> None:
    """The means of q(z|x) of the program that is kept, with the labels of their images."""
    options = argparse.Namespace(codes=3, first=2, steps=0, out=tmp_path)
    train, test = digits.split()
    found = analysis.encoded(train, test, options)
    again = analysis.encoded(train, test, options)
    for part, same, images in zip(found[:2], again[:2], (train, test), strict=True):
        assert part.x.shape == (len(images), 3)
        torch.testing.assert_close(part.x, same.x, rtol=0, atol=0)
        np.testing.assert_array_equal(part.labels, images.labels)
    assert found[2] == again[2]  # what is done is read, not made again


@pytest.mark.parametrize(("codes", "model"), [("3", "M1+M2"), ("0", "M2")])
def test_analysis_of_semi_supervision(
    codes: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--digits", "--steps", "20", "--hidden", "30", "--labels", "20", "40", "--out", str(tmp_path)]
    few += ["--codes", codes, "--batch", "100"]
    table = analysis.main(few)
    assert table["labels"].tolist() == [20, 40]
    assert (table["model"] == model).all()
    assert ((table["accuracy"] > 0) & (table["accuracy"] <= 1)).all()
    assert (tmp_path / "semi_supervised.png").stat().st_size > 10_000
    rows = pd.read_csv(tmp_path / "semi_supervised.csv")
    assert {"labels", "seed", "epochs", "images", "accuracy", "seconds"} <= set(rows.columns)
    assert f"20 labels give {model} " in capsys.readouterr().out
    began = rows["seconds"].tolist()
    analysis.main(few)  # what is done is read, not made again
    assert pd.read_csv(tmp_path / "semi_supervised.csv")["seconds"].tolist() == began
