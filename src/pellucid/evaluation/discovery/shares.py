"""The part of the distance between a class's positives and negatives that goes through a suspect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.metrics.statistics import Estimate

if TYPE_CHECKING:
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.evaluation.metrics.statistics import Bootstrap


def shares_of_worth(worth: FloatArray, labels: FloatArray, odds: FloatArray, bootstrap: Bootstrap) -> FloatArray:
    """The share over all images, and after it in each of R resamples: (1 + R,).

    Args:
        worth: (N,), what each image is worth to the class; NaN where it takes no part.
        labels: (N,), 0 or 1, NaN where unknown.
        odds: (N,), the log-odds of the class.
        bootstrap: over the N images.
    """
    weights = _weights(bootstrap)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(_difference(worth, labels, weights) / _difference(odds, labels, weights))


def shares_by_feature(
    feature: FloatArray, effect: FloatArray, labels: FloatArray, odds: FloatArray, bootstrap: Bootstrap
) -> FloatArray:
    """The same of what a feature adds: how much more of it positives have, times what one unit of it does, (1 + R,).

    Args:
        feature: (N,), NaN where an image takes no part.
        effect: (N,), how far the log-odds fall when what the feature stands for is taken away; NaN where not measured.
        labels: (N,), 0 or 1, NaN where unknown.
        odds: (N,), the log-odds of the class.
        bootstrap: over the N images.
    """
    weights = _weights(bootstrap)
    measured = ~np.isnan(effect) & ~np.isnan(feature) & ~np.isnan(labels)
    products = squares = np.zeros(len(weights))
    with np.errstate(invalid="ignore", divide="ignore"):
        for value in (0, 1):
            own = weights * (measured & (labels == value))
            count = own.sum(1)
            f, e = (np.where(measured, of, 0.0) for of in (feature, effect))
            sums = own @ f
            products = products + np.nan_to_num(own @ (f * e) - sums * (own @ e) / count)
            squares = squares + np.nan_to_num(own @ f**2 - sums**2 / count)
        slope = products / squares
        return np.asarray(slope * _difference(feature, labels, weights) / _difference(odds, labels, weights))


def share_estimate(shares: FloatArray, n: int) -> Estimate:
    """A share (1 + R,), as the functions above give it, with its 95 % interval."""
    resampled = shares[1:][np.isfinite(shares[1:])]
    if not math.isfinite(shares[0]) or len(resampled) < len(shares[1:]) / 2:
        return Estimate(math.nan, math.nan, math.nan, n, "too few positives or negatives")
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(float(shares[0]), float(low), float(high), n)


def _weights(bootstrap: Bootstrap) -> FloatArray:
    return np.concatenate([np.ones((1, len(bootstrap))), bootstrap.weights.astype(np.float64)])


def _difference(values: FloatArray, labels: FloatArray, weights: FloatArray) -> FloatArray:
    is_known = ~np.isnan(values) & ~np.isnan(labels)
    means = []
    for value in (1, 0):
        own = np.where(is_known & (labels == value), 1.0, 0.0)
        means.append((weights @ (own * np.nan_to_num(values))) / (weights @ own))
    return np.asarray(means[0] - means[1])
