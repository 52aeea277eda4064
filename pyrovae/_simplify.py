"""What a recorded graph need not do each time: other names, arithmetic with 0 and 1, constants, repetitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

__all__ = ["is_random", "simplify"]

aten = torch.ops.aten

SAME = {aten.alias.default, aten.detach.default, aten.lift_fresh_copy.default, aten.lift_fresh.default}
FILLED = {aten.ones_like.default: 1.0, aten.zeros_like.default: 0.0}
FRESH = {aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default, aten.new_empty.default}
NOTHING = {
    aten.add.Tensor: 0,
    aten.sub.Tensor: 0,
    aten.mul.Tensor: 1,
    aten.mul.Scalar: 1,
    aten.div.Tensor: 1,
    aten.div.Scalar: 1,
    aten.pow.Tensor_Scalar: 1,
}
SHAPED = {aten.expand.default, aten.view.default, aten._unsafe_view.default, aten.reshape.default}
LARGEST = 1 << 20  # cells of a constant that is kept rather than made again


def simplify(graph: fx.GraphModule) -> fx.GraphModule:
    """The same results, of fewer operations: none of them is replaced by another one, so that the bits stay.

    Left alone is whatever shares memory with a tensor that the graph writes to.
    """
    written = _written(graph.graph)
    _drop_copies(graph.graph, written)
    _fold_constants(graph, written)
    _merge(graph.graph, written)
    _drop_unused(graph.graph)
    graph.recompile()
    return graph


def is_random(node: fx.Node) -> bool:
    """Whether it draws from the global generator."""
    return isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _drop_unused(graph: fx.Graph) -> None:
    """What has no part in the result; draws stay, as those that follow are others without them."""
    graph.eliminate_dead_code(lambda node: node.is_impure() or is_random(node))


def _calls(graph: fx.Graph) -> Iterator[fx.Node]:
    return (n for n in list(graph.nodes) if n.op == "call_function")


def _written(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose memory is written to after they are made, and those that look at the same memory."""
    found: set[fx.Node] = set()
    for node in _calls(graph):
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
            found.add(node)
            for argument, given in zip(node.target._schema.arguments, node.args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    fx.node.map_arg(given, found.add)
            for argument in node.target._schema.arguments:
                if argument.alias_info is not None and argument.alias_info.is_write and argument.name in node.kwargs:
                    fx.node.map_arg(node.kwargs[argument.name], found.add)
        elif node.target in (aten.native_batch_norm.default, aten.cudnn_batch_norm.default):  # its schema does not say
            fx.node.map_arg(node.args[3:5], found.add)
    grown = True
    while grown:
        grown = False
        for node in _calls(graph):
            family = {node, *node.all_input_nodes}
            if _is_view(node) and family & found and not family <= found:
                found |= family
                grown = True
    return found


def _is_view(node: fx.Node) -> bool:
    if not isinstance(node.target, OpOverload):  # operator.getitem of a split
        return True
    return any(r.alias_info is not None for r in node.target._schema.returns) or node.target in (
        aten.reshape.default,
        aten._reshape_alias.default,
        aten.contiguous.default,
    )


def _shape(node: Any) -> tuple[int, ...] | None:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _drop_copies(graph: fx.Graph, written: set[fx.Node]) -> None:
    """Other names of a tensor, x + 0, x · 1, transposes of transposes, expansions to the same shape."""
    for node in _calls(graph):
        target, first = node.target, node.args[0] if node.args else None
        if not isinstance(first, fx.Node):
            continue
        second = node.args[1] if len(node.args) > 1 else None
        copied = target is aten.lift_fresh_copy.default and (node in written or first in written)
        same: Any = target in SAME and not copied
        if node not in written and first not in written:
            number = isinstance(second, (int, float)) and not isinstance(second, bool) and not node.kwargs
            same |= number and target in NOTHING and second == NOTHING[target] and _type(node) == _type(first)
            same |= target in SHAPED and _shape(node) is not None and _shape(node) == _shape(first)
        if target is aten.t.default and first.target is aten.t.default:
            node.replace_all_uses_with(first.args[0])  # type: ignore[arg-type]
        elif same:
            node.replace_all_uses_with(first)
    _drop_unused(graph)


def _type(node: fx.Node) -> Any:
    value = node.meta.get("val")
    return (value.dtype, value.device) if isinstance(value, torch.Tensor) else node


def _fold_constants(graph: fx.GraphModule, written: set[fx.Node]) -> None:
    """What no input has a part in is computed now."""
    known: dict[fx.Node, torch.Tensor] = {}
    for node in _calls(graph.graph):
        if node in written or is_random(node) or not isinstance(node.target, OpOverload) or node.target in FRESH:
            continue
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or value.numel() > LARGEST:
            continue
        if node.target in FILLED:
            known[node] = torch.full(tuple(value.shape), FILLED[node.target], dtype=value.dtype, device=value.device)
        elif all(n in known for n in node.all_input_nodes):
            args, kwargs = (fx.node.map_arg(given, known.__getitem__) for given in (node.args, node.kwargs))
            known[node] = node.target(*args, **kwargs)  # type: ignore[arg-type]
    for index, (node, value) in enumerate(known.items()):
        if any(user not in known for user in node.users):
            name = f"_folded_{index}"
            graph.register_buffer(name, value, persistent=False)
            with graph.graph.inserting_before(node):
                constant = graph.graph.get_attr(name)
            constant.meta.update(node.meta)
            node.replace_all_uses_with(constant)
    _drop_unused(graph.graph)


def _merge(graph: fx.Graph, written: set[fx.Node]) -> None:
    """One of two equal operations on equal inputs."""
    seen: dict[Any, fx.Node] = {}
    for node in _calls(graph):
        if is_random(node) or node.target in FRESH or node in written or set(node.all_input_nodes) & written:
            continue
        key = (node.target, _frozen(node.args), _frozen(node.kwargs))
        if key in seen:
            node.replace_all_uses_with(seen[key])
            graph.erase_node(node)
        else:
            seen[key] = node


def _frozen(given: Any) -> Any:
    """Arguments as a key: 1, 1.0 and True are three."""
    if isinstance(given, (list, tuple)):
        return tuple(map(_frozen, given))
    if isinstance(given, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in given.items()))
    return given if isinstance(given, fx.Node) else (type(given), repr(given))
