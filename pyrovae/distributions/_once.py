"""Functions of parameters computed once for each parameter, not once for each cell that shares it."""

from __future__ import annotations

from torch import Tensor

__all__ = ["once"]


def once(parameter: Tensor) -> Tensor:
    """The parameter with size 1 along the dimensions that it was expanded over; it broadcasts to the same.

    Distributions expand their parameters to one shape, and a logarithm or a log Γ of a scale that a batch shares would
    be taken for each datum.

    >>> import torch
    >>> once(torch.ones(3).expand(5, 3)).shape, once(torch.ones(5, 3)).shape
    (torch.Size([1, 3]), torch.Size([5, 3]))
    """
    shared = [size > 1 and stride == 0 for size, stride in zip(parameter.shape, parameter.stride(), strict=True)]
    return parameter[tuple(slice(1) if one else slice(None) for one in shared)] if any(shared) else parameter
