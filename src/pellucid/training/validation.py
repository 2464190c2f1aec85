"""The validation images: what a network in training is judged on after every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pellucid.models.inference import predict, unanswered
from pellucid.training.robust_check import attacked_logits
from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from pellucid.data.dataset import Dataset
    from pellucid.training.recipe import Recipe
    from pellucid.types import Pixels

LAST = "last"
"""As a choice of checkpoint: the last epoch's, whatever its metrics."""


class MetricFn(Protocol):
    """How a network is judged on the validation images; handed in, because training knows no metrics.

    Example:
        >>> class Accuracy:  # of a multiclass task; `training.select = "accuracy"` then chooses by it
        ...     def metrics(self, logits, dataset):
        ...         return {"accuracy": float((logits.argmax(1) == dataset.targets).mean())}
        ...
        ...     def thresholds(self, logits, dataset):
        ...         return [0.5] * len(dataset.classes)
        >>> scorer: MetricFn = Accuracy()
    """

    def metrics(self, logits: npt.NDArray[np.floating], dataset: Dataset) -> dict[str, float]:
        """Metrics by name; one of them chooses the checkpoint."""
        ...

    def thresholds(self, logits: npt.NDArray[np.floating], dataset: Dataset) -> list[float]:
        """A decision threshold for each class, as probabilities."""
        ...


@dataclass(frozen=True)
class ValidationResult:
    """What the validation images say of a network.

    Attributes:
        metrics: by name; those on attacked images are called ``robust_…``.
        thresholds: a class's decision threshold, as a probability.
        unanswered: images on which the network gives no answer; with any, nothing else is measured.
    """

    metrics: dict[str, float]
    thresholds: list[float]
    unanswered: int = 0


@dataclass(frozen=True)
class Validation:
    """The validation images, and how a network is judged on them.

    Attributes:
        data: labels.
        images: uint8 or uint16 (N, C, H, W).
        scorer: metrics and thresholds.
        recipe: whether some of them are attacked as well.
    """

    data: Dataset
    images: Pixels
    scorer: MetricFn
    recipe: Recipe

    def judge(self, classifier: nn.Module) -> ValidationResult:
        """Metrics and thresholds of a network, which is left as it was."""
        logits = predict(classifier, self.images)
        if missing := int(unanswered(logits).sum()):
            return ValidationResult({}, [math.nan] * logits.shape[1], missing)
        metrics = dict(self.scorer.metrics(logits, self.data))
        check = self.recipe.robust_check
        if check is not None:
            rows = np.arange(len(self.data))
            if len(rows) > check.images:
                rows = np.sort(np.random.default_rng(0).choice(len(rows), check.images, replace=False))
            part = self.data.subset(rows)
            attacked = attacked_logits(classifier, self.images[rows], part.targets, check)
            metrics |= {f"robust_{name}": value for name, value in self.scorer.metrics(attacked, part).items()}
        return ValidationResult(metrics, self.scorer.thresholds(logits, self.data))


def check_selection(recipe: Recipe, scorer: MetricFn, data: Dataset) -> None:
    """Refuse a choice of checkpoint by a metric that there will not be."""
    names = list(scorer.metrics(np.zeros((len(data), len(data.classes)), dtype=np.float32), data))
    robust = [f"robust_{name}" for name in names]
    name = recipe.training.select
    if name in robust and recipe.robust_check is None:
        raise InputError(
            f"training.select = {name!r} needs the recipe's robust_check, as robust_check.size.linf=0.005."
        )
    if name not in (LAST, *names, *robust):
        raise InputError(
            f"training.select = {name!r} is no validation metric. {nearest(name, [*names, *robust, LAST])}"
        )
