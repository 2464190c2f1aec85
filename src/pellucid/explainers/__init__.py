"""Explanations behind one interface: `explain("cam", classifier, images, targets)` → `Explanation`."""

from __future__ import annotations

import inspect
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from pellucid.explainers.activation_maps import class_activation_maps, grad_cam_maps
from pellucid.explainers.adversarial import AdversarialExplanation, adversarial
from pellucid.explainers.explanation import Explanation, Targets, resolve_targets, select, upsample
from pellucid.explainers.gradients import saliency
from pellucid.explainers.registry import EXPLAINERS, HEATMAPS, ExplainerEntry, layer_option
from pellucid.explainers.superpixels import superpixels
from pellucid.types import InputError, check_images
from pellucid.utils.failures import is_reason
from pellucid.utils.resources import check_known, nearest
from pellucid.utils.words import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from pellucid.types import Classifier

__all__ = [
    "EXPLAINERS",
    "HEATMAPS",
    "AdversarialExplanation",
    "ExplainerEntry",
    "Explanation",
    "Targets",
    "adversarial",
    "check_options",
    "class_activation_maps",
    "explain",
    "grad_cam_maps",
    "refusals",
    "resolve_targets",
    "saliency",
    "select",
    "superpixels",
    "upsample",
]


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
        options: the method's own, as `rho` of adversarial, `segments` of lime, `layer` of grad-cam, `seed` of those
            that leave something to chance; and `batch_size` of all, images (or noisy, covered, masked copies of one) at
            a time, where what fits in memory is not right.

    Returns:
        Heat maps (N, H, W), or images (N, C, H, W) of `adversarial`; one more dimension after N for "all".

    Raises:
        InputError: an unknown method, with the nearest one; images that are not pixels in [0, 1];
            targets that are no classes; a classifier that the method does not fit; an option that the method
            does not have.

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
grad-cam, grad-cam++, saliency, smoothgrad, integrated-gradients, guided-backprop, occlusion, lime, kernel-shap, rise, \
attention-rollout, adversarial.
    """
    check_known([name], EXPLAINERS, "explanation")
    check_options(name, options)
    check_images(images, channels=classifier.input_spec.channels)
    explanation = EXPLAINERS[name].explainer(classifier, images, targets, **options)
    if explanation.kind != "heatmap":
        return explanation
    shape = (images.shape[2], images.shape[3]) if size is None else size
    maps = explanation.maps.to(images.dtype)  # a network of half precision has features of its own
    return replace(explanation, maps=upsample(maps, shape))


def refusals(
    methods: Sequence[str], classifier: Classifier, images: Tensor, targets: Targets = 0, *, layer: str | None = None
) -> dict[str, str]:
    """Which of these methods cannot explain a classifier, and why: each is asked by explaining these images.

    Args:
        methods: by name.
        classifier: what would be explained.
        images: (N, C, H, W) in [0, 1]; one is enough.
        targets: of the images, as `explain` takes them.
        layer: that the methods with this option explain at.

    Returns:
        A sentence for each method that cannot, by name, in their order.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> import pellucid as pl
        >>> model = pl.wrap(net, ["a", "b"], size=2, channels=1, mean=[0.5], std=[0.25], outputs="logits")
        >>> list(refusals(["cam", "saliency"], model, torch.rand(1, 1, 2, 2)))
        ['cam']
    """
    refused = {}
    for name in methods:
        try:
            explain(name, classifier, images, targets, **layer_option(name, layer))
        except (InputError, RuntimeError, MemoryError) as error:  # anybody's network: it may lack an operator too
            if not is_reason(error):
                raise
            refused[name] = first_line(error)
    return refused


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a method does not have, and numbers that are none.

    Raises:
        InputError: with the nearest option, or what the option is and what was found.

    Example:
        >>> check_options("rise", {"sample": 8})
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: rise has no option 'sample'. Did you mean 'samples'? There are: samples, cells, \
chance, baseline, seed, batch_size.
        >>> check_options("rise", {"samples": "many"})
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: samples of rise is a whole number; found 'many'.
    """
    entry = EXPLAINERS[name]
    parameters = inspect.signature(entry.explainer).parameters
    for option, value in options.items():
        if option not in entry.options:
            raise InputError(f"{name} has no option {option!r}. {nearest(option, entry.options)}")
        kind, _, optional = str(parameters[option].annotation).partition(" | ")
        if kind not in _NUMBERS or (optional and value is None):
            continue
        number_type, words = _NUMBERS[kind]
        if isinstance(value, bool) or not isinstance(value, number_type):
            raise InputError(f"{option} of {name} is a {words}; found {value!r}.")


_NUMBERS: dict[str, tuple[type, str]] = {"int": (Integral, "whole number"), "float": (Real, "number")}
