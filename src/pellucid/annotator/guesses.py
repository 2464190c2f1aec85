"""Guessing a token takes ages: wrong ones are counted per address, and each makes that address wait longer."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FREE = 5  # wrong tokens that cost nothing: people mistype
LONGEST = 60.0  # seconds: others may sit behind the same address
FORGOTTEN = 3600.0  # seconds after the last wrong one
MOST = 10_000  # addresses that are kept, so that memory stays bounded


class Guesses:
    """How often each address was wrong, and until when it has to wait. Several threads may use it.

    After `FREE` wrong tokens an address waits one second, then two, four, … up to `LONGEST`, and whatever it shows
    meanwhile is not looked at. IPv6 addresses count by their network of 64 bits, which is what one customer has.

    Args:
        clock: seconds that only grow.
        most: how many addresses are kept; of more, the one that was wrong longest ago is forgotten.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._clock, self._most = clock, most
        self._wrong: OrderedDict[str, tuple[int, float, float]] = OrderedDict()  # count, when, wait until
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._wrong)

    def waiting(self, address: str) -> float:
        """The seconds that an address has to wait already; nothing is counted."""
        with self._lock:
            until = self._wrong.get(_network(address), (0, 0.0, 0.0))[2]
        return max(until - self._clock(), 0.0)

    def wait(self, address: str, *, right: bool) -> float:
        """Count a token that an address showed; the seconds that it has to wait, in which it may not come in.

        Args:
            address: who showed it.
            right: whether it was the right one, which ends the counting if the address need not wait.
        """
        name, now = _network(address), self._clock()
        with self._lock:
            count, when, until = self._wrong.get(name, (0, now, now))
            if until > now:
                return until - now
            if right:
                self._wrong.pop(name, None)
                return 0.0
            count = 1 if now - when > FORGOTTEN else count + 1
            pause = 0.0 if count < FREE else min(2.0 ** min(count - FREE, 10), LONGEST)
            self._wrong[name] = (count, now, now + pause)
            self._wrong.move_to_end(name)
            while len(self._wrong) > self._most:
                self._wrong.popitem(last=False)
            return 0.0


def _network(address: str) -> str:
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(number, ipaddress.IPv6Address):
        if number.ipv4_mapped is not None:
            return str(number.ipv4_mapped)
        return str(ipaddress.ip_network((number, 64), strict=False))
    return str(number)
