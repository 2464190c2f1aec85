"""A table on disk that grows row by row: it survives kills, shows damage, and several processes may fill it."""

from __future__ import annotations

import csv
import os
import warnings
from typing import TYPE_CHECKING, Generic, TypeVar

from pellucid.utils.csv_table import csv_line, csv_lines
from pellucid.utils.digests import line_digest
from pellucid.utils.resources import make_folder, whole_file

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

Row = TypeVar("Row")
DIGEST = "digest"  # the last column


class RowLog(Generic[Row]):
    """A CSV file whose lines each carry their own digest.

    Rows are appended whole, under a lock and flushed to the disk. A line without its end was torn by a kill, and is cut
    off. A line that does not fit its digest was damaged: it is taken out of the file and said, so that what it held is
    measured again.

    Args:
        path: of the file; made with the first row.
        columns: their names, without the digest's.
        parse: a row from its cells; raises ValueError or KeyError for cells that are none.
        lock: held while the file is changed.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        parse: Callable[[list[str]], Row],
        lock: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.path = path
        self._header = csv_line([*columns, DIGEST])
        self._parse, self._lock = parse, lock
        self._read_to, self._file = 0, -1

    def append(self, rows: Iterable[Iterable[object]]) -> None:
        """Add rows, at once and for good; with none, nothing happens."""
        added = "".join(_line(row) for row in rows)
        if not added:
            return
        make_folder(self.path.parent)
        with self._lock(), self.path.open("a+b") as stream:
            whole = _whole(stream)
            stream.truncate(whole)  # a line that was torn when its writer was killed
            stream.write(((self._header if whole == 0 else "") + added).encode())
            stream.flush()
            os.fsync(stream.fileno())

    def read(self) -> list[Row]:
        """What was added since the last time, by whomever; all of it, where damaged lines were taken out since."""
        try:
            stream = self.path.open("rb")
        except FileNotFoundError:
            return []
        with stream:
            about = os.fstat(stream.fileno())
            if about.st_ino != self._file or about.st_size < self._read_to:
                self._read_to, self._file = 0, about.st_ino
            stream.seek(self._read_to)
            added = stream.read()
        added = added[: added.rfind(b"\n") + 1]
        rows, lost = self._parsed(added, first=self._read_to == 0)
        if lost:
            return self._repaired()
        self._read_to += len(added)
        return [row for _, row in rows]

    def _repaired(self) -> list[Row]:
        """Take the damaged lines out of the file."""
        with self._lock():
            content = self.path.read_bytes()
            rows, lost = self._parsed(content[: content.rfind(b"\n") + 1], first=True)
            if lost:  # and no other process was faster
                with whole_file(self.path) as temporary:
                    temporary.write_text(self._header + "".join(line for line, _ in rows), encoding="utf-8")
                lines = "1 line" if lost == 1 else f"{lost} lines"
                warnings.warn(
                    f"{self.path} is damaged ({lines} of it did not fit the digest): what is missing is measured "
                    "again.",
                    stacklevel=4,
                )
            about = self.path.stat()
            self._read_to, self._file = about.st_size, about.st_ino
        return [row for _, row in rows]

    def _parsed(self, content: bytes, *, first: bool) -> tuple[list[tuple[str, Row]], int]:
        """The rows that fit their digests, each with its line, and how many lines do not."""
        lines = [f"{line}\n" for line in content.decode("utf-8", errors="replace").split("\n")[:-1]]
        lost, rows = 0, []
        headless = first and bool(lines) and lines[0] != self._header
        if first and not headless:
            lines = lines[1:]
        place = 0
        while place < len(lines):
            for end in range(place + 1, min(place + 1 + _LONGEST, len(lines)) + 1):  # a cell may hold ends of lines
                text = "".join(lines[place:end])
                if (row := self._row(text)) is not None:
                    rows.append((text, row))
                    place = end
                    break
                if text.count('"') % 2 == 0:
                    lost += 1
                    place += 1
                    break
            else:
                lost += 1
                place += 1
        return rows, max(lost, int(headless))

    def _row(self, line: str) -> Row | None:
        try:
            ((*cells, check),) = csv_lines(line)
            return self._parse(cells) if check == line_digest(cells) else None
        except (ValueError, KeyError, csv.Error):
            return None


_LONGEST = 8  # ends of lines in one row


def _line(row: Iterable[object]) -> str:
    (cells,) = csv_lines(csv_line(row))
    return csv_line([*cells, line_digest(cells)])


def _whole(stream: io.BufferedRandom) -> int:
    """The bytes up to the end of the last line that is complete."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        stream.seek(start)
        if (place := stream.read(end - start).rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0
