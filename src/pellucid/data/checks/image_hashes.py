"""Hashes by which an image is known again: of its pixels as a network takes them, and of its name in a released set."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from pellucid.utils.parallel import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.types import Pixels

BYTES = 16
"""Of a hash: two of 10⁹ images share one with a probability of about 10⁻²¹."""


def content_hashes(pixels: Pixels | Sequence[Pixels]) -> npt.NDArray[np.uint8]:
    """A hash of each image, uint8 (N, 16), of pixels (N, C, H, W) as a network takes them.

    A copy that lies elsewhere, or is compressed otherwise without loss, has the same: no file takes part. An image of a
    single shade has zeros: it is that of nobody.

    Example:
        >>> images = np.zeros((3, 1, 4, 4), dtype=np.uint8)
        >>> images[:2, :, 0, 0] = 9
        >>> found = content_hashes(images)
        >>> found.shape, bool((found[0] == found[1]).all()), bool(found[2].any())
        ((3, 16), True, False)
    """

    def one(row: int) -> bytes:
        image = np.ascontiguousarray(pixels[row])
        if image.min() == image.max():
            return bytes(BYTES)
        return hashlib.blake2b(image.data, digest_size=BYTES).digest()

    return _rows(in_threads(one, len(pixels), title="hash images", progress=True), len(pixels))


def id_hashes(dataset: Dataset) -> npt.NDArray[np.uint8]:
    """A hash of each image's stable id, uint8 (N, 16); zeros where it has none."""
    names = dataset.stable_ids or ("",) * len(dataset)
    nothing = bytes(BYTES)
    hashes = (hashlib.blake2b(name.encode(), digest_size=BYTES).digest() if name else nothing for name in names)
    return _rows(hashes, len(names))


def _rows(hashes: Iterable[bytes], count: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(count, BYTES)
