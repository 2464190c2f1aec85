"""Annotation records as a CSV file that a spreadsheet opens and does not run."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

from pellucid.resources import whole_file
from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = ("record", "id", "image", "class", "kind", "value", "annotator", "created", "undone")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # a cell that begins so would be run by a spreadsheet, or is our escape


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows of `FIELDS`, whole or not at all; what would be a formula gets an apostrophe before it."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"'{v}" if v.startswith(FORMULA) else v for k, v in row.items()})


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a file of `write_rows`.

    Raises:
        InputError: naming the file, if it is no such table.
    """
    csv.field_size_limit(min(sys.maxsize, 1 << 24))  # a stroke of 10,000 points is 400,000 characters
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != FIELDS:
                raise InputError(
                    f"{path}: its columns are not {', '.join(FIELDS)}; is it a file of `pellucid annotate export`?"
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error}).") from error
    for number, row in enumerate(rows, 1):
        if set(row) != set(FIELDS) or None in row.values():
            raise InputError(f"{path}: record {number} does not have {len(FIELDS)} cells.")
    return [{k: v.removeprefix("'") for k, v in row.items()} for row in rows]
