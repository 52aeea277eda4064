"""A function that a sampler asks again and again, as a recorded graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyrovae._bound import bound
from pyrovae._products import large_products
from pyrovae._record import NotRecordable, record

__all__ = ["Replay"]

AFTER = 50  # calls of one shape from which on a recording, of a tenth of a second, is expected to pay


class Replay:
    """A function of tensors that draws nothing, recorded after `AFTER` calls of one shape; then it takes no Python.

    The recording must give the same bits as the last call that it takes the place of, else there is none; from then on
    its large products are those of `large_products`. What the function refers to must stay as it is for as long as it
    is used.

    Examples
    --------
    >>> square = Replay(lambda x: [x * x])
    >>> [square(torch.tensor([float(i)]))[0].item() for i in range(60)][-2:], square.recorded
    ([3364.0, 3481.0], True)
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]]) -> None:
        self.function = function
        self._shape: tuple[object, ...] = ()
        self._calls = 0
        self._graph: Callable[..., list[Tensor]] | None = None

    @property
    def recorded(self) -> bool:
        """Whether calls of the last shape take a recording."""
        return self._graph is not None

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        """What the function gives."""
        shape = tuple((t.shape, t.dtype, t.device) for t in tensors)
        if shape != self._shape:
            self._shape, self._calls, self._graph = shape, 0, None
        if self._graph is not None:
            return self._graph(*tensors)
        found = self.function(*tensors)
        self._calls += 1
        if self._calls == AFTER:
            self._record(tensors, found)
        return found

    def _record(self, tensors: Sequence[Tensor], found: Sequence[Tensor]) -> None:
        try:
            graph = record(self.function, *tensors)
            again = bound(graph)(*tensors)
        except (NotRecordable, RuntimeError):
            return
        if all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(again, found, strict=True)):
            self._graph = bound(large_products(graph))
