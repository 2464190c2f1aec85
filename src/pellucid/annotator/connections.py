"""How long a connection may keep the server waiting, and how many there may be; uvicorn itself has no such limits."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

log = logging.getLogger("pellucid.annotator")

MAX_CONNECTIONS = 800  # a hundred browsers open up to six each; a process has 1,024 files by default
MAX_PER_ADDRESS = 400  # of one other machine; everybody behind a proxy on this machine comes from this one
HEADER_SECONDS = 10.0  # from the first byte of a request (or the connection) to the end of its headers
REQUEST_SECONDS = 180.0  # for its answer: an explanation may take two minutes


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 where silence and slowness end a connection, and one connection too many is not taken."""

    header_seconds = HEADER_SECONDS
    request_seconds = REQUEST_SECONDS
    most, most_per_address = MAX_CONNECTIONS, MAX_PER_ADDRESS
    _deadline: asyncio.TimerHandle | None = None
    _answering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or drop it where there are too many."""
        super().connection_made(transport)
        addresses = (each.client[0] for each in self.connections if isinstance(each, H11Protocol) and each.client)
        if is_full(addresses, self.client[0] if self.client else "", self.most, self.most_per_address):
            log.warning("a connection too many is dropped: from %s", self.client)
            transport.abort()
            return
        self._wait(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrives; the time for headers runs until they are whole, from then on that for the answer."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """After an answer the next request may begin."""
        self._answering = False
        self._stop_waiting()
        super().on_response_complete()  # which may begin one that has arrived already
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch()

    def _watch(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._answering:
            self._wait(self.request_seconds)
        elif not answering and self._deadline is None:
            self._wait(self.header_seconds)
        self._answering = answering

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        log.warning("a connection that keeps waiting is closed: from %s", self.client)
        self.transport.abort()


def is_full(addresses: Iterable[str], address: str, most: int, most_per_address: int) -> bool:
    """Whether there are more connections than there may be, in all or from one other machine.

    Args:
        addresses: of all connections, the new one among them.
        address: of the new one.
        most: how many there may be.
        most_per_address: how many from one address that is not this machine's.
    """
    open_addresses = list(addresses)
    if len(open_addresses) > most:
        return True
    return not _is_loopback(address) and open_addresses.count(address) > most_per_address


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
