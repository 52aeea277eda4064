"""Every listed network, and what is particular to perceptrons and to convolutions in both directions."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import nn

import pyrovae as pv
from pyrovae.networks import MLP, Conv, ResNet, Set
from tests.programs import gaussian
from tests.registry import NETWORKS, call

every_network = pytest.mark.parametrize("network", NETWORKS, ids=str)


def settled(network) -> nn.Module:
    """A network in ``eval`` mode, after one pass in training that moves what moves then."""
    made = network.make().double()
    with torch.no_grad():
        call(made, network.inputs(20, dtype=torch.float64))
    return made.eval()


def normalised(x: torch.Tensor, dims: tuple[int, ...], scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """(x − mean) / √(variance + 10⁻⁵) by hand."""
    mean, var = x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


@every_network
def test_shapes(network):
    for made in (network.make(), network.make().eval()):
        for batch in ((2,), (5,), (3, 5)):
            assert tuple(call(made, network.inputs(*batch)).shape) == (*batch, *network.out)
    assert tuple(call(made, network.inputs(1)).shape) == (1, *network.out)


@every_network
def test_leading_dimensions_are_a_loop_over_them(network):
    made, inputs = settled(network), network.inputs(3, 5, dtype=torch.float64)
    whole = call(made, inputs)
    for index in range(3):
        one = {name: value if name == "context" else value[index] for name, value in inputs.items()}
        torch.testing.assert_close(whole[index], call(made, one), rtol=0, atol=1e-12)


@every_network
def test_a_datum_does_not_see_the_others(network):
    made, inputs = settled(network), network.inputs(5, dtype=torch.float64)
    alone = {name: value[2:3] for name, value in inputs.items()}
    torch.testing.assert_close(call(made, inputs)[2:3], call(made, alone), rtol=0, atol=1e-12)


@every_network
def test_a_gradient_reaches_every_parameter(network):
    made = network.make().double()
    out = call(made, network.inputs(20, dtype=torch.float64))
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-9, name


@every_network
def test_saved_and_loaded_into_a_fresh_network(network):
    made, fresh, inputs = settled(network), network.make().double().eval(), network.inputs(5, dtype=torch.float64)
    assert not torch.equal(call(made, inputs), call(fresh, inputs))
    fresh.load_state_dict(made.state_dict())
    assert torch.equal(call(made, inputs), call(fresh, inputs))


@every_network
def test_double(network):
    assert call(network.make().double(), network.inputs(5, dtype=torch.float64)).dtype == torch.float64


@every_network
def test_eval_mode_draws_nothing_and_moves_nothing(network):
    made, inputs = settled(network), network.inputs(5, dtype=torch.float64)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    assert torch.equal(call(made, inputs), call(made, inputs))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


@every_network
def test_dropout_draws_and_batch_norm_moves_in_training_only(network):
    made, inputs = network.make(), network.inputs(20)
    kinds = {type(module) for module in made.modules()}
    drops, moves = nn.Dropout in kinds, any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)
    before = {name: value.clone() for name, value in made.named_buffers()}
    assert torch.equal(call(made, inputs), call(made, inputs)) is not drops
    assert bool(before) is moves
    for name, value in made.named_buffers():
        assert not torch.equal(value, before[name]), name


@every_network
def test_it_prints_itself_on_one_line(network):
    text = repr(network.make())
    assert "\n" not in text
    assert (f"context {network.context}" in text) is bool(network.context)
    assert text.endswith("mask)") is network.mask


@pytest.mark.parametrize("network", [n for n in NETWORKS if n.context or n.mask], ids=str)
def test_context_and_mask_change_the_output_of_their_datum_only(network):
    made, inputs = network.make().eval(), network.inputs(5)
    before = call(made, inputs)
    for name in {"context", "mask"} & inputs.keys():
        other = inputs[name].clone()
        other[2] = ~other[2] if name == "mask" else other[2] + 1
        after = call(made, {**inputs, name: other})
        same = (after == before).flatten(1).all(1)
        assert same.tolist() == [True, True, False, True, True], name


@pytest.mark.parametrize("network", [n for n in NETWORKS if n.mask], ids=str)
def test_without_a_mask_everything_is_observed(network):
    made, inputs = network.make().eval(), network.inputs(5)
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


def test_layer_norm_of_a_perceptron_by_hand():
    made = MLP(5, (8, 6), 3, norm="layer", dropout=0.3).double().eval()
    x = torch.randn(7, 5, dtype=torch.float64)
    linear = [m for m in made.layers if isinstance(m, nn.Linear)]
    norms = [m for m in made.layers if isinstance(m, nn.LayerNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.normal_()
            norm.bias.normal_()
    h = x
    for layer, norm in zip(linear, norms, strict=False):
        h = normalised(h @ layer.weight.T + layer.bias, (-1,), norm.weight, norm.bias)
        h = h * torch.sigmoid(h)
    torch.testing.assert_close(made(x), h @ linear[2].weight.T + linear[2].bias, rtol=0, atol=1e-12)
    assert [type(m).__name__ for m in made.layers[:4]] == ["Linear", "LayerNorm", "SiLU", "Dropout"]


def test_batch_norm_of_a_perceptron_by_hand():
    made = MLP(5, (8,), 3, norm="batch", activation=nn.ReLU).double()
    x = torch.randn(4, 6, 5, dtype=torch.float64)
    first, norm, _, last = made.layers
    h = x @ first.weight.T
    assert first.bias is None
    expected = normalised(h, (0, 1), norm.weight, norm.bias).relu() @ last.weight.T + last.bias
    torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(norm.running_mean, 0.1 * h.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * h.flatten(0, 1).var(0))
    h = (h - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
    torch.testing.assert_close(made.eval()(x), h.relu() @ last.weight.T + last.bias, rtol=0, atol=1e-12)


def test_dropout_keeps_the_mean_and_drops_the_share_it_was_given():
    made = MLP(3, (4000,), 1, dropout=0.3, activation=nn.Identity)
    hidden = made.layers[:-1](torch.ones(1, 3)).flatten()
    kept = made.layers[0](torch.ones(1, 3)).flatten() / 0.7
    dropped = hidden == 0
    torch.testing.assert_close(hidden[~dropped], kept[~dropped])
    assert abs(dropped.double().mean() - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5


# Residual networks


def test_a_residual_network_by_hand():
    made = ResNet(5, 8, 3, norm="layer", context=2, dropout=0.2).double().eval()
    x, c = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)

    def act(h):
        h = normalised(h, (-1,), torch.ones(8), torch.zeros(8))
        return h * torch.sigmoid(h)

    h = made.layers[0](torch.cat([x, c], 1))
    for block in made.layers[1:3]:
        first, second = (m for m in block.branch if isinstance(m, nn.Linear))
        h = h + second(act(first(act(h))))
    torch.testing.assert_close(made(x, c), made.layers[-1](act(h)), rtol=0, atol=1e-12)


def test_blocks_whose_last_layer_is_nothing_are_the_identity():
    made = ResNet(5, 8, 3, 4)
    plain = MLP(5, (8,), 3)
    plain.layers[0], plain.layers[-1] = made.layers[0], made.layers[-1]
    with torch.no_grad():
        for block in made.layers[1:5]:
            block.branch[-1].weight.zero_()
            block.branch[-1].bias.zero_()
    x = torch.randn(6, 5)
    assert torch.equal(made(x), plain(x))


# Sets


@pytest.mark.parametrize("pool", ["mean", "sum", "max"])
@pytest.mark.parametrize("mask", [False, True], ids=["all observed", "mask"])
def test_the_order_of_items_does_not_matter(pool, mask):
    made = Set(4, (8, 6), (5,), 3, pool=pool, mask=mask, norm="layer").double()
    x, order = torch.randn(5, 9, 4, dtype=torch.float64), torch.randperm(9)
    observed = torch.rand(5, 9, 4) > 0.5
    told, shuffled = ({"mask": observed}, {"mask": observed[:, order]}) if mask else ({}, {})
    torch.testing.assert_close(made(x, **told), made(x[:, order], **shuffled), rtol=0, atol=1e-12)
    assert not torch.allclose(made(x), made(x.flip(-1)))


@pytest.mark.parametrize("pool", ["mean", "sum", "max"])
def test_a_missing_item_is_an_item_that_is_not_there(pool):
    made = Set(4, (8, 6), (5,), 3, pool=pool, mask=True, context=2).double()
    x, c = torch.randn(5, 9, 4, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    there = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1]).bool()
    expected = made(x[:, there], c)
    filled = torch.where(there[:, None], x, torch.nan)
    by_item, by_cell = there.expand(5, 9), there[:, None].expand(5, 9, 4)
    for mask in (by_item, by_cell, by_cell.to(x.dtype)):
        torch.testing.assert_close(made(filled, c, mask), expected, rtol=0, atol=1e-12)
    several = made(filled.expand(2, 5, 9, 4), c, by_item)
    torch.testing.assert_close(several, expected.expand(2, 5, 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("pool", ["mean", "sum", "max"])
def test_missing_items_leave_the_gradient_finite(pool):
    made = Set(4, (8,), (5,), 3, pool=pool, mask=True)
    x = torch.full((2, 6, 4), torch.nan)
    x[0, :3] = 1.0
    made(x, mask=~x.isnan()).sum().backward()
    assert all(p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize("pool", ["mean", "sum", "max"])
def test_the_pool_of_no_items_is_nothing(pool):
    made = Set(4, (8,), (5,), 3, pool=pool, mask=True)
    out = made(torch.randn(2, 6, 4), mask=torch.zeros(2, 6))
    torch.testing.assert_close(out, made.rho(torch.zeros(2, 8)))


@pytest.mark.parametrize("pool", ["mean", "sum", "max"])
def test_a_set_by_hand(pool):
    made = Set(4, (8,), (), 3, pool=pool, activation=nn.Tanh)
    x = torch.randn(6, 4)
    items = torch.stack([made.phi[0](item).tanh() for item in x])
    pooled = {"mean": items.sum(0) / 6, "sum": items.sum(0), "max": items.max(0).values}[pool]
    torch.testing.assert_close(made(x), made.rho.layers[0](pooled))


def test_an_item_of_which_some_cells_are_missing_is_there_and_phi_is_told():
    made = Set(2, (8,), (), 3, mask=True)
    x, mask = torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[True, False]]])
    torch.testing.assert_close(made(x, mask=mask), made.rho(made.phi(torch.tensor([[1.0, 0.0, 1.0, 0.0]]))))


def test_the_mean_of_numbers_is_found_by_sets_of_any_size():
    made = Set(1, (1,), (), 1, activation=nn.Identity)
    with torch.no_grad():
        for layer in (made.phi[0], made.rho.layers[0]):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
    for size in (1, 2, 7):
        x = torch.randn(3, size, 1)
        torch.testing.assert_close(made(x), x.mean(1))


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


def test_norm_of_convolutions_by_hand():
    x, ones, zeros = torch.randn(5, 2, 8, 6, dtype=torch.float64), torch.ones(4, 1, 1), torch.zeros(4, 1, 1)
    for norm, dims in (("layer", (1, 2, 3)), ("batch", (0, 2, 3))):
        made = Conv((2, 8, 6), (4,), 3, norm=norm).double()
        h = normalised(made.images[0](x), dims, ones, zeros).relu()
        torch.testing.assert_close(made(x), made.features(h.flatten(1)), rtol=0, atol=1e-12)


def test_residual_blocks_of_convolutions_by_hand():
    made, z = Conv(3, (4,), (2, 8, 6), blocks=2), torch.randn(5, 3)
    h = made.features(z).reshape(5, 4, 4, 3)
    for block in made.images[:2]:
        _, first, _, second = block.branch
        h = h + second(first(h.relu()).relu())
    torch.testing.assert_close(made(z), made.images[-1](h.relu()))


def test_the_image_that_is_written_is_not_normalised():
    made = Conv(3, (6, 4), (2, 8, 6), norm="batch")
    written = [m for m in made.images if isinstance(m, nn.ConvTranspose2d)]
    assert [layer.bias is None for layer in written] == [True, False]


# The line that they print


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: MLP(64, (128, 128), 16), "MLP(64 → 128 → 128 → 16, SiLU)"),
        (lambda: MLP(64, (), 16), "MLP(64 → 16)"),
        (
            lambda: MLP(4, (8,), 2, norm="layer", dropout=0.1, activation=nn.Tanh, context=10, mask=True),
            "MLP(4 → 8 → 2, Tanh, layer norm, dropout 0.1, context 10, mask)",
        ),
        (lambda: MLP(4, (8,), 2, activation=lambda: nn.LeakyReLU(0.2)), "MLP(4 → 8 → 2, LeakyReLU)"),
        (lambda: MLP(np.int64(3), [np.int64(4)], np.int32(2)), "MLP(3 → 4 → 2, SiLU)"),
        (lambda: ResNet(64, 128, 16), "ResNet(64 → 128 → 16, 2 blocks, SiLU)"),
        (lambda: ResNet(4, 8, 2, 1, norm="batch"), "ResNet(4 → 8 → 2, 1 block, SiLU, batch norm)"),
        (lambda: Set(3, (64, 32), (16,), 2, pool="max"), "Set(3 → 64 → 32 → max → 16 → 2, SiLU)"),
        (lambda: Conv((1, 28, 28), (32, 64), 16), "Conv(1×28×28 → 32 → 64 → 16, ReLU)"),
        (
            lambda: Conv(16, (64, 32), (1, 28, 28), flat=True, blocks=2, context=10),
            "Conv(16 → 64 → 32 → 1×28×28, 2 blocks, ReLU, flat, context 10)",
        ),
    ],
)
def test_what_a_network_prints(make, line):
    assert repr(make()) == line


# In a program


def test_a_guide_of_sets_whose_items_are_missing_nears_the_exact_evidence():
    items, noise = 6, 0.5
    x = torch.randn(100, 1, 2) + noise * torch.randn(100, items, 2)  # items around a centre z ~ N(0, I)
    gone = torch.rand(100, items) < 0.4
    x[gone] = torch.nan
    vae = pv.VAE(
        pv.priors.Normal(2),
        lambda z: dist.Normal(z.unsqueeze(-2), noise).expand([*z.shape[:-1], items, 2]).to_event(2),
        pv.guides.Normal(Set(2, (32,), (32,), 4, pool="sum", mask=True)),
    )
    fit = pv.fit(vae, x, epochs=300, lr=1e-2, seed=0, progress=False)
    exact = 0.0
    for datum, missing in zip(x, gone, strict=True):
        if count := int((~missing).sum()):
            covariance = torch.ones(count, count) + noise**2 * torch.eye(count)
            exact += dist.MultivariateNormal(torch.zeros(count), covariance).log_prob(datum[~missing].T).sum().item()
    gap = exact / 100 - fit.history["elbo"].values[0, -50:].mean()
    assert 0 < gap < 0.1
    order = torch.randperm(items)
    vae.eval()
    torch.testing.assert_close(vae.encode(x).mean, vae.encode(x[:, order]).mean)


def test_a_network_of_the_users_with_batch_normalisation():
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    vae = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(MLP(2, (8,), 4, norm="batch", dropout=0.1)),
        pv.guides.Normal(network),
    )
    assert network[1].num_batches_tracked == 0  # the check of the parts moved nothing
    data = gaussian(60)
    fit = pv.fit(vae, data, epochs=3, batch_size=20, seed=0, progress=False)
    assert network[1].num_batches_tracked == 9
    moments = {name: value.clone() for name, value in vae.named_buffers()}
    one, two = (pv.posterior(fit, data, draws=20, seed=1) for _ in range(2))
    xr.testing.assert_identical(one["sample_stats"].to_dataset(), two["sample_stats"].to_dataset())
    assert all(torch.equal(value, moments[name]) for name, value in vae.named_buffers())


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
        (
            lambda: MLP(3, (8,), 2, norm="group"),
            ValueError,
            """MLP: norm: expected None, "batch" or "layer", got 'group'""",
        ),
        (lambda: MLP(3, (8,), 2, dropout=1.0), ValueError, r"MLP: dropout: .*at least 0 and below 1, got 1\.0"),
        (lambda: MLP(3, (8,), 2, dropout=True), ValueError, "dropout: .*got True"),
        (lambda: MLP(3, (), 2, dropout=0.1), ValueError, "norm and dropout act on hidden layers, and there is none"),
        (lambda: MLP(3, (), 2, norm="layer"), ValueError, "norm and dropout act on hidden layers"),
        (lambda: ResNet(3, (8, 8), 2), ValueError, r"ResNet: hidden \(one width.* got \(8, 8\)"),
        (lambda: ResNet(3, 8, 2, blocks=0), ValueError, "ResNet: blocks: .* at least 1, got 0"),
        (lambda: ResNet(3, 8, 2, norm="x"), ValueError, "ResNet: norm"),
        (lambda: Conv((1, 8, 8), (4,), 3, blocks=-1), ValueError, "Conv: blocks: .* at least 0, got -1"),
        (lambda: Conv((1, 8, 8), (4,), 3, norm="x"), ValueError, "Conv: norm"),
        (lambda: Set(3, (), (8,), 2), ValueError, "at least one width in phi, got none"),
        (lambda: Set(3, 8, (8,), 2), ValueError, "Set: phi: expected a sequence"),
        (lambda: Set(3, (8,), (8,), 2, pool="min"), ValueError, "pool: expected one of mean, sum, max, got 'min'"),
        (lambda: Set(3, (8,), (8,), 2, mask=True, norm="batch"), ValueError, "missing items would enter the moments"),
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
        (lambda: ResNet(4, 8, 2)(torch.zeros(5, 3)), r"ResNet\(4, …, 2\): expected 4 features .*got shape \(5, 3\)"),
        (lambda: ResNet(4, 8, 2)(torch.zeros(5, 4), mask=torch.ones(5, 4)), "ResNet: .* without a mask"),
        (lambda: Set(4, (8,), (), 2)(torch.zeros(4)), r"expected sets of shape \(\.\.\., items, 4\), got \(4,\)"),
        (lambda: Set(4, (8,), (), 2)(torch.zeros(5, 12)), r"got \(5, 12\): reshape the data"),
        (lambda: Set(4, (8,), (), 2)(torch.zeros(5, 3, 4), mask=torch.ones(5, 3)), "Set: .* without a mask"),
        (lambda: Set(4, (8,), (), 2, context=3)(torch.zeros(5, 3, 4)), "built for 3 covariates .*got no context"),
        (
            lambda: Set(4, (8,), (), 2, mask=True)(torch.zeros(5, 3, 4), mask=torch.ones(5, 2)),
            r"a mask of shape \(5, 3, 4\) by cell or \(5, 3\) by item, got \(5, 2\)",
        ),
        (
            lambda: MLP(4, (8,), 2, norm="batch")(torch.zeros(1, 4)),
            "a batch of one datum has none: choose a batch_size",
        ),
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
