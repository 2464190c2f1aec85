"""The table that a benchmark leaves: a CSV, and the machine and versions to name in it."""

from __future__ import annotations

import csv
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine(threads: int = 1) -> str:
    """The processor, and how many of its threads were used."""
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''} of {os.cpu_count()}"


def versions(*packages: str) -> str:
    """Python's version, and those of the packages named as they are installed."""
    return "; ".join(
        [f"Python {platform.python_version()}", *(f"{package} {version(package)}" for package in packages)]
    )


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Rows with the same columns, under their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {path}")
