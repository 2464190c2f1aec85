"""Can a confidence be read as a probability: reliability bins, calibration error without its bias, Brier score."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.metrics.bootstrap import FloatArray, Values, as_array
from pellucid.evaluation.metrics.classification import without_answer
from pellucid.evaluation.metrics.intervals import NO_INTERVAL, Interval
from pellucid.evaluation.metrics.statistics import Replicates, ratio, ratios
from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.evaluation.metrics.bootstrap import Bootstrap

BINS = 15
"""Of a reliability diagram, at most: the number that Roelofs et al. 2022 use."""
LEAST = 5
"""Confidences that a bin holds on average, at least."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidences beside what came true, in bins that hold as many confidences each.

    Attributes:
        confidence: (B,), the mean confidence of each bin.
        outcome: for each bin the share that came true.
        spread: (B, 2), the lowest and the highest confidence of each bin.
        plug_in: ``Σ_b n_b/n · |confidence_b − outcome_b|``, the expected calibration error as it is usually computed:
            biased upwards, the more the fewer images.
        error: the root mean square of the same differences without that bias, never below 0.
        overconfidence: mean confidence less the share that came true; above 0 the model is too sure of itself.
    """

    confidence: FloatArray
    outcome: list[Replicates]
    spread: FloatArray
    plug_in: float
    error: Replicates
    overconfidence: Replicates


def reliability(confidences: Values, outcomes: Values, bootstrap: Bootstrap, *, bins: int = BINS) -> Reliability:
    """How far confidences are from the shares that come true.

    The expected calibration error is ``(Σ_b n_b/n · (confidence_b − outcome_b)²)^½`` over bins of equally many
    confidences. Even a perfectly calibrated model has one above 0, as a bin's outcomes are few: the variance of each
    bin's outcome, ``outcome_b (1 − outcome_b) / (n_b − 1)``, is therefore subtracted from its square (Kumar et al.
    2019, definition 5.2). The interval is the bootstrap's basic one on the square, since resamples are biased upwards
    as well.

    Args:
        confidences: (N,) in [0, 1], or (N, L) of several labels.
        outcomes: of the same shape, 1 where it came true, 0 where not; NaN where unknown.
        bootstrap: over the N images.
        bins: at most so many, with `LEAST` confidences each on average.

    Raises:
        InputError: for shapes that do not fit, or no known outcome with a confidence.

    Source:
        A. Kumar, P. Liang, T. Ma: Verified uncertainty calibration. NeurIPS 2019, arXiv 1909.10155.

    Example:
        >>> from pellucid.evaluation.metrics.statistics import Bootstrap
        >>> found = reliability([0.9] * 10, [1] * 9 + [0], Bootstrap(range(10)))
        >>> found.error.value, round(found.overconfidence.value, 6)
        (0.0, 0.0)
    """
    scores, truth = (np.asarray(as_array(v), dtype=np.float64) for v in (confidences, outcomes))
    if scores.shape != truth.shape or scores.ndim not in (1, 2) or len(scores) != len(bootstrap):
        raise InputError(
            f"confidences and outcomes must both be of {len(bootstrap)} images; found {scores.shape} and {truth.shape}."
        )
    scores, truth = (v.reshape(len(v), -1) for v in (scores, truth))
    is_known = ~np.isnan(scores) & ~np.isnan(truth)
    image, _ = np.nonzero(is_known)
    values, came_true = scores[is_known], truth[is_known]
    if not len(values):
        raise InputError("no image has both a confidence and a known outcome.")
    wished = max(1, min(bins, len(values) // LEAST))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, wished + 1)[1:-1]))
    home = np.searchsorted(edges, values, side="right")
    _, home = np.unique(home, return_inverse=True)  # bins that ties left empty are none
    count = int(home.max()) + 1
    cell = image * count + home
    size, sure, hits = (
        np.bincount(cell, weights, len(bootstrap) * count).reshape(-1, count) for weights in (None, values, came_true)
    )
    whole = [v.sum(0, dtype=np.float64) for v in (size, sure, hits)]
    plain, unbiased = _squared_errors(*whole)
    resampled = _squared_errors(*(bootstrap.sums(np.asarray(v, dtype=np.float64)) for v in (size, sure, hits)))[1]
    # among the resamples the truth is `plain`; what they miss it by is what `unbiased` may be off by
    samples = np.sqrt(np.maximum(0.0, unbiased - (resampled - plain)))
    over = ratio((sure - hits).sum(1), size.sum(1), bootstrap, within=(-1, 1))
    samples = np.where(np.isnan(over.samples), math.nan, samples)
    value = math.sqrt(max(0.0, float(unbiased)))
    return Reliability(
        confidence=sure.sum(0) / size.sum(0),
        outcome=ratios(hits, size, bootstrap, within=(0, 1)),
        spread=np.stack([[values[home == b].min(), values[home == b].max()] for b in range(count)]),
        plug_in=float((whole[0] * np.abs(whole[1] - whole[2]) / whole[0]).sum() / whole[0].sum()),
        error=replace(
            over,
            value=value,
            samples=samples,
            n=len(values),
            interval=_error_interval(samples, over.interval),
        ),
        overconfidence=replace(over, n=len(values)),
    )


def _error_interval(samples: FloatArray, overconfidence: Interval) -> Interval:
    """The percentiles, the upper no lower than what the overconfidence may be: no error is smaller than that."""
    defined = samples[~np.isnan(samples)]
    if not len(defined) or math.isnan(overconfidence.low):
        return NO_INTERVAL
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(float(low), float(max(high, -overconfidence.low, overconfidence.high)))


def _squared_errors(size: FloatArray, sure: FloatArray, hits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean squared calibration error, plain and without its bias, of sums over bins (…, B)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share, gap = hits / size, (sure - hits) / size
        weight = size / size.sum(-1, keepdims=True)
        variance = share * (1 - share) / (size - 1)
    plain = np.where(size > 0, weight * gap**2, 0.0).sum(-1)
    bias = np.where(size > 1, weight * variance, 0.0).sum(-1)
    return plain, plain - bias


def brier_score(probabilities: Values, targets: Values, bootstrap: Bootstrap) -> Replicates:
    """The mean squared distance of probabilities from what came true; 0 is perfect.

    Of exclusive classes ``Σ_k (p_k − y_k)²`` per image, at most 2 (Brier 1950); of several labels ``(p − y)²`` per
    known label, at most 1.

    Args:
        probabilities: (N, K).
        targets: int (N,), the class numbers; or (N, K) of 0, 1 and NaN where unknown.
        bootstrap: over the N images.

    Returns:
        NaN with the reason where an image with a known target has no probabilities.

    Example:
        >>> from pellucid.evaluation.metrics.statistics import Bootstrap
        >>> round(brier_score([[0.8, 0.2], [0.4, 0.6]], [0, 1], Bootstrap("ab")).value, 6)
        0.2
    """
    values, truth = np.asarray(as_array(probabilities), dtype=np.float64), as_array(targets)
    if values.ndim != 2 or len(values) != len(bootstrap) or truth.shape not in (values.shape[:1], values.shape):
        raise InputError(f"probabilities {values.shape} and targets {truth.shape} must be of {len(bootstrap)} images.")
    if truth.ndim == 1:
        right: npt.NDArray[np.float64] = np.take_along_axis(values, truth.astype(np.int64)[:, None], 1)[:, 0]
        per_image, counted = (values**2).sum(1) - 2 * right + 1, np.ones(len(values))
    else:
        squares = np.where(np.isnan(truth), 0.0, (values - np.nan_to_num(truth)) ** 2)
        per_image, counted = squares.sum(1), (~np.isnan(truth)).sum(1).astype(np.float64)
    undefined = without_answer(np.isnan(per_image), np.ones(len(values), dtype=np.bool_), bootstrap)
    within = (0, 2 if truth.ndim == 1 else 1)
    brier = ratio(per_image, counted, bootstrap, reason="no known target", within=within)
    return brier if undefined is None else undefined


def calibration_figures(
    probabilities: FloatArray, targets: npt.NDArray[np.generic], bootstrap: Bootstrap
) -> tuple[Reliability | None, dict[str, Replicates]]:
    """Confidences beside what came true, and the figures that say whether probabilities can be believed.

    Args:
        probabilities: (N, K), NaN without an answer.
        targets: int (N,), the class numbers; or (N, K) of 0, 1 and NaN where unknown.
        bootstrap: over the N images.

    Returns:
        The reliability, None where an image has no answer or no label is known; and `calibration_error`,
        `overconfidence` and `brier`, then undefined with the reason.

    Example:
        >>> from pellucid.evaluation.metrics.statistics import Bootstrap
        >>> answers, truth = np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 1])
        >>> {name: round(one.value, 2) for name, one in calibration_figures(answers, truth, Bootstrap("ab"))[1].items()}
        {'calibration_error': 0.3, 'overconfidence': -0.3, 'brier': 0.2}
    """
    brier = brier_score(probabilities, targets, bootstrap)
    if math.isnan(brier.value):
        return None, dict.fromkeys(("calibration_error", "overconfidence", "brier"), brier)
    calibrated = reliability_of(probabilities, targets, bootstrap)
    figures = {"calibration_error": calibrated.error, "overconfidence": calibrated.overconfidence, "brier": brier}
    return calibrated, figures


def reliability_of(probabilities: FloatArray, targets: npt.NDArray[np.generic], bootstrap: Bootstrap) -> Reliability:
    """Of exclusive classes the probability of the class that is said; of several labels that of every known label.

    Args:
        probabilities: (N, K).
        targets: (N,) class numbers, or (N, K) of several labels.
        bootstrap: over the N images.

    Raises:
        InputError: no known label.
    """
    if targets.ndim == 2:
        return reliability(probabilities, targets, bootstrap)
    return reliability(probabilities.max(1), (probabilities.argmax(1) == targets).astype(np.float64), bootstrap)
