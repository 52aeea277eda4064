"""Normal guide with independent latents (mean field)."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._support import free, pushed

__all__ = ["Normal"]


class Normal(NetworkGuide):
    """q(z|x) = N(loc(x), diag(scale(x)²)), z = loc + scale · ε with ε ~ N(0, I) (Kingma & Welling 2013, 1312.6114).

    On another support z = T(loc + scale · ε), T the bijection from the reals: exp, a logistic function, stick breaking.

    Parameters
    ----------
    network
        x (n, *event) → (n, 2 · latents): the means, then what softplus makes the standard deviations.
    support
        Constraint of the latent: ``constraints.positive``, ``unit_interval``, ``interval(a, b)``, ``simplex``, …; the
        reals by default. The simplex with k cells has k − 1 latents in this sense; `outputs` counts them.

    Shapes
    ------
    x (n, *event) → batch (n,), event (latents,); support: the reals, or the one given.

    Raises
    ------
    TypeError
        If ``support`` is no constraint.
    ValueError
        If the network's output has an odd length, or ``support`` is discrete or cannot be reached from the reals.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> Normal(MLP(64, (32,), 2 * 8))(torch.zeros(5, 64))
    Independent(Normal(loc: torch.Size([5, 8]), scale: torch.Size([5, 8])), 1)
    >>> outputs = Normal.outputs(3, support=constraints.simplex)
    >>> Normal(MLP(64, (32,), outputs), support=constraints.simplex)(torch.zeros(5, 64)).event_shape
    torch.Size([3])
    """

    @staticmethod
    def outputs(latents: int, support: constraints.Constraint = constraints.real) -> int:
        """How many outputs the network needs for so many latents."""
        return 2 * free(latents, support)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, 2 · latents)."""
        if raw.shape[-1] % 2 or not raw.shape[-1]:
            raise ValueError(
                "guides.Normal: expected a network with 2 · latents outputs (means, then scales), got "
                f"{raw.shape[-1]} outputs"
            )
        loc, scale = raw.chunk(2, -1)
        return pushed(dist.Normal(loc, softplus(scale)).to_event(1), self.support)
