"""Residual network on vectors."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pyrovae._numbers import at_least
from pyrovae.networks._inputs import gather, line, told
from pyrovae.networks._layers import Hidden

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """An affine map to ``hidden`` features, pre-activated residual blocks of that width, and an affine map from it.

    Block: h + L₂(a(L₁(a(h)))), with the activation a; normalisation stands before each a, dropout after that between
    the two layers (He et al. 2016, 1603.05027, equation 3 and figure 4e). A last a stands before the output.

    Parameters
    ----------
    in_features, hidden, out_features
        Widths.
    blocks
        Number of residual blocks.
    activation, norm, dropout, context, mask
        As for `MLP`.

    Shapes
    ------
    (..., in_features), context (n, context), mask (..., in_features) → (..., out_features).

    Raises
    ------
    ValueError
        As `MLP` does.

    Examples
    --------
    >>> import torch
    >>> ResNet(64, 128, 16)
    ResNet(64 → 128 → 16, 2 blocks, SiLU)
    >>> ResNet(64, 128, 16, blocks=4, norm="layer")(torch.zeros(5, 64)).shape
    torch.Size([5, 16])
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        out_features: int,
        blocks: int = 2,
        *,
        activation: Callable[[], nn.Module] = nn.SiLU,
        norm: str | None = None,
        dropout: float = 0.0,
        context: int = 0,
        mask: bool = False,
    ) -> None:
        super().__init__()
        self.in_features = at_least("ResNet: in_features", in_features, 1)
        self.out_features = at_least("ResNet: out_features", out_features, 1)
        width = at_least("ResNet: hidden (one width, as all blocks have the same)", hidden, 1)
        then = Hidden("ResNet", activation, norm, dropout, at_least("ResNet: blocks", blocks, 1))
        self.takes, self.context = told(context, mask), context
        self.layers = nn.Sequential(
            nn.Linear(self.in_features * (2 if mask else 1) + context, width, bias=then.bias),
            *then.after(width),
            nn.Linear(width, self.out_features),
        )
        self._line = line(self, (in_features, hidden, out_features), then.details())

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Map the last dimension."""
        out: Tensor = self.layers(gather(self, x, context, mask))
        return out

    def __repr__(self) -> str:
        return self._line
