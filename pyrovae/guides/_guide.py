"""What the guides of ours share: a network of x (a context, a mask) whose output parametrises q(z|x)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae._part import NetworkPart

__all__ = ["NetworkGuide"]


class NetworkGuide(NetworkPart):
    """Tells its network of context and mask if it takes them.

    The network sees (x − shift) / spread, with the mean and the standard deviation of all cells of the training data,
    which `adapt` sets once before the first epoch: so that the unit of the data does not decide how well it trains.
    Until then they are 0 and 1.
    """

    shift: Tensor
    spread: Tensor
    adapted: Tensor

    def __init__(self, network: Callable[..., Tensor]) -> None:
        super().__init__(network, "features, hidden, outputs")
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("spread", torch.tensor(1.0))
        self.register_buffer("adapted", torch.tensor(False))

    def adapt(self, x: Tensor) -> None:
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
            self.shift.fill_(cells.mean())
            self.spread.fill_(cells.std() if cells.numel() > 1 and cells.std() > 0 else 1.0)
            self.adapted.fill_(True)

    def parameters_of(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        """The network's output, (n, parameters)."""
        x = (x - self.shift) / self.spread
        if mask is not None:
            x = torch.where(mask, x, 0.0)  # the mean of the cells that are observed
        out: Tensor = self._call(x, context=context, mask=mask)
        return out
