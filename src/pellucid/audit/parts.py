"""The parts of an audit: each is tried, and what cannot be measured says why and keeps no other from being measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from pellucid.types import InputError
from pellucid.utils.failures import is_reason
from pellucid.utils.words import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
KINDS = {
    "classification": "figures",
    "groups": "figures",
    "comparison": "answers",
    "elsewhere": "answers",
    "discovery": "answers",
    "attack": "attacks",
    "ara": "attacks",
    "trust": "maps",
    "localization": "maps",
    "pictures": "maps",
}
"""What a part spends its time on: how one goes on tells most of the others of its kind."""
READ = 0.1
"""A part that took a smaller share of its estimate was read from an interrupted audit, and tells nothing."""


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
        number, total = len(self.records) + 1, len(self.records) + len(self.planned)
        self.announce(f"{number} of {total}: {title} ({_duration(self.seconds_left())} left)")
        started, reason, result = monotonic(), None, None
        try:
            result = measure()
        except (InputError, RuntimeError, MemoryError) as error:
            if not is_reason(error):
                raise
            reason = first_line(error)
            self.announce(f"not measured: {reason}")
        seconds = monotonic() - started
        self.records.append(
            {"name": name, "title": title, "reason": reason, "seconds": seconds, "planned": self.planned.pop(name, 0.0)}
        )
        return result

    def plan_anew(self, planned: Mapping[str, float]) -> None:
        """Take other estimates of the parts to come, from what is known by now."""
        self.planned = {name: planned[name] for name in self.planned}

    def seconds_left(self) -> float:
        """What the parts to come are likely to take, by their estimates and by how those that ended kept to theirs."""
        return sum(seconds * self._pace(KINDS[name]) for name, seconds in self.planned.items())

    def _pace(self, kind: str) -> float:
        """How many times as long as estimated the parts of a kind took; before one has ended, all that ask the network.

        Computing figures tells nothing of a network's pace: of a small one it takes longer than all its answers.
        """
        ended = [one for one in self.records if one["reason"] is None and one["seconds"] > READ * one["planned"]]
        own = [one for one in ended if KINDS[one["name"]] == kind]
        others = [one for one in ended if KINDS[one["name"]] != "figures"]
        for parts in (own, others):
            planned, took = (sum(part[key] for part in parts) for key in ("planned", "seconds"))
            if planned > 0:
                return float(took / planned)
        return 1.0


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 30:
        return "a few seconds"
    return "about a minute" if minutes <= 1 else f"about {minutes} minutes"
