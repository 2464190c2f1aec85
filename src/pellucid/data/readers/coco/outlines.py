"""A mask as outlines along the edges of its pixels: what a polygon can hold of it, which is all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy  # its parts load when they are used

Point = tuple[int, int]


def mask_outlines(mask: npt.NDArray[np.bool_], most: int) -> list[list[Point]]:
    """The connected pieces of a mask (H, W), each as the closed outline of its pixels; inside is even-odd.

    Holes are joined to their piece by lines of no width that go there and back. A piece of more than `most` points is
    cut in two.

    Args:
        mask: the mask.
        most: points that an outline may have, at least 8.

    Returns:
        Of each piece the corners, x and y in pixels.

    Example:
        >>> mask_outlines(np.array([[True, True], [True, False]]), most=100)
        [[(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]]
    """
    labels, _ = scipy.ndimage.label(mask)
    outlines = []
    for number, place in enumerate(scipy.ndimage.find_objects(labels), 1):
        outlines += _piece(labels[place] == number, (place[1].start, place[0].start), most)
    return outlines


def _piece(mask: npt.NDArray[np.bool_], corner: Point, most: int) -> list[list[Point]]:
    outline = _joined(_rings(mask))
    if len(outline) <= most:
        return [[(x + corner[0], y + corner[1]) for x, y in outline]]
    axis = int(np.argmax(mask.shape))
    middle = mask.shape[axis] // 2
    outlines = []
    for start, half in zip((0, middle), np.split(mask, [middle], axis=axis), strict=True):
        left, top = corner[0] + (start if axis == 1 else 0), corner[1] + (start if axis == 0 else 0)
        outlines += [[(x + left, y + top) for x, y in outline] for outline in mask_outlines(half, most)]
    return outlines


def _rings(mask: npt.NDArray[np.bool_]) -> list[list[Point]]:
    """The closed lines between pixels in and out of a mask, by their corners, from top to bottom."""
    p = np.pad(mask, 1).astype(np.int8)
    around = p[:-1, :-1] + p[:-1, 1:] + p[1:, :-1] + p[1:, 1:]
    crossing = (around == 2) & (p[:-1, :-1] == p[1:, 1:])  # two pixels touch at a corner: two lines turn there
    y, x = np.nonzero((around % 2 == 1) | crossing)
    twice = np.where(crossing[y, x], 2, 1)
    y, x = np.repeat(y, twice), np.repeat(x, twice)
    along = [_partners(np.lexsort((x, y))), _partners(np.lexsort((y, x)))]  # by rows, by columns
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    is_visited = np.zeros(len(points), dtype=bool)
    rings = []
    for start in range(len(points)):
        if is_visited[start]:
            continue
        ring, at, way = [], start, 0
        while not is_visited[at]:
            is_visited[at] = True
            ring.append(points[at])
            at, way = along[way][at], 1 - way
        rings.append(ring)
    return rings


def _partners(order: npt.NDArray[np.int64]) -> list[int]:
    """The other end of each corner's edge: in order, every two corners are the ends of one."""
    other = np.empty(len(order), dtype=np.int64)
    other[order[0::2]], other[order[1::2]] = order[1::2], order[0::2]
    partners: list[int] = other.tolist()
    return partners


def _joined(rings: list[list[Point]]) -> list[Point]:
    if len(rings) == 1:
        return rings[0]
    there = [point for ring in rings for point in [*ring, ring[0]]]
    return there + [ring[0] for ring in reversed(rings[:-1])]
