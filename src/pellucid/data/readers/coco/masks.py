"""COCO's segmentations as masks: polygons and run lengths, drawn when a region is asked for."""

from __future__ import annotations

import hashlib
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.decoding.pixel_limit import MAX_PIXELS
from pellucid.types import InputError
from pellucid.utils.resources import optional

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def draw_mask(outline: Any, frame: tuple[int, int], box: Sequence[float], where: str) -> npt.NDArray[np.bool_]:  # noqa: ANN401
    """A segmentation as boolean (height, width), by COCO's own code (pycocotools).

    Args:
        outline: polygons, each ``x1, y1, x2, y2, …`` in pixels; or run lengths down the columns,
            ``{"size": [height, width], "counts": …}``, as a list or in COCO's compressed text.
        frame: width and height.
        box: x, y, width, height in pixels; marked instead of an outline that covers no pixel at all.
        where: what errors begin with.

    Raises:
        InputError: for what is neither, numbers that are not finite or far outside the image, run lengths that are
            not those of the image; without pycocotools, with how to get it.
    """
    width, height = frame
    if width * height > MAX_PIXELS:
        raise InputError(f"{where}: its image is said to be {width:,} × {height:,} pixels; {MAX_PIXELS:,} are drawn.")
    coder = optional("pycocotools.mask", "coco", "a mask of COCO (boxes alone, with the option masks=false, do not)")
    if isinstance(outline, dict):
        runs = _run_lengths(outline, frame, where)
        encoded = coder.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    else:
        encoded = coder.merge(coder.frPyObjects(_polygons(outline, frame, where), height, width))
    mask: npt.NDArray[np.bool_] = coder.decode(encoded).astype(bool)
    if not mask.any():
        x, y = (min(max(int(v), 0), n - 1) for v, n in zip(box[:2], frame, strict=True))
        mask[y : max(int(np.ceil(box[1] + box[3])), y + 1), x : max(int(np.ceil(box[0] + box[2])), x + 1)] = True
    return mask


def runs_mask(outline: dict[str, Any], frame: tuple[int, int], where: str) -> npt.NDArray[np.bool_]:
    """Run lengths as boolean (height, width); pycocotools is not needed for it.

    Args:
        outline: ``{"size": [height, width], "counts": …}``, as a list or in COCO's compressed text.
        frame: width and height.
        where: what errors begin with.

    Raises:
        InputError: as `draw_mask`.

    Example:
        >>> runs_mask({"size": [2, 2], "counts": [1, 2, 1]}, (2, 2), "it").tolist()
        [[False, True], [True, False]]
    """
    width, height = frame
    if width * height > MAX_PIXELS:
        raise InputError(f"{where}: its image is said to be {width:,} × {height:,} pixels; {MAX_PIXELS:,} are drawn.")
    runs = _run_lengths(outline, frame, where)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def outline_hash(outline: Any) -> bytes:  # noqa: ANN401
    """A short hash of a segmentation as it is written, whether it can be drawn or not.

    Example:
        >>> outline_hash([array("d", [1, 2, 3, 4, 5, 6])]) == outline_hash([array("d", [1, 2, 3, 4, 5, 7])])
        False
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in outline if isinstance(outline, list) else [outline]:
        content = part.tobytes() if isinstance(part, array) else repr(part).encode()
        digest.update(f"{len(content)} ".encode() + content)
    return digest.digest()


def _polygons(outline: Any, frame: tuple[int, int], where: str) -> list[list[float]]:  # noqa: ANN401
    """Checked here: pycocotools takes four numbers for a box, and its memory grows with the coordinates."""
    if not isinstance(outline, list) or not all(isinstance(polygon, array) for polygon in outline):
        raise InputError(f"{where}: the segmentation is neither polygons nor run lengths.")
    for polygon in outline:
        points = np.array(polygon)
        if len(points) < 6 or len(points) % 2:
            raise InputError(f"{where}: a polygon of {len(points)} numbers; expected x and y of three points or more.")
        span = np.tile(np.array(frame, dtype=float), len(points) // 2)
        if not (np.isfinite(points).all() and (points >= -span).all() and (points <= 2 * span).all()):
            raise InputError(f"{where}: a polygon that is not finite or far outside its image.")
    return [polygon.tolist() for polygon in outline]


def _run_lengths(outline: dict[str, Any], frame: tuple[int, int], where: str) -> list[int]:
    """The lengths of the runs of zeros and ones in turn; their sum is checked, since pycocotools writes so far."""
    counts, size = outline.get("counts"), outline.get("size")
    if size != [frame[1], frame[0]]:
        raise InputError(f"{where}: run lengths of size {size!r}; the image has height {frame[1]}, width {frame[0]}.")
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise InputError(f"{where}: its run lengths cannot be read.")
    if sum(runs) != frame[0] * frame[1]:
        raise InputError(f"{where}: run lengths of {sum(runs):,} pixels; the image has {frame[0] * frame[1]:,}.")
    return runs


def _decompress(text: str) -> list[int] | None:
    """Run lengths from COCO's text: five bits a character, least significant first; from the fourth on, a difference.

    None where the text is none of COCO's.

    Example:
        >>> _decompress("52203")
        [5, 2, 2, 2, 5]
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return runs if shift == 0 else None
