"""Does what is worth something to a class go with its label? A permutation test of all candidates at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.evaluation.metrics.bootstrap import FloatArray

ROUNDING = 1e-9


@dataclass(frozen=True)
class Association:
    """Of T tests: how far the worth differs between a class's positives and negatives, and how likely that is.

    Attributes:
        difference: (T,), mean of the positives less that of the negatives; NaN without either.
        z: (T,), the same in units of its deviation under permutation.
        p: (T,), of the test alone.
        p_corrected: (T,), of all tests together, step by step (Westfall & Young).
    """

    difference: FloatArray
    z: FloatArray
    p: FloatArray
    p_corrected: FloatArray


def mean_differences(worth: FloatArray, labels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean of positives less mean of negatives, and the same over its deviation under permutation of the labels.

    Args:
        worth: (D, T), NaN where an image takes no part.
        labels: (..., D, T) of 0 and 1; NaN where unknown, for the same images in every permutation.

    Returns:
        (..., T) each; NaN without two positives and two negatives, or where all are worth the same.
    """
    is_known = ~np.isnan(worth) & ~np.isnan(labels)
    weights = is_known.astype(np.float64)
    values = np.where(np.isnan(worth), 0.0, worth)
    count = weights.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (weights * values).sum(-2) / count
        centred = weights * (values - mean[..., None, :])
        variance = (centred**2).sum(-2) / (count - 1)
        hits = np.where(is_known, labels, 0.0)
        positives = hits.sum(-2)
        negatives = count - positives
        difference = (hits * centred).sum(-2) * count / (positives * negatives)
        deviation = np.sqrt(variance * count / (positives * negatives))
        z = difference / deviation
    enough = (positives >= 2) & (negatives >= 2) & (deviation > ROUNDING)
    return np.where(enough, difference, np.nan), np.where(enough, z, np.nan)


def permuted(groups: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Orders of D images in which patients change places with patients of as many images: (count, D).

    Args:
        groups: (D,), the number of each image's patient.
        count: of orders.
        seed: of the draws.

    Example:
        >>> permuted(np.array([0, 0, 1, 1]), 2, 0).shape
        (2, 4)
    """
    rng = np.random.default_rng(seed)
    orders = np.tile(np.arange(len(groups)), (count, 1))
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    rows_of = np.argsort(place, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for size in np.unique(sizes):
        patients = np.flatnonzero(sizes == size)
        rows = rows_of[starts[patients][:, None] + np.arange(size)]  # (patients, size)
        draws = rng.permuted(np.tile(np.arange(len(patients)), (count, 1)), axis=1)
        orders[:, rows.ravel()] = rows[draws].reshape(count, -1)
    return orders


def permuted_within(groups: npt.NDArray[np.int64], labels: FloatArray, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Orders of D images in which patients change places with patients of as many images of each label: (count, D).

    Each image takes the place of one with the same label.

    Args:
        groups: (D,), the number of each image's patient.
        labels: (D,), 0 or 1.
        count: of orders.
        seed: of the draws.

    Example:
        >>> labels = np.array([0.0, 1.0, 0.0, 1.0, 0.0])
        >>> orders = permuted_within(np.arange(5), labels, 3, 0)
        >>> bool((labels[orders] == labels).all())
        True
    """
    orders = np.tile(np.arange(len(groups)), (count, 1))
    in_order = np.lexsort((labels, groups))
    _, place = np.unique(groups, return_inverse=True)
    sizes = np.stack([np.bincount(place, labels == value) for value in (0, 1)], 1)
    _, stratum = np.unique(sizes, axis=0, return_inverse=True)
    of_image = stratum.ravel()[place[in_order]]
    for number in np.unique(of_image):
        rows = in_order[of_image == number]
        orders[:, rows] = rows[permuted(groups[rows], count, seed + int(number))]
    return orders


def associations(
    worth: FloatArray,
    labels: FloatArray,
    columns: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    *,
    two_sided: bool = False,
    permutations: int = 2000,
    seed: int = 0,
) -> Association:
    """Test T candidates together: is what they are worth the higher where the class is present?

    Labels change places between patients, all of a patient's together, and the same way for every test, so that what
    the tests have in common is kept; of each permutation the largest z of the tests still in question counts.

    Args:
        worth: (D, T), how much each of D images is worth to the class of the test; NaN where it takes no part.
        labels: (D, K), 0 or 1, NaN where unknown.
        columns: (T,), the class of each test.
        groups: (D,), the number of each image's patient.
        two_sided: ask whether it is another one there, higher or lower.
        permutations: of the labels.
        seed: of the permutations.

    Source:
        P. Westfall, S. Young: Resampling-Based Multiple Testing, 1993, algorithm 2.8 (step-down maxT).
    """
    difference, z = mean_differences(worth, labels[:, columns])
    orders = permuted(groups, permutations, seed)
    drawn_z = np.full((permutations, worth.shape[1]), -np.inf)
    for column in np.unique(columns):
        own = columns == column
        drawn_z[:, own] = np.nan_to_num(permuted_z(worth[:, own], labels[orders, column]), nan=-np.inf)
    size = np.abs(z) if two_sided else z
    if two_sided:
        drawn_z = np.where(np.isinf(drawn_z), drawn_z, np.abs(drawn_z))
    return Association(difference, z, *stepped_down(size, drawn_z))


def permuted_z(worth: FloatArray, labels: FloatArray) -> FloatArray:
    """The z of `mean_differences`, (P, T), of worth (D, T) under P orders of one class's labels (P, D)."""
    part = ~np.isnan(worth)
    values = np.where(part, worth - np.nanmean(np.where(part.any(0), worth, 0.0), axis=0), 0.0)
    is_known = ~np.isnan(labels)
    hits = np.where(is_known, labels, 0.0)
    everywhere = is_known.all()
    labelled = np.ones((1, len(worth))) if everywhere else is_known.astype(np.float64)
    weights = part.astype(np.float64)
    count, total, squares = labelled @ weights, labelled @ values, labelled @ values**2
    positives, sums = hits @ weights, hits @ values
    negatives = count - positives
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        variance = np.maximum(squares - count * mean**2, 0.0) / (count - 1)
        deviation = np.sqrt(variance * count / (positives * negatives))
        z = (sums - positives * mean) * count / (positives * negatives) / deviation
    return np.where((positives >= 2) & (negatives >= 2) & (deviation > ROUNDING), z, np.nan)


def stepped_down(size: FloatArray, by_chance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """P of each of T tests alone, and of all together, from how large each is (T,) and by chance (R, T); NaN of NaN.

    Source:
        P. Westfall, S. Young: Resampling-Based Multiple Testing, 1993, algorithm 2.8 (step-down maxT).
    """
    p, corrected = (np.full(len(size), np.nan) for _ in range(2))
    usable = np.flatnonzero(~np.isnan(size))
    p[usable] = (1 + (by_chance[:, usable] >= size[usable] - ROUNDING).sum(0)) / (len(by_chance) + 1)
    order = usable[np.argsort(-size[usable], kind="stable")]
    largest = np.maximum.accumulate(by_chance[:, order[::-1]], axis=1)[:, ::-1]
    steps = (1 + (largest >= size[order] - ROUNDING).sum(0)) / (len(by_chance) + 1)
    corrected[order] = np.maximum.accumulate(steps) if len(order) else steps
    return p, corrected
