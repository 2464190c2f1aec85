"""Does a number of the image stand between the label and the answer? Two tests, and both must say so.

What an image is worth to a class by one exchange is noisy: all that its window shows has a part in it. A feature of the
image is not. So it is asked, first, whether the feature goes with the label, on all images; then whether the answer
goes with the feature: two images of the same label, one with much of it and one with little, are put into the same
third image. What the feature carries of the distance between positives and negatives is the product of both (a test of
joint significance, MacKinnon et al. 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.presence import otsu

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.evaluation.discovery.samples import Rows
    from pellucid.evaluation.metrics.bootstrap import FloatArray

FLIPS = 20000
ROUNDING = 1e-12


@dataclass(frozen=True)
class Contrasts:
    """Pairs of donors of the same label, one with much of a feature and one with little, and a recipient of both.

    Attributes:
        much: (P,), rows of images.
        little: (P,).
        recipients: (P,), neither of them.
        difference: (P,), of the feature.
    """

    much: Rows
    little: Rows
    recipients: Rows
    difference: FloatArray

    @classmethod
    def of(
        cls, feature: FloatArray, labels: FloatArray, rows: Rows, count: int, rng: np.random.Generator
    ) -> Contrasts | None:
        """`count` pairs among `rows`, as often with each image that has much of it; None where no label has both.

        Args:
            feature: (N,), NaN where an image has none.
            labels: (N,), 0 or 1, NaN where unknown.
            rows: of the images that may be taken.
            count: of pairs.
            rng: the source of the draw.
        """
        usable = rows[~np.isnan(feature[rows]) & ~np.isnan(labels[rows])]
        has_much = feature > otsu(feature[usable])
        much, little = usable[has_much[usable]], usable[~has_much[usable]]
        much = much[np.isin(labels[much], labels[little])]
        if not len(much) or len(rows) < 3:
            return None
        first = rng.permutation(np.resize(rng.permutation(much), count))
        second = np.array([rng.choice(little[labels[little] == labels[row]]) for row in first])
        onto = rng.choice(rows, count)
        while (same := (onto == first) | (onto == second)).any():
            onto[same] = rng.choice(rows, int(same.sum()))
        return cls(first, second, onto, feature[first] - feature[second])


@dataclass(frozen=True, eq=False)
class Slope:
    """What one unit of a feature adds to the log-odds.

    Attributes:
        value: of it.
        z: its score in units of the score's deviation.
        p: two-sided, that it adds nothing.
        resampled: (R,), the value with the groups drawn with replacement.
    """

    value: float
    z: float
    p: float
    resampled: FloatArray


def slope_of(
    change: FloatArray,
    difference: FloatArray,
    groups: npt.NDArray[np.int64],
    *,
    resamples: int,
    seed: int = 0,
) -> Slope:
    """From P pairs what a feature adds, by least squares through the origin.

    The signs of the contributions to the score are flipped, those of a group together (Hemerik, Goeman & Finos 2020:
    valid whatever their variances).

    Args:
        change: (P,), the log-odds with what has much of it, less those with what has little.
        difference: (P,), of the feature.
        groups: (P,), the patient who has much of it.
        resamples: R.
        seed: of the signs, and of the resamples.

    Example:
        >>> slope_of(np.array([2.0, 4.0]), np.array([1.0, 2.0]), np.array([0, 1]), resamples=9).value
        2.0
    """
    _, group = np.unique(groups, return_inverse=True)
    scores, squares = (np.bincount(group, weights) for weights in (change * difference, difference**2))
    deviation = float(np.sqrt((scores**2).sum()))
    if deviation <= ROUNDING:
        return Slope(0.0, 0.0, 1.0, np.zeros(resamples))
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (FLIPS, len(scores)))
    p = (1 + (np.abs(signs @ scores) >= abs(scores.sum()) - ROUNDING).sum()) / (FLIPS + 1)
    rows = rng.integers(len(scores), size=(resamples, len(scores)))
    resampled = scores[rows].sum(1) / np.maximum(squares[rows].sum(1), ROUNDING)
    return Slope(float(scores.sum() / squares.sum()), float(scores.sum() / deviation), float(p), resampled)


@dataclass(frozen=True, eq=False)
class Carrier:
    """The feature that stands for a candidate: an image has the more of it, the larger `slope.value` times it is.

    Attributes:
        name: of the feature.
        middle: its mean over the images that gave to others.
        slope: what one unit of it adds.
    """

    name: str
    middle: float
    slope: Slope

    def strength(self, feature: FloatArray) -> FloatArray:
        """What a feature (N,) adds to the log-odds of each image, less what it adds on average."""
        return np.asarray(self.slope.value * (feature - self.middle))

    def feature(self, strength: float) -> float:
        """The feature of an image that has so much of it."""
        return strength / self.slope.value + self.middle

    @property
    def slopes(self) -> FloatArray:
        """(R,), resampled slopes as multiples of the slope."""
        return self.slope.resampled / self.slope.value
