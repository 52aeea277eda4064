"""A report on a tree: one HTML file that holds all it needs.

``pv.report.write(tree, "report.html")`` writes it; ``pv.report(tree, "report.html")`` is short for that. Its figures
are `SECTIONS`: to add one, pass ``sections=(*pv.report.SECTIONS, pv.report.Section(…))``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pyrovae.report.page import write
from pyrovae.report.sections import SECTIONS, Section

__all__ = ["SECTIONS", "Section", "write"]


class _Report(ModuleType):
    """A module that may be called as its one function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Path:
        """The same as `write`."""
        return write(*args, **kwargs)


sys.modules[__name__].__class__ = _Report
