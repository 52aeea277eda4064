"""Every part, with what a test must know of it. A new part is tested by being listed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor, nn

from pyrovae import guides, likelihoods, networks, priors

LATENTS, FEATURES, COVARIATES = 3, 4, 2
IMAGE = (1, 5, 7)


@dataclass(frozen=True)
class Part:
    """A part: ``make()`` builds it; ``given`` is the shape of one input (None: a prior, which has none).

    ``reference(part, inputs, value)`` is the log density of one datum by scipy.stats; ``off`` is a value off the
    support. ``learned`` parts have parameters beside their networks', which ``reset_parameters`` takes back.
    """

    name: str
    make: Callable[[], nn.Module]
    event: tuple[int, ...]
    reference: Callable[[Any, dict[str, Tensor], np.ndarray], np.ndarray]
    given: tuple[int, ...] | None = None
    context: int = 0
    mask: bool = False
    off: float = float("nan")
    learned: bool = False

    def inputs(self, *batch: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Arguments for the part; the context has the last batch dimension only."""
        out = {} if self.given is None else {"input": torch.randn(*batch, *self.given, dtype=dtype)}
        if self.context:
            out["context"] = torch.randn(batch[-1], self.context, dtype=dtype)
        if self.mask:
            out["mask"] = torch.rand(*batch, *self.given) > 0.3  # type: ignore[misc]
        return out

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Network:
    """A network: ``make()`` builds it; ``given`` and ``out`` are the shapes of one input and output."""

    name: str
    make: Callable[[], nn.Module]
    given: tuple[int, ...]
    out: tuple[int, ...]
    context: int = 0
    mask: bool = False

    inputs = Part.inputs

    def __str__(self) -> str:
        return self.name


def call(part: nn.Module, inputs: dict[str, Tensor]) -> Any:
    """The part given its inputs."""
    rest = {name: value for name, value in inputs.items() if name != "input"}
    return part(inputs["input"], **rest) if "input" in inputs else part(**rest)


def _network(part: Any, inputs: dict[str, Tensor], name: str = "network") -> np.ndarray:
    """The network's output; a missing cell reaches it as 0, the mean of standardised cells."""
    if "mask" in inputs:
        inputs = {**inputs, "input": torch.where(inputs["mask"], inputs["input"], 0.0)}
    return call(getattr(part, name), inputs).detach().double().numpy()


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


