"""Random changes of training images, on their device: crops, mirror images, small turns, brightness, contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field, field_validator

from pellucid.types import InputError
from pellucid.utils.settings import Section

if TYPE_CHECKING:
    from torch import Tensor, nn


BY_DATA = "data"  # the word for a `flip` that the dataset decides


class AugmentOptions(Section):
    """How much images are changed; all zero, the default, leaves them alone.

    Attributes:
        pad: pixels added on every side, each a copy of the nearest at the edge, before a part of the original size is
            cut out at a random place. Pixels stay exact. 4 with `flip` 0.5 is usual on CIFAR (Woods et al. 2019).
        rotation: largest turn, in degrees to either side.
        translation: largest shift, as a fraction of width and height.
        scale: largest change of size, as a fraction: 0.1 draws from 0.9 to 1.1.
        crop: largest share of the area that is cut away before the rest, of an aspect ratio from 3:4 to 4:3,
            is stretched to full size.
        flip: probability of a mirror image. Off unless asked for: left and right matter in a chest. `"data"` for 0.5
            where the dataset's card says that they may be exchanged, else 0; a number is always obeyed.
        brightness: largest change of all pixels, as a fraction of full white.
        contrast: largest change of contrast, as a fraction: 0.2 multiplies by 0.8 to 1.2.

    Example:
        >>> AugmentOptions(pad=4, flip=0.5).flip  # what is usual on CIFAR
        0.5
        >>> AugmentOptions().rotation
        0.0
    """

    pad: int = Field(default=0, ge=0)
    rotation: float = Field(default=0.0, ge=0, le=180)
    translation: float = Field(default=0.0, ge=0, lt=1)
    scale: float = Field(default=0.0, ge=0, lt=1)
    crop: float = Field(default=0.0, ge=0, lt=1)
    flip: float | str = 0.0
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)

    @field_validator("flip", mode="before")
    @classmethod
    def _probability_or_data(cls, value: object) -> object:
        if value == BY_DATA or (isinstance(value, (int, float)) and 0 <= value <= 1):
            return value
        raise ValueError('expected a number from 0 to 1, or "data"')


class Augmentation:
    """Changes a batch at random, each image by itself; what `rotation` or `translation` uncovers is black.

    All chance comes from torch's global generator, which the training loop seeds for every step; so a resumed
    run sees the same batches as one that was never cut off.

    Args:
        options: how much; see `AugmentOptions`.

    Raises:
        InputError: for a `flip` that still leaves it to the data.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
        >>> Augmentation(AugmentOptions(rotation=10, brightness=0.1))(images).shape
        torch.Size([2, 1, 8, 8])
        >>> bool((Augmentation(AugmentOptions())(images) == images / 255).all())
        True
    """

    def __init__(self, options: AugmentOptions) -> None:
        if isinstance(options.flip, str):
            raise InputError("augment.flip = 'data' is a number only once the dataset is known; give the number.")
        self.options = options
        self._flip = options.flip
        self._moving: list[nn.Module] | None = None
        self._toning: list[nn.Module] = []

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), uint8 or float in [0, 1], to float32 in [0, 1] of the same shape.

        Raises:
            InputError: for another shape or type, or images no larger than `pad`.
        """
        return self.with_regions(images, None)[0]

    @torch.no_grad()
    def with_regions(self, images: Tensor, regions: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Images as by a call, to the bit, and what is marked on them, moved with each.

        Args:
            images: (N, C, H, W), uint8 or float in [0, 1].
            regions: float (N, M, H, W) in [0, 1], M regions per image; 0 where the image is uncovered.
        """
        if images.ndim != 4:
            raise InputError(f"images must have shape (N, C, H, W); found {tuple(images.shape)}.")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise InputError(f"images must be uint8, or float in [0, 1]; found {images.dtype}.")
        images = images.float().div_(255) if images.dtype == torch.uint8 else images.float()
        if self._moving is None:
            self._moving = _moving(self.options, (images.shape[-2], images.shape[-1]))
            self._toning = _toning(self.options)
        if images.shape[0] == 0:
            return images, regions
        stacked = images if regions is None else torch.cat([images, regions], 1)
        if self.options.pad or self._flip:
            stacked = pad_and_flip(stacked, self.options.pad, self._flip)
        for step in self._moving:
            stacked = step(stacked)
        channels = images.shape[1]
        images, regions = stacked[:, :channels], None if regions is None else stacked[:, channels:]
        for step in self._toning:
            images = step(images)
        if self._moving or self._toning:
            images = images.clamp(0, 1)
        return images, regions


def pad_and_flip(images: Tensor, pad: int, flip: float) -> Tensor:
    """A random crop of each image padded with its edge, mirrored with probability `flip`: one gather, exact pixels.

    Args:
        images: (N, C, H, W) of any type.
        pad: pixels added on every side; the crop has the images' size.
        flip: probability of a mirror image, left and right exchanged.

    Raises:
        InputError: where `pad` is not below height and width, so that a crop could miss the image.

    Example:
        >>> ramp = torch.arange(5.0).expand(1, 1, 3, 5)
        >>> torch.equal(pad_and_flip(ramp, pad=0, flip=1.0), ramp.flip(-1))
        True
    """
    n, channels, height, width = images.shape
    if pad >= min(height, width):
        raise InputError(
            f"augment.pad must be smaller than the images; found {pad} for images of {height} × {width} pixels."
        )
    here = images.device
    rows = torch.arange(height, device=here).expand(n, height)
    columns = torch.arange(width, device=here).expand(n, width)
    if pad:  # a copy of the edge is the pixel at the nearest place inside
        shifts = torch.randint(-pad, pad + 1, (2, n, 1), device=here)
        rows = (rows + shifts[0]).clamp(0, height - 1)
        columns = (columns + shifts[1]).clamp(0, width - 1)
    if flip:
        columns = torch.where(torch.rand(n, 1, device=here) < flip, columns.flip(1), columns)
    places = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, height * width)
    pixels = images.reshape(n, channels, height * width).gather(2, places.expand(n, channels, height * width))
    return pixels.view(n, channels, height, width)


def _moving(options: AugmentOptions, size: tuple[int, int]) -> list[nn.Module]:
    """The kornia modules that move pixels, beside `pad` and `flip`, in the order they are used."""
    if not (options.rotation or options.translation or options.scale or options.crop):
        return []
    import kornia.augmentation as K  # half a second, so only when it is used

    steps: list[nn.Module] = []
    if options.rotation or options.translation or options.scale:
        shift = (options.translation, options.translation) if options.translation else None
        scale = (1 - options.scale, 1 + options.scale) if options.scale else None
        steps.append(K.RandomAffine(options.rotation, translate=shift, scale=scale, p=1.0))
    if options.crop:
        steps.append(K.RandomResizedCrop(size, scale=(1 - options.crop, 1.0), p=1.0))
    return steps


def _toning(options: AugmentOptions) -> list[nn.Module]:
    """The kornia modules that change pixels where they are, in the order they are used; after those that move."""
    if not (options.brightness or options.contrast):
        return []
    import kornia.augmentation as K

    steps: list[nn.Module] = []
    if options.brightness:
        steps.append(K.RandomBrightness((1 - options.brightness, 1 + options.brightness), p=1.0))
    if options.contrast:
        steps.append(K.RandomContrast((1 - options.contrast, 1 + options.contrast), p=1.0))
    return steps
