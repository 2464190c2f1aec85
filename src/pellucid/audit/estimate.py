"""What an audit is likely to take: how long the network takes for its steps, measured, times how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.attacks.under_attack import task_loss
from pellucid.evaluation.robustness.consistency import KIND
from pellucid.evaluation.robustness.robustness_target import robustness_target_of
from pellucid.evaluation.trust.judge import CERTIFYING
from pellucid.evaluation.trust.maps import Mapper
from pellucid.models.classifier import AnyClassifier, frozen
from pellucid.models.inference import as_pixels
from pellucid.types import InputError, device_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from pellucid.attacks import BoundedAttack
    from pellucid.audit.classification import Answers
    from pellucid.audit.settings import AuditSettings
    from pellucid.data.dataset import Dataset
    from pellucid.types import Pixels

TRIED = 8
"""Images on which a step is timed where one image is quick."""
TRIES = 2
BRIEF = 0.1
"""Seconds within which a step on one image is quick: it is timed on more, as it is taken."""
FIGURE = 1e-5
"""Seconds for the figures of one image and class, about, with their bootstrap."""
CHECK = 80
"""Gradient evaluations for each image on which it is checked whether a minimal attack is too weak."""
SMALLEST_CHANGE = {1: 45, 2: 67, 4: 131}
"""Gradient evaluations for each image of a minimal attack, about, by effort."""
CORRUPTIONS = 45
"""Corrupted copies of each image."""
MAPS, METHOD_CURVES = 12, 8
"""Explanations, and curves of changed images, for each image and method of the table of trust, about."""
ENSEMBLE_COSTS = {"margin": (120, 110), "autoattack": (950, 2500)}
"""Gradient evaluations, and forward passes besides, for a decision: about half of what one that stands takes."""
TRIVIAL_CURVES, REMOVED = 8, 36
"""Curves, and images without a square or where curves end, for each image that serve all methods."""
WINDOWS, SQUARES, CANDIDATES, REMEASURED = 127, 36, 8, 3000
"""Of the search for what a model goes by: windows tried of each image of one half; squares, and candidates of each
class, of the other; and passes that measure what passed."""
SECOND = 3
"""How many maps a step of an attack on one takes, about."""


@dataclass(frozen=True)
class Paces:
    """Seconds that a network takes for one image, measured.

    Attributes:
        answer: a forward pass.
        gradient: one with its backward pass; 0 where the network gives none, and what needs one is soon left out.
        maps: a heat map, by the method's name.
    """

    answer: float
    gradient: float
    maps: Mapping[str, float]


def measured_paces(model: AnyClassifier, pixels: Pixels, methods: Sequence[str], layer: str | None = None) -> Paces:
    """Time the steps of an audit on a few images.

    Args:
        model: what is audited.
        pixels: (N, C, H, W), one at least.
        methods: of explanation, those that the model serves.
        layer: that they explain at.
    """
    images = as_pixels(pixels[:TRIED], device_of(model))
    with frozen(model):
        with torch.no_grad():
            answer = _seconds_each(lambda some: model(some).sum().item(), images)  # a number waits for the device
            targets = model(images).argmax(1)
        try:
            gradient = _seconds_each(lambda some: _gradient(model, some), images)
        except (InputError, RuntimeError):
            gradient = 0.0
    maps = {}
    for name in methods:
        try:
            maps[name] = _seconds_each(partial(_explained, Mapper(name, layer=layer), model, targets), images)
        except (InputError, RuntimeError):  # the part on explanations says it
            maps[name] = 0.0
    return Paces(answer, gradient, maps)


def seconds_planned(
    paces: Paces,
    used: int,
    whole: Dataset,
    few: Dataset,
    plan: AuditSettings,
    *,
    groups: int = 0,
    compared: bool = False,
    answers: Answers | None = None,
) -> dict[str, float]:
    """Seconds of each part, about, in the order in which they are measured.

    Args:
        paces: of the network.
        used: images that are classified.
        whole: the part of the dataset.
        few: its images that are attacked.
        plan: what is spent.
        groups: columns by which images are grouped.
        compared: whether another model classifies the same images.
        answers: what the model said of its images, once that is known: decisions that are wrong are not attacked. All
            are taken for right before.
    """
    answer, gradient, settings = paces.answer, paces.gradient, plan.trust
    figures, searched = FIGURE * used * len(whole.classes), min(plan.searched, len(whole))
    target = robustness_target_of(KIND, whole, {})
    right = len(target.decisions(few.targets)[0]) * (1.0 if answers is None else _share_right(answers))
    marked = 0 if whole.regions is None else min(plan.few, len(whole.regions))
    map_count = len(few) * (MAPS + settings.samples) + min(len(few), settings.certified) * CERTIFYING
    turned = min(settings.attacked, len(few)) * settings.attack_steps * 2 * len(settings.budgets) * SECOND
    every_map, curves = sum(paces.maps.values()), len(paces.maps) * METHOD_CURVES + TRIVIAL_CURVES
    return {
        "classification": (used * answer if answers is None else 0.0) + figures,
        **({"groups": groups * figures} if groups else {}),
        **({"comparison": used * answer} if compared else {}),
        **({"elsewhere": min(plan.corrupted, len(whole)) * CORRUPTIONS * answer} if plan.corrupted else {}),
        "attack": sum(_spent(attack, plan.steps, len(few), right, answer, gradient) for attack in plan.attacks),
        "ara": (right * SMALLEST_CHANGE[plan.effort] + min(len(few), plan.checked) * CHECK) * gradient,
        "trust": (map_count + turned) * every_map + len(few) * (curves * (settings.curve_steps - 1) + REMOVED) * answer,
        "localization": marked * every_map,
        "discovery": (searched * (WINDOWS + SQUARES + len(whole.classes) * CANDIDATES) // 2 + REMEASURED) * answer
        if searched
        else 0.0,
        "pictures": 20 * gradient,
    }


def _share_right(answers: Answers) -> float:
    """The share of the decisions that are right, all labels together."""
    targets = np.asarray(answers.dataset.targets)
    if targets.ndim == 1:
        return float((answers.logits.argmax(1) == targets).mean())
    is_defined = ~np.isnan(targets)
    decisions = 1 / (1 + np.exp(-answers.logits.astype(np.float64))) >= np.asarray(answers.thresholds)
    return float((decisions == (targets == 1))[is_defined].mean()) if is_defined.any() else 0.0


def _spent(attack: BoundedAttack, steps: int, images: int, right: float, answer: float, gradient: float) -> float:
    """Seconds of an attack, about: one on decisions takes half of what it would if all stood to the end."""
    if attack.method in ("pgd", "fgsm"):  # on all labels of an image together
        return images * ((steps if attack.method == "pgd" else 1) * gradient + 2 * answer)
    gradients, forwards = ENSEMBLE_COSTS[attack.method]
    return right * (gradients * gradient + forwards * answer) + images * answer


def _seconds_each(work: Callable[[Tensor], float], images: Tensor) -> float:
    """Seconds for one image: the least of two tries on one, and where that is brief, on all of them together."""
    seconds = _timed(work, images[:1])
    if seconds < 20 * BRIEF:  # the first try of all may have had to prepare
        seconds = min(seconds, _timed(work, images[:1]))
    if seconds < BRIEF:
        seconds = min(_timed(work, images) for _ in range(TRIES)) / len(images)
    return seconds


def _timed(work: Callable[[Tensor], float], images: Tensor) -> float:
    started = monotonic()
    work(images)
    return monotonic() - started


def _explained(mapper: Mapper, model: AnyClassifier, targets: Tensor, images: Tensor) -> float:
    return float(mapper(model, images, targets[: len(images)]).sum())


def _gradient(model: AnyClassifier, images: Tensor) -> float:
    points = images.clone().requires_grad_()
    logits = model(points)
    targets = logits.detach().argmax(1) if logits.shape[1] > 1 else logits.detach().sigmoid().round()
    (slope,) = torch.autograd.grad(task_loss(logits, targets), points)
    return float(slope.sum())
