"""The importance-weighted bound with the doubly reparameterised gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae._recording import recording
from pyrovae._rng import preserved
from pyrovae.objectives._objective import Objective
from pyrovae.objectives._sites import as_site
from pyrovae.objectives._terms import Terms, draw_terms
from pyrovae.objectives.importance_weighted import power_bound

__all__ = ["DReG"]


class DReG(Objective):
    """The bound of `ImportanceWeighted` with a gradient for the guide that has less noise, the more so as K grows.

    With w̃_k = w_k / Σ_j w_j the model's gradient is that of the bound, Σ_k w̃_k ∇log p(x, z_k); the guide's is
    Σ_k w̃_k² ∂log w_k/∂z_k ∇z_k (Tucker et al. 2018, 1810.04152). Its expectation is the same and its variance lower:
    it leaves out ∂log q/∂φ at fixed z, and is 0 where q(z|x) is the posterior (Roeder et al. 2017, 1703.09194, at
    K = 1).

    The density of the draws is that of a second run of the guide on the same random numbers, with the parameters that
    the draws depend on held fixed: so several sites, one given another, and flows come out right.

    Parameters
    ----------
    k
        Draws of each datum.
    vectorize, plate
        As in every objective: run the program once for all draws; the name of the data plate.

    Raises
    ------
    ValueError
        If k is no whole number of at least 1; before training, if a site stands outside the data plate or its draws
        have no gradient.

    References
    ----------
    Rainforth et al. 2018, 1802.04537: the plain gradient's signal falls as 1/√K beside its noise.

    Examples
    --------
    >>> DReG(5)
    DReG(k=5)
    """

    whole = True
    pathwise = True

    def __init__(self, k: int, *, vectorize: bool = False, plate: str | None = None) -> None:
        super().__init__(particles=at_least("objectives.DReG: k", k, 1), vectorize=vectorize, plate=plate)

    @property
    def label(self) -> str:
        """The bound with its K."""
        return f"IWAE bound (K = {self.particles})"

    def terms(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> Terms:
        """The draws, and their densities as functions of the draws alone."""
        return draw_terms(
            model,
            guide,
            args,
            kwargs,
            particles=self.particles,
            vectorize=self.vectorize_particles,
            plate=self.plate,
            draw=_drawn,
        )

    def value(self, terms: Terms) -> Tensor:
        """Σ_n log mean_k w_nk; what flows back to each draw is multiplied by its w̃."""
        if terms.score is not None:
            raise ValueError(
                f"objectives.DReG needs a gradient through each draw, and some of {', '.join(terms.names)} have none: "
                "use objectives.ImportanceWeighted"
            )
        weights = terms.log_weight.detach().softmax(0).chunk(len(terms.pairs))
        for (drawn, _), weight in zip(terms.pairs, weights, strict=True):
            for name in terms.names:
                if (z := drawn.nodes[name]["value"]).requires_grad:
                    z.register_hook(partial(torch.mul, as_site(drawn.nodes[name], weight, terms.plate)))
        return power_bound(terms, 0.0)

    def details(self) -> str:
        """K."""
        return f"k={self.particles}"


def _drawn(guide: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> poutine.Trace:
    """A trace of the guide whose values are copies of its draws, and log q is a function of these copies alone."""
    if not torch.is_grad_enabled():
        return poutine.trace(guide).get_trace(*args, **kwargs)
    with preserved(), poutine.block(hide_fn=lambda site: site["type"] != "param"):
        first = poutine.trace(guide).get_trace(*args, **kwargs)
    with _frozen(_leaves(first)):
        trace = poutine.trace(_Again(first)(guide)).get_trace(*args, **kwargs)
        trace.compute_log_prob()  # here: a flow's networks run only now
    return trace


class _Again(Messenger):
    """Give each site a copy of its value in a trace, after drawing as many random numbers as it took."""

    def __init__(self, trace: poutine.Trace) -> None:
        super().__init__()
        self.trace = trace

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            if not recording.get():  # where a random state is never put back
                with torch.no_grad():
                    msg["fn"](*msg["args"], **msg["kwargs"])
            value = self.trace.nodes[msg["name"]]["value"]
            msg["value"], msg["done"] = value.clone() if value.requires_grad else value, True


def _leaves(trace: poutine.Trace) -> list[Tensor]:
    """All tensors with a gradient that the values of a trace, and its factors, are made of."""
    trace.compute_log_prob(lambda _, site: site["is_observed"])
    sites = [site for site in trace.nodes.values() if site["type"] == "sample"]
    made = [site["log_prob"] if site["is_observed"] else site["value"] for site in sites]
    found = {id(t): t for t in made if t.requires_grad and t.is_leaf}
    pending, seen = [t.grad_fn for t in made], set()
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            pending += [before for before, _ in node.next_functions]
            if (leaf := getattr(node, "variable", None)) is not None:
                found[id(leaf)] = leaf
    return [*found.values()]


@contextmanager
def _frozen(leaves: list[Tensor]) -> Iterator[None]:
    """A block in which these tensors have no gradient."""
    try:
        for leaf in leaves:
            leaf.requires_grad_(False)
        with warnings.catch_warnings():  # pyro.module speaks of parameters that are frozen
            warnings.filterwarnings("ignore", message=".*was not registered in the param store")
            yield
    finally:
        for leaf in leaves:
            leaf.requires_grad_(True)
