"""Progress bars with rate and time left, the same for every long job.

A job that counts its own work opens a `progress_bar` and moves it. A job whose work is done by functions that it calls
opens a `progress_context`: whatever runs inside reports with `advance`, and needs no argument for it.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Advance(Protocol):
    """Moves a bar on by `count`; `note` is shown at its end."""

    def __call__(self, count: float = 1, note: str = "") -> None:
        """Move on."""
        ...


_listener: ContextVar[Callable[[float, str], None] | None] = ContextVar("who hears of progress", default=None)


def advance(count: float = 1, note: str = "") -> None:
    """Report `count` more units of work to the progress context that this call runs in, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(count, note)


@contextmanager
def reporting_to(listener: Callable[[float, str], None] | None) -> Iterator[None]:
    """What runs inside reports its progress to `listener` (count, note), or to nobody."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def step(count: float) -> Iterator[None]:
    """What runs inside counts as `count` units once it ends without an error, whatever it reports itself.

    Example:
        >>> with reporting_to(lambda count, note: print(count)), step(1):
        ...     advance(1000)
        1
    """
    with reporting_to(None):
        yield
    advance(count)


@contextmanager
def progress_context(
    description: str, total: float, *, unit: str = "img", completed: float = 0, patience: float = 0.0
) -> Iterator[None]:
    """A `progress_bar` that is moved by the calls of `advance` inside, however deep they are.

    Example:
        >>> import os
        >>> os.environ["PELLUCID_PROGRESS"] = "0"
        >>> with progress_context("counting", 3):
        ...     advance(3)
    """
    with (
        progress_bar(description, total, unit=unit, completed=completed, patience=patience) as move,
        reporting_to(move),
    ):
        yield


@contextmanager
def progress_bar(
    description: str, total: float, *, unit: str = "img", completed: float = 0, patience: float = 0.0
) -> Iterator[Advance]:
    """A bar on the standard error stream, with rate and time left; yields the function that moves it on.

    What runs inside does not move it, nor a bar further out.

    It appears once the work has taken `patience` seconds. Nothing is drawn where `PELLUCID_PROGRESS=0`; into a file
    or pipe, and in a notebook without ipywidgets, only the finished bar is written.

    Example:
        >>> import os
        >>> os.environ["PELLUCID_PROGRESS"] = "0"
        >>> with progress_bar("counting", 3) as move:
        ...     for _ in range(3):
        ...         move()
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    plain = False if "ipykernel" in sys.modules and not find_spec("ipywidgets") else None  # rich would warn at each bar
    console = Console(stderr=True, force_jupyter=plain, force_terminal=plain)
    bar = Progress(*columns, console=console, disable=os.environ.get("PELLUCID_PROGRESS") == "0")
    task = bar.add_task(description, total=total, completed=int(completed), rate="", note="")
    started = time.monotonic()
    if patience <= 0:
        bar.start()

    def move(count: float = 1, note: str = "") -> None:
        if not bar.live.is_started and time.monotonic() - started >= patience:
            bar.start()
        bar.update(task, advance=count)
        row = bar.tasks[0]
        rate = f"{row.speed:.3g} {unit}/s" if row.speed else ""
        bar.update(task, rate=rate, note=note or row.fields["note"])

    try:
        with reporting_to(None):
            yield move
    finally:
        if bar.live.is_started:
            bar.stop()
