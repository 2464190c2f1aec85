"""Two recipes compared: these networks on other patients, and, apart from it, other trainings on other patients."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.metrics.statistics import Replicates, join_reasons
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.evaluation.metrics.bootstrap import FloatArray

LEVEL = 0.95
FARTHEST = 20.0  # of z: no p is below 1e-89; farther out Student's quantiles of scipy become wrong or infinite
HALVINGS = 40  # of the bracket of a quantile, to twelve digits
Z = 1.959963984540054  # as far as the normal distribution's 95 % interval reaches
ROUNDING = 1e-12  # what sums of equal numbers leave
ALIKE = "the same on every image: nothing says how far it would differ on others"
ONE_TRAINING = "one training of a recipe: nothing is known of its other trainings"


@dataclass(frozen=True)
class Inference:
    """A difference, how far the true one may lie below it and above it, and what of that rests on few trainings.

    The two errors differ where a figure is close to its bound: an AUROC of .99 may be much lower, but hardly higher.
    The interval of any level reaches from the value to either side by the square root of the sum of two squares: the
    normal quantile times what patients leave open on this side, and, for each recipe, Student's quantile of its own
    S − 1 degrees of freedom times what its trainings add. Every p value is one less the level whose interval just
    reaches so far (`tail_by_parts`).

    Attributes:
        value: the difference; NaN where it is undefined.
        below: the standard error towards lower values; NaN where there is none.
        above: that towards higher ones.
        reason: why something is NaN; None where nothing is to be said.
        trainings: what each recipe's trainings add to the square of the error, with its degrees of freedom, S − 1;
            empty where no trainings were drawn.

    Example:
        >>> question = Inference(0.03, 0.01, 0.02, trainings=((0.00004, 4), (0.00003, 4)))
        >>> round(question.low, 4), round(question.high, 4), round(question.p, 3)
        (0.0044, 0.0725, 0.03)
        >>> round(question.p_above(-0.01), 3), round(question.p_above(0.07), 3)
        (0.005, 0.969)
    """

    value: float
    below: float = math.nan
    above: float = math.nan
    reason: str | None = None
    trainings: tuple[tuple[float, int], ...] = ()

    @classmethod
    def even(cls, value: float, error: float, trainings: Sequence[tuple[float, int]] = ()) -> Inference:
        """One that is as uncertain to either side."""
        return cls(value, error, error, trainings=tuple(trainings))

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.below)

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval; NaN where there is none."""
        return self.interval(LEVEL)[0]

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval; NaN where there is none."""
        return self.interval(LEVEL)[1]

    def interval(self, level: float) -> tuple[float, float]:
        """The ends of the interval of a level between 0 and 1; NaN where there is none."""
        if not self.is_known:
            return math.nan, math.nan
        z = min(-float(scipy.special.ndtri((1 - level) / 2)), FARTHEST)
        parts = _parts(self.trainings)
        below, above = (float(reach_by_parts(z, np.array(side), *parts)) for side in (self.below, self.above))
        return self.value - below, self.value + above

    @property
    def p(self) -> float:
        """The two-sided p value of no difference: below 0.05 just where the 95 % interval excludes 0.

        Without an interval it is 1 where nothing differs, and NaN where nothing is known.
        """
        return (self if self.value > 0 else self.turned()).p_doubled(0.0)

    def p_doubled(self, bar: float) -> float:
        """Twice `p_above`, at most 1, so that 0.05 is its bar too.

        Without an interval it is 1 where nothing differs, and NaN where nothing is known.
        """
        p = self.p_above(bar)
        if math.isnan(p):
            return 1.0 if self.value == 0 and self.reason == ALIKE else math.nan
        return min(1.0, 2 * p)

    def p_above(self, bar: float) -> float:
        """The one-sided p value of the true difference being at most `bar`; small where it lies above."""
        distance = self.value - bar
        error = self.below if distance > 0 else self.above
        if not error > 0:  # NaN, or the true value cannot lie on that side
            return math.nan if math.isnan(error) else 0.5 if distance == 0 else float(distance < 0)
        if not self.trainings:
            return float(scipy.special.ndtr(-distance / error))
        beyond = _tail(abs(distance), error, self.trainings)
        return beyond if distance > 0 else 1 - beyond

    def turned(self) -> Inference:
        """The difference taken the other way round."""
        return replace(self, value=-self.value, below=self.above, above=self.below)

    def to_json(self) -> dict[str, Any]:
        """Interval, p, errors and what the trainings add; whatever is not a finite number is None."""
        numbers = {
            "low": self.low, "high": self.high, "p": self.p, "error_below": self.below, "error_above": self.above,
        }  # fmt: skip
        finite = {name: v if math.isfinite(v) else None for name, v in numbers.items()}
        squares, df = [square for square, _ in self.trainings], [own for _, own in self.trainings]
        return {**finite, "trainings_squared": squares, "trainings_df": df, "reason": self.reason}

    @classmethod
    def from_json(cls, value: float | None, stored: Mapping[str, Any]) -> Inference:
        """What `to_json` wrote of the difference `value`."""
        difference, reason = math.nan if value is None else value, stored.get("reason")
        if stored["error_below"] is None:
            return cls(difference, reason=reason)
        trainings = tuple(zip(stored["trainings_squared"], stored["trainings_df"], strict=True))
        return cls(difference, float(stored["error_below"]), float(stored["error_above"]), reason, trainings)


@dataclass(frozen=True)
class Difference:
    """How much higher one recipe's figure is than another's on the same images, and what that says of what.

    Attributes:
        value: the mean over the first's trainings less the mean over the second's; NaN where undefined.
        n: how many things it averages over.
        networks: these networks, other patients.
        recipes: these recipes, other trainings and other patients.
        reason: why something is undefined, or left out.
    """

    value: float
    n: int
    networks: Inference
    recipes: Inference
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary in which whatever is not a finite number is None."""
        return {
            "value": self.value if math.isfinite(self.value) else None,
            "n": self.n,
            "reason": self.reason,
            "networks": self.networks.to_json(),
            "recipes": self.recipes.to_json(),
        }


