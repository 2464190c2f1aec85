"""Does a number of the image stand between the label and the answer? Two tests, and both must say so.

What an image is worth to a class by one exchange is noisy: all that its window shows has a part in it. A feature of the
image is not. So it is asked, first, whether the feature goes with the label, on all images; then, among images of the
same label, whether what they are worth goes with the feature. What the feature carries of the distance between
positives and negatives is the product of both (a test of joint significance, MacKinnon et al. 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.exchange import Pairs
from pellucid.evaluation.discovery.inference import permuted_within

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.evaluation.discovery.samples import Rows
    from pellucid.evaluation.metrics.bootstrap import FloatArray

ROUNDING = 1e-12


def spread(donors: Rows, pool: Rows, passes: int, rng: np.random.Generator) -> Pairs:
    """Each donor with as many of the recipients in the pool as `passes` allow, one at least: turn after turn."""
    turns = max(1, passes // len(donors))
    rounds = [Pairs.of(donors, pool, rng) for _ in range(turns)]
    return Pairs(np.tile(donors, turns), np.concatenate([one.recipients for one in rounds]))


def within_labels(values: FloatArray, labels: FloatArray) -> FloatArray:
    """Values (D,) less the mean over the images of the same label (D,).

    Example:
        >>> within_labels(np.array([1.0, 3.0, 8.0]), np.array([0.0, 0.0, 1.0])).tolist()
        [-1.0, 1.0, 0.0]
    """
    rest = np.array(values, np.float64)
    for label in np.unique(labels):
        own = labels == label
        rest[own] -= rest[own].mean()
    return rest


@dataclass(frozen=True, eq=False)
class Slope:
    """What one unit of a feature adds to the log-odds.

    Attributes:
        value: of it.
        z: of its score, in units of the score's deviation under permutation.
        p: two-sided, that the worth has nothing to do with the feature.
        resampled: (R,), the value with patients drawn with replacement.
    """

    value: float
    z: float
    p: float
    resampled: FloatArray


def slope_of(
    worth: FloatArray,
    feature: FloatArray,
    labels: FloatArray,
    groups: npt.NDArray[np.int64],
    *,
    permutations: int,
    resamples: int,
    seed: int = 0,
) -> Slope:
    """What a feature adds among images of the same label, by least squares; 0 with p 1 where it does not differ there.

    Worth changes places between patients, within labels.

    Args:
        worth: (D,), what each image is worth to a class by exchanges.
        feature: (D,).
        labels: (D,), 0 or 1.
        groups: (D,), the number of each image's patient.
        permutations: of the worth.
        resamples: R.
        seed: of both.

    Example:
        >>> feature = np.array([0.0, 1.0, 2.0, 5.0, 7.0])
        >>> slope_of(2 * feature, feature, np.array([0.0, 0.0, 0.0, 1.0, 1.0]), np.arange(5), permutations=9,
        ...     resamples=9).value
        2.0
    """
    own, answer = within_labels(feature, labels), within_labels(worth, labels)
    _, group = np.unique(groups, return_inverse=True)
    scores, squares = (np.bincount(group, weights) for weights in (own * answer, own**2))
    if squares.sum() <= ROUNDING or (answer**2).sum() <= ROUNDING:
        return Slope(0.0, 0.0, 1.0, np.zeros(resamples))
    score = float(scores.sum())
    by_chance = answer[permuted_within(groups, labels, permutations, seed)] @ own
    p = (1 + (np.abs(by_chance) >= abs(score) - ROUNDING).sum()) / (permutations + 1)
    rows = np.random.default_rng(seed).integers(len(scores), size=(resamples, len(scores)))
    resampled = scores[rows].sum(1) / np.maximum(squares[rows].sum(1), ROUNDING)
    return Slope(score / float(squares.sum()), score / max(float(by_chance.std()), ROUNDING), float(p), resampled)


@dataclass(frozen=True, eq=False)
class Carrier:
    """The feature that stands for a candidate: an image has the more of it, the larger `slope.value` times it is.

    Attributes:
        name: of the feature.
        middle: its mean over the images that gave to others.
        slope: what one unit of it adds.
        images: on how many it was held against the label.
    """

    name: str
    middle: float
    slope: Slope
    images: int

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
