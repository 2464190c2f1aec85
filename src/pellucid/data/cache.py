"""The pixels of a dataset at a network's size: decoded once, then in memory or in a memory-mapped file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from pellucid.data.decode import DECODE_VERSION, check_shape, fit
from pellucid.data.parallel import in_threads
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset

_HEADROOM = 1 << 20  # bytes beside the pixels: header, manifest
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def materialize(
    dataset: Dataset,
    *,
    size: int,
    channels: int,
    directory: str | Path | None = None,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> npt.NDArray[np.uint8]:
    """All images of a dataset as uint8 (N, channels, size, size), decoded in threads.

    With a directory the array is a read-only memory map of a file there, which the next call with the same
    dataset, size and channels opens at once. The file is found by `cache_key`, is written under a temporary
    name and renamed when it is whole; a run that is cut off leaves nothing behind.

    Args:
        dataset: the images.
        size: height and width in pixels.
        channels: 1 for gray, 3 for colour.
        directory: where cache files live (made if need be); None keeps the array in memory.
        progress: True for a progress bar where it takes longer than a second, or a function of (done, count).
        workers: threads; by default as many as there are processors.

    Raises:
        InputError: before any decoding for a size that is not possible, no images, or too little free disk or
            memory (with what is needed and what is free); later for an image that cannot be read (with its
            file) or a disk that fills up.

    Example:
        >>> from pellucid.data.dataset import Dataset, DatasetCard
        >>> card = DatasetCard("toy", "Toy", "multiclass", ("a",), "", "", "")
        >>> black = lambda i: np.zeros((4, 6), dtype=np.uint8)
        >>> toy = Dataset(card, "test", ("1", "2"), ("1", "2"), np.zeros(2, dtype=np.int64), black)
        >>> materialize(toy, size=3, channels=1).shape
        (2, 1, 3, 3)
    """
    check_shape(size, channels)
    name = f"{dataset.card.name}/{dataset.split}"
    if len(dataset) == 0:
        raise InputError(f"{name}: there are no images in this part.")
    shape = (len(dataset), channels, size, size)

    def decoded() -> Iterator[npt.NDArray[np.uint8]]:
        def one(i: int) -> npt.NDArray[np.uint8]:
            return fit(dataset.read(i), size, channels)

        return in_threads(one, len(dataset), title=f"decode {name}", progress=progress, workers=workers)

    if directory is None:
        return _in_memory(decoded(), shape, name)
    path = cache_path(dataset, size=size, channels=channels, directory=directory)
    cached = _open(path, shape)
    if cached is None:
        _write(path, decoded, shape, dataset)
        cached = _open(path, shape)
        if cached is None:
            raise InputError(f"{path}: the cache was written but cannot be read back; use another directory.")
    return cached


def cache_key(dataset: Dataset, *, size: int, channels: int) -> str:
    """What a cache file is found by: hash of the fingerprint, size, channels, decoding rules and file times.

    The fingerprint holds names, targets and each file's size in bytes, and is the same on every machine. The
    time of each file's last change is added here, where a cache and its files share a machine: reading every
    byte to see whether an image changed would cost what the cache is to save.
    """
    digest = hashlib.sha256(f"{dataset.fingerprint}|{size}|{channels}|{DECODE_VERSION}".encode())
    digest.update(np.array([f.modified for f in dataset.files], dtype="<i8").tobytes())
    return digest.hexdigest()


def cache_path(dataset: Dataset, *, size: int, channels: int, directory: str | Path) -> Path:
    """The cache file of a dataset at one size and number of channels, there or not."""
    key = cache_key(dataset, size=size, channels=channels)
    stem = re.sub(r"[^\w.-]", "_", f"{dataset.card.name}-{dataset.split}-{channels}x{size}x{size}-{key[:16]}")
    return Path(directory).expanduser() / f"{stem}.npy"


def _in_memory(images: Iterator[npt.NDArray[np.uint8]], shape: tuple[int, ...], name: str) -> npt.NDArray[np.uint8]:
    try:
        array = np.empty(shape, dtype=np.uint8)
    except MemoryError as error:
        raise InputError(
            f"{name}: {_gigabytes(int(np.prod(shape)))} do not fit into memory; give a cache directory."
        ) from error
    for row, image in zip(array, images, strict=True):
        row[...] = image
    return array


def _open(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """The cache file, or None where there is none or it is not what it should be."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if array.shape != shape or array.dtype != np.uint8:
        return None
    return cast("npt.NDArray[np.uint8]", array)


def _write(
    path: Path,
    decoded: Callable[[], Iterator[npt.NDArray[np.uint8]]],
    shape: tuple[int, ...],
    dataset: Dataset,
) -> None:
    manifest = path.with_suffix(".json")
    temporary = [p.with_name(f".{p.name}.{os.getpid()}.part") for p in (path, manifest)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_space(path.parent, int(np.prod(shape)))
        about = {
            "dataset": dataset.card.name,
            "split": dataset.split,
            "fingerprint": dataset.fingerprint,
            "images": shape[0],
            "channels": shape[1],
            "size": shape[2],
            "decode_version": DECODE_VERSION,
        }
        temporary[1].write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        with temporary[0].open("wb") as file:
            _write_images(file, decoded(), shape)
        temporary[1].replace(manifest)
        temporary[0].replace(path)  # last: the array is there only if all of it is
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise InputError(
                f"{path.parent}: no space left while writing {_gigabytes(int(np.prod(shape)))} of images "
                f"({error.strerror}). Free some, or name another cache directory. Nothing was kept."
            ) from error
        raise InputError(
            f"{path.parent}: the cache cannot be written ({error.strerror or error}). Name another directory."
        ) from error
    finally:
        for leftover in temporary:
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def _write_images(file: IO[bytes], images: Iterator[npt.NDArray[np.uint8]], shape: tuple[int, ...]) -> None:
    """An .npy file by plain writes: on a full disk they raise, where a memory map would kill the process."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    for image in images:
        file.write(np.ascontiguousarray(image).tobytes())
    file.flush()
    os.fsync(file.fileno())


def _check_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed + _HEADROOM:
        raise InputError(
            f"{directory}: the cache needs {_gigabytes(needed)} but only {_gigabytes(free)} are free. "
            "Free some, name another cache directory, or choose a smaller size."
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e6:.2f} MB"
