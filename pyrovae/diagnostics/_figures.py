"""What the rows of `diagnose` share: the tree's figures, computed once, and how a row is told."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, TypedDict

import xarray as xr

from pyrovae.diagnostics.convergence import convergence
from pyrovae.diagnostics.evidence import log_evidence
from pyrovae.diagnostics.reliability import pareto_k

__all__ = ["FEW", "LEVEL", "SOME", "Figures", "Row", "number", "probability"]

FEW, SOME = 0.05, 0.25

"""Shares of data with a bad k̂: up to FEW the guide is good, up to SOME usable."""

LEVEL = 0.01

"""Of the tests: the chance that a right model is called wrong by one of them."""

TRAINING, INTERVALS, GUIDE, BOUND, LATENTS, PRIOR, LIKELIHOOD = range(7)

"""What is mended first: an unfinished fit says nothing of the model, nor does a guide that misses the posterior; and a
prior off its place makes a likelihood look wrong."""


class Row(TypedDict, total=False):
    """What a check answers."""

    figure: str
    threshold: str
    bad: float
    verdict: str
    fault: str
    first: int
    action: str


class Figures:
    """A tree of one chain, what several checks need of it, computed once, and the fit to simulate from, if any."""

    def __init__(self, tree: xr.DataTree, model: tuple[Any, Any, Any] | None = None, seed: int = 0) -> None:
        self.tree, self.model, self.seed = tree, model, seed
        self.sampled = tree.attrs.get("method") == "nuts"
        self.corrected = bool(tree.attrs.get("corrected"))

    @cached_property
    def evidence(self) -> xr.DataArray:
        """log p(x) by datum."""
        return log_evidence(self.tree, k=[1])["log_evidence"]

    @cached_property
    def khat(self) -> xr.Dataset:
        """Pareto k by datum."""
        return pareto_k(self.tree)

    @cached_property
    def history(self) -> xr.Dataset:
        """What the optimiser's path shows."""
        return convergence(self.tree)

    @property
    def unreliable(self) -> float:
        """The share of data whose weights cannot be relied on."""
        return float((self.khat["pareto_k"] > self.khat.attrs["good_k"]).mean())


def number(value: float) -> str:
    """With a true minus sign."""
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "∞" if value > 0 else "−∞"


def probability(value: float) -> str:
    """A p-value; one of a thousand permutations can be no smaller than .001.

    >>> probability(0.2), probability(0.001)
    ('= 0.200', '≤ 0.001')
    """
    return f"= {value:.3f}" if value >= 0.0015 else "≤ 0.001"