def paired_difference(a: Sequence[Replicates], b: Sequence[Replicates], *, shared: bool = False) -> Difference:
    """The difference between two recipes, each given as one figure per training.

    Two questions, which are not the same. *These networks, other patients*: each recipe is averaged over its networks.
    The interval of the difference is put together from those of the two averages and their correlation over the
    resamples of the patients, so what is hard for both cancels, and few errors leave it as wide as they leave theirs
    (`statistics.interval_of_sum`). Where one of them has no interval of its own, as an Accuracy-Robustness Area, it is
    the normal distribution's with the standard deviation over the resamples. *These recipes, other trainings and other
    patients*: the trainings are drawn too. The error is that of Obuchowski and Rockette's analysis of several readers
    and cases, a training for a reader:

        error² = patients + s_a² / S_a + s_b² / S_b

    with s² the variance of a recipe's figures over its S trainings, and *patients* what different networks have in
    common in the resamples: the mean covariance of two networks of a, plus that of two of b, less twice that of one
    of each (0 where that is negative). The spread over the trainings holds what is left of the patients, so it
    counts once. Towards either side, *patients* is that share of the square of the networks' error on this side, and
    the whole error is never less than the networks' there: their mean varies over patients by what they have in common
    and by what each adds of its own, which the spread over the trainings holds as well, so over other trainings and
    other patients nothing is surer than over other patients alone. Near a bound few patients show hardly any
    covariance, and only the networks' interval says how much they leave open. Each part reaches as far as its own
    degrees of freedom ask for, S − 1 of either recipe's trainings (`tail_by_parts`); none are guessed for the whole.

    Args:
        a: the first recipe's figures, of the same patients and draws.
        b: the second's; as many or not.
        shared: whether the trainings of the same place started from the same network (a network and what it was
            trained on to): then the differences place by place are what scatters.

    Returns:
        Of one training of a recipe (or `shared` and fewer than two pairs) there is no answer to the second question,
        and the reason.

    Raises:
        InputError: if a list is empty, the figures come from different patients or draws, or `shared` ones differ in
            number.

    Source:
        G. Zou, A. Donner, Statistics in Medicine 27, 2008; N. Obuchowski, H. Rockette, Communications in Statistics 24,
        1995; S. Hillis, Statistics in Medicine 26, 2007, and 33, 2014, for readers who read by one modality only;
        S. Banerjee, Sankhyā A 23, 1961; docs/decisions/0014-two-questions.md and 0015-intervals.md.

    Example:
        >>> from pellucid.evaluation.metrics.bootstrap import Bootstrap
        >>> from pellucid.evaluation.metrics.statistics import ratio
        >>> draws = Bootstrap(range(8))
        >>> first, second = (ratio(right, [1] * 8, draws) for right in ([1, 0, 1, 1] * 2, [1, 0, 0, 1] * 2))
        >>> difference = paired_difference([first], [second])
        >>> difference.value, round(difference.networks.low, 2), round(difference.networks.high, 2)
        (0.25, -0.12, 0.62)
        >>> difference.recipes.reason
        'one training of a recipe: nothing is known of its other trainings'
    """
    if shared:
        if len(a) != len(b):
            raise InputError(f"trainings that go together come in pairs; found {len(a)} and {len(b)}.")
        groups = [[x - y for x, y in zip(a, b, strict=True)]]
        difference = Replicates.mean(groups[0], together=True)
    else:
        groups = [list(a), list(b)]
        difference = Replicates.mean(a, together=True) - Replicates.mean(b, together=True)
    networks = _of_networks(difference, is_still=not any(_spread(r.samples) > ROUNDING for r in (*a, *b)))
    return Difference(
        difference.value, difference.n, networks, _of_recipes(difference, groups, networks), difference.reason
    )


