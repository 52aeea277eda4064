"""Posterior over a few binary states of each datum, found by evolution."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least, positive
from pyrovae.distributions.listed_states import ListedStates
from pyrovae.guides._evolution import evolve, first_states
from pyrovae.guides._local import fixed_noise
from pyrovae.guides._rows import SKETCH, RowGuide, nearest, sketched

__all__ = ["Truncated"]

NEAR = 4


class Truncated(RowGuide):
    """q(z|x_n) ∝ p(x_n, z) on a set K_n of S binary states of each datum n, 0 elsewhere: no network and no gradient.

    The ELBO is F_n = log Σ_{z ∈ K_n} p(x_n, z), which `pyro.infer.TraceEnum_ELBO`, the default of `fit` for it, sums
    exactly; its gradient is Σ_z q_n(z) ∇log p(x_n, z). Each visit while it trains evolves the states of the data that
    are visited: parents in proportion to their fitness, crossover and bit flips; the S best of the union survive, so
    that F_n never falls as long as the parameters stay (Guiraud, Drefs & Lücke 2020, 2011.13704).

    After training, one of the training data (known by its values, as in `Table`) has its own states. Any other starts
    from the S best of the states of the four training data nearest to it, which evolve by ``steps`` generations, with
    the same noise each time (the same for the same batch).

    What it says of the evidence: every draw has the log weight F_n, whatever lies outside of K_n. So F_n is a lower
    bound on log p(x_n), log p(x_n) − F_n = −log p(K_n|x_n), and equal weights say nothing of it: no draw is ever made
    there. Only S = 2^H, all states, makes F_n = log p(x_n).

    Parameters
    ----------
    rows
        Number of training data.
    latents
        H, number of bits. The prior is to be one of bits, such as `priors.Bernoulli`; its probabilities may be learned.
    states
        S, how many states each datum keeps: rows · S · H bytes in all, and 32 numbers a row to tell which are near.
    children, generations
        How many new states of a datum are tried in each generation, and how many generations a visit has.
    steps
        Generations of data that are not of the training data.
    active
        How many bits of the first states are 1, on average.

    Shapes
    ------
    x (n, *event) → batch (n,), event (H,); support: 0 and 1.

    Raises
    ------
    ValueError
        If a number is out of range, there are more states than 2^H, the training data have another length than
        ``rows``, or it is called outside of a `VAE`, which provides ``joint``.

    Examples
    --------
    >>> guide = Truncated(100, 8, states=16)
    >>> q = guide(torch.zeros(2, 64), index=torch.tensor([4, 9]), joint=lambda z: -z.sum(-1))
    >>> q.enumerate_support().shape
    torch.Size([16, 2, 8])
    """

    support = constraints.independent(constraints.boolean, 1)
    states: Tensor
    sketch: Tensor

    def __init__(
        self,
        rows: int,
        latents: int,
        *,
        states: int = 32,
        children: int = 32,
        generations: int = 1,
        steps: int = 10,
        active: float = 2.0,
    ) -> None:
        super().__init__(rows)
        where = "guides.Truncated"
        self.latents, self.count, self.born, self.generations, self.steps = (
            at_least(f"{where}: {name}", value, 1)
            for name, value in (
                ("latents", latents),
                ("states", states),
                ("children", children),
                ("generations", generations),
                ("steps", steps),
            )
        )
        if self.count > 2**self.latents:
            raise ValueError(
                f"{where}: {self.latents} latents have {2**self.latents} states, and states={self.count} were to be "
                f"kept: states={2**self.latents} at most, which makes q exact"
            )
        self.active = positive(f"{where}: active", active)
        self.register_buffer("states", torch.zeros(self.rows, self.count, self.latents, dtype=torch.bool))
        self.register_buffer("sketch", torch.zeros(self.rows, SKETCH))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New random states, the same for all rows until each evolves."""
        super().reset_parameters()
        with torch.no_grad():
            first = first_states(1, self.count, self.latents, self.active, self.unit)
            self.states.copy_(first.bool().expand_as(self.states))

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """As `Table.adapt`, and which data are near to which others."""
        super().adapt(x, context)
        self.sketch.copy_(sketched(x, context))

    def infer(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Any]:
        """What Pyro's sample statement is told: the sum over the states is exact."""
        return {"enumerate": "parallel"}

    @torch.no_grad()
    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        index: Tensor | None = None,
        joint: Callable[[Tensor], Tensor] | None = None,
    ) -> dist.TorchDistribution:
        """q(z|x)."""
        if joint is None:
            raise ValueError(
                "guides.Truncated: q is in proportion to p(x, z): use the guide inside pv.VAE, or pass joint=, "
                "z (…, n, latents) → log p(x, z) (…, n)"
            )
        if index is not None:
            states, value = self._evolved(self.states[index], joint, self.generations if self.training else 0)
            if self.training:
                self.states[index] = states.bool()
            return ListedStates(states, value)
        row = self.rows_of(x, context, mask)
        states, known = self.states[row.clamp_min(0)], row >= 0
        if not bool(known.all()):
            near = nearest(sketched(x, context).to(self.sketch), self.sketch, min(NEAR, self.rows))
            first, *others = self.states[near].unbind(1)
            with fixed_noise():
                new, value = self._evolved(first, joint, self.steps, others)
            if not bool(known.any()):
                return ListedStates(new, value)
            states = torch.where(known[:, None, None], states.to(new), new)
        return ListedStates(*self._evolved(states, joint, 0))

    def _evolved(
        self, states: Tensor, joint: Callable[[Tensor], Tensor], generations: int, others: Iterable[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        floating = self.unit.dtype
        return evolve(states.to(floating), joint, generations, self.born, others=[o.to(floating) for o in others])

    def details(self) -> str:
        """The number of rows, states and latents."""
        return f"{self.rows} rows of {self.count} states of {self.latents}, children={self.born}"
