"""From an image file to pixels: decoding, and fitting to the size and channels of a network."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

DECODE_VERSION = 1  # part of every cache's key: raise it when a rule of this file changes

_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
_WHAT_TO_DO = "Fetch the file again, or take it out; `pellucid data check` names every such file."


def read_image(path: str | Path) -> npt.NDArray[np.uint8]:
    """Decode an image file to uint8 at its native size: gray (H, W), or colour (H, W, 3).

    JPEG is decoded by simplejpeg, all else by Pillow. Rules where a file is neither 8-bit gray nor RGB:

    * 16-bit gray: the full range 0–65535 is scaled to 0–255 and rounded. The range is not stretched to the
      values found, so that equal files give equal pixels; a 12-bit image in a 16-bit file comes out dark.
    * RGBA and gray with alpha: a constant alpha (the official ChestX-ray14 has such files) is dropped; a
      varying one is blended over black.
    * A palette gives RGB; 1-bit gives 0 and 255; CMYK gives RGB. Of several frames the first is read.
    * A rotation noted in EXIF is not applied.

    Raises:
        InputError: with the file's name, if it is not there, is not an image, is truncated or damaged, or
            holds floating-point or 32-bit pixels.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file, by the rules of `read_image`.

    Raises:
        InputError: beginning with `name`, as for `read_image`.
    """
    if not data:
        raise InputError(f"{name}: the file is empty. {_WHAT_TO_DO}")
    try:
        if data[:2] == b"\xff\xd8":
            image = _read_jpeg(data)
            if image is not None:
                return image
        return _read_pillow(data)
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not an image of a known format. {_WHAT_TO_DO}") from error
    except _BROKEN as error:
        raise InputError(f"{name}: truncated or damaged ({error}). {_WHAT_TO_DO}") from error


def _read_jpeg(data: bytes) -> npt.NDArray[np.uint8] | None:
    """A gray or three-channel JPEG; None for the kinds that are left to Pillow."""
    try:
        colorspace = simplejpeg.decode_jpeg_header(data, strict=False)[2]
    except KeyError as error:  # how simplejpeg says that there is no frame in the file
        raise ValueError("no image in it") from error
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


def _read_pillow(data: bytes) -> npt.NDArray[np.uint8]:
    image = Image.open(io.BytesIO(data))
    image.load()
    mode = image.mode
    if mode in {"L", "RGB"} and "transparency" not in image.info:
        return np.asarray(image)
    if mode == "1":
        return np.asarray(image.convert("L"))
    if mode.startswith("I"):
        return _from_16_bit(np.asarray(image))
    if mode == "F":
        raise ValueError("floating-point pixels; save it as 8-bit or 16-bit")
    if mode in {"LA", "La", "RGBA", "RGBa", "PA"} or "transparency" in image.info:
        return _drop_alpha(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _from_16_bit(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    wide = pixels.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise ValueError(f"pixels from {wide.min()} to {wide.max()}; save it as 8-bit or 16-bit")
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _drop_alpha(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rgb, alpha = rgba[:, :, :3], rgba[:, :, 3:]
    if alpha.min() != alpha.max():
        rgb = ((rgb.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(rgb)


def fit(image: npt.NDArray[np.uint8], size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Fit an image to a network: uint8 (H, W) or (H, W, 3) → uint8 (channels, size, size).

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
    if image.dtype != np.uint8 or image.ndim not in {2, 3} or 0 in image.shape or image.shape[2:] not in {(), (3,)}:
        raise InputError(f"an image must be uint8 (H, W) or (H, W, 3); found {image.dtype} {image.shape}.")
    if channels == 1 and image.ndim == 3:
        image = _to_gray(image)
    if image.shape[:2] != (size, size):
        image = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
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


def _to_gray(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    first = image[:, :, 0]
    if np.array_equal(first, image[:, :, 1]) and np.array_equal(first, image[:, :, 2]):
        return np.ascontiguousarray(first)
    return np.asarray(Image.fromarray(image).convert("L"))
