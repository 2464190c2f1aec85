"""The annotations of one part of COCO, `instances_*2017.json`: read once, checked, and kept as arrays."""

from __future__ import annotations

import contextlib
import json
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.issues import Issue
from pellucid.data.readers.coco.objects import (
    box_around,
    is_crowd,
    look_like_fractions,
    outline_points,
    read_rotation,
    rotated_box,
)
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    import numpy.typing as npt

_EMPTY = "has no area; it marks nothing"
SLACK = 1.0  # pixels that a box may stick out of its image; it is cut at the border then


@dataclass(frozen=True)
class Instances:
    """All that one file says of N images and M marked objects.

    Attributes:
        path: the file.
        categories: the names of the K categories, in the order of their ids.
        names: N file names.
        frames: (N, 2), width and height that boxes and outlines are given in.
        ids: (M,) the objects' ids.
        image: (M,) the image that an object is on.
        category: (M,) its place in `categories`.
        crowd: boolean (M,), whether it stands for a crowd that nobody took apart.
        boxes: (M, 4) x, y, width, height in pixels, as written.
        outlines: M segmentations as written, polygons as arrays of numbers; None where there is none.
    """

    path: Path
    categories: tuple[str, ...]
    names: tuple[str, ...]
    frames: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float64]
    outlines: list[Any]

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """(M,) objects whose box has no area; the release has a few, which count as present and mark nothing."""
        return np.asarray((self.boxes[:, 2] == 0) | (self.boxes[:, 3] == 0))

    @property
    def wrong(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Which boxes make no sense, (M,) for each thing that may be wrong with one."""
        x, y, width, height = self.boxes.T
        frame_width, frame_height = self.frames[self.image].T
        finite = np.isfinite(self.boxes).all(axis=1)
        with np.errstate(invalid="ignore"):
            negative = (width < 0) | (height < 0)
            outside = (
                (np.minimum(x, y) < -SLACK) | (x + width > frame_width + SLACK) | (y + height > frame_height + SLACK)
            )
        return {
            "is not finite": ~finite,
            "has a negative width or height": finite & negative,
            "lies outside its image of {0:g} × {1:g} pixels": finite & ~negative & outside,
        }

    @property
    def marked(self) -> npt.NDArray[np.int64]:
        """The objects that mark a place: no crowd, and with a box that makes sense and has an area."""
        return np.flatnonzero(~np.any(list(self.wrong.values()), axis=0) & ~self.crowd & ~self.empty)

    def issues(self) -> list[Issue]:
        """Boxes that make no sense (serious), and boxes without an area (not)."""
        wrong = self.wrong
        empty = self.empty & ~wrong["is not finite"]
        issues = []
        for reason, which in (wrong | {_EMPTY: empty}).items():
            for i in np.flatnonzero(which).tolist():
                box = ", ".join(f"{v:g}" for v in self.boxes[i])
                problem = reason.format(*self.frames[self.image[i]])
                name = self.names[self.image[i]]
                text = f"annotation {self.ids[i]} on {name}: the box ({box}) {problem}"
                issues.append(Issue(str(self.path), text, serious=reason != _EMPTY))
        return issues

    def relative_boxes(self) -> npt.NDArray[np.float64]:
        """(M, 4) the boxes as fractions of width and height, cut at the border."""
        frame = self.frames[self.image]
        start = np.clip(self.boxes[:, :2], 0, frame)
        stop = np.clip(self.boxes[:, :2] + self.boxes[:, 2:], 0, frame)
        return np.concatenate([start / frame, (stop - start) / frame], axis=1)


def read_instances(path: Path) -> Instances:
    """Read one file of annotations. What its boxes are worth is for `Instances.issues` to say.

    A box that is turned (CVAT's `attributes.rotation`) becomes an outline, and its box the one around that.

    Raises:
        InputError: naming the file, where it is missing, is no JSON or not COCO's; with the entry, where an id occurs
            twice, an image or a category is not listed, a size, a box or a flag is none, or a file name is more than a
            name; where all boxes or outlines lie within 1, as fractions do.
    """
    return parse_instances(_load(path), path)


def parse_instances(content: dict[str, Any], path: Path, *, paths: bool = False) -> Instances:
    """As `read_instances`, from the JSON of a file that is read already; with `paths`, file names may have folders."""
    categories = sorted(_entries(path, content, "categories"), key=lambda entry: _number(path, entry, "id"))
    images = _entries(path, content, "images")
    annotations = _entries(path, content, "annotations")
    if not categories or not images:
        raise InputError(f"{path}: lists no {'images' if categories else 'categories'}. Fetch the annotations again.")
    column = _rows(path, categories, "categories")
    row = _rows(path, images, "images")
    _rows(path, annotations, "annotations")
    names = tuple(_file_name(path, entry, paths=paths) for entry in images)
    _once(path, names, "images", "file_name")
    labels = tuple(_category_name(path, entry) for entry in categories)
    _once(path, labels, "categories", "name")
    frames = np.array([[_number(path, entry, key) for key in ("width", "height")] for entry in images], dtype=float)
    if (frames < 1).any():
        i = int(np.argmin(frames.min(axis=1)))
        raise InputError(f"{path}: {names[i]} is said to be {frames[i, 0]:g} × {frames[i, 1]:g} pixels.")
    row_of = _look_up(path, annotations, "image_id", row)
    crowd = [is_crowd(entry, _at(path, entry)) for entry in annotations]
    outlines = [entry.get("segmentation") or None for entry in annotations]
    boxes = _boxes(path, annotations, outlines)
    for i, entry in enumerate(annotations):
        rotation = read_rotation(entry, _at(path, entry))
        if rotation and outlines[i] is None:
            _rotate(boxes, outlines, i, rotation, frames[row_of[i]])
    if what := look_like_fractions(boxes, outlines):
        raise InputError(
            f"{path}: all {what} lie within 1: they look like fractions of the images' width and height. COCO's are in "
            "pixels: multiply x by the width and y by the height."
        )
    return Instances(
        path=path,
        categories=labels,
        names=names,
        frames=frames,
        ids=np.array([entry["id"] for entry in annotations], dtype=np.int64),
        image=row_of,
        category=_look_up(path, annotations, "category_id", column),
        crowd=np.array(crowd, dtype=bool),
        boxes=boxes,
        outlines=outlines,
    )


def _rotate(
    boxes: npt.NDArray[np.float64], outlines: list[Any], i: int, degrees: float, frame: npt.NDArray[np.float64]
) -> None:
    x, y, width, height = boxes[i].tolist()
    if not np.isfinite(boxes[i]).all() or width <= 0 or height <= 0:
        return  # said of the box as it is
    corners = rotated_box((x, y, width, height), degrees, (float(frame[0]), float(frame[1])))
    if corners is not None:
        outlines[i] = [array("d", corners.ravel().tolist())]
        boxes[i] = box_around(corners)


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.load(file, object_hook=compact_polygons)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or not text
        raise InputError(f"{path}: not a JSON file ({error}). Fetch the annotations again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not COCO's annotations: expected an object; found {type(content).__name__}.")
    return content


def compact_polygons(entry: dict[str, Any]) -> dict[str, Any]:
    """Polygons as arrays while the file is parsed: 50 million numbers, of four times the size as Python's own."""
    polygons = entry.get("segmentation")
    if isinstance(polygons, list):
        with contextlib.suppress(TypeError, OverflowError):  # not polygons: said when it is to be drawn
            entry["segmentation"] = [array("d", polygon) for polygon in polygons]
    return entry


def _entries(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list):
        there = ", ".join(map(repr, list(content)[:8])) or "nothing"
        raise InputError(
            f"{path}: not COCO's annotations: no list {key!r}; found {there}. Expected lists of images, annotations "
            "and categories, as in the release's instances_train2017.json or instances_val2017.json."
        )
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: {key}[{place}] is no object; found {type(entry).__name__}.")
    return entries


def _number(path: Path, entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise InputError(f"{path}: {key!r} must be a whole number; found {value!r} in {_brief(entry)}.")
    return value


def _rows(path: Path, entries: Sequence[dict[str, Any]], kind: str) -> dict[int, int]:
    """Id → place."""
    rows = {_number(path, entry, "id"): place for place, entry in enumerate(entries)}
    if len(rows) < len(entries):
        _once(path, [entry["id"] for entry in entries], kind, "id")
    return rows


def _once(path: Path, values: Sequence[Hashable], kind: str, key: str) -> None:
    if len(set(values)) < len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise InputError(f"{path}: two of its {kind} have the same {key}: {twice!r}.")


def _file_name(path: Path, entry: dict[str, Any], *, paths: bool) -> str:
    name = entry.get("file_name")
    if paths and isinstance(name, str) and name and "\0" not in name:
        return name
    if paths or not isinstance(name, str) or not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        kind = "the name of a file" if paths else "the name of a file in the part's own folder"
        raise InputError(f"{path}: image {entry['id']}: file_name {name!r:.200} must be {kind}.")
    return name


def _category_name(path: Path, entry: dict[str, Any]) -> str:
    name = entry.get("name")
    if name is None or name == "":
        raise InputError(f"{path}: category {entry['id']} has no name.")
    if not isinstance(name, str):
        raise InputError(f"{path}: category {entry['id']}: its name is text; found {name!r:.60}.")
    return name


def _at(path: Path, entry: dict[str, Any]) -> str:
    return f"{path}: annotation {entry['id']}"


def _look_up(
    path: Path, annotations: Sequence[dict[str, Any]], key: str, rows: dict[int, int]
) -> npt.NDArray[np.int64]:
    places = [rows.get(_number(path, entry, key), -1) for entry in annotations]
    if -1 in places:
        entry = annotations[places.index(-1)]
        raise InputError(f"{path}: annotation {entry['id']} names {key} {entry[key]}, which is not listed.")
    return np.array(places, dtype=np.int64)


def _boxes(path: Path, annotations: Sequence[dict[str, Any]], outlines: Sequence[Any]) -> npt.NDArray[np.float64]:
    """The boxes as written; of an annotation that has none, the box around its polygons."""
    flat = [entry.get("bbox") for entry in annotations]
    for i, (entry, box) in enumerate(zip(annotations, flat, strict=True)):
        if not box and (points := outline_points(outlines[i])) is not None:
            flat[i] = box_around(points)
        elif not isinstance(box, list) or len(box) != 4 or not {type(v) for v in box} <= {int, float}:
            raise InputError(f"{path}: annotation {entry['id']}: bbox {box!r:.200}; expected four numbers.")
    try:
        return np.array(flat, dtype=np.float64).reshape(-1, 4)
    except OverflowError as error:
        raise InputError(f"{path}: a bbox holds a number that is too large ({error}).") from error


def _brief(entry: dict[str, Any]) -> str:
    text = repr({key: value for key, value in entry.items() if not isinstance(value, list)})
    return text if len(text) < 120 else text[:117] + "..."