def _of_networks(difference: Replicates, *, is_still: bool) -> Inference:
    """The first answer; `is_still` says that no resample changes any of the figures."""
    if math.isnan(difference.value) or difference.lacking:
        return Inference(difference.value, reason=difference.lacking or difference.reason)
    defined = difference.samples[~np.isnan(difference.samples)]
    if len(defined) < 2 or 2 * len(defined) < len(difference.samples):
        return Inference(difference.value, reason=difference.reason or _undefined(len(defined), difference.samples))
    has_own = not math.isnan(difference.interval.low)
    error = _spread(defined)
    if error <= ROUNDING and not (is_still and has_own):
        return _alike(difference)
    if not has_own:
        return Inference.even(difference.value, error)
    low, high = difference.interval
    return Inference(difference.value, (difference.value - low) / Z, (high - difference.value) / Z)


def _of_recipes(difference: Replicates, groups: Sequence[Sequence[Replicates]], networks: Inference) -> Inference:
    defined = [[r for r in group if not math.isnan(r.value)] for group in groups]
    if math.isnan(difference.value) or difference.lacking:
        return Inference(difference.value, reason=difference.lacking or difference.reason)
    if min(len(group) for group in defined) < 2:
        one = min(len(group) for group in groups) < 2
        return Inference(difference.value, reason=ONE_TRAINING if one else "defined in one training only")
    samples = np.stack([r.samples for group in defined for r in group])
    usable = samples[:, ~np.isnan(samples).any(0)]
    if usable.shape[1] < 2 or 2 * usable.shape[1] < samples.shape[1]:
        return Inference(
            difference.value, reason=join_reasons(difference.reason, _undefined(usable.shape[1], samples[0]))
        )
    covariance = np.cov(usable)
    variance = recipe_variance([np.array([r.value for r in group]) for group in defined], covariance)
    if variance.error <= ROUNDING and not networks.is_known:
        return _alike(difference)
    sign = np.concatenate([np.full(len(group), s / len(group)) for s, group in zip((1, -1), defined, strict=False)])
    whole = float(sign @ covariance @ sign)
    share = float(variance.patients) / whole if whole > ROUNDING**2 else 1.0
    parts = [(float(square), df) for square, df in zip(variance.spreads, variance.spreads_df, strict=True)]
    if not networks.is_known:
        return Inference.even(difference.value, float(variance.error), parts)
    below, above = (
        max(side, math.sqrt(share * side**2 + float(variance.trainings))) for side in (networks.below, networks.above)
    )
    return Inference(difference.value, below, above, trainings=tuple(parts))


