"""Enumerated sites: summed out of the densities exactly, and drawn given everything else."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from pyro import poutine
from pyro.infer import infer_discrete
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from pyrovae.draws.plan import Plan
from pyrovae.program import Batch, Program
from pyrovae.structure import prune

__all__ = ["draw_discrete", "enumerated", "summed"]


def enumerated(program: Program, plan: Plan, batch: Batch, trace: poutine.Trace) -> poutine.Trace:
    """The model's trace given the values of another one, each enumerated site holding all its values."""
    with EnumMessenger(plan.enum_dim):  # it knows what a conditioned site depends on, not what a replayed one does
        model = prune(poutine.trace(poutine.condition(program.model, data=trace)).get_trace(*batch.args))
    model.compute_log_prob()
    model.pack_tensors()
    return model


def summed(plan: Plan, model: poutine.Trace, names: set[str], rows: int) -> Tensor:
    """log Σ_c Π_s p(s | …) of each datum, (rows,): over the enumerated sites c and the sites named, unscaled.

    Sums are over the values of c, products over the plates inside the data plate, in the order that the plates allow
    (variable elimination, as `pyro.infer.TraceEnum_ELBO` does; Obermeyer et al. 2019, 1902.03210).
    """
    plate = model.plate_to_symbol[plan.structure.plate]
    discrete = {site.name for site in plan.discrete}
    factors: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    values: set[str] = set()
    for name, node in model.nodes.items():
        if name not in names and name not in discrete:
            continue
        ordinal = frozenset(model.plate_to_symbol[f.name] for f in node["cond_indep_stack"] if f.vectorized)
        term = node["packed"]["unscaled_log_prob"]
        if name not in discrete:
            term = packed.scale_and_mask(term, mask=node["packed"]["mask"])
        values |= set(term._pyro_dims) - ordinal
        factors.setdefault(ordinal, []).append(term)
    target = frozenset({plate} if rows > 1 else ())  # packing drops the dimension of a plate of one datum
    return contract_to_tensor(factors, values, target_ordinal=target).reshape(rows)


def draw_discrete(program: Program, plan: Plan, batch: Batch, trace: poutine.Trace) -> dict[str, Tensor]:
    """One draw of the enumerated sites of each datum from p(c | x, the values of the trace), {site: (rows, *event)}."""
    sampler = infer_discrete(poutine.condition(program.model, data=trace), first_available_dim=plan.enum_dim)
    nodes: Any = poutine.trace(sampler).get_trace(*batch.args).nodes
    return {  # a plate of one datum is dropped from the value, not from the distribution
        site.name: site.to_front(nodes[site.name]["value"].expand(nodes[site.name]["fn"].shape()))
        for site in plan.discrete
    }
