"""How people write that a label is not known, or that nothing was found: one list for every reader of labels."""

from __future__ import annotations

import re
import warnings
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

UNKNOWN = (
    *("nan", "-nan", "n/a", "na", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "null", "nil", "?", "-", "-1"),
    *("unknown", "missing", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
)
"""Words for what is not known, in small letters; so is an empty cell, and a number that is one of them, as -1.0."""

ABSENCE = ("no finding", "no findings")
"""Words in a list of findings for that there is none, in small letters."""

DOUBTFUL = ("none", "nothing", "negative", "normal", "not available", "not known", "uncertain", "undefined")
"""Words that may mean either, or a class: they are left as they are, with a warning where they become a class."""


def plain(text: str) -> str:
    """A word in small letters, with one space for spaces, hyphens and underscores in it; a number in one spelling.

    Example:
        >>> plain("No_Finding"), plain("-1.0"), plain("1.00"), plain("N/A"), plain("-")
        ('no finding', '-1', '1', 'n/a', '-')
    """
    small = text.strip().casefold()
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", small, re.ASCII):
        number = Decimal(small).normalize()
        return format(number, "f") if number else "0"
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", small)


def is_unknown(text: str, more: Iterable[str] = (), usual: Iterable[str] = UNKNOWN) -> bool:
    """Whether a cell says that the label is not known: it is empty, one of the `usual` words or of `more`.

    Example:
        >>> [is_unknown(text) for text in ("", "NaN", "N/A", "-1.0", "?", "none", "0")]
        [True, True, True, True, True, False, False]
    """
    word = plain(text)
    return word in ("", *usual) or word in map(plain, more)


def is_absence(text: str, negative: str = "") -> bool:
    """Whether a word in a list of findings says that there is none: one of `ABSENCE`, or `negative`.

    Example:
        >>> is_absence("no finding"), is_absence("Normal"), is_absence("normal", "Normal")
        (True, False, True)
    """
    word = plain(text)
    return word in ABSENCE or (bool(negative) and word == plain(negative))


def warn_of_names(classes: Collection[str], source: str, remedy: str, *, absence: bool = True) -> None:
    """Say where a class is called like something that is no class, or two classes differ in their spelling only.

    Args:
        classes: that nobody named: they were found.
        source: where, for the message.
        remedy: what to do.
        absence: whether a class for the absence of the others makes no sense, as among several labels.
    """
    odd = [c for c in classes if is_unknown(c) or (absence and (is_absence(c) or plain(c) in DOUBTFUL))]
    odd += [c for c in classes if plain(c) in DOUBTFUL and not absence and plain(c) not in ("negative", "normal")]
    if odd:
        warnings.warn(
            f"{source}: a class is called {', '.join(map(repr, odd[:3]))}; if that says that nothing was found, or "
            f"that it is not known, it is no class. {remedy}",
            stacklevel=3,
        )
    spelled: dict[str, list[str]] = {}
    for name in classes:
        spelled.setdefault(plain(name), []).append(name)
    if alike := [names for names in spelled.values() if len(names) > 1]:
        warnings.warn(
            f"{source}: the classes {' and '.join(map(repr, alike[0]))} differ in their spelling only. If they are "
            "one, write them alike.",
            stacklevel=3,
        )
