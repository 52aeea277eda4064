"""A prior given a context."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae._calls import parameters
from pyrovae._part import Part

__all__ = ["Conditional"]


class Conditional(Part):
    """p(z|c), the prior of a conditional VAE (Sohn, Lee & Yan 2015): what maps x to q(z|x) maps c to p(z|c).

    Parameters
    ----------
    part
        c (n, covariates) → p(z|c), such as a guide whose network takes that many inputs.

    Shapes
    ------
    context c (n, covariates) → batch (n,) and the event and support of ``part``.

    Raises
    ------
    TypeError
        If it is not callable.

    Examples
    --------
    >>> import pyrovae as pv, torch
    >>> prior = Conditional(pv.guides.Normal(pv.networks.MLP(10, (32,), 2 * 8)))
    >>> prior(torch.zeros(5, 10)).event_shape
    torch.Size([8])
    """

    takes = frozenset({"context"})

    def __init__(self, part: Callable[[Tensor], dist.TorchDistribution]) -> None:
        super().__init__()
        if not callable(part) or isinstance(part, type):
            raise TypeError(
                "priors.Conditional: expected a function of the context, such as "
                "guides.Normal(networks.MLP(covariates, hidden, 2 * latents)), got "
                f"{getattr(part, '__name__', type(part).__name__)}"
            )
        if isinstance(part, nn.Module) and not parameters(part):
            raise TypeError(
                f"priors.Conditional: expected a function of the context, got {type(part).__name__}, which takes none: "
                "a prior can stand without Conditional, and takes a context itself if it has that parameter"
            )
        self.part = part
        self.support = getattr(part, "support", None)

    def forward(self, context: Tensor) -> dist.TorchDistribution:
        """p(z|c)."""
        return self.part(context)

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let a guide that standardises its input take its units from the training contexts."""
        adapt = getattr(self.part, "adapt", None)
        if callable(adapt) and context is not None:
            adapt(context)

    def details(self) -> str:
        """The part."""
        return repr(self.part) if isinstance(self.part, nn.Module) else getattr(self.part, "__name__", "")
