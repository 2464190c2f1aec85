"""Are radii too large? Another attack looks at a sample of them, and what it finds takes their place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.attacks.attack_strength import SAMPLE, check_attack_strength, choose
from pellucid.models.inference import as_pixels
from pellucid.types import device_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.robustness.radii import AttackConfig, Radii
    from pellucid.types import Pixels


def check_radii(
    classifier: nn.Module,
    images: Pixels,
    dataset: Dataset,
    radii: Radii,
    config: AttackConfig,
    checked: int = SAMPLE,
) -> dict[str, Any]:
    """Try PGD on a sample of what was attacked; see `pellucid.attacks.attack_strength`.

    Returns:
        What `ara.json` says under `alarm`: how many were tried (`n`), on how many PGD does better (`better`), what to
        tell people (`message`), and the smaller radii (`shorter`), with the ids of their images and their labels.
    """
    rows = choose(torch.from_numpy(radii.correct_at_start), sample=checked, seed=config.seed).numpy()
    if len(rows) == 0:
        return {"n": 0, "better": 0, "unfound": 0, "largest": 0.0, "message": None, "shorter": []}
    device = device_of(classifier)
    lengths = radii.radius[radii.found]
    alarm = check_attack_strength(
        classifier,
        as_pixels(images[radii.image[rows]], device),
        radii.robustness_target.criterion_for(dataset.targets, radii.image[rows], radii.label[rows], device),
        torch.from_numpy(radii.radius[rows]),
        largest=float(lengths.max()) if lengths.size and lengths.max() > 0 else math.nan,
        method=config.name,
        advice=config.advice,
        box=config.box,
        norm=config.norm,
        seed=config.seed,
        batch_size=16,
    )
    shorter = [
        {"id": dataset.ids[radii.image[row]], "label": _label(radii, row, dataset), "radius": float(length)}
        for row, length in zip(rows, alarm.radius, strict=True)
        if math.isfinite(length)
    ]
    return alarm.to_json() | {"shorter": shorter}


def as_checked(
    measured: Mapping[str, Radii], checks: Mapping[str, Mapping[str, Any]], dataset: Dataset
) -> dict[str, Radii]:
    """The radii by kind with the smaller ones that the check found in the place of those that it was given.

    Args:
        measured: what the protocol found.
        checks: of each kind, what `check_radii` returned.
        dataset: the images that were measured.
    """
    return {kind: _shortened(radii, checks[kind]["shorter"], dataset) for kind, radii in measured.items()}


def _shortened(radii: Radii, shorter: list[dict[str, Any]], dataset: Dataset) -> Radii:
    if not shorter:
        return radii
    row_of = {(dataset.ids[radii.image[row]], _label(radii, row, dataset)): row for row in range(len(radii.image))}
    radius = radii.radius.copy()
    for one in shorter:
        row = row_of[one["id"], one["label"]]
        radius[row] = np.fmin(radius[row], one["radius"])
    return replace(radii, radius=radius, found=radii.found | np.isfinite(radius))


def _label(radii: Radii, row: int, dataset: Dataset) -> str:
    return "" if radii.label[row] < 0 else dataset.classes[radii.label[row]]
