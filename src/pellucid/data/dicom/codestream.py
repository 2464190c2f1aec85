"""The size that a compressed image declares by itself, whatever the file around it says."""

from __future__ import annotations

_NO_FRAME = {0xC4, 0xC8, 0xCC}  # of the markers C0 to CF: tables and the like
_JPEG_LS = 0xF7


def declared_size(data: bytes) -> tuple[int, int] | None:
    r"""Height and width by the header of a JPEG, JPEG-LS or JPEG 2000 codestream; None where there is none.

    Example:
        >>> declared_size(b"\xff\xd8\xff\xf7\x00\x0b\x08\x00\x10\x00\x20\x01\x01\x11\x00")
        (16, 32)
    """
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)  # at the beginning, or behind the boxes of JP2
    if start >= 0 and len(data) >= start + 24:
        right, bottom, left, top = (int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20))
        return bottom - top, right - left
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:
            at += 1
        elif kind == _JPEG_LS or (0xC0 <= kind <= 0xCF and kind not in _NO_FRAME):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
