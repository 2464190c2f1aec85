"""Saliency: how much a class's logit answers to each pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.explainers.budget import in_parts
from pellucid.explainers.explanation import Explanation, resolve_targets
from pellucid.models.classifier import frozen
from pellucid.types import check_images

if TYPE_CHECKING:
    from pellucid.explainers.explanation import Targets
    from pellucid.types import Classifier


def saliency(classifier: Classifier, images: Tensor, targets: Targets) -> Tensor:
    """``max_channels |∂f_c/∂x|`` of the target's logit (Simonyan et al. 2014, arXiv 1312.6034).

    No smoothing, no scaling. The classifier is in eval mode meanwhile and is left as it was.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all", which costs one backward pass per class.

    Returns:
        (N, H, W), not negative; (N, K, H, W) for "all".

    Raises:
        InputError: images that are not pixels in [0, 1], or targets that are no classes.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> saliency(model, torch.rand(2, 1, 64, 64), torch.tensor([0, 2])).shape
        torch.Size([2, 64, 64])
    """
    check_images(images, channels=classifier.input_spec.channels)
    indices = resolve_targets(classifier, images, targets)
    if images.shape[0] == 0:
        count = (len(classifier.classes),) if indices is None else ()
        return images.new_zeros((0, *count, *images.shape[2:]))
    with frozen(classifier), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_(True)
        logits = classifier(pixels)
        if indices is not None:
            score = logits.gather(1, indices.unsqueeze(1)).sum()
            return _largest(torch.autograd.grad(score, pixels)[0])
        last = logits.shape[1] - 1
        return torch.stack(
            [
                _largest(torch.autograd.grad(logits[:, c].sum(), pixels, retain_graph=c < last)[0])
                for c in range(last + 1)
            ],
            dim=1,
        )


def saliency_explanation(
    classifier: Classifier, images: Tensor, targets: Targets, *, batch_size: int | None = None
) -> Explanation:
    """Saliency as an explanation, in parts that fit in memory; see `saliency`."""
    return saliency_in_parts("saliency", classifier, images, targets, batch_size)


def saliency_in_parts(
    name: str, classifier: Classifier, images: Tensor, targets: Targets, batch_size: int | None
) -> Explanation:
    """What `saliency` gives of a classifier as it is now, under the name of a method."""
    indices = resolve_targets(classifier, images, targets)

    def maps_of(part: Tensor, aims: Tensor | None) -> Tensor:
        return saliency(classifier, part, "all" if aims is None else aims)

    maps = in_parts(maps_of, classifier, images, indices, batch_size)
    cost = len(classifier.classes) if indices is None else 1
    return Explanation(maps, "heatmap", name, indices, gradient_evaluations=cost, forward_passes=1)


def _largest(gradient: Tensor) -> Tensor:
    return gradient.abs().amax(1)
