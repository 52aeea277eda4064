"""A data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pyrovae.data._binarize import binarize
from pyrovae.data._columns import CODED, Column, check_cells
from pyrovae.data._rows import Rows
from pyrovae.data._validate import check_context, check_coords, check_labels, check_x, place, words

__all__ = ["Coords", "Data"]

Coords = Mapping[str, tuple[tuple[str, ...], np.ndarray]]
"""Coordinates as xarray spells them: name -> (dims, values)."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set: n data along the first axis of a tensor, and what is known of them.

    `x` is not copied where it need not be: it shares memory with the tensor passed in. Data that stay on disk (see
    `as_data`) are read in parts: ``x`` is then no tensor, and gives one for a slice or a list of rows, ``x[:1000]``.

    Parameters
    ----------
    x
        The data, shape (n, *event), on the CPU. Stored as uint8, int64, float32 or float64, other numeric types are
        widened to one of these (bool to uint8). NaN means missing.
    name
        What the set is called in reports.
    dims
        Names of the event dimensions, by default ``("x_dim_0", …)``.
    coords
        Coordinates as xarray spells them, ``{name: (dims, values)}``, over ``"obs_id"`` (the data) and `dims`.
        ``obs_id`` itself is 0..n−1 unless given; of a part of such a set too, where ``position`` then says which of
        the whole set's data each is.
    context
        Covariates that a conditional model is given, shape (n, c), finite floats.
    labels
        Classes, shape (n,), for colouring and analysis only; no model sees them.
    draw
        A random transform applied anew to every batch of `x`, such as `torch.bernoulli` for dynamic binarisation. It
        must draw from torch's global generator.
    test
        How many data at the end are the published test set, or None if there is none.
    test_size
        How much a random split holds out, as a count or a fraction of n.
    numbered
        Whether ``obs_id`` counts the data; found by itself.
    columns
        Of a table, what each of its columns holds; categories are then stored as codes.

    Raises
    ------
    ValueError
        No data, no event dimension, an infinite value, lengths or names that do not match; the message names the
        datum and the feature.
    TypeError
        `x` is not a tensor of real numbers.

    Examples
    --------
    >>> data = Data(torch.rand(6, 2), name="toy", dims=("feature",), labels=[0, 0, 0, 1, 1, 1])
    >>> data
    Data(toy: 6 × feature 2, float32, labels)
    >>> part = data.take([4, 5])
    >>> part.coords["obs_id"], part.coords["position"]
    ((('obs_id',), array([0, 1])), (('obs_id',), array([4, 5])))
    """

    x: torch.Tensor
    name: str = "data"
    dims: tuple[str, ...] = ()
    coords: Coords = dataclasses.field(default_factory=dict)
    context: torch.Tensor | None = None
    labels: np.ndarray | None = None
    draw: Callable[[torch.Tensor], torch.Tensor] | None = None
    test: int | None = None
    test_size: float | int = 1 / 6
    numbered: bool = False
    columns: tuple[Column, ...] | None = None

    def __post_init__(self) -> None:
        def put(field: str, value: Any) -> None:
            object.__setattr__(self, field, value)

        put("x", check_x(self.x))
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string, not {type(self.name).__name__}")
        if isinstance(self.dims, str):
            raise TypeError(f"dims must be a tuple of names: write ({self.dims!r},)")
        rank = self.x.ndim - 1
        put("dims", tuple(self.dims) or tuple(f"x_dim_{axis}" for axis in range(rank)))
        put("numbered", self.numbered or "obs_id" not in self.coords)
        if isinstance(self.x, Rows) and self.numbered:
            from pandas import RangeIndex  # an array of the numbers that holds none of them

            given = {name: coord for name, coord in self.coords.items() if name != "obs_id"}
            put("coords", check_coords(given, self.dims, tuple(self.x.shape), RangeIndex(len(self))))
        else:
            put("coords", check_coords(self.coords, self.dims, tuple(self.x.shape)))
        where = self._first_infinite()
        if where is not None:
            raise ValueError(
                f"{self.name} holds an infinite value at {where}: expected finite values, or NaN for missing ones"
            )
        put("context", check_context(self.context, len(self), self.coords))
        put("labels", check_labels(self.labels, len(self)))
        if self.draw is not None and not callable(self.draw):
            raise TypeError(f"draw must be a function of a batch, not {type(self.draw).__name__}")
        if self.columns is not None:
            put("columns", tuple(self.columns))
            if tuple(self.event_shape) != (len(self.columns),):
                raise ValueError(
                    f"{len(self.columns)} columns are described, and a datum has shape {tuple(self.event_shape)}: "
                    "expected one description for each column"
                )
            for start, block in self._blocks():
                check_cells(block, self.columns, lambda bad, at=start: place(bad, self.dims, self.coords, at))
        if self.test is not None:
            self._count(self.test, "test")
        if isinstance(self.test_size, bool) or not isinstance(self.test_size, int | float):
            raise TypeError(f"test_size must be a count or a fraction, not {self.test_size!r}")

    def __len__(self) -> int:
        return self.x.shape[0]

    def __repr__(self) -> str:
        shape = [f"{len(self):,}"]
        shape += [f"{dim} {size:,}" for dim, size in zip(self.dims, self.event_shape, strict=True)]
        notes = [str(self.x.dtype).removeprefix("torch."), *(["on disk"] if isinstance(self.x, Rows) else [])]
        if self.x.dtype.is_floating_point:
            missing = self.x.summary.missing if isinstance(self.x, Rows) else self.x.isnan().sum().item()
            notes += [f"{missing / self.x.numel():.2g} of values missing"] if missing else []
        kinds = [column.kind for column in self.columns or ()]
        if any(kind in CODED for kind in kinds):
            notes += [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
        notes += [f"context {self.context.shape[1]}"] if self.context is not None else []
        notes += ["labels"] if self.labels is not None else []
        notes += ["drawn anew per batch"] if self.draw is not None else []
        notes += [f"published test {self.test:,}"] if self.test is not None else []
        return f"Data({self.name}: {' × '.join(shape)}, {', '.join(notes)})"

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one datum."""
        return self.x.shape[1:]

    def take(self, indices: torch.Tensor | np.ndarray | Sequence[int] | slice) -> Data:
        """Some of the data, in the order asked for, with their coordinates, context and labels.

        The published test set is no longer known in the result; a `test_size` given as a count becomes the fraction
        of the data it was.

        Parameters
        ----------
        indices
            Integer positions (negative ones count from the end), a boolean mask of length n, or a slice; a slice with
            a positive step shares memory with `x`. A part of data on disk is read into memory if it has at most
            64 MiB.

        Raises
        ------
        IndexError
            A position out of range, or a mask of another length.
        TypeError
            Indices that are neither integers, booleans nor a slice.
        ValueError
            Nothing is taken.
        """
        rows = self._positions(indices)
        cut = isinstance(indices, slice) and (indices.step or 1) > 0
        at: Any = indices if cut else torch.from_numpy(rows)
        coords = {
            key: (
                dims,
                values.take(rows, axis=dims.index("obs_id")) if "obs_id" in dims else values,
            )
            for key, (dims, values) in self.coords.items()
        }
        if self.numbered:
            before = coords.pop("obs_id")
            coords.setdefault("position", before)
        size = self.test_size
        return dataclasses.replace(
            self,
            x=_part(self.x, at, rows),
            coords=coords,
            context=None if self.context is None else _part(self.context, at, rows),
            labels=None if self.labels is None else self.labels[rows],
            test=None,
            test_size=size / len(self) if isinstance(size, int) else size,
        )

    def split(self, seed: int = 0, test: int | float | None = None) -> tuple[Data, Data]:
        """A training and a test set.

        Parameters
        ----------
        seed
            Seeds the random split; the global random state is neither read nor changed.
        test
            How much to hold out: a count (int) or a fraction of n (float). Without it, the published test set where
            there is one, else a random `test_size`.

        Returns
        -------
        tuple[Data, Data]
            (train, test), each in the order of this set; `obs_id` tells which datum is which, or `position` where
            the set numbers its data itself.

        Raises
        ------
        ValueError
            A size that leaves the training or the test set empty.
        TypeError
            A size that is not a number.

        Examples
        --------
        >>> train, test = Data(torch.rand(12, 2)).split(seed=0, test=.25)
        >>> len(train), len(test)
        (9, 3)
        """
        if test is None and self.test is not None:
            cut = len(self) - self.test
            return self.take(slice(None, cut)), self.take(slice(cut, None))
        count = self._count(self.test_size if test is None else test, "test")
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator)
        return self.take(order[count:].sort().values), self.take(order[:count].sort().values)

    def binarize(self, how: str, seed: int = 0) -> Data:
        """The same set with binary values; those of `x` are the probabilities of a one.

        Values of an 8-bit image (uint8 with a value above 1) are divided by 255 first; integers become the default
        float type. Missing values stay missing.

        Parameters
        ----------
        how
            ``"dynamic"``: drawn anew for every batch (Salakhutdinov & Murray, 2008), so that `x` stays as it is and
            `draw` is `torch.bernoulli`; ``"static"``: drawn once; ``"threshold"``: one where x > 0.5.
        seed
            Seeds the static draw; the global random state is neither read nor changed.

        Raises
        ------
        ValueError
            An unknown `how`, or a value outside [0, 1], named with its place; or ``"static"`` of data on disk.

        Examples
        --------
        >>> Data(torch.tensor([[.2, .9]])).binarize("threshold").x
        tensor([[0., 1.]])
        """
        x, draw = binarize(self.x, how, seed, lambda bad, start=0: place(bad, self.dims, self.coords, start))
        return dataclasses.replace(self, x=x, draw=draw)

    def _first_infinite(self) -> str | None:
        """Where it is, in words."""
        if isinstance(self.x, Rows):
            at = self.x.summary.first_infinite
            return None if at is None else words(at, self.dims, self.coords)
        infinite = self.x.isinf() if self.x.dtype.is_floating_point else None
        return place(infinite, self.dims, self.coords) if infinite is not None and infinite.any() else None

    def _blocks(self) -> Iterable[tuple[int, torch.Tensor]]:
        """All data, at once if memory holds them, each block with the number of its first."""
        return self.x.blocks() if isinstance(self.x, Rows) else [(0, self.x)]

    def _positions(self, indices: Any) -> np.ndarray:
        if isinstance(indices, torch.Tensor):
            indices = indices.detach().cpu().numpy()
        if not isinstance(indices, slice):
            indices = np.asarray(indices)
            if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iub"):
                raise TypeError(
                    "indices must be a slice, or a one-dimensional sequence of integers or "
                    f"booleans, not {indices.ndim}-dimensional {indices.dtype}: for one datum "
                    "write data.take([i])"
                )
            indices = indices if indices.size else indices.astype(np.int64)
        try:
            rows = np.ascontiguousarray(np.arange(len(self))[indices])
        except IndexError as error:
            raise IndexError(f"{self.name} has {len(self):,} data: {error}") from None
        if not rows.size:
            raise ValueError(f"no data are taken from {self.name}, which has {len(self):,}")
        return rows

    def _count(self, size: int | float, what: str) -> int:
        n = len(self)
        if isinstance(size, bool) or not isinstance(size, int | float | np.integer | np.floating):
            raise TypeError(f"{what} must be a count or a fraction, not {size!r}")
        if isinstance(size, int | np.integer):
            count = int(size)
        elif 0 < size < 1:
            count = round(float(size) * n)
        else:
            raise ValueError(f"{what}={size} is not a fraction between 0 and 1: for a count pass an int")
        if not 0 < count < n:
            raise ValueError(
                f"{what}={size} holds out {count:,} of {n:,} data: expected 1 to {n - 1:,}, so "
                "that neither the training nor the test set is empty"
            )
        return count


def _part(values: Any, at: Any, rows: np.ndarray) -> Any:
    return values.part(rows) if isinstance(values, Rows) else values[at]
