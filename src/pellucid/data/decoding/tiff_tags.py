"""The tags of a TIFF's first image, read from its bytes; an EXIF block is such a TIFF too."""

from __future__ import annotations

import struct
from typing import NamedTuple

ORIENTATION, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT = 274, 258, 259, 262, 277, 339
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of the types of a tag's values: those of whole numbers from 0
_MANY = 64  # values of one tag that are read; nothing that is asked for here has more


class Tag(NamedTuple):
    """A tag's whole numbers, where the first of them stands, and how it is written."""

    values: tuple[int, ...]
    place: int
    code: str


def read_tags(data: bytes) -> dict[int, Tag]:
    """The tags of whole numbers of the first image of a TIFF or BigTIFF; none where `data` is none, or cut off.

    Example:
        >>> read_tags(b"MM" + struct.pack(">HIHHHIHHI", 42, 8, 1, ORIENTATION, 3, 1, 6, 0, 0))[ORIENTATION].values
        (6,)
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    try:
        version = struct.unpack_from(f"{order}H", data, 2)[0] if order else 0
        if version == 42:
            return _directory(data, order, struct.unpack_from(f"{order}I", data, 4)[0], "H", "I")
        if version == 43:
            return _directory(data, order, struct.unpack_from(f"{order}Q", data, 8)[0], "Q", "Q")
    except struct.error:
        pass
    return {}


def _directory(data: bytes, order: str, at: int, count_code: str, offset_code: str) -> dict[int, Tag]:
    count = struct.unpack_from(f"{order}{count_code}", data, at)[0]
    at += struct.calcsize(f"{order}{count_code}")
    inline = struct.calcsize(f"{order}{offset_code}")
    tags: dict[int, Tag] = {}
    for place in range(at, min(at + count * (4 + 2 * inline), len(data)), 4 + 2 * inline):
        number, kind, length = struct.unpack_from(f"{order}HH{offset_code}", data, place)
        code = _NUMBERS.get(kind)
        if code is None or not 1 <= length <= _MANY:
            continue
        first = place + 4 + inline
        if length * struct.calcsize(f"{order}{code}") > inline:
            first = struct.unpack_from(f"{order}{offset_code}", data, first)[0]
        try:
            tags.setdefault(number, Tag(struct.unpack_from(f"{order}{length}{code}", data, first), first, order + code))
        except struct.error:  # its values lie behind the end
            continue
    return tags
