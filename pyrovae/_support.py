"""Supports: whether those of a latent and its guide are the same, and their names in words."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import MixtureSameFamilyConstraint

__all__ = ["by_element", "check_reach", "describe", "mismatch", "unmixed"]


def check_reach(name: str, prior: Any, q: Any, draws: int = 64) -> None:
    """Draws of each must lie in the support of the other, or the ELBO is −∞ or part of the posterior out of reach."""
    for here, there, says in (
        (q, prior, "draws of the guide fall outside it: the ELBO would be −∞"),
        (prior, q, "the guide cannot reach all of it"),
    ):
        try:
            shape = broadcast_shape(here.batch_shape, there.batch_shape)
            values = here.expand(shape).sample((draws,))
        except NotImplementedError:
            continue
        if not bool(torch.as_tensor(there.support.check(values)).all()):
            raise ValueError(mismatch(name, prior, q.support, says))


def mismatch(name: str, prior: Any, q_support: Any, says: str) -> str:
    """What is wrong between the supports of a latent and of its guide, and which guide would do."""
    theirs = "another" if q_support is None else describe(q_support)
    return (
        f"site {name!r}: the model's latent has support {describe(prior.support)}, the guide's distribution {theirs}, "
        f"and {says}. {_guide_on(prior)}"
    )


def _guide_on(prior: Any) -> str:
    """A guide that reaches this prior's support, in words."""
    support = by_element(prior.support)
    if isinstance(support, type(constraints.one_hot)):
        return "Use guides.OneHotCategorical, or its relaxed form with a relaxed prior"
    if isinstance(support, type(constraints.boolean)):
        return "Use guides.Bernoulli, or its relaxed form with a relaxed prior"
    if support.is_discrete:
        return "Use a guide that is discrete too, or sum the site out (infer={'enumerate': 'parallel'})"
    if isinstance(support, type(dist.constraints.sphere)):
        return "Use guides.PowerSpherical"
    if describe(support) == "real":
        return "Use a guide on the reals, such as guides.Normal without support="
    return (
        f"Use a guide on {describe(support)}: guides.Normal(…, support={_spelt(support)}), or a Normal pushed through "
        "biject_to of that support"
    )


def _spelt(support: Any) -> str:
    """A support as one writes it."""
    bounds = [getattr(support, bound, None) for bound in ("lower_bound", "upper_bound")]
    values = [float(torch.as_tensor(b).flatten()[0]) for b in bounds if b is not None]
    if values == [0.0]:
        return "constraints.positive"
    if values == [0.0, 1.0]:
        return "constraints.unit_interval"
    if len(values) == 2:
        return f"constraints.interval({values[0]:g}, {values[1]:g})"
    return f"constraints.{describe(support).replace(' ', '_')}"


def describe(support: Any) -> str:
    """A support in words: IndependentConstraint(Real(), 1) is 'real'."""
    support = by_element(support)
    if isinstance(support, constraints.MixtureSameFamilyConstraint):
        support = by_element(support.base_constraint)
    name = type(support).__name__.strip("_")
    bounds = [
        f"{value.max().item() if isinstance(value, Tensor) else value:g}"
        for value in (getattr(support, bound, None) for bound in ("lower_bound", "upper_bound"))
        if value is not None
    ]
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip().replace("_", " ")
    words = {"integer greater than": "integer of at least", "greater than eq": "at least"}.get(words, words)
    return f"{words} ({', '.join(bounds)})" if bounds and not any(math.isinf(float(b)) for b in bounds) else words


def by_element(support: Any) -> Any:
    """The support of one element of an event whose elements are independent."""
    support = unmixed(support)
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    return support


def unmixed(support: Any) -> Any:
    """The support of a mixture's components, where it is a mixture's: torch knows no bijection onto that."""
    while isinstance(support, MixtureSameFamilyConstraint):
        support = support.base_constraint
    return support
