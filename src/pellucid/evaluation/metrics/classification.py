"""Does the classifier tell the classes apart: AUROC, average precision, accuracy, Youden's thresholds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.metrics.bootstrap import FloatArray, Values, as_array, chunks
from pellucid.evaluation.metrics.intervals import (
    auroc_influence,
    auroc_interval,
    average_precision_influence,
    average_precision_interval,
    too_few_patients,
)
from pellucid.evaluation.metrics.statistics import Replicates, mean_over_images, ratios
from pellucid.models.inference import decisions, unanswered
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.types import Task

NO_ANSWER = "no answer"
"""What a figure is undefined for, in its reason, where a network gives none on some of the images."""


def auroc(scores: Values, targets: Values, bootstrap: Bootstrap) -> Replicates:
    """The area under the ROC curve of one class; ties count half.

    Args:
        scores: (N,), higher means more likely positive; logits do as well as probabilities.
        targets: (N,) of 0 and 1; NaN where unknown, which takes no part.
        bootstrap: over the N images.

    Returns:
        NaN with the reason where there are no positives, no negatives, or scores that are NaN or infinite.

    Raises:
        InputError: for other targets than 0, 1 and NaN, or shapes that do not fit.

    Example:
        >>> from pellucid.evaluation.metrics.statistics import Bootstrap
        >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], Bootstrap(range(4))).value
        0.75
    """
    return _areas(scores, targets, bootstrap)[0]


def average_precision(scores: Values, targets: Values, bootstrap: Bootstrap) -> Replicates:
    """The average precision of one class, Σ (Rᵢ − Rᵢ₋₁) · Pᵢ over the distinct scores, as scikit-learn's.

    Chance is the class's prevalence. Arguments and errors are those of `auroc`; unlike scikit-learn's it is
    undefined without negatives, where it would be 1 whatever the scores.

    Example:
        >>> from pellucid.evaluation.metrics.statistics import Bootstrap
        >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], Bootstrap(range(4))).value, 4)
        0.8333
    """
    return _areas(scores, targets, bootstrap)[1]


def accuracy(predictions: Values, targets: Values, bootstrap: Bootstrap) -> Replicates:
    """The share of images whose predicted class (N,) is the target (N,); NaN targets take no part.

    Undefined where a prediction is NaN (no answer, see `models.inference.decisions`) and the target is known: neither
    right nor wrong, and the share of the others would be the figure of an easier set.
    """
    predicted, truth = (np.asarray(as_array(v), dtype=np.float64) for v in (predictions, targets))
    _check_length(bootstrap, predicted, truth)
    if (undefined := without_answer(np.isnan(predicted), ~np.isnan(truth), bootstrap)) is not None:
        return undefined
    right = np.where(np.isnan(truth), math.nan, predicted == truth)
    return mean_over_images(right, bootstrap, reason="no known target", within=(0, 1))


def balanced_accuracy(predictions: Values, targets: Values, bootstrap: Bootstrap) -> Replicates:
    """The mean, over the classes that occur, of the share of a class's images that are predicted as it.

    Undefined as `accuracy` is.
    """
    predicted, truth = (np.asarray(as_array(v), dtype=np.float64) for v in (predictions, targets))
    _check_length(bootstrap, predicted, truth)
    classes = np.unique(truth[~np.isnan(truth)])
    if not classes.size or np.isnan(predicted[~np.isnan(truth)]).any():
        return accuracy(predicted, truth, bootstrap)
    recalls = _recalls(predicted, truth, classes, bootstrap)
    is_known = ~np.isnan(truth)
    mean = Replicates.mean(recalls, n=int(is_known.sum()), of="classes")
    return replace(mean, patients=len(np.unique(bootstrap.patients[is_known])))  # not the most of one class


def without_answer(
    missing: npt.NDArray[np.bool_], is_known: npt.NDArray[np.bool_], bootstrap: Bootstrap
) -> Replicates | None:
    """The undefined figure of a network that gives no answer on some of the images (N,) whose truth is known.

    Example:
        >>> from pellucid.evaluation.metrics.statistics import Bootstrap
        >>> without_answer(np.array([True, False]), np.array([True, True]), Bootstrap(range(2))).reason
        'no answer (NaN or infinite) on 1 of 2 images'
    """
    count, n = int((missing & is_known).sum()), int(is_known.sum())
    if count == 0:
        return None
    return Replicates.undefined(f"{NO_ANSWER} (NaN or infinite) on {count} of {n} images", n, bootstrap)


def youden_thresholds(probabilities: Values, targets: Values) -> FloatArray:
    """The threshold of each class that maximises Youden's J, the true less the false positive rate.

    A class counts as predicted where ``probability >= threshold``; every distinct probability is a candidate,
    and of equally good ones the highest is taken.

    Args:
        probabilities: (N, K).
        targets: (N, K) of 0, 1 and NaN (unknown), or (N,) class numbers of a multiclass task.

    Returns:
        (K,), NaN for a class without known positives or negatives: no threshold, so it is never predicted.

    Source:
        W. J. Youden: Index for rating diagnostic tests. Cancer 3, 1950.

    Example:
        >>> youden_thresholds([[0.1], [0.4], [0.35], [0.8]], [[0], [0], [1], [1]])
        array([0.8])
    """
    scores = np.asarray(as_array(probabilities), dtype=np.float64)
    truth = _columns(as_array(targets), scores)
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked, sorted_truth = np.take_along_axis(scores, order, 0), np.take_along_axis(truth, order, 0)
    hits, misses = np.cumsum(sorted_truth == 1, axis=0), np.cumsum(sorted_truth == 0, axis=0)
    index = hits * misses[-1] - misses * hits[-1]  # J times both counts: whole numbers, so ties are ties
    last_of_ties = np.ones_like(ranked, dtype=bool)
    last_of_ties[:-1] = ranked[:-1] != ranked[1:]
    best = np.argmax(np.where(last_of_ties, index, np.iinfo(np.int64).min), axis=0)
    thresholds = ranked[best, np.arange(ranked.shape[1])]
    undefined = (hits[-1] == 0) | (misses[-1] == 0) | np.isnan(scores).any(0)
    return np.where(undefined, math.nan, thresholds)


def classification_table(
    logits: Values,
    targets: Values,
    classes: Sequence[str],
    task: Task,
    bootstrap: Bootstrap,
    folds: npt.NDArray[np.integer] | None = None,
) -> dict[str, dict[str, Replicates]]:
    """How well every class is told from the others.

    Args:
        logits: (N, K).
        targets: (N, K) of 0, 1 and NaN for `multilabel`; (N,) class numbers for `multiclass`.
        classes: the K names.
        task: `multilabel` ranks the images by a class's logit, `multiclass` by its softmax probability.
        bootstrap: over the N images.
        folds: (N,), where the images of each fold were judged by a network of its own. Areas, which rank images, are
            then means over the folds: logits of different networks are on different scales.

    Returns:
        By class: `auroc`, `average_precision`, and `prevalence`, the average precision of chance; for
        `multiclass` also `recall`. Under `mean` their means over the classes where they are defined; for
        `multiclass` also `accuracy` and `balanced_accuracy`.

    Raises:
        InputError: if the shapes do not fit.

    Example:
        >>> from pellucid.evaluation.metrics.bootstrap import Bootstrap
        >>> logits, targets = [[2.0, 0.0], [0.0, 1.0], [1.5, 1.0], [0.2, 0.1]], [0, 1, 1, 0]
        >>> table = classification_table(logits, targets, ["cat", "dog"], "multiclass", Bootstrap(range(4)))
        >>> table["mean"]["accuracy"].value, table["dog"]["recall"].value
        (0.75, 0.5)
    """
    scores = np.asarray(as_array(logits), dtype=np.float64)
    if scores.ndim != 2 or scores.shape != (len(bootstrap), len(classes)):
        raise InputError(f"logits must be ({len(bootstrap)}, {len(classes)}), images by classes; found {scores.shape}.")
    labels = as_array(targets)
    truth = _columns(labels, scores)
    predicted, missing = decisions(scores, task), unanswered(scores)
    scores = np.where(missing[:, None], math.nan, scores)
    if task == "multiclass":
        raised = np.exp(scores - scores.max(1, keepdims=True))
        scores = raised / raised.sum(1, keepdims=True)
    is_known = (~np.isnan(truth)).astype(np.float64)
    prevalence = ratios(np.nan_to_num(truth), is_known, bootstrap, reason="no known target", within=(0, 1))
    table: dict[str, dict[str, Replicates]] = {}
    for k, name in enumerate(classes):
        area, precision = _areas_of_folds(scores[:, k], truth[:, k], bootstrap, folds)
        table[name] = {"auroc": area, "average_precision": precision, "prevalence": prevalence[k]}
    if task == "multiclass":
        undefined = without_answer(missing, np.ones(len(missing), dtype=bool), bootstrap)
        recalls = _recalls(predicted, labels, np.arange(len(classes)), bootstrap)
        for name, recall in zip(classes, recalls, strict=True):
            table[name]["recall"] = recall if undefined is None else undefined
    metrics = list(table[classes[0]])
    mean = {metric: Replicates.mean([table[name][metric] for name in classes], of="classes") for metric in metrics}
    if task == "multiclass":
        mean["accuracy"] = accuracy(predicted, labels, bootstrap)
        mean["balanced_accuracy"] = balanced_accuracy(predicted, labels, bootstrap)
    return {**table, "mean": mean}


def _areas(scores: Values, targets: Values, bootstrap: Bootstrap) -> tuple[Replicates, Replicates]:
    """AUROC and average precision of one class, which share their sorting."""
    values, truth = (np.asarray(as_array(v), dtype=np.float64) for v in (scores, targets))
    _check_length(bootstrap, values, truth)
    if not np.isin(truth[~np.isnan(truth)], (0, 1)).all():
        raise InputError("targets of a class must be 0, 1, or NaN where unknown.")
    positive, negative = truth == 1, truth == 0
    n = int(positive.sum() + negative.sum())
    lacking = [word for word, there in (("positives", positive), ("negatives", negative)) if not there.any()]
    reason = f"no {' and no '.join(lacking)}" if lacking else None
    nameless = without_answer(~np.isfinite(values), positive | negative, bootstrap)
    if reason is None and nameless is not None:
        return nameless, nameless
    if reason is not None:
        undefined = Replicates.undefined(reason, n, bootstrap)
        return undefined, undefined
    area, of_area = auroc_influence(values, positive, negative)
    precision, of_precision = average_precision_influence(values, positive, negative)
    patients = bootstrap.patients
    intervals = (
        auroc_interval(area, of_area, positive, negative, patients),
        average_precision_interval(precision, of_precision, positive, patients),
    )
    shown_by, absent_from = (len(np.unique(patients[rows])) for rows in (positive, negative))
    few = too_few_patients(shown_by, "positives", bootstrap.unit)
    few = few or too_few_patients(absent_from, "negatives", bootstrap.unit)
    resampled = weighted_areas(values, positive, negative, bootstrap.weights)
    if min(shown_by, absent_from) < 2:  # a patient alone does not vary
        resampled = (np.full_like(resampled[0], math.nan),) * 2
    counts = {"positives": int(positive.sum()), "patients": len(np.unique(patients[positive | negative]))}
    first, second = (
        Replicates(value, samples, n, None, bootstrap.key, interval, few, **counts)
        for value, samples, interval in zip((area, precision), resampled, intervals, strict=True)
    )
    return first, second


def _areas_of_folds(
    scores: FloatArray, truth: FloatArray, bootstrap: Bootstrap, folds: npt.NDArray[np.integer] | None
) -> tuple[Replicates, Replicates]:
    """`_areas`, or their means over the folds where they are defined."""
    if folds is None:
        return _areas(scores, truth, bootstrap)
    rows_of = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    parts = [_areas(scores[rows], truth[rows], bootstrap.take(rows)) for rows in rows_of]
    positives, is_known = truth == 1, ~np.isnan(truth)
    n, patients = int(is_known.sum()), len(np.unique(bootstrap.patients[is_known]))
    means = [Replicates.mean(areas, n=n, of="folds") for areas in zip(*parts, strict=True)]
    first, second = (replace(m, positives=int(positives.sum()) or None, patients=patients) for m in means)
    return first, second


def weighted_areas(
    scores: FloatArray,
    positive: npt.NDArray[np.bool_],
    negative: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float32],
) -> tuple[FloatArray, FloatArray]:
    """AUROC and average precision under each row of `weights` (B, N), with one sort for all: two (B,).

    NaN where a row gives all its positives, or all its negatives, the weight 0.
    """
    order = np.argsort(-scores, kind="stable")
    above, below = order[positive[order]], order[negative[order]]
    falling = -scores[above]
    # For each positive: how many positives and negatives score at least as high; negatives strictly higher.
    rank = np.searchsorted(falling, falling, side="right")
    tied = np.searchsorted(-scores[below], falling, side="right")
    beaten = np.searchsorted(-scores[below], falling, side="left")
    area, precision = np.empty((2, len(weights)))
    for rows in chunks(len(weights), len(scores)):
        draw_weights = weights[rows]
        weight = draw_weights[:, above].astype(np.float64)
        positives, negatives = _from_zero(weight), _from_zero(draw_weights[:, below])
        every, others = positives[:, -1], negatives[:, -1]
        false_alarms, hits = negatives[:, tied], positives[:, rank]
        with np.errstate(invalid="ignore", divide="ignore"):
            won = others[:, None] - (false_alarms + negatives[:, beaten]) / 2
            area[rows] = (weight * won).sum(1) / (every * others)
            share = np.where(weight > 0, hits / (hits + false_alarms), 0.0)
            precision[rows] = np.where(others > 0, (weight * share).sum(1) / every, math.nan)
    return area, precision


def _from_zero(weights: npt.NDArray[np.floating]) -> FloatArray:
    """Cumulative sums along the rows, with a leading 0."""
    out = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, dtype=np.float64, out=out[:, 1:])
    return out


def _recalls(
    predicted: npt.NDArray[np.generic],
    truth: npt.NDArray[np.generic],
    values: npt.NDArray[np.generic],
    bootstrap: Bootstrap,
) -> list[Replicates]:
    members = truth[:, None] == values[None, :]
    hits = members & (predicted[:, None] == values[None, :])
    return ratios(hits, members, bootstrap, reason="no image of the class", within=(0, 1))


def _columns(targets: npt.NDArray[np.generic], scores: FloatArray) -> FloatArray:
    """Targets as float (N, K): class numbers become one-hot."""
    if scores.ndim != 2:
        raise InputError(f"scores must be (N, K), images by classes; found shape {scores.shape}.")
    if targets.ndim == 1 and len(targets) == len(scores):
        return np.asarray(targets[:, None] == np.arange(scores.shape[1]), dtype=np.float64)
    if targets.shape != scores.shape:
        raise InputError(f"targets of shape {targets.shape} do not fit scores of shape {scores.shape}.")
    return np.asarray(targets, dtype=np.float64)


def _check_length(bootstrap: Bootstrap, *arrays: npt.NDArray[np.generic]) -> None:
    if any(a.shape != (len(bootstrap),) for a in arrays):
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise InputError(f"expected one number for each of {len(bootstrap)} images; found shapes {shapes}.")
