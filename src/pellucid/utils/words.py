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


def interval_text(low: float | None, high: float | None, text_of: Callable[[float], str]) -> str:
    """An interval as people read it; empty where there is none.

    Args:
        low: its end; NaN or None where there is no interval.
        high: the other.
        text_of: how a number is written, a fixed number of decimals behind the point.

    Example:
        >>> interval_text(0.25, 0.5, "{:.2f}".format), interval_text(float("nan"), float("nan"), str)
        ('[0.25, 0.50]', '')

        Ends that would read the same have as many decimals as tell them apart:

        >>> interval_text(0.9961, 0.9999, "{:.2f}".format), interval_text(0.9961, 0.9999, whole_percent)
        ('[0.996, 1.000]', '[99.6 %, 100.0 %]')
        >>> interval_text(0.2474, 0.2512, "{:.2f}".format), interval_text(-0.0004, -0.0001, "{:+.2f}".format)
        ('[0.247, 0.251]', '[-0.0004, -0.0001]')
    """
    if low is None or high is None or math.isnan(low):
        return ""
    decimals = _decimals(low, high, text_of)
    return f"[{_written(low, decimals, text_of)}, {_written(high, decimals, text_of)}]"


def figure_text(value: float, low: float | None, high: float | None, text_of: Callable[[float], str]) -> str:
    """A figure and its interval, with as many decimals as the interval needs; the figure alone where there is none.

    Example:
        >>> figure_text(0.4, 0.25, 0.5, "{:.2f}".format), figure_text(0.4, None, None, "{:.2f}".format)
        ('0.40 [0.25, 0.50]', '0.40')
        >>> figure_text(0.0034, 0.0031, 0.0038, "{:.2f}".format)
        '0.003 [0.003, 0.004]'

        An interval that excludes 0 does not read as if it began there, and no 0 has a sign:

        >>> figure_text(0.0034, 0.0001, 0.007, "{:.2f}".format), figure_text(-0.001, -0.01, 0.02, "{:.2f}".format)
        ('0.0034 [0.0001, 0.0070]', '0.00 [-0.01, 0.02]')
    """
    interval = interval_text(low, high, text_of)
    return f"{value_text(value, low, high, text_of)} {interval}".rstrip()


def value_text(value: float, low: float | None, high: float | None, text_of: Callable[[float], str]) -> str:
    """A figure with as many decimals as its interval, which stands in a place of its own.

    Example:
        >>> value_text(0.0004, 0.0001, 0.0006, "{:.3f}".format), value_text(0.4, None, None, "{:.3f}".format)
        ('0.0004', '0.400')
    """
    if low is None or high is None or math.isnan(low):
        return _written(value, None, text_of)
    return _written(value, _decimals(low, high, text_of), text_of)


def _decimals(low: float, high: float, text_of: Callable[[float], str]) -> int | None:
    """With how many decimals both ends read differently, and as other than 0 where 0 lies outside.

    None with those that `text_of` writes.
    """
    scale, least = _unit(text_of)
    nearest = low if low > 0 else high if high < 0 else None  # the end that must not read as 0
    decimals = least
    if nearest is not None:
        few = (d for d in range(least, SIGN_DECIMALS + 1) if round(scale * nearest, d))
        decimals = next(few, least)
    while low != high and decimals < MOST_DECIMALS and round(scale * low, decimals) == round(scale * high, decimals):
        decimals += 1
    return None if decimals == least else decimals


def _written(value: float, decimals: int | None, text_of: Callable[[float], str]) -> str:
    if decimals is None:
        text = text_of(value)
        reads_as_zero = math.isfinite(value) and "0" in text and not re.search("[1-9]", text)
        return text_of(0.0) if reads_as_zero else text
    scale, _ = _unit(text_of)
    sign = math.copysign(1.0, value) if round(scale * value, decimals) else 0.0
    return _NUMBER.sub(f"{scale * abs(value):.{decimals}f}", text_of(sign))


def _unit(text_of: Callable[[float], str]) -> tuple[float, int]:
    """What 1 is written as, 1 or 100 of shares in per cent, and with how many decimals."""
    one = _NUMBER.search(text_of(1.0))
    return (float(one[0]), len(one[1])) if one else (1.0, MOST_DECIMALS)
