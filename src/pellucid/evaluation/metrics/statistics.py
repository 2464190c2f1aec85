"""Every figure with its interval, and with its resamples over patients."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Bootstrap, FloatArray, Values, as_array
from pellucid.evaluation.metrics.intervals import NO_INTERVAL, Interval, ratio_intervals, too_few_patients
from pellucid.types import InputError
from pellucid.utils.words import figure_text, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "HARDLY",
    "UNBOUNDED",
    "Bootstrap",
    "Estimate",
    "FloatArray",
    "Replicates",
    "Values",
    "are_alike",
    "as_array",
    "interval_of_sum",
    "join_reasons",
    "mean_over_images",
    "ratio",
    "ratios",
]


def join_reasons(*reasons: str | None) -> str | None:
    """The reasons that are given, each once, or None."""
    return "; ".join(dict.fromkeys(r for r in reasons if r)) or None


UNBOUNDED = (-math.inf, math.inf)
SAME_DRAWS = 1e-9  # resamples that differ by less do not differ
HARDLY = "the resamples do not differ, so there is no interval"


@dataclass(frozen=True)
class Estimate:
    """A figure as it is shown: its value, its interval, what it rests on, and why a part of it is NaN.

    Attributes:
        value: the figure over all images; NaN where it is undefined.
        low: lower end of the interval; NaN where there is none.
        high: upper end of the interval.
        n: how many things it averages over (images, boxes or heat maps).
        reason: why value or interval is NaN, or what was left out; None where nothing is to be said.
        positives: how many of them show the class, of a mean the fewest of a class; None where no class is told.
        patients: of how many patients they are, of a mean the most of a class; None where that is not known.
        fewest: whether it is a mean over several classes, of which the others may have more positives.

    Example:
        >>> print(Estimate(0.812, 0.79, 0.833, 460))
        0.812 [0.790, 0.833] (n = 460)
        >>> print(Estimate(0.812, 0.68, 0.89, 460, positives=12, patients=230))
        0.812 [0.680, 0.890] (n = 460, 12 positives, 230 patients)
        >>> Estimate(math.nan, math.nan, math.nan, 12, "no positives").to_json()["reason"]
        'no positives'
    """

    value: float
    low: float
    high: float
    n: int
    reason: str | None = None
    positives: int | None = None
    patients: int | None = None
    fewest: bool = False

    def __str__(self) -> str:
        counts = ((self.positives, "positive(s)"), (self.patients, "patient(s)"))
        texts = [number_of(count, things) for count, things in counts if count is not None and count != self.n]
        if texts and self.fewest:
            texts[0] = f"at least {texts[0]}"
        size = f"({', '.join([f'n = {self.n}', *texts])})"
        if math.isnan(self.value):
            return f"undefined: {self.reason or 'no reason given'} {size}"
        if math.isnan(self.low):
            return f"{self.value:.3f} [no interval: {self.reason or 'no reason given'}] {size}"
        return f"{figure_text(self.value, self.low, self.high, '{:.3f}'.format)} {size}"

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary in which whatever is not a finite number is None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        finite = {name: v if math.isfinite(v) else None for name, v in numbers.items()}
        return {**finite, "n": self.n, "reason": self.reason, "positives": self.positives, "patients": self.patients}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Estimate:
        """What `to_json` wrote; None becomes NaN."""
        value, low, high = (math.nan if stored[k] is None else float(stored[k]) for k in ("value", "low", "high"))
        reason, positives, patients = (stored.get(name) for name in ("reason", "positives", "patients"))
        return cls(value, low, high, int(stored["n"]), reason, positives, patients)


@dataclass(frozen=True, eq=False)
class Replicates:
    """A figure and the same figure in every resample of the patients; NaN where it is undefined.

    Two replicates with the same `key` saw the same patients resample by resample, so they can be subtracted.

    Attributes:
        value: the figure over all images.
        samples: (resamples,), the figure in each resample.
        n: how many things it averages over.
        reason: why it is undefined, has no interval, or leaves something out.
        key: names the patients and the draws; see `Bootstrap.key`.
        interval: its own 95 % interval, which holds where there is little; NaN where it has none.
        lacking: why no interval is to be shown; None where it rests on enough.
        positives: as in `Estimate`.
        patients: as in `Estimate`.

    Example:
        >>> from pellucid.evaluation.metrics.bootstrap import Bootstrap
        >>> from pellucid.evaluation.metrics.classification import auroc
        >>> figure = auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], Bootstrap(range(4), resamples=200))
        >>> figure.value, figure.n, figure.samples.shape
        (0.75, 4, (200,))
    """

    value: float
    samples: FloatArray
    n: int
    reason: str | None = None
    key: str = ""
    interval: Interval = NO_INTERVAL
    lacking: str | None = None
    positives: int | None = None
    patients: int | None = None

    def _combine(self, other: Replicates | float, operate: Callable[[Any, Any], Any]) -> Replicates:
        if not isinstance(other, Replicates):
            value, samples = operate(self.value, other), operate(self.samples, other)
            ends = Interval(*sorted(float(operate(end, other)) for end in self.interval))
            return replace(self, value=float(value), samples=samples, interval=ends)
        if self.key != other.key or self.samples.shape != other.samples.shape:
            raise InputError(
                "these figures are not paired: they come from different patients, seeds or numbers of "
                "resamples. Compute both with bootstraps of the same patients, seed and resamples."
            )
        return Replicates(
            float(operate(self.value, other.value)),
            operate(self.samples, other.samples),
            min(self.n, other.n),
            join_reasons(self.reason, other.reason),
            self.key,
            interval_of_sum([self], [other]) if operate is operator.sub else interval_of_sum([self, other]),
            join_reasons(self.lacking, other.lacking),
            _extreme(min, self.positives, other.positives),
            _extreme(min, self.patients, other.patients),
        )

    def __add__(self, other: Replicates | float) -> Replicates:
        return self._combine(other, operator.add)

    def __sub__(self, other: Replicates | float) -> Replicates:
        return self._combine(other, operator.sub)

    def __mul__(self, other: float) -> Replicates:
        return self._combine(other, operator.mul)

    def __truediv__(self, other: float) -> Replicates:
        return self._combine(other, operator.truediv)

    __radd__, __rmul__ = __add__, __mul__

    @classmethod
    def undefined(cls, reason: str, n: int, bootstrap: Bootstrap) -> Replicates:
        """A figure that has no value, and why."""
        return cls(math.nan, np.full(bootstrap.resamples, math.nan), n, reason, bootstrap.key)

    @classmethod
    def mean(
        cls, parts: Sequence[Replicates], *, n: int | None = None, of: str = "figures", together: bool = False
    ) -> Replicates:
        """The mean over classes or seeds, of those that are defined; the reason says how many are not.

        A resample in which one of the defined ones is undefined is itself undefined: averaging fewer there
        would compare different sets of classes. `n` is the largest of the parts' unless given, `of` what they are
        called. There is an interval where one of the parts rests on enough for its own: the others' are wide,
        and count as they are. `together` as in `interval_of_sum`: of several networks on the same images.

        Raises:
            InputError: if there are no parts, or they are not paired.
        """
        if not parts:
            raise InputError("a mean of no figures at all was asked for.")
        defined = [p for p in parts if not math.isnan(p.value)]
        size = max(p.n for p in parts) if n is None else n
        if not defined:
            whole = parts[0].samples
            count_text = f"none of {len(parts)} is defined" if len(parts) > 1 else None
            reason = join_reasons(count_text, *(p.reason for p in parts))
            return cls(math.nan, np.full(whole.shape, math.nan), size, reason, parts[0].key)
        if any(p.key != defined[0].key or p.samples.shape != defined[0].samples.shape for p in defined):
            raise InputError(
                "a mean was asked for of figures that are not paired: of other patients, seeds or resamples."
            )
        count, left_out = len(defined), len(parts) - len(defined)
        note = f"{left_out} of {len(parts)} {of} undefined and left out" if left_out else None
        low, high = (end / count for end in interval_of_sum(defined, together=together))
        samples = np.mean([p.samples for p in defined], axis=0)
        # without intervals of the parts, one that no resample has, since few patients stand behind it, leaves none
        is_lacking = all(p.lacking for p in defined) or bool(math.isnan(low) and np.isnan(samples).all())
        return cls(
            math.fsum(p.value for p in defined) / count,
            samples,
            size,
            join_reasons(note, *(p.reason for p in defined)),
            defined[0].key,
            Interval(low, high),
            join_reasons(*(p.lacking for p in defined)) if is_lacking else None,
            _extreme(min, *(p.positives for p in defined)),
            _extreme(max, *(p.patients for p in defined)),
        )

    def estimate(self, level: float = 0.95) -> Estimate:
        """The figure with its own interval; without one, with the percentiles of the resamples in which it is defined.

        There is no interval where too few patients stand behind it, and no percentiles where more than half of the
        resamples are undefined.

        Args:
            level: of the percentiles.
        """
        low = high = math.nan
        reason = self.reason
        defined = self.samples[~np.isnan(self.samples)]
        if math.isnan(self.value):
            pass
        elif self.lacking:
            reason = join_reasons(self.reason, self.lacking)
        elif not math.isnan(self.interval.low):
            low, high = self.interval
        elif 2 * len(defined) >= len(self.samples) > 0:
            low, high = (float(v) for v in np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]))
            if are_alike(low, high):
                low = high = math.nan
                reason = join_reasons(self.reason, HARDLY)
        elif len(self.samples):
            lacking = f"undefined in {len(self.samples) - len(defined)} of {len(self.samples)} resamples"
            reason = join_reasons(self.reason, lacking)
        return Estimate(self.value, low, high, self.n, reason, self.positives, self.patients)


def are_alike(low: float, high: float) -> bool:
    """Whether two percentiles are one number, but for rounding: no interval is of zero width."""
    return math.isfinite(high) and high - low <= SAME_DRAWS * max(1.0, abs(high))


def _extreme(choose: Callable[[list[int]], int], *counts: int | None) -> int | None:
    numbers = [c for c in counts if c is not None]
    return choose(numbers) if numbers else None


def interval_of_sum(
    parts: Sequence[Replicates], less: Sequence[Replicates] = (), *, together: bool = False
) -> Interval:
    """The interval of a sum of figures, `less` others, from their own and from how they go together over the resamples.

    The distances of the ends from the values add up as standard deviations do: ``Σ_ij r_ij d_i d_j`` is the square of
    the sum's; of what is taken away the upper end counts for the lower, and the correlation changes its sign (MOVER,
    Zou & Donner 2008). A figure that no resample changes, as one that is 1 in all of them, shows no correlation. It
    counts as having nothing in common with the others, or, `together`, as going with them wholly.

    Source:
        G. Zou, A. Donner: Construction of confidence limits about effect measures. Statistics in Medicine 27, 2008.

    Example:
        >>> from pellucid.evaluation.metrics.bootstrap import Bootstrap
        >>> draws = Bootstrap(range(40))
        >>> one, other = (ratio([1] * k + [0] * (40 - k), [1] * 40, draws, within=(0, 1)) for k in (36, 30))
        >>> [round(end, 3) for end in interval_of_sum([one], [other])]
        [0.031, 0.283]
    """
    figures = [*parts, *less]
    values = np.array([p.value for p in figures])
    ends = np.array([p.interval for p in figures])
    if np.isnan(ends).any():
        return NO_INTERVAL
    draws = np.stack([p.samples for p in figures], axis=1)
    is_defined = ~np.isnan(draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = np.where(is_defined, draws, 0).sum(0) / is_defined.sum(0)
        centred = np.where(is_defined, draws - middle, 0.0)
        length = np.sqrt((centred**2).sum(0))
        moves = length > SAME_DRAWS * np.sqrt(len(draws))
        direction = np.where(moves, centred / length, 0.0)
    is_less = np.arange(len(figures)) >= len(parts)
    below, above = values - ends[:, 0], ends[:, 1] - values
    reaches = []
    for distance in (np.where(is_less, -above, below), np.where(is_less, -below, above)):
        still = np.where(moves, 0.0, distance)
        apart, unseen = np.linalg.norm(direction @ distance), np.linalg.norm(still)
        reaches.append(float(apart + abs(still.sum()) if together else np.hypot(apart, unseen)))
    total = math.fsum(p.value for p in parts) - math.fsum(p.value for p in less)
    return Interval(total - reaches[0], total + reaches[1])


def ratios(
    numerators: Values,
    denominators: Values,
    bootstrap: Bootstrap,
    *,
    reason: str = "nothing to divide by",
    within: tuple[float, float] = UNBOUNDED,
) -> list[Replicates]:
    """Σ w·a / Σ w·b for every column: means, accuracies, false positives per box.

    Args:
        numerators: a, (N, T).
        denominators: b, (N, T), or (N,) or (N, 1) for the same in every column.
        bootstrap: over the N images.
        reason: what to say where Σ b is 0.
        within: what a / b of an image can be, which says what interval it has: (0, 1) of a share, (0, inf) of a count,
            for example; see `intervals.ratio_intervals`.

    A row with NaN in a or b is left out of its column. `n` is the number of rows with b ≠ 0.

    Raises:
        InputError: if the shapes do not fit the bootstrap.
    """
    top, bottom = (np.asarray(as_array(v), dtype=np.float64) for v in (numerators, denominators))
    bottom = bottom[:, None] if bottom.ndim == 1 else bottom
    if (
        top.ndim != 2
        or len(top) != len(bootstrap)
        or len(bottom) != len(top)
        or bottom.shape[1] not in {1, top.shape[1]}
    ):
        raise InputError(f"a ratio over {len(bootstrap)} images cannot be taken of {top.shape} and {bottom.shape}.")
    is_known = ~np.isnan(top) & ~np.isnan(bottom)
    top = np.where(is_known, top, 0.0)
    bottom = bottom if is_known.all() else np.where(is_known, bottom, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        totals = bottom.sum(0)
        values = np.where(totals != 0, top.sum(0) / totals, math.nan)
        weighed = bootstrap.sums(bottom)
        samples = np.where(weighed != 0, bootstrap.sums(top) / weighed, math.nan)
    ends, patients = ratio_intervals(top, bottom, bootstrap.patients, within)
    samples[:, (patients < 2) | np.isnan(values)] = math.nan
    counts = np.broadcast_to(np.count_nonzero(bottom, axis=0), values.shape)
    figures = []
    for t, value in enumerate(values):
        lacking = too_few_patients(int(patients[t]), unit=bootstrap.unit)
        if lacking is None and math.isnan(ends[t, 0]):
            lacking = "all values are the same, so there is no interval"
        figures.append(
            Replicates(
                float(value),
                samples[:, t].copy(),
                int(counts[t]),
                reason if math.isnan(value) else None,
                bootstrap.key,
                Interval(float(ends[t, 0]), float(ends[t, 1])),
                None if math.isnan(value) else lacking,
                patients=int(patients[t]),
            )
        )
    return figures


def ratio(
    numerators: Values,
    denominators: Values,
    bootstrap: Bootstrap,
    *,
    reason: str = "nothing to divide by",
    within: tuple[float, float] = UNBOUNDED,
) -> Replicates:
    """Σ w·a / Σ w·b of two (N,) arrays; see `ratios`.

    Example:
        >>> draws = Bootstrap(range(4))
        >>> ratio([1, 0, 1, 1], [1, 1, 1, 1], draws).value
        0.75
    """
    return ratios(as_array(numerators)[:, None], denominators, bootstrap, reason=reason, within=within)[0]


def mean_over_images(
    values: Values,
    bootstrap: Bootstrap,
    *,
    reason: str = "no value is defined",
    within: tuple[float, float] = UNBOUNDED,
    of: str = "images",
) -> Replicates:
    """The mean of (N,) values `within` two bounds, leaving out NaN; the reason says how many `of` what were."""
    array = np.asarray(as_array(values), dtype=np.float64)
    mean = ratio(array, np.ones_like(array), bootstrap, reason=reason, within=within)
    missing = int(np.isnan(array).sum())
    if not missing or math.isnan(mean.value):
        return mean
    return replace(mean, reason=join_reasons(f"{missing} of {array.size} {of} undefined and left out", mean.reason))
