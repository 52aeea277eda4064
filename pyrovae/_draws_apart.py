"""A recorded graph in parts: what it draws at random, what it holds, and what it does with it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain, starmap
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.graph import CodeGen

from pyrovae._bound import bound
from pyrovae._rng import preserved
from pyrovae._simplify import FILLED, FRESH, is_random

__all__ = ["constants_apart", "draws_apart", "draws_together"]

aten = torch.ops.aten


def draws_apart(graph: fx.GraphModule) -> tuple[fx.GraphModule, fx.GraphModule] | None:
    """A graph without arguments that draws, in the graph's order, and one that takes the draws before its arguments.

    None where what is drawn depends on an argument, as of a Gamma, or is not laid out row by row. So a compiled graph
    has the numbers that Python has, whatever order its code runs in.

    Examples
    --------
    >>> import torch
    >>> from pyrovae._record import record
    >>> draw, rest = draws_apart(record(lambda x: [x + torch.randn(3)], torch.zeros(3)))
    >>> noise = draw()
    >>> bool((rest(*noise, torch.ones(3))[0] == noise[0] + 1).all())
    True
    """
    random = [n for n in graph.graph.nodes if is_random(n)]
    if any(len(n.all_input_nodes[0].users) > 1 for n in random if n.target._schema.is_mutable):
        return None  # what it draws is also seen through another name
    drawing, made = fx.Graph(), {}

    def made_of(node: fx.Node) -> fx.Node:
        if node not in made:
            if node.op == "get_attr":
                made[node] = drawing.node_copy(node)
            elif node.op != "call_function":
                raise _DependsError
            elif node.target in FRESH or node.target in FILLED:  # of its arguments, it takes the shape alone
                value = node.meta["val"]
                if not value.is_contiguous():
                    raise _DependsError  # where a number goes is for the operation to say
                options = {"dtype": value.dtype, "device": value.device}
                if node.target in FILLED:
                    made[node] = drawing.call_function(
                        aten.full.default, (list(value.shape), FILLED[node.target]), options
                    )
                else:
                    made[node] = drawing.call_function(aten.empty.memory_format, (list(value.shape),), options)
            else:
                for needed in node.all_input_nodes:
                    made_of(needed)
                made[node] = drawing.node_copy(node, made.__getitem__)
        return made[node]

    try:
        outputs = [made_of(node) for node in random]
    except _DependsError:
        return None
    drawing.output(outputs)
    drawing.set_codegen(CodeGen())
    rest = fx.GraphModule(graph, copy.deepcopy(graph.graph))  # whose constants are the same memory
    nodes: dict[str, fx.Node] = {n.name: n for n in rest.graph.nodes}
    before: Any = next(iter(rest.graph.nodes))
    for drawn in random:
        old = nodes[drawn.name]
        with rest.graph.inserting_before(before):
            given = rest.graph.placeholder(f"drawn_{drawn.name}")
            own = rest.graph.call_function(aten.clone.default, (given,))  # the graph may write to it, as a dropout does
        for node in (given, own):
            node.meta.update(old.meta)
        old.replace_all_uses_with(own)
        rest.graph.erase_node(old)
    rest.graph.eliminate_dead_code()
    rest.recompile()
    return fx.GraphModule(graph, drawing), rest


def draws_together(draw: fx.GraphModule, times: int) -> Callable[[], list[list[Tensor]]] | None:
    """What `draws_apart`'s first graph draws in so many calls, by one call of the generator.

    The numbers lie in memory that the next call writes to again. None where there are other draws than of standard
    normals on a processor, or where they are not the same when they are drawn at once.

    Examples
    --------
    >>> import torch
    >>> from pyrovae._record import record
    >>> draw, rest = draws_apart(record(lambda x: [x + torch.randn(4, 8)], torch.zeros(4, 8)))
    >>> together = draws_together(draw, 3)
    >>> _ = torch.manual_seed(0)
    >>> each = [draw()[0] for _ in range(3)]
    >>> _ = torch.manual_seed(0)
    >>> [torch.equal(one, drawn[0]) for one, drawn in zip(each, together())]
    [True, True, True]
    """
    nodes = [node for node in draw.graph.nodes if node.op != "output"]
    normal = [n for n in nodes if n.target is aten.randn.default or _standard(n)]
    memory = [n for n in nodes if n.target is aten.empty.memory_format]
    if times < 2 or not normal or len(normal) + len(memory) < len(nodes):
        return None
    once = bound(draw)
    with preserved():
        torch.default_generator.manual_seed(0)
        apart = [once() for _ in range(times)]
        after = torch.get_rng_state()
        first, sizes = apart[0][0], [t.numel() for drawn in apart for t in drawn]
        if len(normal) != len(apart[0]) or any(t.device.type != "cpu" or t.dtype != first.dtype for t in apart[0]):
            return None
        flat = torch.empty(sum(sizes), dtype=first.dtype)
        parts = iter(flat.split(sizes))
        views = [[next(parts).view(t.shape) for t in drawn] for drawn in apart]
        torch.default_generator.manual_seed(0)
        flat.normal_()
        pairs = zip(chain(*views), chain(*apart), strict=True)
        if not all(starmap(torch.equal, pairs)) or not torch.equal(after, torch.get_rng_state()):
            return None

    def together() -> list[list[Tensor]]:
        flat.normal_()
        return views

    return together


def constants_apart(graph: fx.GraphModule) -> tuple[fx.GraphModule, list[Tensor]]:
    """A graph that takes its constants after its arguments, and these: a compiler would put copies into its code.

    Examples
    --------
    >>> import torch
    >>> from pyrovae._record import record
    >>> weights = torch.arange(3.0)
    >>> rest, held = constants_apart(record(lambda x: [x * weights], torch.ones(3)))
    >>> held[0] is weights, rest(torch.ones(3), torch.ones(3))
    (True, [tensor([1., 1., 1.])])
    """
    rest = fx.GraphModule(graph, copy.deepcopy(graph.graph))
    held: list[Tensor] = []
    last = [node for node in rest.graph.nodes if node.op == "placeholder"][-1]
    for node in rest.graph.find_nodes(op="get_attr"):
        value = getattr(rest, str(node.target))
        if isinstance(value, Tensor):
            with rest.graph.inserting_after(last):
                last = rest.graph.placeholder(f"held_{len(held)}")
            last.meta.update(node.meta)
            node.replace_all_uses_with(last)
            rest.graph.erase_node(node)
            held.append(value)
    rest.graph.eliminate_dead_code()
    rest.recompile()
    return rest, held


def _standard(node: fx.Node) -> bool:
    return node.target is aten.normal_.default and len(node.args) == 1 and not node.kwargs


class _DependsError(Exception):
    """What is drawn depends on an argument, or lies in another order than it was drawn in."""