def _standard_normal(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return stats.norm.logpdf(value).sum(-1)


def _learned_normal(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, scale = part.loc.detach().numpy(), np.exp(part.log_scale.detach().numpy())
    return stats.norm.logpdf(value, loc, scale).sum(-1)


def _bernoulli(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return _cells(part, stats.bernoulli.logpmf(value, special.expit(_network(part, inputs))))


def _binomial(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return _cells(part, stats.binom.logpmf(value, 6, special.expit(_network(part, inputs))))


def _normal(scale: Any) -> Callable[..., np.ndarray]:
    def reference(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
        sd = scale if not callable(scale) else scale(part, inputs)
        return _cells(part, stats.norm.logpdf(value, _network(part, inputs), sd))

    return reference


def _cells(part: Any, terms: np.ndarray) -> np.ndarray:
    """The sum over the cells of one datum: an image's, or a row's."""
    return terms.sum((-3, -2, -1) if terms.shape[-3:] == IMAGE else -1)


def _mean_field(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, raw = np.split(_network(part, inputs), 2, -1)
    return stats.norm.logpdf(value, loc, _softplus(raw)).sum(-1)


def _full_covariance(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    out = _network(part, inputs)
    loc, raw = out[..., :LATENTS], out[..., LATENTS:]
    flat = []
    for mean, row, z in zip(
        loc.reshape(-1, LATENTS), raw.reshape(-1, raw.shape[-1]), value.reshape(-1, LATENTS), strict=True
    ):
        factor = np.zeros((LATENTS, LATENTS))
        factor[np.tril_indices(LATENTS)] = row
        np.fill_diagonal(factor, _softplus(np.diag(factor)))
        flat.append(stats.multivariate_normal.logpdf(z, mean, factor @ factor.T))
    return np.reshape(flat, value.shape[:-1])


def _decoder(**settings: Any) -> networks.MLP:
    return networks.MLP(LATENTS, (8,), FEATURES, **settings)


PRIORS = (
    Part("Normal", lambda: priors.Normal(LATENTS), (LATENTS,), _standard_normal),
    Part("Normal, learned", lambda: priors.Normal(LATENTS, learned=True), (LATENTS,), _learned_normal, learned=True),
)
LIKELIHOODS = (
    Part(
        "Bernoulli",
        lambda: likelihoods.Bernoulli(_decoder()),
        (FEATURES,),
        _bernoulli,
        given=(LATENTS,),
        off=0.5,
    ),
    Part(
        "Bernoulli, images",
        lambda: likelihoods.Bernoulli(networks.Conv(LATENTS, (4,), IMAGE)),
        IMAGE,
        _bernoulli,
        given=(LATENTS,),
        off=-1.0,
    ),
    Part(
        "Binomial",
        lambda: likelihoods.Binomial(6, _decoder(context=COVARIATES)),
        (FEATURES,),
        _binomial,
        given=(LATENTS,),
        context=COVARIATES,
        off=7.0,
    ),
    Part("Normal", lambda: likelihoods.Normal(_decoder(), 0.5), (FEATURES,), _normal(0.5), given=(LATENTS,)),
    Part(
        "Normal, one learned scale",
        lambda: likelihoods.Normal(_decoder(), 0.5, learn_scale=True),
        (FEATURES,),
        _normal(lambda part, _: np.exp(part.log_scale.item())),
        given=(LATENTS,),
        learned=True,
    ),
    Part(
        "Normal, a learned scale per feature",
        lambda: likelihoods.Normal(_decoder(), torch.tensor([0.5, 1.0, 2.0, 3.0]), learn_scale=True),
        (FEATURES,),
        _normal(lambda part, _: np.exp(part.log_scale.detach().numpy())),
        given=(LATENTS,),
        learned=True,
    ),
    Part(
        "Normal, a scale network",
        lambda: likelihoods.Normal(_decoder(), _decoder(context=COVARIATES)),
        (FEATURES,),
        lambda part, inputs, value: stats.norm.logpdf(
            value,
            _network(part, {"input": inputs["input"]}),
            _softplus(_network(part, inputs, "scale_network")),
        ).sum(-1),
        given=(LATENTS,),
        context=COVARIATES,
    ),
)
GUIDES = (
    Part(
        "Normal",
        lambda: guides.Normal(networks.MLP(FEATURES, (8,), 2 * LATENTS)),
        (LATENTS,),
        _mean_field,
        given=(FEATURES,),
    ),
    Part(
        "Normal, images",
        lambda: guides.Normal(networks.Conv(IMAGE, (4,), 2 * LATENTS)),
        (LATENTS,),
        _mean_field,
        given=IMAGE,
    ),
    Part(
        "MultivariateNormal",
        lambda: guides.MultivariateNormal(
            networks.MLP(FEATURES, (8,), guides.MultivariateNormal.outputs(LATENTS), context=COVARIATES, mask=True)
        ),
        (LATENTS,),
        _full_covariance,
        given=(FEATURES,),
        context=COVARIATES,
        mask=True,
    ),
)
NETWORKS = (
    Network("MLP", lambda: networks.MLP(5, (8, 6), 3), (5,), (3,)),
    Network("MLP, affine", lambda: networks.MLP(5, (), 3), (5,), (3,)),
    Network("MLP, context", lambda: networks.MLP(5, (8,), 3, context=2), (5,), (3,), context=2),
    Network("MLP, mask", lambda: networks.MLP(5, (8,), 3, mask=True), (5,), (3,), mask=True),
    Network("MLP, both", lambda: networks.MLP(5, (8,), 3, context=2, mask=True), (5,), (3,), context=2, mask=True),
    Network("Conv reads", lambda: networks.Conv((1, 27, 31), (4, 6), 3), (1, 27, 31), (3,)),
    Network("Conv reads rows", lambda: networks.Conv((2, 8, 9), (4,), 3), (2 * 8 * 9,), (3,)),
    Network(
        "Conv reads, both",
        lambda: networks.Conv((2, 9, 8), (4,), 3, context=2, mask=True),
        (2, 9, 8),
        (3,),
        context=2,
        mask=True,
    ),
    Network("Conv writes", lambda: networks.Conv(5, (6, 4), (1, 27, 31)), (5,), (1, 27, 31)),
    Network("Conv writes rows", lambda: networks.Conv(5, (4,), (2, 8, 9), flat=True), (5,), (2 * 8 * 9,)),
    Network("Conv writes, context", lambda: networks.Conv(5, (4,), (2, 7, 8), context=2), (5,), (2, 7, 8), context=2),
)
