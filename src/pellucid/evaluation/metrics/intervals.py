"""95 % intervals of single figures that hold where there is little: few positives, few errors, images of few patients.

Shares have Clopper and Pearson's. Another interval of a figure θ̂ holds every θ with ``|θ̂ − θ| ≤ t · √(D · V(θ))``: V is
the variance that θ itself would give, so it does not vanish where the sample happens to be perfect, and D how many
times as large the sample's variance over patients is. `docs/decisions/0015-intervals.md` says how they were chosen,
`benchmarks/intervals.py` measures their coverage.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.metrics.bootstrap import FloatArray, chunks
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

MINIMUM = 5
"""Patients that an interval rests on, at least; of an AUROC so many with positives, and so many with negatives."""
TAIL = 0.025
SHARE_PRIOR, AREA_PRIOR = 1.0, 3.0
"""How many errors' worth the variance of a model counts beside the one seen in the sample."""
AREA_DEGREES = 6.0
"""Degrees of freedom of Student's t that the model's variance of an area stands for."""
SAME = 1e-9
"""Values that differ by less, as a share of what they may, are all the same."""
BISECTIONS = 40


class Interval(NamedTuple):
    """The two ends of a figure's 95 % interval; NaN where there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


def too_few_patients(count: int, of: str = "", unit: str = "patient") -> str | None:
    """Why a figure of so few patients, or images, has no interval; None where there are enough.

    Example:
        >>> too_few_patients(2, "positives"), too_few_patients(5)
        ('positives of 2 patients only, and an interval needs 5', None)
        >>> too_few_patients(1, unit="image")
        '1 image only, and an interval needs 5'
    """
    if count >= MINIMUM:
        return None
    return f"{of + ' of ' if of else ''}{number_of(count, f'{unit}(s)')} only, and an interval needs {MINIMUM}"


def ratio_intervals(
    top: FloatArray, bottom: FloatArray, patients: npt.NDArray[np.int64], within: tuple[float, float]
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """The intervals of Σ a / Σ b, column by column, and how many patients each rests on.

    Args:
        top: a, (N, T), without NaN.
        bottom: b, (N, T) or (N, 1), at least 0.
        patients: (N,), the number of each image's patient.
        within: what a / b of an image can be: two numbers give Clopper and Pearson's interval (1934) with the design
            effect of the patients where every image has one or the other, and elsewhere what this or Wilson's (1927)
            at Student's t holds; 0 and infinity give one that is even on the logarithm, all else Student's.

    Returns:
        (T, 2), NaN where the figure is undefined, or rests on one patient, or where all values are the same and may be
        any number; and int64 (T,).
    """
    count = len(patients)
    members = scipy.sparse.csr_array(
        (np.ones(count), (patients, np.arange(count))), shape=(patients.max(initial=0) + 1, count)
    )
    ends = np.full((top.shape[1], 2), math.nan)
    counts = np.zeros(top.shape[1], dtype=np.int64)
    for columns in chunks(top.shape[1], len(top)):
        own = bottom if bottom.shape[1] == 1 else bottom[:, columns]
        ends[columns], counts[columns] = _ratio_intervals(top[:, columns], own, members, within)
    return ends, counts


def _ratio_intervals(
    top: FloatArray, bottom: FloatArray, members: scipy.sparse.csr_array, within: tuple[float, float]
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    low, high = within
    bounded = math.isfinite(low) and math.isfinite(high)
    if bounded:
        top = (top - low * bottom) / (high - low)
    total, of_patient = bottom.sum(0), members @ bottom
    count = np.count_nonzero(of_patient, axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = top.sum(0) / total
        error = top - value * bottom
        by_patient = members @ error
        image, patient = (error**2).sum(0), (by_patient**2).sum(0)
        worth = np.where(patient > 0, patient**2 / (by_patient**4).sum(0), 0.0)  # of how many equal errors it is made
        top_by_patient = members @ top
        whole = ((top_by_patient == 0) | (top_by_patient == of_patient)).all(0)  # the share says how patients vary
        spread = patient * np.where(whole & bounded, 1.0, count / (count - 1))
        t = scipy.special.stdtrit(np.maximum(count - 1, 1), 1 - TAIL)
        same = image <= (SAME**2) * (bottom**2).sum(0) * (1.0 if bounded else value**2 + SAME)
        if bounded:
            alone = total * value * (1 - value)  # Σ of what an image alone would give: a design effect of 1
            crowded = (of_patient**2).sum(0) / (bottom**2).sum(0)  # if the images of a patient were all alike
            effect = (worth * spread + SHARE_PRIOR * crowded * image) / alone / (worth + SHARE_PRIOR)
            ends = exact = clopper_pearson(value, total / effect)
            if not (share := ((top == 0) | (top == bottom)).all(0)).all():
                rough = wilson(value, total / effect, t)
                wider = np.stack([np.minimum(exact[0], rough[0]), np.maximum(exact[1], rough[1])])
                ends = np.where(share, exact, wider)
            # nobody differs: a share of patients that nobody shows up of may still be anything
            unseen = 1 - TAIL ** ((of_patient**2).sum(0) / total**2)
            ends = np.where(same, np.stack([value * (1 - unseen), value + (1 - value) * unseen]), ends)
            ends = low + ends * (high - low)
        else:
            reach = np.array([[-1], [1]]) * t * np.sqrt(spread) / total
            ends = value * np.exp(reach / value) if low == 0 else value + reach
            ends = np.where(same, math.nan, ends)
    ends = np.where((count > 1) & (total != 0), ends, math.nan)
    return ends.T, np.broadcast_to(count, value.shape)


def clopper_pearson(share: npt.ArrayLike, n: npt.ArrayLike) -> FloatArray:
    """Clopper and Pearson's exact interval (1934) of a share of n, (2, …); n need not be whole (Korn & Graubard 1998).

    Example:
        >>> clopper_pearson(59 / 60, 60).round(4).tolist()
        [0.9106, 0.9996]
    """
    value, count = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    right, wrong = value * count, (1 - value) * count
    ends: FloatArray = np.stack(
        [
            np.where(right > 0, scipy.special.betaincinv(right, wrong + 1, TAIL), 0.0),
            np.where(wrong > 0, scipy.special.betaincinv(right + 1, wrong, 1 - TAIL), 1.0),
        ]
    )
    return ends


def wilson(share: npt.ArrayLike, n: npt.ArrayLike, t: npt.ArrayLike) -> FloatArray:
    """Wilson's interval (1927) of a share of n, (2, …): the θ with ``|share − θ| ≤ t · √(θ (1 − θ) / n)``."""
    value, square = np.asarray(share, dtype=np.float64), np.asarray(t, dtype=np.float64) ** 2 / np.asarray(n)
    middle = value + square / 2
    half = np.sqrt(square * (value * (1 - value) + square / 4))
    ends: FloatArray = np.clip(np.stack([middle - half, middle + half]) / (1 + square), 0.0, 1.0)
    return ends


