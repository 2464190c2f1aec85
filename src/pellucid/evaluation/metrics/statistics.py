"""Every figure with its interval: a bootstrap over patients, and paired differences between recipes."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Bootstrap, FloatArray, Values, as_array
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "ONE_PATIENT",
    "Bootstrap",
    "Difference",
    "Estimate",
    "FloatArray",
    "Replicates",
    "Values",
    "as_array",
    "join_reasons",
    "mean_over_images",
    "paired_difference",
    "ratio",
    "ratios",
]


def join_reasons(*reasons: str | None) -> str | None:
    """The reasons that are given, each once, or None."""
    return "; ".join(dict.fromkeys(r for r in reasons if r)) or None


@dataclass(frozen=True)
class Estimate:
    """A figure as it is shown: its value, its interval, what it rests on, and why a part of it is NaN.

    Attributes:
        value: the figure over all images; NaN where it is undefined.
        low: lower end of the interval; NaN where there is none.
        high: upper end of the interval.
        n: how many things it averages over (images, boxes or heat maps).
        reason: why value or interval is NaN, or what was left out; None where nothing is to be said.

    Example:
        >>> print(Estimate(0.812, 0.79, 0.833, 460))
        0.812 [0.790, 0.833] (n = 460)
        >>> Estimate(math.nan, math.nan, math.nan, 12, "no positives").to_json()
        {'value': None, 'low': None, 'high': None, 'n': 12, 'reason': 'no positives'}
    """

    value: float
    low: float
    high: float
    n: int
    reason: str | None = None

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"undefined: {self.reason or 'no reason given'} (n = {self.n})"
        if math.isnan(self.low):
            return f"{self.value:.3f} [no interval: {self.reason or 'no reason given'}] (n = {self.n})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary in which whatever is not a finite number is None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        finite = {name: v if math.isfinite(v) else None for name, v in numbers.items()}
        return {**finite, "n": self.n, "reason": self.reason}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Estimate:
        """What `to_json` wrote; None becomes NaN."""
        value, low, high = (math.nan if stored[k] is None else float(stored[k]) for k in ("value", "low", "high"))
        return cls(value, low, high, int(stored["n"]), stored.get("reason"))


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
    """

    value: float
    samples: FloatArray
    n: int
    reason: str | None = None
    key: str = ""

    def _combine(self, other: Replicates | float, operate: Callable[[Any, Any], Any]) -> Replicates:
        if not isinstance(other, Replicates):
            value, samples = operate(self.value, other), operate(self.samples, other)
            return Replicates(float(value), samples, self.n, self.reason, self.key)
        if self.key != other.key or self.samples.shape != other.samples.shape:
            raise InputError(
                "these figures are not paired: they come from different patients, seeds or numbers of "
                "resamples. Compute both with bootstraps of the same patients, seed and resamples."
            )
        value, samples = operate(self.value, other.value), operate(self.samples, other.samples)
        reason = join_reasons(self.reason, other.reason)
        return Replicates(float(value), samples, min(self.n, other.n), reason, self.key)

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
    def mean(cls, parts: Sequence[Replicates], *, n: int | None = None) -> Replicates:
        """The mean over classes or seeds, of those that are defined; the reason says how many are not.

        A resample in which one of the defined ones is undefined is itself undefined: averaging fewer there
        would compare different sets of classes. `n` is the largest of the parts' unless given.

        Raises:
            InputError: if there are no parts, or they are not paired.
        """
        if not parts:
            raise InputError("a mean of no figures at all was asked for.")
        defined = [p for p in parts if not math.isnan(p.value)]
        size = max(p.n for p in parts) if n is None else n
        if not defined:
            whole = parts[0].samples
            reason = join_reasons(f"none of {len(parts)} is defined", *(p.reason for p in parts))
            return cls(math.nan, np.full(whole.shape, math.nan), size, reason, parts[0].key)
        total = defined[0]
        for part in defined[1:]:
            total = total + part
        left_out = len(parts) - len(defined)
        note = f"{left_out} of {len(parts)} undefined and left out" if left_out else None
        reason = join_reasons(note, *(p.reason for p in defined))
        return cls(total.value / len(defined), total.samples / len(defined), size, reason, total.key)

    def estimate(self, level: float = 0.95) -> Estimate:
        """The figure with its percentile interval over the resamples in which it is defined.

        There is no interval where more than half of the resamples are undefined.
        """
        low = high = math.nan
        reason = self.reason
        defined = self.samples[~np.isnan(self.samples)]
        if not math.isnan(self.value) and 2 * len(defined) >= len(self.samples) > 0:
            low, high = (float(v) for v in np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]))
        elif not math.isnan(self.value) and len(defined):
            lacking = f"undefined in {len(self.samples) - len(defined)} of {len(self.samples)} resamples"
            reason = join_reasons(self.reason, lacking)
        return Estimate(self.value, low, high, self.n, reason)


