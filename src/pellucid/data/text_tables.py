"""Reading the tables of text files that datasets come with, whatever they were saved as."""

from __future__ import annotations

import codecs
import csv
from typing import TYPE_CHECKING

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_text_table(
    path: Path, *, encoding: str | None = None, delimiter: str = ",", remedy: str = "Save it as UTF-8."
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with the numbers of the lines they begin on, empty ones left out.

    Text is UTF-8, with or without a byte-order mark, or UTF-16 with one. A quoted cell may hold line breaks.

    Args:
        path: the file.
        encoding: what its text is in; by default as above.
        delimiter: what stands between two cells.
        remedy: what to do where the text is in another encoding, as the error message ends.

    Raises:
        InputError: naming the file and line, if it cannot be read as text in columns.
    """
    reader = None
    name = encoding or _encoding(path, remedy)
    try:
        with path.open(encoding=name, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            line = 1
            for row in reader:
                if any(row):
                    yield line, row
                line = reader.line_num + 1
    except UnicodeError as error:
        raise InputError(f"{path}: {_undecodable(path, name, error)}. {remedy}") from error
    except csv.Error as error:
        at = f", line {reader.line_num}" if reader is not None else ""
        raise InputError(f"{path}{at}: cannot be read as a CSV table ({error}).") from error
    except (OSError, LookupError) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error}).") from error


def _encoding(path: Path, remedy: str) -> str:
    """The encoding of a text file by its byte-order mark; UTF-8 without one."""
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in start:
        raise InputError(f"{path}: not a text file, or text in an encoding without a byte-order mark. {remedy}")
    return "utf-8-sig"


def _undecodable(path: Path, encoding: str, error: UnicodeError) -> str:
    """What is wrong with a file's text, with the line where it can be told."""
    message = f"not text in {encoding.removesuffix('-sig').upper()}"
    if not isinstance(error, UnicodeDecodeError) or encoding != "utf-8-sig":
        return f"{message} ({error})"
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as exact:
        line = data.count(b"\n", 0, exact.start) + 1
        return f"{message} (byte 0x{data[exact.start]:02x} in line {line})"
    return f"{message} ({error})"
