"""Does what is worth something to a class go with its label? A permutation test of all candidates at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.metrics.bootstrap import chunks

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
        labels: (D, T), 0 or 1, NaN where unknown.
        groups: (D,), the number of each image's patient.
        two_sided: ask whether it is another one there, higher or lower.
        permutations: of the labels.
        seed: of the permutations.

    Source:
        P. Westfall, S. Young: Resampling-Based Multiple Testing, 1993, algorithm 2.8 (step-down maxT).
    """
    difference, z = mean_differences(worth, labels)
    orders = permuted(groups, permutations, seed)
    drawn_z = np.full((permutations, worth.shape[1]), -np.inf)
    for part in chunks(permutations, worth.size):
        drawn_z[part] = np.nan_to_num(mean_differences(worth, labels[orders[part]])[1], nan=-np.inf)
    size = np.abs(z) if two_sided else z
    if two_sided:
        drawn_z = np.where(np.isinf(drawn_z), drawn_z, np.abs(drawn_z))
    usable = np.flatnonzero(~np.isnan(z))
    p, corrected = (np.full(len(z), np.nan) for _ in range(2))
    p[usable] = (1 + (drawn_z[:, usable] >= size[usable]).sum(0)) / (permutations + 1)
    order = usable[np.argsort(-size[usable], kind="stable")]
    largest = np.maximum.accumulate(drawn_z[:, order[::-1]], axis=1)[:, ::-1]
    steps = (1 + (largest >= size[order]).sum(0)) / (permutations + 1)
    corrected[order] = np.maximum.accumulate(steps) if len(order) else steps
    return Association(difference, z, p, corrected)
