"""From pixels at their native size to those that a network takes: scaled, cropped or padded, in its channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from pellucid.data.decoding.pixel_limit import max_pixels
from pellucid.data.placement import Placement, centred_part
from pellucid.types import InputError

if TYPE_CHECKING:
    from pellucid.types import Geometry, InputSpec, Pixels

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "nearest": Image.Resampling.NEAREST,
}


def fit(image: Pixels, spec: InputSpec) -> Pixels:
    """Fit an image to a network: (H, W) or (H, W, 3) → (channels, height, width), uint8 or uint16 as it was.

    The whole image is resized as `Placement.of` says, then the frame is cut out of it, or it is padded; with `cut` the
    centre is cut out first (`centred_part`), and what lies beside it takes no part in the resize. With
    antialiasing the resize is Pillow's, on 8 bits as torchvision's and timm's pipelines have it, on 16 bits in
    floating point; its filters average over all source pixels where they shrink. Without, it is torch's
    ``interpolate(align_corners=False)``. Both are rounded to the image's bits, and what a filter overshoots is cut off
    at black and white. Colour to grey: the channel itself where all three are equal, else luma (ITU-R BT.601), before
    the resize; grey to colour: three equal channels.

    Raises:
        InputError: for a number of channels that is not possible, an image of another shape, or one so much longer than
            wide that it would be too large before it is cut.

    Example:
        >>> from pellucid.types import InputSpec
        >>> fit(np.full((2, 4), 7, dtype=np.uint8), InputSpec.square(channels=1, size=3)).tolist()
        [[[7, 7, 7], [7, 7, 7], [7, 7, 7]]]
        >>> fit(np.arange(8, dtype=np.uint8).reshape(2, 4), InputSpec.parse("crop:2", channels=1)).tolist()
        [[[1, 2], [5, 6]]]
        >>> fit(np.full((2, 4), 7, dtype=np.uint8), InputSpec.parse("pad:4", channels=1)).tolist()
        [[[0, 0, 0, 0], [7, 7, 7, 7], [7, 7, 7, 7], [0, 0, 0, 0]]]
    """
    check_channels(spec.channels)
    wrong = image.ndim not in {2, 3} or 0 in image.shape or image.shape[2:] not in {(), (3,)}
    if wrong or image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"an image must be uint8 or uint16 (H, W) or (H, W, 3); found {image.dtype} {image.shape}.")
    if spec.channels == 1 and image.ndim == 3:
        image = _to_gray(image)
    native = (image.shape[0], image.shape[1])
    if spec.geometry.fit == "cut":
        top, left, height, width = centred_part((spec.height, spec.width), native)
        image = np.ascontiguousarray(image[top : top + height, left : left + width])
        placement = Placement.whole(spec.height, spec.width)
    else:
        placement = Placement.of(spec, native)
    scaled = (int(placement.scaled[0]), int(placement.scaled[1]))
    if scaled[0] * scaled[1] > max_pixels():
        raise InputError(
            f"an image of {image.shape[0]} × {image.shape[1]} pixels (height × width) would have {scaled[0]:,} × "
            f"{scaled[1]:,} before it is cut ({spec.preprocess}), above the limit of {max_pixels():,}. Take it out, or "
            "choose another geometry."
        )
    if image.shape[:2] != scaled:
        image = _resize(image, scaled, spec.geometry)
    image = _placed(image, placement, spec.geometry.fill)
    if image.ndim == 2:
        return np.broadcast_to(image, spec.shape)
    return np.moveaxis(image, 2, 0)


def check_channels(channels: int) -> None:
    """Refuse a number of channels other than 1 and 3.

    Raises:
        InputError: with the number found.
    """
    if channels not in {1, 3}:
        raise InputError(f"images have 1 channel (grey) or 3 (colour); found {channels!r}.")


def _resize(image: Pixels, size: tuple[int, int], geometry: Geometry) -> Pixels:
    height, width = size
    if not geometry.antialias:
        return _interpolate(image, size, geometry.interpolation)
    method = _FILTERS[geometry.interpolation]
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height), method))
    if image.ndim == 3:
        return np.stack([_resize(image[:, :, k], size, geometry) for k in range(3)], axis=2)
    exact = Image.fromarray(image.astype(np.float32))  # Pillow resizes 16 bits as floating point only
    resized = np.asarray(exact.resize((width, height), method))
    return np.asarray(np.clip(np.rint(resized), 0, 65535), dtype=np.uint16)


def _interpolate(image: Pixels, size: tuple[int, int], mode: str) -> Pixels:
    """Torch's resize, which reads a few pixels around each place, however many lie between two of them."""
    import torch

    planes = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
    exact = torch.from_numpy(np.array(planes, dtype=np.float32))[None]
    resized = torch.nn.functional.interpolate(exact, size=size, mode=mode, align_corners=False, antialias=False)
    whole = resized[0].round().clamp(0, np.iinfo(image.dtype).max).numpy().astype(image.dtype)
    return cast("Pixels", whole[0] if image.ndim == 2 else np.moveaxis(whole, 0, 2))


def _placed(image: Pixels, placement: Placement, fill: float) -> Pixels:
    """What of a scaled image lies in the frame, with `fill` beside it."""
    if placement.is_whole:
        return image
    height, width = placement.frame
    top, left = int(placement.top), int(placement.left)
    part = image[max(-top, 0) : max(-top, 0) + height, max(-left, 0) : max(-left, 0) + width]
    if part.shape[:2] == placement.frame:
        return part
    value = round(fill * int(np.iinfo(image.dtype).max))
    frame = np.full((height, width, *image.shape[2:]), value, dtype=image.dtype)
    frame[max(top, 0) : max(top, 0) + part.shape[0], max(left, 0) : max(left, 0) + part.shape[1]] = part
    return frame


def _to_gray(image: Pixels) -> Pixels:
    first = image[:, :, 0]
    if np.array_equal(first, image[:, :, 1]) and np.array_equal(first, image[:, :, 2]):
        return np.ascontiguousarray(first)
    if image.dtype == np.uint16:
        return np.asarray(np.rint(image @ _LUMA), dtype=np.uint16)
    return np.asarray(Image.fromarray(image).convert("L"))
