"""Annealed importance sampling along a geometric path of densities, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.draws.hamiltonian import finite_or_none, leapfrog
from pyrovae.draws.replay import Replay

__all__ = ["Path", "anneal", "schedule", "tune"]

Path = Callable[[Tensor], tuple[Tensor, Tensor]]
"""u (copies, n, dim) → log f_0(u) and log f_1(u) − log f_0(u), (copies, n) each: f_β = f_0 (f_1/f_0)^β."""

STEEPNESS = 4.0  # of the sigmoid that β follows (Grosse et al. 2015)
TARGET = 0.65  # rate of acceptance
JITTER = 0.2  # share by which a step varies, lest a trajectory close on itself
PILOT_STEPS = 100
FIRST_STEP = 0.5
GAIN = 0.5  # nats that the log step moves per unit of acceptance
SMOOTH = 9  # temperatures over which the log step is averaged


def schedule(steps: int) -> Tensor:
    """β_0 = 0 to β_steps = 1 on a sigmoid: small changes where the path leaves f_0 and where it reaches f_1."""
    grid = torch.sigmoid(torch.linspace(-STEEPNESS, STEEPNESS, steps + 1, dtype=torch.float64))
    return (grid - grid[0]) / (grid[-1] - grid[0])


def anneal(path: Path, u: Tensor, betas: Tensor, log_step: Tensor, trajectory: int) -> tuple[Tensor, Tensor]:
    """Log weights (copies, n), in float64, and mean acceptance (n,) of particles that follow the path from u.

    log w = Σ_t (β_{t+1} − β_t) [log f_1 − log f_0](u_t), where u_0 is drawn from f at β_0, and u_t is moved from
    u_{t−1} by a transition that leaves f at β_t as it is (Neal 1998, physics/9803008, section 2). With β from 0 to 1,
    E w is the ratio Z_1/Z_0; backwards, with β from 1 to 0, it is Z_0/Z_1: the transitions are reversible. ``log_step``
    is that of `tune`. What is no number weighs nothing; the acceptance is NaN where nothing was moved.
    """
    log_weight = torch.zeros(u.shape[:2], dtype=torch.float64, device=u.device)
    moves, tempered = len(betas) - 2, _tempered(path)
    accepted = torch.zeros(u.shape[1], dtype=torch.float64, device=u.device)
    forward = bool(betas[-1] > betas[0])
    for t in range(moves + 1):
        change = float(betas[t + 1] - betas[t])
        if t == moves:
            rise = path(u)[1]
        else:
            beta = float(betas[t + 1])
            place = (t + 1 if forward else moves - t) / (moves + 1)
            u, rise, probability = _move(tempered, beta, u, _at(log_step, place).exp(), trajectory)
            accepted += probability
        log_weight += torch.where(torch.isfinite(rise), change * rise.double(), -torch.inf)
    return log_weight, accepted / moves if moves else torch.full_like(accepted, torch.nan)


def tune(path: Path, u: Tensor, trajectory: int) -> Tensor:
    """Log steps (temperatures, n) at which about `TARGET` of the proposals are accepted, by a run of its own from u.

    What is then run with them is drawn independently of them, so that it leaves each f_β as it is.
    """
    log_step = torch.full(u.shape[1:2], FIRST_STEP, dtype=u.dtype, device=u.device).log()
    found, tempered = [], _tempered(path)
    for t, beta in enumerate(schedule(PILOT_STEPS + 1)[1:-1].tolist()):
        u, _, probability = _move(tempered, beta, u, log_step.exp(), trajectory)
        log_step = log_step + max(GAIN, 4 * GAIN / (1 + t)) * (probability.to(log_step) - TARGET)
        found.append(log_step)
    half = SMOOTH // 2
    padded = torch.stack([found[0]] * half + found + [found[-1]] * half)
    return padded.unfold(0, SMOOTH, 1).mean(-1)


def _tempered(path: Path) -> Replay:
    """u and β (a scalar) → log f_β, its gradient, and log f_1 − log f_0; outside of the support −∞ and 0."""

    def function(u: Tensor, beta: Tensor) -> list[Tensor]:
        inside = torch.isfinite(u).all(-1)
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            start, rise = path(torch.where(inside[..., None], u, 0.0))
            value = torch.where(inside, start + beta * rise, -torch.inf)
            (gradient,) = torch.autograd.grad(value.sum(), u)
        return [*finite_or_none(value.detach().to(u.dtype), gradient), rise.detach()]

    return Replay(function)


def _move(tempered: Replay, beta: float, u: Tensor, step: Tensor, trajectory: int) -> tuple[Tensor, Tensor, Tensor]:
    """A Hamiltonian transition at β: where it ends, log f_1 − log f_0 where it began, mean acceptance (n,)."""
    at = torch.tensor(beta, dtype=torch.float64)

    def slope(u: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient, _ = tempered(u, at)
        return value, gradient

    value, gradient, rise = tempered(u, at)
    momentum = torch.randn_like(u)
    proposal, unit = u, torch.ones((), dtype=u.dtype, device=u.device)
    kinetic = 0.5 * (momentum**2).sum(-1)
    step = step * (1 + JITTER * (2 * torch.rand(u.shape[:2], dtype=u.dtype, device=u.device) - 1))
    reached = value
    for _ in range(trajectory):
        proposal, momentum, reached, gradient = leapfrog(slope, proposal, momentum, gradient, step, unit)
    log_ratio = (reached - 0.5 * (momentum**2).sum(-1)) - (value - kinetic)
    probability = torch.nan_to_num(log_ratio.clamp_max(0.0).exp(), nan=0.0)
    accept = torch.rand_like(probability) < probability
    return torch.where(accept[..., None], proposal, u), rise, probability.double().mean(0)


def _at(log_step: Tensor, place: float) -> Tensor:
    """The log steps at a place from 0 to 1 of the path, between those of the preliminary run."""
    position = min(max(place * (len(log_step) + 1) - 1, 0.0), len(log_step) - 1.0)
    low = min(int(position), len(log_step) - 2)
    return torch.lerp(log_step[low], log_step[low + 1], position - low)