def auroc_interval(
    area: float,
    influence: FloatArray,
    positive: npt.NDArray[np.bool_],
    negative: npt.NDArray[np.bool_],
    patients: npt.NDArray[np.int64],
) -> Interval:
    """The interval of an AUROC: a score interval as Newcombe's (2006), with the variance of Obuchowski (1997).

    Args:
        area: the AUROC.
        influence: (N,), what each image adds to its error; see `auroc_influence`.
        positive: (N,).
        negative: (N,).
        patients: (N,), the number of each image's patient.
    """
    sizes = int(positive.sum()), int(negative.sum())
    crowded = max(_crowding(patients[positive]), _crowding(patients[negative]))

    def variance(at: float) -> float:
        return area_variance(at, *sizes)

    effect, t = _moderated(influence, patients, variance(area), crowded)
    return Interval(*(_reach(area, end, lambda at: t * math.sqrt(effect * variance(at))) for end in (0.0, 1.0)))


def average_precision_interval(
    value: float, influence: FloatArray, positive: npt.NDArray[np.bool_], patients: npt.NDArray[np.int64]
) -> Interval:
    """The interval of an average precision, a mean over the positives: Wilson's, with the variance over patients."""
    count = int(positive.sum())
    effect, t = _moderated(influence, patients, value * (1 - value) / count, _crowding(patients[positive]))
    low, high = wilson(value, count / effect, t)
    return Interval(float(low), float(high))


