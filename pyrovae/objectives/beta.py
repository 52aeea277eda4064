"""The weighted KL of the β-VAE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.objectives._objective import Objective, _family, with_gradient
from pyrovae.objectives._sites import inside
from pyrovae.objectives._terms import draw_terms
from pyrovae.schedules import Scheduled

__all__ = ["Beta"]

Weight = float | Callable[[int], float]
ESTIMATORS = (Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO, TraceEnum_ELBO)


class Beta(Objective):
    """E log p(x|z) − β KL(q(z|x) ‖ p(z)) (Higgins et al. 2017, eq. 4).

    With a capacity C it is E log p(x|z) − β |KL − C|, KL the mean of the batch (Burgess et al. 2018, 1804.03599,
    eq. 8); the KL of latents outside the data plate has no capacity, and costs β as without one. The latents'
    densities are weighted in model and guide alike, and one of Pyro's estimators does the rest: so it suits every
    program that the estimator does. From β = 1 on, and without a capacity, it is a lower bound on log p(x), below the
    ELBO.

    Parameters
    ----------
    beta
        The weight: a number, or a function of the epoch such as `schedules.linear` or `schedules.cyclical`.
    capacity
        C, nats per datum, a number or a function of the epoch. On which side of it the KL is, is told by another run of
        the program, in closed form where there is one.
    elbo
        The estimator, such as ``pyro.infer.TraceMeanField_ELBO()``, whose KL is in closed form; by default the one
        that `fit` takes for the program.
    plate
        The name of the data plate, where it cannot be told; for a capacity.

    Raises
    ------
    TypeError
        If the estimator is none of Pyro's.
    ValueError
        If a weight is negative or not finite; if a capacity is asked of a guide that is a point.

    Examples
    --------
    >>> from pyrovae.schedules import linear
    >>> Beta(4)
    Beta(beta=4)
    >>> Beta(linear(0, 1, epochs=50))
    Beta(beta=linear(0, 1, epochs=50))
    """

    def __init__(
        self,
        beta: Weight = 1.0,
        *,
        capacity: Weight | None = None,
        elbo: ELBO | None = None,
        plate: str | None = None,
    ) -> None:
        super().__init__(plate=plate)
        if elbo is not None and type(elbo) not in ESTIMATORS:
            raise TypeError(
                "objectives.Beta: elbo: expected one of Pyro's estimators of the ELBO, "
                f"{', '.join(e.__name__ for e in ESTIMATORS)}, got {elbo!r}"
            )
        self.beta = Scheduled("objectives.Beta: beta", beta, least=0.0)
        self.capacity = None if capacity is None else Scheduled("objectives.Beta: capacity", capacity, least=0.0)
        self.elbo, self.default = elbo, Trace_ELBO()
        self._points = False

    @property
    def estimator(self) -> ELBO:
        """What differentiates it."""
        return self.elbo or self.default

    @property
    def label(self) -> str:
        """What it is called, with the values that β and C have now."""
        beta = float(self.beta.value)
        if self.capacity is not None:
            return f"β-ELBO (β = {beta:.3g}, C = {float(self.capacity.value):.3g})"
        if not beta:
            return "log p(x|z)"
        return f"{'log p(x|z) + β log p(z)' if self._points else 'β-ELBO'} (β = {beta:.3g})"

    def check(self, priors: Mapping[str, dist.Distribution], guides: Mapping[str, dist.Distribution]) -> None:
        """Refuse a capacity of points; else their density counts as 1, and the figure is called so."""
        super().check(priors, guides)
        points = [name for name, q in guides.items() if _family(q) == "Delta"]
        self._points = bool(points)
        if points and self.capacity is not None:
            raise ValueError(
                f"objectives.Beta: capacity: the guide of {', '.join(map(repr, points))} is a point, whose KL is "
                "infinite: leave capacity out, or use a guide with a density such as guides.Normal"
            )

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Of the batch, under the plate's scale."""

        if self.capacity is None:
            return self._weighted(self.beta.value, model, guide, args, kwargs)
        with torch.no_grad():
            terms = draw_terms(model, guide, args, kwargs, plate=self.plate)
            target = len(terms) * self.capacity.value
            slope = self.beta.value * torch.sign(terms.kl.mean(0).sum() - target)
        return self._weighted(slope, model, guide, args, kwargs, terms.plate) - terms.scale * slope * target

    def _weighted(
        self, weight: Tensor, model: Any, guide: Any, args: Any, kwargs: Any, plate: str | None = None
    ) -> Tensor:
        """−E log p(x|z) + weight · KL, by the estimator; outside of a plate that is given, the weight is β."""
        with _Latents(weight, self.beta.value, plate):
            if hasattr(self.estimator, "differentiable_loss"):
                loss: Tensor = self.estimator.differentiable_loss(model, guide, *args, **kwargs)
                return loss
            value, surrogate = self.estimator._loss_and_surrogate_loss(model, guide, args, kwargs)  # all it offers
            return with_gradient(-torch.as_tensor(value), torch.as_tensor(surrogate))

    def details(self) -> str:
        """β, C and the estimator."""
        told = "" if self.capacity is None else f", capacity={self.capacity!r}"
        return f"beta={self.beta!r}{told}" + ("" if self.elbo is None else f", elbo={type(self.elbo).__name__}")


class _Latents(Messenger):
    """Multiply the densities of what is not observed, by one number in a plate and by another outside of it."""

    def __init__(self, weight: Tensor, outside: Tensor, plate: str | None) -> None:
        super().__init__()
        self.weight, self.outside, self.plate = weight, outside, plate

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            local = self.plate is None or inside(msg, self.plate)
            msg["scale"] = msg["scale"] * (self.weight if local else self.outside)
