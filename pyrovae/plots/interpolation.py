"""From one datum to another on a straight line between their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from pyrovae._numbers import at_least
from pyrovae.draws.target import evaluation
from pyrovae.plots._decoded import codes, data_of, grid, images_of, lines, ramp, strip
from pyrovae.plots._images import as_images, show, value_range
from pyrovae.plots._style import number, styled

__all__ = ["plot_interpolation"]


@styled
def plot_interpolation(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    pairs: Sequence[tuple[int, int]] | None = None,
    steps: int = 9,
    seed: int = 0,
) -> Figure:
    """What lies between pairs of data: the decoded points of a straight line between their posterior means.

    How to read it: over each picture stands log p(z) in nats, by how much the point lies where the prior expects data,
    less that of the left end. A latent space without gaps changes steadily, through pictures that could be data, and
    its log p(z) does not fall far in the middle; a sudden change, or a blurred middle at a low log p(z), is a gap.

    Parameters
    ----------
    fit, data, context
        As for `pyrovae.posterior`; the line is straight on the real line for latents on bounded supports, and a
        conditional program keeps the left end's context.
    pairs
        Which data; four pairs drawn by the seed by default.
    steps
        Pictures in each row, both ends included, at least 3.
    seed
        Of the pairs, and of the draws that place the data.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a datum does not exist, or the latents cannot be put on the real line.
    """
    steps = at_least("steps", steps, 3)
    with evaluation(fit, data, context) as e:
        n = len(e.batches)
        if pairs is None:
            if n < 2:
                raise ValueError("pairs: there is one datum only, and a line has two ends")
            rng = np.random.default_rng(seed)
            pairs = [tuple(rng.choice(n, 2, replace=False)) for _ in range(min(4, n // 2))]
        flat = [int(i) for pair in pairs for i in pair]
        if not flat or any(len(pair) != 2 for pair in pairs) or not all(0 <= i < n for i in flat):
            raise ValueError(f"pairs: expected pairs of whole numbers from 0 to {n - 1}, got {list(pairs)!r}")
        found = codes(e, torch.tensor(flat), seed)
        ends = found.means.reshape(len(pairs), 2, -1)
        share = torch.linspace(0, 1, steps, dtype=ends.dtype)[None, :, None]
        u = (1 - share) * ends[:, :1] + share * ends[:, 1:]
        rows = torch.tensor([i for i, _ in pairs]).repeat_interleave(steps)
        made = images_of(e, found.target, u.flatten(0, 1), rows)
        left = codes(e, rows, seed).target
        line = u.flatten(0, 1)[None]
        density = left.densities(line)[0] - left.log_jacobian(line)
        log_prior = density.reshape(len(pairs), steps).cpu().numpy()
        seen = data_of(e, torch.tensor(flat))
    labels = [str(v) for v in e.batches.data.coords.get("obs_id", (None, np.arange(n)))[1][flat]]
    if as_images(made) is None:
        figure, axes, _ = grid(made, len(pairs), steps)
        for row, ax in enumerate(axes[:, 0]):
            part = made.isel(obs_id=slice(row * steps, (row + 1) * steps))
            lines(ax, part, ramp(steps), [f"{100 * s:.0f} %" for s in share.ravel().tolist()])
            ax.set_ylabel(f"{labels[2 * row]} to {labels[2 * row + 1]}")
        axes[0, 0].legend(title="of the way", loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    else:
        columns = steps + 2
        spread = made.isel(obs_id=np.repeat(np.arange(len(pairs)) * steps, columns))
        figure, axes, _ = grid(spread, len(pairs), columns)
        shown, own = as_images(made), as_images(seen)
        assert shown is not None
        assert own is not None
        limits = value_range(np.concatenate([shown.reshape(-1), own.reshape(-1)]))
        strip(axes[:, 1:-1], shown.reshape(len(pairs), steps, *shown.shape[1:]), limits)
        for row in range(len(pairs)):
            for column, i in ((0, 2 * row), (-1, 2 * row + 1)):
                show(axes[row, column], own[i], limits)
                axes[row, column].set_title(f"datum {labels[i]}", loc="center", fontsize=8, fontweight="normal", pad=3)
            for step in range(steps):
                change = log_prior[row, step] - log_prior[row, 0]
                text = number(float(change), 1) if step else "0"
                axes[row, step + 1].set_title(text, loc="center", fontsize=8, fontweight="normal", pad=3)
    figure.suptitle(
        "Interpolations between data; over each the change of log p(z), nats",
        x=0.01, ha="left", fontsize=11, fontweight="bold",
    )  # fmt: skip
    return figure
