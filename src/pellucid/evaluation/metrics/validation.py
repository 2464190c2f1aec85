"""How a network in training is judged: AUROC and its kin on the validation images, and Youden's thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.metrics.classification import youden_thresholds
from pellucid.evaluation.metrics.intervals import auroc_influence
from pellucid.models.inference import decisions, probabilities, unanswered

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.data.dataset import Dataset


class ValidationScorer:
    """Mean AUROC over the classes that have both labels, and accuracy; for the training loop."""

    def metrics(self, logits: npt.NDArray[np.floating], dataset: Dataset) -> dict[str, float]:
        """`auroc` (NaN if no class has both labels) and `accuracy` of one network's logits (N, K).

        Both are NaN where the network gives no answer on an image, and so choose no checkpoint.
        """
        if unanswered(logits).any():
            return {"auroc": float("nan"), "accuracy": float("nan")}
        targets = one_hot(dataset)
        scores = probabilities(logits, dataset.task)
        areas = [
            auroc_influence(scores[:, k], is_positive, is_negative)[0]
            for k in range(targets.shape[1])
            if (is_positive := targets[:, k] == 1).any() and (is_negative := targets[:, k] == 0).any()
        ]
        if dataset.task == "multiclass":
            accuracy = float((decisions(logits, dataset.task) == dataset.targets).mean())
        else:
            accuracy = float(((scores > 0.5) == (targets == 1))[~np.isnan(targets)].mean())
        return {"auroc": float(np.mean(areas)) if areas else float("nan"), "accuracy": accuracy}

    def thresholds(self, logits: npt.NDArray[np.floating], dataset: Dataset) -> list[float]:
        """Youden's threshold of each class, as a probability; NaN where the validation images do not define one."""
        thresholds = youden_thresholds(probabilities(logits, dataset.task), one_hot(dataset))
        return [float(t) for t in thresholds]


def one_hot(dataset: Dataset) -> npt.NDArray[np.float32]:
    """The targets as (N, K) zeros and ones, NaN where unknown, for either task."""
    if dataset.task == "multilabel":
        return np.asarray(dataset.targets, dtype=np.float32)
    return np.eye(len(dataset.classes), dtype=np.float32)[np.asarray(dataset.targets, dtype=np.int64)]
