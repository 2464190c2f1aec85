"""How long each test file takes: measured, kept in `seconds.json`, and what the files are ordered by."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
KEPT = TESTS / "seconds.json"
LEAST = 2  # shorter files need not be named
NEW = 10  # for the order: a file with slow tests that was not measured yet


def measured() -> dict[str, int]:
    """The longer files' seconds, by name."""
    return json.loads(KEPT.read_text(encoding="utf-8"))


def longest_first(items) -> None:
    """Order tests by how long their files take; those of a file stay together."""
    slow = {item.path.name for item in items if item.get_closest_marker("slow") is not None}
    seconds = dict.fromkeys(slow, NEW) | measured()
    items.sort(key=lambda item: -seconds.get(item.path.name, 0))


class Stopwatch:
    """A pytest plugin that measures a session's files, and puts them in the place of what was known of these."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report) -> None:
        self.seconds[Path(report.nodeid.partition("::")[0]).name] += report.duration

    def pytest_sessionfinish(self) -> None:
        rounded = measured() | {name: round(seconds) for name, seconds in self.seconds.items()}
        longer = [(s, name) for name, s in rounded.items() if s >= LEAST and (TESTS / name).is_file()]
        table = {name: s for s, name in sorted(longer, key=lambda row: (-row[0], row[1]))}
        KEPT.write_text(json.dumps(table, indent=0) + "\n", encoding="utf-8")
