"""One step of the optimiser, and what to blame when it is not finite."""

from __future__ import annotations

import math

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.program import Batch, Program
from pyrovae.svi.door import check_gradients
from pyrovae.svi.loss import Loss

__all__ = ["culprit", "take_step"]


def take_step(
    objective: Loss,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    clip_norm: float | None,
    *,
    first: bool = False,
) -> float:
    """One step of the optimiser; returns the loss, and takes no step if it or its gradient is not finite."""

    def gradients() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        return objective.gradients(batch)

    if isinstance(optimizer, torch.optim.LBFGS):  # evaluates the loss several times: on the same noise
        state = torch.get_rng_state()

        def closure() -> float:
            torch.set_rng_state(state)
            value = gradients().item()
            if first:
                check_gradients(objective.program, objective.named_parameters())
            return value

        before = [[p.detach().clone() for p in group["params"]] for group in optimizer.param_groups]
        value = float(optimizer.step(closure))
        after = [p for group in optimizer.param_groups for p in group["params"]]
        if math.isfinite(value) and all(bool(p.isfinite().all()) for p in after):
            return value
        with torch.no_grad():
            for group, values in zip(optimizer.param_groups, before, strict=True):
                for p, kept in zip(group["params"], values, strict=True):
                    p.copy_(kept)
        return math.nan
    loss = gradients()
    if first:
        check_gradients(objective.program, objective.named_parameters())
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    value = float(loss + 0 * norm)
    if math.isfinite(value):
        if clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
        optimizer.step()
    return value


def culprit(program: Program, batch: Batch) -> str:
    """Which site's value or density is not finite, on the noise that the random state gives, or which gradient."""
    with torch.no_grad():
        site = _site(program, batch)
    if site is not None:
        return site
    bad = [n for n, p in program.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"every site is finite, the gradient of {', '.join(bad[:3]) or 'the loss'} is not"


def _site(program: Program, batch: Batch) -> str | None:
    try:
        guide = poutine.trace(program.guide).get_trace(*batch.args)
        model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(*batch.args)
        for role, trace in (("guide", guide), ("model", model)):
            for name, site in trace.nodes.items():
                if site["type"] == "sample":
                    for what, value in (("value", site["value"]), ("log density", site["fn"].log_prob(site["value"]))):
                        if not value.isfinite().all():
                            return f"the {what} of site '{name}' in the {role} is {value[~value.isfinite()][0]:g}"
    except (RuntimeError, ValueError) as error:
        return str(error)
    return None
