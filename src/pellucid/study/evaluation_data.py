"""The images that the networks of a study are judged on, and what one network gave on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.dataset import get_split
from pellucid.data.decoding.file_pixels import check_same_decoding, decoding_of
from pellucid.evaluation.metrics.explanations import (
    LocalizationTask,
    localization_task,
)
from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.explanations import ExplanationScores
    from pellucid.evaluation.robustness.radii import Radii
    from pellucid.evaluation.training_images import SeenImages
    from pellucid.study.context import StudyContext
    from pellucid.types import Pixels


@dataclass(frozen=True)
class EvaluationData:
    """The images that all networks of a study are judged on.

    Attributes:
        whole: the test part.
        test: what of it is used; less than the whole only in a trial with --limit.
        images: its pixels, uint8 or uint16 (N, C, H, W).
        attacked: those of them that are attacked within given sizes.
        attacked_images: their pixels.
        measured: those of them whose smallest perturbations are looked for.
        measured_images: their pixels.
        tasks: where explanations are scored.
        folds: (N,), which fold's networks judge each of the test images; None where all networks judge all.
        attacked_folds: the same of those that are attacked.
    """

    whole: Dataset
    test: Dataset
    images: Pixels
    attacked: Dataset
    attacked_images: Pixels
    measured: Dataset
    measured_images: Pixels
    tasks: tuple[LocalizationTask, ...]
    folds: npt.NDArray[np.int64] | None = None
    attacked_folds: npt.NDArray[np.int64] | None = None

    def parts(self) -> list[tuple[str, Dataset, Pixels]]:
        """The images that figures rest on, by name: the test images, of which others are drawn, and each task's."""
        return [("test", self.test, self.images), *((task.name, task.dataset, task.images) for task in self.tasks)]


@dataclass(frozen=True)
class RunEvaluation:
    """What one network gave.

    Attributes:
        logits: (N, K) on the test images.
        attacked: logits by size of the attack, `0` first.
        broken: by size of the attack, which decisions a smallest perturbation shows to fall within it.
        thresholds: a class's decision threshold, as a probability; of several folds a row (K,) each.
        scores: by task and method.
        refused: by task and method, why the network is not explained by it.
        radii: of the smallest perturbations, by kind of area.
        alarms: where they are not to be trusted, in words, by kind.
        training_images: which of the test images, and of each task's, it was trained or selected on.
    """

    logits: npt.NDArray[np.float32]
    attacked: dict[str, npt.NDArray[np.float32]]
    broken: dict[str, npt.NDArray[np.bool_]]
    thresholds: npt.NDArray[np.float64]
    scores: dict[tuple[str, str], ExplanationScores]
    refused: dict[tuple[str, str], str]
    radii: dict[str, Radii]
    alarms: dict[str, str]
    training_images: dict[str, SeenImages]


def prepare_evaluation_data(context: StudyContext) -> EvaluationData:
    """Open and decode what the networks are judged on: the test part, or with folds every image."""
    study, splits, limit = context.study, context.splits, context.limit
    whole = get_split(splits, "test") if study.folds is None else context.whole
    if limit is not None and study.folds is not None:
        limit *= study.folds  # of each fold's test part
    fitted = FittedImages(whole, context.spec, context.cache).limit(limit)
    test = fitted.dataset
    classes = test.classes
    tasks = []
    learned = decoding_of(splits.get("train", whole))
    for target in study.evaluation.targets:
        dataset = test if target.data is None else get_split(context.open(target.data), "test")
        if dataset.regions is None and target.data is None:
            raise InputError(
                f"{dataset.card.name} marks no regions; name images with regions in evaluation.targets. "
                "evaluation.targets = [] leaves the scores of explanations out."
            )
        check_same_decoding(learned, dataset, study.name)
        task = localization_task(
            replace(fitted, dataset=dataset),
            classes,
            name=target.name,
            regions=target.regions or None,
            limit=target.limit if limit is None else min(limit, target.limit or limit),
        )
        tasks.append(task)
    attacked = fitted.limit(study.evaluation.robustness.limit)
    measured = fitted.limit(study.evaluation.ara.limit)
    return EvaluationData(
        whole,
        test,
        fitted.pixels,
        attacked.dataset,
        attacked.pixels,
        measured.dataset,
        measured.pixels,
        tuple(tasks),
        *([context.folds_of(part.ids) for part in (test, attacked.dataset)] if study.folds is not None else ()),
    )
