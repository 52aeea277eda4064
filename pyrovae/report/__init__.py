"""A report on a tree: one HTML file that holds all it needs."""

from pyrovae.report.page import write

__all__ = ["write"]
