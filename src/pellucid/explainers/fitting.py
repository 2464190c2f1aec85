"""Which methods of explanation a network can be explained by, found out by explaining no image."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from pellucid.explainers import explain
from pellucid.types import InputError, device_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pellucid.models.classifier import AnyClassifier


def check_fits(model: AnyClassifier, options: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what cannot be explained before any work.

    Args:
        model: what is explained.
        options: of each method, by its name.

    Raises:
        InputError: a method that the model cannot serve; an option of no sense.
    """
    nothing = torch.zeros((0, *model.input_spec.shape), device=device_of(model))
    for method, own in options.items():
        explain(method, model, nothing, 0, **own)


def split_by_fit(
    models: Mapping[str, AnyClassifier], options: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Of some methods those that can explain all of these models, and why not the others.

    Args:
        models: what is explained, by what it is called in a reason; one alone may have an empty name.
        options: of each method, by its name.

    Returns:
        The options of each method that fits; and for each of the others a sentence.

    Raises:
        InputError: an option of no sense.
    """
    fitting: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    for method, own in options.items():
        for name, model in models.items():
            try:
                check_fits(model, {method: own})
            except InputError as error:
                if own and fitting_methods(model, [method]):  # with other options it does
                    raise
                refused[method] = f"{name}: {error}" if name else str(error)
                break
        else:
            fitting[method] = own
    return fitting, refused


def fitting_methods(model: AnyClassifier, methods: Sequence[str] = ("cam", "grad-cam", "saliency")) -> list[str]:
    """Of some methods those that can explain the model.

    Example:
        >>> from torch import nn
        >>> from pellucid.models import wrap
        >>> from pellucid.types import InputSpec
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 14 * 14, 2))
        >>> known = {"task": "multiclass", "classes": ["a", "b"], "input_spec": InputSpec.square(1, 16)}
        >>> fitting_methods(wrap(net, mean=[0.5], std=[0.25], **known))
        ['saliency']
    """
    fitting = []
    for method in methods:
        with suppress(InputError):
            check_fits(model, {method: {}})
            fitting.append(method)
    return fitting
