"""The shapes that a person draws on an image, and the pixels that they cover."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pellucid.data.placement import Placement
from pellucid.data.regions import rasterize
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt
    from PIL import ImageDraw

MAX_POINTS = 10_000  # of one stroke: minutes of drawing at 60 points a second
MAX_RADIUS = 0.5
FINE = 8  # lines drawn in the place of one pixel
CANVAS = 8192  # pixels of a side of what is drawn at most

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Rectangle:
    """An upright rectangle; x and width are fractions of the image's width, y and height of its height.

    Raises:
        InputError: for numbers that are none, no area, or a rectangle that leaves the image.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        _check_numbers("a rectangle", (self.x, self.y, self.x + self.width, self.y + self.height))
        _check_numbers("a rectangle's width and height", (self.width, self.height))
        if self.width <= 0 or self.height <= 0:
            raise InputError(f"a rectangle needs a width and a height above 0; found {self.width:g} × {self.height:g}.")


@dataclass(frozen=True)
class Polygon:
    """A closed outline, drawn freehand or corner by corner; where it crosses itself, inside is even-odd.

    Raises:
        InputError: for fewer than 3 points, more than `MAX_POINTS`, or points that are not on the image.
    """

    points: Points

    def __post_init__(self) -> None:
        _check_points("a polygon", self.points, least=3)


@dataclass(frozen=True)
class Brush:
    """The stroke of a round brush along a line.

    Attributes:
        points: where the brush went, fractions of the image's width and height.
        radius: of the brush, as a fraction of the image's width, above 0 and at most `MAX_RADIUS`.
        aspect: the image's height divided by its width, which makes the brush round.

    Raises:
        InputError: for no point, more than `MAX_POINTS`, points that are not on the image, or a bad radius.
    """

    points: Points
    radius: float
    aspect: float = 1.0

    def __post_init__(self) -> None:
        _check_points("a brush stroke", self.points, least=1)
        if not (_is_number(self.radius) and 0 < self.radius <= MAX_RADIUS):
            raise InputError(
                f"a brush's radius is a fraction of the image's width, above 0 and at most {MAX_RADIUS:g}; "
                f"found {self.radius!r}."
            )
        if not (_is_number(self.aspect) and 0.001 <= self.aspect <= 1000):
            raise InputError(f"an image's height divided by its width is from 0.001 to 1000; found {self.aspect!r}.")


Shape = Rectangle | Polygon | Brush


def shape_mask(shape: Shape, frame: int | Placement) -> npt.NDArray[np.bool_]:
    """The pixels of a frame that a shape covers, boolean (height, width); at least one, where it lies in the frame.

    The frame is what a network takes of the image, or a number for a square that it is stretched to. A rectangle covers
    the pixels whose centres it holds, any other shape those that it covers by half or more. The outline is right to a
    quarter of a pixel up to a size of 1024.

    Example:
        >>> shape_mask(Rectangle(0.5, 0, 0.5, 1), 2).astype(int).tolist()
        [[0, 1], [0, 1]]
        >>> int(shape_mask(Brush(((0.5, 0.5),), 0.25), 100).sum())  # π · 25² = 1963, and the outline
        1976
    """
    if isinstance(shape, Rectangle):
        return rasterize((shape.x, shape.y, shape.width, shape.height), frame)
    return drawn_mask(shape, frame if isinstance(frame, Placement) else Placement.whole(frame, frame))


def drawn_mask(shape: Polygon | Brush, placement: Placement) -> npt.NDArray[np.bool_]:
    """The pixels of a frame that an outline or a stroke covers, boolean (height, width); see `shape_mask`."""
    (height, width), (whole_height, whole_width) = placement.frame, placement.scaled
    stretch = shape.aspect * whole_width / whole_height if isinstance(shape, Brush) else 1.0  # makes a brush round
    radius = shape.radius * whole_width if isinstance(shape, Brush) else 0.0  # in pixels of the frame
    reach = np.array([1, 1 / stretch]) * radius
    frame = np.array([width, height])
    corners = np.asarray(shape.points, dtype=np.float64) * [whole_width, whole_height] + [placement.left, placement.top]
    outer = (np.floor(corners.min(0) - reach), np.ceil(corners.max(0) + reach))
    mask = np.zeros((height, width), dtype=bool)
    if not placement.sees_all and ((outer[0] >= frame) | (outer[1] <= 0)).any():
        return mask
    low = np.clip(outer[0], 0, frame - 1).astype(int)
    high = np.clip(outer[1], low + 1, frame).astype(int)
    fine = max(min(1, 100 / stretch), min(FINE, int(CANVAS / max(width, height) / max(1.0, stretch))))
    scale = np.array([fine, fine * stretch])  # pixels of the canvas to one of the image
    line = (corners - low) * scale

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        if isinstance(shape, Brush):
            _draw_stroke(canvas, line, max(radius * fine - 0.5, 0))  # Pillow draws outlines too
        else:
            canvas.polygon([tuple(point) for point in (line - 0.5).tolist()], fill=255)

    share = _share(draw, (high - low).tolist(), scale.tolist())
    covered = share >= 128
    if not covered.any() and (placement.sees_all or share.any()):  # too little for half a pixel
        covered = share == share.max()
    mask[low[1] : high[1], low[0] : high[0]] = covered
    return mask


