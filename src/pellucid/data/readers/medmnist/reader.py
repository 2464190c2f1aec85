"""MedMNIST (Yang et al. 2023): an npz file of small images, cut into its official parts."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import tempfile
import threading
import zipfile
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits, released_ids
from pellucid.data.decoding.npz import DAMAGED, npy_header, npy_members, open_npz
from pellucid.data.decoding.pixel_limit import check_pixels
from pellucid.data.issues import check_root
from pellucid.data.readers.medmnist.sets import SETS, SIZES
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

PARTS = {"train": "train", "val": "validation", "test": "test"}  # what the file calls them → what they are here
LAYOUT = "an npz file of MedMNIST, such as pneumoniamnist.npz or chestmnist_224.npz."
_CHUNK = 1 << 20
_MOST_COLUMNS = 10_000  # labels of an image; more are no labels, and would take memory

CARD = DatasetCard(
    name="medmnist",
    title="MedMNIST",
    task="multiclass",
    classes=(),
    citation=(
        "J. Yang, R. Shi, D. Wei et al.: MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical "
        "image classification. Scientific Data 10, 41, 2023."
    ),
    licence="CC BY 4.0; DermaMNIST CC BY-NC 4.0",
    url="https://medmnist.com/",
    notes="Twelve sets of 28, 64, 128 or 224 pixels, each a file. Not for clinical use, as its authors say.",
)


class MedMnistOptions(Section):
    """What may be chosen when a file of MedMNIST is opened.

    Attributes:
        file: which of the npz files of the folder; not needed where there is one.
    """

    file: str | None = None


@dataclass
class _Pixels:
    """The images of one part: unpacked once, when the first is asked for, to a file without a name."""

    path: Path
    member: str
    shape: tuple[int, ...]
    start: int  # bytes of the header before them
    lock: threading.Lock = field(default_factory=threading.Lock)
    array: npt.NDArray[np.uint8] | None = None

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Image `index`, a copy; safe to call from threads."""
        with self.lock:
            if self.array is None:
                self.array = self._unpack()
        image = self.array[index]
        return np.array(image[..., 0] if image.shape[2:] == (1,) else image)

    def _unpack(self) -> npt.NDArray[np.uint8]:
        try:
            if shutil.disk_usage(tempfile.gettempdir()).free < self.start + math.prod(self.shape):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            file = tempfile.TemporaryFile()  # noqa: SIM115 (the map below keeps it)
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as content:
                while chunk := content.read(_CHUNK):
                    file.write(chunk)
            file.flush()
            return np.memmap(cast("IO[bytes]", file), np.uint8, "r", self.start, self.shape)
        except DAMAGED as error:
            raise InputError(f"{self.path}: {self.member}: damaged ({error}). Fetch the file again.") from error
        except OSError as error:
            raise InputError(
                f"{self.path}: {self.member}: cannot be unpacked to {tempfile.gettempdir()} "
                f"({error.strerror or error}). It needs {math.prod(self.shape) / 1e9:.1f} GB there; TMPDIR names "
                "another folder."
            ) from error


