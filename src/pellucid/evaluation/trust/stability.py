"""Stability: how far a map moves when its image moves by less than a person would see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pellucid.evaluation.metrics.similarity import is_constant
from pellucid.types import InputError, check_images
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.evaluation.trust.maps import Mapper

RADIUS = 0.02
"""The largest change of a pixel, of the range from 0 to 1: captum's default after Yeh et al."""


def max_sensitivity(
    mapper: Mapper,
    classifier: Any,  # noqa: ANN401 (a module, or anything that acts like one)
    images: Tensor,
    targets: Tensor,
    *,
    before: Tensor | None = None,
    radius: float = RADIUS,
    samples: int = 8,
    seed: int = 0,
) -> Tensor:
    """``max_δ ‖Φ(x + δ) − Φ(x)‖ / ‖Φ(x)‖`` over random δ with ``|δ| ≤ radius`` per pixel and channel.

    The same as `captum.metrics.sensitivity_max`, except that the moved images stay in [0, 1], the draws follow a seed,
    and a map that is 0 everywhere is undefined rather than perfectly stable. Every map is drawn with a seed of its own:
    an explainer that never repeats itself is not stable. It is a maximum over few random directions, so a lower bound:
    a directed attack finds more.

    Args:
        mapper: what explains.
        classifier: what is explained.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,), the classes explained, also of the moved images.
        before: (N, H, W), the maps of the images with this seed; drawn here by default.
        radius: in (0, 1].
        samples: how many moved images for each image.
        seed: of the draws.

    Returns:
        float64 (N,), not negative; NaN where the map of the image is the same everywhere.

    Raises:
        InputError: images that are not pixels in [0, 1], another radius, no samples.

    Source:
        Yeh et al. 2019, arXiv 1901.09392, definition 3, made relative as in its section 5.
    """
    check_images(images)
    if not 0 < radius <= 1 or samples < 1:
        raise InputError(f"a radius in (0, 1] and at least one sample are needed; found {radius:g} and {samples}.")
    generator = torch.Generator().manual_seed(seed)
    before = mapper(classifier, images, targets, seed) if before is None else before
    length = before.double().flatten(1).norm(dim=1)
    largest = torch.zeros_like(length)
    for sample in range(samples):
        noise = (2 * torch.rand(images.shape, generator=generator) - 1).to(images) * radius
        after = mapper(classifier, (images + noise).clamp(0, 1), targets, seed + 1 + sample)
        change = (after - before).double().flatten(1).norm(dim=1)
        largest = torch.maximum(largest, change / length)
        advance(len(images))
    return largest.masked_fill(is_constant(before), torch.nan).cpu()
