"""What is checked of a program and its data before the first epoch."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from pyrovae._rng import seeded
from pyrovae.data._validate import place
from pyrovae.program import Program
from pyrovae.structure import Structure, describe, prune
from pyrovae.svi.batches import Batches

__all__ = ["check_data", "check_gradients"]

ROWS = 4096


def check_data(program: Program, structure: Structure, batches: Batches, what: str = "data") -> None:
    """Every observed value must lie in the support of its site.

    Raises
    ------
    ValueError
        Naming the first value off the support, its datum and feature; or that values are missing and the program
        cannot leave them out.
    """
    missing = batches.x.is_floating_point() and bool(torch.isnan(batches.x).any())
    if missing and not getattr(program, "takes_mask", False):
        raise ValueError(
            f"the {what} hold NaN (first: {_where(batches, 0, torch.isnan(batches.x))}), and the guide cannot be told which cells are "
            "missing. If they are missing, build the guide's network with mask=True (or write the guide as "
            "f(x, mask)); if not, fill or drop them"
        )
    training = program.training
    with seeded(0), program.scope(), torch.no_grad(), pyro.validation_enabled(False):
        program.eval()
        try:
            for rows, args in batches.blocks(min(ROWS, structure.full_size or ROWS)):
                guide = poutine.trace(program.guide).get_trace(*args)
                model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*args)
                for name, site in prune(model).nodes.items():
                    if site["type"] == "sample" and site["is_observed"]:
                        _check_site(name, site, batches, rows, args[0], what)
        finally:
            program.train(training)


def _check_site(name: str, site: Any, batches: Batches, rows: slice, x: Tensor, what: str) -> None:
    support, value = site["fn"].support, site["value"]
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    ok = support.check(value)
    if bool(ok.all()):
        return
    bad = ~ok
    first = tuple(torch.nonzero(bad)[0].tolist())
    came = f"{value[first].flatten()[0]:g}"
    if value.shape == x.shape:
        came += f" at {_where(batches, rows.start, bad)}"
    family = type(site["fn"].base_dist).__name__ if hasattr(site["fn"], "base_dist") else type(site["fn"]).__name__
    raise ValueError(
        f"site '{name}': the {what} must lie in the support of {family}, {describe(support)}, got {came} "
        f"({int(bad.sum()):,} such values in these {bad.shape[0]:,} data). {_mend(family)}"
    )


def _mend(family: str) -> str:
    if family == "Bernoulli":
        return 'Binarise them (data.binarize("dynamic")), or use a likelihood for values between 0 and 1'
    if family == "Binomial":
        return "Raise the likelihood's total, or check the data"
    return "Choose a likelihood with the data's support, or check the data"


def _where(batches: Batches, start: int, bad: Tensor) -> str:
    """The first bad cell by its coordinates."""
    mask = torch.zeros(batches.x.shape[: bad.dim()], dtype=torch.bool)
    mask[start : start + bad.shape[0]] = bad.cpu()
    return place(mask, batches.data.dims, batches.data.coords)


def check_gradients(program: Program) -> None:
    """Every parameter that is to be trained must have got a gradient.

    Raises
    ------
    ValueError
        Naming those that did not.
    """
    idle = [name for name, p in program.named_parameters() if p.requires_grad and p.grad is None]
    if idle:
        shown = ", ".join(idle[:4]) + (f" and {len(idle) - 4} more" if len(idle) > 4 else "")
        raise ValueError(
            f"no gradient reached the parameter{'s' if len(idle) > 1 else ''} {shown}, so training would leave "
            f"{'them' if len(idle) > 1 else 'it'} as made: use them in the model or guide, check for .detach(), or "
            "freeze them with .requires_grad_(False)"
        )
