"""What most priors share: a number of latents, and whether their numbers are learned."""

from __future__ import annotations

from pyrovae._numbers import at_least
from pyrovae._part import Part

__all__ = ["SizedPrior"]


class SizedPrior(Part):
    """Checks and shows ``size`` and ``learned``."""

    def __init__(self, size: int, *, least: int = 1, learned: bool = False) -> None:
        super().__init__()
        self.size = at_least(f"priors.{type(self).__name__}: size (the number of latents)", size, least)
        self.learned = learned

    def details(self) -> str:
        """Its size."""
        return f"{self.size}, learned" if self.learned else f"{self.size}"
