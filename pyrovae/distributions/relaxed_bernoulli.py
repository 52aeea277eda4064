"""Relaxed Bernoulli distribution whose draws do not saturate."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import clamp_probs, lazy_property, logits_to_probs, probs_to_logits
from torch.nn.functional import logsigmoid

__all__ = ["RelaxedBernoulli"]


class RelaxedBernoulli(dist.TorchDistribution):
    """Z = σ((logits + L)/temperature), L logistic (Maddison et al. 2016, 1611.00712, appendix B), censored at two
    edges.

    Floating-point numbers end at 1 − eps/2, a log odds of 16.6 in float32, which a low temperature or large logits
    exceed; the density there is not the draw's. A draw beyond [e, 1 − e], e = 16 eps of its type, is therefore put on
    the edge that it passed, and the density at an edge and beyond is the mean of what lies there,
    P(Z ≥ 1 − e)/e = σ(logits − temperature · logit(1 − e))/e. The edges depend on the type alone, so that ratios of two
    such densities, and their ELBO, are those of the censored latent; the total is 1, and other densities on the unit
    interval can be set against it.

    Gradients of E_q[log p(z) − log q(z)] through ``rsample`` are unbiased, but for rounding: both log densities jump at
    an edge, and what the mass there contributes as it moves is carried by a slope of jump/e at the edge and a
    displacement of e · ∇ log P(Z on the edge) of the draw. A function of the weights that is not linear, such as
    IWAE's, has it to first order in the jump.

    Parameters
    ----------
    temperature
        Positive.
    probs, logits
        P(Z > ½), or its log odds: one of them.

    Raises
    ------
    ValueError
        If both or neither of ``probs`` and ``logits`` are given, or, with validation, outside their domain.

    Examples
    --------
    >>> q = RelaxedBernoulli(torch.tensor(0.1), logits=torch.tensor([-100.0, 0.3, 100.0]))
    >>> q.log_prob(torch.tensor([0.0, 0.5, 1.0]))
    tensor([13.1698, -2.3250, 13.1698])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "temperature": constraints.positive,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("distributions.RelaxedBernoulli: expected either probs or logits")
        name, given = ("logits", logits) if probs is None else ("probs", probs)
        given = torch.as_tensor(given)
        self.temperature = torch.as_tensor(temperature, dtype=given.dtype, device=given.device)
        batch = torch.Size(broadcast_shape(given.shape, self.temperature.shape))
        self.__dict__[name] = given.expand(batch)
        super().__init__(batch, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Tensor:
        """Log odds of Z > ½."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """P(Z > ½)."""
        return logits_to_probs(self.logits, is_binary=True)

    def expand(self, batch_shape: Any, _instance: Any = None) -> RelaxedBernoulli:
        """The same with another batch shape."""
        new = self._get_checked_instance(RelaxedBernoulli, _instance)
        new.temperature = self.temperature
        for name in {"probs", "logits"} & self.__dict__.keys():
            new.__dict__[name] = self.__dict__[name].expand(batch_shape)
        dist.TorchDistribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws within [e, 1 − e]."""
        shape, logits = self._extended_shape(torch.Size(sample_shape)), self.logits
        uniform = clamp_probs(torch.rand(shape, dtype=logits.dtype, device=logits.device))
        y = (logits + uniform.log() - (-uniform).log1p()) / self.temperature
        edge, end = _edge(y.dtype)
        sign = y.detach().sign()
        z, eps = y.sigmoid(), torch.finfo(y.dtype).eps
        inside = z + (z.clamp(edge * (1 + eps), 1 - edge - eps / 2) - z).detach()  # where it was rounded onto an edge
        log_mass = logsigmoid(sign * logits - self.temperature * end)
        on_edge = 0.5 + sign * (0.5 - edge + edge * (log_mass - log_mass.detach()))
        return torch.where(y.abs() < end, inside, on_edge)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density; beyond an edge, the logarithm of the mean density there."""
        if self._validate_args:
            self._validate_sample(value)
        edge, _ = _edge(value.dtype)
        low, high = value <= edge, value >= 1 - edge
        at = low | high
        z = torch.where(at, value.detach().clamp(edge, 1 - edge), value)
        log_z, log_rest = z.log(), (-z).log1p()
        excess = self.logits - self.temperature * (log_z - log_rest)
        above, below = logsigmoid(excess), logsigmoid(-excess)
        tail, hazard = torch.where(low, below, above), self.temperature.log() + torch.where(low, above, below)
        slope = torch.where(low, hazard, -hazard).detach() / edge  # the log density jumps by -hazard to an edge
        return tail + torch.where(at, slope * (value - value.detach()), hazard) - log_z - log_rest


def _edge(dtype: torch.dtype) -> tuple[float, float]:
    """e, and logit(1 − e)."""
    edge = 16 * torch.finfo(dtype).eps
    return edge, math.log1p(-edge) - math.log(edge)
