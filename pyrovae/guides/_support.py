"""Guides on other supports than the reals: q pushed through a bijection."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import Transform

from pyrovae._numbers import at_least
from pyrovae._support import by_element, describe
from pyrovae.distributions.stick_breaking import StickBreaking

__all__ = ["free", "latent_support", "pushed"]


def latent_support(name: str, support: Any) -> constraints.Constraint:
    """The support of a latent (m,), given as that of one element or of the whole.

    Raises
    ------
    TypeError
        If it is no constraint.
    ValueError
        If it is discrete, or has no bijection from the reals.
    """
    if not isinstance(support, constraints.Constraint):
        raise TypeError(
            f"{name}: support: expected a constraint, such as torch.distributions.constraints.positive or "
            f"constraints.interval(0.0, 5.0), got {getattr(support, '__name__', repr(support))}"
        )
    element = by_element(support)
    if isinstance(element, type(constraints.dependent)):
        raise ValueError(f"{name}: support: expected one with its bounds, such as constraints.interval(0.0, 5.0)")
    if element.is_discrete:
        raise ValueError(
            f"{name}: support: expected a continuous one, got {describe(element)}: use guides.Bernoulli or "
            "guides.OneHotCategorical for discrete latents"
        )
    try:
        domain = biject_to(element).domain
    except NotImplementedError:
        raise ValueError(
            f"{name}: support: there is no bijection from the reals onto {describe(element)}"
            + (": use guides.PowerSpherical" if "phere" in type(element).__name__ else "")
        ) from None
    return element if domain.event_dim else constraints.independent(element, 1)


def free(latents: int, support: constraints.Constraint) -> int:
    """How many real numbers a latent of so many cells has: one fewer on the simplex."""
    latents = at_least("outputs: latents", latents, 1)
    size = int(biject_to(by_element(latent_support("outputs", support))).inverse_shape((latents,))[-1])
    return at_least(f"outputs: the real numbers behind {latents} latents on the {describe(support)}", size, 1)


def pushed(q: dist.TorchDistribution, support: constraints.Constraint | None) -> dist.TorchDistribution:
    """q over the reals, pushed onto the support; element by element where its elements are independent."""
    element = by_element(support)
    if element is None or isinstance(element, type(constraints.real)):
        return q
    simplex = isinstance(element, type(constraints.simplex))
    onto = _Inside(StickBreaking() if simplex else biject_to(element), element)
    if isinstance(q, dist.Independent) and not onto.domain.event_dim:
        return dist.TransformedDistribution(q.base_dist, [onto]).to_event(q.reinterpreted_batch_ndims)
    return dist.TransformedDistribution(q, [onto])


class _Inside(Transform):
    """A bijection whose values do not round onto the boundary of the support, where densities are infinite or 0."""

    bijective = True

    def __init__(self, bijection: Transform, support: constraints.Constraint, cache_size: int = 1) -> None:
        super().__init__(cache_size)
        self.bijection, self.onto = bijection, support
        self.domain, self.codomain = bijection.domain, support
        simplex = isinstance(support, type(constraints.simplex))
        self.low = 0.0 if simplex else getattr(support, "lower_bound", None)
        self.high = getattr(support, "upper_bound", None)
        if self.low is not None and self.high is None and not simplex:
            self.high = math.inf
        elif self.high is not None and self.low is None:
            self.low = -math.inf

    def __eq__(self, other: object) -> bool:
        """As the bijection: the divergence of two distributions pushed alike is that of what was pushed."""
        return bool(self.bijection == (other.bijection if isinstance(other, _Inside) else other))

    @property
    def sign(self) -> int:
        return self.bijection.sign

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self if cache_size == self._cache_size else _Inside(self.bijection, self.onto, cache_size)

    def _call(self, x: Tensor) -> Tensor:
        return self._clamped(self.bijection(x))

    def _inverse(self, y: Tensor) -> Tensor:
        x: Tensor = self.bijection.inv(self._clamped(y))
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.bijection.log_abs_det_jacobian(x, y)

    def forward_shape(self, shape: Any) -> Any:
        return self.bijection.forward_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self.bijection.inverse_shape(shape)

    def _clamped(self, y: Tensor) -> Tensor:
        low, high = (_beside(bound, y, up) for bound, up in ((self.low, True), (self.high, False)))
        if low is not None:
            y = torch.maximum(y, low) if isinstance(low, Tensor) else y.clamp(min=low)
        if high is not None:
            y = torch.minimum(y, high) if isinstance(high, Tensor) else y.clamp(max=high)
        return y


def _beside(bound: Any, y: Tensor, up: bool) -> Tensor | float | None:
    """The number next to a bound in the precision of y, above or below it."""
    if bound is None:
        return None
    if not isinstance(bound, Tensor):
        return _next(float(bound), y.dtype, up)
    bound = bound.to(y)
    step = torch.nextafter(bound, torch.full_like(bound, math.inf if up else -math.inf))
    tiny = torch.finfo(y.dtype).tiny
    return torch.where(bound.abs() < tiny, tiny if up else -tiny, step)


@lru_cache
def _next(bound: float, dtype: torch.dtype, up: bool) -> float:
    tiny = torch.finfo(dtype).tiny
    if abs(bound) < tiny:
        return tiny if up else -tiny
    return float(
        torch.nextafter(torch.tensor(bound, dtype=dtype), torch.tensor(math.inf if up else -math.inf).to(dtype))
    )
