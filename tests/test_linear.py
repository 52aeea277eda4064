"""Linear layers of what is drawn are those of torch, up to the rounding of float32."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pyrovae as pv
from pyrovae import _linear
from pyrovae._linear import faster_linear


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """As on a processor of AMD; of each product that could be oneDNN's, whether it was."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    found: list[bool] = []
    original = _linear._fits
    monkeypatch.setattr(_linear, "on_amd", lambda: True)
    monkeypatch.setattr(_linear, "_fits", lambda *a: (found.append(original(*a)), found[-1])[1])
    return found


INPUTS: dict[str, Callable[[], Tensor]] = {
    "rows": lambda: torch.randn(300, 96),
    "draws of rows": lambda: torch.randn(5, 60, 96),
    "transposed": lambda: torch.randn(96, 300).t(),
    "every other": lambda: torch.randn(300, 192)[:, ::2],
    "draws moved": lambda: torch.randn(60, 5, 96).transpose(0, 1),
    "one row expanded": lambda: torch.randn(1, 96).expand(300, 96),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", INPUTS)
def test_a_large_product_is_that_in_double_precision(name: str, bias: bool, taken: list[bool]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(96, 40, bias=bias), INPUTS[name]()
    with torch.no_grad(), faster_linear(layer):
        got = layer(x)
        exact = copy.deepcopy(layer).double()
        expected = nn.functional.linear(x.double(), exact.weight, exact.bias)
        sizes = nn.functional.linear(x.double().abs(), exact.weight.abs(), exact.bias.abs() if bias else None)
    assert taken == [True]
    assert got.shape == expected.shape
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    assert bool(((got - expected).abs() <= 98 * 2**-24 * sizes).all())  # of 97 terms, in any order of adding them


def test_what_oneDNN_does_not_take_is_as_torch_has_it(taken: list[bool]) -> None:
    torch.manual_seed(0)
    layer, double = nn.Linear(96, 40), nn.Linear(96, 40).double()
    large, small = torch.randn(300, 96), torch.randn(3, 96)
    with torch.no_grad():
        expected = [layer(small), double(large.double()), torch.vmap(layer)(large.expand(2, 300, 96))]
        with faster_linear(nn.ModuleList([layer, double])):
            got = [layer(small), double(large.double()), torch.vmap(layer)(large.expand(2, 300, 96))]
            with torch.autocast("cpu", torch.bfloat16):
                assert layer(large).dtype == torch.bfloat16
            with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
                layer(large[:, :95])
    assert taken == [False] * 5
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_gradients_are_as_ever(taken: list[bool]) -> None:
    layer, x = nn.Linear(96, 40), torch.randn(300, 96)
    expected = torch.autograd.grad(layer(x).square().sum(), layer.weight)[0]
    with faster_linear(layer):
        got = torch.autograd.grad(layer(x).square().sum(), layer.weight)[0]
    assert not taken
    assert torch.equal(got, expected)


def test_layers_are_left_as_they_were(taken: list[bool]) -> None:
    own = nn.Linear(96, 40)
    own.forward = lambda x: x  # type: ignore[method-assign]
    network = nn.Sequential(nn.Linear(96, 40), own)
    before = [dict(vars(m)) for m in network.modules()]

    def fails() -> None:
        with faster_linear(network):
            with faster_linear(network):
                assert own(1) == 1
            network(torch.ones(300, 96)[:, :95])

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fails()
    assert [dict(vars(m)) for m in network.modules()] == before


def test_a_copy_has_its_own_weights(taken: list[bool]) -> None:
    network = nn.Sequential(nn.Linear(96, 40))
    with torch.no_grad(), faster_linear(network):
        twin = copy.deepcopy(network)
        twin[0].weight.zero_()
        assert torch.equal(twin(torch.ones(300, 96)), twin[0].bias.expand(300, 40))
    assert taken == [True]


def test_draws_are_the_same_up_to_rounding(taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Normal(4),
        pv.likelihoods.Bernoulli(pv.networks.MLP(4, (64,), 50)),
        pv.guides.Normal(pv.networks.MLP(50, (64,), 8)),
    )
    x = torch.bernoulli(torch.full((6, 50), 0.4))
    tree, found = pv.posterior(vae, x, draws=200), pv.diagnostics.importance(vae, x, draws=200)
    assert any(taken)
    monkeypatch.setattr(_linear, "on_amd", lambda: False)
    taken.clear()
    plain, expected = pv.posterior(vae, x, draws=200), pv.diagnostics.importance(vae, x, draws=200)
    assert not taken
    assert tree["posterior"].to_dataset().equals(plain["posterior"].to_dataset())  # the encoder's product is small
    for name in ("log_p", "log_lik", "log_q"):
        ours, theirs = tree["sample_stats"][name], plain["sample_stats"][name]
        assert float(abs(ours - theirs).max()) < 1e-4, name
    assert float(abs(found["log_evidence"] - expected["log_evidence"]).max()) < 1e-4
