"""What a program is made of, in tables and as a plate diagram."""

from pyrovae.description.describe import describe
from pyrovae.description.description import Description

__all__ = ["Description", "describe"]
