"""What is measured of a model without any explanation: the list of measures, each a function of model and samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pellucid.evaluation.trust.alignment import alignment
from pellucid.evaluation.trust.faithfulness import (
    Curve,
    blurred,
    cell_numbers,
    mean_colour,
    mean_curve,
    random_ranks,
    replacement_curve,
)
from pellucid.evaluation.trust.findings import Findings
from pellucid.evaluation.trust.shortcut import removal_effects

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from pellucid.evaluation.trust.findings import TrustSettings
    from pellucid.evaluation.trust.samples import TrustSamples

    NetworkMeasure = Callable[[Any, TrustSamples, TrustSettings], Findings]

ORDERS = 4
"""Random orders that a map's order is held against; they serve all methods."""


def input_alignment(model: Any, samples: TrustSamples, settings: TrustSettings) -> Findings:  # noqa: ANN401
    """Whether the gradients look like the images."""
    result = alignment(model, samples.images, samples.targets, batch_size=settings.batch_size)
    values = {"alignment": result.alpha.numpy(), "alignment_cosine": result.cosine.numpy()}
    return Findings("", values, {}, {})


def random_orders(model: Any, samples: TrustSamples, settings: TrustSettings) -> Findings:  # noqa: ANN401
    """How the answer falls and rises along random orders: the yardstick of faithfulness."""
    images = samples.images
    cells = cell_numbers(*images.shape[2:])
    ends = {"deletion": (images, mean_colour(images)), "insertion": (blurred(images), images)}
    values: dict[str, npt.NDArray[np.float64]] = {}
    curves: dict[str, Any] = {}
    for name, (start, end) in ends.items():
        order_curves: list[Curve] = []
        for order in range(ORDERS):
            ranks = random_ranks(len(images), cells, settings.seed + order).to(images.device)
            order_curves.append(replacement_curve(model, images, samples.targets, ranks, start=start, end=end))
        values[f"{name}_area"] = torch.stack([c.area for c in order_curves]).mean(0).numpy()
        curves |= mean_curve(name, order_curves)
    return Findings("", values, {}, curves)


def shortcut_effects(model: Any, samples: TrustSamples, settings: TrustSettings) -> Findings:  # noqa: ANN401, ARG001
    """What the answer hangs on: the planted marker, or the finding."""
    if samples.on_shortcuts is None:
        return Findings("", {}, dict.fromkeys(("marker_effect", "finding_effect"), str(samples.shortcut)), {})
    effects = removal_effects(model, samples.on_shortcuts)
    return Findings("", {f"{name}_effect": values for name, values in effects.items()}, {}, {})


NETWORK_MEASURES: tuple[NetworkMeasure, ...] = (input_alignment, random_orders, shortcut_effects)
"""Every measure that no explanation takes part in."""
