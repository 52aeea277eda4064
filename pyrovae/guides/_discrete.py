"""Guides of discrete latents: how their gradient is estimated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from pyrovae._calls import Call
from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides._local import choice

__all__ = ["DiscreteGuide"]

ESTIMATORS = ("score", "enumerate")


class DiscreteGuide(NetworkGuide):
    """A guide whose draws have no gradient.

    ``estimator="score"``: the score function's, (log p(x, z) − log q(z|x)) ∇log q(z|x) (Williams 1992), with the
    output of ``baseline`` (n, 1) subtracted from the cost, a network of x that learns it (Mnih & Gregor 2014,
    1402.0030). ``estimator="enumerate"``: the sum over all states, exact.
    """

    def __init__(
        self, network: Callable[..., Tensor], *, estimator: str = "score", baseline: Callable[..., Tensor] | None = None
    ) -> None:
        super().__init__(network)
        name = f"guides.{type(self).__name__}"
        self.estimator = choice(f"{name}: estimator", estimator, ESTIMATORS)
        if baseline is not None:
            if not callable(baseline) or isinstance(baseline, type):
                raise TypeError(
                    f"{name}: baseline: expected a network, networks.MLP(features, hidden, 1), got {baseline!r}"
                )
            if estimator != "score":
                raise ValueError(
                    f"{name}: a baseline is for estimator='score'; the sum over all states has no use for it"
                )
            self._call_baseline = Call(baseline, own=1)
            self.takes = self.takes | self._call_baseline.takes
        self.baseline = baseline

    def infer(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Any]:
        """What Pyro's sample statement is told of the estimator."""
        if self.estimator == "enumerate":
            return {"enumerate": "parallel"}
        if self.baseline is None:
            return {}
        if not self.training:
            try:  # so that one that does not fit is refused before the first epoch
                self._cost((x, context, mask))
            except (RuntimeError, ValueError, TypeError) as error:
                raise ValueError(
                    f"the guide's baseline, given data of shape {tuple(x.shape)}, raised {error}"
                ) from error
        return {"baseline": {"nn_baseline": self._cost, "nn_baseline_input": (x, context, mask)}}

    def _cost(self, told: tuple[Tensor, Tensor | None, Tensor | None]) -> Tensor:
        """The baseline's output (n,)."""
        x, context, mask = told
        out: Tensor = self._call_baseline(self.standardised(x, mask), context=context, mask=mask)
        if out.shape not in ((len(x),), (len(x), 1)):
            raise ValueError(
                f"guides.{type(self).__name__}: expected a baseline with 1 output, got shape {tuple(out.shape)}"
            )
        return out.reshape(len(x) if len(x) > 1 else ())  # Pyro drops the dimension of a plate of one datum

    def details(self) -> str:
        """The network and the estimator."""
        baseline = f", baseline={self.baseline!r}" if isinstance(self.baseline, nn.Module) else ""
        return f"{super().details()}, {self.estimator}{baseline}"
