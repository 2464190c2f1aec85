"""An image file's size and orientation by its header, and whether the frame that annotations give it can be its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pellucid.data.decoding.image import image_size, read_file
from pellucid.data.decoding.orientation import UPRIGHT, find_orientation, swaps_sides, turn_upright
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

_HEADS = (1 << 12, 1 << 16)  # bytes that hold the header of most JPEGs, and of nearly all
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the JPEG markers that tell a size


class ImageHeader(NamedTuple):
    """Width and height of the upright image, and how the file stores it."""

    width: int
    height: int
    orientation: int = UPRIGHT


def read_image_header(path: Path) -> ImageHeader | None:
    """The header of an image file; None where it cannot be read. Of a JPEG only the first bytes are read."""
    try:
        if not path.is_file():  # a pipe has no end
            return None
        size, head = None, b""
        with path.open("rb") as file:
            for length in _HEADS:
                head += file.read(length - len(head))
                size = _jpeg_size(head) if head[:2] == b"\xff\xd8" else None
                if size is not None or head[:2] != b"\xff\xd8":
                    break
        if size is not None:
            orientation = find_orientation(head)
            return ImageHeader(*(size[::-1] if swaps_sides(orientation) else size), orientation)
        upright = image_size(path)
        return None if upright is None else ImageHeader(*upright, find_orientation(read_file(path)))
    except (OSError, InputError):
        return None


def frame_orientation(frame: Sequence[float], header: ImageHeader) -> int | None:
    """How coordinates in a frame (width, height) are to be turned to be the upright image's; None where it is not its.

    A frame fits an image that is larger or smaller in proportion. One that fits the image only as it is stored, on its
    side, is the stored image's.

    Example:
        >>> photo = ImageHeader(50, 100, orientation=6)
        >>> frame_orientation((500, 1000), photo), frame_orientation((100, 50), photo)
        (1, 6)
        >>> frame_orientation((100, 50), ImageHeader(50, 100)) is None
        True
    """
    if _fits(frame, (header.width, header.height)):
        return UPRIGHT
    if swaps_sides(header.orientation) and _fits(frame, (header.height, header.width)):
        return header.orientation
    return None


def frame_fault(frame: Sequence[float], header: ImageHeader) -> str:
    """What to say of a frame that is not an image's."""
    return (
        f"said to be {frame[0]:g} × {frame[1]:g} pixels; its file holds {header.width} × {header.height}, which has "
        "another proportion: boxes and outlines would lie elsewhere"
    )


def turn_points(points: npt.NDArray[np.float64], orientation: int) -> npt.NDArray[np.float64]:
    """Points (N, 2) as fractions of the stored image's width and height, as fractions of the upright image's.

    Example:
        >>> turn_points(np.array([[0.25, 0.0]]), 6).tolist()  # turned clockwise: the upper edge comes to the right
        [[1.0, 0.25]]
    """
    corners = turn_upright(np.arange(4, dtype=np.uint8).reshape(2, 2), orientation)
    at = [np.argwhere(corners == number)[0][::-1] for number in range(3)]  # where the first three corners come to lie
    across, down = at[1] - at[0], at[2] - at[0]
    return np.asarray(at[0] + points[:, :1] * across + points[:, 1:] * down, dtype=np.float64)


def _fits(frame: Sequence[float], size: tuple[int, int]) -> bool:
    """Whether one scale takes both sides of a frame to those of an image, to a pixel."""
    low = max((side - 1) / of for side, of in zip(size, frame, strict=True))
    high = min((side + 1) / of for side, of in zip(size, frame, strict=True))
    return low <= high


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Width and height as stored; None where the beginning of the file does not say."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        kind = head[at + 1]
        if kind == 0xFF:  # a fill byte
            at += 1
            continue
        if kind in _FRAMES:
            width, height = int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
            return (width, height) if width and height else None
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
