"""What a test must know of a part, and how it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyrovae import networks

LATENTS, FEATURES, COVARIATES = 3, 4, 2
IMAGE = (1, 5, 7)


@dataclass(frozen=True)
class Part:
    """A part: ``make()`` builds it; ``given`` is the shape of one input (None: a prior, which has none).

    ``reference(part, inputs, value)`` is the log density of one datum by scipy.stats or by hand, None where there is
    neither. ``off`` makes a draw one off the support: the number that its first cell becomes, or a function of the
    draw. ``covariates(n)`` makes a context that must be more than random numbers. ``learned`` parts have parameters
    beside their networks', which ``reset_parameters`` takes back.
    """

    name: str
    make: Callable[[], nn.Module]
    event: tuple[int, ...]
    reference: Callable[[Any, dict[str, Tensor], np.ndarray], np.ndarray] | None
    given: tuple[int, ...] | None = None
    context: int = 0
    mask: bool = False
    off: float | Callable[[Tensor], Tensor] = float("nan")
    covariates: Callable[[int], Tensor] | None = None
    learned: bool = False

    def inputs(self, *batch: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Arguments for the part; the context has the last batch dimension only."""
        out = {} if self.given is None else {"input": torch.randn(*batch, *self.given, dtype=dtype)}
        if self.context:
            make = getattr(self, "covariates", None) or (lambda n: torch.randn(n, self.context))
            out["context"] = make(batch[-1]).to(dtype)
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


def network_output(part: Any, inputs: dict[str, Tensor], name: str = "network") -> np.ndarray:
    """The network's output; a missing cell reaches it as 0, the mean of standardised cells."""
    if "mask" in inputs:
        inputs = {**inputs, "input": torch.where(inputs["mask"], inputs["input"], 0.0)}
    return call(getattr(part, name), inputs).detach().double().numpy()


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


def cells(part: Any, terms: np.ndarray) -> np.ndarray:
    """The sum over the cells of one datum: an image's, or a row's."""
    return terms.sum((-3, -2, -1) if terms.shape[-3:] == IMAGE else -1)


def decoder(**settings: Any) -> networks.MLP:
    return networks.MLP(LATENTS, (8,), FEATURES, **settings)
