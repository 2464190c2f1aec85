"""Other people's COCO files as marks: boxes, polygons and masks, on the images that their names mean."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from pellucid.annotations.belonging import image_header
from pellucid.annotations.content import StoreContent, StoreInfo
from pellucid.annotations.records import Mark
from pellucid.annotations.shapes import MAX_POINTS, Polygon, Rectangle
from pellucid.data.decoding.image_header import frame_fault, frame_orientation, turn_points
from pellucid.data.decoding.orientation import UPRIGHT
from pellucid.data.readers.coco.annotations import parse_instances
from pellucid.data.readers.coco.masks import runs_mask
from pellucid.data.readers.coco.objects import outline_points
from pellucid.data.readers.coco.outlines import mask_outlines
from pellucid.data.readers.image_names import faults_message, match_names
from pellucid.data.regions import relative_box
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.annotations.records import Kind
    from pellucid.data.dataset import Dataset
    from pellucid.data.decoding.image_header import ImageHeader
    from pellucid.data.readers.coco.annotations import Instances

_TOLD = 20  # faults that a message lists


def foreign_content(
    value: dict[str, Any], where: str, dataset: Dataset | None, annotator: str, kind: Kind
) -> tuple[StoreContent, list[str]]:
    """The boxes, polygons and masks of somebody else's COCO file as marks, and what is to be said of them.

    A mask becomes the outline of each of its pieces, exactly, whether it is called a crowd or not.

    Raises:
        InputError: naming `where`: no dataset was given, or anything in the file is not as COCO has it; all names that
            mean no image, all sizes that are not their images', or all outlines that are none, at once.
    """
    if dataset is None:
        raise InputError(f"{where} was not written by pellucid: say which dataset it annotates with --data NAME.")
    instances = parse_instances(value, Path(where), paths=True)
    used = sorted({instances.categories[k] for k in np.unique(instances.category).tolist()})
    unknown = [name for name in used if name not in dataset.classes]
    if unknown:
        suggestions = "; ".join(f"{name!r}: {nearest(name, dataset.classes)}" for name in unknown[:_TOLD])
        raise InputError(f"{where}: unknown category {suggestions}")
    matches = match_names(instances.names, [[name] for name in dataset.ids])
    if matches.faults:
        raise InputError(
            f"{where}: {faults_message(matches.faults, f'{dataset.card.name}/{dataset.split}', dataset.ids[0])}"
        )
    rows = [matches.rows[name] for name in instances.names]
    headers = [image_header(dataset, row) for row in rows]
    turns = _turns(instances, headers, where)
    notes = list(matches.notes)
    marks, mark_notes = _marks(instances, [dataset.ids[row] for row in rows], turns, annotator, kind, where)
    notes += mark_notes
    if turned := sum(turn != UPRIGHT for turn in turns):
        notes.append(number_of(turned, "image(s) annotated as stored, not upright; their marks are turned with them"))
    sizes = {dataset.ids[row]: (head.width, head.height) for row, head in zip(rows, headers, strict=True)}
    return StoreContent(StoreInfo.of(dataset), dict(sizes), tuple(marks)), notes


def _turns(instances: Instances, headers: list[ImageHeader], where: str) -> list[int]:
    turns, faults = [], []
    for name, frame, header in zip(instances.names, instances.frames.tolist(), headers, strict=True):
        orientation = frame_orientation(frame, header)
        turns.append(UPRIGHT if orientation is None else orientation)
        if orientation is None:
            faults.append(f"image {name!r}: {frame_fault(frame, header)}")
    _refuse(faults, where)
    return turns


def _marks(
    instances: Instances, images: list[str], turns: list[int], annotator: str, kind: Kind, where: str
) -> tuple[list[Mark], list[str]]:
    marks: list[Mark] = []
    faults: list[str] = []
    counted: Counter[str] = Counter()
    for i, outline in enumerate(instances.outlines):
        k = int(instances.image[i])
        at = f"annotation {instances.ids[i]} on {instances.names[k]}"
        try:
            shapes = _shapes(instances, i, turns[k], at)
        except InputError as error:
            faults.append(str(error))
            continue
        if not shapes:
            counted["annotation(s) without an area, or mask(s) without a pixel, left out"] += 1
        elif isinstance(outline, dict):
            counted["mask(s) kept as the outlines of their pieces"] += 1
        if shapes and instances.crowd[i]:
            counted["annotation(s) of crowds (iscrowd) kept as marks"] += 1
        name = instances.categories[instances.category[i]]
        for part, shape in enumerate(shapes):
            unique = f"{images[k]}|{name}|{kind}|{shape}|{annotator}|{part}"
            number = str(uuid5(NAMESPACE_URL, hashlib.sha256(unique.encode()).hexdigest()))
            marks.append(Mark(images[k], name, kind, shape, annotator, id=number))
    _refuse(faults, where)
    return marks, [number_of(count, what) for what, count in counted.items()]


def _shapes(instances: Instances, i: int, turn: int, at: str) -> list[Rectangle | Polygon]:
    frame = (int(instances.frames[instances.image[i], 0]), int(instances.frames[instances.image[i], 1]))
    outline = instances.outlines[i]
    if isinstance(outline, dict):
        pieces = mask_outlines(runs_mask(outline, frame, at), MAX_POINTS)
        return [_polygon(np.array(piece, dtype=np.float64) / frame, turn) for piece in pieces]
    if outline is not None:
        return [_polygon(_outline(part, frame, at), turn) for part in _parts(outline, at)]
    if instances.empty[i] and np.isfinite(instances.boxes[i]).all():
        return []
    x, y, width, height = relative_box(instances.boxes[i].tolist(), frame, at)
    corners = turn_points(np.array([[x, y], [x + width, y + height]]), turn).clip(0, 1)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if turn == UPRIGHT:
        return [Rectangle(x, y, width, height)]
    return [Rectangle(*low.tolist(), *(high - low).tolist())]


def _polygon(fractions: npt.NDArray[np.float64], turn: int) -> Polygon:
    points = turn_points(fractions, turn).clip(0, 1) if turn != UPRIGHT else fractions
    return Polygon(tuple((float(x), float(y)) for x, y in points))


def _parts(outline: Any, at: str) -> list[Any]:  # noqa: ANN401
    if not isinstance(outline, list):
        raise InputError(f"{at}: a segmentation is outlines or run lengths; found {outline!r:.60}.")
    return outline


def _outline(part: Any, frame: tuple[int, int], at: str) -> npt.NDArray[np.float64]:  # noqa: ANN401
    points = outline_points([part])
    if points is None or len(points) < 3:
        raise InputError(f"{at}: an outline is a list of x and y of at least 3 points.")
    if not ((points >= -1).all() and (points <= np.array(frame) + 1).all()):
        raise InputError(f"{at}: its outline leaves the image of {frame[0]} × {frame[1]} pixels.")
    return np.asarray(np.clip(points / frame, 0, 1), dtype=np.float64)


def _refuse(faults: list[str], where: str) -> None:
    if len(faults) == 1:
        raise InputError(f"{where}: {faults[0]}")
    if faults:
        more = [f"… and {len(faults) - _TOLD:,} more"] if len(faults) > _TOLD else []
        listed = "\n  ".join([*faults[:_TOLD], *more])
        raise InputError(f"{where}: {len(faults):,} things are wrong; nothing was taken from it:\n  {listed}")
