"""What the plane of two latents decodes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from pyrovae._numbers import at_least
from pyrovae.draws.target import evaluation
from pyrovae.plots._decoded import codes, grid, images_of, strip
from pyrovae.plots._images import as_images
from pyrovae.plots._style import number, styled

__all__ = ["plot_manifold"]

TAIL = 0.03


@styled
def plot_manifold(
    fit: Any,
    data: Any,
    *,
    context: Any = None,
    dims: tuple[int, int] | None = None,
    steps: int = 13,
    seed: int = 0,
) -> Figure:
    """Decoded points of a grid over two latents, between the prior's quantiles 3 % and 97 %, the others at its median.

    How to read it: it is a map of what the program can make. Neighbours should be alike; at a sharp border small moves
    of z make large moves of x. With more than two latents it is one slice of many.

    Parameters
    ----------
    fit, data, context
        As for `pyrovae.posterior`: images. A conditional program is given the context of the first datum throughout.
    dims
        Across and up; the two that carry most by default.
    steps
        Pictures along each side, at least 2.
    seed
        Of the draws that place data and prior.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the data are no images, there are fewer than two latents, or they cannot be put on the real line.
    """
    steps = at_least("steps", steps, 2)
    with evaluation(fit, data, context) as e:
        found = codes(e, torch.arange(len(e.batches))[:200], seed)
        dim = found.target.dim
        if dim < 2:
            raise ValueError("a plane needs two latents, and the program has one: use plot_traversal")
        across, up = (int(d) for d in (np.argsort(-found.kl, kind="stable")[:2] if dims is None else dims))
        if across == up or not all(0 <= d < dim for d in (across, up)):
            raise ValueError(f"dims: expected two different ones of 0 to {dim - 1}, got {dims!r}")
        x, y = (found.quantiles(d, steps, TAIL) for d in (across, up))
        u = found.prior.median(0).values.repeat(steps, steps, 1)
        u[..., across] = x[None, :]
        u[..., up] = y.flip(0)[:, None]
        one = codes(e, torch.tensor([0]), seed).target
        made = images_of(e, one, u.flatten(0, 1), torch.zeros(steps * steps, dtype=torch.long))
    if as_images(made) is None:
        raise ValueError(
            "expected data that are images, with coordinates row and column or two dimensions of their own"
        )
    figure, axes, images = grid(made, steps, steps, cell=7.0 / steps, gap=0.0)
    assert images is not None
    strip(axes, images)
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    names = found.names
    for column in (0, steps // 2, steps - 1):
        axes[-1, column].set_xlabel(number(float(x[column]), 1))
        axes[steps - 1 - column, 0].set_ylabel(number(float(y[column]), 1), rotation=0, ha="right", va="center")
    figure.supxlabel(names[across], fontsize=10.5)
    figure.supylabel(names[up], fontsize=10.5)
    rest = "" if dim == 2 else f"; the other {dim - 2} at the prior's median"
    figure.suptitle(f"What {names[across]} and {names[up]} decode to{rest}", x=0.01, ha="left", fontsize=11,
                    fontweight="bold")  # fmt: skip
    return figure
