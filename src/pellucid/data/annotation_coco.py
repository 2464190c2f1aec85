"""Annotations in COCO's object detection format: ours as others read them, and others' as marks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from pellucid.data.annotation_content import StoreContent, StoreInfo
from pellucid.data.annotation_shapes import Brush, Polygon, Rectangle, drawn_mask
from pellucid.data.annotations import KINDS, Kind, Mark
from pellucid.data.image_names import need_matches
from pellucid.data.regions import relative_box
from pellucid.resources import nearest
from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.data.annotation_shapes import Shape
    from pellucid.data.dataset import Dataset

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
    mask = drawn_mask(shape, height, width)
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


def foreign_content(
    value: dict[str, Any], where: str, dataset: Dataset | None, annotator: str, kind: Kind
) -> StoreContent:
    """The boxes and polygons of somebody else's COCO file as marks; run lengths of crowds are left out.

    Raises:
        InputError: naming `where`: no dataset was given, or anything in the file is not as COCO has it.
    """
    if dataset is None:
        raise InputError(f"{where} was not written by pellucid: say which dataset it annotates with --data NAME.")
    for name in ("images", "annotations", "categories"):
        if not isinstance(value.get(name), list):
            raise InputError(f"{where}: not COCO's object detection format: it has no list {name!r}.")
    try:
        images = _images(value["images"], where, dataset)
        categories = {c["id"]: _known(c["name"], where, dataset) for c in value["categories"]}
        marks: list[Mark] = []
        for number, one in enumerate(value["annotations"], 1):
            at = f"{where}: annotation {number}"
            if one["image_id"] not in images or one["category_id"] not in categories:
                raise InputError(f"{at}: its image or category is not in the file.")
            image, width, height = images[one["image_id"]]
            for part, shape in enumerate(_shapes(one, (width, height), at)):
                name = categories[one["category_id"]]
                unique = hashlib.sha256(f"{image}|{name}|{kind}|{shape}|{annotator}|{part}".encode()).hexdigest()
                marks.append(Mark(image, name, kind, shape, annotator, id=str(uuid5(NAMESPACE_URL, unique))))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: not COCO's object detection format: {type(error).__name__} {error}.") from error
    sizes: dict[str, tuple[int, int] | None] = {image: (width, height) for image, width, height in images.values()}
    return StoreContent(StoreInfo.of(dataset), sizes, tuple(marks))


def _images(values: list[Any], where: str, dataset: Dataset) -> dict[Any, tuple[str, int, int]]:
    """By COCO's id: the dataset's id, width and height."""
    whose = f"{dataset.card.name}/{dataset.split}"
    names = [_file_name(one["file_name"], where) for one in values]
    rows = need_matches(names, [[name] for name in dataset.ids], where, whose).rows
    found = {}
    for one, file in zip(values, names, strict=True):
        image = dataset.ids[rows[file]]
        width, height = one["width"], one["height"]
        if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in (width, height)):
            raise InputError(f"{where}: image {file!r}: width and height are whole numbers above 0.")
        found[one["id"]] = (image, width, height)
    return found


def _file_name(name: object, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: an image's file_name is text; found {name!r:.60}.")
    return name


def _known(name: object, where: str, dataset: Dataset) -> str:
    if not isinstance(name, str) or name not in dataset.classes:
        raise InputError(f"{where}: unknown category {name!r}. {nearest(str(name), dataset.classes)}")
    return name


def _shapes(one: dict[str, Any], frame: tuple[int, int], at: str) -> list[Rectangle | Polygon | Brush]:
    outlines = one.get("segmentation")
    if isinstance(outlines, dict) and one.get("iscrowd"):
        return []
    if isinstance(outlines, list) and outlines:
        return [_polygon(outline, frame, at) for outline in outlines]
    box = one.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{at}: a box is [x, y, width, height]; found {box!r:.60}.")
    return [Rectangle(*relative_box(box, frame, at))]


def _polygon(outline: object, frame: tuple[int, int], at: str) -> Polygon:
    numbers = isinstance(outline, list) and all(isinstance(v, (int, float)) for v in outline)
    if not isinstance(outline, list) or not numbers or len(outline) % 2 or len(outline) < 6:
        raise InputError(f"{at}: an outline is a list of x and y of at least 3 points.")
    points = np.array(outline, dtype=np.float64).reshape(-1, 2)
    if not (np.isfinite(points).all() and (points >= -1).all() and (points <= np.array(frame) + 1).all()):
        raise InputError(f"{at}: its outline leaves the image of {frame[0]} × {frame[1]} pixels.")
    fractions = np.clip(points / frame, 0, 1)
    return Polygon(tuple((float(x), float(y)) for x, y in fractions))
