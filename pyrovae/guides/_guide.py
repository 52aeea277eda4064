"""What the guides of ours share: a network of x (a context, a mask) whose output parametrises q(z|x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae._part import NetworkPart
from pyrovae.guides._support import latent_support

__all__ = ["NetworkGuide"]


class NetworkGuide(NetworkPart):
    """Tells its network of context and mask if it takes them, and makes q of the network's output.

    The network sees (x − shift) / spread, with the mean and the standard deviation of all cells of the training data,
    which `adapt` sets once before the first epoch: so that the unit of the data does not decide how well it trains.
    Until then they are 0 and 1; so they stay for a network that adapts itself to the data.

    A family defines `distribution`, from raw numbers (n, p) to q, and ``outputs``, the p that it needs for so many
    latents; ``twice`` says whether its draws can be differentiated twice, as steps of `SemiAmortized` need it.
    """

    support: constraints.Constraint = constraints.real_vector
    twice: ClassVar[bool] = True
    shift: Tensor
    spread: Tensor
    adapted: Tensor

    def __init__(self, network: Callable[..., Tensor], *, support: constraints.Constraint | None = None) -> None:
        super().__init__(network, "features, hidden, outputs")
        if support is not None:
            self.support = latent_support(f"guides.{type(self).__name__}", support)
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("spread", torch.tensor(1.0))
        self.register_buffer("adapted", torch.tensor(False))

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take shift and spread from the observed cells of x, unless they were taken before.

        Raises
        ------
        ValueError
            If no cell of x is observed.
        """
        if not self.adapted:
            cells = x[~torch.isnan(x)].double()
            if not cells.numel():
                raise ValueError(
                    f"every value of the data, of shape {tuple(x.shape)}, is missing (NaN): check the data"
                )
            if callable(own := getattr(self.network, "adapt", None)):
                own(x)
            else:
                self.shift.fill_(cells.mean())
                self.spread.fill_(cells.std() if cells.numel() > 1 and cells.std() > 0 else 1.0)
            self.adapted.fill_(True)

    def standardised(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """What the network sees of x."""
        x = (x - self.shift) / self.spread
        return x if mask is None else torch.where(mask, x, 0.0)  # the mean of the cells that are observed

    def parameters_of(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The network's output, (n, p)."""
        return self.output(self.standardised(x, mask), context=context, mask=mask)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, p)."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> dist.TorchDistribution:
        """q(z|x)."""
        return self.distribution(self.parameters_of(x, context, mask))
