"""Ground truth of where: boxes and masks of the classes, relative until a size is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.placement import Fractions, Placement
from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pellucid.types import Box


@dataclass(frozen=True)
class Region:
    """One marked place on one image.

    Attributes:
        image: the row of the dataset.
        label: the finding's name.
        box: (x, y, width, height) as fractions of the image's width and height, in [0, 1].
        mask: reads a boolean (H, W) mask at any size, or None where only the box is known.
        drawn_from: a hash of what the mask is drawn from, for the fingerprint; empty where that is known otherwise.

    Example:
        >>> region = Region(image=0, label="Nodule", box=(0.25, 0.25, 0.1, 0.1))
        >>> region.label, region.mask is None
        ('Nodule', True)
    """

    image: int
    label: str
    box: tuple[float, float, float, float]
    mask: Callable[[], npt.NDArray[np.bool_]] | None = None
    drawn_from: bytes = b""


@dataclass(frozen=True)
class Regions:
    """All marked places of a dataset's images.

    Example:
        >>> import pellucid as pl
        >>> test = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> "Mass" in test.regions.labels, len(test.regions.pairs(["Mass"])) <= 24
        (True, True)
    """

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

    def called(self, names: Mapping[str, Sequence[str]]) -> Regions:
        """The regions under the names of classes; those of other labels are as they were.

        Args:
            names: the labels of the regions of each class that has others than its own name; a label may be of several.

        Raises:
            InputError: a label that is marked nowhere, with those that are.
        """
        labels = self.labels
        unknown = [label for of in names.values() for label in of if label not in labels]
        if unknown:
            raise InputError(f"no region is labelled {unknown[0]!r}. {nearest(unknown[0], labels)}")
        items = [replace(r, label=name) for name, of in names.items() for r in self.items if r.label in of]
        return Regions(tuple(items + [r for r in self.items if r.label not in names]))

    def boxes(self, image: int, label: str, frame: int | Placement) -> list[Box]:
        """The boxes of `label` on one image, in pixels of a frame; of those that it cuts, what lies in it.

        Args:
            image: the row of the dataset.
            label: the finding's name.
            frame: where the image lies in what a network takes; a number for a square that it is stretched to.
        """
        placement = _placement(frame)
        boxes = [placement.cut(placement.from_fractions(r.box)) for r in self._at(image, label)]
        return [box for box in boxes if box is not None]

    def mask(self, image: int, labels: str | Sequence[str], frame: int | Placement) -> npt.NDArray[np.bool_]:
        """The union of the regions of `labels` on one image, boolean (height, width) of the frame.

        A box covers every pixel whose centre lies inside it, and always at least one pixel where it lies in the frame.

        Args:
            image: the row of the dataset.
            labels: the findings' names.
            frame: where the image lies in what a network takes; a number for a square that it is stretched to.
        """
        placement = _placement(frame)
        union = np.zeros(placement.frame, dtype=bool)
        for label in [labels] if isinstance(labels, str) else labels:
            for region in self._at(image, label):
                union |= (
                    rasterize(region.box, placement) if region.mask is None else resize_mask(region.mask(), placement)
                )
        return union

    def is_cut(self, image: int, labels: str | Sequence[str], placement: Placement) -> bool:
        """Whether any region of `labels` on one image lies outside the frame, wholly or in part.

        A mask counts by the box around it.
        """
        names = [labels] if isinstance(labels, str) else labels
        shares = [placement.share_seen(r.box) for name in names for r in self._at(image, name)]
        return any(share < 1 - 1e-9 for share in shares)

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


@dataclass(frozen=True)
class CutOff:
    """What of the marked places a network does not see, as its geometry cuts images.

    Attributes:
        pairs: images and labels with a marked place.
        unseen: how many of them lie wholly outside what the network sees.
        partly: how many lie outside in part.
        preprocess: the geometry, as a text.
    """

    pairs: int = 0
    unseen: int = 0
    partly: int = 0
    preprocess: str = ""

    @property
    def note(self) -> str:
        """A sentence for people; empty where nothing is cut off."""
        if not self.unseen and not self.partly:
            return ""
        return (
            f"The network sees a part of each image ({self.preprocess}). Of {self.pairs} marked findings {self.unseen} "
            f"lie wholly outside it and are not scored; {self.partly} lie outside in part and are scored by what is "
            "inside."
        )


def _placement(frame: int | Placement) -> Placement:
    return frame if isinstance(frame, Placement) else Placement.whole(frame, frame)


def rasterize(box: tuple[float, float, float, float], frame: int | Placement) -> npt.NDArray[np.bool_]:
    """A relative box as a boolean (height, width) mask of the pixels whose centre it covers.

    At least one pixel, where any of it lies in the frame; see `Regions.mask`.
    """
    placement = _placement(frame)
    mask = np.zeros(placement.frame, dtype=bool)
    inside = placement.cut(placement.from_fractions(box))
    if inside is not None:
        mask[_span(inside.y, inside.height, mask.shape[0]), _span(inside.x, inside.width, mask.shape[1])] = True
    return mask


def _span(start: float, length: float, size: int) -> slice:
    first = min(max(int(np.ceil(start - 0.5)), 0), size - 1)
    last = min(max(int(np.ceil(start + length - 0.5)), first + 1), size)
    return slice(first, last)


def resize_mask(mask: npt.NDArray[np.bool_], frame: int | Placement) -> npt.NDArray[np.bool_]:
    """A boolean (H, W) mask over the whole image, in a frame: a pixel is set where the mask covers at least half of it.

    A mask too small for that keeps the pixels it covers most, so that it vanishes only where nothing of it is in the
    frame.
    """
    placement = _placement(frame)
    if placement.is_part:
        return _resize_mask(mask, *placement.frame, placement.seen)
    height, width = (int(side) for side in placement.scaled)
    scaled = _resize_mask(mask, height, width)
    if placement.is_whole:
        return scaled
    placed = np.zeros(placement.frame, dtype=bool)
    top, left = int(placement.top), int(placement.left)
    part = scaled[max(-top, 0) : max(-top, 0) + placed.shape[0], max(-left, 0) : max(-left, 0) + placed.shape[1]]
    placed[max(top, 0) : max(top, 0) + part.shape[0], max(left, 0) : max(left, 0) + part.shape[1]] = part
    return placed


WHOLE: Fractions = (0.0, 0.0, 1.0, 1.0)


def _resize_mask(
    mask: npt.NDArray[np.bool_], height: int, width: int, part: Fractions = WHOLE
) -> npt.NDArray[np.bool_]:
    """A mask, or a part of it (x, y, width and height as fractions), at another size."""
    if mask.ndim != 2 or 0 in mask.shape:
        raise InputError(f"a mask must be a non-empty (H, W) array; found shape {mask.shape}.")
    if mask.shape == (height, width) and part == WHOLE:
        return mask.astype(bool)
    from PIL import Image

    (high, wide), (x, y, share_across, share_down) = mask.shape, part
    box = (x * wide, y * high, (x + share_across) * wide, (y + share_down) * high)
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX, box)
    covered = np.asarray(small)
    resized = covered >= 128
    if resized.any() or not mask.any():
        return resized
    if covered.any():
        return np.asarray(covered == covered.max())
    rows, columns = np.nonzero(mask)  # too small to colour a single pixel: where one of its own is
    down, across = (np.maximum(at - start, 0) * side / (end - start) for at, start, end, side in (
        (rows, box[1], box[3], height), (columns, box[0], box[2], width)
    ))  # fmt: skip
    inside = (rows + 0.5 > box[1]) & (rows + 0.5 < box[3]) & (columns + 0.5 > box[0]) & (columns + 0.5 < box[2])
    for row, column in np.stack([down, across], 1)[inside].astype(int)[:1]:
        resized[row, column] = True
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
