"""From an image file to pixels at their native size."""

from __future__ import annotations

import io
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from pellucid.data.decoding.notes import note, note_in_check
from pellucid.data.decoding.orientation import UPRIGHT, find_orientation, swaps_sides, turn_upright
from pellucid.data.decoding.pixel_limit import MAX_PIXELS, SMALLER, TooLargeError, check_pixels, max_pixels
from pellucid.data.decoding.tiff_gray import PixelKindError, gray_layout
from pellucid.data.dicom.file import DICOM_SUFFIXES, read_dicom
from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.types import Pixels

DECODE_VERSION = 2  # part of every cache's key: raise it when a rule of this file changes

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
"""The formats that are read, as Pillow calls them; DICOM files are read too, by `read_dicom`."""

_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WHAT_TO_DO = "Fetch the file again, or take it out; `pellucid data check` names every such file."


def read_image(path: str | Path, *, bits: Literal[8, 16] = 8) -> Pixels:
    """Decode an image file at its native size: grey (H, W), or colour (H, W, 3); uint8, or uint16 for 16 bits.

    JPEG is decoded by simplejpeg, DICOM by `read_dicom` through its first window, all else by Pillow. An image is
    turned upright as EXIF or TIFF say, in every format. Rules where a file is neither 8-bit grey nor RGB:

    * 16-bit grey: the full range 0–65535 is scaled to 0–255 and rounded, or kept with `bits` 16. The range is
      not stretched to the values found, so that equal files give equal pixels; a 12-bit image in a 16-bit file
      comes out dark. Pillow reads 16-bit colour as 8 bits.
    * Grey TIFF of other bits, of signed numbers or with a white minimum: the least value that can be stored is black
      and the greatest white, or the other way round where the file says so.
    * RGBA and grey with alpha: a constant alpha (the official ChestX-ray14 has such files) is dropped; a
      varying one is blended over black.
    * A palette gives RGB; 1-bit gives 0 and 255; CMYK gives RGB. Of several frames the first is read.

    Args:
        path: the file.
        bits: 8, or 16 to keep the depth of 16-bit grey; 8-bit images are then widened.

    Raises:
        InputError: with the file's name, if it is not there, is no file (but a folder, pipe or device), is not an
            image, is truncated or damaged, declares more than `MAX_PIXELS` (nothing is decoded then), or holds
            floating-point or 32-bit pixels.
    """
    path = Path(path)
    data = read_file(path)
    if data[128:132] == b"DICM":
        return to_bits(read_dicom(path), bits)
    image = decode_image(data, str(path), bits=bits)
    if path.suffix.lower() in DICOM_SUFFIXES:
        note("called as a DICOM file and of another kind, which is read as what it is, without window or frame")
    return image


def read_file(path: Path) -> bytes:
    """All of a file; never of a pipe or device, which may have no end.

    Raises:
        InputError: with its name, if it cannot be read or is no file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: {'a folder' if path.is_dir() else 'a pipe, socket or device'}, not a file.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height of an image file, upright, by its header; None where that cannot be read."""
    try:
        data = read_file(path)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except (InputError, Image.DecompressionBombError, *_BROKEN):
        return None
    turned = image.format != "TIFF" and swaps_sides(find_orientation(data))  # of a TIFF Pillow gives the upright size
    return (height, width) if turned else (width, height)


