"""The parts of an audit: each is tried, and what cannot be measured says why and keeps no other from being measured."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pellucid.types import InputError
from pellucid.utils.failures import is_reason
from pellucid.utils.words import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass
class Parts:
    """What was tried so far.

    Attributes:
        announce: is told which part begins, and what the others are estimated to take.
        planned: the parts that are to come, name → estimated seconds, in order.
        records: one record per part: `name`, `title`, `reason` (None where it was measured) and `seconds`.
    """

    announce: Callable[[str], None]
    planned: dict[str, float]
    records: list[dict[str, Any]] = field(default_factory=list)

    def attempt(self, name: str, title: str, measure: Callable[[], T]) -> T | None:
        """What a part measures; None where it cannot, and then its record says why.

        What a user can mend and what torch cannot compute are reasons; a full disk, damaged results, or a mistake of
        ours is an error.
        """
        number, total, seconds_to_come = (
            len(self.records) + 1,
            len(self.records) + len(self.planned),
            sum(self.planned.values()),
        )
        self.announce(f"{number} of {total}: {title} (about {_duration(seconds_to_come * self._pace())} left)")
        started, reason, result = time.monotonic(), None, None
        try:
            result = measure()
        except (InputError, RuntimeError, MemoryError) as error:
            if not is_reason(error):
                raise
            reason = first_line(error)
            self.announce(f"not measured: {reason}")
        seconds = time.monotonic() - started
        self.records.append(
            {"name": name, "title": title, "reason": reason, "seconds": seconds, "planned": self.planned.pop(name, 0.0)}
        )
        return result

    def _pace(self) -> float:
        """How many times as long as estimated the parts took, once there are two of them."""
        planned, took = (sum(part[key] for part in self.records) for key in ("planned", "seconds"))
        return took / planned if planned > 0 and self.records[1:] else 1.0


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return "seconds" if seconds < 30 else "a minute" if minutes <= 1 else f"{minutes} minutes"
