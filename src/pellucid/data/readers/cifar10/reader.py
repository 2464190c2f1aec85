"""CIFAR-10 (Krizhevsky 2009): its official files, bit for bit; images also from a zip of class folders."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits
from pellucid.data.issues import Issue, check_root
from pellucid.data.readers.cifar10.files import (
    CLASSES,
    LAYOUT,
    OFFICIAL_COUNT,
    RECORD,
    TEST,
    TRAIN,
    BatchFile,
    open_batches,
)
from pellucid.data.readers.splits import check_disjoint, patient_split
from pellucid.data.readers.zip_archive import ZippedImages, open_zip
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pellucid.types import Pixels

__all__ = ["CARD", "CLASSES", "OFFICIAL_COUNT", "RECORD", "TRAIN", "Cifar10Options", "check", "open_cifar10"]

SIDE = 32
_BATCHES = frozenset({*TRAIN, TEST})  # of the official files, where an image's place is its name

CARD = DatasetCard(
    name="cifar10",
    title="CIFAR-10",
    task="multiclass",
    classes=CLASSES,
    citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images. Technical report, 2009.",
    licence="not stated; its page asks for the citation",
    url="https://www.cs.toronto.edu/~kriz/cifar.html",
    native_channels=3,
    mirrorable=True,
    notes=(
        "60,000 images of 32 × 32 pixels: the official training images, less a validation part, and the official test "
        "images. Images may come from a zip of class folders."
    ),
)


class Cifar10Options(Section):
    """What may be chosen when CIFAR-10 is opened.

    Attributes:
        validation_fraction: the share of the official training images that becomes the validation part; 0 for none.
        train_zip: a zip of class folders, as in `train/cat/0007.jpg`, that training and validation images are taken
            from, and test images too where it has `test/` beside `train/` and there is no test_batch; its path, from
            the root unless it is absolute.
    """

    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    train_zip: str | None = None


def open_cifar10(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open CIFAR-10's binary or python version; files with fewer images than the official 10,000 are read as they are.

    An image's id is its file and its place there, as in `test_batch/17`. It does not depend on how many images the
    other files hold, and neither does the side of the cut between training and validation that an image is on. Both
    versions give the same. The python version is pickles, in which nothing is run.

    With `train_zip` the training and validation images are those of the zip, with ids as `cat/0007.jpg`, and no
    data_batch file is read. Test images come from the zip, with ids as `test/cat/0007.jpg`, only where there is no
    test_batch.

    Args:
        root: the folder of the files, or the folder that holds `cifar-10-batches-bin/` or `cifar-10-batches-py/`.
        seed: chooses the images of the validation part.
        options: see `Cifar10Options`.

    Returns:
        `train`, `validation` (unless its fraction is 0) and `test`; `test` alone where only test_batch is there.

    Raises:
        InputError: naming the file, where one is missing (with a zip, only test_batch is needed), is empty or damaged,
            for a label above 9, or a list of class names that is not CIFAR-10's; for a zip that is none (see
            `open_zip`) or has other folders than the ten classes.
    """
    settings = validate(Cifar10Options, options, f"options of {CARD.name}")
    folder = check_root(root, CARD.name, LAYOUT)
    if settings.train_zip is None:
        there = open_batches(folder, needed=())
        if [batch.name for batch in there] == [TEST]:
            warnings.warn(f"{folder}: no training files; there is a test part and no other.", stacklevel=2)
            return {"test": _of_batches(there).part("test")}
        if len(there) < len(TRAIN) + 1:
            open_batches(folder)  # which says what is missing
        *files, last = there
        train, test = _of_batches(files), _of_batches([last])
    else:
        zips = open_zip(folder / Path(settings.train_zip).expanduser(), parts=("train", "test"))
        official = open_batches(folder, (TEST,), needed=() if "test" in zips else (TEST,))
        train = _of_zip(zips["train"])
        test = _of_batches(official) if official else _of_zip(zips["test"], prefix="test/")
    rest, cut = patient_split(train.ids, settings.validation_fraction, seed)
    splits = {"train": train.part("train", rest)}
    if len(cut):
        splits["validation"] = train.part("validation", cut)
    splits["test"] = test.part("test")
    check_disjoint(splits)
    return splits


def check(folder: Path) -> list[Issue]:
    """Which files are not the whole of the official ones; opening says which are missing."""
    return [
        Issue(
            str(batch.file.path),
            f"holds {len(batch.labels):,} of the {OFFICIAL_COUNT:,} official images",
            serious=False,
        )
        for batch in open_batches(folder, needed=())
        if len(batch.labels) != OFFICIAL_COUNT
    ]


@dataclass(frozen=True)
class _Images:
    """Images before they are cut into parts: names, labels, files and how to read them."""

    ids: list[str]
    labels: npt.NDArray[np.int64]
    files: list[SourceFile]
    read: Callable[[int], Pixels]
    origin: str = ""

    def part(self, split: str, rows: npt.NDArray[np.int64] | None = None) -> Dataset:
        """The images `rows`; all where None."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        ids = tuple(self.ids[row] for row in rows.tolist())
        read_image = self.read
        return Dataset(
            card=CARD,
            split=split,
            ids=ids,
            patients=ids,
            targets=self.labels[rows],
            read=lambda index: read_image(int(rows[index])),
            files=tuple(self.files[row] for row in rows.tolist()),
            origin=self.origin,
            stable_ids=tuple(f"{CARD.name}/{name}" if name.split("/")[0] in _BATCHES else "" for name in ids),
        )


def _of_batches(batches: Sequence[BatchFile]) -> _Images:
    """All images of several files, one file after the other."""
    records = [(batch, place) for batch in batches for place in range(len(batch.labels))]

    def read(index: int) -> npt.NDArray[np.uint8]:
        batch, place = records[index]
        return np.array(batch.pixels[place].reshape(3, SIDE, SIDE).transpose(1, 2, 0), order="C")  # of three planes

    return _Images(
        ids=[f"{batch.name}/{place}" for batch, place in records],
        labels=np.concatenate([batch.labels for batch in batches]).astype(np.int64),
        files=[batch.file for batch, _ in records],
        read=read,
    )


def _of_zip(images: ZippedImages, prefix: str = "") -> _Images:
    """All images of the zip, named by class folder and file wherever the folders lie."""
    for name in sorted(set(images.folders)):
        if name not in CLASSES:
            raise InputError(f"{images.file.path}: {name!r} is no class of CIFAR-10. {nearest(name, CLASSES)}")

    def read(index: int) -> Pixels:
        image = images.read(index)
        if image.shape[:2] != (SIDE, SIDE):
            size = f"{image.shape[1]} × {image.shape[0]}"
            raise InputError(f"{images.file.path}: {images.members[index].filename}: {size} pixels; expected 32 × 32.")
        return image

    return _Images(
        ids=[prefix + "/".join(member.filename.split("/")[-2:]) for member in images.members],
        labels=np.array([CLASSES.index(name) for name in images.folders], dtype=np.int64),
        files=[images.file] * len(images),
        read=read,
        origin=f"zip {images.digest()}",
    )
