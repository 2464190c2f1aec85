"""CIFAR-10 (Krizhevsky 2009): its official binary version, bit for bit; training images also from a zip of JPEGs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pellucid.data.cifar10_zip import as_image, find_twins
from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits
from pellucid.data.opening import Remark, check_root
from pellucid.data.splits import check_disjoint, patient_split
from pellucid.data.zipped import ZippedImages, open_zip
from pellucid.resources import nearest
from pellucid.settings import Section, validate
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
        "images, less a validation part, and the official test images. Training images may come from a zip of JPEGs."
    ),
)


class Cifar10Options(Section):
    """What may be chosen when CIFAR-10 is opened.

    Attributes:
        validation_fraction: the share of the official training images that becomes the validation part; 0 for none.
        train_zip: a zip of class folders, as in `train/cat/0007.jpg`, that training and validation images are taken
            from; its path, from the root unless it is absolute.
    """

    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    train_zip: str | None = None


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

    With `train_zip` the training and validation images are those of the zip, with ids as `cat/0007.jpg`. What
    data_batch files there are give their images without loss: such a record takes the place of its twin in the zip,
    under its own id, so that no image occurs twice and it is on the same side of the cut as without the zip.

    Args:
        root: the folder of the files, or the folder that holds `cifar-10-batches-bin/`.
        seed: chooses the images of the validation part.
        options: see `Cifar10Options`.

    Returns:
        `train`, `validation` (unless its fraction is 0) and `test`.

    Raises:
        InputError: naming the file, where one is missing (with a zip, only test_batch.bin is needed), is empty or is no
            whole number of records, for a label above 9, or a list of class names that is not CIFAR-10's; for a zip
            that is none (see `open_zip`), has other folders than the ten classes, or is not numbered in the official
            order while data_batch files are there (see `find_twins`).
    """
    settings = validate(Cifar10Options, options, f"options of {CARD.name}")
    folder = check_root(root, CARD.name, LAYOUT)
    if settings.train_zip is None:
        *files, test = open_batches(folder)
        train = _of_batches(files)
    else:
        *files, test = open_batches(folder, needed=(TEST,))
        train = _of_zip(open_zip(folder / Path(settings.train_zip).expanduser()), files)
    kept, cut = patient_split(train.ids, settings.validation_fraction, seed)
    splits = {"train": train.part("train", kept)}
    if len(cut):
        splits["validation"] = train.part("validation", cut)
    splits["test"] = _of_batches([test]).part("test")
    check_disjoint(splits)
    return splits


def open_batches(root: Path, needed: Sequence[str] = (*TRAIN, TEST)) -> list[Batch]:
    """The training files and the test file, in that order; those not needed may be missing.

    Raises:
        InputError: see `open_cifar10`.
    """
    names = [*TRAIN, TEST]
    nested = root / FOLDER
    # a folder with any of the files is the one meant, so that the message says which others are missing
    folder = nested if nested.is_dir() and not any((root / f"{name}.bin").is_file() for name in names) else root
    there = [name for name in names if (folder / f"{name}.bin").is_file()]
    missing = [f"{name}.bin" for name in needed if name not in there]
    if missing:
        raise InputError(f"{folder}: no {', '.join(missing)}. Expected: {LAYOUT}")
    _check_names(folder / NAMES)
    return [_open_batch(folder / f"{name}.bin") for name in there]


def audit(folder: Path) -> list[Remark]:
    """Which files are not the whole of the official ones; opening says which are missing."""
    return [
        Remark(
            str(batch.file.path),
            f"holds {len(batch.records):,} of the {OFFICIAL_COUNT:,} official images",
            serious=False,
        )
        for batch in open_batches(folder, needed=())
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


@dataclass(frozen=True)
class _Images:
    """Images before they are cut into parts: names, labels, files and how to read them."""

    ids: list[str]
    labels: npt.NDArray[np.int64]
    files: list[SourceFile]
    read: Callable[[int], npt.NDArray[np.uint8]]
    origin: str = ""

    def part(self, split: str, rows: npt.NDArray[np.int64] | None = None) -> Dataset:
        """The images `rows`; all where None."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        chosen = tuple(self.ids[row] for row in rows.tolist())
        read = self.read
        return Dataset(
            card=CARD,
            split=split,
            ids=chosen,
            patients=chosen,
            targets=self.labels[rows],
            read=lambda index: read(int(rows[index])),
            files=tuple(self.files[row] for row in rows.tolist()),
            origin=self.origin,
        )


def _of_batches(batches: Sequence[Batch]) -> _Images:
    """All records of several files, one file after the other."""
    records = [(batch, place) for batch in batches for place in range(len(batch.records))]

    def read(index: int) -> npt.NDArray[np.uint8]:
        batch, place = records[index]
        return as_image(batch.records[place])

    return _Images(
        ids=[f"{batch.name}/{place}" for batch, place in records],
        labels=np.concatenate([batch.records[:, 0] for batch in batches]).astype(np.int64),
        files=[batch.file for batch, _ in records],
        read=read,
    )


def _of_zip(images: ZippedImages, batches: Sequence[Batch]) -> _Images:
    """The images of the zip, each replaced by the record that holds it without loss where there is one."""
    for name in images.folders:
        if name not in CLASSES:
            raise InputError(f"{images.file.path}: {name!r} is no class of CIFAR-10. {nearest(name, CLASSES)}")
    by_number = {TRAIN.index(batch.name): batch for batch in batches}
    twins = find_twins(images, CLASSES, {k: batch.records for k, batch in by_number.items()}) if batches else {}
    ids = ["/".join(member.name.split("/")[-2:]) for member in images.members]  # wherever the class folders lie
    files = [images.file] * len(images)
    for index, (number, place) in twins.items():
        ids[index], files[index] = f"{by_number[number].name}/{place}", by_number[number].file

    def read(index: int) -> npt.NDArray[np.uint8]:
        if index in twins:
            number, place = twins[index]
            return as_image(by_number[number].records[place])
        image = images.read(index)
        if image.shape[:2] != (SIDE, SIDE):
            found = f"{image.shape[1]} × {image.shape[0]}"
            raise InputError(f"{images.file.path}: {images.members[index].name}: {found} pixels; expected 32 × 32.")
        return image

    labels = np.array([CLASSES.index(member.folder) for member in images.members], dtype=np.int64)
    return _Images(ids, labels, files, read, origin=f"zip {images.digest()}")
