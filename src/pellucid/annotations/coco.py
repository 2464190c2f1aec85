"""Annotations in COCO's object detection format, as others read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.annotations.records import KINDS
from pellucid.annotations.shapes import Polygon, Rectangle, drawn_mask
from pellucid.data.placement import Placement

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.annotations.content import StoreContent
    from pellucid.annotations.shapes import Shape

UNKNOWN_SIZE = (1000, 1000)  # of an image whose size was never told: its coordinates are thousandths


def to_coco(content: StoreContent) -> dict[str, Any]:
    """The marks that stand, with boxes and outlines in pixels; brush strokes as run lengths.

    A category is a class with a kind of mark; the kind is its supercategory.
    """
    images = {image: number for number, image in enumerate(content.sizes, 1)}
    sizes = {image: size or UNKNOWN_SIZE for image, size in content.sizes.items()}
    names = [(name, kind) for name in content.info.classes for kind in KINDS]
    categories = {pair: number for number, pair in enumerate(names, 1)}
    return {
        "info": {"description": f"annotations of {content.info.name}/{content.info.split}"},
        "images": [
            {"id": number, "file_name": image, "width": sizes[image][0], "height": sizes[image][1]}
            for image, number in images.items()
        ],
        "categories": [
            {
                "id": number,
                "name": name if kind == "relevant" else f"{name}: irrelevant",
                "supercategory": kind,
            }
            for (name, kind), number in categories.items()
        ],
        "annotations": [
            {
                "id": number,
                "image_id": images[mark.image],
                "category_id": categories[mark.class_name, mark.kind],
                "iscrowd": 0,
                **_geometry(mark.shape, *sizes[mark.image]),
            }
            for number, mark in enumerate((m for m in content.marks if not m.undone), 1)
        ],
    }


def _geometry(shape: Shape, width: int, height: int) -> dict[str, Any]:
    if isinstance(shape, Rectangle):
        box = [shape.x * width, shape.y * height, shape.width * width, shape.height * height]
        x, y, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
        return {
            "bbox": box,
            "area": box[2] * box[3],
            "segmentation": [[x, y, right, y, right, bottom, x, bottom]],
        }
    if isinstance(shape, Polygon):
        points = np.array(shape.points) * [width, height]
        low, high = points.min(0), points.max(0)
        following = np.roll(points, -1, axis=0)
        area = abs(float((points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum())) / 2
        return {"bbox": [*low, *(high - low)], "area": area, "segmentation": [points.ravel().tolist()]}
    mask = drawn_mask(shape, Placement.whole(height, width))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return {
        "bbox": [float(v) for v in box],
        "area": float(mask.sum()),
        "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
    }


def run_lengths(mask: npt.NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run lengths of a mask (H, W): column after column, zeros first.

    Example:
        >>> run_lengths(np.array([[True, False], [True, True]]))
        [0, 2, 1, 1]
    """
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff(np.concatenate([[0], changes, [mask.size]]))]