def open_medmnist(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:  # noqa: ARG001
    """Open a file of MedMNIST: its official training, validation and test part.

    Labels of one column are class numbers, labels of several columns are 0 or 1 for each of as many findings. Classes
    have their official names where the file is called as MedMNIST calls it, numbers otherwise. Each image counts as a
    patient of its own.

    Args:
        root: the folder of the file.
        seed: of no effect: nothing is left to chance.
        options: see `MedMnistOptions`.

    Returns:
        Those of `train`, `validation` and `test` that the file has.

    Raises:
        InputError: naming the file, if it is not one file that is meant, not an npz file, damaged, of volumes instead
            of images, without images and labels, with anything pickled, or with labels that make no sense.
    """
    settings = validate(MedMnistOptions, options, f"options of {CARD.name}")
    path = _choose(check_root(root, CARD.name, LAYOUT), settings.file)
    status = path.stat()
    arrays_of: dict[str, tuple[_Pixels, npt.NDArray[np.float64]]] = {}
    with open_npz(path, str(path)) as archive:
        members = npy_members(archive)
        for part in PARTS:
            if f"{part}_images" in members and f"{part}_labels" in members:
                pixels = _images(archive, path, members[f"{part}_images"])
                arrays_of[part] = pixels, _labels(archive, path, members[f"{part}_labels"], part, pixels.shape[0])
    if not arrays_of:
        raise InputError(
            f"{path}: expected arrays called train_images, train_labels, and so on for val and test; found "
            f"{', '.join(members) or 'none'}."
        )
    card, targets = _targets(path, {part: labels for part, (_, labels) in arrays_of.items()})
    splits: Splits = {}
    for part, (pixels, labels) in arrays_of.items():
        count = len(labels)
        ids = tuple(f"{part}/{number}" for number in range(count))
        checksums = "|".join(f"{members[f'{part}_{kind}'].CRC:08x}" for kind in ("images", "labels"))
        splits[PARTS[part]] = Dataset(
            card=replace(card, native_channels=3 if pixels.shape[3:] == (3,) else 1),
            split=PARTS[part],
            ids=ids,
            patients=ids,
            targets=targets[part],
            read=pixels.read,
            files=(SourceFile(path, status.st_size, status.st_mtime_ns),) * count,
            origin=f"npz {checksums}",
            stable_ids=released_ids(f"medmnist|{checksums}", ids),
        )
    return splits


def _choose(folder: Path, name: str | None) -> Path:
    there = sorted(path.name for path in folder.glob("*.npz") if path.is_file())
    if name is None:
        if len(there) == 1:
            return folder / there[0]
        situation = f"several npz files: {', '.join(there)}. Choose one by the option file" if there else "no npz file"
        raise InputError(f"{folder}: {situation}. Expected: {LAYOUT}")
    for file_name in (name, f"{name}.npz"):
        if file_name in there:
            return folder / file_name
    raise InputError(f"{folder}: no {name}. {nearest(name, there)}")


def _images(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo) -> _Pixels:
    place = f"{path}: {info.filename}"
    with archive.open(info) as content:
        shape, dtype = npy_header(content, place, info.file_size)
        start = content.tell()
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or dtype != np.uint8 or 0 in shape:
        what = "volumes (three-dimensional sets) are not read; " if len(shape) == 4 and dtype == np.uint8 else ""
        raise InputError(f"{place}: {what}expected uint8 images (N, H, W) or (N, H, W, 3); found {dtype} {shape}.")
    try:
        check_pixels(shape[1], shape[2])
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    return _Pixels(path, info.filename, shape, start)


def _labels(
    archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo, part: str, count: int
) -> npt.NDArray[np.float64]:
    """The labels of a part, (N, K); not read where they are not as many as images, or have too many columns."""
    place = f"{path}: {info.filename}"
    with archive.open(info) as content:
        shape, dtype = npy_header(content, place, info.file_size)
        if len(shape) not in (1, 2) or dtype.kind not in "uibf" or 0 in shape[1:]:
            raise InputError(f"{place}: expected numbers of shape (N, 1) or (N, K); found {dtype} {shape}.")
        if shape[0] != count:
            raise InputError(f"{path}: {count:,} {part}_images and {shape[0]:,} {part}_labels; expected as many.")
        if math.prod(shape[1:]) > _MOST_COLUMNS:
            raise InputError(f"{place}: {shape[1]:,} labels per image; expected {_MOST_COLUMNS:,} at most.")
        values = np.frombuffer(content.read(), dtype=dtype)
    return values.reshape(shape[0], -1 if shape[0] else 1).astype(np.float64)


def _targets(
    path: Path, labels: Mapping[str, npt.NDArray[np.float64]]
) -> tuple[DatasetCard, dict[str, npt.NDArray[np.generic]]]:
    """The labels as targets, and the card that fits them."""
    widths = {values.shape[1] for values in labels.values()}
    if len(widths) > 1:
        raise InputError(
            f"{path}: labels of {' and '.join(map(str, sorted(widths)))} columns; expected as many in all."
        )
    width = widths.pop()
    stem = re.fullmatch(rf"(\w+?)(_({'|'.join(map(str, SIZES))}))?", path.stem)
    facts = SETS.get(stem.group(1)) if stem is not None else None
    whole = np.concatenate(list(labels.values()))
    if width > 1:
        if not (np.isin(whole, (0, 1, -1)) | np.isnan(whole)).all():
            raise InputError(
                f"{path}: labels of {width} columns with other values than 0, 1, and -1 or NaN where not known."
            )
        classes = _names(facts.classes if facts is not None else (), width)
        targets: dict[str, npt.NDArray[np.generic]] = {
            part: np.where(v == -1, np.nan, v).astype(np.float32) for part, v in labels.items()
        }
        card = replace(CARD, task="multilabel", classes=classes)
    else:
        if not ((whole >= 0) & (whole < 1e6) & (whole == np.floor(whole))).all():
            raise InputError(
                f"{path}: labels that are no class numbers from 0; an image of no known class has no place here."
            )
        most = int(whole.max(initial=0)) + 1
        classes = facts.classes if facts is not None and len(facts.classes) >= most else _names((), most)
        targets = {part: v[:, 0].astype(np.int64) for part, v in labels.items()}
        card = replace(CARD, classes=classes)
    return replace(card, title=f"MedMNIST: {path.stem}", licence=facts.licence if facts else card.licence), targets


def _names(official: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(official) if len(official) == count else tuple(str(number) for number in range(count))
