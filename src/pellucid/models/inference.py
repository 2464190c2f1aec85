"""Running a classifier over many images without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.models.classifier import frozen
from pellucid.types import device_of, in_unit_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.types import Pixels


def as_pixels(images: Pixels, device: torch.device | None = None) -> Tensor:
    """uint8 or uint16 images (N, C, H, W) as float32 in [0, 1] on `device`.

    Example:
        >>> as_pixels(np.full((1, 1, 1, 2), 255, np.uint8))
        tensor([[[[1., 1.]]]])
    """
    return in_unit_range(torch.tensor(np.asarray(images), device=device or "cpu"))  # a copy: maps are read-only


def in_batches(count: int, batch_size: int) -> Iterator[slice]:
    """Slices of at most `batch_size` that cover `count` rows."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))


def predict(
    classifier: nn.Module,
    images: Pixels,
    *,
    batch_size: int = 64,
    advance: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Logits (N, K) of images (N, C, H, W), uint8 or uint16, in eval mode, on the classifier's device.

    Args:
        classifier: images → logits.
        images: in memory or a memory map.
        batch_size: images at a time.
        advance: called with the number of images of each finished batch.
    """
    device = device_of(classifier)
    logits: list[Tensor] = []
    with frozen(classifier), torch.inference_mode():
        for rows in in_batches(len(images), batch_size):
            logits.append(classifier(as_pixels(images[rows], device)).float())
            if advance is not None:
                advance(rows.stop - rows.start)
    return torch.cat(logits).cpu().numpy()


def probabilities(logits: npt.NDArray[np.floating], task: str) -> npt.NDArray[np.float64]:
    """Logits (N, K) as probabilities: softmax for a multiclass task, a sigmoid a label for a multi-label one.

    Example:
        >>> probabilities(np.zeros((1, 2)), "multilabel")
        array([[0.5, 0.5]])
    """
    values = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    return (values.softmax(1) if task == "multiclass" else values.sigmoid()).numpy()
