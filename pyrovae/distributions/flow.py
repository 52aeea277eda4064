"""Normalising flows of zuko as Pyro distributions."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor
from torch.distributions import constraints

from pyrovae._support import by_element

__all__ = ["FlowDistribution", "zuko"]

_validation = torch.distributions.Distribution._validate_args
import zuko  # noqa: E402  turns the validation of every distribution off, for all who import it later as well

torch.distributions.Distribution.set_default_validate_args(_validation)


class FlowDistribution(ZukoToPyro):
    """What a flow of zuko returns, as a Pyro distribution.

    `pyro.contrib.zuko.ZukoToPyro` with a support, validation, draws with and without gradient, and the log density of
    the last draw kept, which sampling has computed already; earlier ones are forgotten. The flows that zuko inverts by
    bisection (NAF, UNAF, SOSPF, BPF, GF) are exact as densities; their draws are so within its tolerance and bounds
    (of a GF as made, a fifth of them lie outside).

    Parameters
    ----------
    flow
        ``zuko_flow()`` or ``zuko_flow(context)``, a `torch.distributions.Distribution` with one event dimension.

    Raises
    ------
    TypeError
        If it is no distribution.

    Examples
    --------
    >>> import zuko
    >>> q = FlowDistribution(zuko.flows.NSF(2, transforms=1, hidden_features=(8,))())
    >>> q.log_prob(q.rsample((5,))).shape
    torch.Size([5])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, flow: torch.distributions.Distribution, validate_args: bool | None = None) -> None:
        if not isinstance(flow, torch.distributions.Distribution):
            raise TypeError(
                f"distributions.FlowDistribution: expected what a flow returns, flow() or flow(context), got "
                f"{type(flow).__name__}"
            )
        super().__init__(flow)
        self._last: tuple[Tensor, int, Tensor] | None = None
        dist.TorchDistribution.__init__(self, flow.batch_shape, flow.event_shape, validate_args=validate_args)

    __call__ = dist.TorchDistribution.__call__

    @property
    def support(self) -> constraints.Constraint:
        """Where the flow is defined; for a circular one the box of its base, which its splines map to itself."""
        if not hasattr(self.dist, "transform"):
            try:
                return self.dist.support
            except NotImplementedError:  # zuko's mixtures of Normals do not say
                return constraints.real_vector
        base = self.dist.base.support
        return base if isinstance(by_element(base), constraints.interval) else self.dist.transform.domain

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """The same with another batch shape."""
        new = FlowDistribution(self.dist.expand(torch.Size(batch_shape)), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws without gradient."""
        with torch.no_grad():
            if self.has_rsample:
                return self.rsample(sample_shape)
            draw: Tensor = self.dist.sample(torch.Size(sample_shape))
            return draw

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws."""
        if hasattr(self.dist, "rsample_and_log_prob"):
            draw, log_prob = self.dist.rsample_and_log_prob(torch.Size(sample_shape))
            self._last = draw, draw._version, log_prob
        else:
            draw = self.dist.rsample(torch.Size(sample_shape))
        return draw

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, kept from sampling for the last draw."""
        if self._last is not None:
            draw, version, log_prob = self._last
            if value is draw and version == draw._version and (log_prob.requires_grad or not torch.is_grad_enabled()):
                return log_prob
        if self._validate_args:
            self._validate_sample(value)
        out: Tensor = self.dist.log_prob(value)
        return out
