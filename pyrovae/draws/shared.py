"""Draws of the latents that all data share: one value for each draw, whatever the block of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyrovae._rng import Stream, derive, seed_all
from pyrovae.draws.plan import Plan
from pyrovae.program import Batch, Program
from pyrovae.structure import Site, prune

__all__ = ["Shared", "draw_shared", "joint"]


@dataclass(frozen=True)
class Shared:
    """S draws {site: (S, *event)}, with log p(θ), observed sites outside the plate included, and log q(θ), (S,).

    Where the guide's θ is a function of other sites of its, their values are there too, and log q(θ) is their density
    times the function's Jacobian.
    """

    values: dict[str, Tensor]
    log_p: Tensor
    log_q: Tensor

    def at(self, plan: Plan, draw: int) -> poutine.Trace:
        """One draw as a trace to replay guide and model against."""
        trace = poutine.Trace()
        for site in (*plan.shared, *plan.carriers):
            value = self.values[site.name][draw]
            value = value.reshape((*site.layout, *value.shape[value.dim() - site.event_dim :]))
            trace.add_node(site.name, name=site.name, type="sample", value=value, is_observed=False, infer={})
        return trace

    def refuse_other(self, plan: Plan, log_p: Tensor, log_q: Tensor) -> None:
        """The densities of these draws beside other data must be the same.

        Raises
        ------
        ValueError
            If they are not: the program has no q(θ), but one for each batch.
        """
        for role, ours, theirs in (("model", self.log_p, log_p), ("guide", self.log_q, log_q)):
            other = ~torch.isclose(ours, theirs, rtol=1e-4, atol=1e-3, equal_nan=True)
            if bool(other.any()):
                names = ", ".join(f"'{s.name}'" for s in (*plan.shared, *plan.told))
                raise ValueError(
                    f"the {role}'s density of the sites outside the data plate ({names}) changes with the data or the "
                    f"local latents that it is given ({ours[other][0]:g} nats beside a few data, "
                    f"{theirs[other][0]:g} beside a block of them), so that it is another one in each batch: let it "
                    "depend on parameters and on other such sites only"
                )


def draw_shared(program: Program, plan: Plan, batch: Batch, draws: int, seed: int, chain: int) -> Shared | None:
    """S draws of the guide's latents outside the data plate, decided by seed and chain; None without such.

    ``batch`` are any few data: the draws do not depend on them.
    """
    if not plan.shared:
        return None
    seed_all(derive(seed, Stream.POSTERIOR, chain))
    drawn = (*plan.shared, *plan.carriers)
    values: dict[str, list[Tensor]] = {site.name: [] for site in drawn}
    log_p, log_q = [], []
    for _ in range(draws):
        guide = poutine.trace(program.guide).get_trace(*batch.args)
        model = prune(poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*batch.args))
        guide.compute_log_prob()
        model.compute_log_prob()
        for site in drawn:
            values[site.name].append(guide.nodes[site.name]["value"].reshape(site.event_shape))
        log_p.append(joint(model, (*plan.shared, *plan.told)))
        log_q.append(joint(guide, drawn))
    return Shared({name: torch.stack(v) for name, v in values.items()}, torch.stack(log_p), torch.stack(log_q))


def joint(trace: poutine.Trace, sites: tuple[Site, ...]) -> Tensor:
    """The summed log density of some sites: their masks applied, their scales not."""
    return torch.stack([_whole(trace.nodes[s.name]) for s in sites]).sum()


def _whole(node: Any) -> Tensor:
    log_prob = node.get("unscaled_log_prob", node.get("log_prob"))
    return scale_and_mask(log_prob, 1.0, node.get("mask")).sum()
