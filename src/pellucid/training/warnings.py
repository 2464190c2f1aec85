"""What training says when something is not as it should be, and what to do about it."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.training.objectives.objective import Objective
    from pellucid.training.run import RunFolder


def advice(values: dict[str, float]) -> str:
    """What to do about a loss that is not finite."""
    if values.get("penalty_weight") == math.inf:  # a task loss that is NaN makes it NaN
        return (
            "The weight of the gradient penalty overflowed: the loss has stayed below its target however large the "
            "penalty was. Lower objective.gradient_penalty.adaptive.target_share, or fix the weight "
            "(objective.gradient_penalty.adaptive=none)."
        )
    return "Lower optimizer.lr, or set optimizer.clip_norm=1.0, and start again."


def say_if_out_of_reach(objective: Objective, loss: float) -> None:
    """After the first epoch: its task loss was never below the target, so the weight never rose."""
    weight = objective.weight
    if weight is not None and float(weight.integral) == 0:
        warnings.warn(
            f"after the first epoch the task loss is {loss:.4g} and was hardly ever below its target, "
            f"{weight.target:.4g} (a constant guess has {objective.constant_loss:.4g}): the gradient penalty stays at "
            f"the weight that it started from, {weight.start:g}. If it stays so, raise "
            "objective.gradient_penalty.adaptive.target_share, or lower objective.gradient_penalty.weight.",
            stacklevel=2,
        )


def say_if_still_rising(objective: Objective, loss: float) -> None:
    """After the last epoch: its task loss is far below the target, so the weight had not come to rest."""
    weight = objective.weight
    if weight is not None and loss < 0.9 * weight.target:
        warnings.warn(
            f"the gradient penalty's weight was still rising at the end, at {float(weight.weight):.3g}: the task loss "
            f"of the last epoch, {loss:.4g}, is well below its target, {weight.target:.4g}; the penalty hardly worked. "
            f"Start from a larger objective.gradient_penalty.weight than {weight.start:g}, or train longer.",
            stacklevel=2,
        )


def say_collapsed(earlier: list[dict[str, Any]], epoch: int, now: float, run: RunFolder) -> None:
    """Robustness collapsed in an epoch, after the `earlier` lines of the metrics."""
    best = max(row.get("validation_robust_accuracy") or 0.0 for row in earlier)
    warnings.warn(
        f"catastrophic overfitting: accuracy under PGD fell from {best:.3f} to {now:.3f} in epoch {epoch + 1}. "
        f"Training stops; {run.path / 'last'} holds the epoch before, {run.path} the best one. Take smaller steps "
        "(objective.attack.step_size), several of them (objective.attack.method='pgd'), or fewer epochs.",
        stacklevel=2,
    )
