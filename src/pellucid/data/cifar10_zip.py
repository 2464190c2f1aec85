"""CIFAR-10's training images in a zip of class folders, and which of them the official files hold without loss."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.data.cifar10_files import Batch
    from pellucid.data.zipped import ZippedImages

# Images of each class in data_batch_1 … data_batch_5. The files of a copy may be cut short, and then only this
# says how many images of a class come before the first of the next file.
COUNTS = (
    (1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981),
    (984, 1007, 1010, 995, 1010, 988, 1008, 1026, 987, 985),
    (994, 1042, 965, 997, 990, 1029, 978, 1015, 961, 1029),
    (1003, 963, 1041, 976, 1004, 1021, 1004, 981, 1024, 983),
    (1014, 1014, 952, 1016, 997, 1025, 980, 977, 1003, 1022),
)
SAME = 18.0  # dB: JPEG twins of a known copy have 23 and more (median 31); other images have less but by rare chance


class Record(NamedTuple):
    """Where a training image is in the official files."""

    batch: int  # 0 for data_batch_1 … 4 for data_batch_5
    place: int


def find_twins(images: ZippedImages, classes: Sequence[str], batches: Mapping[int, Batch]) -> dict[int, Record]:
    """The images of the zip that the official files hold too.

    The image `train/cat/0007.jpg` is the eighth cat in the official order, that of data_batch_1 … data_batch_5. In
    each batch the first and the last twin of every class are compared, which finds a zip that is numbered otherwise as
    well as a file that is not the official one.

    Args:
        images: the zip, whose folders are `classes`.
        classes: CIFAR-10's, in its order.
        batches: the files that are there, by number from 0; the first images of each.

    Returns:
        index in the zip → its record.

    Raises:
        InputError: naming the image, if it has no number below 5,000, has that of another, or is another image than its
            record.
    """
    ends = list(zip(*(accumulate(counts) for counts in zip(*COUNTS, strict=True)), strict=True))
    records: dict[tuple[str, int], Record] = {}
    compared: list[tuple[str, int]] = []
    for number, batch in batches.items():
        for k, name in enumerate(classes):
            places = np.flatnonzero(batch.labels == k).tolist()
            first = ends[number][k] - COUNTS[number][k]
            records |= {(name, first + i): Record(number, place) for i, place in enumerate(places)}
            compared += [(name, first), (name, first + len(places) - 1)] if places else []
    numbered = _numbered(images)
    for key in dict.fromkeys(compared):
        if key in numbered:
            record = records[key]
            batch = batches[record.batch]
            where = f"record {record.place} of {batch.file.path.name}"
            _compare(images, numbered[key], as_image(batch.pixels[record.place]), where)
    return {index: records[key] for key, index in numbered.items() if key in records}


def as_image(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The pixels (32, 32, 3) of an image's 3072 bytes, the red, the green and the blue plane; a copy."""
    return np.array(planes.reshape(3, 32, 32).transpose(1, 2, 0), order="C")


def _numbered(images: ZippedImages) -> dict[tuple[str, int], int]:
    """Class and number → index in the zip."""
    found: dict[tuple[str, int], int] = {}
    total = sum(counts[0] for counts in COUNTS)
    for index, member in enumerate(images.members):
        number = int(member.stem) if member.stem.isdecimal() else total
        if number >= total or (member.folder, number) in found:
            raise InputError(
                f"{images.file.path}: {member.name}: expected the name to be the image's number in its class, 0 to "
                f"{total - 1:,}, each once. {_WHAT_TO_DO}"
            )
        found[member.folder, number] = index
    return found


def _compare(images: ZippedImages, index: int, exact: npt.NDArray[np.uint8], record: str) -> None:
    name = f"{images.file.path}: {images.members[index].name}"
    image = images.read(index)
    if image.shape != exact.shape:
        raise InputError(f"{name}: expected 32 × 32 colour pixels; found an image of shape {image.shape}.")
    error = float(np.mean((image.astype(np.float64) - exact) ** 2))
    if error > 255**2 * 10 ** (-SAME / 10):
        raise InputError(
            f"{name}: another image than {record}, which has its place in the official order. {_WHAT_TO_DO}"
        )


_WHAT_TO_DO = (
    "Number the images of each class in the official order; or give a folder with test_batch.bin and no data_batch "
    "files, so that the zip alone is trained on."
)
