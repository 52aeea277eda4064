"""Matrix products in compiled code: of all sizes and layouts, against double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pyrovae as pv
import pyrovae._products as products
import pyrovae._small_products as small
from pyrovae._machine_code import machine_code
from pyrovae._record import record
from tests.engines import answer

aten = torch.ops.aten

# Rows, inner and columns: whole tiles; what is left over in each direction and in all; single numbers.
SIZES = [
    (64, 64, 64),
    (64, 8, 64),
    (64, 64, 16),
    (16, 64, 40),
    (7, 5, 3),
    (1, 9, 33),
    (65, 31, 17),
    (3, 1, 1),
    (9, 2, 50),
]


def compiled(function: Callable[..., list[Tensor]], *given: Tensor) -> tuple[list[Tensor], list[str]]:
    """What it comes to, and the operators that its graph has then."""
    with torch.no_grad():
        graph = record(function, *given)
        run = machine_code(graph, given)
        chosen = products.small_products(products.large_products(graph))
        return list(run(*given)), [str(n.target) for n in chosen.graph.nodes if n.op == "call_function"]


def assert_near(found: Tensor, exact: Tensor, inner: int) -> None:
    """To the rounding of so many sums of numbers of size 1."""
    assert found.dtype == torch.float32
    assert found.shape == exact.shape
    assert (found.double() - exact).abs().max() < 1e-6 * max(inner, 4)


def test_small_products_of_all_sizes_and_layouts() -> None:
    pairs = []
    for m, k, n in SIZES:
        for a in (torch.randn(m, k), torch.randn(k, m).t()):
            pairs += [(a, b) for b in (torch.randn(k, n), torch.randn(n, k).t())]
    bias = torch.randn(17)

    def function(*given: Tensor) -> list[Tensor]:
        found = [a @ b for a, b in zip(given[::2], given[1::2], strict=False)]
        whole, of_65 = given[0], given[2 * 4 * SIZES.index((65, 31, 17)) :]
        found.append(torch.addmm(given[-1], of_65[0], of_65[1]))
        found.append(whole.t() @ whole)  # both from the same memory
        found.append(whole[2:50, 1:33] @ whole[5:37, 7:20])  # neither at its beginning, and rows farther apart
        found.append((whole @ whole).tanh() @ (whole @ whole))  # of what is computed
        return found

    flat = [t for pair in pairs for t in pair]
    found, names = compiled(function, *flat, bias)
    assert not any(name.startswith(("aten.mm", "aten.addmm")) for name in names)
    assert names.count("pyrovae.small_product.default") == len(found) + 1  # whole @ whole is computed once
    exact = [t.double() for t in (*flat, bias)]
    expected = function(*exact)
    inner = [a.shape[1] for a, _ in pairs] + [31, 64, 32]
    for ours, theirs, size in zip(found, expected, inner, strict=False):
        assert_near(ours, theirs, size)
    np_off = (found[-1].double() - expected[-1]).abs().max() / expected[-1].abs().max()
    assert np_off < 1e-5


def test_what_is_not_finite_stays_so() -> None:
    a, b = torch.randn(5, 6), torch.randn(6, 3)
    a[1, 2], b[4, 0] = float("inf"), float("nan")
    (found,), _ = compiled(lambda a, b: [a @ b], a, b)
    assert torch.equal(found.isfinite(), (a @ b).isfinite())
    assert not found[1].isfinite().any()
    assert found[:, 0].isnan().all()


@pytest.mark.parametrize("amd", [True, False])
def test_large_products(amd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "on_amd", lambda: amd)
    a, b, bias = torch.randn(128, 130), torch.randn(129, 130), torch.randn(129)
    (found, slope), names = compiled(lambda a, b, c: [torch.addmm(c, a, b.t()), a.t() @ (a @ b.t())], a, b, bias)
    assert ("pyrovae.linear.default" in names) is amd
    assert "pyrovae.small_product.default" not in names
    assert_near(found, a.double() @ b.double().T + bias.double(), 130)
    assert_near(slope / 11, a.double().T @ (a.double() @ b.double().T) / 11, 130)


def test_other_types_and_what_is_scaled_are_left_alone() -> None:
    a, b = torch.randn(8, 8, dtype=torch.float64), torch.randn(8, 8)
    c = torch.randn(8)
    (double, scaled), names = compiled(lambda a, b, c: [a @ a, torch.addmm(c, b, b, alpha=2.0)], a, b, c)
    assert "pyrovae.small_product.default" not in names
    assert torch.allclose(double, a @ a, rtol=1e-12)
    assert_near(scaled / 4, (c.double() + 2 * b.double() @ b.double()) / 4, 8)


def test_a_torch_that_knows_no_such_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "_registered", lambda: None)
    a = torch.randn(8, 8)
    (found,), names = compiled(lambda a: [a @ a + 1.0], a)
    assert "aten.mm.default" in names
    assert_near(found, a.double() @ a.double() + 1.0, 8)


@pytest.mark.parametrize(
    ("sizes", "is_small"), [((64, 64, 64), True), ((128, 784, 400), False), ((2, 300, 300), False)]
)
def test_which_products_are_small(sizes: tuple[int, int, int], is_small: bool) -> None:
    assert small.fits(*sizes) is is_small


@pytest.mark.parametrize("engine", ["traced", "compiled"])
def test_steps_with_large_products_come_to_the_same(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.bernoulli(torch.full((256, 64), 0.3))
    told: dict[str, Any] = {"batch_size": 128, "epochs": 2}
    monkeypatch.setattr(products, "on_amd", lambda: True)
    ours = answer(wide, engine, x, **told)
    assert ours[0].settings["engine"] == engine
    theirs = answer(wide, "eager", x, **told)
    np.testing.assert_allclose(ours[0].history["elbo_step"], theirs[0].history["elbo_step"], rtol=1e-5)


def wide() -> pv.VAE:
    return pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Bernoulli(pv.networks.MLP(2, (200,), 64)),
        pv.guides.Normal(pv.networks.MLP(64, (200,), 4)),
    )
