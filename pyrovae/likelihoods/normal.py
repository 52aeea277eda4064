"""Normal likelihood, with every usual choice of noise."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae.likelihoods._likelihood import NetworkLikelihood, cells

__all__ = ["Normal"]


class Normal(NetworkLikelihood):
    """p(x|z) = N(x; network(z), diag(scale²)).

    With scale 1 and nothing learned, −log p(x|z) is half the squared error plus (d/2) log 2π.

    Parameters
    ----------
    network
        z (..., latents) → mean (..., *event).
    scale
        The noise's standard deviation: a number; a tensor of one datum's shape (or that broadcasts to it), so that
        each feature has its own; or a second network of z, whose output softplus makes positive.
    learn_scale
        Learn the number or the tensor, from the value given.

    Raises
    ------
    ValueError
        If a scale is not positive and finite or has another shape than the mean, or if ``learn_scale`` is given with a
        scale network.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> z, decoder = torch.zeros(5, 8), MLP(8, (32,), 64)
    >>> Normal(decoder, 0.5)(z).event_shape                                   # fixed
    torch.Size([64])
    >>> Normal(decoder, 1.0, learn_scale=True)(z).event_shape                 # one learned number
    torch.Size([64])
    >>> Normal(decoder, torch.ones(64), learn_scale=True)(z).event_shape      # one per feature
    torch.Size([64])
    >>> Normal(decoder, MLP(8, (32,), 64))(z).event_shape                     # a network of z
    torch.Size([64])
    """

    support = constraints.real
    log_scale: Tensor
    scale: Tensor

    def __init__(
        self,
        network: Callable[..., Tensor],
        scale: float | Tensor | Callable[..., Tensor] = 1.0,
        *,
        learn_scale: bool = False,
    ) -> None:
        super().__init__(network)
        self.scale_network, self.learn_scale = scale if callable(scale) else None, learn_scale
        if callable(scale):
            if learn_scale:
                raise ValueError(
                    "likelihoods.Normal: learn_scale is for a number or a tensor; a scale network learns by itself"
                )
            self.stand_beside("scale", scale, learned=False)
            return
        try:
            start = torch.as_tensor(scale, dtype=torch.get_default_dtype()).detach().clone()
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"likelihoods.Normal: expected a number, a tensor or a network of z as scale, got {scale!r}"
            ) from None
        if not (torch.isfinite(start).all() and (start > 0).all()):
            raise ValueError(f"likelihoods.Normal: expected a positive, finite scale, got {scale!r}")
        if learn_scale:
            self.log_scale = nn.Parameter(start.log())
            self.register_buffer("_start", start.log(), persistent=False)
        else:
            self.register_buffer("scale", start, persistent=False)

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        loc = self.parameters_of(z, context)
        event = tuple(loc.shape[z.dim() - 1 :])
        if self.scale_network is not None:
            return cells(dist.Normal(loc, self.beside("scale", z, context, event)), z)
        scale = self.log_scale.exp() if self.learn_scale else self.scale
        self.expect_fit("scale", tuple(scale.shape), event)
        return cells(dist.Normal(loc, scale), z)

    def reset_parameters(self) -> None:
        """Back to the scale that was given, which is where each restart begins."""
        if self.learn_scale:
            with torch.no_grad():
                self.log_scale.copy_(self.get_buffer("_start"))
