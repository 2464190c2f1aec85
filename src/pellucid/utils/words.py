"""Numbers of things, lists of names, and what an error says, for sentences."""

from __future__ import annotations

import math
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_DECIMALS = 12  # of an interval that is narrower than can be read
SIGN_DECIMALS = 6  # up to so many show that an interval excludes 0
BAR_DECIMALS = 4  # up to so many show on which side of another bar it ends
_NUMBER = re.compile(r"\d+\.?(\d*)")


def number_of(count: int, things: str) -> str:
    """A number with what it counts, in the singular or the plural: "(s)" stands where the two differ.

    Example:
        >>> number_of(1, "image(s)"), number_of(1200, "file(s) or folder(s) beside it")
        ('1 image', '1,200 files or folders beside it')
    """
    return f"{count:,} {things.replace('(s)', '' if count == 1 else 's')}"


def heading_name(model: str) -> str:
    """What a model is called in a heading: the last part of its path.

    Example:
        >>> heading_name("/home/ann/runs/first"), heading_name("timm:resnet50.a1_in1k")
        ('first', 'timm:resnet50.a1_in1k')
    """
    return Path(model).name or Path(model).resolve().name


def first_of(names: Iterable[str], count: int = 5) -> str:
    """The first names, for a message.

    Example:
        >>> first_of(["a", "b", "c"], 2), first_of(["a", "b"], 2)
        ('a, b, …', 'a, b')
    """
    first = list(islice(names, count + 1))
    return ", ".join(first[:count]) + (", …" if len(first) > count else "")


def listed(names: Sequence[str], most: int) -> str:
    """Names for a sentence: not more than `most` of them, and how many more there are.

    Example:
        >>> listed(["a", "b"], 2), listed(["a", "b", "c", "d"], 2)
        ('a and b', 'a, b and 2 more')
    """
    more = [f"{len(names) - most:,} more"] if len(names) > most else []
    return joined([*names[:most], *more]) if names else ""


