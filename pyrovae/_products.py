"""Matrix products of a graph by the code that is fast for their sizes on this processor."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from pyrovae._small_products import fits, small_product

__all__ = ["large_products", "on_amd", "small_products"]

aten = torch.ops.aten
LARGE = 1 << 20  # multiplications, below which a product by oneDNN costs more than it saves


def large_products(graph: fx.GraphModule) -> fx.GraphModule:
    """The graph, with its large products by oneDNN where that is twice as fast as MKL, which torch takes.

    That is so on processors of AMD. The numbers stay float32, and may differ in their last bits.
    """
    return _replaced(graph, _by_onednn) if on_amd() else graph


def small_products(graph: fx.GraphModule) -> fx.GraphModule:
    """The graph, to be compiled, with code of their own for its small products, without a library's calls."""
    return _replaced(graph, _by_own_code)


def _replaced(graph: fx.GraphModule, product: Callable[..., fx.Node | None]) -> fx.GraphModule:
    """A copy with another node for each product of float32 matrices on a processor that one is made for."""
    graph = fx.GraphModule(graph, copy.deepcopy(graph.graph))  # whose constants are the same memory
    for node in list(graph.graph.nodes):
        if node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs:
            continue
        left, right = node.args[-2:]
        bias = node.args[0] if node.target is aten.addmm.default else None
        if not (_is_float32(left, 2) and _is_float32(right, 2) and (bias is None or _is_float32(bias, 1))):
            continue
        with graph.graph.inserting_before(node):
            other = product(left, right, bias, (*left.meta["val"].shape, right.meta["val"].shape[1]))
        if other is not None:
            other.meta.update(node.meta)
            node.replace_all_uses_with(other)
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _by_own_code(left: fx.Node, right: fx.Node, bias: fx.Node | None, sizes: tuple[int, int, int]) -> fx.Node | None:
    product = small_product(left, right) if fits(*sizes) else None
    if product is None or bias is None:
        return product
    return left.graph.call_function(aten.add.Tensor, (product, bias))


def _by_onednn(left: fx.Node, right: fx.Node, bias: fx.Node | None, sizes: tuple[int, int, int]) -> fx.Node | None:
    if prod(sizes) < LARGE:
        return None
    _library()
    call = left.graph.call_function
    weight = right.args[0] if right.target is aten.t.default else call(aten.t.default, (right,))
    return call(torch.ops.pyrovae.linear.default, (left, weight, bias))


@functools.cache
def on_amd() -> bool:
    """Whether it is one of AMD's, on which MKL runs slow code."""
    try:
        vendor = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "AuthenticAMD" in vendor and torch.backends.mkldnn.is_available()


@functools.cache
def _library() -> torch.library.Library:
    """The operator ``pyrovae::linear``, x Wᵀ + b by oneDNN, which a compiler leaves as it is, and what holds it."""
    library = torch.library.Library("pyrovae", "FRAGMENT")
    library.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
        return product

    def shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty(x.shape[0], weight.shape[0])

    library.impl("linear", linear, "CPU")
    library._register_fake("linear", shape)
    return library


def _is_float32(node: Any, dimensions: int) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return (
        isinstance(value, Tensor)
        and value.dim() == dimensions
        and value.dtype == torch.float32
        and value.device.type == "cpu"
        and value.numel() > 0
    )
