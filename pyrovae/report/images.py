"""Figures as text that a page can hold."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["Image", "embed"]

CSS_DPI = 96
SVG: Any = {"svg.hashsalt": "pyrovae", "svg.fonttype": "path"}


@dataclass(frozen=True)
class Image:
    """A data URI, and the size in CSS pixels at which it is meant to be seen."""

    uri: str
    width: int
    height: int


def embed(figure: Figure) -> Image:
    """The figure as PNG at twice the screen's resolution or as SVG, whichever is smaller.

    The same figure gives the same bytes: neither holds a date or a random name.
    """
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=2 * CSS_DPI, metadata={"Software": None})
    with mpl.rc_context(SVG):
        figure.savefig(svg, format="svg", dpi=2 * CSS_DPI, metadata={"Date": None, "Creator": None})
    width, height = (round(CSS_DPI * inches) for inches in figure.get_size_inches())
    kind, data = min((("svg+xml", svg.getvalue()), ("png", png.getvalue())), key=lambda pair: len(pair[1]))
    return Image(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}", width, height)
