"""Occlusion: how much a logit falls when a window of the image is covered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.explainers.explanation import Explanation
from pellucid.explainers.removal import explained_by_removal
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pellucid.explainers.explanation import Targets
    from pellucid.explainers.removal import Baseline
    from pellucid.types import Classifier

SHARE = 8  # a window is an eighth of the image's side, where none is given


def occlusion(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: Baseline = "mean",
    batch_size: int | None = None,
) -> Explanation:
    """``f_c(x) − f_c(x covered)``, of each pixel the mean over the windows that cover it, by captum.

    The edge cuts off the last window of a row or column where the side does not divide. All classes cost as much as
    one.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all".
        window: side of the square window in pixels; an eighth of the image's smaller side by default.
        stride: pixels from window to window; half a window by default.
        baseline: what covers: a grey in [0, 1], an image, or `mean` for each image's own mean colour.
        batch_size: covered images at a time; as many as fit in memory by default.

    Returns:
        Maps (N, H, W), signed; (N, K, H, W) for "all".

    Raises:
        InputError: images that are not pixels in [0, 1], targets that are no classes, a window larger than the image,
            a stride larger than the window, an unknown baseline.

    Source:
        Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", arXiv 1311.2901, section 4.2.

    Example:
        >>> import torch
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> occlusion(model, torch.rand(1, 1, 64, 64), "all", window=32, stride=16).forward_passes
        10
    """
    from captum.attr import Occlusion

    smaller = min(images.shape[2:]) if images.ndim == 4 else 1
    side = max(1, smaller // SHARE) if window is None else window
    step = max(1, side // 2) if stride is None else stride
    if not 1 <= side <= max(1, smaller):
        raise InputError(f"window must be from 1 to the image's smaller side, {smaller}; found {side}.")
    if not 1 <= step <= side:
        raise InputError(f"stride must be from 1 to the window's side, {side}, or pixels are missed; found {step}.")

    def covered(logit: Callable[[Tensor], Tensor], image: Tensor, behind: Tensor, _: int, at_once: int) -> Tensor:
        drops: Tensor = Occlusion(logit).attribute(
            image,
            sliding_window_shapes=(image.shape[1], side, side),
            strides=(image.shape[1], step, step),
            baselines=behind,
            perturbations_per_eval=at_once,
        )
        return drops[0, 0]  # a window covers all channels: all have the same drop

    maps, indices, passes = explained_by_removal(covered, classifier, images, targets, baseline, batch_size)
    return Explanation(maps, "heatmap", "occlusion", indices, gradient_evaluations=0, forward_passes=passes)