def decode_image(data: bytes, name: str, *, bits: Literal[8, 16] = 8) -> Pixels:
    """Decode the bytes of an image file, by the rules of `read_image`.

    Raises:
        InputError: beginning with `name`, as for `read_image`.
    """
    if not data:
        raise InputError(f"{name}: the file is empty. {_WHAT_TO_DO}")
    try:
        jpeg = _read_jpeg(data) if data[:2] == b"\xff\xd8" else None
        image: Pixels = _read_pillow(data) if jpeg is None else jpeg
        orientation = find_orientation(data)
        if orientation != UPRIGHT:
            note_in_check(
                "turned upright, as EXIF or TIFF note it; boxes and masks are taken to be of the upright image"
            )
            image = image if data[:2] in (b"II", b"MM") else turn_upright(image, orientation)  # Pillow turned a TIFF
        return to_bits(image, bits)
    except (TooLargeError, PixelKindError) as error:
        raise InputError(f"{name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's limit; a PNG's text
        raise InputError(f"{name}: refused as a decompression bomb ({error}). {SMALLER}") from error
    except UnidentifiedImageError as error:
        kind = "a TIFF of a kind that is not read" if data[:4] in _TIFF else "not an image of a format that is read"
        raise InputError(f"{name}: {kind} ({', '.join(FORMATS)}, DICOM). {_WHAT_TO_DO}") from error
    except _BROKEN as error:
        raise InputError(f"{name}: truncated or damaged ({error}). {_WHAT_TO_DO}") from error


def _read_jpeg(data: bytes) -> npt.NDArray[np.uint8] | None:
    """A grey or three-channel JPEG; None for the kinds that are left to Pillow."""
    try:
        height, width, colorspace = simplejpeg.decode_jpeg_header(data, strict=False)[:3]
    except KeyError as error:  # how simplejpeg says that there is no frame in the file
        raise ValueError("no image in it") from error
    check_pixels(height, width)
    if colorspace not in {"Gray", "YCbCr", "RGB"}:
        return None
    kind = "GRAY" if colorspace == "Gray" else "RGB"
    try:
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace=kind)
    except ValueError as error:
        if "extraneous bytes" not in str(error).lower():  # stray bytes between segments harm no pixel
            raise
        image = simplejpeg.decode_jpeg(data, colorspace=kind, strict=False)
    return image[:, :, 0] if kind == "GRAY" else image


def _read_pillow(data: bytes) -> Pixels:
    layout = gray_layout(data)
    if data[8:16] == b"WEBPVP8X":  # Pillow takes memory for the canvas when it opens one
        check_pixels(*(1 + int.from_bytes(data[at : at + 3], "little") for at in (27, 24)))
    if max_pixels() > MAX_PIXELS:  # asked for: Pillow has a limit of its own, of the same size
        Image.MAX_IMAGE_PIXELS = max_pixels()
    image = Image.open(io.BytesIO(data if layout is None else layout.data), formats=FORMATS)
    check_pixels(image.height, image.width)
    image.info.pop("xmp", None)  # Pillow would turn a TIFF by it too, which viewers do not
    image.load()
    mode = image.mode
    if layout is not None:
        return layout.gray(np.asarray(image))
    if mode in {"L", "RGB"} and "transparency" not in image.info:
        return np.asarray(image)
    if mode == "1":
        return np.asarray(image.convert("L"))
    if mode.startswith("I"):
        return _in_16_bits(np.asarray(image))
    if mode == "F":
        raise PixelKindError("floating-point pixels")
    if mode in {"LA", "La", "RGBA", "RGBa", "PA"} or "transparency" in image.info:
        return _drop_alpha(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _in_16_bits(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16]:
    wide = pixels.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise PixelKindError(f"pixels from {wide.min()} to {wide.max()}")
    return wide.astype(np.uint16)


def in_8_bits(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Pixels as uint8: 16 bits are scaled from their full range and rounded."""
    if pixels.dtype == np.uint8:
        return cast("npt.NDArray[np.uint8]", pixels)
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def to_bits(pixels: Pixels, bits: Literal[8, 16]) -> Pixels:
    """Pixels as uint8 or uint16: black stays black and white white; from 8 bits to 16 and back is exact.

    Example:
        >>> to_bits(np.array([0, 1, 255], dtype=np.uint8), 16).tolist()
        [0, 257, 65535]
    """
    if bits == 8:
        return in_8_bits(pixels)
    return pixels.astype(np.uint16) * np.uint16(257) if pixels.dtype == np.uint8 else pixels


def _drop_alpha(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rgb, alpha = rgba[:, :, :3], rgba[:, :, 3:]
    if alpha.min() != alpha.max():
        rgb = ((rgb.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(rgb)
