"""Matrix products in fewer bits: where they are asked for, and what is reached with them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from pyro.infer import JitTrace_ELBO
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

import pyrovae as pv
from pyrovae.svi.precision import products_in
from tests.engines import answer, assert_same


@pytest.fixture(scope="module")
def digits() -> tuple[pv.Data, pv.Data]:
    return pv.data.load("digits").split()


def vae(cells: int, hidden: int, likelihood: object) -> pv.VAE:
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.Normal(8),
        likelihood(pv.networks.MLP(8, (hidden,), cells)),  # type: ignore[operator]
        pv.guides.Normal(pv.networks.MLP(cells, (hidden,), 16)),
    )


def reached(precision: str, train: pv.Data, test: pv.Data, hidden: int, likelihood: object, epochs: int) -> float:
    program = vae(train.event_shape[0], hidden, likelihood)
    fit = pv.fit(program, train, validation=test, epochs=epochs, precision=precision, progress=False)
    assert fit.settings["precision"] == precision
    return float(fit.history["elbo_validation"][0, -1])


def rounded(value: Tensor) -> Tensor:
    return value.bfloat16().double()


def test_a_product_is_that_of_rounded_factors() -> None:
    a, b, bias = torch.randn(128, 96), torch.randn(96, 100), torch.randn(100)
    exact = rounded(a) @ rounded(b)
    near = 2**-8 * exact.abs() + 1e-5  # half a unit in the last place of bfloat16, and sums in float32
    with products_in("bf16"):
        product, added = a @ b, torch.addmm(bias, a, b)
        batched = torch.bmm(a.expand(2, -1, -1), b.expand(2, -1, -1))
    assert product.dtype == added.dtype == torch.float32
    assert ((product.double() - exact).abs() <= near).all()
    assert torch.equal(product, rounded(product).float())
    assert torch.equal(batched, torch.bmm(a.expand(2, -1, -1), b.expand(2, -1, -1)))  # as covariances are made of
    assert torch.equal(added, bias + product)  # the bias is not rounded


def test_gradients_are_products_of_rounded_factors_too() -> None:
    a, b = torch.randn(128, 96, requires_grad=True), torch.randn(96, 100, requires_grad=True)
    weight = torch.randn(128, 100)
    with products_in("bf16"):
        (weight * (a @ b)).sum().backward()
    for grad, exact in ((a.grad, rounded(weight) @ rounded(b).T), (b.grad, rounded(a).T @ rounded(weight))):
        assert grad is not None
        assert grad.dtype == torch.float32
        assert ((grad.double() - exact).abs() <= 2**-8 * exact.abs() + 1e-5).all()


def test_a_convolution_and_its_gradients_are_of_rounded_factors() -> None:
    x, w = torch.randn(16, 4, 28, 28), torch.randn(8, 4, 3, 3)
    bias, weight = 300.3 + torch.randn(8), torch.randn(16, 8, 26, 26)
    exact = [rounded(x).requires_grad_(), rounded(w).requires_grad_(), bias.double().requires_grad_()]
    given = [t.clone().requires_grad_() for t in (x, w, bias)]
    wanted = torch.nn.functional.conv2d(*exact)
    slopes = torch.autograd.grad(wanted, exact, rounded(weight))
    with products_in("bf16"):
        found = torch.nn.functional.conv2d(*given)
        ours = torch.autograd.grad(found, given, weight)
    offset = bias.double().view(-1, 1, 1)  # is not rounded, and neither is its gradient
    pairs = [(found - offset, wanted - offset), *zip(ours[:2], slopes[:2], strict=True)]
    for mine, theirs in pairs:
        assert ((mine.double() - theirs).abs() <= 2**-8 * theirs.abs() + 1e-3).all()
    assert {t.dtype for t in (found, *ours)} == {torch.float32}
    assert torch.allclose(ours[2].double(), weight.double().sum((0, 2, 3)), atol=1e-3)


@pytest.mark.parametrize(("size", "dtype"), [(16, torch.float32), (256, torch.float64)])
def test_small_products_and_those_of_other_types_stay_as_they_are(size: int, dtype: torch.dtype) -> None:
    a, b = torch.randn(2, size, size, dtype=dtype)
    plain = a @ b
    with products_in("bf16"):
        assert torch.equal(a @ b, plain)


def test_nothing_changes_outside_the_block_nor_in_one_of_float32() -> None:
    a, b = torch.randn(2, 256, 256)
    plain = a @ b
    with products_in("bf16"):
        assert not torch.equal(a @ b, plain)
    assert torch.equal(a @ b, plain)
    with products_in("float32"):
        assert torch.equal(a @ b, plain)


def wide() -> pv.VAE:
    return vae(64, 256, pv.likelihoods.Bernoulli)


def test_the_engines_come_to_the_same() -> None:
    x = torch.bernoulli(torch.full((200, 64), 0.3))
    told: dict[str, Any] = {"precision": "bf16", "batch_size": 100, "epochs": 3}
    eager, traced = (answer(wide, engine, x, **told) for engine in ("eager", "traced"))
    assert traced[0].settings["engine"] == "traced"
    assert_same(traced, eager)
    compiled = answer(wide, "compiled", x, **told)
    assert compiled[0].settings["engine"] == "compiled", compiled[0].settings
    steps = [found[0].history["elbo_step"] for found in (compiled, eager)]
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-3)
    full = answer(wide, "eager", x, **told | {"precision": "float32"})
    assert np.abs(full[0].history["elbo_step"] - eager[0].history["elbo_step"]).max() > 0


def test_steps_run_inside_of_it_and_the_rest_of_a_fit_does_not(digits: tuple[pv.Data, pv.Data]) -> None:
    seen: list[tuple[bool, bool]] = []

    class Spy(pv.networks.MLP):
        def forward(self, *args: Tensor, **told: Tensor) -> Tensor:
            seen.append((self.training, _get_current_dispatch_mode() is not None))
            return super().forward(*args, **told)

    torch.manual_seed(0)
    program = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Binomial(16, Spy(2, (8,), 64)),
        pv.guides.Normal(pv.networks.MLP(64, (8,), 4)),
    )
    train, test = digits
    pv.fit(program, train, validation=test, epochs=1, engine="eager", precision="bf16", progress=False)
    steps = -(-len(train) // 100)
    assert sum(inside for _, inside in seen) == steps
    assert not any(inside for training, inside in seen if not training)


def test_a_processor_without_it_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.svi.precision._has_instructions", lambda: False)
    with pytest.warns(UserWarning, match="no instructions for bfloat16 and is slower in it: use precision='float32'"):
        pv.fit(wide(), torch.ones(20, 64), epochs=1, precision="bf16", progress=False)


def test_the_elbo_reached_on_the_digits_is_that_of_float32(digits: tuple[pv.Data, pv.Data]) -> None:
    likelihood = lambda network: pv.likelihoods.Binomial(16, network)  # noqa: E731
    ours, full = (reached(p, *digits, hidden=256, likelihood=likelihood, epochs=40) for p in ("bf16", "float32"))
    assert abs(ours - full) < 0.2


@pytest.mark.skipif("PYROVAE_DATA_DIR" not in os.environ, reason="needs MNIST")
def test_the_elbo_reached_on_mnist_is_that_of_float32() -> None:
    data = pv.data.load("mnist").binarize("threshold").take(slice(0, 6000))
    split = data.take(slice(0, 5000)), data.take(slice(5000, None))
    ours, full = (
        reached(p, *split, hidden=200, likelihood=pv.likelihoods.Bernoulli, epochs=6) for p in ("bf16", "float32")
    )
    assert abs(ours - full) < 0.2


def test_an_unknown_precision_is_refused(digits: tuple[pv.Data, pv.Data]) -> None:
    with pytest.raises(ValueError, match="precision: expected one of 'float32', 'bf16', got 'half'"):
        pv.fit(vae(64, 8, pv.likelihoods.Bernoulli), digits[0], epochs=1, precision="half", progress=False)


def test_a_loss_that_records_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="JitTrace_ELBO records its own operations, which precision='bf16' does not"):
        pv.fit(wide(), torch.ones(20, 64), loss=JitTrace_ELBO(), batch_size=20, precision="bf16", progress=False)


def test_a_covariance_made_of_large_products_stays_positive_definite() -> None:
    torch.manual_seed(0)
    decoder = pv.networks.MLP(16, (64,), 64)
    program = pv.VAE(pv.priors.Normal(16), pv.likelihoods.Normal(decoder, 0.1), pv.guides.Laplace(16))
    x = torch.randn(512, 64)
    fit = pv.fit(program, x, epochs=1, batch_size=256, precision="bf16", progress=False)
    assert np.isfinite(fit.history["elbo"]).all()
