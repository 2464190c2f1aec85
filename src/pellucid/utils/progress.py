"""Progress bars with rate and time left, the same for every long job."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Advance(Protocol):
    """Moves a bar on by `count`; `note` is shown at its end."""

    def __call__(self, count: float = 1, note: str = "") -> None:
        """Move on."""
        ...


@contextmanager
def progress_bar(
    description: str, total: float, *, unit: str = "img", done: float = 0, patience: float = 0.0
) -> Iterator[Advance]:
    """A bar on the standard error stream, with rate and time left; yields the function that moves it on.

    It appears once the work has taken `patience` seconds. Nothing is drawn where `PELLUCID_PROGRESS=0`; into a file
    or pipe, only the finished bar is written.

    Example:
        >>> import os
        >>> os.environ["PELLUCID_PROGRESS"] = "0"
        >>> with progress_bar("counting", 3) as advance:
        ...     for _ in range(3):
        ...         advance()
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
    bar = Progress(*columns, console=Console(stderr=True), disable=os.environ.get("PELLUCID_PROGRESS") == "0")
    task = bar.add_task(description, total=total, completed=int(done), rate="", note="")
    started = time.monotonic()
    if patience <= 0:
        bar.start()

    def advance(count: float = 1, note: str = "") -> None:
        if not bar.live.is_started and time.monotonic() - started >= patience:
            bar.start()
        bar.update(task, advance=count)
        shown = bar.tasks[0]
        rate = f"{shown.speed:.3g} {unit}/s" if shown.speed else ""
        bar.update(task, rate=rate, note=note or shown.fields["note"])

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
