"""What is measured of a model without any explanation: the list of measures, each a function of model and samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.evaluation.metrics.heatmap_scores import heatmap_scores
from pellucid.evaluation.metrics.trivial_maps import mean_box
from pellucid.evaluation.trust.alignment import alignment
from pellucid.evaluation.trust.faithfulness import (
    WAYS,
    ScoreCurve,
    cell_numbers,
    mean_curve,
    random_ranks,
    replacement_curve,
)
from pellucid.evaluation.trust.findings import Findings
from pellucid.evaluation.trust.grid_pointing import CHANCE
from pellucid.evaluation.trust.map_measures import scores_by_region
from pellucid.evaluation.trust.shortcut import removal_effects
from pellucid.evaluation.trust.yardsticks import MEAN_BOX, UNIFORM

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from pellucid.evaluation.trust.findings import TrustSettings
    from pellucid.evaluation.trust.infidelity import SharedAnswers
    from pellucid.evaluation.trust.samples import TrustSamples

    NetworkMeasure = Callable[[SharedAnswers, TrustSamples, TrustSettings], Findings]

ORDERS = 2
"""Random orders of the places, which are those of a map that is the same everywhere; they serve all methods."""


def input_alignment(shared: SharedAnswers, samples: TrustSamples, settings: TrustSettings) -> Findings:
    """Whether the gradients look like the images."""
    result = alignment(shared.model, samples.images, samples.targets, batch_size=settings.batch_size)
    values = {"alignment": result.alpha.numpy(), "alignment_cosine": result.cosine.numpy()}
    return Findings("", values, {}, {})


def random_orders(shared: SharedAnswers, samples: TrustSamples, settings: TrustSettings) -> Findings:
    """How the answer falls and rises along random orders, which is all that a map of one heat can give."""
    images = samples.images
    cells = cell_numbers(*images.shape[2:])
    values: dict[str, npt.NDArray[np.float64]] = {}
    curves: dict[str, Any] = {}
    options: dict[str, Any] = {"steps": settings.curve_steps}
    for name, start_and_end in WAYS.items():
        options["start"], options["end"] = start_and_end(images)
        options["ends"] = shared.ends[name]
        order_curves: list[ScoreCurve] = []
        for order in range(ORDERS):
            ranks = random_ranks(len(images), cells, settings.seed + order).to(images.device)
            order_curves.append(replacement_curve(shared.model, images, samples.targets, ranks, **options))
        values[f"{name}_area"] = torch.stack([c.area for c in order_curves]).mean(0).numpy()
        curves |= mean_curve(name, order_curves)
    return Findings("", {}, {}, curves, yardsticks={UNIFORM: values})


def chance(shared: SharedAnswers, samples: TrustSamples, settings: TrustSettings) -> Findings:  # noqa: ARG001
    """What a map that is the same everywhere scores, which is known without drawing it, and the mean box."""
    uniform: dict[str, npt.NDArray[np.float64]] = {}
    yardsticks = {UNIFORM: uniform}
    task = samples.localization
    if not isinstance(task, str):
        share = task.masks.mean((1, 2))  # of the image, which is what any place hits by chance
        uniform |= {"auprc": share, "pointing": share, "energy_ratio": np.where(share > 0, 1.0, np.nan)}
        patients = [task.dataset.patients[i] for i in task.pair_image]
        boxes = torch.from_numpy(mean_box(task.masks, task.pair_class, patients, settings.seed))
        names = ("auprc", "pointing", "energy_ratio")
        yardsticks[MEAN_BOX] = scores_by_region(boxes, {"finding": task.masks}, {"finding": names}, heatmap_scores)
    if not isinstance(samples.shortcut, str):
        masks = {"marker_share": samples.shortcut.marker, "finding_share": samples.shortcut.finding}
        uniform |= {name: mask.mean((1, 2)) for name, mask in masks.items()}
    if not isinstance(samples.mosaics, str):
        uniform["grid_pointing"] = np.full(len(samples.mosaics.rows), CHANCE)
    return Findings("", {}, {}, {}, yardsticks=yardsticks)


def shortcut_effects(shared: SharedAnswers, samples: TrustSamples, settings: TrustSettings) -> Findings:  # noqa: ARG001
    """What the answer hangs on: the planted marker, or the finding."""
    if samples.on_shortcuts is None:
        return Findings("", {}, dict.fromkeys(("marker_effect", "finding_effect"), str(samples.shortcut)), {})
    effects = removal_effects(shared.model, samples.on_shortcuts)
    return Findings("", {f"{name}_effect": values for name, values in effects.items()}, {}, {})


NETWORK_MEASURES: tuple[NetworkMeasure, ...] = (input_alignment, random_orders, chance, shortcut_effects)
"""Every measure that no explanation takes part in."""
