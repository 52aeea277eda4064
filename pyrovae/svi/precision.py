"""In which numbers the matrix products of a step are computed."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["PRECISIONS", "check_precision", "products_in", "warn_of_processor"]

PRECISIONS = ("float32", "bf16")
LARGE = 1 << 20  # multiplications, below which a product costs less than its conversion

aten = torch.ops.aten
PRODUCTS = {aten.mm.default, aten.addmm.default}  # those of layers: of a batch of matrices, densities are made
CONVOLUTIONS = {aten.convolution.default: 0, aten.convolution_backward.default: 1}  # where the image is


def check_precision(precision: str) -> str:
    """One of `PRECISIONS`.

    Raises
    ------
    ValueError
        If it is none.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    return precision


def warn_of_processor(precision: str, device: torch.device) -> None:
    """Warn where a processor has no instructions for bfloat16."""
    if precision == "bf16" and device.type == "cpu" and not _has_instructions():
        warnings.warn(
            "precision='bf16': this processor has no instructions for bfloat16 and is slower in it: use "
            "precision='float32'",
            UserWarning,
            stacklevel=3,
        )


def products_in(precision: str) -> AbstractContextManager[Any]:
    """A block, backward passes in it included, whose large products are computed in this precision.

    Examples
    --------
    >>> import torch
    >>> a = torch.full((128, 128), 1 + 2**-10)
    >>> with products_in("bf16"):
    ...     rounded = a @ a
    >>> rounded.dtype, float(rounded[0, 0]), float((a @ a)[0, 0])
    (torch.float32, 128.0, 128.25...)
    """
    return _Bfloat16() if precision == "bf16" else nullcontext()


class _Bfloat16(TorchDispatchMode):
    """Products of two float32 matrices, and convolutions: of the factors rounded to bfloat16, rounded likewise.

    They are added up in float32 on the way; all else, a bias and its gradient included, stays as it is. It stands below
    autograd, so that gradients' products are rounded as well, and a recording made inside of it holds the conversions.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if kwargs or not _is_large(func, args):  # a scaled sum of products is the user's own
            return func(*args, **(kwargs or {}))
        if func is aten.convolution.default:
            return _convolution(*args)
        if func is aten.convolution_backward.default:
            return _slopes(*args)
        product = aten.mm.default(*(t.bfloat16() for t in args[-2:])).float()
        return args[0] + product if func is aten.addmm.default else product


def _convolution(image: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    found: Tensor = aten.convolution.default(image.bfloat16(), weight.bfloat16(), None, *how).float()
    return found if bias is None else found + bias.view(-1, *(1,) * (image.dim() - 2))


def _slopes(grad: Tensor, image: Tensor, weight: Tensor, *more: Any) -> tuple[Tensor | None, ...]:
    """The gradients of a convolution: of image, weight and bias."""
    *how, (of_image, of_weight, of_bias) = more
    rounded = (t.bfloat16() for t in (grad, image, weight))
    found = aten.convolution_backward.default(*rounded, *how, [of_image, of_weight, False])
    bias = grad.sum([0, *range(2, grad.dim())]) if of_bias else None
    return *(None if t is None else t.float() for t in found[:2]), bias


def _is_large(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether it is a product of many float32 numbers; of a convolution at each cell of the image, roughly."""
    if func in PRODUCTS:
        left, right = args[-2:]
        return _are_float32(left, right) and left.numel() * right.shape[-1] >= LARGE
    if (first := CONVOLUTIONS.get(func)) is not None:
        image, weight = args[first : first + 2]
        return _are_float32(image, weight) and len(image) * weight.numel() * prod(image.shape[2:]) >= LARGE
    return False


def _are_float32(*tensors: Tensor) -> bool:
    return all(t.dtype == torch.float32 for t in tensors)


def _has_instructions() -> bool:
    """Whether the processor multiplies bfloat16 by itself; True where torch cannot tell."""
    if torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2", "AVX512"):
        return True  # of ARM and others
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
