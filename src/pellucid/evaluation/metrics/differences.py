"""Two recipes compared: these networks on other patients, and, apart from it, other trainings on other patients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.metrics.statistics import Replicates, join_reasons
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.evaluation.metrics.bootstrap import FloatArray

LEVEL = 0.95
MOST_DF = 5  # for each degree of freedom that the trainings have
ROUNDING = 1e-12  # what sums of equal numbers leave
ALIKE = "the same on every image: nothing says how far it would differ on others"
ONE_TRAINING = "one training of a recipe: nothing is known of its other trainings"


@dataclass(frozen=True)
class Inference:
    """A difference and how far it may be from the true one: its standard error, and t's degrees of freedom.

    Attributes:
        value: the difference; NaN where it is undefined.
        error: its standard error; NaN where there is none.
        df: degrees of freedom, inf where the error is as good as known.
        reason: why something is NaN; None where nothing is to be said.

    Example:
        >>> question = Inference(0.03, 0.01, 4.0)
        >>> round(question.low, 4), round(question.high, 4), round(question.p, 3)
        (0.0022, 0.0578, 0.04)
        >>> round(question.p_above(-0.01), 3)
        0.008
    """

    value: float
    error: float
    df: float
    reason: str | None = None

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval; NaN where there is none."""
        return self.value - self._reach

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval; NaN where there is none."""
        return self.value + self._reach

    @property
    def p(self) -> float:
        """The two-sided p value of no difference: below 0.05 just where the interval excludes 0.

        Without an error it is 1 where nothing differs, and NaN where nothing is known.
        """
        if self.error > 0:
            return float(2 * scipy.special.stdtr(self.df, -abs(self.value) / self.error))
        return 1.0 if self.value == 0 and self.reason == ALIKE else math.nan

    def p_above(self, bar: float) -> float:
        """The one-sided p value of the true difference being at most `bar`; small where it lies above."""
        if self.error > 0:
            return float(scipy.special.stdtr(self.df, -(self.value - bar) / self.error))
        return math.nan

    @property
    def _reach(self) -> float:
        return float(scipy.special.stdtrit(self.df, (1 + LEVEL) / 2)) * self.error if self.error > 0 else math.nan

    def to_json(self) -> dict[str, Any]:
        """Interval, p, error and degrees of freedom; whatever is not a finite number is None."""
        numbers = {"low": self.low, "high": self.high, "p": self.p, "error": self.error, "df": self.df}
        finite = {name: v if math.isfinite(v) else None for name, v in numbers.items()}
        return {**finite, "reason": self.reason}

    @classmethod
    def from_json(cls, value: float | None, stored: Mapping[str, Any]) -> Inference:
        """What `to_json` wrote of the difference `value`."""
        error, df = stored["error"], stored["df"]
        is_known = error is not None
        return cls(
            math.nan if value is None else value,
            float(error) if is_known else math.nan,
            (math.inf if df is None else float(df)) if is_known else math.nan,
            stored.get("reason"),
        )


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

    Two questions, which are not the same. *These networks, other patients*: in every resample of the patients both
    recipes are averaged over their networks and subtracted, so what is hard for both cancels; the standard deviation
    over the resamples is the error. *These recipes, other trainings and other patients*: the trainings are drawn too.
    The error is that of Obuchowski and Rockette's analysis of several readers and cases, a training for a reader:

        error² = patients + s_a² / S_a + s_b² / S_b

    with s² the variance of a recipe's figures over its S trainings, and *patients* what different networks have in
    common in the resamples: the mean covariance of two networks of a, plus that of two of b, less twice that of one
    of each (0 where that is negative). The spread over the trainings holds what is left of the patients, so it
    counts once. Degrees of freedom after Satterthwaite, without supposing that both recipes scatter alike, and at most
    five times S_a + S_b − 2: they come out too large just where few trainings happen to scatter too little.

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
        N. Obuchowski, H. Rockette, Communications in Statistics 24, 1995; S. Hillis, Statistics in Medicine 26, 2007,
        and 33, 2014, for readers who read by one modality only; docs/decisions/0014-two-questions.md.

    Example:
        >>> from pellucid.evaluation.metrics.bootstrap import Bootstrap
        >>> from pellucid.evaluation.metrics.statistics import ratio
        >>> draws = Bootstrap(range(8))
        >>> first, second = (ratio(right, [1] * 8, draws) for right in ([1, 0, 1, 1] * 2, [1, 0, 0, 1] * 2))
        >>> found = paired_difference([first], [second])
        >>> found.value, round(found.networks.error, 2), found.recipes.reason
        (0.25, 0.15, 'one training of a recipe: nothing is known of its other trainings')
    """
    if shared:
        if len(a) != len(b):
            raise InputError(f"trainings that go together come in pairs; found {len(a)} and {len(b)}.")
        groups = [[x - y for x, y in zip(a, b, strict=True)]]
        difference = Replicates.mean(groups[0])
    else:
        groups, difference = [list(a), list(b)], Replicates.mean(a) - Replicates.mean(b)
    networks = _of_networks(difference)
    return Difference(difference.value, difference.n, networks, _of_recipes(difference, groups), difference.reason)


