"""Normal guide with independent latents (mean field)."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.guides._guide import NetworkGuide

__all__ = ["Normal"]


class Normal(NetworkGuide):
    """q(z|x) = N(loc(x), diag(scale(x)²)), z = loc + scale · ε with ε ~ N(0, I) (Kingma & Welling 2013, 1312.6114).

    Parameters
    ----------
    network
        x (n, *event) → (n, 2 · latents): the means, then what softplus makes the standard deviations.

    Shapes
    ------
    x (n, *event) → batch (n,), event (latents,); support: the reals.

    Raises
    ------
    ValueError
        If the network's output has an odd length.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> Normal(MLP(64, (32,), 2 * 8))(torch.zeros(5, 64))
    Independent(Normal(loc: torch.Size([5, 8]), scale: torch.Size([5, 8])), 1)
    """

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> dist.TorchDistribution:
        """q(z|x)."""
        out = self.parameters_of(x, context, mask)
        if out.shape[-1] % 2:
            raise ValueError(
                "guides.Normal: expected a network with 2 · latents outputs (means, then scales), got "
                f"{out.shape[-1]} outputs"
            )
        loc, raw = out.chunk(2, -1)
        return dist.Normal(loc, softplus(raw)).to_event(1)
