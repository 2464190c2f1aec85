"""Explanations behind one interface: `explain("cam", classifier, images, targets)` → `Explanation`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pellucid.explain.activation_maps import cam, class_activation_maps, grad_cam, grad_cam_maps
from pellucid.explain.adversarial import AdversarialExplanation, adversarial
from pellucid.explain.explanation import Explanation, Targets, resolve_targets, select, upsample
from pellucid.explain.gradients import saliency, saliency_explanation
from pellucid.resources import nearest
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from pellucid.types import Classifier

    Explainer = Callable[..., Explanation]  # (classifier, images, targets, **options)

__all__ = [
    "EXPLAINERS",
    "HEATMAPS",
    "AdversarialExplanation",
    "Explanation",
    "Targets",
    "adversarial",
    "class_activation_maps",
    "explain",
    "grad_cam_maps",
    "resolve_targets",
    "saliency",
    "select",
    "upsample",
]

EXPLAINERS: dict[str, Explainer] = {
    "cam": cam,
    "grad-cam": grad_cam,
    "saliency": saliency_explanation,
    "adversarial": adversarial,
}
"""Every method by name. A heat map comes at the resolution that the method has; `explain` enlarges it."""

HEATMAPS = tuple(name for name in EXPLAINERS if name != "adversarial")
"""The methods whose explanation is a heat map, which can be scored against regions."""


def explain(
    name: str,
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    size: int | Sequence[int] | None = None,
    **options: Any,  # noqa: ANN401 (each method has its own)
) -> Explanation:
    """Explain a batch by the method of that name, with heat maps at the images' size.

    Args:
        name: one of `EXPLAINERS`.
        classifier: what is explained.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all images, or "all" for every class; whether or not the
            image shows them, also of a multi-label classifier.
        size: height and width of the heat maps instead of the images' own.
        options: the method's own: `rho`, `direction` and `optimiser` of adversarial explanations.

    Returns:
        Heat maps (N, H, W), or images (N, C, H, W) of `adversarial`; one more dimension after N for "all".

    Raises:
        InputError: an unknown method, with the nearest one; images that are not pixels in [0, 1];
            targets that are no classes; a classifier that the method does not fit.

    Example:
        >>> import torch
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> explain("cam", model, torch.rand(2, 1, 64, 64), torch.tensor([0, 2])).maps.shape
        torch.Size([2, 64, 64])
        >>> explain("gradcam", model, torch.rand(2, 1, 64, 64), 0)
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: unknown explanation 'gradcam'. Did you mean 'grad-cam'? There are: cam, \
grad-cam, saliency, adversarial.
    """
    if name not in EXPLAINERS:
        raise InputError(f"unknown explanation {name!r}. {nearest(name, EXPLAINERS)}")
    check_images(images, channels=classifier.input_spec.channels)
    explanation = EXPLAINERS[name](classifier, images, targets, **options)
    if explanation.kind != "heatmap":
        return explanation
    wanted = (images.shape[2], images.shape[3]) if size is None else size
    return replace(explanation, maps=upsample(explanation.maps, wanted))