def area_variance(area: float, positives: int, negatives: int) -> float:
    """The variance of an AUROC under Hanley and McNeil's (1982) exponential model, or its mirror image where larger.

    Example:
        >>> round(area_variance(0.9, 50, 50) ** 0.5, 4)
        0.0321
    """
    square = area * area
    one, other = sorted((area / (2 - area) - square, 2 * square / (1 + area) - square))  # of pairs that share an image
    few, many = sorted((positives, negatives))
    return (area * (1 - area) + (few - 1) * one + (many - 1) * other) / (positives * negatives)


def auroc_influence(
    scores: FloatArray, positive: npt.NDArray[np.bool_], negative: npt.NDArray[np.bool_]
) -> tuple[float, FloatArray]:
    """The AUROC, and what each image (N,) adds to its error: DeLong's placements (1988), by ranks (Sun & Xu 2014).

    The sum over patients, squared and added up, is Obuchowski's variance for images that come in patients.
    """
    higher, lower = placements(scores[positive], scores[negative])
    area = float(higher.mean())
    influence = np.zeros(len(scores))
    influence[positive], influence[negative] = (higher - area) / len(higher), (lower - area) / len(lower)
    return area, influence


def placements(positive: FloatArray, negative: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each score (…, P) of a positive the share of negatives below it, and for each of a negative (…, M) above."""
    p, m = positive.shape[-1], negative.shape[-1]
    ranks, among, others = (
        np.apply_along_axis(_midranks, -1, values)
        for values in (np.concatenate([positive, negative], axis=-1), positive, negative)
    )
    return (ranks[..., :p] - among) / m, 1 - (ranks[..., p:] - others) / p


def _midranks(values: FloatArray) -> FloatArray:
    """The rank of each value (N,), from 1; ties share their mean rank.

    As `scipy.stats.rankdata`, without `scipy.stats`: it takes a second to load, and every command would wait for it.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])


def average_precision_influence(
    scores: FloatArray, positive: npt.NDArray[np.bool_], negative: npt.NDArray[np.bool_]
) -> tuple[float, FloatArray]:
    """The average precision, and its derivative by each image's weight (N,)."""
    rows = np.flatnonzero(positive | negative)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    ranked, is_hit = scores[rows], positive[rows].astype(np.float64)
    last = np.append(ranked[1:] != ranked[:-1], True)
    step = np.cumsum(np.append(False, last[:-1]))  # images of one score are one step
    count = np.flatnonzero(last) + 1.0
    precision, hits = np.cumsum(is_hit)[last] / count, np.bincount(step, is_hit)
    total = is_hit.sum()
    value = float((hits * precision).sum() / total)
    gain, loss = (np.cumsum((hits * share / count)[::-1])[::-1] for share in (1 - precision, precision))
    influence = np.zeros(len(scores))
    influence[rows] = np.where(is_hit == 1, precision[step] - value + gain[step], -loss[step]) / total
    return value, influence


def _moderated(
    influence: FloatArray, patients: npt.NDArray[np.int64], model: float, crowded: float
) -> tuple[float, float]:
    """How many times the model's variance the figure has, and the quantile to take it by.

    The variance seen over patients, of so few positives itself a guess, is drawn towards the model's as `AREA_PRIOR`
    further errors would draw it, and Student's t has degrees of freedom of both (as Smyth 2004 for genes).
    """
    by_patient = np.bincount(patients, influence)
    spread, fourth = float((by_patient**2).sum()), float((by_patient**4).sum())
    count = len(np.unique(patients))
    worth = spread**2 / fourth if fourth > 0 and model > 0 else 0.0
    ratio = spread * count / (count - 1) / model if worth and count > 1 else 0.0
    effect = (worth * ratio + AREA_PRIOR * crowded) / (worth + AREA_PRIOR)
    return effect, float(scipy.special.stdtrit(worth + AREA_DEGREES, 1 - TAIL))


def _crowding(patients: npt.NDArray[np.int64]) -> float:
    """How many times as large the variance would be if all images of a patient were alike."""
    _, sizes = np.unique(patients, return_counts=True)
    return float((sizes**2).sum() / sizes.sum())


def _reach(value: float, end: float, width: Callable[[float], float]) -> float:
    """The point farthest from `value` towards `end` that is no farther away than the width there."""
    if abs(end - value) <= width(end):
        return end
    outside, inside = end, value
    for _ in range(BISECTIONS):
        middle = (outside + inside) / 2
        if abs(middle - value) <= width(middle):
            inside = middle
        else:
            outside = middle
    return inside
