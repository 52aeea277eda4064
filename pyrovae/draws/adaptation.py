"""Warm-up of many Markov chains, each at its own pace: the step size and the diagonal of the metric."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Adaptation", "windows"]

FIRST, LAST, BASE = 75, 50, 25  # transitions before the metric's windows, after them, and in the first of them
FEWEST = 50  # transitions, of which fewer adapt the step size alone
SHARES = 0.15, 0.3  # of the first phase and the last one, where warm-up is too short for theirs
GAMMA, T0, KAPPA = 0.05, 10.0, 0.75  # Hoffman & Gelman 2014, section 3.2.1
PRIOR_DRAWS, PRIOR_WEIGHT = 5.0, 1e-3  # how a window's variance is kept above 0


def windows(warmup: int) -> tuple[list[bool], list[bool]]:
    """Of each transition, whether its draw counts towards the metric, and whether a window closes after it.

    Windows double in length between a first phase and a last one that adapt the step size alone, as in Stan; a short
    warm-up has one window, and a longer last phase than Stan's.

    Examples
    --------
    >>> [i + 1 for i, closes in enumerate(windows(500)[1]) if closes]
    [100, 150, 250, 450]
    """
    collects, closes = [False] * warmup, [False] * warmup
    if warmup < FEWEST:
        return collects, closes
    first, last, size = FIRST, LAST, BASE
    if first + size + last > warmup:
        first, last = (int(share * warmup) for share in SHARES)
        size = warmup - first - last
    start, stop = first, warmup - last
    collects[start:stop] = [True] * (stop - start)
    while start < stop:
        end = start + size
        if end + 2 * size > stop:
            end = stop
        closes[end - 1] = True
        start, size = end, 2 * size
    return collects, closes


class Adaptation:
    """Step size by dual averaging and metric by windows of draws, of each of some pairs (chain, datum) by itself.

    Parameters
    ----------
    variance
        (pairs, dim), what the variances are taken to be at first.
    warmup
        Transitions that adapt.
    target
        The acceptance rate that the step size is to reach.

    References
    ----------
    Hoffman & Gelman 2014, 1111.4246, section 3.2 (dual averaging); the Stan reference manual, "Automatic
    parameter tuning" (windows). A window's variance over n draws is shrunk towards a thousandth of the first one by
    n/(n + 5).
    """

    def __init__(self, variance: Tensor, warmup: int, target: float) -> None:
        self.warmup, self.target = warmup, target
        collects, closes = windows(warmup)
        self.collects = torch.tensor(collects, device=variance.device)
        self.closes = torch.tensor(closes, device=variance.device)
        self.first = variance
        self.inverse_mass = variance.clone()
        self.log_step = variance.new_full(variance.shape[:1], -0.25 * math.log(variance.shape[1]))
        self.centre = self.log_step + math.log(10.0)
        self.average, self.error, self.age = (torch.zeros_like(self.log_step) for _ in range(3))
        self.number = torch.zeros_like(self.log_step)
        self.mean, self.squares = torch.zeros_like(variance), torch.zeros_like(variance)

    @property
    def step(self) -> Tensor:
        """Step sizes (pairs,)."""
        return self.log_step.exp()

    def update(self, pairs: Tensor, done: Tensor, u: Tensor, acceptance: Tensor) -> None:
        """Told of a transition of some pairs: how many they had made, where it ended and how it accepted."""
        warm = done < self.warmup
        if not warm.any():
            return
        pairs, done, u, acceptance = pairs[warm], done[warm], u[warm], acceptance[warm]
        self._average(pairs, acceptance)
        collects = self.collects[done]
        if collects.any():
            self._collect(pairs[collects], u[collects])
        closes = self.closes[done]
        if closes.any():
            self._close(pairs[closes])
        ready = pairs[done == self.warmup - 1]
        self.log_step[ready] = self.average[ready]

    def take(self, rows: Tensor) -> None:
        """Keep some pairs only."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and name not in ("collects", "closes"):
                setattr(self, name, value[rows])

    def _average(self, pairs: Tensor, acceptance: Tensor) -> None:
        age = self.age[pairs] + 1
        weight = 1 / (age + T0)
        error = (1 - weight) * self.error[pairs] + weight * (self.target - acceptance)
        log_step = self.centre[pairs] - age.sqrt() / GAMMA * error
        share = age**-KAPPA
        self.age[pairs], self.error[pairs], self.log_step[pairs] = age, error, log_step
        self.average[pairs] = share * log_step + (1 - share) * self.average[pairs]

    def _collect(self, pairs: Tensor, u: Tensor) -> None:
        number = self.number[pairs] + 1
        off = u - self.mean[pairs]
        mean = self.mean[pairs] + off / number[:, None]
        self.number[pairs], self.mean[pairs] = number, mean
        self.squares[pairs] += off * (u - mean)

    def _close(self, pairs: Tensor) -> None:
        number = self.number[pairs][:, None]
        variance = self.squares[pairs] / (number - 1).clamp_min(1)
        prior = PRIOR_WEIGHT * self.first[pairs]
        self.inverse_mass[pairs] = (number * variance + PRIOR_DRAWS * prior) / (number + PRIOR_DRAWS)
        self.log_step[pairs] = self.average[pairs]
        self.centre[pairs] = self.average[pairs] + math.log(10.0)
        for value in (self.average, self.error, self.age, self.number, self.mean, self.squares):
            value[pairs] = 0.0
