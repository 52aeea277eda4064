"""One latent moved, the others held."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from pyrovae._numbers import at_least
from pyrovae.draws.target import evaluation
from pyrovae.plots._decoded import codes, data_of, grid, images_of, lines, ramp, strip
from pyrovae.plots._images import value_range
from pyrovae.plots._style import INK, number, styled

__all__ = ["plot_traversal"]

TAIL = 0.02


@styled
def plot_traversal(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    datum: int = 0,
    dims: list[int] | None = None,
    steps: int = 9,
    seed: int = 0,
) -> Figure:
    """What changes when one latent moves through the prior's central 96 % and the others stay where a datum is.

    How to read it: each row is one dimension, those that carry most first. A row whose pictures do not differ is of
    a latent that the decoder does not use; a row in which one property changes and nothing else belongs to a latent
    that stands for this property. The framed picture of each row is the one nearest to the datum's own place.

    Parameters
    ----------
    fit, data, context
        As for `pyrovae.posterior`. Latents on bounded supports move on the real line, and are mapped back.
    datum
        Which of the data to start from.
    dims
        Which dimensions, in which order; the six that carry most by default.
    steps
        Pictures in each row, at least 2.
    seed
        Of the draws that place the datum and the prior.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the datum or a dimension does not exist, or the latents cannot be put on the real line.
    """
    steps = at_least("steps", steps, 2)
    with evaluation(fit, data, context) as e:
        n = len(e.batches)
        if isinstance(datum, bool) or not isinstance(datum, (int, np.integer)) or not 0 <= datum < n:
            raise ValueError(f"datum: expected a whole number from 0 to {n - 1}, got {datum!r}")
        found = codes(e, torch.arange(n)[: max(1, min(n, 200))], seed)
        own = codes(e, torch.tensor([datum]), seed)
        chosen = list(np.argsort(-found.kl, kind="stable")[:6]) if dims is None else list(dims)
        if not chosen or any(not 0 <= d < own.target.dim for d in chosen):
            raise ValueError(f"dims: expected some of 0 to {own.target.dim - 1}, got {dims!r}")
        place = own.means[0]
        values = torch.stack([found.quantiles(int(d), steps, TAIL) for d in chosen])
        u = place.repeat(len(chosen), steps, 1)
        for row, d in enumerate(chosen):
            u[row, :, int(d)] = values[row]
        rows = torch.full((len(chosen) * steps,), int(datum))
        made = images_of(e, own.target, u.flatten(0, 1), rows)
        seen = data_of(e, torch.tensor([datum]))
    names = [own.names[int(d)] for d in chosen]
    figure, axes, images = grid(made, len(chosen), steps)
    title = f"Traversals from datum {e.batches.data.coords.get('obs_id', (None, np.arange(n)))[1][datum]}"
    if images is None:
        for ax, row, name, value in zip(axes[:, 0], range(len(chosen)), names, values, strict=True):
            part = made.isel(obs_id=slice(row * steps, (row + 1) * steps))
            lines(ax, part, ramp(steps), [number(float(v), 1) for v in value])
            ax.set_ylabel(name)
        axes[0, 0].legend(title="latent at", loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    else:
        strip(axes, images, value_range(np.concatenate([images.reshape(-1), np.ravel(seen.values)])))
        for row, (d, name) in enumerate(zip(chosen, names, strict=True)):
            axes[row, 0].set_ylabel(
                f"{name}\nKL {number(float(found.kl[int(d)]), 1)}", rotation=0, ha="right", va="center", labelpad=8
            )
            nearest = int(np.argmin(np.abs(values[row].numpy() - float(place[int(d)]))))
            for spine in axes[row, nearest].spines.values():
                spine.set(color="#d55e00", linewidth=2.2)
        ends = ("2 % of the prior", "98 %")
        for column, text in zip((0, steps - 1), ends, strict=True):
            axes[0, column].set_title(text, loc="center", fontsize=9, fontweight="normal", pad=4, color=INK)
    figure.suptitle(title + ": one latent moves, the others stay", x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure
