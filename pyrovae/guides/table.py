"""Parameters of q for each training datum, instead of a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least, positive
from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._local import fixed_noise, refine
from pyrovae.guides._rows import RowGuide
from pyrovae.guides.normal import Normal

__all__ = ["Table"]


class Table(RowGuide):
    """q(z|x_i) with parameters of its own for each datum i: stochastic variational inference without amortisation
    (Hoffman et al. 2013, 1206.7051), the best that a family can do. Each row takes one step an epoch: it needs a larger
    rate than a network, and more epochs.

    While it trains, a datum is known by its row. After that, one whose values equal those of a training datum (x,
    context and mask, by a hash of 128 bits) gets the parameters of that row; any other is inferred by ``steps`` steps
    of Adam on its own ELBO from the mean of the table, with the model as it is and the same noise each time (the same
    for the same batch: among other data the draws of a datum are others).

    Parameters
    ----------
    rows
        Number of training data.
    latents
        Number of latents.
    family
        The guide whose ``distribution`` the parameters go to, such as `MultivariateNormal`.
    steps, lr, draws
        Of the inference of other data: how many steps, Adam's rate at first, draws in each step.
    options
        Further arguments of the family: ``rank``, ``components``, ``support``, ``flow`` and ``features``.

    Shapes
    ------
    x (n, *event) → batch (n,), event (latents,); support: the family's.

    Raises
    ------
    TypeError
        If the family is no guide of this package, or does not take an option.
    ValueError
        If a number is out of range, the training data have another length than ``rows``, the family's draws have no
        gradient, or a new datum comes outside of a `VAE`, which provides ``joint``.

    Examples
    --------
    >>> from pyrovae.guides import MultivariateNormal
    >>> guide = Table(100, 8, MultivariateNormal)
    >>> guide(torch.zeros(2, 64), index=torch.tensor([4, 9])).event_shape
    torch.Size([8])
    """

    def __init__(
        self,
        rows: int,
        latents: int,
        family: type[NetworkGuide] = Normal,
        *,
        steps: int = 200,
        lr: float = 0.1,
        draws: int = 8,
        **options: Any,
    ) -> None:
        super().__init__(rows)
        self.steps, self.draws = (
            at_least(f"guides.Table: {name}", value, 1) for name, value in (("steps", steps), ("draws", draws))
        )
        self.lr = positive("guides.Table: lr", lr)
        at_least("guides.Table: latents", latents, 1)
        if not (isinstance(family, type) and issubclass(family, NetworkGuide)):
            raise TypeError(
                f"guides.Table: expected a family such as guides.MultivariateNormal, got {family!r}: give the class; "
                "its options are further arguments of the table"
            )
        counted = inspect.signature(family.outputs).parameters  # type: ignore[attr-defined]
        made = inspect.signature(family).parameters
        unknown = [name for name in options if name not in counted and name not in made]
        if unknown:
            raise TypeError(f"guides.Table: guides.{family.__name__} takes no {', '.join(unknown)}")
        given = {"network", "latents", *options}
        lacking = [n for n, p in {**made, **counted}.items() if p.default is p.empty and n not in given]
        if lacking:
            raise TypeError(
                f"guides.Table: guides.{family.__name__} needs {' and '.join(lacking)}: pass {'=…, '.join(lacking)}=… "
                "to the table"
            )
        size = family.outputs(latents, **{k: v for k, v in options.items() if k in counted})  # type: ignore[attr-defined]
        self.family = family(_no_network, **{k: v for k, v in options.items() if k in made})
        self.support = self.family.support
        self.raw = nn.Parameter(torch.empty(self.rows, size))
        self.reset_parameters()
        if not self.family.distribution(self.raw[:1]).has_rsample:
            raise ValueError(
                f"guides.Table: draws of guides.{family.__name__} have no gradient, so that new data could not be "
                "inferred: use a continuous family, such as guides.RelaxedBernoulli"
            )

    def reset_parameters(self) -> None:
        """All rows at one random place near 0, so that components of a mixture are told apart."""
        super().reset_parameters()
        with torch.no_grad():
            self.raw.copy_(0.1 * torch.randn_like(self.raw[:1]))

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        index: Tensor | None = None,
        joint: Callable[[Tensor], Tensor] | None = None,
    ) -> dist.TorchDistribution:
        """q(z|x)."""
        if index is not None:
            return self.family.distribution(self.raw[index])
        row = self.rows_of(x, context, mask)
        known = (row >= 0).unsqueeze(-1)
        raw = self.raw[row.clamp_min(0)]
        if not bool(known.all()):
            if joint is None:
                raise ValueError(
                    "guides.Table: a datum that is not of the training data is inferred with the model: use the guide "
                    "inside pv.VAE, or pass joint=, z (…, n, latents) → log p(x, z) (…, n)"
                )
            start = self.raw.mean(0).expand_as(raw)
            with fixed_noise():
                new = refine(self.family.distribution, start, joint, steps=self.steps, lr=self.lr, draws=self.draws)
            raw = torch.where(known, raw, new)
        return self.family.distribution(raw)

    def details(self) -> str:
        """The family and the number of rows."""
        size = self.raw.shape[-1]
        return f"{self.rows} rows of {size}, {type(self.family).__name__}, steps={self.steps}, lr={self.lr:g}"


def _no_network(x: Tensor) -> Tensor:
    raise NotImplementedError("the family of a table has no network")
