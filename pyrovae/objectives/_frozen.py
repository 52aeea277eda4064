"""A block in which given modules get no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["frozen"]


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """A block in which the parameters of these modules are constants; gradients pass through to their inputs.

    Examples
    --------
    >>> import torch
    >>> layer, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    >>> with frozen(layer):
    ...     y = layer(x)
    >>> y.sum().backward()
    >>> layer.weight.grad is None, layer.weight.requires_grad, x.grad is None
    (True, True, False)
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
