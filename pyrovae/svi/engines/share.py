"""A process's share of a batch: its rows, and of what the program draws for the whole batch those that are its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pyrovae._bound import bound
from pyrovae._draws_apart import draws_apart
from pyrovae._products import large_products
from pyrovae._record import NotRecordable
from pyrovae._rng import preserved
from pyrovae.svi.engines.recording import Recording
from pyrovae.svi.processes import Processes

__all__ = ["Share", "share_of"]


@dataclass(frozen=True)
class Share:
    """How to compute this process's share of a batch.

    ``draw`` draws what the program draws for the whole batch; of each draw the share takes the rows ``rows`` along a
    dimension, or, where that is None, all.
    """

    whole: Recording
    part: Recording
    draw: Callable[..., list[Tensor]]
    rest: Callable[..., list[Tensor]]
    rows: tuple[tuple[int, slice] | None, ...]

    def noise(self) -> list[Tensor]:
        """Draw, and keep what is this process's."""
        return [
            d if cut is None else d.narrow(cut[0], cut[1].start, cut[1].stop - cut[1].start)
            for d, cut in zip(self.draw(), self.rows, strict=True)
        ]


def share_of(whole: Recording, part: Recording, processes: Processes, size: int) -> Share:
    """From recordings of a whole batch of this size and of this process's part of it.

    Raises
    ------
    NotRecordable
        If it cannot be told what of the draws is whose.
    """
    apart = [draws_apart(recording.graph) for recording in (whole, part)]
    if apart[0] is None or apart[1] is None:
        raise NotRecordable(
            "what it draws depends on values that it computes, as draws of a Gamma or a Bernoulli do, so that it "
            "cannot be drawn for the whole batch in each process"
        )
    with preserved():
        draws, own = (found[0].forward() for found in apart if found)
    if not _alike(whole, part) or len(draws) != len(own):
        raise NotRecordable("it takes another path for fewer data")
    rows = tuple(_rows(d, o, processes.share(size), size) for d, o in zip(draws, own, strict=True))
    return Share(whole, part, bound(apart[0][0]), bound(large_products(apart[1][1])), rows)


def _rows(drawn: Tensor, own: Tensor, rows: slice, size: int) -> tuple[int, slice] | None:
    """The dimension of the data in a draw, the one whose length follows them, and where a share lies in it."""
    if drawn.shape == own.shape:
        return None
    dims = [d for d in range(drawn.dim()) if drawn.dim() == own.dim() and drawn.shape[d] != own.shape[d]]
    each = drawn.shape[dims[0]] // size if dims else 0
    known = [(t.shape[d], n) for d in dims for t, n in ((drawn, size), (own, rows.stop - rows.start))]
    if len(dims) != 1 or any(length != each * n for length, n in known):
        raise NotRecordable(
            f"it draws numbers of shape {tuple(drawn.shape)} for {size} data and {tuple(own.shape)} for "
            f"{rows.stop - rows.start}, so that it cannot be told which are whose"
        )
    return dims[0], slice(each * rows.start, each * rows.stop)


def _alike(whole: Recording, part: Recording) -> bool:
    names = ("trained", "reassigned", "noted")
    same = list(map(id, whole.state.tensors)) == list(map(id, part.state.tensors))
    return same and all(getattr(whole, name) == getattr(part, name) for name in names)
