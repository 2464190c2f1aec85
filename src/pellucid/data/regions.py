"""Ground truth of where: boxes and masks of the classes, relative until a size is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.types import Box, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt


@dataclass(frozen=True)
class Region:
    """One marked place on one image.

    Attributes:
        image: the row of the dataset.
        label: the finding's name.
        box: (x, y, width, height) as fractions of the image's width and height, in [0, 1].
        mask: reads a boolean (H, W) mask at any size, or None where only the box is known.
        drawn_from: a hash of what the mask is drawn from, for the fingerprint; empty where that is known otherwise.
    """

    image: int
    label: str
    box: tuple[float, float, float, float]
    mask: Callable[[], npt.NDArray[np.bool_]] | None = None
    drawn_from: bytes = b""


@dataclass(frozen=True)
class Regions:
    """All marked places of a dataset's images."""

    items: tuple[Region, ...]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> tuple[str, ...]:
        """The findings that are marked anywhere, sorted."""
        return tuple(sorted({r.label for r in self.items}))

    def subset(self, rows: Sequence[int]) -> Regions:
        """The regions of the images `rows`, renumbered to their place in `rows`."""
        at: dict[int, list[int]] = {}
        for new, old in enumerate(rows):
            at.setdefault(old, []).append(new)
        regions = [replace(r, image=new) for r in self.items for new in at.get(r.image, ())]
        return Regions(tuple(regions))

    def pairs(self, labels: Sequence[str] | None = None) -> list[tuple[int, str]]:
        """The (image, label) pairs with at least one region, in order of image; only `labels` where given."""
        names = None if labels is None else set(labels)
        return sorted({(r.image, r.label) for r in self.items if names is None or r.label in names})

    def boxes(self, image: int, label: str, size: int) -> list[Box]:
        """The boxes of `label` on one image, in pixels of an image of `size` × `size`."""
        return [Box(*(v * size for v in r.box)) for r in self._at(image, label)]

    def mask(self, image: int, labels: str | Sequence[str], size: int) -> npt.NDArray[np.bool_]:
        """The union of the regions of `labels` on one image, boolean (size, size).

        A box covers every pixel whose centre lies inside it, and always at least one pixel.
        """
        union = np.zeros((size, size), dtype=bool)
        for label in [labels] if isinstance(labels, str) else labels:
            for region in self._at(image, label):
                union |= rasterize(region.box, size) if region.mask is None else resize_mask(region.mask(), size)
        return union

    def digest(self) -> bytes:
        """A hash of images, labels, boxes and, where regions say it, what their masks are drawn from."""
        rows = sorted(
            (r.image, r.label, tuple(round(v, 6) for v in r.box), *([r.drawn_from] if r.drawn_from else []))
            for r in self.items
        )
        return hashlib.sha256(repr(rows).encode()).digest()

    def _at(self, image: int, label: str) -> list[Region]:
        index = self.__dict__.get("_index")
        if index is None:
            index = {}
            for region in self.items:
                index.setdefault((region.image, region.label), []).append(region)
            object.__setattr__(self, "_index", index)
        regions: list[Region] = index.get((image, label), [])
        return regions


def rasterize(box: tuple[float, float, float, float], size: int) -> npt.NDArray[np.bool_]:
    """A relative box as a boolean (size, size) mask of the pixels whose centre it covers (at least one)."""
    x, y, width, height = (v * size for v in box)
    mask = np.zeros((size, size), dtype=bool)
    rows, columns = (_span(y, height, size), _span(x, width, size))
    mask[rows, columns] = True
    return mask


def _span(start: float, length: float, size: int) -> slice:
    first = min(max(int(np.ceil(start - 0.5)), 0), size - 1)
    last = min(max(int(np.ceil(start + length - 0.5)), first + 1), size)
    return slice(first, last)


def resize_mask(mask: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.bool_]:
    """A boolean (H, W) mask at (size, size): a pixel is set where the mask covers at least half of it.

    A mask too small for that keeps the pixels it covers most, so that it never vanishes.
    """
    if mask.ndim != 2 or 0 in mask.shape:
        raise InputError(f"a mask must be a non-empty (H, W) array; found shape {mask.shape}.")
    if mask.shape == (size, size):
        return mask.astype(bool)
    from PIL import Image

    small = Image.fromarray(mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BOX)
    covered = np.asarray(small)
    resized = covered >= 128
    if resized.any() or not mask.any():
        return resized
    if covered.any():
        return np.asarray(covered == covered.max())
    row, column = np.argwhere(mask)[0]
    resized[row * size // mask.shape[0], column * size // mask.shape[1]] = True
    return resized


def relative_box(box: Sequence[float], frame: tuple[float, float], where: str) -> tuple[float, float, float, float]:
    """A box in pixels of a frame (width, height) as fractions of it.

    A box may stick out by up to one pixel (rounding); it is then cut at the border.

    Raises:
        InputError: naming `where`, if the box is not finite, has no area or leaves its frame.
    """
    x, y, width, height = (float(v) for v in box)
    if not np.isfinite([x, y, width, height]).all() or width <= 0 or height <= 0:
        raise InputError(f"{where}: a box needs finite x, y and positive width and height; found {tuple(box)}.")
    if x < -1 or y < -1 or x + width > frame[0] + 1 or y + height > frame[1] + 1:
        raise InputError(
            f"{where}: box x={x:g} y={y:g} width={width:g} height={height:g} lies outside its image of "
            f"{frame[0]:g} × {frame[1]:g} pixels."
        )
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, frame[0]), min(y + height, frame[1])
    return left / frame[0], top / frame[1], (right - left) / frame[0], (bottom - top) / frame[1]
