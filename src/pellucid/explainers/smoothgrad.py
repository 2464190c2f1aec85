"""SmoothGrad: the gradient of a logit, averaged over noisy copies of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.explainers.budget import rows_that_fit
from pellucid.explainers.explanation import Explanation, resolve_targets
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from pellucid.explainers.explanation import Targets
    from pellucid.types import Classifier

SAMPLES = 32
NOISE = 0.15
"""Of the image's range: the paper finds 10 to 20 % to work."""


def smoothgrad(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    samples: int = SAMPLES,
    noise: float = NOISE,
    seed: int = 0,
    batch_size: int | None = None,
) -> Explanation:
    """``max_channels |mean_s ∂f_c/∂x (x + ε_s)|`` with ``ε_s ~ N(0, σ²)``, ``σ = noise · (max x − min x)``.

    Every image gets the same draws, so that its map does not depend on what else is in the batch. Noisy pixels may
    leave [0, 1]. A constant image has no range, hence no noise: its map is its saliency.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all": as many backward passes more as there are classes,
            through the same forward passes.
        samples: noisy copies of an image.
        noise: standard deviation, as a share of the image's range.
        seed: of the noise; torch's global generator is neither read nor moved.
        batch_size: noisy images at a time; as many as fit in memory by default.

    Returns:
        Maps (N, H, W), not negative; (N, K, H, W) for "all".

    Raises:
        InputError: images that are not pixels in [0, 1], targets that are no classes, no sample, negative noise.

    Source:
        Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", arXiv 1706.03825, section 2.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> smoothgrad(model, torch.rand(2, 1, 64, 64), 0, samples=4).gradient_evaluations
        4
    """
    check_images(images, channels=classifier.input_spec.channels)
    indices = resolve_targets(classifier, images, targets)
    if samples < 1:
        raise InputError(f"samples must be at least 1; found {samples}.")
    if not 0 <= noise <= 1:
        raise InputError(f"noise is a share of the image's range, from 0 to 1; found {noise!r}.")
    at_once = rows_that_fit(classifier, images, batch_size)
    generator = torch.Generator("cpu").manual_seed(seed)  # the CPU's, so that every device sees the same noise
    draws = torch.randn((samples, *images.shape[1:]), generator=generator).to(images)
    every = range(len(classifier.classes))
    maps = []
    with frozen(classifier):
        draws, originals = draws.clone(), images.detach().clone()
        for index, image in enumerate(originals):
            classes = list(every) if indices is None else [int(indices[index])]
            spread = noise * (image.amax() - image.amin())
            total = image.new_zeros((len(classes), *image.shape))
            for rows in in_batches(samples, at_once):
                total += _summed_gradients(classifier, image + spread * draws[rows], classes)
            maps.append((total / samples).abs().amax(1))
        stacked = torch.stack(maps) if maps else originals.new_zeros((0, len(every), *images.shape[2:]))
    cost = samples * (len(every) if indices is None else 1)
    stacked = stacked if indices is None else stacked[:, 0]
    return Explanation(stacked, "heatmap", "smoothgrad", indices, gradient_evaluations=cost, forward_passes=samples)


def _summed_gradients(classifier: Classifier, noisy: Tensor, classes: list[int]) -> Tensor:
    """Of each class's logit over noisy copies (n, C, H, W) of one image: (classes, C, H, W)."""
    with torch.enable_grad():
        pixels = noisy.detach().requires_grad_(True)
        logits = classifier(pixels)
        last = len(classes) - 1
        return torch.stack(
            [
                torch.autograd.grad(logits[:, c].sum(), pixels, retain_graph=i < last)[0].sum(0)
                for i, c in enumerate(classes)
            ]
        )
