"""How far a difference may be from the true one, to either side, and the p values that go with that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import scipy  # its parts load when they are used

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVEL = 0.95
ALIKE = "the same on every image: nothing says how far it would differ on others"


@dataclass(frozen=True)
class Inference:
    """A difference, how far the true one may lie below it and above it, and t's degrees of freedom.

    The two errors differ where a figure is close to its bound: an AUROC of .99 may be much lower, but hardly higher.
    The interval of any level reaches from the value by t's quantile times the error of either side, and every p value
    is one less the level whose interval just reaches so far.

    Attributes:
        value: the difference; NaN where it is undefined.
        below: the standard error towards lower values; NaN where there is none.
        above: that towards higher ones.
        df: degrees of freedom, inf where the errors are as good as known.
        reason: why something is NaN; None where nothing is to be said.

    Example:
        >>> question = Inference(0.03, 0.01, 0.02, 4.0)
        >>> round(question.low, 4), round(question.high, 4), round(question.p, 3)
        (0.0022, 0.0855, 0.04)
        >>> round(question.p_above(-0.01), 3), round(question.p_above(0.07), 3)
        (0.008, 0.942)
    """

    value: float
    below: float = math.nan
    above: float = math.nan
    df: float = math.nan
    reason: str | None = None

    @classmethod
    def even(cls, value: float, error: float, df: float, reason: str | None = None) -> Inference:
        """One that is as uncertain to either side."""
        return cls(value, error, error, df, reason)

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
        quantile = float(scipy.special.stdtrit(self.df, (1 + level) / 2))
        return self.value - quantile * self.below, self.value + quantile * self.above

    @property
    def p(self) -> float:
        """The two-sided p value of no difference: below 0.05 just where the 95 % interval excludes 0.

        Without an interval it is 1 where nothing differs, and NaN where nothing is known.
        """
        if self.is_known:
            return min(1.0, 2 * min(self.p_above(0.0), self.turned().p_above(0.0)))
        return 1.0 if self.value == 0 and self.reason == ALIKE else math.nan

    def p_above(self, bar: float) -> float:
        """The one-sided p value of the true difference being at most `bar`; small where it lies above."""
        distance = self.value - bar
        error = self.below if distance > 0 else self.above
        if not error > 0:  # NaN, or the true value cannot lie on that side
            return math.nan if math.isnan(error) else 0.5 if distance == 0 else float(distance < 0)
        return float(scipy.special.stdtr(self.df, -distance / error))

    def turned(self) -> Inference:
        """The difference taken the other way round."""
        return Inference(-self.value, self.above, self.below, self.df, self.reason)

    def to_json(self) -> dict[str, Any]:
        """Interval, p, errors and degrees of freedom; whatever is not a finite number is None."""
        numbers = {
            "low": self.low, "high": self.high, "p": self.p,
            "error_below": self.below, "error_above": self.above, "df": self.df,
        }  # fmt: skip
        finite = {name: v if math.isfinite(v) else None for name, v in numbers.items()}
        return {**finite, "reason": self.reason}

    @classmethod
    def from_json(cls, value: float | None, stored: Mapping[str, Any]) -> Inference:
        """What `to_json` wrote of the difference `value`."""
        difference, reason = math.nan if value is None else value, stored.get("reason")
        if stored["error_below"] is None:
            return cls(difference, reason=reason)
        df = math.inf if stored["df"] is None else float(stored["df"])
        return cls(difference, float(stored["error_below"]), float(stored["error_above"]), df, reason)
