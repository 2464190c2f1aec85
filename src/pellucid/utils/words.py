"""Numbers of things in sentences."""

from __future__ import annotations


def number_of(count: int, things: str) -> str:
    """A number with what it counts, in the singular or the plural: "(s)" stands where the two differ.

    Example:
        >>> number_of(1, "image(s)"), number_of(1200, "file(s) or folder(s) beside it")
        ('1 image', '1,200 files or folders beside it')
    """
    return f"{count:,} {things.replace('(s)', '' if count == 1 else 's')}"
