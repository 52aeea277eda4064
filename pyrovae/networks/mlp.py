"""Multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least
from pyrovae.networks._inputs import activations, join, told, wholes

__all__ = ["MLP"]


class MLP(nn.Module):
    """Affine layers with an activation between them; with no hidden layer, one affine map.

    Parameters
    ----------
    in_features, hidden, out_features
        Widths. ``hidden`` may be empty.
    activation
        Makes the module between the layers, `torch.nn.SiLU` by default.
    context
        Number of covariates appended to the input.
    mask
        Whether the input has missing cells: the network is then told which are observed, as ``in_features``
        further inputs of 0 and 1.

    Shapes
    ------
    (..., in_features), context (n, context), mask (..., in_features) → (..., out_features).

    Raises
    ------
    ValueError
        If a width is not positive, the input has another number of features, or a context or mask comes that the
        network was not built for.

    Examples
    --------
    >>> MLP(64, (128, 128), 16)(torch.zeros(5, 64)).shape
    torch.Size([5, 16])
    >>> MLP(64, (), 16, context=10)(torch.zeros(5, 64), context=torch.zeros(5, 10)).shape
    torch.Size([5, 16])
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        *,
        activation: Callable[[], nn.Module] = nn.SiLU,
        context: int = 0,
        mask: bool = False,
    ) -> None:
        super().__init__()
        self.in_features = at_least("MLP: in_features", in_features, 1)
        self.out_features = at_least("MLP: out_features", out_features, 1)
        hidden, activation = wholes("MLP: hidden", hidden), activations(activation)
        self.takes, self.context = told(context, mask), context
        widths = [self.in_features * (2 if mask else 1) + context, *hidden, self.out_features]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Map the last dimension."""
        if x.shape[-1] != self.in_features:
            image = math.prod(x.shape[1:]) == self.in_features
            raise ValueError(
                f"MLP({self.in_features}, …, {self.out_features}): expected {self.in_features} features in the last "
                f"dimension, got shape {tuple(x.shape)}: "
                + (
                    "flatten the data, x.flatten(1)"
                    if image
                    else f"build it with in_features={x.shape[-1]}, or check its input"
                )
            )
        if "mask" in self.takes:
            observed = torch.ones_like(x) if mask is None else mask.to(x.dtype).expand(x.shape)
            x = torch.cat([x, observed], -1)
        elif mask is not None:
            raise ValueError("MLP: this network was built without a mask and got one: build it with mask=True")
        out: Tensor = self.layers(join(x, context, self.context))
        return out
