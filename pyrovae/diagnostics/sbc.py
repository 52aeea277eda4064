"""Simulation-based calibration of an amortised guide: no refits."""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae._rng import Stream, derive, seed_all
from pyrovae.diagnostics._simulated import simulator
from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.draws.blocks import densities_of, draw, replayable, spans
from pyrovae.draws.plan import Plan
from pyrovae.draws.target import evaluation
from pyrovae.draws.tree import dataset, site_dims

__all__ = ["SCOPE", "sbc"]

SCOPE = "simulated data only: says nothing of real data that the model does not make"
TIES = 16  # times the rounding error of log p: what is closer is equal


def sbc(
    fit: Any, data: Any, *, context: Any = None, simulations: int = 1000, draws: int = 200, seed: int = 0
) -> xr.Dataset:
    """Ranks of the true latents among the guide's draws, for data that the model makes itself.

    (z0, x0) is drawn from the model, then z_1 … z_L from q(z|x0). If q is the posterior, z0 is one more draw of it, and
    its rank, the number of draws below it, is uniform on 0 … L, of each dimension as of any function of z and x.
    An amortised guide gives q(z|x0) at once, where others are fitted again for each simulation.
    `calibration` and `coverage` judge the ranks, `pyrovae.plots.plot_calibration` draws them.

    Parameters
    ----------
    fit
        A `pyrovae.Fit`, of which the chosen chain is taken, or a program.
    data, context
        Only their form is used, and the context: simulation i is given that of datum i mod n, and its cells that
        the program does not observe. Simulated data have no missing cells.
    simulations
        How many (z0, x0), at least 2; the standard error of a coverage of one half is 1/(2 √simulations).
    draws
        L, at least 1. The test is exact for any; with few, departures are blurred.
    seed
        Decides everything; the global random state is left as it was.

    Returns
    -------
    xarray.Dataset
        ``rank_<site>`` (simulation, …), 0 … L, draws equal to z0 counted below it as often as above, at random; and
        ``pit_<site>`` = (rank + uniform)/(L + 1), uniform on 0 … 1 under calibration: of each latent of floating point
        that the guide draws. ``rank_log_p``, ``pit_log_p`` (simulation): of log p(z0, x0) among the log p(z_s, x0),
        which is a quantity of all dimensions and of the data at once. Enumerated sites are summed out of it.

    Raises
    ------
    NotAvailable
        If latents are shared by all data, the guide draws none, or no data can be simulated.
    ValueError
        If log p is NaN at simulated data.

    References
    ----------
    Talts, Betancourt, Simpson, Vehtari & Gelman 2018, 1804.06788, algorithm 1; Yao, Vehtari, Simpson & Gelman 2018,
    1802.02538 (VSBC); log p as a test quantity: Modrák et al. 2022, 2211.02383.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist, pyrovae as pv
    >>> def model(x):
    ...     with pyro.plate("data", len(x)):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])
    >>> def guide(x):
    ...     with pyro.plate("data", len(x)):
    ...         pyro.sample("z", dist.Normal(x[:, 0] / 2, 0.5**0.5))
    >>> ranks = sbc(pv.Program(model, guide), torch.zeros(1, 1), simulations=100, draws=50)
    >>> sorted(ranks), dict(ranks.sizes)
    (['pit_log_p', 'pit_z', 'rank_log_p', 'rank_z'], {'simulation': 100})
    """
    at_least("simulations", simulations, 2)
    at_least("draws", draws, 1)
    with evaluation(fit, data, context) as e:
        plan = e.plan
        _refuse(plan)
        seed_all(derive(seed, Stream.CALIBRATION))
        simulate = simulator(e)
        found: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for block, parts in spans(plan, simulations, draws, e.rows):
            seed_all(derive(seed, Stream.CALIBRATION, block.start))
            rows = torch.arange(block.start, block.stop, device=e.batches.x.device) % len(e.batches)
            truth, batch = simulate(rows)
            trace = replayable(plan, {name: value.flatten(0, 1) for name, value in truth.items()})
            log_p = densities_of(e.program, plan, batch, trace, len(batch))[0]
            truth = {name: value for name, value in truth.items() if value.is_floating_point()}
            counts = [torch.zeros(2, *value[0].shape, device=value.device) for value in (*truth.values(), log_p[None])]
            for m in parts:
                drawn = draw(e.program, plan, batch, m)
                _refuse_nan(log_p, drawn.log_p)
                for count, (name, value) in zip(counts, truth.items(), strict=False):
                    count += _below(drawn.latents[name], value, torch.zeros_like(value))
                size = log_p.abs().nan_to_num(posinf=0.0).clamp_min(1.0)
                counts[-1] += _below(drawn.log_p, log_p[None], TIES * torch.finfo(log_p.dtype).eps * size[None])
            for name, count in zip((*truth, "log_p"), counts, strict=True):
                found.setdefault(name, []).append(_rank(count, draws))
    shapes = {s.name: site_dims(s.name, s.event_shape) for s in plan.latents} | {"log_p": ()}
    variables = {
        f"{what}_{name}": (("simulation", *shapes[name]), torch.cat([pair[k] for pair in pairs]))
        for name, pairs in found.items()
        for k, what in enumerate(("rank", "pit"))
    }
    attrs = {"simulations": simulations, "draws": draws, "seed": seed, "data": e.batches.data.name, "scope": SCOPE}
    return dataset(variables).assign_attrs(attrs)


def _refuse(plan: Plan) -> None:
    if plan.shared:
        names = ", ".join(f"'{s.name}'" for s in plan.shared)
        raise NotAvailable(
            f"the latents {names} are shared by all data: their guide is fitted to these data, and has no q given "
            "simulated ones. Calibration without refits needs latents of each datum alone"
        )
    if not plan.latents:
        names = ", ".join(f"'{s.name}'" for s in plan.discrete)
        raise NotAvailable(f"the guide draws no latent of a datum, whose rank could be taken: {names} are summed out")
    if any(s.name == "log_p" for s in plan.latents):
        raise ValueError("a latent is named 'log_p', which is the name of a figure of the result: rename it")


def _refuse_nan(*log_p: Tensor) -> None:
    if any(bool(values.isnan().any()) for values in log_p):
        raise ValueError(
            "log p(z, x) is NaN at data simulated from the model: its draws leave its own support, or the guide's "
            "network overflows on them. Look at pv.sample(fit, data), and bound the scales of the model"
        )


def _below(draws: Tensor, truth: Tensor, near: Tensor) -> Tensor:
    """How many draws (S, …) are below the truth (1, …), and how many are equal to it, (2, …)."""
    equal = (draws == truth) | ((draws - truth).abs() <= near)
    return torch.stack([((draws < truth) & ~equal).sum(0), equal.sum(0)])


def _rank(count: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Rank and PIT, of the counts (2, …) of draws below and equal: the truth stands anywhere among its equals."""
    below, equal = count.double()
    rank = below + (torch.rand_like(equal) * (equal + 1)).floor()
    return rank.long(), (rank + torch.rand_like(rank)) / (draws + 1)
