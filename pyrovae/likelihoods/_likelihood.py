"""What the likelihoods of ours share: a network of z (and a context) whose output parametrises each cell of x."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor

from pyrovae._part import NetworkPart

__all__ = ["NetworkLikelihood", "cells"]


class NetworkLikelihood(NetworkPart):
    """Calls its network with a context if it takes one."""

    def __init__(self, network: Callable[..., Tensor]) -> None:
        super().__init__(network, "latents, hidden, features")
        self.takes = self.takes - {"mask"}

    def parameters_of(self, z: Tensor, context: Tensor | None) -> Tensor:
        """The network's output, batch (z's) then the shape of one datum."""
        out: Tensor = self._call(z, context=context)
        return out


def cells(fn: dist.TorchDistribution, z: Tensor) -> dist.TorchDistribution:
    """Make every dimension that is not z's batch part of the event: the cells of one datum, independent given z."""
    return fn.to_event(len(fn.batch_shape) - (z.dim() - 1))