def joined(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    Example:
        >>> joined(["a"]), joined(["a", "b"]), joined(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def first_line(error: BaseException) -> str:
    r"""The first line of what an error says; its kind where it says nothing.

    Example:
        >>> first_line(RuntimeError("no gradient\n  at node 3")), first_line(MemoryError())
        ('no gradient', 'MemoryError')
    """
    return str(error).strip().partition("\n")[0] or type(error).__name__


def known_text(value: float | None, text_of: Callable[[float], str]) -> str:
    """A number as people read it, or that it is not known, or has no bound.

    Args:
        value: it; NaN or None where it is unknown, infinite where nothing bounds it.
        text_of: how a number is written.

    Example:
        >>> [known_text(value, "{:.2f}".format) for value in (0.5, None, math.nan, math.inf)]
        ['0.50', 'unknown', 'unknown', 'unbounded']
    """
    if value is None or math.isnan(value):
        return "unknown"
    return "unbounded" if math.isinf(value) else text_of(value)


def whole_percent(share: float) -> str:
    """A share as people read it, in whole per cent.

    Example:
        >>> whole_percent(0.961)
        '96 %'
    """
    return f"{100 * share:.0f} %"


def interval_text(
    low: float | None, high: float | None, text_of: Callable[[float], str], bars: Sequence[float] = ()
) -> str:
    """An interval as people read it; empty where there is none.

    Args:
        low: its end; NaN or None where there is no interval.
        high: the other.
        text_of: how a number is written, a fixed number of decimals behind the point.
        bars: values on whose side an end must read as it lies, since what is said beside the interval hangs on that.

    Example:
        >>> interval_text(0.25, 0.5, "{:.2f}".format), interval_text(float("nan"), float("nan"), str)
        ('[0.25, 0.50]', '')

        Ends that would read the same have as many decimals as tell them apart:

        >>> interval_text(0.9961, 0.9999, "{:.2f}".format), interval_text(0.9961, 0.9999, whole_percent)
        ('[0.996, 1.000]', '[99.6 %, 100.0 %]')
        >>> interval_text(0.2474, 0.2512, "{:.2f}".format), interval_text(-0.0004, -0.0001, "{:+.2f}".format)
        ('[0.247, 0.251]', '[-0.0004, -0.0001]')

        So has an end beside a bar; where four do not tell it from the bar, words do:

        >>> interval_text(0.5032, 0.55, "{:.2f}".format), interval_text(0.5032, 0.55, "{:.2f}".format, [0.5])
        ('[0.50, 0.55]', '[0.503, 0.550]')
        >>> interval_text(0.41, 0.499998, "{:.2f}".format, [0.5])
        '[0.41, just below 0.50]'
    """
    if low is None or high is None or math.isnan(low):
        return ""
    decimals = decimals_for([(low, high)], text_of, bars)
    return f"[{_end(low, decimals, text_of, bars)}, {_end(high, decimals, text_of, bars)}]"


def figure_text(
    value: float, low: float | None, high: float | None, text_of: Callable[[float], str], bars: Sequence[float] = ()
) -> str:
    """A figure and its interval, with as many decimals as the interval needs; the figure alone where there is none.

    Example:
        >>> figure_text(0.4, 0.25, 0.5, "{:.2f}".format), figure_text(0.4, None, None, "{:.2f}".format)
        ('0.40 [0.25, 0.50]', '0.40')
        >>> figure_text(0.0034, 0.0031, 0.0038, "{:.2f}".format)
        '0.003 [0.003, 0.004]'
        >>> figure_text(0.524, 0.503, 0.545, "{:.2f}".format, bars=[0.5])
        '0.524 [0.503, 0.545]'

        An interval that excludes 0 does not read as if it began there, and no 0 has a sign:

        >>> figure_text(0.0034, 0.0001, 0.007, "{:.2f}".format), figure_text(-0.001, -0.01, 0.02, "{:.2f}".format)
        ('0.0034 [0.0001, 0.0070]', '0.00 [-0.01, 0.02]')
    """
    interval = interval_text(low, high, text_of, bars)
    return f"{value_text(value, low, high, text_of, bars)} {interval}".rstrip()


def value_text(
    value: float, low: float | None, high: float | None, text_of: Callable[[float], str], bars: Sequence[float] = ()
) -> str:
    """A figure, or a bar, with as many decimals as the interval, which stands in a place of its own.

    Example:
        >>> value_text(0.0004, 0.0001, 0.0006, "{:.3f}".format), value_text(0.4, None, None, "{:.3f}".format)
        ('0.0004', '0.400')
        >>> value_text(0.4973, 0.4991, 0.55, "{:.2f}".format, [0.4973])
        '0.497'
    """
    if low is None or high is None or math.isnan(low):
        return _written(value, None, text_of)
    return _written(value, decimals_for([(low, high)], text_of, bars), text_of)


def decimals_for(
    intervals: Iterable[tuple[float | None, float | None]], text_of: Callable[[float], str], bars: Sequence[float] = ()
) -> int:
    """With how many decimals figures are written that stand beside each other: what the narrowest interval needs.

    Args:
        intervals: theirs; one that lacks an end asks for nothing.
        text_of: how a number is written otherwise; no fewer decimals than that.
        bars: as `interval_text` has them.

    Example:
        >>> decimals_for([(0.1, 0.2), (0.1234, 0.1236), (None, None)], "{:.2f}".format)
        3
    """
    whole = [(low, high) for low, high in intervals if low is not None and high is not None and not math.isnan(low)]
    return max([_unit(text_of)[1], *(_decimals(low, high, text_of, bars) for low, high in whole)])


def _decimals(low: float, high: float, text_of: Callable[[float], str], bars: Sequence[float]) -> int:
    """With how many both ends read differently, on their side of each bar, and as other than 0 where 0 lies outside."""
    scale, least = _unit(text_of)
    decimals = max([least, *(_beside(end, bar, text_of) for end in (low, high) for bar in bars)])
    nearest = low if low > 0 else high if high < 0 else None  # the end that must not read as 0
    if nearest is not None:
        few = (d for d in range(decimals, SIGN_DECIMALS + 1) if round(scale * nearest, d))
        decimals = next(few, decimals)
    while low != high and decimals < MOST_DECIMALS and not _differ(low, high, scale, decimals):
        decimals += 1
    return decimals


def _beside(end: float, bar: float, text_of: Callable[[float], str]) -> int:
    """With how many decimals an end reads other than a bar; with the usual number where too many would be needed."""
    scale, least = _unit(text_of)
    few = (d for d in range(least, BAR_DECIMALS + 1) if _differ(end, bar, scale, d))
    return least if _is_at(end, bar) else next(few, least)


def _differ(one: float, other: float, scale: float, decimals: int) -> bool:
    """Whether two numbers read differently."""
    return round(scale * one, decimals) != round(scale * other, decimals)


def _is_at(end: float, bar: float) -> bool:
    """Whether an end is the bar, but for the rounding of machines."""
    return math.isclose(end, bar, rel_tol=0.0, abs_tol=1e-12)


def _end(end: float, decimals: int, text_of: Callable[[float], str], bars: Sequence[float]) -> str:
    """An end of an interval; "just above" or "just below" a bar that it would read as."""
    scale, _ = _unit(text_of)
    for bar in bars:
        if not _is_at(end, bar) and not _differ(end, bar, scale, decimals):
            return f"just {'above' if end > bar else 'below'} {_written(bar, decimals, text_of)}"
    return _written(end, decimals, text_of)


def _written(value: float, decimals: int | None, text_of: Callable[[float], str]) -> str:
    scale, least = _unit(text_of)
    if decimals is None or decimals == least:
        text = text_of(value)
        reads_as_zero = math.isfinite(value) and "0" in text and not re.search("[1-9]", text)
        return text_of(0.0) if reads_as_zero else text
    sign = math.copysign(1.0, value) if round(scale * value, decimals) else 0.0
    return _NUMBER.sub(f"{scale * abs(value):.{decimals}f}", text_of(sign))


def _unit(text_of: Callable[[float], str]) -> tuple[float, int]:
    """What 1 is written as, 1 or 100 of shares in per cent, and with how many decimals."""
    one = _NUMBER.search(text_of(1.0))
    return (float(one[0]), len(one[1])) if one else (1.0, MOST_DECIMALS)
