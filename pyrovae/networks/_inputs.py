"""What networks are built from and given: widths, activations, covariates, and which cells are observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least

__all__ = ["activations", "gather", "join", "line", "refuse_mask", "told", "wholes"]


def wholes(what: str, values: Any) -> tuple[int, ...]:
    """``values`` as a tuple of ints of at least 1.

    Raises
    ------
    ValueError
        If it is not a sequence of such.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{what}: expected a sequence of whole numbers, such as (128, 64), got {values!r}")
    return tuple(at_least(what, value, 1) for value in values)


def activations(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """``make``, once it has been seen to make a module.

    Raises
    ------
    TypeError
        If it makes none: an instance, a function of tensors or a name was given.
    """
    made = None
    if callable(make) and not isinstance(make, nn.Module):
        try:
            made = make()
        except TypeError:  # torch.relu() and the like need an input
            made = None
    if not isinstance(made, nn.Module):
        raise TypeError(f"activation: expected the class of a module, such as torch.nn.ReLU, got {make!r}")
    return make


def told(context: int, mask: bool) -> frozenset[str]:
    """The names of the further inputs that a network declares (see `pyrovae._calls.Call`)."""
    at_least("context (the number of covariates)", context, 0)
    if not isinstance(mask, bool):
        raise TypeError(f"mask: expected True or False, whether the network is told what is missing, got {mask!r}")
    return frozenset(({"context"} if context else set()) | ({"mask"} if mask else set()))


def join(x: Tensor, context: Tensor | None, features: int) -> Tensor:
    """``x`` (..., d) with ``context`` (n, c) broadcast over leading dimensions and appended: (..., d + c)."""
    if context is None:
        if not features:
            return x
        raise ValueError(
            f"this network was built for {features} covariates (context={features}) and got no context: "
            "pass context= with the data"
        )
    if context.shape[-1] != features:
        raise ValueError(
            f"this network was built for {features} covariates, got a context of {context.shape[-1]}: "
            f"build it with context={context.shape[-1]}"
        )
    return torch.cat([x, context.to(x.dtype).expand(*x.shape[:-1], features)], -1)


def gather(network: Any, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
    """``x`` (..., in_features) with which of it is observed and its context appended, if the network takes them."""
    if x.shape[-1] != network.in_features:
        image = math.prod(x.shape[1:]) == network.in_features
        raise ValueError(
            f"{type(network).__name__}({network.in_features}, …, {network.out_features}): expected "
            f"{network.in_features} features in the last dimension, got shape {tuple(x.shape)}: "
            + (
                "flatten the data, x.flatten(1)"
                if image
                else f"build it with in_features={x.shape[-1]}, or check its input"
            )
        )
    refuse_mask(network, mask)
    if "mask" in network.takes:
        observed = torch.ones_like(x) if mask is None else mask.to(x.dtype).expand(x.shape)
        x = torch.cat([x, observed], -1)
    return join(x, context, network.context)


def refuse_mask(network: Any, mask: Tensor | None) -> None:
    """Raise `ValueError` if a mask comes that the network was not built for."""
    if mask is not None and "mask" not in network.takes:
        raise ValueError(
            f"{type(network).__name__}: this network was built without a mask and got one: build it with mask=True"
        )


def line(network: Any, sizes: Sequence[Any], *settings: str) -> str:
    """What a network prints: its name, its sizes from input to output, its settings, and what it takes."""
    parts = [" → ".join(map(str, sizes)), *(s for s in settings if s)]
    if network.context:
        parts.append(f"context {network.context}")
    if "mask" in network.takes:
        parts.append("mask")
    return f"{type(network).__name__}({', '.join(parts)})"
