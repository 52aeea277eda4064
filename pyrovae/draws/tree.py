"""Arrays by site made into datasets with the field's dimensions, and datasets into a tree, in memory or on disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from pyrovae._atomic import refuse_existing, replacing
from pyrovae.data import Data

FLUSH = 16 * 2**20

__all__ = ["DiskTree", "MemoryTree", "dataset", "site_dims", "write_netcdf"]


def site_dims(name: str, event_shape: tuple[int, ...], data: Data | None = None) -> tuple[str, ...]:
    """Names of a site's own dimensions: the data's where it has their shape, else ``name_dim_0``, …"""
    if data is not None and tuple(data.event_shape) == tuple(event_shape):
        return data.dims
    return tuple(f"{name}_dim_{k}" for k in range(len(event_shape)))


def dataset(
    variables: Mapping[str, tuple[tuple[str, ...], Any]], data: Data | None = None, rows: slice = slice(None)
) -> xr.Dataset:
    """A Dataset with integer coordinates, or those of the data for the dimensions that it names."""
    arrays = {
        name: (dims, values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values))
        for name, (dims, values) in variables.items()
    }
    sizes = {d: size for dims, values in arrays.values() for d, size in zip(dims, values.shape, strict=True)}
    known = {} if data is None else dict(data.coords)
    coords: dict[str, Any] = {d: np.arange(size) for d, size in sizes.items() if d not in known}
    for name, (dims, values) in known.items():
        if dims and all(d in sizes for d in dims):
            if "obs_id" in dims:
                values = values[(slice(None),) * dims.index("obs_id") + (rows,)]
            coords[name] = (dims, values)
    return xr.Dataset(arrays, coords)


class MemoryTree:
    """Collects blocks along ``obs_id`` and whole groups."""

    def __init__(self) -> None:
        self.blocks: dict[str, list[xr.Dataset]] = {}
        self.groups: dict[str, xr.Dataset] = {}

    def append(self, group: str, block: xr.Dataset) -> None:
        """Add a block of data."""
        self.blocks.setdefault(group, []).append(block)

    def put(self, group: str, whole: xr.Dataset) -> None:
        """Add a group."""
        self.groups[group] = whole

    def close(self, attrs: dict[str, Any]) -> xr.DataTree:
        """The tree."""
        self.groups |= {name: _concat(blocks) for name, blocks in self.blocks.items()}
        tree = xr.DataTree.from_dict({f"/{name}": self.groups[name] for name in _order(self.groups)})
        tree.attrs = _plain(attrs)
        return tree


class DiskTree:
    """The same, written to a zarr store as it goes: memory holds `FLUSH` bytes of it. The store appears whole."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        refuse_existing(path, overwrite)
        self.path = path
        self.work = path.with_name(f".{path.name}.writing")
        shutil.rmtree(self.work, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.waiting: dict[str, list[xr.Dataset]] = {}
        self.begun: set[str] = set()

    def append(self, group: str, block: xr.Dataset) -> None:
        """Add a block of data; the group is written when it has grown to `FLUSH` bytes."""
        blocks = self.waiting.setdefault(group, [])
        blocks.append(block)
        if sum(b.nbytes for b in blocks) >= FLUSH:
            self._flush(group)

    def _flush(self, group: str) -> None:
        whole = _concat(self.waiting.pop(group))
        if group in self.begun:
            whole = whole.drop_vars([n for n, v in whole.variables.items() if "obs_id" not in v.dims])
            whole.to_zarr(self.work, group=group, append_dim="obs_id", consolidated=False)
        else:
            self.put(group, whole)
            self.begun.add(group)

    def put(self, group: str, whole: xr.Dataset) -> None:
        """Write a group."""
        encoding = {n: {"chunks": v.shape} for n, v in whole.data_vars.items() if v.size}
        whole.to_zarr(self.work, group=group, mode="a", encoding=encoding, consolidated=False)

    def close(self, attrs: dict[str, Any]) -> xr.DataTree:
        """The tree, read lazily from the finished store."""
        import zarr

        for group in list(self.waiting):
            self._flush(group)
        zarr.open_group(self.work, mode="a").attrs.update(_plain(attrs))
        if self.path.exists():
            shutil.rmtree(self.path)
        os.replace(self.work, self.path)
        return xr.open_datatree(self.path, engine="zarr", consolidated=False, chunks=None)


def _concat(blocks: list[xr.Dataset]) -> xr.Dataset:
    if len(blocks) == 1:
        return blocks[0]
    return xr.concat(blocks, "obs_id", data_vars="minimal", coords="minimal", compat="override", join="override")


def write_netcdf(tree: xr.DataTree, path: Path, *, overwrite: bool) -> None:
    """Write a tree to a netCDF file, whole or not at all."""
    refuse_existing(path, overwrite)
    with replacing(path) as work:
        tree.to_netcdf(work, engine="h5netcdf")


def _order(groups: Mapping[str, Any]) -> list[str]:
    first = (
        "posterior",
        "posterior_predictive",
        "prior",
        "prior_predictive",
        "observed_data",
        "constant_data",
        "sample_stats",
        "predictive_stats",
        "optimization",
    )
    return sorted(groups, key=lambda g: first.index(g) if g in first else len(first))


def _plain(attrs: dict[str, Any]) -> dict[str, Any]:
    """Attributes as netCDF takes them: numbers and text, the rest as JSON."""
    return {
        k: v if isinstance(v, (str, int, float)) and not isinstance(v, bool) else json.dumps(v)
        for k, v in attrs.items()
    }
