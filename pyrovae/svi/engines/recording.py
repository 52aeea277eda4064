"""The loss of a batch and its gradients, as a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from pyrovae._bound import bound
from pyrovae._products import large_products
from pyrovae._record import NotRecordable, record
from pyrovae.program import Batch
from pyrovae.svi.engines.state import State
from pyrovae.svi.loss import Loss

__all__ = ["Recording", "record_loss", "tensors_of"]


@dataclass(frozen=True)
class Recording:
    """A graph from the tensors of `State`, then those of a batch, to the loss per datum and what follows it.

    That is: a gradient for each of ``trained``, the new value of each buffer of ``reassigned``, and the sums that the
    objective ``noted`` over ``seen`` data.
    """

    graph: fx.GraphModule
    state: State
    trained: tuple[int, ...]
    reassigned: tuple[int, ...]
    noted: tuple[str, ...]
    seen: int

    @cached_property
    def replay(self) -> Callable[..., list[Tensor]]:
        """The graph as a function, for steps."""
        return bound(large_products(self.graph))

    def split(self, values: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """Loss, gradients, buffers and sums, out of what the graph gives."""
        a = 1 + len(self.trained)
        b = a + len(self.reassigned)
        return values[0], values[1:a], values[a:b], values[b:]

    def run(self, tensors: list[Tensor], batch: Batch) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """As `split`, of the program with these for its tensors; the graph with products as the program has them.

        Raises
        ------
        NotRecordable
            If the graph cannot be run.
        """
        try:
            return self.split(bound(self.graph)(*tensors, *tensors_of(batch)))
        except Exception as error:  # a graph may hold what its operations do not take
            said = next(iter(str(error).splitlines()), "")
            raise NotRecordable(f"its recording does not run: {type(error).__name__}: {said[:160]}") from error

    def settle(self, buffers: list[Tensor]) -> None:
        """Put new values into buffers."""
        for index, value in zip(self.reassigned, buffers, strict=True):
            self.state.tensors[index].copy_(value)

    def tell(self, elbo: Any, sums: list[Tensor], steps: int = 1) -> None:
        """Tell the objective what it noted in so many steps."""
        if self.noted or self.seen:
            with torch.enable_grad():
                elbo.note(steps * self.seen, **dict(zip(self.noted, sums, strict=True)))


def tensors_of(batch: Batch) -> list[Tensor]:
    """Those of a batch that are there."""
    return [t for t in (batch.x, batch.context, batch.index) if t is not None]


def record_loss(loss: Loss, batch: Batch) -> Recording:
    """Record the loss of batches of this shape. Nothing of the program changes.

    Raises
    ------
    NotRecordable
        If the program or its objective cannot be run as a graph.
    """
    if not loss.differentiable:
        raise NotRecordable(f"{type(loss.elbo).__name__} differentiates by itself")
    if not loss.parameters():
        raise NotRecordable("nothing in it is trained by gradients")
    state = State(loss)
    wanted = {id(p) for p in loss.parameters()}
    trained = [i for i, t in enumerate(state.tensors) if id(t) in wanted]
    found: dict[str, Any] = {}

    def function(*given: Tensor) -> list[Tensor]:
        held, parts = given[: len(state.tensors)], list(given[len(state.tensors) :])
        again = Batch(*(None if t is None else parts.pop(0) for t in (batch.x, batch.context, batch.index)))  # type: ignore[arg-type]
        with state.replaced(held), loss.noting() as notes:
            value, gradients = loss.slope(again, [held[i] for i in trained])
            new = state.reassigned(held)
            if any(t.shape != held[i].shape or t.dtype != held[i].dtype for i, t in new.items()):
                raise NotRecordable("a buffer becomes one of another shape or type")
            found["trained"] = tuple(i for i, g in zip(trained, gradients, strict=True) if g is not None)
            found["reassigned"] = tuple(new)
            found["seen"], sums = notes()
            found["noted"] = tuple(sums)
            used = [g for g in gradients if g is not None]
            return [value, *used, *(t.clone() for t in new.values()), *map(torch.as_tensor, sums.values())]

    examples = [t.detach().clone().requires_grad_(t.requires_grad) for t in state.tensors]
    graph = record(function, *examples, *tensors_of(batch))
    if not found["trained"]:
        raise NotRecordable("no parameter gets a gradient")
    return Recording(graph, state, **found)
