"""Files that appear whole or not at all, and replace another only when told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["refuse_existing", "replacing"]


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise `FileExistsError` if there is something at ``path`` that may not be replaced."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: give another path, or overwrite=True to replace it")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A block that writes to the path it is given, which takes the place of ``path`` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        yield work
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)
