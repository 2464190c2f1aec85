"""How many pixels an image may declare: looked at before memory is taken for them."""

from __future__ import annotations

import os

from pellucid.types import InputError

MAX_PIXELS = 89_478_485
"""The most pixels an image may declare (9,459 × 9,459: 256 MiB in colour), unless PELLUCID_MAX_PIXELS says so."""

SMALLER = "Make it smaller, or set PELLUCID_MAX_PIXELS if it is what it should be."


class TooLargeError(InputError):
    """More pixels than allowed; told apart from the ValueErrors of broken files."""


def check_pixels(height: int, width: int) -> None:
    """Refuse an image by the size that its header declares, before memory is taken for it.

    Raises:
        InputError: for more pixels than `MAX_PIXELS`, or than the environment variable PELLUCID_MAX_PIXELS.

    Example:
        >>> check_pixels(60_000, 60_000)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.data.decoding.pixel_limit.TooLargeError: declares 60000 × 60000 pixels, above the limit of 89,478...
    """
    limit = max_pixels()
    if height * width > limit:
        raise TooLargeError(f"declares {width} × {height} pixels, above the limit of {limit:,}. {SMALLER}")


def max_pixels() -> int:
    """The limit that holds now."""
    text = os.environ.get("PELLUCID_MAX_PIXELS", "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise TooLargeError(f"PELLUCID_MAX_PIXELS must be a number of pixels; found {text!r}.")
    return int(text) if text else MAX_PIXELS
