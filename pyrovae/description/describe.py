"""A program's sites, parameters and plate diagram, from running it on some data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

from pyrovae import _support
from pyrovae._modes import evaluating
from pyrovae._rng import Stream, seeded
from pyrovae.description.description import Description
from pyrovae.description.graph import plate_diagram
from pyrovae.program import Batch, Program, as_program
from pyrovae.structure import Structure, inspect_program, site_of, trace_pair
from pyrovae.svi.batches import prepare
from pyrovae.svi.result import Fit
from pyrovae.vae import VAE

__all__ = ["describe"]

ROLES = ("prior", "likelihood", "guide")


def describe(program: Any, data: Any = None, *, context: Any = None) -> Description:
    """Describe a program: its sites and their distributions, how many parameters it has, and its plate diagram.

    Parameters
    ----------
    program
        A program, an object with a ``model`` and a ``guide``, or a fit. It is left as it was.
    data
        One datum or more, of any kind that `pyrovae.data.as_data` takes: the program is run on them. A `VAE` without a
        context needs none, as data are drawn from it.
    context
        The covariates of the data, if the program takes them.

    Returns
    -------
    Description
        Prints as tables, in a notebook with the picture; ``save(path)`` writes the picture.

    Raises
    ------
    TypeError
        If it is no program.
    ValueError
        If data or a context are needed and missing, or the program does not run on them.

    Examples
    --------
    >>> import pyrovae as pv
    >>> print(pv.describe(pv.VAE(
    ...     pv.priors.Normal(2),
    ...     pv.likelihoods.Bernoulli(pv.networks.MLP(2, (16,), 9)),
    ...     pv.guides.Normal(pv.networks.MLP(9, (16,), 4)),
    ... )))
    VAE · 429 parameters · data plate 'data'
    <BLANKLINE>
    site  role      plates  shape  support  model      guide
    ────  ────────  ──────  ─────  ───────  ─────────  ──────
    z     latent    data    (2,)   real     Normal     Normal
    x     observed  data    (9,)   boolean  Bernoulli  –
    ...
    """
    program = program.program if isinstance(program, Fit) else as_program(program)
    with _unchanged(program):
        batch = _batch(program, data, context)
        structure = inspect_program(program, batch)
        quiet = pyro.validation_enabled(False)
        with seeded(0, Stream.CHECK), torch.no_grad(), evaluating(program), quiet, program.scope():
            guide, model = trace_pair(program, batch)
            graph = plate_diagram(program, batch, guide, model, structure)
        counts = _parameters(program)
    return Description(
        table=_sites(guide, model, structure),
        parameters=counts,
        graph=graph,
        title=f"{type(program).__name__} · {int(counts['parameters'].sum()):,} parameters · data plate "
        f"'{structure.plate}'",
    )


@contextmanager
def _unchanged(program: Program) -> Iterator[None]:
    """A block after which the program has the parameters of ``pyro.param`` that it had, or none."""
    store, waiting = {kind: dict(held) for kind, held in program._store.items()}, dict(program._waiting)
    try:
        yield
    finally:
        program._store.update(store)
        program._waiting = waiting


def _batch(program: Program, data: Any, context: Any) -> Batch:
    """Two data: the first of those given, or drawn from the model."""
    if data is not None:
        batches = prepare(program, data, context)
        return batches.take(torch.arange(2, device=batches.x.device) % len(batches))
    if context is not None:
        raise ValueError("describe: a context was given without its data: pass both")
    if not isinstance(program, VAE):
        raise ValueError("describe: this program is described by running it: pass some data, one datum or more")
    needing = [name for name, call in program._calls().items() if call.needs_context]
    if needing:
        raise ValueError(
            f"describe: the {' and the '.join(needing)} of the VAE take a context: pass some data and their context, "
            "describe(program, data, context=…)"
        )
    with seeded(0, Stream.CHECK), torch.no_grad(), evaluating(program), pyro.validation_enabled(False):
        try:
            return Batch(program._likelihood(program._p().expand((2,)).sample()).sample())
        except NotImplementedError:
            raise ValueError(
                "describe: no data can be drawn from this VAE, as its prior or likelihood has no sample(): pass some"
            ) from None


def _sites(guide: poutine.Trace, model: poutine.Trace, structure: Structure) -> pd.DataFrame:
    """A row for each site, in the order of the model; those of the guide alone come last."""
    rows = []
    for name, node in (model.nodes | {n: guide.nodes[n] for n in structure.auxiliary}).items():
        if node["type"] != "sample" or node["infer"].get("_deterministic"):
            continue
        frames = sorted(node["cond_indep_stack"], key=lambda frame: frame.dim or 0)
        ours, theirs = model.nodes.get(name), guide.nodes.get(name)
        q = _family(theirs["fn"]) if theirs else "summed out" if name in structure.enumerated else "–"
        rows.append(
            {
                "site": name,
                "role": _role(name, node, structure),
                "plates": tuple(frame.name for frame in frames),
                "shape": site_of(node, structure.plate).event_shape,
                "support": _support.describe(node["fn"].support),
                "model": _family(ours["fn"]) if ours else "–",
                "guide": f"{q}, summed" if name in structure.summed else q,
            }
        )
    return pd.DataFrame(rows)


def _role(name: str, node: Any, structure: Structure) -> str:
    if name in structure.auxiliary:
        return "auxiliary"
    if node["is_observed"]:
        return "observed"
    if name in structure.enumerated:
        return "enumerated"
    return "global" if name in {site.name for site in structure.outside} else "latent"


def _family(fn: Any) -> str:
    """The name of a distribution, without what only shapes or masks it."""
    while isinstance(fn, (dist.Independent, dist.ExpandedDistribution, dist.MaskedDistribution)):
        fn = fn.base_dist
    if type(fn) in (dist.TransformedDistribution, torch.distributions.TransformedDistribution):
        return f"{_family(fn.base_dist)}, transformed"
    if isinstance(fn, torch.distributions.MixtureSameFamily):
        return f"mixture of {_family(fn.component_distribution)}"
    return type(fn).__name__.strip("_")


def _parameters(program: Program) -> pd.DataFrame:
    """A row for each part of a VAE, or for each module and ``pyro.param`` of another program."""
    own, roles = program._store["params"], ROLES if isinstance(program, VAE) else ()
    modules = dict(program.parts if isinstance(program, VAE) else program.found)
    what = dict(zip(ROLES, program._three, strict=True)) if isinstance(program, VAE) else modules
    rows: dict[str, dict[str, Any]] = {
        name: {"part": name, "parameters": 0, "trained": 0, "what": _line(part)} for name, part in what.items()
    }
    for name, value in program.named_parameters():
        words = name.split(".")
        part = name if name in own else words[1] if words[0] in {"parts", "found"} else words[0]
        part = next((role for role in roles if part.startswith(role)), part)
        if part not in rows:
            constraint = program._store["constraints"].get(part)
            line = "" if constraint is None else f"pyro.param, {_support.describe(constraint)}"
            rows[part] = {"part": part, "parameters": 0, "trained": 0, "what": line}
        rows[part]["parameters"] += value.numel()
        rows[part]["trained"] += value.numel() * value.requires_grad
    return pd.DataFrame(list(rows.values()), columns=["part", "parameters", "trained", "what"])


def _line(part: Any) -> str:
    """What a part prints, if that is one line, else its name."""
    text = repr(part) if isinstance(part, nn.Module) else getattr(part, "__name__", type(part).__name__)
    return text if "\n" not in text else f"{type(part).__name__}(…)"
