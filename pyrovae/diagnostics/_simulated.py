"""Data that the program makes itself, with the latents that it made them from."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.draws.target import Evaluation
from pyrovae.program import Batch
from pyrovae.structure import prune

__all__ = ["Simulate", "simulator"]

Simulate = Callable[[Tensor], tuple[dict[str, Tensor], Batch]]
"""Rows of the data (n,), for their context → latents {site: (1, n, *event)} and data of the model, by the global random
state."""


def simulator(evaluation: Evaluation) -> Simulate:
    """What draws (z, x) from p(z) p(x|z), x in the form in which the program takes its data, without a missing cell.

    Cells of the data that the program does not observe are those of the row, as its context is.

    Raises
    ------
    NotAvailable
        If the program observes a function of its data, so that simulated values are no data; or a factor, which
        nothing can be drawn from.
    """
    program, plan, batches = evaluation.program, evaluation.plan, evaluation.batches
    if plan.told or any(math.prod(site.event_shape) == 0 for site in plan.observed):
        raise NotAvailable(
            "the model has a factor, or an observation outside the data plate, neither of which belongs to a datum: "
            "data cannot be simulated from it"
        )
    cells: dict[str, Tensor] = {}

    def simulate(rows: Tensor) -> tuple[dict[str, Tensor], Batch]:
        real = batches.take(rows)
        given = Batch(torch.nan_to_num(real.x, nan=0.0), real.context)
        nodes = prune(poutine.trace(poutine.uncondition(program.model)).get_trace(*given.args)).nodes
        x = _flat(given.x).clone()
        for site in plan.observed:
            x[:, cells[site.name]] = _flat(site.to_front(nodes[site.name]["value"])).to(x.dtype)
        latents = {s.name: s.to_front(nodes[s.name]["value"])[None] for s in plan.latents}
        return latents, Batch(x.reshape(given.x.shape), given.context)

    rows = torch.arange(2, device=batches.x.device) % len(batches)
    cells |= _cells(evaluation, batches.take(rows))
    made = simulate(rows)[1]
    seen = _observed(evaluation, made)
    for name, where in cells.items():
        if not torch.equal(seen[name].to(made.x.dtype), _flat(made.x)[:, where]):
            raise NotAvailable(
                f"the site {name!r} observes a function of the data, not their cells: values simulated for it are no "
                "data. Transform the data before they are given to the program"
            )
    return simulate


def _cells(evaluation: Evaluation, batch: Batch) -> dict[str, Tensor]:
    """Which cells of a datum each site observes, {site: (cells,)}: found by giving the program their numbers."""
    observed, size = evaluation.plan.observed, batch.x[0].numel()
    numbers = torch.arange(size, device=batch.x.device)
    if len(observed) == 1 and math.prod(observed[0].event_shape) == size:
        return {observed[0].name: numbers}
    asked = Batch(numbers.to(batch.x.dtype).expand(len(batch), -1).reshape(batch.x.shape), batch.context)
    try:
        found = {name: value[0] for name, value in _observed(evaluation, asked).items()}
        named = torch.cat([value.double() for value in found.values()])
        known = torch.equal(named, named.round()) and len(named.unique()) == len(named)
        if not known or not 0 <= named.min() <= named.max() < size:
            raise ValueError("their values are no cells of it")
    except (RuntimeError, ValueError, IndexError) as error:
        names = ", ".join(f"'{s.name}'" for s in observed)
        raise NotAvailable(
            f"it is not known which cells of a datum the sites {names} observe ({error}), so that no datum can be made "
            "of simulated values: observe x, or parts of it that do not overlap"
        ) from error
    return {name: value.long() for name, value in found.items()}


def _observed(evaluation: Evaluation, batch: Batch) -> dict[str, Tensor]:
    """What the sites observe of these data, {site: (n, cells)}."""
    nodes = poutine.trace(evaluation.program.model).get_trace(*batch.args).nodes
    return {s.name: _flat(s.to_front(nodes[s.name]["value"])) for s in evaluation.plan.observed}


def _flat(values: Tensor) -> Tensor:
    """The cells of each datum in a row, (n, cells)."""
    return values.reshape(len(values), -1)
