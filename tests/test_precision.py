"""Matrix products in fewer bits: where they are asked for, and what is reached with them."""

from __future__ import annotations

import os

import pytest
import torch

import pyrovae as pv
from pyrovae.svi.engines.precision import products_in


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


def test_products_are_allowed_in_fewer_bits_inside_the_block_alone() -> None:
    before = torch.get_float32_matmul_precision()
    with products_in("bf16"):
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before
    with products_in("float32"):
        assert torch.get_float32_matmul_precision() == before


def test_steps_run_inside_of_it_and_the_rest_of_a_fit_does_not(digits: tuple[pv.Data, pv.Data]) -> None:
    seen: list[tuple[bool, str]] = []

    class Spy(pv.networks.MLP):
        def forward(self, *args: torch.Tensor, **told: torch.Tensor) -> torch.Tensor:
            seen.append((self.training, torch.get_float32_matmul_precision()))
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
    assert sum(precision == "medium" for _, precision in seen) == steps
    assert all(precision == "highest" for training, precision in seen if not training)


def test_the_elbo_reached_on_the_digits_is_that_of_float32(digits: tuple[pv.Data, pv.Data]) -> None:
    likelihood = lambda network: pv.likelihoods.Binomial(16, network)  # noqa: E731
    ours, full = (reached(p, *digits, hidden=128, likelihood=likelihood, epochs=40) for p in ("bf16", "float32"))
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
