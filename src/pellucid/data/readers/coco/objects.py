"""One annotation of a COCO file, as COCO and the tools that write its format have it: crowds, rotated boxes, masks."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

_FLAGS = {"0": False, "1": True}


def is_crowd(entry: dict[str, Any], where: str) -> bool:
    """Whether an annotation stands for a crowd that nobody took apart.

    CVAT and Datumaro, which give every annotation `attributes`, write `iscrowd` 1 for every mask: it is a mask then.

    Raises:
        InputError: naming `where`, for a flag other than 0 and 1.
    """
    flag = entry.get("iscrowd", 0)
    number = _FLAGS.get(flag) if isinstance(flag, str) else flag
    if not isinstance(number, (bool, int, float)) or number not in (0, 1):
        raise InputError(f"{where}: iscrowd is 0 or 1; found {flag!r:.60}.")
    is_mask = isinstance(entry.get("segmentation"), dict) and isinstance(entry.get("attributes"), dict)
    return bool(number) and not is_mask


def read_rotation(entry: dict[str, Any], where: str) -> float:
    """By how many degrees a box is turned, clockwise about its centre (CVAT's `attributes.rotation`); 0 without it.

    Raises:
        InputError: naming `where`, for what is no finite number.
    """
    attributes = entry.get("attributes")
    value = attributes.get("rotation", 0) if isinstance(attributes, dict) else 0
    try:
        rotation = math.nan if isinstance(value, bool) or not isinstance(value, (int, float, str)) else float(value)
    except (ValueError, OverflowError):
        rotation = math.nan
    if not math.isfinite(rotation):
        raise InputError(f"{where}: rotation is a number of degrees; found {value!r:.60}.")
    return rotation % 360


def rotated_box(
    box: tuple[float, float, float, float], degrees: float, frame: tuple[float, float]
) -> npt.NDArray[np.float64] | None:
    """The corners (N, 2) of what lies in the frame of a box turned clockwise about its centre; None if nothing does.

    Example:
        >>> rotated_box((4, 0, 2, 10), 90, (10, 10)).round(6).tolist()
        [[10.0, 4.0], [10.0, 6.0], [0.0, 6.0], [0.0, 4.0]]
    """
    x, y, width, height = box
    middle = np.array([x + width / 2, y + height / 2])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    polygon: npt.NDArray[np.float64] = middle + corners @ np.array(
        [[cos, sin], [-sin, cos]]
    )  # y points down: clockwise as seen
    for axis, sign, limit in ((0, 1, 0.0), (1, 1, 0.0), (0, -1, frame[0]), (1, -1, frame[1])):
        polygon = _cut(polygon, axis, sign, limit)
        if len(polygon) < 3:
            return None
    return polygon


def _cut(polygon: npt.NDArray[np.float64], axis: int, sign: int, limit: float) -> npt.NDArray[np.float64]:
    """What of a convex polygon lies on one side of an upright or level line."""
    depth = (polygon[:, axis] - limit) * sign
    points = []
    for i in range(len(polygon)):
        before = i - 1
        if (depth[i] >= 0) != (depth[before] >= 0):
            share = depth[before] / (depth[before] - depth[i])
            points.append(polygon[before] + share * (polygon[i] - polygon[before]))
        if depth[i] >= 0:
            points.append(polygon[i])
    return np.array(points).reshape(-1, 2)


def box_around(points: npt.NDArray[np.float64]) -> list[float]:
    """x, y, width and height of the smallest box around points (N, 2)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def outline_points(outline: Any) -> npt.NDArray[np.float64] | None:  # noqa: ANN401
    """All points (N, 2) of polygons as they were read; None for anything else."""
    if not isinstance(outline, list) or not all(isinstance(part, array) and len(part) % 2 == 0 for part in outline):
        return None
    flat = np.concatenate([np.asarray(part, dtype=np.float64) for part in outline])
    return flat.reshape(-1, 2) if flat.size and np.isfinite(flat).all() else None


def look_like_fractions(boxes: npt.NDArray[np.float64], outlines: list[Any]) -> str:
    """What of the annotations of a file lies within 1 throughout, as fractions do: boxes, outlines, or nothing."""
    with np.errstate(invalid="ignore"):
        areas = (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        if areas.any() and ((boxes[areas] >= 0) & (boxes[areas] <= 1)).all():
            return "boxes"
    polygons = [part for outline in outlines if isinstance(outline, list) for part in outline]
    parts = [part for part in polygons if isinstance(part, array) and len(part)]
    return "outlines" if parts and all(0 <= v <= 1 for part in parts for v in part) else ""
