"""The Accuracy-Robustness Area: exact from the radii, with bounds where attacks failed, and an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Bootstrap, FloatArray, Values, as_array, chunks
from pellucid.evaluation.metrics.intervals import too_few_patients
from pellucid.evaluation.metrics.statistics import HARDLY, Replicates, are_alike, join_reasons
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MINIMUM = 5  # positives and negatives that a label must have
BALANCED = 0.5  # the balanced accuracy of every constant answer
ROUNDING = 1e-12  # of a sum of shares


class Curve(NamedTuple):
    """Accuracy against the size of the perturbation: constant from each radius to the next.

    Attributes:
        radius: ascending root mean squares (M,), the first 0.
        accuracy: the share (M,) of images that need more than that radius; failed attacks count as broken.
        upper: the same (M,) where failed attacks count as never broken.
    """

    radius: FloatArray
    accuracy: FloatArray
    upper: FloatArray


@dataclass(frozen=True)
class Area:
    """An Accuracy-Robustness Area, in units of root mean square per pixel.

    Attributes:
        lower: with every failed attack at radius 0: it could have been broken by less than anything tried.
        upper: with every failed attack beyond every radius; infinite where so many failed that the accuracy never
            falls to the constant answer's.
        failed: the number of attacks that found nothing.
    """

    lower: Replicates
    upper: Replicates
    failed: int

    @property
    def n(self) -> int:
        """How many attacks it rests on."""
        return self.lower.n

    @property
    def known(self) -> bool:
        """Whether the two bounds are one value."""
        return self.lower.value == self.upper.value

    @property
    def reason(self) -> str | None:
        """Why there is no one value, or no interval; None where nothing is to be said."""
        if math.isnan(self.lower.value) or self.known:
            return self.lower.reason or (HARDLY if self.known and math.isnan(self.interval()[0]) else None)
        above = "no upper bound" if math.isinf(self.upper.value) else f"at most {self.upper.value:.4g}"
        failed = f"{self.failed} of {self.n} attacks failed: at least {self.lower.value:.4g}, {above}"
        return join_reasons(failed, self.lower.reason)

    @property
    def replicates(self) -> Replicates:
        """The one value with its resamples; NaN with the reason where attacks failed."""
        if self.known:
            return self.lower
        nothing = np.full_like(self.lower.samples, math.nan)
        return Replicates(math.nan, nothing, self.n, self.reason, self.lower.key)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """From the low percentile of the lower bound to the high one of the upper bound; NaN where there is none."""
        ends = []
        for bound, quantile in ((self.lower, (1 - level) / 2), (self.upper, (1 + level) / 2)):
            samples = bound.samples[~np.isnan(bound.samples)]
            if math.isnan(bound.value) or 2 * len(samples) < len(bound.samples) or len(samples) == 0:
                return math.nan, math.nan
            exact = "linear" if np.isfinite(samples).all() else "higher"  # between infinities nothing can be halved
            ends.append(float(np.quantile(samples, quantile, method=exact)))  # type: ignore[call-overload]
        return (math.nan, math.nan) if are_alike(*ends) else (ends[0], ends[1])


def reach(radii: Values, naive: float) -> float:
    """r*, the radius at which the accuracy falls to `naive`: sup {r : #{r_i > r} / n > b}; 0 where it starts there.

    Example:
        >>> reach([0, 0.1, 0.2, 0.4], 0.25)
        0.2
    """
    ordered = np.sort(_checked(radii))
    needed = math.floor(naive * len(ordered) + 1e-9) + 1  # the fewest images that are more than a share of b
    return float(ordered[-needed]) if needed <= len(ordered) else 0.0


def area(radii: Values, naive: float) -> float:
    """The area between the accuracy's curve and a constant answer's, where it is above: mean min(r_i, r*) − b·r*.

    Args:
        radii: (N,), root mean square of each image's smallest perturbation; 0 where it is wrong from the start.
        naive: b, the accuracy of the best constant answer, in [0, 1).

    Raises:
        InputError: radii that are negative or NaN, none, or a constant accuracy outside [0, 1).

    Source:
        Woods, Chen & Teuscher 2019, section III.A; exact where their code sums a histogram of 1000 bins.

    Example:
        >>> round(area([0, 0.1, 0.2, 0.4], 0.25), 6)  # 0.1 · (3/4 - 1/4) + 0.1 · (2/4 - 1/4)
        0.075
    """
    values = _checked(radii)
    return float(_integral(values, np.full((1, len(values)), 1 / len(values)), _checked_naive(naive))[0])


def ara(radii: Values, is_found: Values, naive: float, bootstrap: Bootstrap) -> Area:
    """The area over images, each given one radius.

    Args:
        radii: (N,); not looked at where nothing was found.
        is_found: bool (N,), whether the attack found a perturbation (or needed none).
        naive: b, the accuracy of the best constant answer.
        bootstrap: over the N images.
    """
    count = len(bootstrap)
    return _area(radii, is_found, [np.ones(count, dtype=bool)], naive, bootstrap, None)


def balanced_ara(radii: Values, is_found: Values, present: Values, bootstrap: Bootstrap) -> Area:
    """The area of one label, on balanced accuracy above 1/2.

    The balanced accuracy at r is half the share of the positives that need more than r, plus half that share of the
    negatives: every constant answer has 1/2.

    Args:
        radii: (N,) of the images that the label is known of.
        is_found: bool (N,).
        present: bool (N,), whether the image has the label.
        bootstrap: over the N images.

    Returns:
        The area; NaN with a reason below 5 positives or 5 negatives.
    """
    positive = as_array(present).astype(bool)
    sizes = int(positive.sum()), int((~positive).sum())
    reason = None if min(sizes) >= MINIMUM else too_few(*sizes)
    return _area(radii, is_found, [positive, ~positive], BALANCED, bootstrap, reason)


def too_few(positives: int, negatives: int) -> str:
    """Why a label has no area."""
    return f"{positives} positives and {negatives} negatives; at least {MINIMUM} of each are needed"


def mean_area(areas: Sequence[Area]) -> Area:
    """The mean over the labels that have an area; the reason says how many have none."""
    count = sum(a.n for a in areas)
    lower, upper = (
        Replicates.mean([getattr(a, side) for a in areas], n=count, of="labels") for side in ("lower", "upper")
    )
    return Area(lower, upper, sum(a.failed for a in areas))


def accuracy_curve(radii: Values, is_found: Values, present: Values | None = None) -> Curve:
    """Accuracy, or with `present` the label's balanced accuracy, at every radius where it changes.

    Example:
        >>> curve = accuracy_curve([0, 0.1, 0.1, 0.4], [True, True, True, False])
        >>> curve.radius.tolist(), curve.accuracy.tolist(), curve.upper.tolist()
        ([0.0, 0.1], [0.5, 0.0], [0.75, 0.25])
    """
    has_radius = as_array(is_found).astype(bool)
    values = np.where(has_radius, np.asarray(as_array(radii), dtype=np.float64), 0.0)
    groups = [np.ones(len(has_radius), bool)] if present is None else [p := as_array(present).astype(bool), ~p]
    steps = np.unique(np.concatenate([[0.0], values]))

    def share(of: FloatArray) -> FloatArray:
        shares = [1 - np.searchsorted(np.sort(of[g]), steps, side="right") / g.sum() for g in groups]
        return np.asarray(np.mean(shares, axis=0), dtype=np.float64)

    return Curve(steps, share(values), share(np.where(has_radius, values, math.inf)))


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over labels at every radius where one of them changes."""
    steps = np.unique(np.concatenate([c.radius for c in curves]))
    rows = [np.searchsorted(c.radius, steps, side="right") - 1 for c in curves]
    accuracy = np.mean([c.accuracy[i] for c, i in zip(curves, rows, strict=True)], axis=0)
    upper = np.mean([c.upper[i] for c, i in zip(curves, rows, strict=True)], axis=0)
    return Curve(steps, accuracy, upper)


def _area(
    radii: Values,
    is_found: Values,
    groups: Sequence[npt.NDArray[np.bool_]],
    naive: float,
    bootstrap: Bootstrap,
    undefined: str | None,
) -> Area:
    """The area of the mean over groups of the share of each that is left."""
    has_radius = as_array(is_found).astype(bool)
    values = np.asarray(as_array(radii), dtype=np.float64)
    if not len(values) == len(has_radius) == len(bootstrap):
        raise InputError(
            f"expected {len(bootstrap)} radii, one per image; found {len(values)} and {len(has_radius)} marks."
        )
    _checked_naive(naive)
    failed = int((~has_radius).sum())
    few = too_few_patients(patients := len(np.unique(bootstrap.patients)), unit=bootstrap.unit)
    bounds = {}
    for instead in (0.0, math.inf):
        filled = np.where(has_radius, values, instead)
        _checked(filled, infinite=True)
        value, samples = math.nan, np.full(bootstrap.resamples, math.nan)
        if undefined is None:
            value = float(_integral(filled, _shares(np.ones((1, len(filled))), groups), naive)[0])
            if few is None:
                for rows in chunks(bootstrap.resamples, len(filled)):
                    weights = _shares(bootstrap.weights[rows].astype(np.float64), groups)
                    samples[rows] = _integral(filled, weights, naive)
        reason = undefined or few
        bounds[instead] = Replicates(value, samples, len(filled), reason, bootstrap.key, patients=patients)
    return Area(bounds[0.0], bounds[math.inf], failed)


def _shares(weights: FloatArray, groups: Sequence[npt.NDArray[np.bool_]]) -> FloatArray:
    """Weights (R, N) of the images turned into what each adds to the accuracy; NaN where a group was not drawn."""
    shares = np.zeros_like(weights)
    with np.errstate(invalid="ignore"):
        for group in groups:
            own = weights * group
            shares += own / own.sum(1, keepdims=True) / len(groups)
    return shares


def _integral(radii: FloatArray, shares: FloatArray, naive: float) -> FloatArray:
    """∫ max(0, (Σ shareᵢ over rᵢ > r) − b) dr for each row of shares (R, N), whose sum is 1."""
    order = np.argsort(radii, kind="stable")
    ascending = radii[order]
    accuracies = np.cumsum(shares[:, order][:, ::-1], axis=1)[:, ::-1]  # up to each radius, from the one before
    excess = accuracies - naive
    excess[excess < ROUNDING] = 0.0  # NaN stays
    finite = int(np.isfinite(ascending).sum())
    total: FloatArray = excess[:, :finite] @ np.diff(ascending[:finite], prepend=0.0)
    if finite < len(radii):
        total = np.where(excess[:, finite] > 0, math.inf, total + 0 * excess[:, finite])
    return total


def _checked(radii: Values, *, infinite: bool = False) -> FloatArray:
    values = np.asarray(as_array(radii), dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not (values >= 0).all() or not (infinite or np.isfinite(values).all()):
        raise InputError(
            f"radii must be numbers from 0, one per image; found shape {values.shape} with "
            f"{int((~(values >= 0)).sum())} that are negative or NaN."
        )
    return values


def _checked_naive(naive: float) -> float:
    if not 0 <= naive < 1:
        raise InputError(f"the accuracy of a constant answer lies in [0, 1); found {naive!r}.")
    return naive
