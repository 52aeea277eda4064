"""A recorded graph as machine code."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from pyrovae._products import large_products, small_products

__all__ = ["machine_code"]


def machine_code(graph: fx.GraphModule, examples: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """The graph as a function compiled by torch for tensors of these shapes, and kept on disk.

    Raises
    ------
    Exception
        Any, of the compiler's.
    """
    from torch._guards import TracingContext, tracing  # slow to import, as is sympy, which they need
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    options: dict[str, Any] = {"fallback_random": True}
    options |= {"triton.cudagraphs": True} if any(t.is_cuda for t in examples) else {"cpp_wrapper": True}
    options |= {"epilogue_fusion": False}  # our products take none
    graph = small_products(large_products(graph))
    for node in graph.graph.nodes:  # the shapes that one tool noted are not to another's liking
        node.meta.clear()
    shapes = FakeTensorMode(shape_env=ShapeEnv())  # without it nothing is kept on disk
    fixed: list[Any] = [shapes.from_tensor(t, static_shapes=True) for t in examples]
    with torch.no_grad(), tracing(TracingContext(shapes)), _silent():
        made: Callable[..., Sequence[Tensor]] = torch._inductor.compile(graph, fixed, options=options)
    return made


@contextmanager
def _silent() -> Iterator[None]:
    """A block without what torch has to say of itself."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
