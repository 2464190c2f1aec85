"""Explaining by taking parts of an image away: what stands in their place, and the network's answers, kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from pellucid.explainers.budget import rows_that_fit
from pellucid.explainers.explanation import resolve_targets
from pellucid.models.classifier import frozen
from pellucid.models.inference import check_answers
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.explainers.explanation import Targets
    from pellucid.types import Classifier

    Attribute = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor, int, int], Tensor]
    """(images (n, C, H, W) → one value each, an image (1, C, H, W), what stands in its pixels' place, its number,
    how many fit at a time) → a heat map (H, W)."""

Baseline = float | Tensor | Literal["mean"]
"""What stands in the place of pixels that are taken away: a grey, an image, or each image's own mean colour."""


def baseline_of(images: Tensor, baseline: Baseline) -> Tensor:
    """What stands in the place of every pixel, of the images' shape.

    Raises:
        InputError: a number outside [0, 1], a word other than `mean`, a tensor that does not fit the images.

    Example:
        >>> baseline_of(torch.tensor([[[[0.0, 0.5]]]]), "mean")
        tensor([[[[0.2500, 0.2500]]]])
    """
    if isinstance(baseline, str):
        if baseline != "mean":
            raise InputError(f"the baseline is a grey in [0, 1], an image, or 'mean'; found {baseline!r}.")
        mean = images.double().mean((2, 3), keepdim=True)  # double: the mean of equal pixels is that pixel
        return mean.to(images.dtype).expand_as(images).clone()
    if not isinstance(baseline, Tensor) and not 0 <= baseline <= 1:
        raise InputError(f"the baseline is a grey in [0, 1]; found {baseline!r}.")
    values = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    try:
        return values.expand_as(images).clone()
    except RuntimeError as error:
        raise InputError(
            f"the baseline must fit images of shape {tuple(images.shape)}; found {tuple(values.shape)}."
        ) from error


def finite_logits(logits: Tensor) -> Tensor:
    """The same logits, once it is sure that they are numbers: a surrogate of anything else would be nonsense.

    Raises:
        InputError: with how many are not.
    """
    check_answers(logits, "there is nothing to explain")
    return logits


class VariantLogits:
    """A classifier's logits of one image's variants, call by call.

    An algorithm that explains one class at a time takes the same parts away for every class. The network answers
    for all classes at once, so its answers are kept and only the first class costs forward passes.

    Attributes:
        passes: images that went through the network so far.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._kept: list[Tensor] = []
        self.passes = 0

    def of(self, target: int) -> Callable[[Tensor], Tensor]:
        """The logit of one class as a function of images (n, C, H, W), to be called in the same order every time."""
        turn = 0

        def logit(images: Tensor) -> Tensor:
            nonlocal turn
            if turn == len(self._kept):
                logits = self._classifier(images)
                self._kept.append(finite_logits(logits))
                self.passes += len(images)
            turn += 1
            return self._kept[turn - 1][:, target]

        return logit


def explained_by_removal(
    attribute: Attribute,
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    baseline: Baseline,
    batch_size: int | None,
) -> tuple[Tensor, Tensor | None, int]:
    """Heat maps of every image by an algorithm that explains one class of one image.

    Where an image is the same as what stands in its place, nothing can be taken away: its maps are 0, without asking
    the network, whose answers to equal images may differ by a rounding.

    Args:
        attribute: the algorithm. It must take the same parts away whatever the class.
        classifier: what is explained; frozen meanwhile.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all images, or "all".
        baseline: what stands in the place of pixels that are taken away.
        batch_size: variants of an image at a time; as many as fit in memory by default.

    Returns:
        Maps (N, H, W), or (N, K, H, W) of all classes; the targets (N,) or None; the most forward passes that an image
        cost.

    Raises:
        InputError: images that are not pixels in [0, 1], targets that are no classes, logits that are not finite.
    """
    check_images(images, channels=classifier.input_spec.channels)
    indices = resolve_targets(classifier, images, targets)
    every = range(len(classifier.classes))
    leading = (len(images),) if indices is not None else (len(images), len(every))
    maps, passes = images.new_zeros((*leading, *images.shape[2:])), 0
    with torch.no_grad(), frozen(classifier):
        pixels = images.detach().clone()
        maps = maps.clone()
        at_once, behind = rows_that_fit(classifier, pixels, batch_size), baseline_of(pixels, baseline)
        for index in range(len(pixels)):
            answers, image, instead = VariantLogits(classifier), pixels[index : index + 1], behind[index : index + 1]
            if torch.equal(image, instead):
                continue
            if indices is not None:
                maps[index] = attribute(answers.of(int(indices[index])), image, instead, index, at_once)
            else:
                for c in every:
                    maps[index, c] = attribute(answers.of(c), image, instead, index, at_once)
            passes = max(passes, answers.passes)
    return maps, indices, passes
