"""Normalising flow prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import constraints

from pyrovae._part import Part
from pyrovae._rng import preserved
from pyrovae.distributions import FlowDistribution

__all__ = ["Flow"]


class Flow(Part):
    """p(z) of a normalising flow of zuko: a base density changed by learned bijections (Papamakarios et al. 2019,
    1912.02762, eq. 1).

    Parameters
    ----------
    flow
        A flow without a context, such as ``zuko.flows.NSF(8, transforms=3, hidden_features=(64, 64))``.

    Shapes
    ------
    Event (features of the flow,), batch (); support: the flow's, as a rule the reals.

    Raises
    ------
    TypeError
        If it is no flow.
    ValueError
        If it was built with a context.

    Examples
    --------
    >>> import zuko
    >>> prior = Flow(zuko.flows.NSF(8, transforms=1, hidden_features=(16,)))
    >>> prior
    Flow(NSF of 8; support: real)
    >>> prior().sample((5,)).shape
    torch.Size([5, 8])
    """

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        what = "priors.Flow: expected a flow of zuko, such as zuko.flows.NSF(8), got"
        if not isinstance(flow, nn.Module):
            raise TypeError(f"{what} {flow.__name__ if isinstance(flow, type) else type(flow).__name__}")
        try:
            with preserved(), torch.no_grad():
                made = flow()
                draw = made.sample() if isinstance(made, torch.distributions.Distribution) else None
        except TypeError:  # it requires an argument, or is none of torch's distributions
            raise TypeError(f"{what} {type(flow).__name__}") from None
        except (RuntimeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"priors.Flow: {type(flow).__name__} could not be drawn from without a context ({error}): build it "
                "with context=0; for a prior p(z|context), give a guide with a flow to priors.Conditional"
            ) from error
        if draw is None or len(made.event_shape) != 1:
            raise TypeError(f"{what} {type(flow).__name__}, which returns {type(made).__name__}")
        self.flow = flow
        self.size = made.event_shape[0]

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """The flow's."""
        return self().support

    def forward(self) -> dist.TorchDistribution:
        """p(z)."""
        return FlowDistribution(self.flow())

    def details(self) -> str:
        """The flow's name and size."""
        return f"{type(self.flow).__name__} of {self.size}"
