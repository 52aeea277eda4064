"""What chosen latents decode to: linear maps and mixtures whose E[x|z] is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

import pyrovae as pv
from tests.programs import hierarchy, linear_vae, shared_mean

PROBS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
CENTRES = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
SHIFTS = torch.tensor([[3.0, -1.0], [0.0, 1.0], [-2.0, 5.0]], dtype=torch.float64)


def affine(program: pv.VAE) -> tuple[np.ndarray, np.ndarray]:
    """W and μ of a linear decoder."""
    (layer,) = [m for m in program.parts["likelihood"].modules() if isinstance(m, torch.nn.Linear)]
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def mixture(*, upstream: bool = False) -> pv.Program:
    """c enumerated, z ~ N(m_c, 1), x ~ N((z, −z) + b_c, 1); b_c = 0 where c is only above z."""
    shifts = 0 * SHIFTS if upstream else SHIFTS

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(PROBS), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(CENTRES[c], 1.0))
            loc = torch.stack([z, -z], -1) + shifts[c]
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))

    return pv.Program(model, guide)


def expected(z: Tensor) -> Tensor:
    """(z, −z) + Σ_c p(c|z) b_c."""
    share = (PROBS.log() - (z[:, None] - CENTRES).square() / 2).softmax(-1)
    return torch.stack([z, -z], -1) + share @ SHIFTS


@pytest.mark.parametrize("double", [False, True])
def test_a_linear_decoder_is_an_affine_map(double: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    program = linear_vae()
    program = program.double() if double else program
    z = np.random.default_rng(0).normal(size=(7, 2))
    w, mu = affine(program)
    data = torch.zeros(3, 4)
    tolerance = 1e-12 if double else 1e-6
    for given in (z, torch.tensor(z, requires_grad=True), xr.DataArray(z), z.tolist(), {"z": z}):
        found = pv.decode(program, given, data)["x"]
        assert found.dims == ("code", "x_dim_0")
        np.testing.assert_allclose(found.values, z @ w.T + mu, rtol=tolerance, atol=tolerance)
    monkeypatch.setattr("pyrovae.draws.chains.rows_in_memory", lambda *_: 2)  # in blocks it is the same
    np.testing.assert_array_equal(pv.decode(program, z, data)["x"].values, found.values)


def test_the_chosen_restart_and_the_datas_coordinates() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    data = xr.DataArray(x, dims=("who", "gene"), coords={"gene": list("abcd"), "who": np.arange(20) + 100})
    fit = pv.fit(linear_vae(), data, epochs=1, restarts=2, progress=False)
    found = pv.decode(fit, np.eye(2), data)
    w, mu = affine(fit.program)
    np.testing.assert_allclose(found["x"].values, np.eye(2) @ w.T + mu, rtol=1e-5)
    assert found["gene"].values.tolist() == list("abcd")
    assert set(found.coords) == {"code", "gene"}


def test_context_is_that_of_datum_i_mod_n() -> None:
    def model(x: Tensor, context: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None] + context, 1.0).to_event(1), obs=x)

    def guide(x: Tensor, context: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))

    context = torch.tensor([[0.0, 10.0], [20.0, 30.0]])
    found = pv.decode(pv.Program(model, guide), [1.0, 2.0, 3.0], torch.zeros(2, 2), context=context)
    np.testing.assert_allclose(found["x"].values, [[1, 11], [22, 32], [3, 13]])


def test_several_sites_are_given_by_name() -> None:
    z1, z2 = np.random.default_rng(0).normal(size=(5, 2)), np.zeros(5)
    found = pv.decode(hierarchy(), {"z1": z1, "z2": z2}, torch.zeros(1, 4))
    np.testing.assert_allclose(found["y"].values, z1 @ (0.3 * np.ones((2, 4))), rtol=1e-5, atol=1e-6)


def test_enumerated_sites_are_summed_out_or_given() -> None:
    z = torch.linspace(-3, 3, 5, dtype=torch.float64)
    data = torch.zeros(2, 2, dtype=torch.float64)
    found = pv.decode(mixture(), z, data)["x"].values
    np.testing.assert_allclose(found, expected(z), rtol=1e-12)
    given = pv.decode(mixture(), {"z": z, "c": [0, 1, 2, 0, 1]}, data)["x"].values
    np.testing.assert_allclose(given, torch.stack([z, -z], -1) + SHIFTS[[0, 1, 2, 0, 1]], rtol=1e-12)
    above = pv.decode(mixture(upstream=True), z, data)["x"].values
    np.testing.assert_allclose(above, torch.stack([z, -z], -1), rtol=1e-12)


def bits(count: int) -> pv.Program:
    """Enumerated bits in a plate of their own: x_j ~ N(z + 2^j b_j, 1), p(b_j) = (j + 1)/10."""
    probs, powers = 0.1 + torch.arange(count) / 10 % 0.8, 2.0 ** torch.arange(count)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0))
            with pyro.plate("bits", count, dim=-1):
                b = pyro.sample("b", dist.Bernoulli(probs), infer={"enumerate": "parallel"})
                pyro.sample("x", dist.Normal(z + powers * b, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(x[:, :1], 1.0))

    return pv.Program(model, guide, plate="data")


def test_enumerated_bits_of_an_inner_plate() -> None:
    found = pv.decode(bits(3), [0.0, 1.0], torch.zeros(4, 3))["x"].values
    np.testing.assert_allclose(found, [[0.1, 0.4, 1.2], [1.1, 1.4, 2.2]], rtol=1e-5)
    with pytest.raises(ValueError, match=r"'b' have 512 values together, and at most 256.*pv\.decode"):
        pv.decode(bits(9), [0.0], torch.zeros(4, 9))


def test_images_keep_their_dimensions() -> None:
    decoder = torch.nn.Sequential(torch.nn.Linear(2, 60), torch.nn.Unflatten(-1, (3, 4, 5)))
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(60, 4))
    program = pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(decoder), pv.guides.Normal(encoder))
    found = pv.decode(program, np.eye(2), torch.zeros(6, 3, 4, 5))["x"].values
    np.testing.assert_allclose(found, decoder(torch.eye(2)).detach(), rtol=1e-6)


def test_missing_cells_are_decoded_too() -> None:
    program = pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(pv.networks.MLP(2, (), 4)),
        pv.guides.Normal(pv.networks.MLP(4, (), 4, mask=True)),
    )
    x = torch.zeros(6, 4)
    x[:, 1] = torch.nan
    w, mu = affine(program)
    np.testing.assert_allclose(pv.decode(program, np.eye(2), x)["x"].values, np.eye(2) @ w.T + mu, rtol=1e-5)


def test_families_without_a_mean() -> None:
    ours = pv.VAE(
        pv.priors.Normal(1),
        pv.likelihoods.Categorical(3, pv.networks.MLP(1, (), 12)),
        pv.guides.Normal(pv.networks.MLP(4, (), 2)),
    )
    data = torch.zeros(2, 4, dtype=torch.long)
    draws = [pv.decode(ours, np.zeros((50, 1)), data, seed=seed)["x"].values for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    assert set(np.unique(draws[0])) == {0, 1, 2}

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Categorical(logits=torch.stack([z, -z], -1)), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0 * x[:, 0], 1.0))

    values = pv.decode(pv.Program(model, guide), [0.0, 1.0], torch.zeros(3, 1))["x"].values
    assert set(np.unique(values)) <= {0, 1}  # Pyro's own says that its mean is NaN: it is drawn from


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.zeros((3, 4)), r"expected 'z' of shape \(codes, 2\), got \(3, 4\)"),
        (np.zeros(2), r"of shape \(codes, 2\), got \(2,\)"),
        (np.zeros((0, 2)), r"got \(0, 2\)"),
        (0.0, r"got \(\)"),
        ([[0.0, np.nan]], r"1 of 1 values of 'z' lie outside its support, .*number 0"),
        ({"y": np.zeros((3, 2))}, "expected values of 'z', got those of 'y'"),
        ({}, "expected values of 'z', got those of none"),
    ],
)
def test_bad_latents_are_refused(latents: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pv.decode(linear_vae(), latents, torch.zeros(1, 4))


def test_bad_sites_and_supports_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected values of 'z2', 'z1', got those of 'z2'"):
        pv.decode(hierarchy(), np.zeros(3), torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"as many codes of each site, got 3 of 'z1', 2 of 'z2'"):
        pv.decode(hierarchy(), {"z1": np.zeros((3, 2)), "z2": np.zeros(2)}, torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"'m' are shared by all data"):
        pv.decode(shared_mean(torch.zeros(3, 1)), [0.0], torch.zeros(3, 1))
    mixed = {"z": [0.0, 1.0], "c": [0, 3]}
    with pytest.raises(ValueError, match=r"1 of 2 values of 'c' lie outside its support"):
        pv.decode(mixture(), mixed, torch.zeros(2, 2, dtype=torch.float64))
    simplex = pv.VAE(
        pv.priors.Dirichlet(3),
        pv.likelihoods.Normal(pv.networks.MLP(3, (), 4)),
        pv.guides.Normal(pv.networks.MLP(4, (), 4), support=dist.constraints.simplex),
    )
    with pytest.raises(ValueError, match=r"1 of 2 values of 'z' lie outside its support, simplex; .*number 1"):
        pv.decode(simplex, [[0.2, 0.3, 0.5], [0.2, 0.3, 0.6]], torch.zeros(1, 4))
