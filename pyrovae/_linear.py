"""Linear layers without gradients by the library that is fast on this processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn

from pyrovae._products import LARGE, on_amd

__all__ = ["faster_linear"]


@contextmanager
def faster_linear(program: nn.Module) -> Iterator[None]:
    """A block in which, on processors of AMD, large products of a program's linear layers take half the time.

    Where no gradient is taken they come from oneDNN: in float32 as ever, and rounded in another order than MKL's.

    Examples
    --------
    >>> layer = nn.Linear(64, 64)
    >>> with torch.no_grad(), faster_linear(layer):
    ...     product = layer(torch.ones(1000, 64))
    >>> bool(torch.allclose(product, layer(torch.ones(1000, 64)), atol=1e-5))
    True
    """
    modules = program.modules() if on_amd() else ()
    layers = [m for m in modules if type(m) is nn.Linear and "forward" not in vars(m)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    if torch.is_grad_enabled() or not _fits(x, layer.weight):
        return nn.Linear.forward(layer, x)
    rows = x.reshape(-1, x.shape[-1])
    product = torch.ops.mkldnn._linear_pointwise.default(rows, layer.weight, layer.bias, "none", [], "")
    return product.view(*x.shape[:-1], layer.out_features)


def _fits(x: Tensor, weight: Tensor) -> bool:
    return (
        type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter)
        and x.shape[-1:] == weight.shape[1:]
        and x.numel() * len(weight) >= LARGE
        and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (x, weight))
        and not any(map(torch._C._functorch.is_functorch_wrapped_tensor, (x, weight)))  # inside of a user's vmap
        and not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
    )
