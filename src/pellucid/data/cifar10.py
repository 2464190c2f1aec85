"""CIFAR-10 (Krizhevsky 2009) in its official binary version, read bit for bit from memory-mapped files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits
from pellucid.data.opening import Remark, check_root
from pellucid.data.splits import check_disjoint, patient_split
from pellucid.settings import Section, validate
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
NAMES = "batches.meta.txt"
LAYOUT = f"data_batch_1.bin … data_batch_5.bin and test_batch.bin, or the folder {FOLDER}/ that holds them."
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE  # bytes: the label, then the red, the green and the blue plane, row by row
OFFICIAL_COUNT = 10_000  # records of each file

CARD = DatasetCard(
    name="cifar10",
    title="CIFAR-10",
    task="multiclass",
    classes=CLASSES,
    citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images. Technical report, 2009.",
    licence="not stated; its page asks for the citation",
    url="https://www.cs.toronto.edu/~kriz/cifar.html",
    native_channels=3,
    notes=(
        "The binary version: cifar-10-binary.tar.gz, MD5 c32a1d4ab5d03f1284b67883e8d87530. The official training "
        "images, less a validation part, and the official test images."
    ),
)


class Cifar10Options(Section):
    """What may be chosen when CIFAR-10 is opened.

    Attributes:
        validation_fraction: the share of the official training images that becomes the validation part; 0 for none.
    """

    validation_fraction: float = Field(default=0.1, ge=0, lt=1)


@dataclass(frozen=True)
class Batch:
    """One file of records.

    Attributes:
        name: `data_batch_1` … `data_batch_5` or `test_batch`.
        file: the file as it was when it was opened.
        records: uint8 (n, 3073), memory-mapped.
    """

    name: str
    file: SourceFile
    records: npt.NDArray[np.uint8]


def open_cifar10(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open CIFAR-10's binary version; files with fewer records than the official 10,000 are read as they are.

    An image's id is its file and its place there, as in `test_batch/17`. It does not depend on how many images the
    other files hold, and neither does the side of the cut between training and validation that an image is on.

    Args:
        root: the folder of the files, or the folder that holds `cifar-10-batches-bin/`.
        seed: chooses the images of the validation part.
        options: see `Cifar10Options`.

    Returns:
        `train`, `validation` (unless its fraction is 0) and `test`.

    Raises:
        InputError: naming the file, where one is missing, is empty or is no whole number of records, for a label
            above 9, or a list of class names that is not CIFAR-10's.
    """
    settings = validate(Cifar10Options, options, f"options of {CARD.name}")
    batches = open_batches(check_root(root, CARD.name, LAYOUT))
    train, test = batches[: len(TRAIN)], batches[len(TRAIN) :]
    names = [name for batch in train for name in _ids(batch)]
    kept, cut = patient_split(names, settings.validation_fraction, seed)
    splits = {"train": _part("train", train, kept)}
    if len(cut):
        splits["validation"] = _part("validation", train, cut)
    splits["test"] = _part("test", test)
    check_disjoint(splits)
    return splits


def open_batches(root: Path) -> list[Batch]:
    """The five training files and the test file, in that order.

    Raises:
        InputError: see `open_cifar10`.
    """
    names = [*TRAIN, TEST]
    nested = root / FOLDER
    # a folder with any of the files is the one meant, so that the message says which others are missing
    folder = nested if nested.is_dir() and not any((root / f"{name}.bin").is_file() for name in names) else root
    missing = [f"{name}.bin" for name in names if not (folder / f"{name}.bin").is_file()]
    if missing:
        raise InputError(f"{folder}: no {', '.join(missing)}. Expected: {LAYOUT}")
    _check_names(folder / NAMES)
    return [_open_batch(folder / f"{name}.bin") for name in names]


def audit(folder: Path) -> list[Remark]:
    """Which files are not the whole of the official ones."""
    return [
        Remark(
            str(batch.file.path),
            f"holds {len(batch.records):,} of the {OFFICIAL_COUNT:,} official images",
            serious=False,
        )
        for batch in open_batches(folder)
        if len(batch.records) != OFFICIAL_COUNT
    ]


def _open_batch(path: Path) -> Batch:
    try:
        status = path.stat()
        if status.st_size == 0 or status.st_size % RECORD:
            raise InputError(
                f"{path}: {status.st_size:,} bytes are not a whole number of records of {RECORD:,} bytes (a label and "
                "three planes of 32 × 32). Fetch the file again."
            )
        records = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, RECORD)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if wrong.size:
        raise InputError(
            f"{path}: record {wrong[0]} has label {records[wrong[0], 0]}; CIFAR-10's are 0 to {len(CLASSES) - 1}. "
            "It is another file, or damaged."
        )
    return Batch(path.stem, SourceFile(path, status.st_size, status.st_mtime_ns), records)


def _check_names(path: Path) -> None:
    """The list of class names is not needed, but where it is there it must be CIFAR-10's."""
    if not path.is_file():
        return
    try:
        names = tuple(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a list of class names ({error}).") from error
    if names != CLASSES:
        raise InputError(f"{path}: expected the class names {', '.join(CLASSES)}; found {', '.join(names) or 'none'}.")


def _ids(batch: Batch) -> list[str]:
    return [f"{batch.name}/{place}" for place in range(len(batch.records))]


def _part(split: str, batches: Sequence[Batch], rows: npt.NDArray[np.int64] | None = None) -> Dataset:
    """The records `rows` of several files, counted through them; all where None."""
    lengths = [len(batch.records) for batch in batches]
    if rows is None:
        rows = np.arange(sum(lengths), dtype=np.int64)
    starts = np.cumsum([0, *lengths])
    which = np.searchsorted(starts, rows, side="right") - 1
    places = rows - starts[which]
    labels = np.concatenate([batch.records[:, 0] for batch in batches])
    ids = [name for batch in batches for name in _ids(batch)]
    chosen = tuple(ids[row] for row in rows.tolist())

    def read(index: int) -> npt.NDArray[np.uint8]:
        planes = batches[which[index]].records[places[index], 1:].reshape(3, SIDE, SIDE)
        return np.array(planes.transpose(1, 2, 0), order="C")  # a copy, on which no file depends

    return Dataset(
        card=CARD,
        split=split,
        ids=chosen,
        patients=chosen,
        targets=labels[rows].astype(np.int64),
        read=read,
        files=tuple(batches[number].file for number in which.tolist()),
    )
