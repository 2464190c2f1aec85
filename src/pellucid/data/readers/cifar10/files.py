"""The official files of CIFAR-10, binary or python version, with any number of images: labels and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.dataset import SourceFile
from pellucid.data.readers.cifar10.python_files import VALUES, read_batch, read_class_names
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
ALL = (*TRAIN, TEST)
RECORD = 1 + VALUES  # bytes of the binary version: the label, then the pixels
OFFICIAL_COUNT = 10_000  # images of each file


@dataclass(frozen=True)
class Version:
    """How the official files are laid out on disk.

    Attributes:
        folder: the name of the folder that holds them.
        suffix: what the name of a file of images ends in.
        names: the file of class names.
    """

    folder: str
    suffix: str
    names: str


BINARY = Version("cifar-10-batches-bin", ".bin", "batches.meta.txt")
PYTHON = Version("cifar-10-batches-py", "", "batches.meta")
LAYOUT = (
    "data_batch_1.bin … data_batch_5.bin and test_batch.bin of the binary version, or data_batch_1 … data_batch_5 and "
    f"test_batch of the python version; or the folder {BINARY.folder}/ or {PYTHON.folder}/ that holds "
    "them; with the option train_zip, test_batch and a zip of class folders, or a zip of train/ and test/."
)


@dataclass(frozen=True)
class BatchFile:
    """One file of images.

    Attributes:
        name: `data_batch_1` … `data_batch_5` or `test_batch`.
        file: the file as it was when it was opened.
        labels: uint8 (n,).
        pixels: uint8 (n, 3072): the red, the green and the blue plane of each image.
    """

    name: str
    file: SourceFile
    labels: npt.NDArray[np.uint8]
    pixels: npt.NDArray[np.uint8]


def open_batches(root: Path, names: Sequence[str] = ALL, *, needed: Sequence[str] | None = None) -> list[BatchFile]:
    """The training files and the test file, in that order, or those named.

    Args:
        root: the folder of the files, or the folder that holds theirs.
        names: which to open; no other is looked at.
        needed: those of them that may not be missing; all by default.

    Raises:
        InputError: naming the file, where one is missing, damaged or another than CIFAR-10's.
    """
    folder, version = _find(root)
    there = [name for name in names if (folder / f"{name}{version.suffix}").is_file()]
    missing = [f"{name}{version.suffix}" for name in (names if needed is None else needed) if name not in there]
    if missing:
        raise InputError(f"{folder}: no {', '.join(missing)}. Expected: {LAYOUT}")
    _check_names(folder / version.names)
    return [_open_batch(folder / f"{name}{version.suffix}", name, version) for name in there]


def _find(root: Path) -> tuple[Path, Version]:
    """The folder of the files. One with any of them is the one meant, so that a message says which are missing."""
    for version in (BINARY, PYTHON):
        if any((root / f"{name}{version.suffix}").is_file() for name in ALL):
            return root, version
    nested = next((version for version in (BINARY, PYTHON) if (root / version.folder).is_dir()), None)
    return (root, BINARY) if nested is None else (root / nested.folder, nested)


def _open_batch(path: Path, name: str, version: Version) -> BatchFile:
    try:
        status = path.stat()
        labels, pixels = _read_binary(path, status.st_size) if version is BINARY else read_batch(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    wrong = np.flatnonzero(labels >= len(CLASSES))
    if wrong.size:
        raise InputError(
            f"{path}: record {wrong[0]} has label {labels[wrong[0]]}; CIFAR-10's are 0 to {len(CLASSES) - 1}. "
            "It is another file, or damaged."
        )
    return BatchFile(name, SourceFile(path, status.st_size, status.st_mtime_ns), labels, pixels)


def _read_binary(path: Path, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    if size == 0 or size % RECORD:
        raise InputError(
            f"{path}: {size:,} bytes are not a whole number of records of {RECORD:,} bytes (a label and "
            "three planes of 32 × 32). Fetch the file again."
        )
    records = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, RECORD)
    return np.array(records[:, 0]), records[:, 1:]


def _check_names(path: Path) -> None:
    """The list of class names is not needed, but where it is there it must be CIFAR-10's."""
    if not path.is_file():
        return
    if path.name == PYTHON.names:
        names = read_class_names(path)
    else:
        try:
            names = tuple(path.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as a list of class names ({error}).") from error
    if names != CLASSES:
        raise InputError(f"{path}: expected the class names {', '.join(CLASSES)}; found {', '.join(names) or 'none'}.")
