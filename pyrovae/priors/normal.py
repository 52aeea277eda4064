"""Normal prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least

__all__ = ["Normal"]


class Normal(nn.Module):
    """p(z) = N(loc, diag(scale²)): standard, or with ``loc`` and ``scale`` learned from the data.

    Parameters
    ----------
    size
        Number of latents.
    learned
        Learn ``loc`` and ``scale``, from 0 and 1.

    Shapes
    ------
    Event (size,), batch (); support: the reals.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1.

    Examples
    --------
    >>> Normal(8)().event_shape
    torch.Size([8])
    """

    loc: Tensor
    log_scale: Tensor

    def __init__(self, size: int, *, learned: bool = False) -> None:
        super().__init__()
        size = at_least("priors.Normal: size (the number of latents)", size, 1)
        for name in ("loc", "log_scale"):
            if learned:
                self.register_parameter(name, nn.Parameter(torch.zeros(size)))
            else:
                self.register_buffer(name, torch.zeros(size), persistent=False)
        self.learned = learned

    def forward(self) -> dist.TorchDistribution:
        """The distribution."""
        return dist.Normal(self.loc, self.log_scale.exp()).to_event(1)

    def reset_parameters(self) -> None:
        """Back to the standard Normal, which is where each restart begins."""
        nn.init.zeros_(self.loc)
        nn.init.zeros_(self.log_scale)
