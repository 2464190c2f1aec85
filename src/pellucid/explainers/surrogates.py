"""LIME and Kernel SHAP: a linear model of the network's answers to the image without some of its superpixels."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.explainers.explanation import Explanation
from pellucid.explainers.removal import explained_by_removal
from pellucid.explainers.superpixels import superpixels
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pellucid.explainers.explanation import Targets
    from pellucid.explainers.removal import Baseline
    from pellucid.types import Classifier

SEGMENTS = 50
SAMPLES = 256
KERNEL_WIDTH = 0.25  # of its authors' code for images
RIDGE = 1.0  # likewise


def lime(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    segments: int = SEGMENTS,
    samples: int = SAMPLES,
    baseline: Baseline = "mean",
    ridge: float = RIDGE,
    seed: int = 0,
    batch_size: int | None = None,
) -> Explanation:
    """LIME by captum: each pixel gets its superpixel's weight in a linear model of the logit around the image.

    Superpixels are kept or taken away with even odds. The linear model is a ridge regression in which a variant
    counts ``exp(−d² / 2w²)`` with d the cosine distance of its kept superpixels from all of them and w = 0.25, as in
    the authors' code (`lime_image`; captum's own default, a lasso on the pixels' distance, leaves small logits at 0).
    The same variants serve every class, which therefore cost as much as one.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all".
        segments: about how many superpixels; see `explainers.superpixels`.
        samples: variants of an image that the network answers to.
        baseline: what stands for what is taken away: a grey in [0, 1], an image, or `mean` for each image's own mean
            colour.
        ridge: penalty on the squared weights.
        seed: of the variants; torch's global generator is as it was afterwards.
        batch_size: variants at a time; as many as fit in memory by default.

    Returns:
        Maps (N, H, W), signed; (N, K, H, W) for "all".

    Raises:
        InputError: images that are not pixels in [0, 1] or of one pixel, targets that are no classes, fewer than two
            segments, fewer than two samples, a negative ridge, an unknown baseline.

    Source:
        Ribeiro, Singh & Guestrin 2016, "Why should I trust you?", arXiv 1602.04938, equation 2 and section 3.4.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> lime(model, torch.rand(1, 1, 64, 64), "all", segments=8, samples=16).forward_passes
        16
    """
    from captum.attr import Lime

    if samples < 2:
        raise InputError(f"samples must be at least 2; found {samples}.")
    if not ridge >= 0:
        raise InputError(f"ridge must not be negative; found {ridge!r}.")

    parts = _parts(classifier, images, segments)

    def weights(logit: Callable[[Tensor], Tensor], image: Tensor, behind: Tensor, index: int, at_once: int) -> Tensor:
        with _drawn_from(seed):
            weighting: Tensor = Lime(logit, interpretable_model=_Ridge(ridge), similarity_func=_closeness).attribute(
                image,
                baselines=behind,
                feature_mask=parts[index][None, None],
                n_samples=samples,
                perturbations_per_eval=at_once,
            )
        return weighting[0, 0]

    maps, indices, passes = explained_by_removal(weights, classifier, images, targets, baseline, batch_size)
    return Explanation(maps, "heatmap", "lime", indices, gradient_evaluations=0, forward_passes=passes)


def kernel_shap(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    segments: int = SEGMENTS,
    samples: int = SAMPLES,
    baseline: Baseline = "mean",
    seed: int = 0,
    batch_size: int | None = None,
) -> Explanation:
    """Kernel SHAP by captum: each pixel gets its superpixel's Shapley value for the logit, estimated.

    The values of the superpixels, each counted once, add up to ``f_c(x) − f_c(baseline)``. The same variants serve
    every class, which therefore cost as much as one.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all".
        segments: about how many superpixels; see `explainers.superpixels`.
        samples: variants of an image that the network answers to, at least two more than superpixels.
        baseline: what stands for what is taken away: a grey in [0, 1], an image, or `mean` for each image's own mean
            colour.
        seed: of the variants; torch's global generator is as it was afterwards.
        batch_size: variants at a time; as many as fit in memory by default.

    Returns:
        Maps (N, H, W), signed; (N, K, H, W) for "all".

    Raises:
        InputError: images that are not pixels in [0, 1] or of one pixel, targets that are no classes, fewer than two
            segments, too few samples for them, an unknown baseline.

    Source:
        Lundberg & Lee 2017, "A unified approach to interpreting model predictions", arXiv 1705.07874, theorem 2.
    """
    from captum.attr import KernelShap

    parts = _parts(classifier, images, segments)
    count = max((int(part.max()) + 1 for part in parts), default=0)
    if samples < count + 2:
        raise InputError(
            f"{count} superpixels need at least {count + 2} samples to be told apart; found {samples}. Raise "
            "samples or lower segments."
        )

    def values(logit: Callable[[Tensor], Tensor], image: Tensor, behind: Tensor, index: int, at_once: int) -> Tensor:
        method = KernelShap(logit)
        method.interpretable_model = _Ridge(0.0)  # captum's own solves in single precision
        with _drawn_from(seed):
            shapley: Tensor = method.attribute(
                image,
                baselines=behind,
                feature_mask=parts[index][None, None],
                n_samples=samples,
                perturbations_per_eval=at_once,
            )
        return shapley[0, 0]

    maps, indices, passes = explained_by_removal(values, classifier, images, targets, baseline, batch_size)
    return Explanation(maps, "heatmap", "kernel-shap", indices, gradient_evaluations=0, forward_passes=passes)


def _parts(classifier: Classifier, images: Tensor, segments: int) -> list[Tensor]:
    """The superpixels of every image, which serve all of its classes."""
    check_images(images, channels=classifier.input_spec.channels)
    return [superpixels(image, segments) for image in images]


class _Ridge:
    """Weighted least squares with an intercept and a penalty on the squares of the weights; captum's `Model`."""

    def __init__(self, penalty: float) -> None:
        self._penalty = penalty
        self._found = torch.zeros(1, 0)

    def fit(self, samples: Any) -> None:  # noqa: ANN401 (a DataLoader of one batch)
        """Of kept superpixels (n, M), answers (n,) and weights (n,)."""
        presence, answers, weights = (torch.cat(part).double().cpu() for part in zip(*samples, strict=True))
        weights = weights.unsqueeze(1)
        root, total = weights.sqrt(), weights.sum()
        design = root * (presence - (weights * presence).sum(0) / total)  # centred: the intercept is not penalised
        right_side = root * (answers.unsqueeze(1) - (weights * answers.unsqueeze(1)).sum() / total)
        penalty = math.sqrt(self._penalty) * torch.eye(presence.shape[1], dtype=presence.dtype)
        design, right_side = (
            torch.cat([design, penalty]),
            torch.cat([right_side, right_side.new_zeros(len(penalty), 1)]),
        )
        self._found = torch.linalg.lstsq(design, right_side, driver="gelsd").solution.T

    def representation(self) -> Tensor:
        """The weights (1, M)."""
        return self._found


def _closeness(_image: Tensor, _variant: Tensor, presence: Tensor, **_options: object) -> float:
    """How much a variant counts: by the cosine of the angle between its kept superpixels and all of them."""
    share = float(presence.float().mean())
    distance = 1 - math.sqrt(share)  # cos = k / (√k √M)
    return math.exp(-(distance**2) / (2 * KERNEL_WIDTH**2))


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """Captum draws from torch's global generator on the CPU: seed that, and put it back afterwards."""
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(state)
