"""The pixels of a JSRT film: of a raw 12-bit file, or of an image that was made of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.decoding.image import read_image
from pellucid.data.readers.jsrt.table import SIDE
from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.types import Pixels

FILE_BYTES = 2 * SIDE * SIDE
WHITE = 4095  # the largest value of 12 bits; black in the raw files, where a dense film is large
TOLERATED = 1e-3  # of the pixels may be above it; another byte order puts most of them there
_FULL = 65535
# value of the file → grey over the full range of 16 bits, bright where the film is clear
_GRAY = np.rint(np.arange(WHITE, -1, -1) * (_FULL / WHITE)).astype(np.uint16)
# fractions of the height and of the width: of the spine and heart, and of both lungs
_MIDDLE = ((0.0, 1.0), (0.4375, 0.5625))
_LUNGS = (((0.25, 0.625), (0.1875, 0.375)), ((0.25, 0.625), (0.625, 0.8125)))


def read_raw(path: Path) -> npt.NDArray[np.uint16]:
    """One radiograph as uint16 (2048, 2048) over the full range, white where the film is clear, as it is looked at.

    The files have no header: 2048 rows of 2048 pixels of 16 bits, the high byte first, of which 12 are used; a large
    value is a dense, dark place of the film.

    Raises:
        InputError: with the file's name, if it cannot be read, has not exactly 8,388,608 bytes, or holds values beyond
            12 bits, as it would in the other byte order.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if len(data) != FILE_BYTES:
        size = f"{len(data):,} bytes" if len(data) < FILE_BYTES else f"more than {FILE_BYTES:,} bytes"
        raise InputError(
            f"{path}: {size}; a raw file of JSRT has {FILE_BYTES:,} (2048 × 2048 pixels of two bytes). Fetch it again."
        )
    values = np.frombuffer(data, dtype=">u2").reshape(SIDE, SIDE)
    beyond = int((values > WHITE).sum())
    if beyond > TOLERATED * values.size:
        raise InputError(
            f"{path}: {beyond:,} pixels are above {WHITE:,}, the largest value of 12 bits. It is another file, or its "
            "bytes were swapped: JSRT's come high byte first."
        )
    gray: npt.NDArray[np.uint16] = _GRAY[np.minimum(values, WHITE)]
    return gray


def read_converted(path: Path, *, negative: bool = False) -> npt.NDArray[np.uint16]:
    """One radiograph of an image file or a DICOM file as uint16 (H, H) over the full range, as it is looked at.

    In a 16-bit image without a value above 4,095, or without one below 61,440, 12 bits are in use, as in the raw files:
    they are spread over the full range.

    Args:
        path: the file.
        negative: whether it is bright where the film is dense, as the raw values are; it is then turned over.

    Raises:
        InputError: with the file's name, if it cannot be read, is no square or in colour, or is darker in its middle,
            where spine and heart are, than in the lungs: then `negative` is wrong.
    """
    pixels = _gray(read_image(path, bits=16), path)
    height, width = pixels.shape
    if height != width:
        raise InputError(
            f"{path}: {width} × {height} pixels; a film is square, and nodules and outlines would not lie where they "
            "are on one that was cut. Convert the whole film."
        )
    if negative:
        pixels = _FULL - pixels
    middle = _mean(pixels, _MIDDLE)
    lungs = sum(_mean(pixels, place) for place in _LUNGS) / len(_LUNGS)
    if middle < lungs:
        turn_over = "turn it over with --data-option negative=true (in Python: negative=True of pl.dataset)"
        advice = "leave the option negative out" if negative else turn_over
        raise InputError(
            f"{path}: darker in the middle ({middle / _FULL:.2f} of white), where spine and heart are, than in the "
            f"lungs ({lungs / _FULL:.2f}){', once turned over' * negative}: it is {'no' if negative else 'a'} "
            f"negative. If all films are alike, {advice}."
        )
    return pixels


def _gray(pixels: Pixels, path: Path) -> npt.NDArray[np.uint16]:
    """The one channel, with 12 bits in use spread over the 16."""
    if pixels.ndim == 3:
        if (pixels != pixels[:, :, :1]).any():
            raise InputError(f"{path}: in colour; a film is grey. Convert it without a colour map.")
        pixels = pixels[:, :, 0]
    gray = pixels.astype(np.uint16, copy=False)
    if gray.max() <= WHITE:
        gray = _GRAY[WHITE - gray]
    elif gray.min() >= _FULL - WHITE:  # what was turned over in 16 bits
        gray = _GRAY[_FULL - gray]
    return gray


def _mean(pixels: npt.NDArray[np.uint16], place: tuple[tuple[float, float], tuple[float, float]]) -> float:
    rows, columns = (slice(int(a * len(pixels)), max(int(b * len(pixels)), 1)) for a, b in place)
    part = pixels[rows, columns]
    return float(part.mean()) if part.size else 0.0
