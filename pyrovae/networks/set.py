"""Permutation-invariant network of a set of items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least
from pyrovae.networks._inputs import line, refuse_mask, told, wholes
from pyrovae.networks._layers import Hidden
from pyrovae.networks.mlp import MLP

__all__ = ["Set"]

POOLS = ("mean", "sum", "max")


class Set(nn.Module):
    """ρ(pool_i φ(x_i)): the same for any order of the items x_i (Zaheer et al. 2017, 1703.06114, theorem 2).

    A set may have any number of items. With ``mask=True`` cells may be missing: φ is told which cells of its item are
    observed, as ``in_features`` further inputs of 0 and 1, and an item without an observed cell is left out, so that
    sets of different sizes can be filled up with items of NaN. What stands in a missing cell does not matter. The
    pool of no items is 0.

    Parameters
    ----------
    in_features
        Number of cells of an item.
    phi
        Widths of φ's layers, each with its activation; the last is the width that is pooled.
    rho
        Widths of the hidden layers of ρ. May be empty.
    out_features
        Number of outputs.
    pool
        ``"mean"``, ``"sum"`` (which knows the number of items) or ``"max"``.
    activation, norm, dropout, context
        As for `MLP`; the context is appended to the input of ρ.
    mask
        Whether cells may be missing. With ``norm="batch"`` there can be none: they would enter its moments.

    Shapes
    ------
    (..., items, in_features), context (n, context), mask (..., items, in_features) by cell or (..., items) by item →
    (..., out_features).

    Raises
    ------
    ValueError
        If a width is not positive, φ has no layer, a setting is not known, the input is no set of such items, or a
        context or mask comes that the network was not built for.

    Examples
    --------
    >>> network = Set(3, (64, 64), (32,), 16)
    >>> network
    Set(3 → 64 → 64 → mean → 32 → 16, SiLU)
    >>> network(torch.zeros(5, 10, 3)).shape
    torch.Size([5, 16])
    """

    def __init__(
        self,
        in_features: int,
        phi: Sequence[int],
        rho: Sequence[int],
        out_features: int,
        *,
        pool: str = "mean",
        activation: Callable[[], nn.Module] = nn.SiLU,
        norm: str | None = None,
        dropout: float = 0.0,
        context: int = 0,
        mask: bool = False,
    ) -> None:
        super().__init__()
        self.in_features = at_least("Set: in_features", in_features, 1)
        self.out_features = at_least("Set: out_features", out_features, 1)
        phi, rho = wholes("Set: phi", phi), wholes("Set: rho", rho)
        then = Hidden("Set", activation, norm, dropout)
        if not phi:
            raise ValueError("Set: expected at least one width in phi, got none: without it items are only pooled")
        if pool not in POOLS:
            raise ValueError(f"Set: pool: expected one of {', '.join(POOLS)}, got {pool!r}")
        if mask and norm == "batch":
            raise ValueError('Set: missing items would enter the moments of norm="batch": use norm="layer"')
        self.takes, self.context, self.pool = told(context, mask), context, pool
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((self.in_features * (2 if mask else 1), *phi)):
            layers += [nn.Linear(fan_in, fan_out, bias=then.bias), *then.after(fan_out)]
        self.phi = nn.Sequential(*layers)
        norm, dropout = (norm, dropout) if rho else (None, 0.0)
        self.rho = MLP(phi[-1], rho, out_features, activation=activation, norm=norm, dropout=dropout, context=context)
        self._line = line(self, (in_features, *phi, pool, *rho, out_features), then.details())

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Map the last two dimensions."""
        if x.dim() < 2 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"{self}: expected sets of shape (..., items, {self.in_features}), got {tuple(x.shape)}: reshape the "
                "data, x.reshape(n, items, features), or build it for their features"
            )
        refuse_mask(self, mask)
        if "mask" not in self.takes:
            return self._pooled(self.phi(x), None, context)
        observed = torch.ones_like(x, dtype=torch.bool) if mask is None else _by_cell(mask.bool(), x)
        cells = self.phi(torch.cat([torch.where(observed, x, 0.0), observed.to(x.dtype)], -1))
        return self._pooled(cells, observed.any(-1, keepdim=True), context)

    def _pooled(self, items: Tensor, present: Tensor | None, context: Tensor | None) -> Tensor:
        if present is not None:
            items = torch.where(present, items, -torch.inf if self.pool == "max" else 0.0)
        if self.pool == "max":
            pooled = items.amax(-2)
            pooled = pooled if present is None else torch.where(present.any(-2), pooled, 0.0)
        else:
            pooled = items.sum(-2)
        if self.pool == "mean":
            pooled = pooled / (items.shape[-2] if present is None else present.sum(-2).clamp(min=1))
        out: Tensor = self.rho(pooled, context=context)
        return out

    def __repr__(self) -> str:
        return self._line


def _by_cell(mask: Tensor, x: Tensor) -> Tensor:
    """The mask of each cell of x, given that or the mask of each item."""
    items = x.shape[:-1]
    if mask.dim() < x.dim() and mask.shape == items[len(items) - mask.dim() :]:
        mask = mask.unsqueeze(-1)
    try:
        return mask.expand(x.shape)
    except RuntimeError:
        raise ValueError(
            f"Set: expected a mask of shape {tuple(x.shape)} by cell or {tuple(items)} by item, got {tuple(mask.shape)}"
        ) from None
