"""Read Fashion-MNIST, and what has its form, from an .npz file or from the four original idx files."""

from __future__ import annotations

import gzip
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_SPLITS = {"train": "train", "test": "t10k"}
_READ_ERRORS = (OSError, EOFError, ValueError, KeyError, MemoryError, zlib.error, zipfile.BadZipFile)


def data_place(path: str | os.PathLike[str] | None) -> Path:
    """Return the .npz file, or else the folder of idx files, that `path` means."""
    if path is None:
        path = os.environ.get("FASTNN_DATA_DIR") or None
    if path is None:
        raise FileNotFoundError(
            "load_fashion_mnist needs the data on disk: pass path= (an .npz file, or a folder with it or the "
            "four idx files), or set the environment variable FASTNN_DATA_DIR to that folder"
        )
    try:
        place = Path(path).expanduser()
    except RuntimeError:
        raise FileNotFoundError(
            f"path {os.fspath(path)!r} is in a home folder that is not known: pass the whole path of an .npz file or "
            "a folder, or set FASTNN_DATA_DIR to it"
        ) from None
    if not place.exists():
        raise FileNotFoundError(f"path {str(place)!r} does not exist: pass an .npz file or a folder")
    inside = place / "fashion_mnist.npz"
    return inside if inside.is_file() else place


def read_images(place: Path) -> dict[str, Array]:
    """Return the arrays ``x_train``, ``y_train``, ``x_test``, ``y_test`` of an .npz file or a folder."""
    return _read_npz(place) if place.is_file() else _read_idx_folder(place)


def _foreign(place: Path, found: object) -> ValueError:
    return ValueError(
        f"{str(place)!r} is not a complete Fashion-MNIST file: {found}; "
        "it may be truncated or another data set, so fetch it again"
    )


def _read_npz(place: Path) -> dict[str, Array]:
    names = [f"{kind}_{split}" for split in ("train", "test") for kind in "xy"]
    try:
        # Not np.load: that would also accept a lone .npy, or offer to unpickle what is no archive.
        with zipfile.ZipFile(place) as archive:
            missing = [name for name in names if f"{name}.npy" not in archive.namelist()]
            if missing:
                raise ValueError(f"the arrays {missing} are missing")
        with np.load(place, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except _READ_ERRORS as error:
        raise _foreign(place, error) from error


def _read_idx_folder(folder: Path) -> dict[str, Array]:
    arrays = {}
    for split, prefix in _SPLITS.items():
        arrays[f"x_{split}"] = _read_idx(folder, f"{prefix}-images-idx3-ubyte", 3)
        arrays[f"y_{split}"] = _read_idx(folder, f"{prefix}-labels-idx1-ubyte", 1)
    return arrays


def _read_idx(folder: Path, name: str, ndim: int) -> Array:
    """Read unsigned bytes in idx form: the bytes 0, 0, 8, ndim; the lengths, big-endian; the data."""
    place = next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)
    if place is None:
        raise FileNotFoundError(
            f"{str(folder)!r} holds neither fashion_mnist.npz nor {name} or {name}.gz: "
            "pass the folder that has the four idx files, or the .npz file"
        )
    try:
        with gzip.open(place) if place.suffix == ".gz" else place.open("rb") as file:
            head = file.read(4 + 4 * ndim)
            if len(head) < 4 + 4 * ndim or head[:4] != bytes((0, 0, 8, ndim)):
                raise ValueError(f"its first bytes {head[:4].hex()!r} are not those of an idx{ndim} file")
            shape = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
            if shape[1:] != (28, 28)[: ndim - 1]:
                raise ValueError(f"it claims images of {shape[1:]} pixels, not (28, 28)")
            # Piece by piece, so that a header cannot make us allocate more than the file holds.
            wanted, data = math.prod(shape), bytearray()
            while len(data) <= wanted and (piece := file.read(1 << 20)):
                data += piece
            if len(data) != wanted:
                more = "more" if len(data) > wanted else f"only {len(data)}"
                raise ValueError(f"its header promises {wanted} bytes, but there are {more}")
    except _READ_ERRORS as error:
        raise _foreign(place, error) from error
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def check_split(place: Path, split: str, images: Array, labels: Array) -> None:
    """Raise ValueError unless these are uint8 images of 28 by 28 pixels, each with a label up to 9."""
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        raise _foreign(place, f"the {split} arrays are {images.dtype} and {labels.dtype}, not uint8")
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or not len(images):
        raise _foreign(
            place,
            f"the {split} arrays have the shapes {images.shape} and {labels.shape}, not (n, 28, 28) and (n,)",
        )
    if labels.max() > 9:
        raise _foreign(place, f"the {split} labels reach {labels.max()}, not 9")


def scaled(images: Array, scale: str | None) -> Array:
    """Return the pixels as `scale` says; see `fastnn.datasets.load_fashion_mnist`."""
    if scale is None:
        return images
    pixels = images.astype(np.float32)
    if scale == "unit":
        pixels /= np.float32(255.0)
    else:
        pixels -= np.float32(127.5)
        pixels /= np.float32(127.5)
    return pixels