def _of_networks(difference: Replicates) -> Inference:
    if math.isnan(difference.value) or difference.lacking:
        return Inference(difference.value, math.nan, math.nan, difference.lacking or difference.reason)
    defined = difference.samples[~np.isnan(difference.samples)]
    if len(defined) < 2 or 2 * len(defined) < len(difference.samples):
        lacking = f"undefined in {len(difference.samples) - len(defined)} of {len(difference.samples)} resamples"
        return Inference(difference.value, math.nan, math.nan, difference.reason or lacking)
    error = float(defined.std(ddof=1))
    return Inference(difference.value, error, math.inf) if error > ROUNDING else _alike(difference)


def _of_recipes(difference: Replicates, groups: Sequence[Sequence[Replicates]]) -> Inference:
    defined = [[r for r in group if not math.isnan(r.value)] for group in groups]
    if math.isnan(difference.value) or difference.lacking:
        return Inference(difference.value, math.nan, math.nan, difference.lacking or difference.reason)
    if min(len(group) for group in defined) < 2:
        one = min(len(group) for group in groups) < 2
        return Inference(difference.value, math.nan, math.nan, ONE_TRAINING if one else "defined in one training only")
    samples = np.stack([r.samples for group in defined for r in group])
    usable = samples[:, ~np.isnan(samples).any(0)]
    if usable.shape[1] < 2 or 2 * usable.shape[1] < samples.shape[1]:
        lacking = f"undefined in {samples.shape[1] - usable.shape[1]} of {samples.shape[1]} resamples"
        return Inference(difference.value, math.nan, math.nan, join_reasons(difference.reason, lacking))
    values = [np.array([r.value for r in group]) for group in defined]
    error, df = recipe_error(values, np.cov(usable))
    return Inference(difference.value, float(error), float(df)) if error > ROUNDING else _alike(difference)


def _alike(difference: Replicates) -> Inference:
    value = 0.0 if abs(difference.value) <= ROUNDING else difference.value
    return Inference(value, math.nan, math.nan, ALIKE)


def recipe_error(values: Sequence[FloatArray], covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The standard error of a difference of two recipes, and its degrees of freedom; many at once.

    Args:
        values: (…, S_a) and (…, S_b), the figures of each recipe's trainings; one entry, (…, S), for the differences
            of trainings that go together.
        covariance: (…, S, S) of all of them, in this order, over the resamples of the patients.

    Returns:
        Two (…) arrays; where nothing scatters the error is 0 and the degrees of freedom NaN.
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
    spreads = [v.var(-1, ddof=1) / v.shape[-1] for v in values]
    squared = np.maximum(patients, 0) + sum(spreads)
    weight = sum(s**2 / (v.shape[-1] - 1) for s, v in zip(spreads, values, strict=True))
    most = MOST_DF * sum(v.shape[-1] - 1 for v in values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(squared), np.minimum(squared**2 / weight, most)