ONE_PATIENT = "one patient only, so no interval"


def ratios(
    numerators: Values, denominators: Values, bootstrap: Bootstrap, *, reason: str = "nothing to divide by"
) -> list[Replicates]:
    """Σ w·a / Σ w·b for every column: means, accuracies, false positives per box.

    Args:
        numerators: a, (N, T).
        denominators: b, (N, T), or (N,) or (N, 1) for the same in every column.
        bootstrap: over the N images.
        reason: what to say where Σ b is 0.

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
    top, bottom = np.where(is_known, top, 0.0), np.where(is_known, bottom, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        totals = bottom.sum(0)
        values = np.where(totals != 0, top.sum(0) / totals, math.nan)
        weighed = bootstrap.sums(bottom)
        samples = np.where(weighed != 0, bootstrap.sums(top) / weighed, math.nan)
    single = bootstrap.single_patient(bottom != 0)
    samples[:, single | np.isnan(values)] = math.nan
    why = [reason if t == 0 else ONE_PATIENT if s else None for t, s in zip(totals, single, strict=True)]
    counts = np.count_nonzero(bottom, axis=0)
    return [
        Replicates(float(values[t]), samples[:, t].copy(), int(counts[t]), why[t], bootstrap.key)
        for t in range(top.shape[1])
    ]


def ratio(
    numerators: Values, denominators: Values, bootstrap: Bootstrap, *, reason: str = "nothing to divide by"
) -> Replicates:
    """Σ w·a / Σ w·b of two (N,) arrays; see `ratios`.

    Example:
        >>> draws = Bootstrap(range(4))
        >>> ratio([1, 0, 1, 1], [1, 1, 1, 1], draws).value
        0.75
    """
    return ratios(as_array(numerators)[:, None], denominators, bootstrap, reason=reason)[0]


def mean_over_images(values: Values, bootstrap: Bootstrap, *, reason: str = "no value is defined") -> Replicates:
    """The mean of (N,) values, leaving out NaN; the reason says how many were left out."""
    array = np.asarray(as_array(values), dtype=np.float64)
    mean = ratio(array, np.ones_like(array), bootstrap, reason=reason)
    missing = int(np.isnan(array).sum())
    if not missing or math.isnan(mean.value):
        return mean
    note = join_reasons(f"{missing} of {array.size} undefined and left out", mean.reason)
    return Replicates(mean.value, mean.samples, mean.n, note, mean.key)


@dataclass(frozen=True)
class Difference:
    """How much better a recipe is than another, on the same images.

    Attributes:
        estimate: mean over a's seeds less mean over b's seeds, with the interval over patients.
        seed_differences: seed by seed, where both have as many; else empty.
        seed_spread: standard deviation over the seeds of a and of b; NaN for a single seed.
    """

    estimate: Estimate
    seed_differences: tuple[float, ...]
    seed_spread: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary in which whatever is not a finite number is None."""
        lists = {"seed_differences": self.seed_differences, "seed_spread": self.seed_spread}
        return {
            "estimate": self.estimate.to_json(),
            **{name: [v if math.isfinite(v) else None for v in values] for name, values in lists.items()},
        }


def paired_difference(a: Sequence[Replicates], b: Sequence[Replicates], level: float = 0.95) -> Difference:
    """The difference between two recipes, each given as one figure per seed.

    In every resample of the patients, both recipes are averaged over their seeds and subtracted, so what is
    common to both (hard images) cancels. The interval speaks of other patients; `seed_spread`
    speaks of other seeds.

    Raises:
        InputError: if a list is empty, or the figures come from different patients or draws.

    Example:
        >>> draws = Bootstrap(range(4))
        >>> one = ratio([1, 0, 1, 1], [1, 1, 1, 1], draws)
        >>> print(paired_difference([one], [one]).estimate)
        0.000 [0.000, 0.000] (n = 4)
    """
    difference = Replicates.mean(a) - Replicates.mean(b)
    pairs = tuple(x.value - y.value for x, y in zip(a, b, strict=True)) if len(a) == len(b) else ()
    return Difference(difference.estimate(level), pairs, (_spread(a), _spread(b)))


def _spread(parts: Sequence[Replicates]) -> float:
    defined = [p.value for p in parts if not math.isnan(p.value)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan
