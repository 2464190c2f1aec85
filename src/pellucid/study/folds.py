"""Folds in a study: what of the images each fold's networks are judged on, and what they gave, put together again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pellucid.evaluation.metrics.boxes import PredictedBoxes
from pellucid.evaluation.metrics.explanations import ExplanationScores
from pellucid.evaluation.training_images import SeenImages
from pellucid.study.evaluation_data import EvaluationData, RunEvaluation
from pellucid.types import InputError
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from pellucid.evaluation.metrics.explanations import LocalizationTask

    Rows = npt.NDArray[np.int64]

Scalar = TypeVar("Scalar", bound=np.generic)


def data_of_fold(data: EvaluationData, fold: int) -> EvaluationData:
    """The images that the networks of one fold are judged on.

    Args:
        data: of all folds.
        fold: its number.

    Raises:
        InputError: a fold without a test image, one that is attacked, or one that explanations are scored on.
    """
    assert data.folds is not None
    assert data.attacked_folds is not None
    rows, attacked = np.flatnonzero(data.folds == fold), np.flatnonzero(data.attacked_folds == fold)
    for count, what, limit in (
        (len(rows), "test", "--limit"),
        (len(attacked), "attacked", "evaluation.robustness.limit"),
    ):
        if not count:
            raise InputError(f"fold {fold} has no {what} image: raise {limit}, or ask for fewer folds.")
    test = data.test.subset(rows)
    return EvaluationData(
        whole=test,
        test=test,
        images=data.images[rows],
        attacked=data.attacked.subset(attacked),
        attacked_images=data.attacked_images[attacked],
        measured=test,
        measured_images=data.images[rows],
        tasks=tuple(_cut(task, fold_of_images(data, task.dataset.ids), fold) for task in data.tasks),
    )


def fold_of_images(data: EvaluationData, ids: Iterable[str]) -> npt.NDArray[np.int64]:
    """The fold of each of some of the test images, by id."""
    assert data.folds is not None
    fold_of = dict(zip(data.test.ids, data.folds.tolist(), strict=True))
    return np.array([fold_of[name] for name in ids], dtype=np.int64)


def _cut(task: LocalizationTask, folds: npt.NDArray[np.int64], fold: int) -> LocalizationTask:
    """The images of one fold, their pairs and boxes, in the order of the whole task."""
    rows = np.flatnonzero(folds == fold)
    if not len(rows):
        raise InputError(
            f"fold {fold} has no image to score explanations on ({task.name}; in all there are "
            f"{number_of(len(folds), 'image(s)')}): ask for fewer folds, or leave evaluation.targets empty."
        )
    place = np.full(len(folds), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    pairs, boxes = (place[images] >= 0 for images in (task.pair_image, task.true_image))
    return replace(
        task,
        dataset=task.dataset.subset(rows),
        images=task.images[rows],
        pair_image=place[task.pair_image[pairs]],
        pair_class=task.pair_class[pairs],
        masks=task.masks[pairs],
        true_image=place[task.true_image[boxes]],
        true_class=task.true_class[boxes],
        true_box=task.true_box[boxes],
    )


def pool(evaluations: Sequence[RunEvaluation], data: EvaluationData) -> RunEvaluation:
    """What the networks of one training gave, one a fold, each image judged by the network of its own fold.

    Args:
        evaluations: one per fold, on `data_of_fold`.
        data: of all folds.
    """
    assert data.folds is not None
    assert data.attacked_folds is not None
    count = len(evaluations)
    of_test = [np.flatnonzero(data.folds == fold) for fold in range(count)]
    of_attacked = [np.flatnonzero(data.attacked_folds == fold) for fold in range(count)]
    first, scores, refused = evaluations[0], {}, {}
    for task in data.tasks:
        folds = fold_of_images(data, task.dataset.ids)
        images = [np.flatnonzero(folds == fold) for fold in range(count)]
        pairs = [np.flatnonzero(folds[task.pair_image] == fold) for fold in range(count)]
        for key in {key: None for one in evaluations for key in (*one.scores, *one.refused) if key[0] == task.name}:
            reasons = [one.refused[key] for one in evaluations if key in one.refused]
            if reasons:
                refused[key] = reasons[0]
            else:
                scores[key] = _pool_scores([one.scores[key] for one in evaluations], pairs, images)
    return RunEvaluation(
        logits=_placed([one.logits for one in evaluations], of_test),
        attacked={k: _placed([one.attacked[k] for one in evaluations], of_attacked) for k in first.attacked},
        broken={k: _placed([one.broken[k] for one in evaluations], of_attacked) for k in first.broken},
        thresholds=np.stack([one.thresholds for one in evaluations]),
        scores=scores,
        refused=refused,
        radii={},
        alarms={},
        training_images={
            part: _pool_seen([one.training_images[part] for one in evaluations]) for part in first.training_images
        },
    )


def _placed(parts: Sequence[npt.NDArray[Scalar]], rows: Sequence[Rows]) -> npt.NDArray[Scalar]:
    """Arrays of the folds as one, each row where its image is."""
    joined = np.concatenate(parts)
    whole = np.empty_like(joined)
    whole[np.concatenate(rows)] = joined
    return whole


def _pool_scores(
    parts: Sequence[ExplanationScores], pairs: Sequence[Rows], images: Sequence[Rows]
) -> ExplanationScores:
    scores = {name: _placed([part.scores[name] for part in parts], pairs) for name in parts[0].scores}
    boxes = [part.boxes for part in parts if part.boxes is not None]
    if len(boxes) < len(parts):
        return ExplanationScores(scores)
    predicted = [part.predicted for part in parts if part.predicted is not None]
    return ExplanationScores(
        scores,
        PredictedBoxes.concatenate(boxes),
        np.concatenate(
            [rows[part.map_image] for part, rows in zip(parts, images, strict=True) if part.map_image is not None]
        ),
        np.concatenate([part.map_class for part in parts if part.map_class is not None]),
        np.concatenate(predicted) if len(predicted) == len(parts) else None,
    )


def _pool_seen(parts: Sequence[SeenImages]) -> SeenImages:
    unknown, other_options = (
        tuple(dict.fromkeys(text for part in parts for text in getattr(part, name)))
        for name in ("unknown", "other_options")
    )
    return SeenImages(
        parts[0].model,
        sum(part.images for part in parts),
        sum(part.trained_on for part in parts),
        sum(part.selected_on for part in parts),
        unknown,
        other_options,
    )
