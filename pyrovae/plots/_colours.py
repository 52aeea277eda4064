"""Colours of data by their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from pyrovae.plots._style import BLUE, CLASSES, GREY, INK

__all__ = ["Colours"]


@dataclass
class Colours:
    """A colour per datum: one for all, by class, or on a scale."""

    name: str
    colour: Any
    classes: list[Any] | None = None
    palette: tuple[str, ...] = ()
    members: np.ndarray | None = None
    mappable: ScalarMappable | None = None
    values: np.ndarray | None = None

    @classmethod
    def of(cls, tree: xr.DataTree, labels: Any, n: int) -> Colours:
        """From an array, a variable of ``constant_data``, or what the tree has.

        Raises
        ------
        ValueError
            If there is no such variable, or not one value per datum.
        """
        constant = tree["constant_data"].dataset if "constant_data" in tree.children else xr.Dataset()
        if labels is None and "label" not in constant:
            return cls("", BLUE)
        name = labels if isinstance(labels, str) else "label"
        if isinstance(labels, str) and labels not in constant:
            raise ValueError(f"labels: expected an array or one of {list(map(str, constant))}, got {labels!r}")
        values = np.asarray(constant[name].values if labels is None or isinstance(labels, str) else labels)
        if values.shape != (n,):
            raise ValueError(f"labels: expected a value for each of the {n} data, got shape {values.shape}")
        numeric = np.issubdtype(values.dtype, np.number)
        missing = ~np.isfinite(values.astype(float)) if numeric else np.zeros(n, bool)
        kinds = list(np.unique(values[~missing]))
        if numeric and len(kinds) > len(CLASSES):
            scale = ScalarMappable(Normalize(float(min(kinds)), float(max(kinds))), "viridis")
            colour = scale.to_rgba(np.where(missing, np.nan, values.astype(float)))
            colour[missing] = (0.75, 0.75, 0.75, 1)
            return cls(name, colour, mappable=scale, values=values)
        if len(kinds) > len(CLASSES):  # the smaller ones share grey
            counts = {k: int((values == k).sum()) for k in kinds}
            keep = sorted(kinds, key=lambda k: -counts[k])[: len(CLASSES) - 1]
            members = np.array([keep.index(v) if v in keep else len(keep) for v in values])
            palette = (*[c for c in CLASSES if c != "#94a4a2"][: len(keep)], GREY)
            kinds = [*keep, "others"]
        else:
            lookup = {k: i for i, k in enumerate(kinds)}
            members = np.array([lookup.get(v, len(kinds)) for v in values])
            palette = CLASSES[: len(kinds)]
            if missing.any():
                kinds, palette = [*kinds, "none"], (*palette, "#c4c9cf")
        return cls(name, np.asarray(palette)[members], kinds, tuple(palette), members, values=values)

    def scatter(self, ax: Axes, x: np.ndarray, y: np.ndarray, *, names: bool) -> None:
        """Points, and the name of each class at its median where names are short."""
        size = float(np.clip(9000 / len(x), 3, 30))
        colour = {"color": self.colour} if isinstance(self.colour, str) else {"c": self.colour}
        ax.scatter(x, y, s=size, alpha=0.85, lw=0.3, edgecolors="white", rasterized=len(x) > 2000, **colour)
        ax.axhline(0, color="#dde1e6", lw=0.8, zorder=0)
        ax.axvline(0, color="#dde1e6", lw=0.8, zorder=0)
        short = self.classes is not None and max(len(str(c)) for c in self.classes) <= 2
        if names and short and self.classes is not None and self.members is not None:
            for index, name in enumerate(self.classes):
                here = self.members == index
                if here.any():
                    text = ax.text(
                        np.median(x[here]), np.median(y[here]), str(name), ha="center", va="center", weight="bold"
                    )
                    text.set(color=INK, path_effects=[effects.withStroke(linewidth=3, foreground="white")])

    def histogram(self, ax: Axes, x: np.ndarray) -> None:
        """One latent dimension: how many data lie where, stacked by class."""
        bins: Any = np.histogram_bin_edges(x, bins=min(40, max(5, int(np.sqrt(len(x))))))
        if self.members is None or self.classes is None:
            ax.hist(x, bins=bins, color=BLUE)
        else:
            parts = [x[self.members == i] for i in range(len(self.classes))]
            ax.hist(parts, bins=bins, stacked=True, color=list(self.palette))
