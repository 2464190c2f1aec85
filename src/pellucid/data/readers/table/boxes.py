"""Boxes in a table of their own: one row per box, in pixels of the image's file."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pellucid.data.decoding.image import image_size
from pellucid.data.issues import Issue
from pellucid.data.readers.image_names import match_names
from pellucid.data.readers.table.columns import find_column, need_column
from pellucid.data.regions import Region, relative_box
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pellucid.data.readers.table.columns import Columns

_SIDES = {"x": ("x",), "y": ("y",), "width": ("width", "w"), "height": ("height", "h")}
_CORNERS = frozenset({"xmin", "ymin", "xmax", "ymax", "x_min", "y_min", "x_max", "y_max", "x1", "y1", "x2", "y2"})
_LABEL = ("label", "class", "finding", "finding_label")
_REMEDY = "Name a column of the table of boxes so."


def read_boxes(
    boxes: Columns,
    path_names: Sequence[str],
    images: Sequence[Sequence[str]],
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
        images: what each row of the dataset's table is called, by path and id; see `names_of_rows`.
        files: the file of each row that can be used.
        size: width and height of the image in a file, upright, None where that cannot be read; by default `image_size`.

    Raises:
        InputError: naming the table, if a column is missing or holds lists, or all boxes lie within 1, as fractions do.
    """
    named = boxes.texts(need_column(boxes, "path", None, path_names, remedy=_REMEDY))
    labels = boxes.texts(need_column(boxes, "label", None, _LABEL, remedy=_REMEDY))
    sides = [boxes.texts(_side(boxes, side)) for side in _SIDES]
    _refuse_fractions(boxes, sides)
    matches = match_names(named, images)
    for note in matches.notes:
        warnings.warn(f"{boxes.source.name}: {note}.", stacklevel=2)
    frames: dict[int, tuple[int, int] | None] = {}
    regions: list[Region] = []
    for i, numbers in enumerate(zip(*sides, strict=True)):
        row = matches.rows.get(named[i])
        if row is None:
            boxes.refuse(i, f"{named[i]!r} is not in the table of images: {matches.faults[named[i]]}")
        elif not labels[i] and any(numbers):
            boxes.refuse(i, "a box without a label")
        elif any(numbers) and row in files:
            if row not in frames:
                frames[row] = (size or image_size)(files[row])
            frame = frames[row]
            if frame is not None:
                _add(regions, boxes, i, row, labels[i], numbers, frame)
    return regions


def names_of_rows(*columns: Sequence[str]) -> list[list[str]]:
    """What each row is called, from columns of names; of rows of one name in a column, the first is called so."""
    names: list[list[str]] = [[] for _ in columns[0]]
    for column in columns:
        first: dict[str, int] = {}
        for row, name in enumerate(column):
            if first.setdefault(name, row) == row and name not in names[row]:
                names[row].append(name)
    return names


def _side(boxes: Columns, side: str) -> str:
    """The column of x, y, width or height."""
    column = find_column(boxes, side, None, _SIDES[side])
    if column is not None:
        return column
    there = ", ".join(map(repr, boxes.names)) or "none"
    corners = any(name.lower() in _CORNERS for name in boxes.names)
    raise InputError(
        f"{boxes.source}: no column {' or '.join(map(repr, _SIDES[side]))}; found: {there}. A box is x, y, width and "
        "height in pixels, x and y of its top left corner; name the columns so."
        + " From two corners: width = xmax - xmin, height = ymax - ymin."
        * corners
    )


def _refuse_fractions(boxes: Columns, sides: Sequence[Sequence[str]]) -> None:
    complete = [numbers for numbers in zip(*sides, strict=True) if any(numbers)]
    if complete and all(_within_one(numbers) for numbers in complete):
        raise InputError(
            f"{boxes.source}: all boxes ({len(complete):,}) lie within 1, such as {', '.join(complete[0])}: they look "
            "like fractions of the images' width and height. Boxes are in pixels: multiply x and width by the width, "
            "y and height by the height."
        )


def _within_one(numbers: Sequence[str]) -> bool:
    try:
        return all(0 <= float(number) <= 1 for number in numbers)
    except ValueError:
        return False


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
        boxes.faults.append(Issue(str(boxes.source), str(error)))
        return
    regions.append(Region(row, label, box))
