"""The chains of a fit, or the one of a program, each with its weights in place while it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro
import torch

from pyrovae._modes import evaluating
from pyrovae._rng import preserved
from pyrovae.draws.blocks import rows_in_memory
from pyrovae.program import Program, as_program
from pyrovae.structure import Structure, inspect_program
from pyrovae.svi.batches import Batches, prepare
from pyrovae.svi.door import check_data
from pyrovae.svi.result import Fit

__all__ = ["Chains", "prepare_draws"]


class Chains:
    """Iterates over (index, program)."""

    def __init__(self, fit: Any) -> None:
        self.fit = fit if isinstance(fit, Fit) else None
        self.program: Program = fit.program if isinstance(fit, Fit) else as_program(fit)

    def __len__(self) -> int:
        return 1 if self.fit is None else len(self.fit.chains)

    def __iter__(self) -> Iterator[tuple[int, Program]]:
        if self.fit is None:
            yield 0, self.program
            return
        for index in range(len(self.fit.chains)):
            with self.fit.chain(index):
                yield index, self.program


def prepare_draws(fit: Any, data: Any, context: Any) -> tuple[Chains, Batches, Structure, int]:
    """The chains, the data as the program takes them, its sites, and how many rows a block may hold.

    Raises
    ------
    ValueError
        If the data do not suit the program, or draws per datum are not defined for it.
    """
    chains = Chains(fit)
    program = chains.program
    batches = prepare(program, data, context)
    with preserved(), torch.no_grad(), evaluating(program):
        first = batches.take(slice(0, 3))
        structure = inspect_program(program, first[0], first[1] if len(first) > 1 else None)
        refuse_undefined(structure)
        check_data(program, structure, batches)
        with program.scope(), pyro.validation_enabled(False):
            rows = rows_in_memory(program, structure, first)
    return chains, batches, structure, rows


def refuse_undefined(structure: Structure) -> None:
    """Draws per datum need local, continuous or guided latents.

    Raises
    ------
    ValueError
        With the sites for which they are not defined, and why.
    """
    if structure.outside:
        names = ", ".join(f"'{s.name}'" for s in structure.outside)
        raise ValueError(
            f"the sites {names} stand outside the data plate '{structure.plate}': they are shared by all data, so that "
            "log p(x, z) has no value per datum. Move them into the plate, or make them parameters"
        )
    if structure.enumerated:
        names = ", ".join(f"'{n}'" for n in structure.enumerated)
        raise ValueError(
            f"the sites {names} are enumerated and have no guide: draws of them are not made yet; give the guide a "
            "site for them, or sum them out in the likelihood"
        )
    if structure.auxiliary:
        names = ", ".join(f"'{n}'" for n in structure.auxiliary)
        raise ValueError(
            f"the guide's auxiliary sites {names} are no latents of the model: log q(z|x) is an integral over them "
            "that a draw does not give. Sum them out in the guide, for example by a mixture"
        )
    if not structure.latents:
        raise ValueError("the program has no latent in its data plate: there is nothing to draw")
