"""Where the particles of annealed importance sampling start, and the path from there to the posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyrovae._rng import Stream, seeded
from pyrovae.diagnostics._annealing import Path, tune
from pyrovae.draws.blocks import draw, per_datum, replayable
from pyrovae.draws.plan import Plan
from pyrovae.draws.target import Evaluation, Target
from pyrovae.program import Batch, Program, repeat
from pyrovae.structure import prune
from pyrovae.vae import VAE

__all__ = ["PILOTS", "begin", "finite", "log_steps"]

PILOTS = 8  # particles of the preliminary run


def log_steps(e: Evaluation, target: Target, start: str, leapfrog: int, steps: int, seed: int, block: int) -> Tensor:
    """The log steps of each datum, by a preliminary run with a stream of its own."""
    with seeded(seed, Stream.ANNEALING, 0, block):
        path, u = begin(e, target, start, PILOTS)
        return tune(path, u, leapfrog) if steps > 1 else u.new_zeros(2, u.shape[1])


def begin(e: Evaluation, target: Target, start: str, copies: int) -> tuple[Path, Tensor]:
    """The path from the start to the posterior, and u (copies, n, dim) drawn where it starts."""
    if start == "prior":
        return target.densities, finite(target.prior_draws(copies), start)
    latents, log_q = _guide(e.program, e.plan, target.batch, copies)

    def path(u: Tensor) -> tuple[Tensor, Tensor]:
        q = log_q(target.constrain(u)) + target.log_jacobian(u)
        prior, likelihood = target.densities(u)
        return q, prior + likelihood - q

    return path, finite(target.unconstrain(latents), start)


def _guide(
    program: Program, plan: Plan, batch: Batch, copies: int
) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], Tensor]]:
    """Draws {site: (copies, n, *event)} of the guide, and its log density (copies, n) of such latents.

    A VAE's q(z|x) is made once; any other guide is run again on the latents.
    """
    if isinstance(program, VAE):
        q = program.encode(batch.x, batch.context)
        _refuse_points({"z": q})
        return {"z": q.sample((copies,))}, lambda latents: q.log_prob(latents["z"])
    rows = repeat(batch, copies)

    def run(latents: dict[str, Tensor]) -> poutine.Trace:
        given = replayable(plan, {name: z.flatten(0, 1) for name, z in latents.items()})
        trace = prune(poutine.trace(poutine.replay(program.guide, trace=given)).get_trace(*rows.args))
        trace.compute_log_prob()
        return trace

    def log_q(latents: dict[str, Tensor]) -> Tensor:
        nodes = run(latents).nodes
        terms = torch.stack([per_datum(nodes[s.name], s) for s in plan.latents])
        return terms.sum(0).reshape(copies, len(batch))

    drawn = draw(program, plan, batch, copies)
    _refuse_points({s.name: run(drawn.latents).nodes[s.name]["fn"] for s in plan.latents})
    if drawn.log_q is None or not torch.allclose(log_q(drawn.latents), drawn.log_q, rtol=1e-3, atol=1e-2):
        raise ValueError(
            "start='guide': the guide gives the same latents another density when it is run again, so that there is no "
            "q(z|x) to start from: let it depend on x and its parameters alone, or use start='prior'"
        )
    return drawn.latents, log_q


def _refuse_points(guides: dict[str, Any]) -> None:
    for name, q in guides.items():
        while isinstance(q, (dist.Independent, dist.MaskedDistribution)):
            q = q.base_dist
        if isinstance(q, dist.Delta):
            raise ValueError(
                f"start='guide': the guide gives {name!r} a single value, which has no density: use start='prior'"
            )


def finite(u: Tensor, start: str) -> Tensor:
    """Where particles start, checked.

    Raises
    ------
    ValueError
        If some draws have no place on the real line.
    """
    lost = int((~torch.isfinite(u).all(-1)).sum())
    if lost:
        raise ValueError(
            f"{lost} of {u.shape[0] * u.shape[1]} draws of the {start} lie on the edge of their support, to which "
            f"{u.dtype} rounds them: build the program in float64 (program.double())"
        )
    return u