def _share(draw: Callable[[ImageDraw.ImageDraw], None], pixels: list[int], scale: list[float]) -> npt.NDArray[np.uint8]:
    """What is drawn, as the share of each pixel that is covered, of 255."""
    from PIL import Image, ImageDraw

    exact = (pixels[0] * scale[0], pixels[1] * scale[1])
    canvas = Image.new("L", (math.ceil(exact[0]), math.ceil(exact[1])))
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas.resize((pixels[0], pixels[1]), Image.Resampling.BOX, box=(0, 0, *exact)))


def _draw_stroke(canvas: ImageDraw.ImageDraw, line: npt.NDArray[np.float64], radius: float) -> None:
    """Discs at the points and bands between them, in canvas pixels whose centres are at whole numbers plus a half."""
    points = line - 0.5
    for x, y in points.tolist():
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    for start, end in pairwise(points):
        along = end - start
        length = float(np.hypot(*along))
        if length > 0:
            across = np.array([-along[1], along[0]]) * (radius / length)
            band = (start + across, end + across, end - across, start - across)
            canvas.polygon([tuple(corner) for corner in np.stack(band).tolist()], fill=255)


def shape_to_json(shape: Shape) -> dict[str, Any]:
    """A shape as the store, the page and files hold it.

    Example:
        >>> shape_to_json(Rectangle(0.25, 0.5, 0.125, 0.25))
        {'type': 'rectangle', 'x': 0.25, 'y': 0.5, 'width': 0.125, 'height': 0.25}
    """
    if isinstance(shape, Rectangle):
        return {"type": "rectangle", "x": shape.x, "y": shape.y, "width": shape.width, "height": shape.height}
    points = [list(point) for point in shape.points]
    if isinstance(shape, Polygon):
        return {"type": "polygon", "points": points}
    return {"type": "brush", "points": points, "radius": shape.radius, "aspect": shape.aspect}


def shape_from_json(value: object) -> Shape:
    """The shape of `shape_to_json`.

    Raises:
        InputError: for anything else, with what is wrong.
    """
    if not isinstance(value, dict):
        raise InputError(f"a shape is an object with type rectangle, polygon or brush; found {_brief(value)}.")
    keys = {"rectangle": {"x", "y", "width", "height"}, "polygon": {"points"}, "brush": {"points", "radius"}}
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in keys:
        raise InputError(f"a shape's type is rectangle, polygon or brush; found {_brief(kind)}.")
    wrong = set(value) ^ ({"type"} | keys[kind])
    if wrong - ({"aspect"} if kind == "brush" else set()):
        raise InputError(
            f"a {kind} has type, {', '.join(sorted(keys[kind]))}; found {_brief(sorted(map(str, value)))}."
        )
    if kind == "rectangle":
        return Rectangle(*(_number(value, key) for key in ("x", "y", "width", "height")))
    points = _points(value["points"])
    if kind == "polygon":
        return Polygon(points)
    return Brush(points, _number(value, "radius"), _number(value, "aspect") if "aspect" in value else 1.0)


def _points(value: object) -> Points:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"points are a list of [x, y]; found {_brief(value)}.")
    if len(value) > MAX_POINTS:
        raise InputError(f"a stroke has at most {MAX_POINTS:,} points; found {len(value):,}.")
    for point in value:
        if not isinstance(point, (list, tuple)) or len(point) != 2 or not all(_is_number(v) for v in point):
            raise InputError(f"points are a list of [x, y]; found {_brief(point)} among them.")
    return cast("Points", tuple((float(x), float(y)) for x, y in value))


def _number(value: Mapping[str, object], key: str) -> float:
    number = value[key]
    if not _is_number(number):
        raise InputError(f"{key} is a finite number; found {_brief(number)}.")
    return float(cast("float", number))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9  # NaN is not below it


def _check_points(what: str, points: Points, least: int) -> None:
    if not least <= len(points) <= MAX_POINTS:
        raise InputError(f"{what} has from {least} to {MAX_POINTS:,} points; found {len(points):,}.")
    _check_numbers(what, np.asarray(points, dtype=np.float64).ravel().tolist())


def _check_numbers(what: str, values: tuple[float, ...] | list[float]) -> None:
    for value in values:
        if not (_is_number(value) and -1e-6 <= value <= 1 + 1e-6):
            raise InputError(f"{what} lies on the image, with fractions from 0 to 1; found {value!r}.")


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
