"""Covariates in prior, likelihood and guide, each optional; classes as covariates."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

import pyrovae as pv

N, C, LATENTS, FEATURES = 60, 3, 2, 4
MLP = pv.networks.MLP


def program(prior: bool, likelihood: bool, guide: bool, *, mask: bool = False) -> pv.VAE:
    """A VAE whose parts take the covariates or not."""
    return pv.VAE(
        pv.priors.Conditional(pv.guides.Normal(MLP(C, (), 2 * LATENTS))) if prior else pv.priors.Normal(LATENTS),
        pv.likelihoods.Normal(MLP(LATENTS, (8,), FEATURES, context=C * likelihood), 0.5),
        pv.guides.Normal(MLP(FEATURES, (8,), 2 * LATENTS, context=C * guide, mask=mask)),
    )


def simulate() -> tuple[torch.Tensor, torch.Tensor]:
    """Data that depend on a class and on a number, both as covariates."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(2, (N,), generator=generator)
    c = torch.cat([pv.data.one_hot(label), torch.randn(N, 1, generator=generator)], 1)
    return c @ torch.randn(C, FEATURES, generator=generator) + torch.randn(N, FEATURES, generator=generator), c


@pytest.mark.parametrize(("prior", "likelihood", "guide"), [p for p in product([False, True], repeat=3) if any(p)])
@pytest.mark.parametrize("mask", [False, True])
def test_any_of_the_parts_may_take_it(prior: bool, likelihood: bool, guide: bool, mask: bool) -> None:
    x, c = simulate()
    if mask:
        x[3, 1] = torch.nan
    torch.manual_seed(0)
    vae = program(prior, likelihood, guide, mask=mask)
    fit = pv.fit(vae, x, context=c, epochs=30, batch_size=N, lr=2e-2, progress=False)
    history = fit.history["elbo"].values[0]
    assert history[-5:].mean() > history[:5].mean()
    tree = pv.posterior(fit, x, context=c, draws=5)
    np.testing.assert_array_equal(tree["constant_data"]["context"].values, c.numpy())
    # what does not depend on the covariates does not change with them
    other = pv.posterior(fit, x, context=c.flip(0), draws=5)
    same = {
        name: np.array_equal(tree[group][name], other[group][name])
        for group, name in (("posterior", "z"), ("sample_stats", "log_lik"), ("sample_stats", "log_q"))
    }
    assert same["z"] == same["log_q"] == (not guide)
    assert same["log_lik"] == (not (guide or likelihood))


def test_a_conditional_prior_is_that_of_its_datum() -> None:
    """x = z + noise with z | c ~ N(2c, 1): the learned prior's mean is 2c, within the error of a regression."""
    generator = torch.Generator().manual_seed(1)
    n, noise = 4000, 0.5
    c = torch.randn(n, 1, generator=generator)
    x = 2 * c + torch.randn(n, 1, generator=generator) + noise * torch.randn(n, 1, generator=generator)
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Conditional(pv.guides.Normal(MLP(1, (), 2))),
        pv.likelihoods.Normal(torch.nn.Identity(), noise),
        pv.guides.Normal(MLP(1, (), 2, context=1)),
    )
    pv.fit(vae, x, context=c, epochs=1200, batch_size=n, lr=5e-2, progress=False)
    with torch.no_grad():
        p = vae.parts["prior"](c).base_dist
    slope = ((p.loc * c).mean() - p.loc.mean() * c.mean()) / c.var(correction=0)
    best = ((x * c).mean() - x.mean() * c.mean()) / c.var(correction=0)
    error = 1.25**0.5 / n**0.5
    assert abs(best - 2) < 4 * error
    assert abs(slope - best) < 4 * error
    assert abs(p.scale.mean() - 1) < 0.05


def test_one_hot() -> None:
    frame = pd.Series(pd.Categorical(["b", "a", "b"], categories=["a", "b", "c"]))
    assert pv.data.one_hot(frame).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert pv.data.one_hot(torch.tensor([7, 3])).tolist() == [[0, 1], [1, 0]]
    assert pv.data.one_hot([True, False]).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("labels", "levels", "says"),
    [
        (["a", "d"], ["a", "b"], r"label 1 is 'd', none of the levels \['a', 'b'\].*not seen in training"),
        (["a", None], None, "label 1 is missing"),
        ([1.0, float("nan")], None, "label 1 is missing"),
        ([1, 1], None, r"at least two different levels, got \[1\]"),
        ([[1, 2]], None, r"expected labels of shape \(n,\), got \(1, 2\)"),
        ([1, 2], [1, 2, 2], r"at least two different levels, got \[1, 2, 2\]"),
    ],
)
def test_labels_that_are_no_classes(labels, levels, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pv.data.one_hot(labels, levels)
