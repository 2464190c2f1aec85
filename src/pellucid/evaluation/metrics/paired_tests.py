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
    first: Values, second: Values, targets: Values, patients: npt.NDArray[np.integer] | None = None
) -> PairedTest:
    """DeLong's test of the AUROCs of one class of two networks on the same images (ties count half).

    Of several networks on a side the mean of their AUROCs is tested, these networks held fixed.

    Args:
        first: (N,) scores of one network, or (S, N) of S; higher means more likely positive.
        second: (N,) scores of the other, or (T, N).
        targets: (N,) of 0 and 1; NaN where unknown, which takes no part.
        patients: (N,), whose images are whose, where patients have several; each image is one's own by default.

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
    if any(side.ndim != 2 or side.shape[1] != len(truth) for side in sides) or owners.shape != truth.shape:
        shapes = ", ".join(str(x.shape) for x in (*sides, truth, owners))
        raise InputError(f"scores, targets and patients must be of the same images; found {shapes}.")
    scores = np.concatenate(sides)
    contrast = np.repeat([1 / len(sides[0]), -1 / len(sides[1])], [len(side) for side in sides])
    positive, negative = truth == 1, truth == 0
    n = int(positive.sum() + negative.sum())
    few = min(len(np.unique(owners[rows])) for rows in (positive, negative))
    if few < 2 or not np.isfinite(scores[:, ~np.isnan(truth)]).all():
        return PairedTest(
            math.nan, math.nan, n, "positives or negatives of fewer than two patients, or scores that are no numbers"
        )
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
    if variance <= ROUNDING:
        if abs(difference) <= ROUNDING:
            return PairedTest(0.0, 1.0, n, "both rank all images alike")
        return PairedTest(difference, math.nan, n, "no image's place differs from another's, so there is no spread")
    return PairedTest(difference, float(2 * scipy.special.ndtr(-abs(difference) / math.sqrt(variance))), n)


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
    p = float(scipy.stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
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


def _by_patient(values: FloatArray, owners: npt.NDArray[np.integer]) -> dict[int, float]:
    """The sum of each patient's values."""
    names, place = np.unique(owners, return_inverse=True)
    return dict(zip(names.tolist(), np.bincount(place, values).tolist(), strict=True))
