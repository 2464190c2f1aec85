"""Work on many images at once: in threads, in order, with a progress bar that says rate and time left."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from pellucid.utils.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Result = TypeVar("Result")

_BLOCK = 128  # images handed out at a time: bounds what waits in memory


def in_threads(
    function: Callable[[int], Result],
    count: int,
    *,
    title: str,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
    completed: int = 0,
) -> Generator[Result]:
    """``function(0) … function(count - 1)``, computed in threads and yielded in order.

    Decoding releases the interpreter's lock, so threads are enough. At most a block of results waits in
    memory. An exception of `function` is raised here, and what is not begun is given up.

    Args:
        function: what to do with each number; must be safe to call from threads.
        count: how many.
        title: what the progress bar says.
        progress: True for a bar on the terminal if the work takes longer than a second, or a function that
            is called with (done, count).
        workers: threads; by default two per processor, as some of them wait for the disk or for one another.
        completed: what an earlier attempt did already, for the progress.
    """
    workers = workers or 2 * available_processors()
    ahead = max(_BLOCK, 2 * workers)
    with ExitStack() as stack:
        advance = (
            stack.enter_context(progress_bar(title, completed + count, completed=completed, patience=1.0))
            if progress is True
            else None
        )
        pool = ThreadPoolExecutor(workers, thread_name_prefix="pellucid-data")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        waiting = [pool.submit(function, i) for i in range(min(ahead, count))]
        for i in range(count):
            result = waiting[i % ahead].result()
            if i + ahead < count:
                waiting[i % ahead] = pool.submit(function, i + ahead)
            yield result
            if advance is not None:
                advance(1)
            elif callable(progress):
                progress(completed + i + 1, completed + count)


def available_processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
