"""Matrix products of a graph by the library that is fast on this processor."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["use_onednn"]

aten = torch.ops.aten
LARGE = 1 << 20  # multiplications, below which a product by oneDNN costs more than it saves


@functools.cache
def on_amd() -> bool:
    """Whether the processor is one on which MKL, which torch takes for float32, runs slow code."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@functools.cache
def _library() -> torch.library.Library:
    """The operator ``pyrovae::linear``, x Wᵀ + b by oneDNN, which a compiler leaves as it is."""
    library = torch.library.Library("pyrovae", "DEF")
    library.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
        return product

    def shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty(x.shape[0], weight.shape[0])

    library.impl("linear", linear, "CPU")
    library._register_fake("linear", shape)
    return library


def use_onednn(graph: fx.GraphModule) -> None:
    """Replace large products of float32 matrices in place, on processors of AMD: float32 still, and half the time."""
    if not (on_amd() and torch.backends.mkldnn.is_available()):
        return
    _library()
    for node in list(graph.graph.nodes):
        if node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs:
            continue
        left, right = node.args[-2:]
        bias = node.args[0] if node.target is aten.addmm.default else None
        if not (_fits(left) and _fits(right) and (bias is None or _is_vector(bias))):
            continue
        rows, inner = left.meta["val"].shape
        if rows * inner * right.meta["val"].shape[1] < LARGE:
            continue
        with graph.graph.inserting_before(node):
            if right.target is aten.t.default:
                weight = right.args[0]
            else:
                weight = graph.graph.call_function(aten.t.default, (right,))
            product = graph.graph.call_function(torch.ops.pyrovae.linear.default, (left, weight, bias))
        product.meta.update(node.meta)
        node.replace_all_uses_with(product)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _fits(node: Any) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return (
        isinstance(value, torch.Tensor)
        and value.dim() == 2
        and value.dtype == torch.float32
        and value.device.type == "cpu"
    )


def _is_vector(node: Any) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, Tensor) and value.dim() == 1
