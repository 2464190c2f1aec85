"""Numbers of things, lists of names, and what an error says, for sentences."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def number_of(count: int, things: str) -> str:
    """A number with what it counts, in the singular or the plural: "(s)" stands where the two differ.

    Example:
        >>> number_of(1, "image(s)"), number_of(1200, "file(s) or folder(s) beside it")
        ('1 image', '1,200 files or folders beside it')
    """
    return f"{count:,} {things.replace('(s)', '' if count == 1 else 's')}"


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
        ('a, b', 'a, b and 2 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def first_line(error: BaseException) -> str:
    r"""The first line of what an error says; its kind where it says nothing.

    Example:
        >>> first_line(RuntimeError("no gradient\n  at node 3")), first_line(MemoryError())
        ('no gradient', 'MemoryError')
    """
    return str(error).strip().partition("\n")[0] or type(error).__name__


def interval_text(low: float | None, high: float | None, text_of: Callable[[float], str]) -> str:
    """An interval as people read it; empty where there is none.

    Args:
        low: its end; NaN or None where there is no interval.
        high: the other.
        text_of: how a number is written.

    Example:
        >>> interval_text(0.25, 0.5, "{:.2f}".format), interval_text(float("nan"), float("nan"), str)
        ('[0.25, 0.50]', '')

        Ends that would read the same have as many decimals as tell them apart:

        >>> interval_text(0.9961, 0.9999, "{:.2f}".format), interval_text(0.9961, 0.9999, "{:.0%}".format)
        ('[0.996, 1.000]', '[99.6%, 100.0%]')
    """
    if low is None or high is None or math.isnan(low):
        return ""
    texts = text_of(low), text_of(high)
    if texts[0] == texts[1] and low != high:
        number = re.search(r"[\d.]+", texts[0])
        scale = 100 if "%" in texts[0] else 1
        for decimals in range(1, 12):
            ends = [f"{scale * abs(end):.{decimals}f}" for end in (low, high)]
            if number and ends[0] != ends[1]:
                texts = texts[0].replace(number[0], ends[0]), texts[1].replace(number[0], ends[1])
                break
    return f"[{texts[0]}, {texts[1]}]"
