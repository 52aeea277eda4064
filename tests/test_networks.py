"""Every listed network, and what is particular to perceptrons and to convolutions in both directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pyrovae.networks import MLP, Conv
from tests.registry import NETWORKS, call

every_network = pytest.mark.parametrize("network", NETWORKS, ids=str)


@every_network
def test_shapes(network):
    made = network.make()
    for batch in ((1,), (5,), (3, 5)):
        assert tuple(call(made, network.inputs(*batch)).shape) == (*batch, *network.out)


@every_network
def test_leading_dimensions_are_a_loop_over_them(network):
    made, inputs = network.make().double(), network.inputs(3, 5, dtype=torch.float64)
    whole = call(made, inputs)
    for index in range(3):
        one = {name: value if name == "context" else value[index] for name, value in inputs.items()}
        torch.testing.assert_close(whole[index], call(made, one), rtol=0, atol=1e-12)


@every_network
def test_a_datum_does_not_see_the_others(network):
    made, inputs = network.make().double(), network.inputs(5, dtype=torch.float64)
    alone = {name: value[2:3] for name, value in inputs.items()}
    torch.testing.assert_close(call(made, inputs)[2:3], call(made, alone), rtol=0, atol=1e-12)


@every_network
def test_a_gradient_reaches_every_parameter(network):
    made = network.make()
    call(made, network.inputs(5)).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@every_network
def test_saved_and_loaded_into_a_fresh_network(network):
    made, fresh, inputs = network.make(), network.make(), network.inputs(5)
    assert not torch.equal(call(made, inputs), call(fresh, inputs))
    fresh.load_state_dict(made.state_dict())
    assert torch.equal(call(made, inputs), call(fresh, inputs))


@every_network
def test_double(network):
    assert call(network.make().double(), network.inputs(5, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("network", [n for n in NETWORKS if n.context or n.mask], ids=str)
def test_context_and_mask_change_the_output_of_their_datum_only(network):
    made, inputs = network.make(), network.inputs(5)
    before = call(made, inputs)
    for name in {"context", "mask"} & inputs.keys():
        other = inputs[name].clone()
        other[2] = ~other[2] if name == "mask" else other[2] + 1
        after = call(made, {**inputs, name: other})
        same = (after == before).flatten(1).all(1)
        assert same.tolist() == [True, True, False, True, True], name


@pytest.mark.parametrize("network", [n for n in NETWORKS if n.mask], ids=str)
def test_without_a_mask_everything_is_observed(network):
    made, inputs = network.make(), network.inputs(5)
    full = {**inputs, "mask": torch.ones_like(inputs["mask"])}
    del inputs["mask"]
    assert torch.equal(call(made, inputs), call(made, full))


@every_network
def test_what_a_network_takes_is_what_it_was_built_for(network):
    asked = {name for name in ("context", "mask") if getattr(network, name)}
    assert network.make().takes == asked


# Perceptrons


def test_a_perceptron_without_hidden_layers_is_an_affine_map():
    made = MLP(3, (), 2, context=1)
    x, c = torch.randn(4, 3), torch.randn(4, 1)
    layer = made.layers[0]
    torch.testing.assert_close(made(x, c), torch.cat([x, c], 1) @ layer.weight.T + layer.bias)
    assert len(made.layers) == 1


def test_the_layers_of_a_perceptron():
    made = MLP(3, [8, 6], 2, activation=lambda: nn.LeakyReLU(0.2))
    kinds = [type(layer).__name__ for layer in made.layers]
    assert kinds == ["Linear", "LeakyReLU", "Linear", "LeakyReLU", "Linear"]
    assert [layer.weight.shape for layer in made.layers[::2]] == [(8, 3), (6, 8), (2, 6)]


def test_sizes_may_be_numpys():
    assert MLP(np.int64(3), [np.int64(4)], np.int32(2))(torch.zeros(5, 3)).shape == (5, 2)
    assert Conv((np.int64(1), 8, 8), (4,), np.int64(3))(torch.zeros(5, 64)).shape == (5, 3)


# Convolutions


@pytest.mark.parametrize("size", [(28, 28), (27, 31), (1, 1), (2, 5), (32, 17), (3, 64)], ids=str)
@pytest.mark.parametrize("channels", [(4,), (4, 3), (2, 3, 4)], ids=str)
def test_images_of_any_size_in_both_directions(size, channels):
    shape = (2, *size)
    assert Conv(shape, channels, 3)(torch.zeros(4, *shape)).shape == (4, 3)
    assert Conv(3, channels, shape)(torch.zeros(4, 3)).shape == (4, *shape)
    assert Conv(3, channels, shape, flat=True)(torch.zeros(4, 3)).shape == (4, 2 * size[0] * size[1])


def test_images_are_read_in_rows_or_with_their_shape():
    made, x = Conv((1, 9, 8), (4,), 3), torch.randn(5, 1, 9, 8)
    expected = made(x)
    torch.testing.assert_close(made(x.flatten(1)), expected)
    torch.testing.assert_close(made(x.reshape(5, 1, 72)), expected.unsqueeze(1))
    torch.testing.assert_close(made(x[0]), expected[0])
    torch.testing.assert_close(made(x[0].flatten()), expected[0])


def test_channels_are_not_mistaken_for_data():
    made, x = Conv((3, 6, 6), (4,), 2), torch.randn(5, 3, 6, 6)
    assert made(x).shape == (5, 2)
    assert made(x.flatten(1)).shape == (5, 2)
    with pytest.raises(ValueError, match=r"shape \(3, 6, 6\) or 108 pixels in a row, got \(5, 6, 6\): build it for"):
        made(x[:, 0])


def test_images_without_their_channel_are_refused():
    with pytest.raises(ValueError, match=r"add the channel, x\.unsqueeze\(-3\)"):
        Conv((1, 6, 7), (4,), 2)(torch.zeros(5, 6, 7))


def test_rows_that_are_written_are_the_images():
    torch.manual_seed(1)
    image = Conv(3, (4,), (2, 7, 8))
    torch.manual_seed(1)
    rows = Conv(3, (4,), (2, 7, 8), flat=True)
    z = torch.randn(5, 3)
    assert torch.equal(rows(z), image(z).flatten(1))


def test_each_level_halves_rounding_up():
    made = Conv((1, 27, 31), (4, 6), 3)
    assert made.images(torch.zeros(1, 1, 27, 31)).shape == (1, 6, 7, 8)
    assert made.features.in_features == 6 * 7 * 8
    back = Conv(3, (6, 4), (1, 27, 31))
    assert back.start == (6, 7, 8)


def test_one_datum_with_a_context():
    made, x, c = Conv((1, 6, 6), (4,), 3, context=2), torch.randn(1, 6, 6), torch.randn(2)
    torch.testing.assert_close(made(x, c), made(x.unsqueeze(0), c.unsqueeze(0))[0])


# Errors


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: MLP(0, (), 2), ValueError, "MLP: in_features: expected a whole number of at least 1, got 0"),
        (lambda: MLP(3, (), 2.0), ValueError, r"MLP: out_features: .* got 2\.0"),
        (lambda: MLP(True, (), 2), ValueError, "got True"),
        (lambda: MLP(3, 8, 2), ValueError, r"MLP: hidden: expected a sequence .*such as \(128, 64\), got 8"),
        (lambda: MLP(3, "88", 2), ValueError, "MLP: hidden: expected a sequence"),
        (lambda: MLP(3, (8, -1), 2), ValueError, "MLP: hidden: .* at least 1, got -1"),
        (lambda: MLP(3, (8,), 2, context=-1), ValueError, r"context \(the number of covariates\): .* got -1"),
        (lambda: MLP(3, (8,), 2, context=True), ValueError, "context .* got True"),
        (lambda: MLP(3, (8,), 2, activation=nn.ReLU()), TypeError, r"the class of a module, .*got ReLU\(\)"),
        (lambda: MLP(3, (8,), 2, activation=torch.relu), TypeError, "activation: expected the class of a module"),
        (lambda: MLP(3, (8,), 2, activation="relu"), TypeError, "got 'relu'"),
        (lambda: MLP(3, (8,), 2, activations=nn.ReLU), TypeError, "unexpected keyword argument 'activations'"),
        (lambda: Conv(8, (4,), 8), ValueError, "inputs .to read images. or as outputs .*got inputs=8, outputs=8"),
        (lambda: Conv((1, 8, 8), (4,), (1, 8, 8)), ValueError, "a number of features on the other side"),
        (lambda: Conv((8, 8), (4,), 3), ValueError, r"a shape \(channels, height, width\), got \(8, 8\)"),
        (lambda: Conv((1, 8, 0), (4,), 3), ValueError, "the images' shape: .* at least 1, got 0"),
        (lambda: Conv((1, 8, 8), (), 3), ValueError, "at least one number of channels, got none; .*use MLP"),
        (lambda: Conv((1, 8, 8), 4, 3), ValueError, "Conv: channels: expected a sequence .* got 4"),
        (lambda: Conv((1, 8, 8), (4,), None), ValueError, "outputs=None"),
        (lambda: Conv((1, 8, 8), (4,), 0), ValueError, "Conv: the number of features: .* got 0"),
        (lambda: Conv(3, (4,), (1, 8, 8), mask=True), ValueError, "writes images takes no mask"),
        (lambda: Conv((1, 8, 8), (4,), 3, activation=nn.ReLU()), TypeError, "the class of a module"),
    ],
)
def test_what_cannot_be_built(make, error, says):
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (
            lambda: MLP(4, (), 2)(torch.zeros(5, 3)),
            r"expected 4 features .*got shape \(5, 3\): build it with in_features=3",
        ),
        (lambda: MLP(4, (), 2)(torch.zeros(5, 2, 2)), r"got shape \(5, 2, 2\): flatten the data, x.flatten\(1\)"),
        (lambda: MLP(4, (), 2, context=3)(torch.zeros(5, 4)), "built for 3 covariates .*got no context"),
        (
            lambda: MLP(4, (), 2, context=3)(torch.zeros(5, 4), torch.zeros(5, 2)),
            "a context of 2: build it with context=2",
        ),
        (lambda: MLP(4, (), 2)(torch.zeros(5, 4), torch.zeros(5, 2)), "built for 0 covariates, got a context of 2"),
        (lambda: MLP(4, (), 2)(torch.zeros(5, 4), mask=torch.ones(5, 4)), "without a mask .*mask=True"),
        (lambda: Conv((1, 8, 8), (4,), 3)(torch.zeros(5, 63)), r"shape \(1, 8, 8\) or 64 pixels .*got \(5, 63\)"),
        (lambda: Conv((1, 8, 8), (4,), 3)(torch.zeros(5, 64), torch.zeros(5, 2)), "got a context of 2"),
        (lambda: Conv((1, 8, 8), (4,), 3)(torch.zeros(5, 64), mask=torch.ones(5, 64)), "without a mask .*mask=True"),
        (lambda: Conv((1, 8, 8), (4,), 3, context=2)(torch.zeros(5, 64)), "got no context"),
        (
            lambda: Conv(3, (4,), (1, 8, 8))(torch.zeros(5, 2)),
            r"expected 3 features .*got shape \(5, 2\): build it for 2",
        ),
        (lambda: Conv(3, (4,), (1, 8, 8), context=1)(torch.zeros(5, 3)), "got no context"),
    ],
)
def test_what_cannot_be_run(run, says):
    with pytest.raises(ValueError, match=says):
        run()
