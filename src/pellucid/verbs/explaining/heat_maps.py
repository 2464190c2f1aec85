"""The methods that `explain` was asked for, each with those of the options that it has."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from pellucid.explainers import EXPLAINERS, explain
from pellucid.explainers.registry import with_option
from pellucid.types import InputError, device_of
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from pellucid.explainers.explanation import Explanation
    from pellucid.verbs.session import Model


def share_options(methods: Sequence[str], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The options of each method: of those given, the ones that it has.

    Args:
        methods: their names.
        options: by name; None counts as not given. `seed` may serve none.

    Raises:
        InputError: an option that no method has.

    Example:
        >>> share_options(["cam", "rise"], {"samples": 8, "seed": 0, "layer": None})
        {'cam': {}, 'rise': {'samples': 8, 'seed': 0}}
    """
    set_options = {name: value for name, value in options.items() if value is not None}
    own = {m: {o: v for o, v in set_options.items() if o in EXPLAINERS[m].options} for m in methods}
    for name in set_options:
        if name != "seed" and not any(name in values for values in own.values()):
            others = ", ".join(entry.name for entry in with_option(name) if entry.kind == "heatmap")
            every = sorted({option for method in methods for option in EXPLAINERS[method].options})
            hint = f"These have it: {others}." if others else nearest(name, every)
            raise InputError(f"{name} is an option of none of the methods asked for. {hint}")
    return own


def check_heat_maps(model: Model, options: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what cannot be explained before any work: each method explains no image.

    Args:
        model: what is explained.
        options: of each method, by its name.

    Raises:
        InputError: a method that the model cannot serve; an option of no sense.
    """
    nothing = torch.zeros((0, *model.input_spec.shape), device=device_of(model))
    for method, own in options.items():
        explain(method, model, nothing, 0, **own)


def fitting_methods(model: Model, methods: Sequence[str] = ("cam", "grad-cam", "saliency")) -> list[str]:
    """Of some methods those that can explain the model.

    Example:
        >>> from torch import nn
        >>> from pellucid.verbs.models import wrap
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 14 * 14, 2))
        >>> fitting_methods(wrap(net, ["a", "b"], size=16, mean=[0.5], std=[0.25]))
        ['grad-cam', 'saliency']
    """
    fitting = []
    for method in methods:
        with suppress(InputError):
            check_heat_maps(model, {method: {}})
            fitting.append(method)
    return fitting


def heat_maps(
    model: Model, pixels: Tensor, targets: Tensor, options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Explanation]:
    """The heat maps (P, H, W) of each method, one for each of P images and its class.

    Args:
        model: what is explained.
        pixels: (P, C, H, W) in [0, 1], on the model's device.
        targets: the class of each, int64 (P,).
        options: of each method, by its name.
    """
    return {method: explain(method, model, pixels, targets, **own) for method, own in options.items()}
