"""One thread that does the work with the network: what somebody waits for first, what will be needed soon after."""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import PriorityQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

log = logging.getLogger("pellucid.annotator")

WANTED, SOON, IDLE = 0, 1, 2  # somebody waits, somebody will, nobody does
_STOP = 9


class Worker:
    """Runs functions one after another in a thread of its own, the most urgent first.

    A network may be held by one thread at a time (`models.classifier.frozen`), and the server's event loop must not
    wait for it.
    """

    def __init__(self) -> None:
        self._waiting: PriorityQueue[tuple[int, int, Future[Any], Callable[[], Any]]] = PriorityQueue()
        self._counter = itertools.count()
        self._thread = threading.Thread(target=self._run, name="pellucid-explanations", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any], urgency: int = WANTED) -> Future[Any]:
        """Have a function run; its result or error comes through the future."""
        future: Future[Any] = Future()
        self._waiting.put((urgency, next(self._counter), future, work))
        return future

    def stop(self) -> None:
        """End the thread after what it is doing; what waits is cancelled."""
        self._waiting.put((-1, next(self._counter), Future(), lambda: _STOP))
        self._thread.join(timeout=60)

    def _run(self) -> None:
        _give_way()
        while True:
            urgency, _, future, work = self._waiting.get()
            if urgency < 0:
                break
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                log.exception("explaining an image failed")
                future.set_exception(error)
        while not self._waiting.empty():
            self._waiting.get()[2].cancel()


def _give_way() -> None:
    """Have this thread, and those that it starts, compute when nothing else does: people wait for their strokes."""
    if sys.platform.startswith("linux"):  # elsewhere the niceness is the whole process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


@dataclass(frozen=True)
class Picture:
    """A finished PNG and what goes with it as HTTP headers."""

    png: bytes
    etag: str
    headers: dict[str, str] = field(default_factory=dict)


class PictureCache:
    """The pictures asked for last, up to so many bytes; the oldest go first. Several threads may use it."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._pictures: OrderedDict[Hashable, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def bytes_held(self) -> int:
        """The size of what is kept."""
        return self._held

    def get(self, key: Hashable) -> Picture | None:
        """A picture that is kept, which is now the newest; None where it is not."""
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
            return picture

    def put(self, key: Hashable, picture: Picture) -> None:
        """Keep a picture."""
        with self._lock:
            old = self._pictures.pop(key, None)
            self._held += len(picture.png) - (len(old.png) if old else 0)
            self._pictures[key] = picture
            while self._held > self._limit and len(self._pictures) > 1:
                _, gone = self._pictures.popitem(last=False)
                self._held -= len(gone.png)
