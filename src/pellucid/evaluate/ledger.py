"""`radii.csv`, kept so that it survives a kill at any moment and that several processes may fill it together."""

from __future__ import annotations

import csv
import fcntl
import json
import math
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.csv_table import csv_line, csv_lines
from pellucid.resources import finite, write_json
from pellucid.types import InputError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

RADII = "radii.csv"
RECORD = "evaluation.json"
LOCKS = ".locks"


class RadiusRow(NamedTuple):
    """One line of `radii.csv`.

    Attributes:
        kind: of the area.
        id: the image's, in its dataset.
        label: the label that was attacked; empty for a multiclass network.
        found: whether a perturbation was found, or none was needed.
        correct_at_start: whether one was needed.
        radius: root mean square of the smallest perturbation found; 0 where none was needed, NaN (empty in the file)
            where none was found.
        gradient_evaluations: spent on it.
        forward_passes: spent on it, those of the gradient evaluations included.
    """

    kind: str
    id: str
    label: str
    found: bool
    correct_at_start: bool
    radius: float
    gradient_evaluations: int
    forward_passes: int


class Ledger:
    """A folder with the radii found so far, what they belong to, and who is busy with what.

    Rows are appended whole, under a lock and flushed to the disk; a line that a killed process left torn is dropped.
    Locks are `flock`s: they end with the process that holds them, however it ends.

    Attributes:
        folder: made if it is missing.
        rows: what has been read so far, by kind, id and label.
    """

    def __init__(self, folder: Path) -> None:
        try:
            (folder / LOCKS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror or error}. Choose another --out.") from error
        self.folder = folder
        self.rows: dict[tuple[str, str, str], RadiusRow] = {}
        self._read_to = 0

    def belongs_to(self, record: Mapping[str, Any], adopted: Iterable[str] = ()) -> dict[str, Any]:
        """Write down what the radii are of, or compare it with what is written.

        Args:
            record: everything that determines the radii, as plain values.
            adopted: the keys whose written value holds, whatever is given.

        Returns:
            The record in force.

        Raises:
            InputError: radii of something else, naming what differs; radii without a record.
        """
        given: dict[str, Any] = json.loads(json.dumps(finite(dict(record))))
        path = self.folder / RECORD
        with self.lock("record"):
            if not path.is_file():
                if (self.folder / RADII).exists():
                    raise InputError(
                        f"{self.folder / RADII} has no {RECORD} beside it, so nobody knows what it belongs to. "
                        "Delete it or choose another --out."
                    )
                write_json(path, given)
                return given
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise InputError(f"{path} is not valid JSON: {error}. Choose another --out.") from error
        stored = stored if isinstance(stored, dict) else {}
        free = set(adopted)
        differing = [k for k in dict.fromkeys([*given, *stored]) if k not in free and given.get(k) != stored.get(k)]
        if differing:
            told = "; ".join(f"{k}: {_short(stored.get(k))} there, {_short(given.get(k))} here" for k in differing)
            raise InputError(f"{self.folder} holds the radii of another evaluation ({told}). Choose another --out.")
        return given | {k: stored[k] for k in free if k in stored}

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock, waiting for it."""
        with (self.folder / LOCKS / name).open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def claim(self, name: str) -> Iterator[Claim | None]:
        """Hold a lock, or None where another process holds it."""
        with (self.folder / LOCKS / name).open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            yield Claim(stream)

    def seconds(self, prefix: str) -> float:
        """The time that was noted in the claims whose names start so."""
        notes = [path.read_text() for path in (self.folder / LOCKS).glob(f"{prefix}*")]
        return math.fsum(float(note) for note in notes if note)

    def append(self, rows: Iterable[RadiusRow]) -> None:
        """Add rows, at once and for good."""
        path = self.folder / RADII
        with self.lock("append"), path.open("a+b") as stream:
            whole = _whole(stream)
            stream.truncate(whole)  # a line that was torn when its writer was killed
            lines = [csv_line(RadiusRow._fields)] if whole == 0 else []
            lines += [csv_line(_plain(row)) for row in rows]
            stream.write("".join(lines).encode())
            stream.flush()
            os.fsync(stream.fileno())

    def read(self) -> None:
        """Take in what was added since the last time, by whomever."""
        path = self.folder / RADII
        if not path.is_file():
            return
        with path.open("rb") as stream:
            stream.seek(self._read_to)
            added = stream.read()
        added = added[: added.rfind(b"\n") + 1]
        try:
            lines = csv_lines(added.decode("utf-8", errors="replace"))
        except csv.Error as error:
            raise InputError(
                f"{path} is not a readable table ({error}). Delete the file to measure again, or choose another --out."
            ) from error
        for line in lines:
            if self._read_to == 0 and tuple(line) == RadiusRow._fields:
                continue
            row = _parsed(line, path)
            self.rows.setdefault(row[:3], row)
        self._read_to += len(added)


class Claim:
    """A lock that is held; the time spent under it can be noted."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    def spent(self, seconds: float) -> None:
        """Note the time, for `Ledger.seconds`."""
        self._stream.truncate(0)
        self._stream.write(f"{seconds:.3f}")
        self._stream.flush()


def _whole(stream: io.BufferedRandom) -> int:
    """The bytes up to the end of the last line that is complete."""
    end = stream.seek(0, os.SEEK_END)
    tail = b""
    while end > 0:
        start = max(0, end - 65536)
        stream.seek(start)
        tail = stream.read(end - start)
        if (place := tail.rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0


def _plain(row: RadiusRow) -> list[object]:
    radius = "" if math.isnan(row.radius) else repr(row.radius)
    return [*row[:3], int(row.found), int(row.correct_at_start), radius, *row[6:]]


def _parsed(line: list[str], path: Path) -> RadiusRow:
    try:
        kind, name, label, found, correct, radius, gradients, passes = line
        marks = {"0": False, "1": True}
        length = float(radius) if radius else math.nan
        row = RadiusRow(kind, name, label, marks[found], marks[correct], length, int(gradients), int(passes))
        if math.isnan(length) == row.found or length < 0:
            raise ValueError(f"found {found}, radius {radius!r}")
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{path}: the line {','.join(line)[:80]!r} is none of this file's ({error}). Delete the file to measure "
            "again, or choose another --out."
        ) from error
    return row


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
