"""The same image twice, by its pixels: a leak where the two are in different parts of a dataset."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.issues import Issue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Splits

_NAMED = 5  # images that one issue names
_TO_DO = "a result would be too good: keep one of them, or give them one patient and let the parts be cut by patient"


def pixel_hash(image: npt.NDArray[np.generic]) -> bytes:
    """A hash of an image's pixels and shape; a colour image without colour counts as grey.

    Args:
        image: (H, W) grey or (H, W, 3) colour, of any whole-number type.

    Example:
        >>> gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
        >>> colour = np.repeat(gray[:, :, None], 3, axis=2)
        >>> pixel_hash(gray) == pixel_hash(colour), pixel_hash(gray) == pixel_hash(gray.T)
        (True, False)
    """
    if image.ndim == 3 and _without_colour(image[:1]) and _without_colour(image):
        image = image[:, :, 0]
    digest = hashlib.sha256(f"{image.dtype.str}{image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def is_blank(image: npt.NDArray[np.generic]) -> bool:
    """Whether all pixels are alike: such images are equal without being the same picture."""
    return bool((image[:1, :1] == image[:1]).all() and (image[:1, :1] == image).all())


def find_duplicates(splits: Splits, hashes: Mapping[str, Sequence[bytes | None]]) -> list[Issue]:
    """What is in a dataset more than once; serious where a part has what another has.

    Args:
        splits: the parts.
        hashes: `pixel_hash` of each image of each part; None for one that is not to be compared.

    Returns:
        An issue for each picture that is there more than once, under the name of its first image.
    """
    places: dict[bytes, list[tuple[str, int]]] = {}
    for part, part_hashes in hashes.items():
        for row, pixels in enumerate(part_hashes):
            if pixels is not None:
                places.setdefault(pixels, []).append((part, row))
    cross_split_duplicates: list[Issue] = []
    repeats: list[Issue] = []
    for copies in places.values():
        if len(copies) == 1:
            continue
        parts = list(dict.fromkeys(part for part, _ in copies))
        (first, row), *others = copies
        named = [f"{splits[part].ids[i]} ({part})" for part, i in others[:_NAMED]]
        message = "the same pixels as " + ", ".join(named) + (", …" if len(others) > _NAMED else "")
        if len({splits[part].targets[i].tobytes() for part, i in copies}) > 1:
            message += ", with another target"
        if len(parts) > 1:
            message += f"; in {' and '.join(parts)}: {_TO_DO}"
        (cross_split_duplicates if len(parts) > 1 else repeats).append(
            Issue(splits[first].ids[row], message, serious=len(parts) > 1)
        )
    return cross_split_duplicates + repeats


def content_hash(rows: Iterable[tuple[str, str, bytes | None]]) -> str:
    """One hash of all images, whatever their order; empty where a hash is missing.

    Args:
        rows: part, name and `pixel_hash` of each image.
    """
    digest = hashlib.sha256()
    for part, name, pixels in sorted(rows, key=lambda row: row[:2]):
        if pixels is None:
            return ""
        digest.update(f"{part}\0{name}\0".encode() + pixels)
    return digest.hexdigest()


def _without_colour(image: npt.NDArray[np.generic]) -> bool:
    first = image[:, :, 0]
    return np.array_equal(first, image[:, :, 1]) and np.array_equal(first, image[:, :, 2])
