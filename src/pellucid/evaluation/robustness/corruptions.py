"""Common corruptions of images at five severities: what another camera, archive or hurried hand does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import InputError, device_of
from pellucid.utils.progress import advance
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from torch import nn

    from pellucid.types import Pixels

    Corruption = Callable[[Tensor, float, torch.Generator], Tensor]

SEVERITIES: dict[str, tuple[str, tuple[float, float, float, float, float]]] = {
    "noise": ("standard deviation of Gaussian noise", (0.02, 0.04, 0.08, 0.14, 0.22)),
    "blur": ("standard deviation of a Gaussian, share of the shorter side", (0.004, 0.008, 0.012, 0.018, 0.026)),
    "brightness": ("added to or taken from every pixel, at random", (0.05, 0.1, 0.2, 0.3, 0.4)),
    "contrast": ("what is left of each pixel's distance from the image's mean", (0.8, 0.6, 0.4, 0.25, 0.15)),
    "gamma": ("exponent of the pixels, or its inverse, at random", (1.2, 1.5, 2.0, 2.6, 3.4)),
    "jpeg": ("quality of the JPEG", (60, 40, 25, 15, 8)),
    "resolution": ("how many times fewer pixels along each side", (1.5, 2, 3, 4, 6)),
    "rotation": ("degrees, to either side at random; the border is mirrored", (3, 6, 10, 16, 25)),
    "crop": ("share of each side that is left, somewhere, and enlarged again", (0.95, 0.9, 0.8, 0.7, 0.55)),
}
"""Of each corruption what its strength is, and that of severities 1 to 5; pixels are in [0, 1]."""
CORRUPTION_RULES = 1
"""Counted up whenever images are corrupted otherwise, so that what was kept before is not read as this."""


def corruption_label(name: str, *, title: bool = False) -> str:
    """What a corruption is called in a sentence; its title begins with a capital.

    Example:
        >>> corruption_label("noise"), corruption_label("jpeg"), corruption_label("noise", title=True)
        ('noise', 'JPEG', 'Noise')
    """
    return "JPEG" if name == "jpeg" else name.capitalize() if title else name


def corrupt(images: Tensor, name: str, severity: int, generator: torch.Generator) -> Tensor:
    """Corrupted copies of some images.

    Args:
        images: (N, C, H, W) in [0, 1].
        name: one of `SEVERITIES`.
        severity: from 1 to 5.
        generator: of the CPU, for what is left to chance, so that it is the same on every device.

    Returns:
        (N, C, H, W) in [0, 1].

    Raises:
        InputError: an unknown corruption or severity.

    Source:
        After Hendrycks & Dietterich 2019, arXiv 1903.12261, whose severities begin where many images are hard to read
        already.

    Example:
        >>> corrupt(torch.full((1, 1, 2, 2), 0.5), "contrast", 5, torch.Generator()).unique()
        tensor([0.5000])
    """
    check_known([name], SEVERITIES, "corruption")
    if severity not in range(1, 6):
        raise InputError(f"a severity is a whole number from 1 to 5; found {severity!r}.")
    return _CORRUPTIONS[name](images, SEVERITIES[name][1][severity - 1], generator).clamp(0, 1)


def logits_corrupted(
    classifier: nn.Module, images: Pixels, name: str, severity: int, *, seed: int = 0, batch_size: int = 32
) -> npt.NDArray[np.float32]:
    """Logits (N, K) of corrupted images, in eval mode, on the classifier's device.

    Args:
        classifier: images in [0, 1] → logits.
        images: uint8 or uint16 (N, C, H, W), as the classifier takes them.
        name: of the corruption.
        severity: from 1 to 5.
        seed: of what is left to chance, which depends on the batches too.
        batch_size: images at a time.
    """
    device = device_of(classifier)
    generator = torch.Generator().manual_seed(seed)
    logits: list[Tensor] = []
    with frozen(classifier), torch.inference_mode():
        for rows in in_batches(len(images), batch_size):
            corrupted = corrupt(as_pixels(images[rows], device), name, severity, generator)
            logits.append(classifier(corrupted).float())
            advance(rows.stop - rows.start)
    return torch.cat(logits).cpu().numpy()


def _signs(images: Tensor, generator: torch.Generator) -> Tensor:
    """−1 or 1 for each image, (N,)."""
    return (torch.randint(2, (len(images),), generator=generator) * 2 - 1).to(images)


def _noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    return images + deviation * torch.randn(images.shape, generator=generator).to(images)


def _blur(images: Tensor, share: float, _generator: torch.Generator) -> Tensor:
    from kornia.filters import gaussian_blur2d  # half a second, so only when it is used

    sigma = share * min(images.shape[2:])
    size = 2 * max(1, min(round(3 * sigma), (min(images.shape[2:]) - 1) // 2)) + 1  # a mirrored border is no wider
    blurred: Tensor = gaussian_blur2d(images, (size, size), (sigma, sigma))
    return blurred


def _brightness(images: Tensor, change: float, generator: torch.Generator) -> Tensor:
    return images + change * _signs(images, generator).view(-1, 1, 1, 1)


def _contrast(images: Tensor, factor: float, _generator: torch.Generator) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + factor * (images - mean)


def _gamma(images: Tensor, exponent: float, generator: torch.Generator) -> Tensor:
    from kornia.enhance import adjust_gamma

    changed: Tensor = adjust_gamma(images, exponent ** _signs(images, generator))
    return changed


def _jpeg(images: Tensor, quality: float, _generator: torch.Generator) -> Tensor:
    """A real JPEG of 8 bits with halved colours; each channel for itself where there are not three."""
    pixels = (images * 255).round().byte().cpu().numpy()
    colours = "RGB" if images.shape[1] == 3 else "GRAY"
    pictures = pixels.transpose(0, 2, 3, 1) if colours == "RGB" else pixels.reshape(-1, *pixels.shape[2:], 1)
    halved = "420" if colours == "RGB" else "Gray"
    files = [
        simplejpeg.encode_jpeg(np.ascontiguousarray(p), int(quality), colorspace=colours, colorsubsampling=halved)
        for p in pictures
    ]
    decoded = np.stack([simplejpeg.decode_jpeg(file, colorspace=colours) for file in files])
    shaped = decoded.transpose(0, 3, 1, 2) if colours == "RGB" else decoded.reshape(pixels.shape)
    return torch.from_numpy(np.ascontiguousarray(shaped)).to(images) / 255


def _resolution(images: Tensor, factor: float, _generator: torch.Generator) -> Tensor:
    height, width = images.shape[2:]
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    small = F.interpolate(images, size, mode="bilinear", antialias=True)
    return F.interpolate(small, (height, width), mode="bilinear")


def _rotation(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    from kornia.geometry import rotate

    turned: Tensor = rotate(images, degrees * _signs(images, generator), padding_mode="reflection")
    return turned


def _crop(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    places = (torch.rand(len(images), 2, generator=generator).to(images) * 2 - 1) * (1 - share)
    theta = torch.zeros(len(images), 2, 3, dtype=images.dtype, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = share
    theta[:, :, 2] = places
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


_CORRUPTIONS: dict[str, Corruption] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "gamma": _gamma,
    "jpeg": _jpeg,
    "resolution": _resolution,
    "rotation": _rotation,
    "crop": _crop,
}
