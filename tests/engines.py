"""Small programs under two engines, and whether they came to the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import pyrovae as pv
from tests.programs import gaussian

Answer = tuple[pv.Fit, dict[str, Tensor]]


def vae(guide: nn.Module | None = None, decoder: nn.Module | None = None, **settings: Any) -> pv.VAE:
    """Four features, two latents."""
    return pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(decoder or pv.networks.MLP(2, (4,), 4), 1.0),
        pv.guides.Normal(guide or pv.networks.MLP(4, (4,), 4)),
        **settings,
    )


def answer(make: Callable[[], Any], engine: str, x: Any = None, **settings: Any) -> Answer:
    """A fit, and copies of the weights that it came to."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    made = make()
    program, own = made if isinstance(made, tuple) else (made, {})
    settings = {"epochs": 3, "batch_size": 20, "lr": 1e-2, "seed": 3, "progress": False} | settings | own
    fit = pv.fit(program, gaussian(60) if x is None else x, engine=engine, **settings)
    return fit, {name: value.detach().clone() for name, value in program.weights().items()}


def assert_same(ours: Answer, theirs: Answer, *, chains: bool = True) -> None:
    """Weights to the bit, and the history to the rounding of float32."""
    assert ours[1].keys() == theirs[1].keys()
    for name, value in theirs[1].items():
        assert torch.equal(ours[1][name], value), f"{name}: off by {(ours[1][name] - value).abs().max():.1e}"
    for mine, other in zip(ours[0].chains, theirs[0].chains, strict=True) if chains else ():
        assert all(torch.equal(mine[name], other[name]) for name in other)
    assert set(ours[0].history) == set(theirs[0].history)
    for name in theirs[0].history:
        if "second" not in name:
            np.testing.assert_allclose(ours[0].history[name], theirs[0].history[name], rtol=2e-6, err_msg=name)


def same(make: Callable[[], Any], x: Any = None, *, falls: str = "", **settings: Any) -> Answer:
    """Run under both; ``falls``: what is said of one that cannot be recorded."""
    theirs = answer(make, "eager", x, **settings)
    ours = answer(make, "traced", x, **settings)
    said = ours[0].settings
    assert (said["engine"], falls in said["engine_reason"]) == ("eager" if falls else "traced", True), said
    assert_same(ours, theirs)
    return ours
