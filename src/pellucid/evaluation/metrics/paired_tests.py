"""Two models on the same images: DeLong's test for AUROC, McNemar's for accuracy, and Holm's correction for several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest, norm, rankdata

from pellucid.evaluation.metrics.bootstrap import FloatArray, Values, as_array
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


ROUNDING = 1e-12  # what sums of ranks leave


@dataclass(frozen=True)
class PairedTest:
    """How much better one model is than another on the same images, and how likely that is by chance alone.

    Attributes:
        difference: the first less the second; NaN where it is undefined.
        p: two-sided p value; NaN where it is undefined.
        n: images.
        reason: why something is undefined.
    """

    difference: float
    p: float
    n: int
    reason: str | None = None


def delong(first: Values, second: Values, targets: Values) -> PairedTest:
    """DeLong's test of two AUROCs of one class on the same images, by its placements (ties count half).

    It takes images as independent: where patients have several, read the bootstrap's interval.

    Args:
        first: (N,) scores of one model, higher means more likely positive.
        second: (N,) scores of the other.
        targets: (N,) of 0 and 1; NaN where unknown, which takes no part.

    Raises:
        InputError: for shapes that do not fit.

    Source:
        E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44, 1988; X. Sun, W. Xu, IEEE Signal Processing Letters 21,
        2014, for the ranks.

    Example:
        >>> test = delong([0.1, 0.4, 0.35, 0.8], [0.8, 0.4, 0.35, 0.1], [0, 0, 1, 1])
        >>> test.difference
        0.75
    """
    truth = np.asarray(as_array(targets), dtype=np.float64)
    scores = np.stack([np.asarray(as_array(s), dtype=np.float64) for s in (first, second)])
    if scores.shape != (2, len(truth)):
        raise InputError(f"scores and targets must be of the same images; found {scores.shape} and {truth.shape}.")
    positive, negative = scores[:, truth == 1], scores[:, truth == 0]
    n = positive.shape[1] + negative.shape[1]
    if min(positive.shape[1], negative.shape[1]) < 2 or not np.isfinite(scores[:, ~np.isnan(truth)]).all():
        return PairedTest(math.nan, math.nan, n, "fewer than two positives or negatives, or scores that are no numbers")
    above, below = _placements(positive, negative)
    areas = above.mean(1)
    covariance = np.cov(above) / positive.shape[1] + np.cov(below) / negative.shape[1]
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = float(areas[0] - areas[1])
    if variance <= ROUNDING:
        if abs(difference) <= ROUNDING:
            return PairedTest(0.0, 1.0, n, "both rank all images alike")
        return PairedTest(difference, math.nan, n, "no image's place differs from another's, so there is no spread")
    return PairedTest(difference, float(2 * norm.sf(abs(difference) / math.sqrt(variance))), n)


def mcnemar(first: Values, second: Values) -> PairedTest:
    """McNemar's exact test of two accuracies on the same decisions.

    It takes decisions as independent: where patients have several images, or images several labels, read the
    bootstrap's interval too.

    Args:
        first: (N,), whether one model is right; NaN where unknown.
        second: (N,), whether the other is.

    Example:
        >>> test = mcnemar([1, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1])
        >>> round(test.difference, 3), test.p
        (0.625, 0.125)
    """
    right = np.stack([np.asarray(as_array(r), dtype=np.float64).ravel() for r in (first, second)])
    right = right[:, ~np.isnan(right).any(0)]
    n = right.shape[1]
    if n == 0:
        return PairedTest(math.nan, math.nan, 0, "no decision is known")
    better, worse = (int((right[a] > right[b]).sum()) for a, b in ((0, 1), (1, 0)))
    p = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return PairedTest((better - worse) / n, p, n)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for how many there are, after Holm (1979); NaN stays and counts for nothing.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(values), np.nan)
    order = [i for i in np.argsort(values, kind="stable") if not np.isnan(values[i])]
    steps = [min(1.0, (len(order) - rank) * values[i]) for rank, i in enumerate(order)]
    corrected[order] = np.maximum.accumulate(steps) if steps else []
    return [float(p) for p in corrected]


def _placements(positive: FloatArray, negative: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each score (2, P) of a positive the share of negatives below it, and for each of a negative (2, M) above."""
    p, m = positive.shape[1], negative.shape[1]
    ranks = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    above = (ranks[:, :p] - rankdata(positive, axis=1)) / m
    below = 1 - (ranks[:, p:] - rankdata(negative, axis=1)) / p
    return above, below
