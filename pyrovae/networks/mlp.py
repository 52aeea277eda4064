"""Multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from pyrovae._numbers import at_least
from pyrovae.networks._inputs import gather, line, told, wholes
from pyrovae.networks._layers import Hidden

__all__ = ["MLP"]


class MLP(nn.Module):
    """Affine layers with an activation between them; with no hidden layer, one affine map.

    Parameters
    ----------
    in_features, hidden, out_features
        Widths. ``hidden`` may be empty.
    activation
        Makes the module between the layers, `torch.nn.SiLU` by default.
    norm
        What each hidden layer is normalised by before its activation: ``"batch"`` (Ioffe & Szegedy 2015, 1502.03167),
        ``"layer"`` (Ba et al. 2016, 1607.06450), or None.
    dropout
        Probability that a hidden cell is set to 0 in training (Srivastava et al. 2014), after the activation.
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
        If a width is not positive, a setting is not known or has no hidden layer to act on, the input has another
        number of features, a context or mask comes that the network was not built for, or a batch of one datum is to
        train a network with batch normalisation.

    Examples
    --------
    >>> import torch
    >>> MLP(64, (128, 128), 16)
    MLP(64 → 128 → 128 → 16, SiLU)
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
        norm: str | None = None,
        dropout: float = 0.0,
        context: int = 0,
        mask: bool = False,
    ) -> None:
        super().__init__()
        self.in_features = at_least("MLP: in_features", in_features, 1)
        self.out_features = at_least("MLP: out_features", out_features, 1)
        hidden, then = wholes("MLP: hidden", hidden), Hidden("MLP", activation, norm, dropout)
        if not hidden and (norm or dropout):
            raise ValueError(
                "MLP: norm and dropout act on hidden layers, and there is none: give it one, or leave them"
            )
        self.takes, self.context = told(context, mask), context
        widths = [self.in_features * (2 if mask else 1) + context, *hidden]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out, bias=then.bias), *then.after(fan_out)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], self.out_features))
        self._line = line(self, (in_features, *hidden, out_features), then.details() if hidden else "")

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Map the last dimension."""
        out: Tensor = self.layers(gather(self, x, context, mask))
        return out

    def __repr__(self) -> str:
        return self._line
