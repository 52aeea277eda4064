"""Figures as text that a page can hold."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import PIL.Image
from matplotlib.figure import Figure

__all__ = ["Image", "embed"]

CSS_DPI = 96
SVG: Any = {"svg.hashsalt": "pyrovae", "svg.fonttype": "path"}
MUCH, MANY = 150_000, 1_000  # bytes of an SVG above which a PNG may be smaller, points above which it is


@dataclass(frozen=True)
class Image:
    """A data URI, and the size in CSS pixels at which it is meant to be seen."""

    uri: str
    width: int
    height: int


def embed(figure: Figure) -> Image:
    """The figure as SVG; as PNG at twice the screen's resolution where it holds images, or where that is smaller.

    The same figure gives the same bytes: neither holds a date or a random name.
    """
    if any(ax.images for ax in figure.axes):
        kind, data = "png", _saved(figure, "png", {"Software": None})
    elif _points(figure) > MANY:
        kind, data = "png", _palette(figure)
    else:
        kind, data = "svg+xml", _saved(figure, "svg", {"Date": None, "Creator": None})
        if len(data) > MUCH:
            kind, data = min((kind, data), ("png", _palette(figure)), key=lambda pair: len(pair[1]))
    width, height = (round(CSS_DPI * inches) for inches in figure.get_size_inches())
    return Image(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}", width, height)


def _saved(figure: Figure, kind: str, metadata: Any = None) -> bytes:
    file = io.BytesIO()
    with mpl.rc_context(SVG):
        figure.savefig(file, format=kind, dpi=2 * CSS_DPI, metadata=metadata)
    return file.getvalue()


def _palette(figure: Figure) -> bytes:
    """A PNG of 256 colours: a third of the size, and no difference to be seen where there are no photographs."""
    width, height = (int(2 * CSS_DPI * inches) for inches in figure.get_size_inches())
    image = PIL.Image.frombytes("RGBA", (width, height), _saved(figure, "rgba")).convert("RGB")
    file = io.BytesIO()
    image.quantize(256, dither=PIL.Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


def _points(figure: Figure) -> int:
    """Of scatter plots and meshes, and a tenth of those of lines, which an SVG holds more shortly."""
    found = 0
    for ax in figure.axes:
        for one in ax.collections:
            cells = one.get_array()
            found += max(np.shape(one.get_offsets())[0], 0 if cells is None else np.size(cells))
        found += sum(np.size(line.get_xdata()) for line in ax.lines) // 10
    return found
