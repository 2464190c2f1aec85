"""Boxes in a table of their own: a row a box, in pixels of the image's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.data.decode import image_size
from pellucid.data.opening import Remark
from pellucid.data.regions import Region, relative_box
from pellucid.data.table_columns import need_column
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pellucid.data.table_columns import Columns

_SIDES = {"x": ("x",), "y": ("y",), "width": ("width", "w"), "height": ("height", "h")}
_LABEL = ("label", "class", "finding", "finding_label")


def read_boxes(
    boxes: Columns,
    path_names: Sequence[str],
    rows: Mapping[str, int],
    files: Mapping[int, Path],
    *,
    size: Callable[[Path], tuple[int, int] | None] | None = None,
) -> list[Region]:
    """The boxes of a table; what is wrong with a row of it is noted there as a fault.

    A row whose four numbers are all empty marks nothing, as in tables that name images without a box so. Boxes of an
    image that cannot be read are left out: what is wrong with the image is said when it is decoded.

    Args:
        boxes: columns `path` (or one of `path_names`), `label`, `x`, `y`, `width` and `height`, x and y from the top
            left, in pixels of the image, upright.
        path_names: other names of the column that says which image.
        rows: the row of each image in the dataset's table, by path or id.
        files: the file of each row that can be used.
        size: width and height of the image in a file, upright, None where that cannot be read; by default `image_size`.

    Raises:
        InputError: naming the table, if a column is missing.
    """
    images = boxes.cells[need_column(boxes, "path", None, path_names)]
    labels = boxes.cells[need_column(boxes, "label", None, _LABEL)]
    sides = [boxes.cells[need_column(boxes, side, None, usual)] for side, usual in _SIDES.items()]
    frames: dict[int, tuple[int, int] | None] = {}
    regions: list[Region] = []
    for i, numbers in enumerate(zip(*sides, strict=True)):
        row = rows.get(images[i])
        if row is None:
            boxes.refuse(i, f"{images[i]!r} is not in the table of images")
        elif not labels[i] and any(numbers):
            boxes.refuse(i, "a box without a label")
        elif any(numbers) and row in files:
            if row not in frames:
                frames[row] = (size or image_size)(files[row])
            frame = frames[row]
            if frame is not None:
                _add(regions, boxes, i, row, labels[i], numbers, frame)
    return regions


def _add(
    regions: list[Region],
    boxes: Columns,
    i: int,
    row: int,
    label: str,
    numbers: Sequence[str],
    frame: tuple[int, int],
) -> None:
    try:
        x, y, width, height = map(float, numbers)
    except ValueError:
        boxes.refuse(i, f"expected x, y, width and height; found {', '.join(numbers)!r}")
        return
    try:
        box = relative_box((x, y, width, height), frame, boxes.where(i))
    except InputError as error:
        boxes.faulty.add(i)
        boxes.faults.append(Remark(str(boxes.source), str(error)))
        return
    regions.append(Region(row, label, box))
