"""The processes that a study trains and measures with, several at a time; they end with the one that started them."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future


@contextmanager
def at_work(
    jobs: int,
    do: Callable[..., object],
    arguments: Iterable[tuple[Any, ...]],
    *,
    begin: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[set[Future[object]]]:
    """Call a function once for each tuple of arguments, in processes of their own; yields what will be their results.

    Ctrl-C is the calling process's to answer: it ends the others at once, which lose what they had not saved. After any
    other error those that run come to their end, and the others do not start.

    Args:
        jobs: processes.
        do: that can be pickled.
        arguments: of each call.
        begin: called in each process first, with `initargs`.
        initargs: to `begin`.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=begin, initargs=initargs) as pool:
        try:
            with _interrupts_ignored():  # in the new processes, that is, from their first moment
                results = {pool.submit(do, *each) for each in arguments}
            yield results
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                for process in multiprocessing.active_children():
                    process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one may set signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
