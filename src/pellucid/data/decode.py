"""From an image file to pixels: decoding, and fitting to the size and channels of a network."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.types import Pixels

DECODE_VERSION = 1  # part of every cache's key: raise it when a rule of this file changes

MAX_PIXELS = 89_478_485
"""The most pixels an image may declare (9,459 × 9,459: 256 MiB in colour), unless PELLUCID_MAX_PIXELS says so."""

_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error)
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SMALLER = "Make it smaller, or set PELLUCID_MAX_PIXELS if it is what it should be."
_WHAT_TO_DO = "Fetch the file again, or take it out; `pellucid data check` names every such file."


def read_image(path: str | Path, *, bits: Literal[8, 16] = 8) -> Pixels:
    """Decode an image file at its native size: gray (H, W), or colour (H, W, 3); uint8, or uint16 for 16 bits.

    JPEG is decoded by simplejpeg, all else by Pillow. Rules where a file is neither 8-bit gray nor RGB:

    * 16-bit gray: the full range 0–65535 is scaled to 0–255 and rounded, or kept with `bits` 16. The range is
      not stretched to the values found, so that equal files give equal pixels; a 12-bit image in a 16-bit file
      comes out dark. Pillow reads 16-bit colour as 8 bits.
    * RGBA and gray with alpha: a constant alpha (the official ChestX-ray14 has such files) is dropped; a
      varying one is blended over black.
    * A palette gives RGB; 1-bit gives 0 and 255; CMYK gives RGB. Of several frames the first is read.
    * A rotation noted in EXIF is not applied.

    Args:
        path: the file.
        bits: 8, or 16 to keep the depth of 16-bit gray; 8-bit images are then widened.

    Raises:
        InputError: with the file's name, if it is not there, is not an image, is truncated or damaged, declares
            more than `MAX_PIXELS` (nothing is decoded then), or holds floating-point or 32-bit pixels.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    return decode_image(data, str(path), bits=bits)


def decode_image(data: bytes, name: str, *, bits: Literal[8, 16] = 8) -> Pixels:
    """Decode the bytes of an image file, by the rules of `read_image`.

    Raises:
        InputError: beginning with `name`, as for `read_image`.
    """
    if not data:
        raise InputError(f"{name}: the file is empty. {_WHAT_TO_DO}")
    try:
        image = _read_jpeg(data) if data[:2] == b"\xff\xd8" else None
        return to_bits(_read_pillow(data) if image is None else image, bits)
    except _TooLargeError as error:
        raise InputError(f"{name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's limit; a PNG's text
        raise InputError(f"{name}: refused as a decompression bomb ({error}). {_SMALLER}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not an image of a known format. {_WHAT_TO_DO}") from error
    except _BROKEN as error:
        raise InputError(f"{name}: truncated or damaged ({error}). {_WHAT_TO_DO}") from error


def check_pixels(height: int, width: int) -> None:
    """Refuse an image by the size that its header declares, before memory is taken for it.

    Raises:
        InputError: for more pixels than `MAX_PIXELS`, or than the environment variable PELLUCID_MAX_PIXELS.

    Example:
        >>> check_pixels(60_000, 60_000)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.data.decode._TooLargeError: declares 60000 × 60000 pixels, above the limit of 89,478,485...
    """
    limit = _max_pixels()
    if height * width > limit:
        raise _TooLargeError(f"declares {width} × {height} pixels, above the limit of {limit:,}. {_SMALLER}")


class _TooLargeError(InputError):
    """More pixels than allowed; told apart from the ValueErrors of broken files."""


def _max_pixels() -> int:
    text = os.environ.get("PELLUCID_MAX_PIXELS", "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise _TooLargeError(f"PELLUCID_MAX_PIXELS must be a number of pixels; found {text!r}.")
    return int(text) if text else MAX_PIXELS


def _read_jpeg(data: bytes) -> npt.NDArray[np.uint8] | None:
    """A gray or three-channel JPEG; None for the kinds that are left to Pillow."""
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
    if _max_pixels() > MAX_PIXELS:  # asked for: Pillow has a limit of its own, of the same size
        Image.MAX_IMAGE_PIXELS = _max_pixels()
    image = Image.open(io.BytesIO(data))
    check_pixels(image.height, image.width)
    image.load()
    mode = image.mode
    if mode in {"L", "RGB"} and "transparency" not in image.info:
        return np.asarray(image)
    if mode == "1":
        return np.asarray(image.convert("L"))
    if mode.startswith("I"):
        return _in_16_bits(np.asarray(image))
    if mode == "F":
        raise ValueError("floating-point pixels; save it as 8-bit or 16-bit")
    if mode in {"LA", "La", "RGBA", "RGBa", "PA"} or "transparency" in image.info:
        return _drop_alpha(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _in_16_bits(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16]:
    wide = pixels.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise ValueError(f"pixels from {wide.min()} to {wide.max()}; save it as 8-bit or 16-bit")
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


def fit(image: Pixels, size: int, channels: int) -> Pixels:
    """Fit an image to a network: (H, W) or (H, W, 3) → (channels, size, size), uint8 or uint16 as it was.

    The image is stretched to the square with Pillow's triangle filter, which averages over all source pixels
    when it shrinks (no aliasing) and never leaves the range of its input. Regions are kept as fractions of
    width and height, so they follow. Colour to gray: the channel itself where all three are equal, else luma
    (ITU-R BT.601); gray to colour: three equal channels.

    Raises:
        InputError: for a size or a number of channels that is not possible, or an image of another shape.

    Example:
        >>> fit(np.full((2, 4), 7, dtype=np.uint8), size=3, channels=1).tolist()
        [[[7, 7, 7], [7, 7, 7], [7, 7, 7]]]
    """
    check_shape(size, channels)
    wrong = image.ndim not in {2, 3} or 0 in image.shape or image.shape[2:] not in {(), (3,)}
    if wrong or image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"an image must be uint8 or uint16 (H, W) or (H, W, 3); found {image.dtype} {image.shape}.")
    if channels == 1 and image.ndim == 3:
        image = _to_gray(image)
    if image.shape[:2] != (size, size):
        image = _resize(image, size)
    if image.ndim == 2:
        return np.broadcast_to(image, (channels, size, size))
    return np.moveaxis(image, 2, 0)


def check_shape(size: int, channels: int) -> None:
    """Refuse a size that is not positive and a number of channels other than 1 and 3.

    Raises:
        InputError: with the value found.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"the image size must be a positive whole number of pixels; found {size!r}.")
    if channels not in {1, 3}:
        raise InputError(f"images have 1 channel (gray) or 3 (colour); found {channels!r}.")


def _resize(image: Pixels, size: int) -> Pixels:
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    if image.ndim == 3:
        return np.stack([_resize(image[:, :, k], size) for k in range(3)], axis=2)
    exact = Image.fromarray(image.astype(np.float32))  # Pillow resizes 16 bits as floating point only
    resized = np.asarray(exact.resize((size, size), Image.Resampling.BILINEAR))
    return np.asarray(np.clip(np.rint(resized), 0, 65535), dtype=np.uint16)


def _to_gray(image: Pixels) -> Pixels:
    first = image[:, :, 0]
    if np.array_equal(first, image[:, :, 1]) and np.array_equal(first, image[:, :, 2]):
        return np.ascontiguousarray(first)
    if image.dtype == np.uint16:
        return np.asarray(np.rint(image @ _LUMA), dtype=np.uint16)
    return np.asarray(Image.fromarray(image).convert("L"))
