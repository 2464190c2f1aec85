"""Every CSV file that Pellucid writes: cells that a spreadsheet shows and does not run, read back as they were."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from typing import TYPE_CHECKING, Any

from pellucid.types import InputError
from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# What a spreadsheet runs, or our own mark. The wide forms are run by spreadsheets set to Chinese or Japanese.
# https://owasp.org/www-community/attacks/CSV_Injection
_RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def escape(text: str) -> str:
    """A text as a cell: with an apostrophe before it where a spreadsheet would run it; a number stays a number.

    Example:
        >>> [escape(text) for text in ("=1+1", "-0.5", "-x", "'quoted'", "Mass")]
        ["'=1+1", '-0.5', "'-x", "''quoted'", 'Mass']
    """
    return f"'{text}" if text.startswith(_RUN) and not _NUMBER.fullmatch(text) else text


def unescape(cell: str) -> str:
    """The text of a cell of `escape`.

    Example:
        >>> unescape("'=1+1"), unescape("-0.5")
        ('=1+1', '-0.5')
    """
    return cell.removeprefix("'")


def csv_line(cells: Iterable[object]) -> str:
    r"""One row as a line that ends with ``\n``: None and numbers that are not finite are empty cells.

    Example:
        >>> csv_line(["=1+1", 0.5, float("nan"), None, True, "a, b"])
        '\'=1+1,0.5,,,True,"a, b"\n'
    """
    text = io.StringIO()
    # "\r\n", so that a lone "\r" in a cell is quoted as well
    csv.writer(text, lineterminator="\r\n").writerow([_cell(value) for value in cells])
    return text.getvalue().removesuffix("\r\n") + "\n"


def csv_lines(text: str) -> list[list[str]]:
    """The rows of lines of `csv_line`, empty ones left out.

    Raises:
        csv.Error: for text that is none.

    Example:
        >>> csv_lines(csv_line(["=1+1", "-0.5", "x"]))
        [['=1+1', '-0.5', 'x']]
    """
    csv.field_size_limit(min(sys.maxsize, 1 << 24))  # a stroke of 10,000 points is 400,000 characters
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    return [[unescape(cell) for cell in row] for row in reader if row]


def write_csv(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV, whole or not at all.

    Args:
        path: the file.
        rows: by column; what is not there is an empty cell.
        columns: in order; by default those of the first row.

    Raises:
        ValueError: for a row with a column that is none of these: nothing is left out without a word.
    """
    names = list(columns) if columns is not None else list(rows[0]) if rows else ["empty"]
    allowed = set(names)
    for row in rows:
        if odd := row.keys() - allowed:
            raise ValueError(f"{path.name} has no columns {', '.join(sorted(odd))}")
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        stream.write(csv_line(names))
        stream.writelines(csv_line(row.get(name) for name in names) for row in rows)


def read_csv(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, str]]:
    """The rows of a file of `write_csv`, as text by column.

    Args:
        path: the file.
        columns: what its columns must be, in order; None for any.

    Raises:
        InputError: naming the file, if it is no such table.
    """
    try:
        # a file that a spreadsheet saved may begin with a byte-order mark
        lines = csv_lines(path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error}).") from error
    header, *rows = lines or [[]]
    if columns is not None and header != list(columns):
        raise InputError(f"{path}: its columns are not {', '.join(columns)}; found {', '.join(header) or 'none'}.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise InputError(f"{path}: record {number} does not have {len(header)} cells.")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return escape(value) if isinstance(value, str) else value
