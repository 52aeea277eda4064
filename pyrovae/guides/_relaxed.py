"""Guides of relaxed discrete latents: a temperature, and draws inside the simplex."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pyrovae._numbers import at_least
from pyrovae.guides._guide import NetworkGuide
from pyrovae.schedules import Scheduled

__all__ = ["RelaxedGuide"]


class RelaxedGuide(NetworkGuide):
    """A guide with a temperature: a number, or a schedule of the epoch."""

    def __init__(self, network: Callable[..., Tensor], *, temperature: float | Callable[[int], float] = 0.5) -> None:
        super().__init__(network)
        self.temperature = Scheduled(f"guides.{type(self).__name__}: temperature", temperature, positive=True)

    @staticmethod
    def outputs(latents: int) -> int:
        """How many outputs the network needs for so many latents."""
        return at_least("guides: outputs: latents", latents, 1)

    def details(self) -> str:
        """The network and the temperature."""
        return f"{self.network!r}, temperature={self.temperature!r}"
