"""An annotation server killed a hundred times while people draw: is everything kept that it acknowledged?

The test suite kills the same server less often, and has the code: run it as `PYTHONPATH=tests python
benchmarks/annotation_killed.py`, with `--store URL` on an empty PostgreSQL database. It stops with an AssertionError at
the first loss. Writes benchmarks/results/annotation_killed.csv.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from helpers.annotate_killed import PEOPLE, kill_and_check
from table import machine, versions, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", help="URL of an empty PostgreSQL database; an SQLite file by default")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        source = options.store or Path(folder) / "annotations.db"
        counts = kill_and_check(source, Path(folder), options.kills, options.seed)
    row = {
        "database": "SQLite" if options.store is None else "PostgreSQL",
        "kills": options.kills,
        "people": PEOPLE,
        **counts,
        "strokes lost": 0,  # otherwise it would not have come here
        "seed": options.seed,
        "seconds": round(time.monotonic() - started),
        "machine": machine(1),
        "versions": versions("torch", "fastapi", "uvicorn", "sqlalchemy"),
    }
    print(row)
    write(Path(__file__).parent / "results" / "annotation_killed.csv", [row])


if __name__ == "__main__":
    main()
