"""The chains of a fit, or the one of a program, each with its weights in place while it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch

from pyrovae._linear import faster_linear
from pyrovae._modes import evaluating
from pyrovae._rng import preserved
from pyrovae.draws.blocks import rows_in_memory
from pyrovae.draws.plan import Plan, plan_draws
from pyrovae.draws.shared import Shared, draw_shared
from pyrovae.program import Program, as_program
from pyrovae.structure import inspect_program
from pyrovae.svi.batches import Batches, prepare
from pyrovae.svi.door import check_data
from pyrovae.svi.result import Fit

__all__ = ["Chains", "drawing", "prepare_draws", "shared_draws"]

FEW = 3  # data that suffice to look at a program


class Chains:
    """Iterates over (index, program): the restarts of a fit, or ``copies`` of the one that it chose."""

    def __init__(self, fit: Any, copies: int | None = None) -> None:
        self.fit = fit if isinstance(fit, Fit) else None
        self.program: Program = fit.program if isinstance(fit, Fit) else as_program(fit)
        self.copies = copies

    def __len__(self) -> int:
        return self.copies or (1 if self.fit is None else len(self.fit.chains))

    def __iter__(self) -> Iterator[tuple[int, Program]]:
        if self.fit is None or self.copies:  # the program holds the weights of the chosen one
            for index in range(len(self)):
                yield index, self.program
            return
        for index in range(len(self.fit.chains)):
            with self.fit.chain(index):
                yield index, self.program


@contextmanager
def drawing(program: Program) -> Iterator[None]:
    """A block in which a program is evaluated: no gradient by default, no validation, the global random state handed
    back."""
    with (
        preserved(),
        evaluating(program),
        torch.no_grad(),
        pyro.validation_enabled(False),
        faster_linear(program),
    ):
        yield


def prepare_draws(fit: Any, data: Any, context: Any, copies: int | None = None) -> tuple[Chains, Batches, Plan, int]:
    """The chains, the data as the program takes them, what is to be drawn, and how many rows a block may hold.

    ``copies``: so many of the chain that the fit chose, instead of its restarts.

    Raises
    ------
    ValueError
        If the data do not suit the program, or draws are not defined for it.
    """
    chains = Chains(fit, copies)
    program = chains.program
    batches = prepare(program, data, context)
    with preserved(), torch.no_grad(), evaluating(program):
        first = batches.take(slice(0, FEW))
        structure = inspect_program(program, first)
        plan = plan_draws(program, structure, first)
        check_data(program, structure, batches)
        with program.scope(), pyro.validation_enabled(False):
            rows = rows_in_memory(program, plan, first, draw_shared(program, plan, first, 1, 0, 0))
    return chains, batches, plan, rows


def shared_draws(chains: Chains, batches: Batches, plan: Plan, draws: int, seed: int) -> list[Shared | None]:
    """Draws of the latents that all data share, for each chain; the caller evaluates, without gradient."""
    out = []
    for chain, program in chains:
        with program.scope():
            out.append(draw_shared(program, plan, batches.take(slice(0, FEW)), draws, seed, chain))
    return out
