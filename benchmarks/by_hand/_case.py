"""Two ways to compute the same scalar, and the parameters that it is differentiated by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pyrovae.networks import MLP

__all__ = ["BATCH", "LATENTS", "PIXELS", "TABLE", "Case", "fixed_or_learned", "rest_of_a_step"]

LATENTS, BATCH = 20, 128
PIXELS, TABLE = (784, 400), (64, 64)  # features, hidden units


@dataclass(frozen=True)
class Case:
    """A part: ``ours()`` and ``by_hand()`` are the scalar whose gradient a step takes.

    ``agree()`` returns the two values that must be the same. ``rest`` is what else stands in the step, the same on both
    sides, where the part alone has no network.
    """

    name: str
    ours: Callable[[], Tensor]
    by_hand: Callable[[], Tensor]
    agree: Callable[[], tuple[Tensor, Tensor]]
    leaves: list[Tensor]
    rest: Callable[[], Tensor] | None = None


def fixed_or_learned(part: nn.Module, name: str) -> Tensor:
    """The number, positive if it is learned, that a part holds."""
    raw = getattr(part, f"raw_{name}", None)
    return getattr(part, f"_{name}") if raw is None else raw.exp()


def rest_of_a_step(z: Tensor) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """log p(x|z) of a Bernoulli decoder 20-400-784, and its parameters."""
    features, hidden = PIXELS
    decoder = MLP(LATENTS, (hidden,), features).layers
    x = torch.bernoulli(torch.full((len(z), features), 0.3))
    return lambda: -binary_cross_entropy_with_logits(decoder(z), x, reduction="sum"), list(decoder.parameters())
