"""Annotation records as a CSV file that a spreadsheet opens and does not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.types import InputError
from pellucid.utils.csv_table import read_csv, write_csv

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = ("record", "id", "image", "class", "kind", "value", "annotator", "created", "undone")


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows of `FIELDS`, whole or not at all."""
    write_csv(path, rows, FIELDS)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a file of `write_rows`.

    Raises:
        InputError: naming the file, if it is no such table.
    """
    try:
        return read_csv(path, FIELDS)
    except InputError as error:
        raise InputError(f"{error} Is it a file of `pellucid annotate export`?") from error
