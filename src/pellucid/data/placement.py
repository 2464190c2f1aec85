"""Where an image lies in the rectangle that a network takes, and what of it the network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.types import Box, InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.types import InputSpec

    Weights = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]

Fractions = tuple[float, float, float, float]
"""x, y, width and height of a box as fractions of its image's width and height."""


@dataclass(frozen=True)
class Placement:
    """How one image is scaled and where it then lies in the frame, the rectangle that the network takes.

    Coordinates count from the outer corner of the first pixel, so that the centre of pixel 0 lies at 0.5. They are
    fractions of the image, pixels of the image as its file has it (native), or pixels of the frame.

    Attributes:
        native: height and width of the image; None where a plain stretch makes it all the same.
        frame: height and width of the frame.
        scaled: height and width that the whole image has at the frame's scale.
        top: where its upper edge lies in the frame; below 0 where something above is cut off.
        left: where its left edge lies.

    Example:
        >>> from pellucid.types import InputSpec
        >>> placement = Placement.of(InputSpec.parse("crop:256:224", channels=3), (512, 1024))
        >>> placement.scaled, placement.top, placement.left
        ((256, 512), -16, -144)
        >>> placement.to_native(placement.to_input(Box(512, 256, 20, 10)))
        Box(x=512.0, y=256.0, width=20.0, height=10.0)
    """

    native: tuple[int, int] | None
    frame: tuple[int, int]
    scaled: tuple[float, float]
    top: float = 0
    left: float = 0

    @classmethod
    def of(cls, spec: InputSpec, native: tuple[int, int] | None = None) -> Placement:
        """Of an image of this height and width; None will do for a plain stretch.

        The rules are those of torchvision's `Resize` and `CenterCrop` for `crop` (a shorter side exactly, the longer
        one rounded down), and of timm's `ResizeKeepRatio` for `pad` and for a crop that is not square and has no
        `resize` (both rounded to the nearest); of `cut` see `centred_part`. An image smaller than the frame is enlarged
        as they do.

        Raises:
            InputError: no size of an image whose place depends on it.
        """
        geometry, frame = spec.geometry, (spec.height, spec.width)
        if is_plain_stretch(spec):
            return cls(native, frame, frame)
        if native is None:
            raise InputError(f"where an image lies depends on its own height and width for {spec.preprocess}.")
        if geometry.fit == "cut":
            top, left, *part = centred_part(frame, native)
            down, across = (of / own for of, own in zip(frame, part, strict=True))
            whole = [side * of / own for side, of, own in zip(native, frame, part, strict=True)]
            return cls(native, frame, (whole[0], whole[1]), -top * down, -left * across)
        if geometry.fit == "stretch":
            scaled = (geometry.resize or 0,) * 2
        elif geometry.fit == "crop" and (geometry.resize is not None or spec.height == spec.width):
            side = geometry.resize or spec.height
            height, width = native
            scaled = (side, int(side * width / height)) if height <= width else (int(side * height / width), side)
        else:
            ratios = [own / of for own, of in zip(native, frame, strict=True)]
            ratio = max(ratios) if geometry.fit == "pad" else min(ratios)
            scaled = (max(round(native[0] / ratio), 1), max(round(native[1] / ratio), 1))
        floor = geometry.offset == "floor"
        top, left = (_offset(of, whole, floor=floor) for of, whole in zip(frame, scaled, strict=True))
        return cls(native, frame, scaled, top, left)

    @classmethod
    def whole(cls, height: int, width: int, native: tuple[int, int] | None = None) -> Placement:
        """Of an image that is stretched over a frame of this height and width, or that has them."""
        return cls(native, (height, width), (height, width))

    @property
    def sees_all(self) -> bool:
        """Whether nothing of the image is cut off."""
        return self.seen == (0, 0, 1, 1)

    @property
    def is_whole(self) -> bool:
        """Whether the image is the frame: nothing is cut off, and nothing lies beside it."""
        return (self.top, self.left, *self.scaled) == (0, 0, *self.frame)

    @property
    def is_part(self) -> bool:
        """Whether the frame is a part of the image that does not lie on whole pixels of the scaled one, as of a cut."""
        ends = (self.top + self.scaled[0] - self.frame[0], self.left + self.scaled[1] - self.frame[1])
        is_whole = all(float(side).is_integer() for side in (*self.scaled, self.top, self.left))
        return not is_whole and max(self.top, self.left) <= 0 and min(ends) > -1e-6  # but for rounding

    @property
    def seen(self) -> Fractions:
        """The part of the image that lies in the frame, as fractions of it."""
        top, bottom = _seen(self.top, self.scaled[0], self.frame[0])
        left, right = _seen(self.left, self.scaled[1], self.frame[1])
        return left, top, right - left, bottom - top

    def at(self, height: int, width: int) -> Placement:
        """The same in a frame of other resolution, as that of a feature map."""
        down, across = height / self.frame[0], width / self.frame[1]
        scaled = (self.scaled[0] * down, self.scaled[1] * across)
        return Placement(self.native, (height, width), scaled, self.top * down, self.left * across)

    def from_fractions(self, box: Fractions) -> Box:
        """A box of the image in pixels of the frame, which it may leave."""
        (height, width), (x, y, across, down) = self.scaled, box
        return Box(x * width + self.left, y * height + self.top, across * width, down * height)

    def to_fractions(self, box: Box) -> Fractions:
        """A box in pixels of the frame as fractions of the image, of which it may lie outside (on padding)."""
        height, width = self.scaled
        return (box.x - self.left) / width, (box.y - self.top) / height, box.width / width, box.height / height

    def to_input(self, box: Box) -> Box:
        """A box in pixels of the image in pixels of the frame, which it may leave; see `cut`."""
        height, width = self._known
        return self.from_fractions((box.x / width, box.y / height, box.width / width, box.height / height))

    def to_native(self, box: Box) -> Box:
        """A box in pixels of the frame in pixels of the image."""
        height, width = self._known
        x, y, across, down = self.to_fractions(box)
        return Box(x * width, y * height, across * width, down * height)

    def cut(self, box: Box) -> Box | None:
        """What of a box, in pixels of the frame, lies in it; None where nothing does."""
        return _cut(box, 0, 0, self.frame[1], self.frame[0])

    def cut_native(self, box: Box) -> Box | None:
        """What of a box, in pixels of the image, lies on it; None where nothing does, as of one on padding."""
        height, width = self._known
        return _cut(box, 0, 0, width, height)

    def share_seen(self, box: Fractions) -> float:
        """The share of a box's area that the network sees, from 0 to 1."""
        cut = self.cut(self.from_fractions(box))
        return 0.0 if cut is None else cut.area / (box[2] * self.scaled[1] * box[3] * self.scaled[0])

    def map_to_native(self, heat: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """A map of the frame on the image's own pixels, (H, W), NaN where the network saw nothing of them.

        Between the centres of the map's cells it is linear, and beyond the outermost it stays what it is there. The map
        may be coarser than the frame, over the whole of which it lies.

        Args:
            heat: (h, w).
        """
        height, width = self._known
        rows, columns = (self._centres(axis, side) for axis, side in ((0, height), (1, width)))
        down = _linear(rows * heat.shape[0] / self.frame[0], heat.shape[0])
        across = _linear(columns * heat.shape[1] / self.frame[1], heat.shape[1])
        values = np.asarray(heat, dtype=np.float64)
        mixed = _mix(_mix(values, down, axis=0), across, axis=1)
        return np.where(self.seen_pixels(), mixed, np.nan)

    def cells_to_native(self, cells: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Each of the image's own pixels as the cell of a map (h, w) of the frame that its centre lies in, (H, W).

        Pixels that the network did not see get 0 (False).
        """
        height, width = self._known
        rows, columns = (self._centres(axis, side) for axis, side in ((0, height), (1, width)))
        down = np.clip((rows * cells.shape[0] / self.frame[0]).astype(int), 0, cells.shape[0] - 1)
        across = np.clip((columns * cells.shape[1] / self.frame[1]).astype(int), 0, cells.shape[1] - 1)
        return np.where(self.seen_pixels(), cells[np.ix_(down, across)], np.zeros((), cells.dtype))

    def seen_pixels(self) -> npt.NDArray[np.bool_]:
        """Which of the image's own pixels the network sees, boolean (H, W): those whose centre lies in the frame."""
        height, width = self._known
        rows, columns = (self._centres(axis, side) for axis, side in ((0, height), (1, width)))
        return np.outer((rows >= 0) & (rows < self.frame[0]), (columns >= 0) & (columns < self.frame[1]))

    def _centres(self, axis: int, side: int) -> npt.NDArray[np.float64]:
        """The centres of the image's rows or columns in the frame."""
        start = self.left if axis else self.top
        return (np.arange(side) + 0.5) * self.scaled[axis] / side + start

    @property
    def _known(self) -> tuple[int, int]:
        if self.native is None:
            raise InputError("the image's own height and width are not known here.")
        return self.native


def centred_part(frame: tuple[int, int], native: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest part of an image that has the shape of a frame, out of its centre: top, left, height and width.

    It begins where torchxrayvision's `XRayCenterCrop` does, at half of the image less half of the part.

    Example:
        >>> centred_part((224, 224), (301, 250)), centred_part((2, 4), (10, 10))
        ((25, 0, 250, 250), (3, 0, 5, 10))
    """
    ratio = min(own / of for own, of in zip(native, frame, strict=True))
    height, width = (max(min(round(of * ratio), own), 1) for own, of in zip(native, frame, strict=True))
    return native[0] // 2 - height // 2, native[1] // 2 - width // 2, height, width


def is_plain_stretch(spec: InputSpec) -> bool:
    """Whether every image is stretched over the whole frame, so that its size does not matter."""
    return spec.geometry.fit == "stretch" and spec.geometry.resize is None


def _offset(frame: int, whole: int, *, floor: bool) -> int:
    """Where a whole centred in a frame begins: torchvision's rounding to even of what is cut off, or down."""
    if whole <= frame:
        return (frame - whole) // 2
    return -((whole - frame) // 2 if floor else round((whole - frame) / 2))


def _seen(start: float, length: float, frame: float) -> tuple[float, float]:
    """The first and the last part of a side that lie in the frame, as fractions of it."""
    return max(-start / length, 0.0), min((frame - start) / length, 1.0)


def _cut(box: Box, left: float, top: float, right: float, bottom: float) -> Box | None:
    """The part of a box inside these borders, the very box where it is whole."""
    if box.x >= left and box.y >= top and box.x + box.width <= right and box.y + box.height <= bottom:
        return box
    x, y = max(box.x, left), max(box.y, top)
    width, height = min(box.x + box.width, right) - x, min(box.y + box.height, bottom) - y
    return Box(x, y, width, height) if width > 0 and height > 0 else None


def _linear(at: npt.NDArray[np.float64], count: int) -> Weights:
    """For places along a side of `count` cells: the cells on both sides, and the share of the second."""
    place = np.clip(at - 0.5, 0, count - 1)
    first = np.minimum(place.astype(np.int64), count - 1)
    return first, np.minimum(first + 1, count - 1), place - first


def _mix(values: npt.NDArray[np.float64], weights: Weights, *, axis: int) -> npt.NDArray[np.float64]:
    first, second, share = weights
    share = np.expand_dims(share, 1 - axis)
    return np.take(values, first, axis) * (1 - share) + np.take(values, second, axis) * share
