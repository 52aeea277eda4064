"""Normalising flow as a guide."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.transforms import AffineTransform
from torch.nn.functional import softplus

from pyrovae._numbers import at_least
from pyrovae.distributions.flow import FlowDistribution, zuko
from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._support import free, pushed
from pyrovae.networks._inputs import wholes

__all__ = ["Flow", "inverse_autoregressive"]


class Flow(NetworkGuide):
    """q(z|x): z = loc(x) + scale(x) · y, with y from a normalising flow of zuko whose context are features of x
    (Rezende & Mohamed 2015, 1505.05770).

    Location and scale are outside the flow because splines are the identity beyond their box: a posterior far from 0,
    or much narrower than 1, would be out of their reach.

    The density of a draw of its own comes with it where the flow is fast in that direction: see
    `inverse_autoregressive`; coupling flows (`zuko.flows.NICE`) and splines with ``passes=2`` are fast in both.

    Parameters
    ----------
    network
        x (n, *event) → (n, 2 m + features) for m latents: the locations, then what softplus makes the scales, then the
        flow's context. `outputs` gives that number.
    flow
        ``flow(features)`` → a distribution over m latents: any of `zuko.flows`, built with ``context=features``.
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
        If the flow was built for another number of features than the network has outputs left for it, or ``support`` is
        discrete or cannot be reached from the reals.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> flow = zuko.flows.NSF(8, context=32, transforms=3, hidden_features=(64, 64))
    >>> Flow(MLP(64, (128,), Flow.outputs(8, features=32)), flow)(torch.zeros(5, 64)).event_shape
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
        base = getattr(flow, "base", None)
        if not callable(base):
            raise TypeError(
                f"guides.Flow: expected a flow of zuko, with a base distribution, got {type(flow).__name__}: make it "
                "one with zuko.flows.Flow(transforms, base)"
            )
        self.flow, self._features = flow, -1
        event = tuple(base().event_shape)
        if len(event) != 1:
            raise ValueError(f"guides.Flow: expected a base over vectors (latents,), got one over the shape {event}")
        self.latents = event[0]

    @staticmethod
    def outputs(latents: int, features: int, support: constraints.Constraint = constraints.real) -> int:
        """How many outputs the network needs for so many latents and a flow with ``context=features``."""
        return 2 * free(latents, support) + at_least("guides.Flow: features", features, 1)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these raw parameters (n, 2 m + features)."""
        if raw.shape[-1] < 2 * self.latents:
            raise ValueError(
                f"guides.Flow: expected a network with Flow.outputs({self.latents}, features) outputs, at least "
                f"{2 * self.latents}, got {raw.shape[-1]}"
            )
        loc, scale, features = raw.tensor_split((self.latents, 2 * self.latents), -1)
        if self._features != features.shape[-1]:
            self._try(features.detach()[:1])
        onto = AffineTransform(loc, softplus(scale), event_dim=1, cache_size=1)
        return pushed(dist.TransformedDistribution(FlowDistribution(self.flow(features)), [onto]), self.support)

    def _try(self, features: Tensor) -> None:
        """Refuse a flow that was built for another number of features; zuko tells only when a density is asked for."""
        try:
            with torch.no_grad():
                q = self.flow(features)
                q.log_prob(features.new_zeros(q.batch_shape + q.event_shape))
        except (RuntimeError, ValueError, TypeError) as error:
            count, locations = features.shape[-1], 2 * self.latents
            raise ValueError(
                f"guides.Flow: the network has {locations + count} outputs, of which {locations} are locations and "
                f"scales of {self.latents} latents, and the flow raised {type(error).__name__} for {count} features: "
                f"build it with context={count}, or the network with Flow.outputs({self.latents}, features) ({error})"
            ) from error
        self._features = features.shape[-1]

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
    >>> guide = Flow(MLP(64, (128,), Flow.outputs(8, features=32)), inverse_autoregressive(8, 32))
    >>> guide(torch.zeros(5, 64)).rsample().shape
    torch.Size([5, 8])
    """
    latents, context, transforms = (
        at_least(f"guides.inverse_autoregressive: {name}", value, 1)
        for name, value in (("latents", latents), ("context", context), ("transforms", transforms))
    )
    hidden = wholes("guides.inverse_autoregressive: hidden_features", hidden_features)
    orders = torch.arange(latents), torch.arange(latents).flip(0)
    steps = [
        zuko.flows.MaskedAutoregressiveTransform(latents, context, order=orders[k % 2], hidden_features=hidden).inv
        for k in range(transforms)
    ]
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, loc=torch.zeros(latents), scale=torch.ones(latents), buffer=True
    )
    return zuko.flows.Flow(steps, base)
