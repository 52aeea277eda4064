"""Normalising flow as a guide."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.distributions.flow import FlowDistribution
from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._support import pushed

_validated = torch.distributions.Distribution._validate_args
import zuko  # noqa: E402 - it turns the validation of torch's distributions off, for all

torch.distributions.Distribution.set_default_validate_args(_validated)

__all__ = ["Flow", "inverse_autoregressive"]


class Flow(NetworkGuide):
    """q(z|x): a normalising flow of zuko whose context are the features of x (Rezende & Mohamed 2015, 1505.05770).

    The density of a draw of its own comes with it where the flow is fast in that direction: see
    `inverse_autoregressive`; coupling flows (`zuko.flows.NICE`) and splines with ``passes=2`` are fast in both.

    Parameters
    ----------
    network
        x (n, *event) → (n, features).
    flow
        ``flow(features)`` → q over m latents: any of `zuko.flows`, built with ``context=features``.
    support
        Constraint of the latent onto which z is pushed, as for `Normal`; by default where the flow lives, the reals.

    Shapes
    ------
    x (n, *event) → batch (n,), event (m,); support: the reals, or the one given.

    Raises
    ------
    TypeError
        If ``flow`` is no module, or ``support`` no constraint.
    ValueError
        If the flow was built for another number of features than the network has outputs, or ``support`` is discrete
        or cannot be reached from the reals.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> flow = zuko.flows.NSF(8, context=32, transforms=3, hidden_features=(64, 64))
    >>> Flow(MLP(64, (128,), 32), flow)(torch.zeros(5, 64)).event_shape
    torch.Size([8])
    """

    def __init__(
        self, network: Callable[..., Tensor], flow: nn.Module, *, support: constraints.Constraint | None = None
    ) -> None:
        super().__init__(network, support=support)
        if not isinstance(flow, nn.Module):
            raise TypeError(
                "guides.Flow: expected a flow, such as zuko.flows.NSF(latents, context=features) or "
                f"guides.inverse_autoregressive(latents, features), got "
                f"{getattr(flow, '__name__', type(flow).__name__)}"
            )
        self.flow, self._features = flow, 0

    @staticmethod
    def outputs(latents: int, features: int) -> int:
        """How many outputs the network needs: the flow's context, whatever the number of latents."""
        return at_least("guides.Flow: features", features, 1)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these features (n, features)."""
        if self._features != raw.shape[-1]:
            self._try(raw.detach()[:1])
        return pushed(FlowDistribution(self.flow(raw)), self.support)

    def _try(self, raw: Tensor) -> None:
        """Refuse a flow that was built for another number of features; zuko tells only when a density is asked for."""
        try:
            with torch.no_grad():
                q = self.flow(raw)
                q.log_prob(raw.new_zeros(q.event_shape))
        except (RuntimeError, ValueError, TypeError) as error:
            raise ValueError(
                f"guides.Flow: the network has {raw.shape[-1]} outputs, and the flow raised {type(error).__name__} for "
                f"as many features: build it with context={raw.shape[-1]} ({error})"
            ) from error
        self._features = raw.shape[-1]

    def details(self) -> str:
        """The network and the kind of flow."""
        return f"{super(NetworkGuide, self).details()}, {type(self.flow).__name__}"


def inverse_autoregressive(
    latents: int, context: int, *, transforms: int = 2, hidden_features: Sequence[int] = (64, 64)
) -> nn.Module:
    """A flow for `Flow` whose draws, with their density, cost one pass (Kingma et al. 2016, 1606.04934).

    z_i = μ_i(z⁰_{<i}, features) + σ_i(z⁰_{<i}, features) z⁰_i, ``transforms`` times, the order of the latents turned
    round in between. The density of a z from elsewhere takes ``latents`` passes for each transform.

    Parameters
    ----------
    latents
        Their number.
    context
        Number of features, the outputs of the guide's network.
    transforms
        How many autoregressive steps.
    hidden_features
        Widths of the masked network of each.

    Raises
    ------
    ValueError
        If a number is not a whole one of at least 1.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> guide = Flow(MLP(64, (128,), 32), inverse_autoregressive(8, 32))
    >>> guide(torch.zeros(5, 64)).rsample().shape
    torch.Size([5, 8])
    """
    latents, context, transforms = (
        at_least(f"guides.inverse_autoregressive: {name}", value, 1)
        for name, value in (("latents", latents), ("context", context), ("transforms", transforms))
    )
    orders = torch.arange(latents), torch.arange(latents).flip(0)
    steps = [
        zuko.flows.MaskedAutoregressiveTransform(
            latents, context, order=orders[k % 2], hidden_features=tuple(hidden_features)
        ).inv
        for k in range(transforms)
    ]
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, loc=torch.zeros(latents), scale=torch.ones(latents), buffer=True
    )
    return zuko.flows.Flow(steps, base)
