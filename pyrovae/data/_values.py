"""From arrays of any numeric type to the few types a data set is stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["standard_array", "standard_tensor", "text_safe"]

STORED = (torch.uint8, torch.int64, torch.float32, torch.float64)


def standard_array(array: np.ndarray, what: str = "x") -> np.ndarray:
    """The same values in one of the stored types: uint8, int64, float32 or float64.

    Booleans become uint8, other integers int64, half precision float32, extended precision
    float64; masked entries become NaN. The result is in native byte order and writable; memory
    is shared with the input where no conversion is needed.

    Raises
    ------
    TypeError
        The array does not hold real numbers.
    ValueError
        An unsigned integer does not fit int64.

    Examples
    --------
    >>> standard_array(np.array([True, False])).dtype
    dtype('uint8')
    """
    if isinstance(array, np.ma.MaskedArray):
        missing, array = np.ma.getmaskarray(array), array.data
        if missing.any():
            array = np.where(missing, np.nan, array)
    kind = array.dtype.kind
    if kind not in "buif":
        raise TypeError(
            f"{what} has dtype {array.dtype}: expected real numbers (integers, floats or "
            "booleans); encode other values as numbers and mark missing ones with NaN"
        )
    target: Any
    if kind == "b" or array.dtype == np.uint8:
        target = np.uint8
    elif kind in "ui":
        target = np.int64
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(
                f"{what} holds the integer {array.max()}, more than int64 can: convert it to float64 or rescale it"
            )
    else:
        target = np.float32 if array.dtype.itemsize <= 4 else np.float64
    return np.require(array, dtype=target, requirements=["C", "W"])


def standard_tensor(tensor: torch.Tensor, what: str = "x") -> torch.Tensor:
    """The tensor's analogue of `standard_array`: detached, dense, on the CPU.

    Raises
    ------
    TypeError
        The tensor is complex, quantised, sparse or nested.
    ValueError
        An unsigned integer does not fit int64.
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        raise TypeError(f"{what} is a {tensor.layout} tensor: expected a dense one (.to_dense())")
    if tensor.is_complex():
        raise TypeError(
            f"{what} has dtype {tensor.dtype}: expected real numbers; split it into real and "
            "imaginary parts with torch.view_as_real"
        )
    tensor = (tensor.detach() if tensor.requires_grad else tensor).cpu()
    if tensor.dtype in STORED:
        return tensor
    if tensor.dtype == torch.bool:
        return tensor.to(torch.uint8)
    if tensor.dtype.is_floating_point:
        return tensor.to(torch.float32)
    if tensor.dtype == torch.uint64:
        return torch.from_numpy(standard_array(tensor.numpy(), what))
    return tensor.to(torch.int64)


def text_safe(values: Any) -> np.ndarray:
    """Coordinate values or labels as an array of plain type, so that a tree with them can be saved.

    Arrays of Python objects become numbers where all are numbers, else their texts.

    Examples
    --------
    >>> text_safe(np.array(["a", None], dtype=object))
    array(['a', 'None'], dtype='<U4')
    """
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    array = np.asarray(array)
    if array.dtype.kind not in "OT":
        return array
    flat = array.ravel().tolist()
    if all(isinstance(value, bool | int | float | np.number) for value in flat):
        return np.array(flat).reshape(array.shape)
    return np.array([str(value) for value in flat], dtype=np.str_).reshape(array.shape)
