"""MNIST and Fashion-MNIST: where their files are, fetching them, and reading them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pyrovae.data._container import Data
from pyrovae.data._idx import read_idx

__all__ = ["FASHION_MNIST", "MNIST", "Images", "cached", "grid_coords", "load_images", "locate"]

ENVIRONMENT = "PYROVAE_DATA_DIR"
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class Images:
    """A set of images in four IDX files: its name, where it is published, MD5 sums of the files.

    The sums are of the gzipped files as published, in the order of `FILES`; `folders` are those
    in which a distribution's packages put the set.
    """

    name: str
    url: str
    md5: tuple[str, str, str, str]
    folders: tuple[str, ...] = ()


MNIST = Images(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)
FASHION_MNIST = Images(
    "fashion-mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    folders=("/usr/share/datasets/fashion-mnist",),
)


def grid_coords(rows: int, columns: int) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Coordinates of a flattened image: the pixel's number, its row and its column."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    over = ("pixel",)
    pixel = np.arange(rows * columns)
    return {"pixel": (over, pixel), "row": (over, row), "column": (over, column)}


def load_images(images: Images, directory: str | os.PathLike[str] | None = None) -> Data:
    """The set as floats in [0, 1], shape (n, 784), the published test set last, with labels.

    Raises
    ------
    FileNotFoundError
        The files are nowhere and could not be fetched, or no such `directory`.
    ValueError
        A damaged file, or files that do not belong together.
    """
    paths = locate(images, directory) or _fetch(images, directory)
    arrays = [read_idx(path) for path in paths]
    for pictures, labels, path in zip(arrays[::2], arrays[1::2], paths[::2], strict=True):
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (28, 28):
            raise ValueError(
                f"{path} holds {pictures.dtype} values of shape {pictures.shape}: expected 8-bit "
                "images of 28 x 28 pixels"
            )
        if labels.shape != pictures.shape[:1]:
            raise ValueError(
                f"{path} holds {len(pictures):,} images, but the labels beside it have shape "
                f"{labels.shape}: the files do not belong together"
            )
    pixels = np.concatenate(arrays[::2]).reshape(-1, 28 * 28)
    return Data(
        torch.from_numpy(pixels).to(torch.float32).div_(255),
        name=images.name,
        dims=("pixel",),
        coords=grid_coords(28, 28),
        labels=np.concatenate(arrays[1::2]).astype(np.int64),
        test=len(arrays[2]),
    )


def locate(images: Images, directory: str | os.PathLike[str] | None = None) -> list[Path] | None:
    """The four files, in the order of `FILES`, from the first folder that has them all, or None."""
    for folder in _folders(images, directory):
        paths = [_either(folder, file) for file in FILES]
        found = [path for path in paths if path is not None]
        if len(found) == len(FILES):
            return found
    return None


def cached(images: Images) -> bool:
    """Whether the set was fetched before."""
    folder = _cache(images)
    return all((folder / f"{file}.gz").is_file() for file in FILES)


def _folders(images: Images, directory: str | os.PathLike[str] | None) -> Iterator[Path]:
    roots = []
    if directory is not None:
        roots.append(Path(directory).expanduser())
        if not roots[0].is_dir():
            raise FileNotFoundError(f"directory={str(directory)!r}: no such folder")
    if os.environ.get(ENVIRONMENT):
        roots.append(Path(os.environ[ENVIRONMENT]).expanduser())
    for root in roots:
        yield root / images.name
        if root.resolve().name == images.name:
            # Both sets use the same file names, so that a folder must carry the name of its set.
            yield root
    yield from map(Path, images.folders)


def _either(folder: Path, file: str) -> Path | None:
    for path in (folder / file, folder / f"{file}.gz"):
        if path.is_file():
            return path
    return None


def _cache(images: Images) -> Path:
    import pooch

    return Path(pooch.os_cache("pyrovae")) / images.name


def _fetch(images: Images, directory: str | os.PathLike[str] | None) -> list[Path]:
    import pooch

    paths = []
    for file, md5 in zip(FILES, images.md5, strict=True):
        url = f"{images.url}{file}.gz"
        try:
            got = pooch.retrieve(url, known_hash=f"md5:{md5}", fname=f"{file}.gz", path=_cache(images))
        except (OSError, ValueError, ImportError) as error:
            looked = ", ".join(str(folder) for folder in _folders(images, directory))
            raise FileNotFoundError(
                f"the files of {images.name!r} are not here (looked in: {looked or 'no folder'}) "
                f"and {url} could not be fetched ({error}). Put {', '.join(FILES)} (each plain or "
                f".gz) into a folder named {images.name!r}, and set {ENVIRONMENT} to the folder "
                "that holds it, or pass that as directory=…"
            ) from error
        paths.append(Path(got))
    return paths
