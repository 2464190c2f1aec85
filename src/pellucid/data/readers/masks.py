"""Pixel masks as ground truth of where: files of their own beside the images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.decoding.image import read_image
from pellucid.data.readers.image_files import list_images
from pellucid.data.regions import Region, Regions
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.data.readers.image_files import LeftOut


@dataclass(frozen=True)
class MaskFile:
    """One mask on disk: the image it belongs to, its class, its file."""

    image: str
    label: str
    path: Path


def list_masks(directory: Path, left_out: LeftOut | None = None) -> list[MaskFile]:
    """The masks ``<image>__<Class>.png`` of a folder; underscores in the class are read as spaces.

    Raises:
        InputError: naming the file, for an image file whose name has no two underscores.
    """
    masks = []
    for name, file in list_images(directory, left_out).items():
        image, _, label = file.path.stem.rpartition("__")
        if not image or not label:
            raise InputError(f"{file.path}: {name} is not named <image>__<Class>.png.")
        masks.append(MaskFile(image, label.replace("_", " "), file.path))
    return masks


def mask_regions(
    names: Sequence[str],
    masks: Sequence[MaskFile],
    *,
    images: Sequence[Path] | None = None,
    derived: Mapping[str, Sequence[str]] | None = None,
    smallest: float = 0.0,
) -> Regions:
    """Masks as regions of a dataset's images, with the box around each.

    Every mask is read once here, for its box; an empty one marks nothing and is left out. A derived label is
    the union of several: one region for each of them, since `Regions.mask` takes the union. Masks of images
    that are not in `names` are left out.

    Args:
        names: the image of each row, as masks call it.
        masks: the masks on disk.
        images: the file of each row, where the size of every mask is to be checked against its image.
        derived: label → the labels that it is the union of.
        smallest: masks that cover less than this share of their image are left out.

    Raises:
        InputError: naming the file, for a mask that cannot be read or does not have the size of its image.
    """
    row = {name: i for i, name in enumerate(names)}
    sizes: dict[int, tuple[int, int]] = {}
    items: list[Region] = []
    for mask in masks:
        i = row.get(mask.image)
        if i is None:
            continue
        pixels = read_mask(mask.path)
        if images is not None:
            if i not in sizes:
                sizes[i] = _size(images[i])
            if pixels.shape != sizes[i]:
                (h, w), (ih, iw) = pixels.shape, sizes[i]
                raise InputError(f"{mask.path}: the mask is {w} × {h} pixels, its image {images[i].name} {iw} × {ih}.")
        box = bounding_box(pixels)
        if box is None or pixels.mean() < smallest:
            continue
        labels = [mask.label, *(new for new, parts in (derived or {}).items() if mask.label in parts)]
        items += [Region(i, label, box, partial(read_mask, mask.path)) for label in labels]
    return Regions(tuple(sorted(items, key=lambda r: (r.image, r.label))))


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """A mask file as boolean (H, W): set where any channel is at least half of full.

    Raises:
        InputError: with the file's name, if it cannot be read.
    """
    pixels = read_image(path)
    return np.asarray((pixels if pixels.ndim == 2 else pixels.max(axis=2)) >= 128)


def bounding_box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """The smallest box around a mask as fractions (x, y, width, height); None for an empty mask.

    Example:
        >>> bounding_box(np.array([[False, True], [False, True]]))
        (0.5, 0.0, 0.5, 1.0)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    height, width = mask.shape
    top, bottom, left, right = (int(v) for v in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    return left / width, top / height, (right - left) / width, (bottom - top) / height


def _size(path: Path) -> tuple[int, int]:
    return read_image(path).shape[:2]
