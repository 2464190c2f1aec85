"""Integrated gradients: what each pixel adds to a logit on the straight way from a baseline to the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.explainers.budget import rows_that_fit
from pellucid.explainers.explanation import Explanation, resolve_targets
from pellucid.explainers.removal import baseline_of
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from pellucid.explainers.explanation import Targets
    from pellucid.explainers.removal import Baseline
    from pellucid.types import Classifier

STEPS = 50
"""The paper finds 20 to 300 to be enough."""


def integrated_gradients(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    steps: int = STEPS,
    baseline: Baseline = 0.0,
    batch_size: int | None = None,
) -> Explanation:
    """``Σ_channels (x − b) · ∫₀¹ ∂f_c/∂x (b + α (x − b)) dα``, by captum, with Gauss-Legendre's points.

    Signed. Complete: a map's values add up to ``f_c(x) − f_c(b)``, the better the more steps.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all", which costs as much as each class on its own.
        steps: points on the way, each a forward and a backward pass.
        baseline: b: a grey in [0, 1] (black, as in the paper), an image, or `mean` for each image's own mean colour.
            Pixels that equal it get 0.
        batch_size: points at a time; as many as fit in memory by default.

    Returns:
        Maps (N, H, W); (N, K, H, W) for "all".

    Raises:
        InputError: images that are not pixels in [0, 1], targets that are no classes, no step, an unknown baseline.

    Source:
        Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks", arXiv 1703.01365, equations 1 and 3.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> integrated_gradients(model, torch.rand(2, 1, 64, 64), "all", steps=4).gradient_evaluations
        12
    """
    from captum.attr import IntegratedGradients

    check_images(images, channels=classifier.input_spec.channels)
    indices = resolve_targets(classifier, images, targets)
    if steps < 1:
        raise InputError(f"steps must be at least 1; found {steps}.")
    start = baseline_of(images, baseline)
    at_once = rows_that_fit(classifier, images, batch_size)
    count = len(classifier.classes)
    leading = (len(images),) if indices is not None else (len(images), count)
    with torch.enable_grad(), frozen(classifier):
        maps = images.new_zeros((*leading, *images.shape[2:]))
        pixels, start = images.detach().clone(), start.clone()
        method = IntegratedGradients(classifier)
        for rows in in_batches(len(pixels), max(1, at_once // steps)):
            some = {"baselines": start[rows], "n_steps": steps, "internal_batch_size": at_once}
            if indices is not None:
                attributions = method.attribute(pixels[rows], target=indices[rows].clone(), **some)
                maps[rows] = attributions.detach().sum(1)
            else:
                for c in range(count):
                    maps[rows, c] = method.attribute(pixels[rows], target=c, **some).detach().sum(1)
    cost = steps * (count if indices is None else 1)
    return Explanation(maps, "heatmap", "integrated-gradients", indices, gradient_evaluations=cost, forward_passes=cost)
