"""What is checked of a program and its data before the first epoch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Independent, MaskedDistribution
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyrovae._modes import evaluating, training_modes
from pyrovae._rng import Stream, seeded
from pyrovae._support import by_element, describe
from pyrovae.data._validate import place, words
from pyrovae.program import Batch, Program
from pyrovae.structure import UNTOLD, Structure, trace_pair, try_pair
from pyrovae.svi.batches import Batches

__all__ = ["check_data", "check_gradients", "check_last_batch", "check_objective", "warn_unseen"]

ROWS = 4096


def check_data(program: Program, structure: Structure, batches: Batches, what: str = "data") -> None:
    """Every observed value must lie in the support of its site; to be trained, every weight must be the program's.

    Raises
    ------
    ValueError
        Naming the first value off the support, its datum and feature; or that values are missing and the program
        cannot leave them out; or, where gradients are on, a tensor that the loss depends on and that would not be
        trained.
    """
    hole, data = batches.first_missing, batches.data
    holes = None if hole is None else f"the {what} hold NaN (first: {words(hole, data.dims, data.coords)})"
    if holes and getattr(program, "takes_mask", None) is False:
        raise ValueError(f"{holes}, {UNTOLD}")
    with seeded(0, Stream.CHECK), program.scope(), pyro.validation_enabled(False), evaluating(program):
        first = batches.take(slice(0, 2))
        with torch.no_grad():
            program.check(first)
            for rows, batch in batches.blocks(min(ROWS, structure.full_size or ROWS)):
                try:
                    guide, model = try_pair(program, batch, what)
                except ValueError as error:
                    raise (ValueError(f"{error} ({holes})") if holes else error) from error
                if holes:
                    _check_missing(guide, model, holes)
                for name, site in model.nodes.items():
                    if site["type"] == "sample" and site["is_observed"]:
                        _check_site(name, site, batches, rows, batch.x, what)
        if torch.is_grad_enabled():
            _check_owned(program, first)


def _check_missing(guide: poutine.Trace, model: poutine.Trace, holes: str) -> None:
    """A general program may deal with NaN by itself; none may reach a site."""
    for role, trace in (("guide", guide), ("model", model)):
        for name, site in trace.nodes.items():
            if site["type"] == "sample" and bool(torch.isnan(site["value"]).any()):
                raise ValueError(
                    f"{holes}, which reach the site '{name}' of the {role}. If they are missing, put a number of the "
                    "support in their place and leave these cells out with fn.mask(~torch.isnan(x)); if not, fill or "
                    "drop them"
                )


def _check_owned(program: Program, batch: Batch) -> None:
    """Every leaf of the loss that has a gradient must be a parameter of the program."""
    with torch.enable_grad():
        guide, model = trace_pair(program, batch)
        pending = [(model.log_prob_sum() - guide.log_prob_sum()).grad_fn]
    own, seen = {id(p) for p in program.parameters()}, set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        pending += [following for following, _ in node.next_functions]
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in own:
            raise ValueError(
                f"the loss depends on a tensor of shape {tuple(leaf.shape)} that requires a gradient and is no "
                "parameter of the program, so it would not be trained: make the part or network that uses it a "
                "torch.nn.Module that holds it, or freeze it with .requires_grad_(False)"
            )


def _check_site(name: str, site: Any, batches: Batches, rows: slice, x: Tensor, what: str) -> None:
    support, value = by_element(site["fn"].support), site["value"]
    ok = support.check(value)
    if bool(ok.all()):
        return
    bad = ~ok
    first = tuple(torch.nonzero(bad)[0].tolist())
    came = ", ".join(f"{v:g}" for v in value[first].flatten()[:6].tolist()) + (" …" if value[first].numel() > 6 else "")
    if value.shape == x.shape:
        came += f" at {_where(batches, rows.start, bad)}"
    fn = site["fn"]
    while isinstance(fn, (Independent, MaskedDistribution)):
        fn = fn.base_dist
    family = type(fn).__name__
    must = f"the {what} must lie in the support of {family}, {describe(_of_datum(support, bad, first))}"
    if hasattr(support, "cell"):  # a table: each column has its own
        column, cell = support.names[first[-1]], support.cell(first[-1])
        must = f"the {what} must lie in the support of column {column!r}, {describe(cell)}"
    raise ValueError(
        f"site '{name}': {must}, got {came} ({int(bad.sum()):,} such values in these {bad.shape[0]:,} data). "
        f"{_mend(family)}"
    )


def _of_datum(support: Any, bad: Tensor, first: tuple[int, ...]) -> Any:
    """The support with the bounds of one cell or datum, where they differ."""
    own = copy.copy(support)
    for name in ("lower_bound", "upper_bound"):
        bound = getattr(support, name, None)
        if isinstance(bound, Tensor) and bound.numel() > 1:
            setattr(own, name, bound.expand(bad.shape)[first])
    return own


def _mend(family: str) -> str:
    if family == "Bernoulli":
        return 'Binarise them (data.binarize("dynamic")), or use a likelihood for values between 0 and 1'
    if family == "Binomial":
        return "Raise the likelihood's total, or check the data"
    if family in ("Multinomial", "DirichletMultinomial"):
        return (
            "They are to be whole numbers that add up to the total of their datum: give that as total=, or as a column "
            "of the context (total_column=, context=x.sum(-1, keepdim=True)), or check the data"
        )
    return "Choose a likelihood with the data's support, or check the data"


def _where(batches: Batches, start: int, bad: Tensor) -> str:
    """The first bad cell, or the first bad datum where the support is one of whole data, by its coordinates."""
    return place(bad, batches.data.dims[: bad.dim() - 1], batches.data.coords, start)


def warn_unseen(batches: Batches) -> None:
    """Say which cell is missing in all training data: nothing is learned of it."""
    never = batches.unseen
    if not bool(never.any()):
        return
    data, count = batches.data, int(never.sum())
    first = zip(data.dims, never.nonzero()[0].tolist(), strict=True)
    where = ", ".join(f"{dim}={data.coords[dim][1][i] if dim in data.coords else i}" for dim, i in first)
    more = f" (and {count - 1:,} more cells)" if count > 1 else ""
    warnings.warn(
        f"{where}{more} is missing in all {len(batches):,} training data: nothing is learned of it, and its draws mean "
        "nothing; drop it if you can",
        UserWarning,
        stacklevel=3,
    )


def check_last_batch(program: Program, batches: Batches, size: int) -> None:
    """Batch normalisation may not take the one datum that is left for the last batch.

    Raises
    ------
    ValueError
        If it does not.
    """
    if (len(batches) - 1) % size or not any(isinstance(module, _BatchNorm) for module in program.modules()):
        return
    before = {name: value.clone() for name, value in program.named_buffers()}
    with seeded(0, Stream.CHECK), program.scope(), torch.no_grad(), training_modes(program):
        try:
            try_pair(program, batches.take(slice(0, 1)), "a batch")
        finally:
            for name, value in program.named_buffers():
                value.copy_(before[name])


def check_objective(elbo: Any, program: Program, batches: Batches, size: int) -> None:
    """An objective of `objectives` must be defined for the latents and batches, and is told of the training data.

    Raises
    ------
    ValueError
        What its ``check`` or its ``adapt`` says; that a batch would be too small for it.
    """
    last, least = (len(batches) - 1) % size + 1, getattr(elbo, "least", 1)
    if len(batches) < least:
        raise ValueError(
            f"objectives.{type(elbo).__name__} compares data with each other: expected {least} data or more, got "
            f"{len(batches)}"
        )
    if last < least:
        raise ValueError(
            f"objectives.{type(elbo).__name__} compares the data of a batch with each other, and of {len(batches)} "
            f"data in batches of {size} the last has {last}: choose a batch_size that leaves {least} or more"
        )
    own = list(elbo.modules()) if isinstance(elbo, nn.Module) else []
    if last == 1 and any(isinstance(module, _BatchNorm) for module in own):
        raise ValueError(
            f"objectives.{type(elbo).__name__}: a network of it has batch normalisation, which does not take one datum,"
            f" and of {len(batches)} data in batches of {size} the last has 1: choose another batch_size"
        )
    program_own = {id(p): name for name, p in program.named_parameters()}
    if shared := [program_own[id(p)] for m in own[:1] for p in m.parameters() if id(p) in program_own]:
        raise ValueError(
            f"objectives.{type(elbo).__name__} holds the program's own {', '.join(shared[:3])}, which would be trained "
            "by two sides at once: give it networks of its own (copy.deepcopy)"
        )
    if own:
        elbo.to(batches.x.device)  # before it is tried
    if callable(check := getattr(elbo, "check", None)):
        with seeded(0, Stream.CHECK), program.scope(), torch.no_grad(), evaluating(program):
            guide, model = trace_pair(program, batches.take(slice(0, 2)))
        drawn = [n for n, s in guide.nodes.items() if s["type"] == "sample" and n in model]
        check({n: model.nodes[n]["fn"] for n in drawn}, {n: guide.nodes[n]["fn"] for n in drawn})
    if callable(adapt := getattr(elbo, "adapt", None)):
        adapt(batches.x, batches.context)


def check_gradients(program: Program, others: Iterable[tuple[str, Tensor]] = ()) -> None:
    """Every parameter that is to be trained, of the program or of its objective, must have got a gradient.

    Raises
    ------
    ValueError
        Naming those that did not.
    """
    idle = [name for name, p in (*program.named_parameters(), *others) if p.requires_grad and p.grad is None]
    if idle:
        shown = ", ".join(idle[:4]) + (f" and {len(idle) - 4} more" if len(idle) > 4 else "")
        raise ValueError(
            f"no gradient reached the parameter{'s' if len(idle) > 1 else ''} {shown}, so training would leave "
            f"{'them' if len(idle) > 1 else 'it'} as made: use them in the model or guide, check for .detach(), or "
            "freeze them with .requires_grad_(False)"
        )
