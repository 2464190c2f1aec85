"""The methods that `explain` was asked for, each with those of the options that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.explainers import EXPLAINERS, explain
from pellucid.explainers.registry import with_option
from pellucid.types import InputError
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
