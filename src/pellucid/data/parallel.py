"""Work on many images at once: in threads, in order, with a progress bar that says rate and time left."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

Result = TypeVar("Result")

_PATIENCE = 1.0  # seconds before a progress bar appears: short work shows none
_BLOCK = 128  # images handed out at a time: bounds what waits in memory


def in_threads(
    function: Callable[[int], Result],
    count: int,
    *,
    title: str,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> Iterator[Result]:
    """``function(0) … function(count - 1)``, computed in threads and yielded in order.

    Decoding releases the interpreter's lock, so threads are enough. At most a block of results waits in
    memory. An exception of `function` is raised here, and what is not begun is given up.

    Args:
        function: what to do with each number; must be safe to call from threads.
        count: how many.
        title: what the progress bar says.
        progress: True for a bar on the terminal if the work takes longer than a second, or a function that
            is called with (done, count).
        workers: threads; by default as many as there are processors, at most 16.
    """
    workers = workers or min(available_processors(), 16)
    with ExitStack() as stack:
        report = stack.enter_context(_Bar(title, count)) if progress is True else progress or None
        pool = ThreadPoolExecutor(workers, thread_name_prefix="pellucid-data")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        waiting = [pool.submit(function, i) for i in range(min(_BLOCK, count))]
        for done in range(count):
            result = waiting[done % _BLOCK].result()
            if done + _BLOCK < count:
                waiting[done % _BLOCK] = pool.submit(function, done + _BLOCK)
            yield result
            if report is not None:
                report(done + 1, count)


def available_processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Bar:
    """A rich progress bar that appears once the work has taken longer than `_PATIENCE`."""

    def __init__(self, title: str, count: int) -> None:
        self.title, self.count = title, count
        self.started = time.monotonic()
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, done: int, count: int) -> None:
        if self.bar is None:
            if time.monotonic() - self.started < _PATIENCE:
                return
            self.bar = self._show()
            self.task = self.bar.add_task(self.title, total=count, rate="")
        assert self.task is not None
        rate = done / (time.monotonic() - self.started)
        self.bar.update(self.task, completed=done, rate=f"{rate:,.0f} images/s")

    @staticmethod
    def _show() -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        bar.start()
        return bar
