"""Turns at writing: who asked first writes first, and those who came meanwhile share one commit."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import sqlalchemy as sa


class Turns:
    """A lock that threads get in the order in which they asked for it.

    SQLite has a writer ask again and again until nobody else writes, with longer and longer pauses: of a hundred
    writers, some are unlucky for many seconds. With a turn for each, a writer waits for those before it and no longer.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # until the one before hands the turn on

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)


class SharedTransaction:
    """A transaction that several writers share: it is on the disk for all of them at once.

    Attributes:
        connection: on which they write, one after the other.
        writers: how many did.
        ended: it was committed, or could not be.
        error: why it could not be.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.transaction = connection.begin()
        self.writers = 0
        self.ended = threading.Event()
        self.error: BaseException | None = None

    def end(self) -> None:
        """Commit, and tell all who wait for it."""
        try:
            self.transaction.commit()
        except BaseException as error:
            self.error = error
            self.transaction.close()
        finally:
            self.connection.close()
            self.ended.set()


class Writers:
    """Who writes into a database: in turns, and those who wait while one writes share its transaction.

    A commit waits for the disk. Of a hundred people who draw a stroke a second, each would wait for the commits of all
    before it; so one commit keeps the strokes of all who came meanwhile. A writer that fails takes back what it wrote,
    and nothing else; none returns before what it wrote is on the disk.

    Args:
        engine: of the database.
        most: how many writers share a transaction at most, so that the first one need not wait long.
    """

    def __init__(self, engine: sa.Engine, most: int = 32) -> None:
        self._engine, self._most = engine, most
        self._turns = Turns()
        self._batch: SharedTransaction | None = None

    @property
    def waiting(self) -> int:
        """How many writers wait for their turn."""
        return self._turns.waiting

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection to write on, and nobody else meanwhile."""
        with self._turns:
            batch = self._batch = self._batch or self._begin()
            try:
                with batch.connection.begin_nested():
                    yield batch.connection
            finally:
                batch.writers += 1
                if not self._turns.waiting or batch.writers >= self._most:  # otherwise whoever is next goes on with it
                    self._batch = None
                    batch.end()
        batch.ended.wait()
        if batch.error is not None:
            raise batch.error

    def _begin(self) -> SharedTransaction:
        connection = self._engine.connect()
        try:
            return SharedTransaction(connection)
        except BaseException:
            connection.close()
            raise
