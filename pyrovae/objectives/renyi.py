"""The Rényi bound."""

from __future__ import annotations

import math
import numbers

from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae.objectives._objective import Objective
from pyrovae.objectives._terms import Terms
from pyrovae.objectives.importance_weighted import power_bound

__all__ = ["Renyi"]

NEAREST = 1e-3
"""How near to 1 α may be: rounding errors are divided by 1 − α."""


class Renyi(Objective):
    """1/(1 − α) E log (1/K) Σ_k w_k^(1 − α), w = p(x, z) / q(z|x), by K draws of each datum (Li & Turner 2016,
    1602.02311).

    As K grows it goes to the Rényi bound, 1/(1 − α) log E w^(1 − α), which falls in α: log p(x) at α = 0, where this is
    `ImportanceWeighted`, and the ELBO as α → 1. A small α makes q cover the posterior, a large one seek its mode. For
    α ≥ 0 it is below log p(x) in expectation, whatever K, as a power mean rises in its power; for α < 0 it is above as
    K grows.
    Draws without a gradient get that of the score function, with baselines as in `ImportanceWeighted`.

    Parameters
    ----------
    alpha
        α, any finite number but 1, from which it differs by 0.001 at least.
    k
        Draws of each datum.
    vectorize, plate
        As in every objective: run the program once for all draws; the name of the data plate.

    Raises
    ------
    ValueError
        If α is 1, nearly so, or not finite, or k no whole number of at least 1; before training, if a site stands
        outside the data plate.

    Examples
    --------
    >>> Renyi(0.5, 10)
    Renyi(alpha=0.5, k=10)
    """

    whole = True
    alpha: float

    def __init__(self, alpha: float, k: int, *, vectorize: bool = False, plate: str | None = None) -> None:
        if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real) or not math.isfinite(alpha):
            raise ValueError(f"objectives.Renyi: alpha: expected a finite number other than 1, got {alpha!r}")
        if abs(alpha - 1) < NEAREST:
            raise ValueError(
                f"objectives.Renyi: alpha: got {alpha!r}, within {NEAREST:g} of 1, where rounding decides, and at 1 it "
                "is the ELBO: use pyro.infer.Trace_ELBO()"
            )
        super().__init__(particles=at_least("objectives.Renyi: k", k, 1), vectorize=vectorize, plate=plate)
        self.alpha = float(alpha)

    @property
    def label(self) -> str:
        """The bound with its α and K."""
        return f"Rényi bound (α = {self.alpha:g}, K = {self.particles})"

    def value(self, terms: Terms) -> Tensor:
        """Σ_n 1/(1 − α) log mean_k w_nk^(1 − α)."""
        return power_bound(terms, self.alpha)

    def details(self) -> str:
        """α and K."""
        return f"alpha={self.alpha:g}, k={self.particles}"
