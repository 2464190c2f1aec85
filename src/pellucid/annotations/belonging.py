"""Whether annotations belong to the images at hand: equal names alone do not show it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pellucid.data.decoding.image_header import ImageHeader, frame_fault, frame_orientation, read_image_header
from pellucid.data.readers.image_files import IMAGE_SUFFIXES
from pellucid.types import InputError
from pellucid.utils.words import first_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pellucid.annotations.content import StoreContent, StoreInfo
    from pellucid.data.dataset import Dataset

_TOLD = 3  # images that a message names


def image_header(dataset: Dataset, row: int) -> ImageHeader:
    """The size of an image, by its file's header where it has a file of its own."""
    path = dataset.files[row].path if dataset.files else None
    if path is not None and path.suffix.lower() in IMAGE_SUFFIXES:
        header = read_image_header(path)
        if header is not None:
            return header
    height, width = dataset.read(row).shape[:2]
    return ImageHeader(width, height)


def check_images(
    info: StoreInfo, sizes: Mapping[str, tuple[int, int] | None], images: Iterable[str], dataset: Dataset, where: str
) -> None:
    """Refuse annotations of other images than a dataset's.

    Where the dataset is not, to the byte, what it was when it was annotated, the images are compared by their names and
    proportions, and that is said.

    Args:
        info: what was annotated.
        sizes: width and height of its images, None where not known.
        images: which of them count.
        dataset: what they should be images of.
        where: the file or database, for messages.

    Raises:
        InputError: another dataset, other options or classes, images that it has not or that have another proportion.
    """
    info.check(dataset)
    if info.fingerprint == dataset.fingerprint:
        return
    rows = {name: row for row, name in enumerate(dataset.ids)}
    names = sorted(set(images))
    missing = [name for name in names if name not in rows]
    whole = f"{dataset.card.name}/{dataset.split}"
    if missing:
        raise InputError(
            f"{where}: {len(missing)} of {len(names)} annotated images are not in {whole} "
            f"({first_of(missing, _TOLD)}). They were annotated in its part {info.split!r}; open the dataset with the "
            "same options."
        )
    faults = []
    for name in names:
        frame = sizes.get(name)
        if frame is not None:
            header = image_header(dataset, rows[name])
            if frame_orientation(frame, ImageHeader(header.width, header.height)) is None:
                faults.append(f"{name}: {frame_fault(frame, header)}")
    if faults:
        raise InputError(
            f"{where}: {len(faults)} of {len(names)} annotated images have the names of images of {whole}, and are "
            f"others:\n  " + "\n  ".join(faults[:20])
        )
    if names:
        warnings.warn(
            f"{where}: {whole} is not what was annotated, or was changed since: its {len(names)} annotated images are "
            "taken to be those of the same names.",
            stacklevel=2,
        )


def check_same_dataset(
    ours: StoreInfo, our_sizes: Mapping[str, tuple[int, int] | None], theirs: StoreContent, *, is_checked: bool
) -> None:
    """Refuse annotations that are to join others of another dataset.

    Args:
        ours: what the database belongs to.
        our_sizes: width and height of its images, None where not known.
        theirs: what is to be added.
        is_checked: whether both were compared with one dataset (`check_images`), which may have changed between them.

    Raises:
        InputError: saying in what they differ.
    """
    for what in ("name", "origin", "split", "task"):
        old, new = getattr(ours, what), getattr(theirs.info, what)
        if old != new:
            called = "part" if what == "split" else what
            raise InputError(
                f"these annotations belong to another dataset: its {called} is {new or 'none'}, that of the database "
                f"{old or 'none'}."
            )
    absent = [name for name in theirs.info.classes if name not in ours.classes]
    if absent:
        raise InputError(
            f"these annotations belong to a dataset with other classes: {first_of(absent, _TOLD)}; the database has "
            f"{', '.join(ours.classes)}."
        )
    faults = []
    for name, frame in theirs.sizes.items():
        size = our_sizes.get(name)
        if frame is not None and size is not None and frame_orientation(frame, ImageHeader(*size)) is None:
            faults.append(f"{name} ({frame[0]} × {frame[1]} pixels, in the database {size[0]} × {size[1]})")
    if faults:
        raise InputError(
            f"these annotations belong to other images of the same names: {len(faults)} have another proportion, "
            f"such as {first_of(faults, _TOLD)}."
        )
    if ours.fingerprint != theirs.info.fingerprint and not is_checked:
        raise InputError(
            f"these annotations and the database's are of different images, or of {ours.name}/{ours.split} "
            "before and after a change (their fingerprints differ), and images of equal names may be others. Name the "
            "dataset with --data and --root, so that both are held against it, or a new database with --store."
        )
