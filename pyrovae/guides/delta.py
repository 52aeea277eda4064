"""Guide that is a point: a deterministic encoder."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._support import free, pushed

__all__ = ["Delta"]


class Delta(NetworkGuide):
    """z = network(x), all mass of q(z|x) on one point: the encoder of an autoencoder.

    It has no density, so there is no bound on log p(x), whatever the ELBO of Pyro says, which counts its log density
    as 0. It is for objectives that compare the codes of many data with the prior, such as `objectives.Discrepancy`.

    Parameters
    ----------
    network
        x (n, *event) → (n, latents).
    support
        Constraint of the latent: ``constraints.positive``, ``simplex``, …; the reals by default.

    Shapes
    ------
    x (n, *event) → batch (n,), event (latents,); support: the reals, or the one given.

    Raises
    ------
    TypeError
        If ``support`` is no constraint.
    ValueError
        If ``support`` is discrete or cannot be reached from the reals.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> Delta(MLP(64, (32,), 8))(torch.zeros(5, 64)).event_shape
    torch.Size([8])
    """

    @staticmethod
    def outputs(latents: int, support: constraints.Constraint = constraints.real) -> int:
        """How many outputs the network needs for so many latents."""
        return free(latents, support)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, latents)."""
        return pushed(dist.Delta(raw).to_event(1), self.support)
