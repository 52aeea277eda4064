"""Supports: whether those of a latent and its guide are the same, and their names in words."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints

__all__ = ["by_element", "check_reach", "describe"]


def check_reach(name: str, prior: Any, q: Any, draws: int = 64) -> None:
    """Draws of each must lie in the support of the other, or the ELBO is −∞ or part of the posterior out of reach."""
    for here, there, says in (
        (q, prior, "draws of the guide fall outside it: the ELBO would be −∞"),
        (prior, q, "the guide cannot reach all of it"),
    ):
        try:
            values = here.sample((draws,))
        except NotImplementedError:
            continue
        if not bool(_in_support(there, values).all()):
            raise ValueError(
                f"site {name!r}: the model's latent has support {describe(prior.support)}, the guide's distribution "
                f"{describe(q.support)}, and {says}. Use a guide on {describe(prior.support)}, for example a Normal "
                "pushed through biject_to of that support (pyro.distributions.TransformedDistribution)"
            )


def _in_support(fn: Any, values: Tensor) -> Tensor:
    try:
        shape = broadcast_shape(fn.batch_shape, values.shape[: values.dim() - fn.event_dim])
    except ValueError:
        return torch.tensor(False)
    ok: Tensor = fn.support.check(values.expand(*shape, *fn.event_shape))
    return ok


def describe(support: Any) -> str:
    """A support in words: IndependentConstraint(Real(), 1) is 'real'."""
    support = by_element(support)
    name = type(support).__name__.strip("_")
    bounds = [
        f"{value.max().item() if isinstance(value, Tensor) else value:g}"
        for value in (getattr(support, bound, None) for bound in ("lower_bound", "upper_bound"))
        if value is not None
    ]
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip().replace("_", " ")
    return f"{words} ({', '.join(bounds)})" if bounds and not any(math.isinf(float(b)) for b in bounds) else words


def by_element(support: Any) -> Any:
    """The support of one element of an event whose elements are independent."""
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    return support
