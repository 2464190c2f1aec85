"""Progress bars with rate and time left, the same for every long job."""

from __future__ import annotations

import os
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
def progress_bar(description: str, total: float, *, unit: str = "img", done: float = 0) -> Iterator[Advance]:
    """A bar on the standard error stream; yields the function that moves it on.

    Nothing is drawn where `PELLUCID_PROGRESS=0`; into a file or pipe, only the finished bar is written.

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
    silent = os.environ.get("PELLUCID_PROGRESS") == "0"
    with Progress(*columns, console=Console(stderr=True), disable=silent) as bar:
        task = bar.add_task(description, total=total, completed=int(done), rate="", note="")

        def advance(count: float = 1, note: str = "") -> None:
            bar.update(task, advance=count)
            shown = bar.tasks[0]
            rate = f"{shown.speed:.3g} {unit}/s" if shown.speed else ""
            bar.update(task, rate=rate, note=note or shown.fields["note"])

        yield advance
