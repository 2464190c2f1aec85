"""Which way up an image is to be shown: EXIF and TIFF say so by a number, and viewers turn the image by it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.decoding.tiff_tags import ORIENTATION, read_tags

if TYPE_CHECKING:
    from pellucid.types import Pixels

UPRIGHT = 1
# Orientation → (transposed, turned upside down, mirrored), in this order; TIFF 6.0 and EXIF 2.3
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def find_orientation(data: bytes) -> int:
    """The orientation, from 1 to 8, that the bytes of a JPEG, PNG, WebP or TIFF file note; 1 where they note none.

    Example:
        >>> find_orientation(b"no image")
        1
    """
    if data[:2] == b"\xff\xd8":
        block = _in_jpeg(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        block = _in_chunks(data, 8, b"eXIf", ">I4s", extra=4)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        block = _in_chunks(data, 12, b"EXIF", "<4sI")
    else:
        block = data if data[:2] in (b"II", b"MM") else b""
    tag = read_tags(block.removeprefix(b"Exif\0\0")).get(ORIENTATION)
    return tag.values[0] if tag is not None and tag.values[0] in _TURNS else UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Whether the image is as wide, upright, as the file says it is high.

    Example:
        >>> [swaps_sides(n) for n in (1, 3, 6)]
        [False, False, True]
    """
    return _TURNS[orientation][0]


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels (H, W) or (H, W, 3) as they are to be shown; width and height change places for 5 to 8.

    Example:
        >>> turn_upright(np.array([[1, 2, 3]], dtype=np.uint8), 6).tolist()  # the camera lay on its left side
        [[1], [2], [3]]
    """
    transposed, upside_down, mirrored = _TURNS[orientation]
    if transposed:
        pixels = np.swapaxes(pixels, 0, 1)
    return np.ascontiguousarray(pixels[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def _in_jpeg(data: bytes) -> bytes:
    """The EXIF block of a JPEG, from the segments before its pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:  # a fill byte
            at += 1
            continue
        if kind == 0xDA:  # the pixels begin
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 4 : at + 2 + length]
        at += 2 + length
    return b""


def _in_chunks(data: bytes, at: int, name: bytes, header: str, *, extra: int = 0) -> bytes:
    """The content of a chunk of PNG (`extra` for the checksum) or of RIFF (where odd lengths are filled up)."""
    while at + 8 <= len(data):
        fields = struct.unpack_from(header, data, at)
        length, kind = fields if isinstance(fields[0], int) else fields[::-1]
        if kind == name:
            return data[at + 8 : at + 8 + length]
        at += 8 + length + extra + (0 if extra else length % 2)
    return b""
