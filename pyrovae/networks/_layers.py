"""Hidden layers: what stands between two affine maps or convolutions, and residual blocks of it."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

from torch import Tensor, nn

from pyrovae._numbers import at_least
from pyrovae.networks._inputs import activations

__all__ = ["NORMS", "BatchNorm", "Hidden", "Residual"]

NORMS = (None, "batch", "layer")


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over all dimensions but the last (Ioffe & Szegedy 2015, 1502.03167).

    In training by the moments of what it is given, in ``eval`` mode by their running means.

    Raises
    ------
    ValueError
        If there is one value of each feature only to take moments of.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., features)."""
        flat = x.reshape(-1, x.shape[-1])
        if self.training and flat.shape[0] == 1:
            raise ValueError(
                'norm="batch" takes its moments over the batch, and a batch of one datum has none: choose a batch_size '
                'that leaves no datum alone in the last batch, or norm="layer"'
            )
        return super().forward(flat).reshape(x.shape)


class Residual(nn.Module):
    """x + F(x) (He et al. 2016, 1603.05027, equation 3)."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch."""
        out: Tensor = x + self.branch(x)
        return out


class Hidden:
    """Makes what follows a hidden layer: residual blocks, then normalisation, activation and dropout.

    A block is pre-activated (He et al. 2016, 1603.05027, figure 4e), with dropout between its two layers (Zagoruyko &
    Komodakis 2016, 1605.07146): x + L₂(drop(act(norm(L₁(act(norm(x))))))).

    Parameters
    ----------
    name
        Of the network, for its errors.
    activation, norm, dropout, blocks
        As the networks have them.
    images
        Whether features are the channels of images; ``norm="layer"`` then takes its moments over the whole image, with
        a scale and shift for each channel.

    Raises
    ------
    TypeError
        If ``activation`` makes no module.
    ValueError
        If ``norm`` is not known, ``dropout`` no probability below 1, or ``blocks`` negative.
    """

    def __init__(
        self,
        name: str,
        activation: Callable[[], nn.Module],
        norm: str | None,
        dropout: Any,
        blocks: int = 0,
        *,
        images: bool = False,
    ) -> None:
        if norm not in NORMS:
            raise ValueError(f'{name}: norm: expected None, "batch" or "layer", got {norm!r}')
        if isinstance(dropout, bool) or not isinstance(dropout, Real) or not 0 <= float(dropout) < 1:
            raise ValueError(f"{name}: dropout: expected a probability, at least 0 and below 1, got {dropout!r}")
        self.activation = activations(activation)
        self.norm = norm
        self.dropout = float(dropout)
        self.blocks = at_least(f"{name}: blocks", blocks, 0)
        self.images = images

    @property
    def bias(self) -> bool:
        """Whether a layer before a normalisation needs a bias: batch normalisation would take it away again."""
        return self.norm != "batch"

    def after(self, features: int) -> list[nn.Module]:
        """What follows a hidden layer of so many features."""
        blocks = [self._block(features) for _ in range(self.blocks)]
        return [*blocks, *self._act(features), *self._drop()]

    def details(self) -> str:
        """Its settings, for the line that a network prints."""
        parts = [type(self.activation()).__name__]
        if self.blocks:
            parts.insert(0, f"{self.blocks} block{'s' if self.blocks > 1 else ''}")
        if self.norm:
            parts.append(f"{self.norm} norm")
        if self.dropout:
            parts.append(f"dropout {self.dropout:g}")
        return ", ".join(parts)

    def _block(self, features: int) -> nn.Module:
        first, second = (
            nn.Conv2d(features, features, 3, padding=1, bias=self.bias)
            if self.images
            else nn.Linear(features, features, bias=self.bias)
            for _ in range(2)
        )
        return Residual(*self._act(features), first, *self._act(features), *self._drop(), second)

    def _act(self, features: int) -> list[nn.Module]:
        norm: list[nn.Module] = []
        if self.norm == "batch":
            norm = [nn.BatchNorm2d(features) if self.images else BatchNorm(features)]
        elif self.norm == "layer":
            norm = [nn.GroupNorm(1, features) if self.images else nn.LayerNorm(features)]
        return [*norm, self.activation()]

    def _drop(self) -> list[nn.Module]:
        return [nn.Dropout(self.dropout)] if self.dropout else []
