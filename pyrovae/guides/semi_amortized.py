"""A few steps of inference after the network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae._numbers import at_least, positive
from pyrovae._part import Part
from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._local import OPTIMIZERS, choice, fixed_noise, refine

__all__ = ["SemiAmortized"]


class SemiAmortized(Part):
    """q(z|x) that starts from another guide's and climbs the ELBO of each datum by a few steps (Kim et al. 2018,
    1802.02550), in training as after it.

    Parameters
    ----------
    guide
        An amortised guide of this package with pathwise draws.
    steps, lr, draws
        How many steps, of what rate, with how many draws each. A step of Adam moves every number by about the rate:
        it should be well below the posterior's standard deviations.
    optimizer
        ``"ascent"``, raw + lr · gradient, a gradient longer than 5 shortened to 5; or ``"adam"``, whose steps do not
        depend on the scale of the ELBO.
    through
        While it trains, differentiate through the steps, so that the network learns good starts. Without it the
        network gets the gradient at the place that was reached, as if the steps were the identity.

    Shapes
    ------
    As the guide's.

    Raises
    ------
    TypeError
        If the guide is none of this package.
    ValueError
        If a number is out of range, the optimiser unknown, the guide's draws have no gradient (or, with ``through``,
        not a second one), or it is called outside of a `VAE`, which provides ``joint``.

    Examples
    --------
    >>> from pyrovae.guides import Normal
    >>> from pyrovae.networks import MLP
    >>> guide = SemiAmortized(Normal(MLP(64, (32,), 2 * 8)), steps=2)
    >>> guide(torch.zeros(5, 64), joint=lambda z: -z.square().sum(-1)).event_shape
    torch.Size([8])
    """

    def __init__(
        self,
        guide: NetworkGuide,
        *,
        steps: int = 5,
        lr: float = 0.01,
        draws: int = 4,
        optimizer: str = "adam",
        through: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(guide, NetworkGuide):
            raise TypeError(
                "guides.SemiAmortized: expected an amortised guide, such as guides.Normal(network), got "
                f"{getattr(guide, '__name__', type(guide).__name__)}"
            )
        name = type(guide).__name__
        if through and not guide.twice:
            raise ValueError(
                f"guides.SemiAmortized: draws of guides.{name} cannot be differentiated twice: use through=False"
            )
        self.guide = guide
        self.steps, self.draws = (
            at_least(f"guides.SemiAmortized: {name}", value, 1) for name, value in (("steps", steps), ("draws", draws))
        )
        self.lr = positive("guides.SemiAmortized: lr", lr)
        self.optimizer = choice("guides.SemiAmortized: optimizer", optimizer, OPTIMIZERS)
        self.through = bool(through)
        self.support = guide.support
        self.takes = frozenset(guide.takes | {"joint"})

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let the guide take what it needs from the training data."""
        self.guide.adapt(x, context)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        joint: Callable[[Tensor], Tensor] | None = None,
    ) -> dist.TorchDistribution:
        """q(z|x)."""
        if joint is None:
            raise ValueError(
                "guides.SemiAmortized: its steps need the model: use the guide inside pv.VAE, or pass joint=, "
                "z (…, n, latents) → log p(x, z) (…, n)"
            )
        start = self.guide.parameters_of(x, context, mask)
        through = self.through and self.training and torch.is_grad_enabled()
        with nullcontext() if self.training else fixed_noise():
            raw = refine(
                self._family,
                start,
                joint,
                steps=self.steps,
                lr=self.lr,
                draws=self.draws,
                optimizer=self.optimizer,
                through=through,
            )
        return self.guide.distribution(raw if through else start + (raw - start).detach())

    def _family(self, raw: Tensor) -> Any:
        q = self.guide.distribution(raw)
        if not q.has_rsample:
            raise ValueError(
                f"guides.SemiAmortized: draws of guides.{type(self.guide).__name__} have no gradient: use a continuous "
                "guide, such as guides.RelaxedBernoulli"
            )
        return q

    def details(self) -> str:
        """The guide it starts from and its steps."""
        through = "" if self.through else ", through=False"
        return f"{self.guide!r}, steps={self.steps}, {self.optimizer}, lr={self.lr:g}{through}"
