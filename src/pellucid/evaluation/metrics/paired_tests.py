"""Two models on the same images: DeLong's test for AUROC, McNemar's for accuracy, and Holm's correction for several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.metrics.bootstrap import FloatArray, Values, as_array
from pellucid.evaluation.metrics.intervals import placements
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


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


def delong(
    first: Values,
    second: Values,
    targets: Values,
    patients: npt.NDArray[np.integer] | None = None,
    folds: npt.NDArray[np.integer] | None = None,
) -> PairedTest:
    """DeLong's test of the AUROCs of one class of two networks on the same images (ties count half).

    Of several networks on a side the mean of their AUROCs is tested, these networks held fixed. Of cross-validation it
    is the mean over the folds, as in `classification_table`: a fold's patients are in no other, so variances add up.

    Args:
        first: (N,) scores of one network, or (S, N) of S; higher means more likely positive.
        second: (N,) scores of the other, or (T, N).
        targets: (N,) of 0 and 1; NaN where unknown, which takes no part.
        patients: (N,), whose images are whose, where patients have several; each image is one's own by default.
        folds: (N,), where the images of each fold were judged by networks of their own; a fold without positives or
            negatives takes no part.

    Raises:
        InputError: for shapes that do not fit.

    Source:
        E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44, 1988; X. Sun, W. Xu, IEEE Signal Processing Letters 21,
        2014, for the ranks; N. Obuchowski, Biometrics 53, 1997, for several images of a patient.

    Example:
        >>> test = delong([0.1, 0.4, 0.35, 0.8], [0.8, 0.4, 0.35, 0.1], [0, 0, 1, 1])
        >>> test.difference
        0.75
    """
    truth = np.asarray(as_array(targets), dtype=np.float64)
    sides = [np.atleast_2d(np.asarray(as_array(s), dtype=np.float64)) for s in (first, second)]
    owners = np.arange(len(truth)) if patients is None else np.asarray(patients)
    parts = np.zeros(len(truth), dtype=np.int64) if folds is None else np.asarray(folds)
    if any(side.ndim != 2 or side.shape[1] != len(truth) for side in sides) or not (
        owners.shape == parts.shape == truth.shape
    ):
        shapes = ", ".join(str(x.shape) for x in (*sides, truth, owners, parts))
        raise InputError(f"scores, targets, patients and folds must be of the same images; found {shapes}.")
    contrast = np.repeat([1 / len(sides[0]), -1 / len(sides[1])], [len(side) for side in sides])
    n = int((~np.isnan(truth)).sum())
    rows_of = [np.flatnonzero(parts == part) for part in np.unique(parts)]
    if sum(len(np.unique(owners[rows])) for rows in rows_of) > len(np.unique(owners)):
        return PairedTest(math.nan, math.nan, n, "some patients are in several folds")
    if folds is not None:  # the mean area is over those where there is one
        rows_of = [rows for rows in rows_of if {0.0, 1.0} <= set(truth[rows])]
    scores = np.concatenate(sides)
    tests = [_difference(contrast, scores[:, rows], truth[rows], owners[rows]) for rows in rows_of]
    if not tests or None in tests:
        return PairedTest(
            math.nan, math.nan, n, "positives or negatives of fewer than two patients, or scores that are no numbers"
        )
    difference, variance = (sum(values) for values in zip(*(pair for pair in tests if pair), strict=True))
    difference, variance = difference / len(tests), variance / len(tests) ** 2
    if variance <= ROUNDING:
        if abs(difference) <= ROUNDING:
            return PairedTest(0.0, 1.0, n, "both rank all images alike")
        return PairedTest(difference, math.nan, n, "no image's place differs from another's, so there is no spread")
    return PairedTest(difference, float(2 * scipy.special.ndtr(-abs(difference) / math.sqrt(variance))), n)


def _difference(
    contrast: FloatArray, scores: FloatArray, truth: FloatArray, owners: npt.NDArray[np.integer]
) -> tuple[float, float] | None:
    """How much larger the first side's area is, and the variance of that; None where it cannot be said."""
    positive, negative = truth == 1, truth == 0
    few = min(len(np.unique(owners[rows])) for rows in (positive, negative))
    if few < 2 or not np.isfinite(scores[:, ~np.isnan(truth)]).all():
        return None
    above, below = (contrast @ part for part in placements(scores[:, positive], scores[:, negative]))
    difference = float(above.mean())
    parts = _by_patient(above - difference, owners[positive]), _by_patient(below - difference, owners[negative])
    (p, m), counts = (len(above), len(below)), [len(part) for part in parts]
    variance = sum(
        k / (k - 1) * sum(v**2 for v in part.values()) / size**2
        for part, k, size in zip(parts, counts, (p, m), strict=True)
    )
    both = parts[0].keys() & parts[1].keys()  # patients with images of both kinds
    every = len(parts[0].keys() | parts[1].keys())
    variance += 2 * every / (every - 1) * sum(parts[0][owner] * parts[1][owner] for owner in both) / (p * m)
    return difference, variance


def mcnemar(first: Values, second: Values, patients: npt.NDArray[np.integer] | None = None) -> PairedTest:
    """McNemar's exact test of two accuracies on the same decisions; those of a patient count together.

    Were both models as good, each patient's difference could as well have been turned round: p is the share of all
    ways to turn the patients that lead as far from 0. With one decision for each patient that is McNemar's test.

    Args:
        first: (N,), whether one model is right, or (N, K) of several labels; NaN where unknown.
        second: the same of the other.
        patients: (N,), whose images are whose; each image is one's own by default.

    Example:
        >>> test = mcnemar([1, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1])
        >>> round(test.difference, 3), round(test.p, 3)
        (0.625, 0.125)
    """
    one, other = (np.asarray(as_array(r), dtype=np.float64) for r in (first, second))
    change = one - other
    n = int((~np.isnan(change)).sum())
    if n == 0:
        return PairedTest(math.nan, math.nan, 0, "no decision is known")
    of_image = np.nansum(change.reshape(len(change), -1), axis=1)
    owners = np.arange(len(change)) if patients is None else np.unique(patients, return_inverse=True)[1]
    by_patient = np.bincount(owners, of_image)
    return PairedTest(float(of_image.sum() / n), _turned(by_patient.round().astype(np.int64)), n)


def _turned(sums: npt.NDArray[np.int64]) -> float:
    """The share of all ways to give each of the numbers a sign whose sum is as far from 0 as theirs, or farther."""
    distribution = np.ones(1)
    for size, count in zip(*np.unique(np.abs(sums[sums != 0]), return_counts=True), strict=True):
        of_size = np.zeros(2 * size * count + 1)
        of_size[:: 2 * size] = scipy.stats.binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = np.convolve(distribution, of_size)
    reach = len(distribution) // 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(sums.sum()))
    return min(1.0, float(distribution[far].sum()))


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


def _by_patient(values: FloatArray, owners: npt.NDArray[np.integer]) -> dict[int, float]:
    """The sum of each patient's values."""
    names, place = np.unique(owners, return_inverse=True)
    return dict(zip(names.tolist(), np.bincount(place, values).tolist(), strict=True))
