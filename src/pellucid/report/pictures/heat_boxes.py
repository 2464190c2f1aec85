"""Where heat maps are hot, in pixels and millimetres of the image that they explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.boxes import WANG_THRESHOLDS, heatmap_to_boxes
from pellucid.explainers.registry import is_fine
from pellucid.report.heat_colours import scaled
from pellucid.types import Box

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

HOT = max(WANG_THRESHOLDS)
"""From here on, of 0 to 255, a map counts as hot where one region is shown."""


@dataclass(frozen=True)
class FoundBox:
    """A box around a hot region of a heat map.

    Attributes:
        class_name: the class that the map explains.
        method: the map's.
        threshold: that it was drawn at, of a map scaled to 0 to 255.
        box: in pixels of the image as its file has it.
    """

    class_name: str
    method: str
    threshold: float
    box: Box


def boxes_of(
    maps: Mapping[tuple[str, str], npt.NDArray[np.floating]],
    shape: tuple[int, int],
    thresholds: Sequence[float] = WANG_THRESHOLDS,
) -> list[FoundBox]:
    """The boxes of an image's heat maps, as `heatmap_to_boxes` draws them, the largest of each map first.

    Maps that are too fine to have regions have none.

    Args:
        maps: heat maps (S, S) by class and method.
        shape: height and width of the image, which the maps are stretched over.
        thresholds: of maps scaled to 0 to 255.

    Example:
        >>> heat = np.zeros((4, 4))
        >>> heat[1, 2] = 1
        >>> boxes_of({("Mass", "cam"): heat}, (40, 80), [180])[0].box
        Box(x=40.0, y=10.0, width=20.0, height=10.0)
    """
    boxes = []
    for (class_name, method), heat in maps.items():
        if is_fine(method):
            continue
        predicted = heatmap_to_boxes(heat[None], thresholds)
        down, across = shape[0] / heat.shape[0], shape[1] / heat.shape[1]
        scale = np.array([across, down, across, down])
        own = [
            FoundBox(class_name, method, float(t), Box(*(float(v) for v in box * scale)))
            for t, box in zip(predicted.threshold, predicted.boxes, strict=True)
        ]
        boxes += sorted(own, key=lambda one: (one.threshold, -one.box.area))
    return boxes


def hot_region(heat: npt.NDArray[np.floating], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The pixels of an image of this height and width where a heat map is at least `HOT`, boolean (H, W)."""
    hot = scaled(heat) * 255 >= HOT
    rows = (np.arange(shape[0]) + 0.5) * heat.shape[0] / shape[0]
    columns = (np.arange(shape[1]) + 0.5) * heat.shape[1] / shape[1]
    return np.asarray(hot[np.ix_(rows.astype(int), columns.astype(int))])


def box_rows(
    boxes: Sequence[FoundBox], image: str, spacing: tuple[float, float] | None, source: str
) -> list[dict[str, Any]]:
    """Boxes as rows of a table: pixels, and millimetres where the spacing is known.

    Args:
        boxes: of one image.
        image: what it is called.
        spacing: millimetres between rows and between columns; None where not known.
        source: where the spacing is from.
    """
    down, across = spacing or (float("nan"), float("nan"))
    return [
        {
            "image": image, "class": b.class_name, "method": b.method, "threshold": b.threshold,
            **dict(zip(("x", "y", "width", "height"), b.box, strict=True)),
            "x_mm": b.box.x * across, "y_mm": b.box.y * down,
            "width_mm": b.box.width * across, "height_mm": b.box.height * down, "spacing": source,
        }
        for b in boxes
    ]  # fmt: skip
