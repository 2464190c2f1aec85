"""pydicom's warnings kept back: they quote what it finds odd, and that may be a patient's name."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Gate:
    """How many threads are inside; `warnings.catch_warnings` alone would let them undo each other's filters."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.inside = 0
        self.filters = warnings.catch_warnings()


_gate = _Gate()


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's own warnings, in its log as well; those of others pass. Safe in threads, and a decorator too.

    Example:
        >>> @quiet()
        ... def read() -> None: ...
    """
    log = logging.getLogger("pydicom")
    with _gate.lock:
        _gate.inside += 1
        if _gate.inside == 1:
            _gate.filters = warnings.catch_warnings()
            _gate.filters.__enter__()
            warnings.filterwarnings("ignore", module="pydicom")
            log.disabled = True
    try:
        yield
    finally:
        with _gate.lock:
            _gate.inside -= 1
            if _gate.inside == 0:
                _gate.filters.__exit__(None, None, None)
                log.disabled = False
