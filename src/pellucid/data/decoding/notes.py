"""What a decoder assumed where a file contradicts itself: collected by a check, else said once in a warning."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_collected: ContextVar[list[str] | None] = ContextVar("decode_notes", default=None)


def note(assumption: str, detail: str = "") -> None:
    """Say what was assumed of a file.

    Args:
        assumption: the same words for every file, so that a warning of it is shown once.
        detail: of this file alone; only a check has it.
    """
    notes = _collected.get()
    if notes is None:
        warnings.warn(f"{assumption}; `pellucid data check` names the images", stacklevel=3)
    else:
        notes.append(assumption + detail)


def note_in_check(fact: str) -> None:
    """Tell a check, and nobody else, of something that is as it should be."""
    notes = _collected.get()
    if notes is not None:
        notes.append(fact)


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """What decoders of this thread say meanwhile.

    Example:
        >>> with collect_notes() as notes:
        ...     note("taken for 12 bits", ": 3 values")
        >>> notes
        ['taken for 12 bits: 3 values']
    """
    notes: list[str] = []
    token = _collected.set(notes)
    try:
        yield notes
    finally:
        _collected.reset(token)
