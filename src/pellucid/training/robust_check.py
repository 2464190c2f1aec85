"""How robust a network in training is: a short attack on held-out images every epoch, and the alarm on collapse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from pellucid.attacks.epsilon import Epsilon
from pellucid.attacks.under_attack import answers_after_ascent
from pellucid.utils.settings import Section

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from pellucid.types import Pixels

BATCH = 128


class RobustCheckSettings(Section):
    """Gradient steps against some validation images after every epoch; its metrics are called ``robust_…``."""

    size: Epsilon = Epsilon(linf=0.005)
    steps: int = Field(10, ge=1)
    images: int = Field(128, ge=1, description="at most so many validation images, drawn once")
    collapse: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="catastrophic overfitting: stop where robust accuracy falls by this from its best, keep what was",
    )


def attacked_logits(
    classifier: nn.Module,
    images: Pixels,
    targets: npt.NDArray[np.generic],
    settings: RobustCheckSettings,
) -> npt.NDArray[np.float32]:
    """Logits (N, K) on images that were moved down the margin: no scale of the logits hides what they do.

    Cheap, and the same in every epoch, since nothing is left to chance: an upper bound of robust accuracy that is good
    enough to choose a checkpoint and to see a collapse. `pellucid evaluate --attack` looks harder.

    Args:
        classifier: images → logits.
        images: uint8 or uint16 (N, C, H, W).
        targets: int64 (N,) or float (N, K), NaN where unknown.
        settings: size and steps.
    """
    return answers_after_ascent(classifier, images, targets, settings.size, steps=settings.steps, batch_size=BATCH)


def collapsed(history: Sequence[dict[str, Any]], now: float, settings: RobustCheckSettings) -> bool:
    """Whether robust accuracy fell too far below the best of the epochs before.

    Single-step training may lose all its robustness within an epoch while its own attack still fails: catastrophic
    overfitting. Several steps see it.

    Args:
        history: the lines of `metrics.jsonl` before this epoch.
        now: robust accuracy after it.
        settings: how far is too far.

    Source:
        Wong, Rice & Kolter 2020, "Fast is better than free", section 5.

    Example:
        >>> rows = [{"validation_robust_accuracy": 0.5}, {"validation_robust_accuracy": 0.6}]
        >>> settings = RobustCheckSettings(collapse=0.2)
        >>> collapsed(rows, 0.45, settings), collapsed(rows, 0.05, settings)
        (False, True)
    """
    if settings.collapse is None:
        return False
    before = [row.get("validation_robust_accuracy") for row in history]
    values = [value for value in before if value is not None and math.isfinite(value)]
    return bool(values) and max(values) - now > settings.collapse
