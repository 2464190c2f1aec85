"""What an audit is likely to take: the time of a forward pass and of a gradient, times how many there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.under_attack import task_loss
from pellucid.evaluation.trust.judge import CERTIFYING
from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels
from pellucid.types import InputError, device_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pellucid.attacks import BoundedAttack
    from pellucid.audit.settings import AuditSettings
    from pellucid.data.dataset import Dataset
    from pellucid.types import Pixels

TRIED = 4
"""Images on which the times are taken."""
TRIES = 3
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
"""How many gradients one of second order takes, about."""
BACKWARD = 3
"""How many forward passes a gradient takes, about: where the model gives none, what needs one is left out soon."""


def seconds_planned(
    model: nn.Module, pixels: Pixels, whole: Dataset, plan: AuditSettings, compared: bool = False
) -> dict[str, float]:
    """Seconds of each part, about, in the order in which they are measured.

    Args:
        model: what is audited.
        pixels: (N, C, H, W).
        whole: the part of the dataset.
        plan: what is spent.
        compared: whether another model classifies the same images.
    """
    forward, gradient = _times(model, pixels)
    few, classes = min(plan.few, len(whole)), len(whole.classes)
    settings, methods = plan.trust, len(plan.methods)
    attacks = min(settings.attacked, few) * settings.attack_steps * 2 * len(settings.budgets) * SECOND * gradient
    labels = classes if whole.task == "multilabel" else 1
    searched = min(plan.searched, len(whole))
    marked = 0 if whole.regions is None else min(plan.few, len(whole.regions))
    return {
        "classification": len(pixels) * forward + 1e-8 * len(pixels) * classes * 1000,
        **({"groups": 1.0} if whole.metadata else {}),
        **({"comparison": len(pixels) * forward} if compared else {}),
        **({"elsewhere": min(plan.corrupted, len(whole)) * CORRUPTIONS * forward} if plan.corrupted else {}),
        "attack": few
        * (forward + labels * sum(_spent(attack, plan.steps, forward, gradient) for attack in plan.attacks)),
        "ara": labels * (few * SMALLEST_CHANGE[plan.effort] + min(few, plan.checked) * CHECK) * gradient,
        "trust": methods
        * ((few * (MAPS + settings.samples) + min(few, settings.certified) * CERTIFYING) * gradient + attacks)
        + few * ((methods * METHOD_CURVES + TRIVIAL_CURVES) * (settings.curve_steps - 1) + REMOVED) * forward,
        "localization": marked * methods * gradient,
        "discovery": (searched * (WINDOWS + SQUARES + classes * CANDIDATES) // 2 + REMEASURED) * forward
        if searched
        else 0.0,
        "pictures": 20 * gradient,
    }


def _spent(attack: BoundedAttack, steps: int, forward: float, gradient: float) -> float:
    """Seconds of an attack on one decision, about: half of what one that stands to the end takes."""
    if attack.method in ("pgd", "fgsm"):
        return (steps if attack.method == "pgd" else 1) * gradient
    gradients, forwards = ENSEMBLE_COSTS[attack.method]
    return gradients * gradient + forwards * forward


def _times(model: nn.Module, pixels: Pixels) -> tuple[float, float]:
    """Seconds of a forward pass and of a gradient with respect to one image: the least of a few tries."""
    images = as_pixels(pixels[:TRIED], device_of(model))
    forward = _least(lambda: model(images).sum().item(), model, gradient=False)  # a number waits for the device
    try:
        gradient = _least(lambda: _gradient(model, images), model, gradient=True)
    except (InputError, RuntimeError):
        gradient = BACKWARD * forward
    return forward / len(images), gradient / len(images)


def _gradient(model: nn.Module, images: Tensor) -> float:
    points = images.clone().requires_grad_()
    logits = model(points)
    targets = logits.detach().argmax(1) if logits.shape[1] > 1 else logits.detach().sigmoid().round()
    (slope,) = torch.autograd.grad(task_loss(logits, targets), points)
    return float(slope.sum())


def _least(work: Callable[[], float], model: nn.Module, *, gradient: bool) -> float:
    seconds = []
    with frozen(model), torch.set_grad_enabled(gradient):
        for _ in range(TRIES):
            started = time.monotonic()
            work()
            seconds.append(time.monotonic() - started)
    return min(seconds)
