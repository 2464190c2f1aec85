"""What every opener does first: check the folder, read tables; and how it says what is wrong."""

from __future__ import annotations

import codecs
import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pellucid.data.dataset import Splits


class Issue(NamedTuple):
    """Something that a check of a dataset has to say of one file; serious where it must be mended."""

    file: str
    reason: str
    serious: bool = True


MISSING = "named by the dataset's lists, but there is no such file"
_NAMED = 20  # remarks that an error message holds


class FaultyDataError(InputError):
    """Several things wrong with a dataset; the message names the first of them.

    Attributes:
        issues: all of them.
        usable: the parts without what is wrong, so that a check can go on.
    """

    def __init__(self, issues: Sequence[Issue], usable: Splits | None = None, message: str = "") -> None:
        self.issues = tuple(issues)
        self.usable: Splits = usable or {}
        super().__init__(message or self._message())

    def _message(self) -> str:
        told = [f"{remark.file}: {remark.reason}" for remark in self.issues]
        if len(told) == 1:
            return told[0]
        more = len(told) - _NAMED
        named = [*told[:_NAMED], f"… and {more:,} more; `pellucid data check` names them all"] if more > 0 else told
        return f"{len(told):,} things are wrong:\n  " + "\n  ".join(named)


def issues_of(error: InputError, file: str | Path) -> list[Issue]:
    """What an error says, as remarks; on `file`, where it is about one thing alone."""
    if isinstance(error, FaultyDataError):
        return list(error.issues)
    return [Issue(str(file), str(error).removeprefix(f"{file}, ").removeprefix(f"{file}: "))]


def collect_issues(faults: Sequence[Issue], build: Callable[[], Splits], file: str | Path) -> Splits:
    """The parts that `build` gives, where nothing is wrong; else all that is wrong in one error, with the parts.

    Args:
        faults: what is wrong already; `build` may add to it.
        build: opens the parts without what is wrong.
        file: what errors of `build` are about.

    Raises:
        FaultyDataError: with `faults` and what `build` raised beside them.
        InputError: by `build`, where there are no others.
    """
    try:
        splits = build()
    except InputError as error:
        if not faults:
            raise
        raise FaultyDataError([*faults, *issues_of(error, file)]) from error
    if faults:
        raise FaultyDataError(faults, splits)
    return splits


def check_root(root: str | Path | None, name: str, layout: str, *, file: bool = False) -> Path:
    """The dataset's folder, if it is there and holds anything; where `file`, it may also be a file.

    Raises:
        InputError: with the folder and the layout that is expected in it.
    """
    expected = f"Expected: {layout}"
    if root is None:
        raise InputError(f"{name} is read from disk: give its folder. {expected}")
    folder = Path(root).expanduser()
    if not folder.exists():
        what = "a link that leads nowhere" if folder.is_symlink() else "no such folder" + " or file" * file
        raise InputError(f"{folder}: {what}. {expected}")
    if file and folder.is_file():
        return folder
    if not folder.is_dir():
        raise InputError(f"{folder}: a file, not the folder of {name}. {expected}")
    try:
        with os.scandir(folder) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}). {expected}") from error
    if empty:
        raise InputError(f"{folder}: the folder is empty. {expected}")
    return folder


def read_csv(
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
    said = f"not text in {encoding.removesuffix('-sig').upper()}"
    if not isinstance(error, UnicodeDecodeError) or encoding != "utf-8-sig":
        return f"{said} ({error})"
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as exact:
        line = data.count(b"\n", 0, exact.start) + 1
        return f"{said} (byte 0x{data[exact.start]:02x} in line {line})"
    return f"{said} ({error})"
