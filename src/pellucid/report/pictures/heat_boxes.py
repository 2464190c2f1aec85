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

    from pellucid.data.placement import Placement

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
    placement: Placement,
    thresholds: Sequence[float] = WANG_THRESHOLDS,
) -> list[FoundBox]:
    """The boxes of an image's heat maps, as `heatmap_to_boxes` draws them, the largest of each map first.

    Maps that are too fine to have regions have none.

    Args:
        maps: heat maps (h, w) by class and method, over what the network takes.
        placement: where the image lies in that, and its own height and width. Boxes on padding are left out.
        thresholds: of maps scaled to 0 to 255.

    Example:
        >>> from pellucid.data.placement import Placement
        >>> heat = np.zeros((4, 4))
        >>> heat[1, 2] = 1
        >>> boxes_of({("Mass", "cam"): heat}, Placement.whole(4, 4, native=(40, 80)), [180])[0].box
        Box(x=40.0, y=10.0, width=20.0, height=10.0)
    """
    boxes = []
    for (class_name, method), heat in maps.items():
        if is_fine(method):
            continue
        predicted = heatmap_to_boxes(heat[None], thresholds)
        over_map = placement.at(*heat.shape)
        native = [over_map.to_native(Box(*map(float, box))) for box in predicted.boxes]
        inside = [over_map.cut_native(box) for box in native]
        own = [
            FoundBox(class_name, method, float(t), box)
            for t, box in zip(predicted.threshold, inside, strict=True)
            if box is not None
        ]
        boxes += sorted(own, key=lambda one: (one.threshold, -one.box.area))
    return boxes


def hot_region(heat: npt.NDArray[np.floating], placement: Placement) -> npt.NDArray[np.bool_]:
    """The image's own pixels where a heat map is at least `HOT`, boolean (H, W); none that the network did not see."""
    return np.asarray(placement.cells_to_native(scaled(heat) * 255 >= HOT), dtype=np.bool_)


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
