"""IDX files, the format in which MNIST and its relatives are published."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np

__all__ = ["read_idx"]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 24


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, plain or gzipped (told by its first bytes, not by its name).

    The format: two zero bytes, a byte for the type, a byte for the number of dimensions, each
    dimension as a big-endian 32-bit integer, then the values, big-endian, last dimension fastest.
    No more is read, or held in memory, than the header says, and one byte to see that it ends.

    Returns
    -------
    numpy.ndarray
        Of the shape and type in the header, in native byte order.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not an IDX file, or one that is shorter or longer than its header says.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _parse(raw, path)
            with gzip.GzipFile(fileobj=raw) as unzipped:
                return _parse(unzipped, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file ({error}): fetch it again") from None


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _parse(file: _Readable, path: Path) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ValueError(
            f"{path} is not an IDX file: it starts with {head.hex(' ')!r}, expected '00 00', a "
            "type and a number of dimensions"
        )
    code, rank = head[2], head[3]
    if code not in TYPES:
        known = ", ".join(f"0x{key:02x}" for key in TYPES)
        raise ValueError(f"{path} has the unknown IDX type 0x{code:02x}: expected one of {known}")
    if not rank:
        raise ValueError(f"{path} says it has no dimensions: expected at least one")
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(f"{path} ends within its header: fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    dtype = np.dtype(TYPES[code])
    expected = math.prod(shape) * dtype.itemsize
    values = bytearray()
    while len(values) < expected:
        chunk = file.read(min(CHUNK, expected - len(values)))
        if not chunk:
            raise ValueError(
                f"{path} is truncated: its header says {expected:,} bytes of values for the shape "
                f"{shape}, it has {len(values):,}; fetch it again"
            )
        values += chunk
    if file.read(1):
        raise ValueError(
            f"{path} goes on after the {expected:,} bytes of values that its header says: it is "
            "damaged or not an IDX file"
        )
    return np.frombuffer(values, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
