"""What an explainer hands out, and which class it explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.types import Classifier

Targets = Tensor | int | Literal["all"]
"""Class indices (N,), one index for all images, or "all" for every class of every image."""


@dataclass(frozen=True)
class Explanation:
    """Why a classifier answered as it did, for a batch of images.

    Attributes:
        maps: heat maps (N, H, W), or images (N, C, H, W) in [0, 1]. Of all classes at once: one more
            dimension after N, (N, K, H, W) or (N, K, C, H, W). A heat map's values have no unit; more is more
            evidence.
        kind: `heatmap` or `image`.
        name: the method, as in `EXPLAINERS`.
        targets: int64 (N,), the classes explained, or None for all of them in order.
        gradient_evaluations: backward passes through the whole network that each image cost.
        forward_passes: forward passes through the whole network that each image cost.

    Example:
        >>> from pellucid.explainers import explain
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass")
        >>> found = explain("saliency", model, torch.rand(2, 1, 64, 64), targets=torch.tensor([0, 1]))
        >>> found.maps.shape, found.targets, found.gradient_evaluations
        (torch.Size([2, 64, 64]), tensor([0, 1]), 1)
    """

    maps: Tensor
    kind: Literal["heatmap", "image"]
    name: str
    targets: Tensor | None
    gradient_evaluations: int
    forward_passes: int


def resolve_targets(classifier: Classifier, images: Tensor, targets: Targets) -> Tensor | None:
    """Targets as int64 (N,) on the images' device; None stands for all classes.

    Raises:
        InputError: another shape or type, or an index that is no class.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass")
        >>> resolve_targets(model, torch.rand(3, 1, 64, 64), 1)  # one class for all images
        tensor([1, 1, 1])
        >>> resolve_targets(model, torch.rand(3, 1, 64, 64), "all") is None
        True
    """
    count = len(classifier.classes)
    if isinstance(targets, str):
        if targets != "all":
            raise InputError(f"targets are class indices or 'all'; found {targets!r}.")
        return None
    indices = torch.as_tensor(targets)
    if indices.ndim == 0:
        indices = indices.expand(images.shape[0])
    if indices.shape != (images.shape[0],):
        raise InputError(
            f"targets must be one class index per image, ({images.shape[0]},); found shape {tuple(indices.shape)}."
        )
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise InputError(f"targets are whole class indices; found {indices.dtype}.")
    if indices.numel():
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= count:
            raise InputError(f"targets must lie from 0 to {count - 1}; found {low} to {high}.")
    return indices.to(device=images.device, dtype=torch.int64)


def select(maps: Tensor, targets: Tensor | None) -> Tensor:
    """Of maps of all classes (N, K, h, w) those of the targets (N, h, w); all where targets is None.

    Example:
        >>> maps = torch.arange(8.0).view(2, 2, 1, 2)  # two images, two classes
        >>> select(maps, torch.tensor([1, 0])).tolist()
        [[[2.0, 3.0]], [[4.0, 5.0]]]
    """
    if targets is None:
        return maps
    return maps[torch.arange(maps.shape[0], device=maps.device), targets]


def upsample(maps: Tensor, size: int | Sequence[int]) -> Tensor:
    """Heat maps (N, h, w) or (N, K, h, w) bilinearly to a height and width, or to a square.

    The corners of the two grids agree, not the centres of their corner pixels (`align_corners=False`).

    Example:
        >>> upsample(torch.tensor([[[0.0, 1.0]]]), (1, 4))
        tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    height, width = (size, size) if isinstance(size, int) else size
    if maps.shape[-2:] == (height, width):
        return maps
    stacked = maps if maps.ndim == 4 else maps.unsqueeze(1)
    enlarged = F.interpolate(stacked, size=(height, width), mode="bilinear", align_corners=False)
    return enlarged if maps.ndim == 4 else enlarged.squeeze(1)
