"""What the likelihoods of ours share: a network of z (and a context) whose output parametrises each cell of x."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae._calls import Call
from pyrovae._part import NetworkPart

__all__ = ["NetworkLikelihood", "by_cell", "cells"]


class NetworkLikelihood(NetworkPart):
    """Calls its network with a context if it takes one, and holds what stands beside the network.

    That is a number, a tensor of one datum's shape (or that broadcasts to it), or a second network of z.
    """

    def __init__(self, network: Callable[..., Tensor]) -> None:
        super().__init__(network, "latents, hidden, features")
        self.takes = self.takes - {"mask"}
        self._beside: dict[str, Call] = {}

    def parameters_of(self, z: Tensor, context: Tensor | None) -> Tensor:
        """The network's output, batch (z's) then the shape of one datum."""
        out = self.output(z, context=context)
        if out.shape[: z.dim() - 1] != z.shape[:-1]:
            raise ValueError(
                f"{self._where}: expected a network whose output keeps the batch of its input, {tuple(z.shape[:-1])} "
                f"and then the shape of one datum, got {tuple(out.shape)}"
            )
        return out

    def stand_beside(
        self, name: str, value: Any, constraint: constraints.Constraint = constraints.positive, *, learned: bool
    ) -> None:
        """Keep a number or tensor as `hold` does, or a network of z as ``<name>_network``."""
        if callable(value) and not isinstance(value, type):
            setattr(self, f"{name}_network", value)
            self._beside[name] = Call(value, own=1)
            self.takes = self.takes | (self._beside[name].takes - {"mask"})
        else:
            self.hold(name, value, constraint, learned=learned)

    def beside(
        self,
        name: str,
        z: Tensor,
        context: Tensor | None,
        event: tuple[int, ...],
        link: Callable[[Tensor], Tensor] = softplus,
    ) -> Tensor:
        """What `stand_beside` was given, a network's output through ``link``; it must broadcast to one datum's shape.

        Raises
        ------
        ValueError
            If it does not.
        """
        if name in self._beside:
            value = link(self._beside[name](z, context=context))
            own = value.shape[z.dim() - 1 :]
        else:
            value = self.held(name)
            own = value.shape
        self.expect_fit(name, own, event)
        return value

    def details(self) -> str:
        """The network, and those beside it."""
        return ", ".join(
            [super().details(), *(f"{name}: {getattr(self, f'{name}_network')!r}" for name in self._beside)]
        )

    def expect_fit(self, name: str, own: tuple[int, ...], event: tuple[int, ...]) -> None:
        """Raise `ValueError` unless a shape broadcasts to one datum's."""
        if any(s not in (1, e) for s, e in zip_longest(reversed(own), reversed(event), fillvalue=1)):
            raise ValueError(
                f"likelihoods.{type(self).__name__}: a {name} of shape {tuple(own)} does not fit a datum of shape "
                f"{tuple(event)}, which is what the network makes: give one number, or one for each feature"
            )

    def column(self, context: Tensor | None, index: int, what: str, check: Callable[[Tensor], Tensor]) -> Tensor:
        """A column (n,) of the context; its values are checked when the part is not training.

        Raises
        ------
        ValueError
            If the context has no such column, or holds a value there that is not ``what`` says.
        """
        where = f"likelihoods.{type(self).__name__}: column {index} of the context"
        if context is None or context.shape[-1] <= index:
            came = "none was given" if context is None else f"it has {context.shape[-1]}"
            raise ValueError(f"{where} is to hold {what}, and {came}: pass it with the data, context=")
        values = context[..., index]
        if not self.training:
            bad = ~(check(values) & torch.isfinite(values))
            if bool(bad.any()):
                raise ValueError(
                    f"{where} is to hold {what}, got {values[bad][0].item():g} ({int(bad.sum()):,} such values in "
                    f"{bad.numel():,}, the first in row {int(bad.nonzero()[0, -1])}): check it, or name another column"
                )
        return values


def cells(fn: dist.TorchDistribution, z: Tensor) -> dist.TorchDistribution:
    """Make every dimension that is not z's batch part of the event: the cells of one datum, independent given z."""
    return fn.to_event(len(fn.batch_shape) - (z.dim() - 1))


def by_cell(part: NetworkLikelihood, out: Tensor, z: Tensor, count: int) -> Tensor:
    """The output with ``count`` parameters of each cell in a last dimension of their own, (…, *event, count).

    A vector holds them cell by cell and an image (count · channels, height, width) channel by channel; otherwise they
    stand in the last dimension already.

    Raises
    ------
    ValueError
        If the output has another number.
    """
    lead = z.dim() - 1
    event = tuple(out.shape[lead:])
    if len(event) in (1, 3) and event[0] and event[0] % count == 0:
        return out.unflatten(lead, (-1, count)).movedim(lead + 1, -1)
    if len(event) not in (0, 1, 3) and event[-1] == count:
        return out
    raise ValueError(
        f"likelihoods.{type(part).__name__}: expected a network with {count} outputs for each cell, so of shape "
        f"({count} · cells,), ({count} · channels, height, width) or (…, {count}), got shape {event}"
    )