def _spread(samples: FloatArray) -> float:
    """The standard deviation over the resamples in which there is a figure."""
    defined = samples[~np.isnan(samples)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else 0.0


def _undefined(count: int, samples: FloatArray) -> str:
    return f"undefined in {len(samples) - count} of {len(samples)} resamples"


def _alike(difference: Replicates) -> Inference:
    return Inference(0.0 if abs(difference.value) <= ROUNDING else difference.value, reason=ALIKE)


class RecipeVariance(NamedTuple):
    """What the square of the standard error of a difference of two recipes consists of; (…) arrays.

    Attributes:
        patients: what different networks have in common in the resamples, at least 0.
        spreads: what each recipe's trainings add.
        spreads_df: the degrees of freedom of each recipe's trainings, S − 1.
    """

    patients: FloatArray
    spreads: tuple[FloatArray, ...]
    spreads_df: tuple[int, ...]

    @property
    def trainings(self) -> FloatArray:
        """What the trainings of all recipes add."""
        return np.asarray(sum(self.spreads))

    @property
    def error(self) -> FloatArray:
        """The standard error."""
        return np.sqrt(self.patients + self.trainings)


def recipe_variance(values: Sequence[FloatArray], covariance: FloatArray) -> RecipeVariance:
    """The variance of a difference of two recipes, part by part; many at once.

    Args:
        values: (…, S_a) and (…, S_b), the figures of each recipe's trainings; one entry, (…, S), for the differences
            of trainings that go together.
        covariance: (…, S, S) of all of them, in this order, over the resamples of the patients.
    """
    ends = np.cumsum([0, *(v.shape[-1] for v in values)])
    parts = [slice(start, end) for start, end in pairwise(ends)]
    patients = np.zeros(covariance.shape[:-2])
    for part in parts:
        block, count = covariance[..., part, part], part.stop - part.start
        alone = np.trace(block, axis1=-2, axis2=-1)
        patients = patients + (block.sum((-2, -1)) - alone) / (count * (count - 1))
    if len(parts) == 2:
        patients = patients - 2 * covariance[..., parts[0], parts[1]].mean((-2, -1))
    patients = np.maximum(patients, 0)
    spreads = tuple(np.asarray(v.var(-1, ddof=1) / v.shape[-1]) for v in values)
    own = tuple(v.shape[-1] - 1 for v in values)
    return RecipeVariance(patients, spreads, own)


def reach_by_parts(
    z: FloatArray | float, error: FloatArray, spreads: Sequence[FloatArray], spreads_df: Sequence[int]
) -> FloatArray:
    """How far from a difference the end of its interval lies whose error would be known at z standard errors; (…).

    `z² · (error² − Σ spreads) + Σ t(df)² · spread` is its square, t Student's quantile beyond which as much lies as
    beyond z: every part of the error reaches as far as its own degrees of freedom ask for.

    Args:
        z: the normal quantile, 0 to 20.
        error: the whole standard error on that side; what the trainings do not add counts as known.
        spreads: what each recipe's trainings add to its square.
        spreads_df: the degrees of freedom of each.

    Source:
        S. Banerjee, Sankhyā A 23, 1961; docs/decisions/0014-two-questions.md.

    Example:
        >>> round(float(reach_by_parts(1.96, np.array(0.01), [], [])), 4)
        0.0196
        >>> round(float(reach_by_parts(1.96, np.array(0.01), [np.array(0.0001)], [2])), 4)  # Student's t
        0.043
    """
    return _reach(z, np.maximum(error**2 - sum(spreads), 0.0), [np.sqrt(spread) for spread in spreads], spreads_df)


def _reach(z: FloatArray | float, rest: FloatArray, roots: Sequence[FloatArray], roots_df: Sequence[int]) -> FloatArray:
    """`reach_by_parts` of what does not depend on z: the square of the rest of the error, the roots of the spreads."""
    beyond = scipy.special.ndtr(-z)
    quantiles = {df: scipy.special.stdtrit(df, beyond) for df in set(roots_df)}
    square = np.square(z) * rest
    for root, df in zip(roots, roots_df, strict=True):
        square = square + (quantiles[df] * root) ** 2
    return np.asarray(np.sqrt(square))


def tail_by_parts(
    distance: FloatArray, error: FloatArray, spreads: Sequence[FloatArray], spreads_df: Sequence[int]
) -> FloatArray:
    """The one-sided p value of a difference whose error has parts that are estimated from few trainings each; (…).

    The p whose `reach_by_parts` is the distance. Of normal figures whose patients' part is known p is below any α in at
    most α of the samples, however unequal the spreads and the numbers of trainings are.

    Args:
        distance: from the difference to what it is held against, at least 0.
        error: the whole standard error on that side, above 0.
        spreads: what each recipe's trainings add to its square.
        spreads_df: the degrees of freedom of each.

    Returns:
        At most 0.5 and at least 1e-89; NaN where a distance, an error or a spread is.

    Example:
        >>> round(float(tail_by_parts(np.array(3.0), np.array(1.0), [np.array(1.0)], [4])), 4)  # Student's t
        0.02
        >>> round(float(tail_by_parts(np.array(3.0), np.array(1.0), [np.array(0.5), np.array(0.5)], [4, 9])), 4)
        0.0143
    """
    rest, roots = np.maximum(error**2 - sum(spreads), 0.0), [np.sqrt(spread) for spread in spreads]
    low, high = np.zeros_like(distance), np.minimum(distance / error, FARTHEST)  # of z: no quantile of t is smaller
    for _ in range(HALVINGS):
        z = (low + high) / 2
        is_short = _reach(z, rest, roots, spreads_df) < distance
        low, high = np.where(is_short, z, low), np.where(is_short, high, z)
    return np.asarray(np.where(np.isnan(distance + error + sum(spreads)), np.nan, scipy.special.ndtr(-low)))


def _parts(trainings: Sequence[tuple[float, int]]) -> tuple[list[FloatArray], list[int]]:
    return [np.array(square) for square, _ in trainings], [df for _, df in trainings]


@lru_cache(maxsize=65_536)  # of one difference, verdicts and tables ask several times
def _tail(distance: float, error: float, trainings: tuple[tuple[float, int], ...]) -> float:
    return float(tail_by_parts(np.array(distance), np.array(error), *_parts(trainings)))
