"""From a heat map to boxes as Wang et al. (2017) draw them, and how much two boxes overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.metrics.bootstrap import FloatArray, Values, as_array, chunks
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

WANG_THRESHOLDS = (60.0, 180.0)
SWEEP_THRESHOLDS = tuple(float(t) for t in range(20, 241, 20))  # holds Wang's two, so one pass serves both

_WITHIN_A_MAP = np.zeros((3, 3, 3), dtype=bool)
_WITHIN_A_MAP[1] = True  # a pixel touches its eight neighbours, and no other map


@dataclass(frozen=True)
class PredictedBoxes:
    """The boxes drawn on M heat maps of one size, in order of threshold within chunks of maps.

    Attributes:
        map_index: int64 (B,), the heat map of each box.
        threshold: float32 (B,), the threshold that it was drawn at.
        boxes: float32 (B, 4), x, y, width, height in pixels of the map.
        maps: M.
        size: height and width of the maps.
        thresholds: all that were applied, also those that gave no box.
    """

    map_index: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    maps: int
    size: tuple[int, int]
    thresholds: tuple[float, ...]

    def __len__(self) -> int:
        """The number of boxes."""
        return len(self.map_index)

    def at(self, thresholds: Sequence[float]) -> PredictedBoxes:
        """The boxes of some of the thresholds.

        Raises:
            InputError: naming a threshold that was not applied.
        """
        missing = [t for t in thresholds if t not in self.thresholds]
        if missing:
            raise InputError(f"no boxes were drawn at {missing[0]:g}; thresholds are {self.thresholds}.")
        at_threshold = np.isin(self.threshold, np.asarray(thresholds, dtype=np.float32))
        picked = (self.map_index[at_threshold], self.threshold[at_threshold], self.boxes[at_threshold])
        return PredictedBoxes(*picked, self.maps, self.size, tuple(thresholds))

    @staticmethod
    def concatenate(parts: Sequence[PredictedBoxes]) -> PredictedBoxes:
        """The boxes of batches of maps, one after the other, as if all maps had been given at once.

        Raises:
            InputError: if there are none, or their sizes or thresholds differ.
        """
        if not parts or len({(p.size, p.thresholds) for p in parts}) > 1:
            raise InputError("boxes to be joined must be of maps of one size, drawn at the same thresholds.")
        starts = np.cumsum([0, *(p.maps for p in parts)])
        return PredictedBoxes(
            np.concatenate([p.map_index + start for p, start in zip(parts, starts, strict=False)]),
            np.concatenate([p.threshold for p in parts]),
            np.concatenate([p.boxes for p in parts]),
            int(starts[-1]),
            parts[0].size,
            parts[0].thresholds,
        )


def heatmap_to_boxes(maps: Values, thresholds: Sequence[float] = WANG_THRESHOLDS) -> PredictedBoxes:
    """Boxes around the connected regions where a heat map is hot (Wang et al., CVPR 2017, section 4).

    Each map is scaled to [0, 255] by its own minimum and maximum. At each threshold, the pixels with
    ``scaled >= threshold`` fall into regions, and each region gives the smallest box around it. Pixels touch
    by side or by corner. The paper leaves open both (>= or >, eight or four neighbours) and what becomes of
    small regions; here every region counts. A constant map, or one with NaN or infinity, has no box.

    Args:
        maps: (M, H, W); a memory map is read in pieces.
        thresholds: in (0, 255].

    Raises:
        InputError: for other shapes, or thresholds outside (0, 255].

    Example:
        >>> heat = np.zeros((1, 4, 6))
        >>> heat[0, 1:3, 2:5] = 1.0
        >>> heatmap_to_boxes(heat, (60,)).boxes
        array([[2., 1., 3., 2.]], dtype=float32)
    """
    heat = as_array(maps)
    if heat.ndim != 3:
        raise InputError(f"heat maps must be (M, H, W); found shape {heat.shape}.")
    if not thresholds or not all(0 < t <= 255 for t in thresholds):
        raise InputError(f"thresholds must lie in (0, 255]; found {tuple(thresholds)}.")
    levels = np.asarray(thresholds, dtype=np.float64)
    count, height, width = heat.shape
    parts = [
        _boxes_of_chunk(np.asarray(heat[rows], dtype=np.float64), levels, rows.start)
        for rows in chunks(count, height * width * len(levels))
    ]
    index, threshold, boxes = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else _NONE
    applied = tuple(float(t) for t in levels)
    return PredictedBoxes(index, threshold, boxes, count, (height, width), applied)


_NONE = (np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, 4), np.float32))


def _boxes_of_chunk(
    heat: FloatArray, levels: FloatArray, start: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    usable = np.isfinite(heat).all(axis=(1, 2))
    heat = np.where(usable.reshape(-1, 1, 1), heat, 0.0)
    low, high = heat.min((1, 2), keepdims=True), heat.max((1, 2), keepdims=True)
    lifted, span = (heat - low) * 255, high - low
    hot = (lifted >= levels[:, None, None, None] * span) & (span > 0)  # (thresholds, maps, H, W)
    stack = hot.reshape(-1, *heat.shape[1:])
    labels, count = scipy.ndimage.label(stack, _WITHIN_A_MAP)
    begins, ends = stack.copy(), stack.copy()  # the runs of hot pixels in every row: far fewer than pixels
    begins[:, :, 1:] &= ~stack[:, :, :-1]
    ends[:, :, :-1] &= ~stack[:, :, 1:]
    run = np.flatnonzero(begins)
    region = labels.ravel()[run] - 1
    line, column = np.divmod(run, stack.shape[2])
    layer, row = np.divmod(line, stack.shape[1])
    home = np.empty(count, dtype=np.int64)
    home[region] = layer
    left, top = np.full((2, count), max(stack.shape))
    right, bottom = np.full((2, count), -1)
    np.minimum.at(left, region, column)
    np.maximum.at(right, region, np.flatnonzero(ends) % stack.shape[2])
    np.minimum.at(top, region, row)
    np.maximum.at(bottom, region, row)
    boxes = np.stack([left, top, right - left + 1, bottom - top + 1], axis=1).astype(np.float32)
    which, index = np.divmod(home, len(heat))
    return index + start, levels[which].astype(np.float32), boxes


def iou(a: Values, b: Values) -> FloatArray:
    """Intersection over union of boxes (…, 4) and boxes (…, 4), broadcast; 0 where both are empty.

    Example:
        >>> float(iou([0, 0, 2, 2], [1, 0, 2, 2])) == 2 / 6
        True
    """
    first, second, shared = _intersection(a, b)
    union = first[..., 2] * first[..., 3] + second[..., 2] * second[..., 3] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def iobb(predicted: Values, true: Values) -> FloatArray:
    """Intersection over the area of the predicted box (Wang's IoBB), broadcast over (…, 4); 0 if it is empty.

    Example:
        >>> float(iobb([0, 0, 2, 2], [1, 0, 2, 2]))
        0.5
    """
    first, _, shared = _intersection(predicted, true)
    area = np.broadcast_to(first[..., 2] * first[..., 3], shared.shape)
    return np.divide(shared, area, out=np.zeros_like(shared), where=area > 0)


def _intersection(a: Values, b: Values) -> tuple[FloatArray, FloatArray, FloatArray]:
    first, second = (np.asarray(as_array(v), dtype=np.float64) for v in (a, b))
    if first.shape[-1:] != (4,) or second.shape[-1:] != (4,):
        raise InputError(f"boxes must be (…, 4): x, y, width, height; found {first.shape} and {second.shape}.")
    start = np.maximum(first[..., :2], second[..., :2])
    end = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    sides = np.maximum(end - start, 0)
    return first, second, sides[..., 0] * sides[..., 1]
