"""A zarr store that several processes write, each the blocks of its own data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from pyrovae.draws.tree import FLUSH, DiskTree, _concat
from pyrovae.svi.processes import Processes

__all__ = ["SharedTree"]


class SharedTree:
    """As `DiskTree`: the first process makes each group, for all data; each process fills in its own rows.

    A chunk is a block of data, so that no two processes write the same one.

    Parameters
    ----------
    path, overwrite
        As of `DiskTree`.
    processes
        Who writes; each has consecutive blocks, and the first has the first.
    blocks
        Those of this process.
    index
        The coordinate ``obs_id`` of all data.
    """

    def __init__(self, path: Path, overwrite: bool, processes: Processes, blocks: Sequence[slice], index: Any) -> None:
        self.processes, self.path, self.index = processes, path, index
        self.work = path.with_name(f".{path.name}.writing")
        self.disk = DiskTree(path, overwrite=overwrite) if processes.first else None
        self.start = blocks[0].start if blocks else 0
        self.chunk = blocks[0].stop - blocks[0].start if blocks else 1
        self.waiting: dict[str, list[xr.Dataset]] = {}
        self.written: dict[str, int] = {}

    def append(self, group: str, block: xr.Dataset) -> None:
        """Add a block of data; those of a group are written when they have grown to `FLUSH` bytes."""
        blocks = self.waiting.setdefault(group, [])
        blocks.append(block)
        if sum(b.nbytes for b in blocks) >= FLUSH:
            self._flush(group)

    def put(self, group: str, whole: xr.Dataset) -> None:
        """Write a group, which the first process does."""
        if self.disk is not None:
            self.disk.put(group, whole)

    def close(self, attrs: dict[str, Any]) -> xr.DataTree:
        """The tree, read lazily from the store when all have written to it."""
        for group in list(self.waiting):
            self._flush(group)
        processes = self.processes
        if self.disk is None:
            processes.store.set(f"written {processes.rank}", "")
            processes.wait_for("closed")
            return xr.open_datatree(self.path, engine="zarr", consolidated=False, chunks=None)
        for rank in range(1, processes.size):
            processes.wait_for(f"written {rank}")
        tree = self.disk.close(attrs)
        processes.store.set("closed", "")
        return tree

    def _flush(self, group: str) -> None:
        whole = _concat(self.waiting.pop(group))
        done = self.written.get(group, 0)
        if self.processes.first and not done:
            self._make(group, whole)
        else:
            self.processes.wait_for(f"made {group}")
            own = whole.drop_vars([n for n, v in whole.variables.items() if "obs_id" not in v.dims])
            first = self.start + done
            rows = {"obs_id": slice(first, first + own.sizes["obs_id"])}
            own.to_zarr(self.work, group=group, mode="r+", region=rows, consolidated=False)
        self.written[group] = done + whole.sizes.get("obs_id", 0)

    def _make(self, group: str, whole: xr.Dataset) -> None:
        """Write the first rows, and make room for all."""
        import zarr

        inside = whole.drop_vars("obs_id", errors="ignore")
        lengths = {"obs_id": self.chunk}
        encoding = {
            n: {"chunks": tuple(lengths.get(str(d), size) for d, size in v.sizes.items())}
            for n, v in inside.variables.items()
            if v.size
        }
        inside.to_zarr(self.work, group=group, mode="a", encoding=encoding, consolidated=False)
        if "obs_id" in whole.dims:
            made: Any = zarr.open_group(self.work, mode="a")[group]
            for name, variable in inside.variables.items():
                if "obs_id" in variable.dims:
                    made[name].resize(tuple({**variable.sizes, "obs_id": len(self.index)}.values()))
            every = xr.Dataset(coords={"obs_id": self.index}, attrs=whole.attrs)  # a write of some rows leaves it out
            every.to_zarr(self.work, group=group, mode="a", consolidated=False)
        self.processes.store.set(f"made {group}", "")
