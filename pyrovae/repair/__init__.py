"""Repair of a posterior that cannot be trusted as it is, and expectations with errors."""

from pyrovae.repair.correct import correct
from pyrovae.repair.expectation import expectation
from pyrovae.repair.refine import refine

__all__ = ["correct", "expectation", "refine"]
