"""Whether the program is being recorded as a graph, in which no value of a tensor can be asked for."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["recording"]

recording: ContextVar[bool] = ContextVar("recording", default=False)
