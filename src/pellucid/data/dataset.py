"""One split of a dataset: what is known of its images, and how to read them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.data.cache.shard_store import Shards
    from pellucid.data.regions import Regions
    from pellucid.types import InputSpec, Pixels, Task


class SourceFile(NamedTuple):
    """A file that an image is read from, as it was when the dataset was opened."""

    path: Path
    size: int
    modified: int  # nanoseconds


@dataclass(frozen=True)
class DatasetCard:
    """What a dataset is, where it comes from and under which terms: nowhere and none where it is somebody's own.

    `mirrorable` says that left and right may be exchanged without making another picture of another class: true of
    photographs of things, never of a chest.

    Example:
        >>> from pellucid.data import open_dataset
        >>> card = open_dataset("phantom", options={"train": 1, "validation": 1, "test": 4})["test"].card
        >>> card.task, card.mirrorable, len(card.classes)
        ('multilabel', False, 8)
    """

    name: str
    title: str
    task: Task
    classes: tuple[str, ...]
    citation: str = ""
    licence: str = ""
    url: str = ""
    native_channels: int = 1
    notes: str = ""
    mirrorable: bool = False


@dataclass(frozen=True)
class Dataset:
    """Some images of one split, in a fixed order; pixels are read only when asked for.

    Attributes:
        card: the dataset these images belong to.
        split: `train`, `validation` or `test`.
        ids: one name per image, unique.
        patients: one patient name per image; equal to `ids` where patients are not known.
        targets: int64 (N,) for a multiclass task; float32 (N, K), NaN where unknown, for a multi-label one.
        read: image index → uint8 or uint16 (H, W) grey, or (H, W, 3) colour, at its native size. The full range
            of the type is black to white: 0–255 or 0–65535. Raises InputError, with the file's name, for an
            image that cannot be read.
        regions: ground truth of where (boxes or masks), or None.
        files: the file of each image, which several may share, or empty where none is read from a file.
        bits: 8 or 16, of a channel: what the images are cached and learned from as. 16 where `read` gives uint16
            of any of them; 8-bit ones among them are widened.
        origin: of images that are drawn rather than read, what they are drawn from: seed and options; of images in
            an archive, a hash of its contents.
        shards: where the pixels are stored at one size already, shard by shard; a part of the images has none.
        stable_ids: one name per image that means the same image wherever a copy of it lies, as a released dataset's own
            file names, an empty one where it has none; empty where all names are only those of somebody's files.
        decoding: of the options, those that say how pixels are read from a file: `bits`, `window`, `frame`.
        fitted: what `read` fitted the images to before, as those of shards; None where it gives them as they are.
        options: all that were in force when the dataset was opened, and the seed.
        metadata: of each column what it says of each image, as of whose it is and how it was made; an empty text where
            it is not known.
        uncorrected: the targets as they came, where people corrected them since; None where nobody did. The fingerprint
            is of these.

    Example:
        >>> from pellucid.data import open_dataset
        >>> test = open_dataset("phantom", options={"size": 32, "train": 1, "validation": 1, "test": 8})["test"]
        >>> len(test), len(test.limit(4)), test.read(0).shape, test.targets.shape
        (8, 4, (32, 32), (8, 8))
        >>> test.subset([5, 2]).ids == (test.ids[5], test.ids[2])
        True
    """

    card: DatasetCard
    split: str
    ids: tuple[str, ...]
    patients: tuple[str, ...]
    targets: npt.NDArray[np.generic]
    read: Callable[[int], Pixels]
    regions: Regions | None = None
    files: tuple[SourceFile, ...] = field(default=(), compare=False, repr=False)
    bits: Literal[8, 16] = 8
    origin: str = ""
    shards: Shards | None = field(default=None, compare=False, repr=False)
    stable_ids: tuple[str, ...] = field(default=(), compare=False, repr=False)
    decoding: Mapping[str, int | None] = field(default_factory=dict, compare=False)
    options: Mapping[str, object] = field(default_factory=dict, compare=False)
    fitted: InputSpec | None = field(default=None, compare=False)
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict, compare=False, repr=False)
    uncorrected: npt.NDArray[np.generic] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.ids)
        if len(self.patients) != n or len(self.targets) != n:
            raise InputError(
                f"{self.card.name}/{self.split}: {n} ids, {len(self.patients)} patients and "
                f"{len(self.targets)} targets; expected as many of each."
            )
        if self.files and len(self.files) != n:
            raise InputError(f"{self.card.name}/{self.split}: {n} images but {len(self.files)} files.")
        if self.stable_ids and len(self.stable_ids) != n:
            raise InputError(f"{self.card.name}/{self.split}: {n} images but {len(self.stable_ids)} stable ids.")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def task(self) -> Task:
        """`multiclass` or `multilabel`."""
        return self.card.task

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K classes, in the order of the logits."""
        return self.card.classes

    def subset(self, indices: Sequence[int] | npt.NDArray[np.integer]) -> Dataset:
        """The images at `indices`, in that order, with their regions."""
        rows = [int(i) for i in indices]
        read_image = self.read
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            patients=tuple(self.patients[i] for i in rows),
            targets=self.targets[rows],
            read=lambda i: read_image(rows[i]),
            regions=self.regions.subset(rows) if self.regions is not None else None,
            files=tuple(self.files[i] for i in rows) if self.files else (),
            shards=None,
            stable_ids=tuple(self.stable_ids[i] for i in rows) if self.stable_ids else (),
            metadata={name: tuple(values[i] for i in rows) for name, values in self.metadata.items()},
            uncorrected=None if self.uncorrected is None else self.uncorrected[rows],
        )

    def limit(self, count: int | None, *, seed: int = 0) -> Dataset:
        """At most `count` images, chosen at random with `seed` and kept in order; all of them for None."""
        if count is None or count >= len(self):
            return self
        if count < 1:
            raise InputError(f"--limit must be at least 1; found {count}.")
        indices = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self.subset(np.sort(indices))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names, patients, targets, regions and the files' sizes in bytes, carried by runs and results.

        The same on every machine: places and times of files are not in it. Neither are pixels, so that it costs
        nothing: the content hash of `check_dataset` is of those. Labels that people corrected are in it as they came,
        so that a training goes on, and finds decoded images again, whatever is corrected meanwhile.
        """
        targets = self.targets if self.uncorrected is None else self.uncorrected
        digest = hashlib.sha256()
        digest.update(f"{self.card.name}|{self.split}|{self.card.classes}".encode())
        digest.update("".join(f"{text}\0" for text in (*self.ids, *self.patients)).encode())
        digest.update(np.ascontiguousarray(targets).tobytes())
        if self.regions is not None:
            digest.update(self.regions.digest())
        if self.files:
            digest.update(np.array([f.size for f in self.files], dtype="<i8").tobytes())
        digest.update(self.origin.encode() + (b"" if self.bits == 8 else b"|16 bits"))
        return digest.hexdigest()


def released_ids(release: str, ids: Sequence[str]) -> tuple[str, ...]:
    """The names of a released dataset's images with the release's own before them: the same on every machine."""
    return tuple(f"{release}/{name}" for name in ids)


def classes_of(target: npt.NDArray[np.generic] | np.generic) -> list[int]:
    """The classes of one image by its target: its own, or all labels that are known to be present."""
    values = np.asarray(target)
    return [int(values)] if values.ndim == 0 else [int(c) for c in np.flatnonzero(values == 1)]


Splits = dict[str, Dataset]
"""The parts of a dataset by name: `train`, `validation`, `test`, or fewer."""


def get_split(splits: Mapping[str, Dataset], name: str) -> Dataset:
    """The part called `name`; an InputError names the parts there are.

    Example:
        >>> import pellucid as pl
        >>> parts = pl.dataset("phantom", size=32, train=8, validation=4, test=4)
        >>> len(get_split(parts, "validation"))
        4
    """
    if name not in splits:
        whose = next(iter(splits.values())).card.name if splits else "dataset"
        raise InputError(f"{whose} has no {name!r} part; it has: {', '.join(splits) or 'none'}.")
    return splits[name]
