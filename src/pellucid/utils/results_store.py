"""One store for whatever was measured: kept as it is done, so that it is never done twice; checked whenever it is read.

A store is a folder. What all of it depends on (weights, images, settings) stands in its `evaluation.json`, and a folder
that holds another's is refused; a store without such a record has names that say what each result depends on
(`keyed`). Arrays lie in a file each, rows in a `RowLog`. Several processes may fill a store together.
"""

from __future__ import annotations

import json
import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pellucid.types import InputError
from pellucid.utils.digests import (
    DamageError,
    digest,
    line_digest,
    read_arrays,
    read_sealed,
    write_arrays,
    write_sealed,
)
from pellucid.utils.locks import lock
from pellucid.utils.resources import finite, make_folder
from pellucid.utils.row_log import RowLog
from pellucid.utils.system_errors import why

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    import numpy.typing as npt

RECORD = "evaluation.json"
LOCKS = ".locks"
Row = TypeVar("Row")


class ResultsStore:
    """A folder of results.

    Args:
        folder: of the results; made with the first of them, or with the first lock.
        record: everything that determines the results, as plain values; None where their names say it.
        adopted: keys of the record whose written value holds, whatever is given.

    Attributes:
        folder: as given.
        record: the one in force.

    Raises:
        InputError: the folder holds results of something else, naming what differs; its record is damaged.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = ResultsStore(Path(folder), {"seed": 0})
        ...     store.write("logits", {"logits": [0.5, 2.0]})
        ...     print(ResultsStore(Path(folder), {"seed": 0}).read("logits"))
        {'logits': array([0.5, 2. ])}
    """

    def __init__(self, folder: Path, record: Mapping[str, Any] | None = None, *, adopted: Iterable[str] = ()) -> None:
        self.folder = folder
        self.record: dict[str, Any] = json.loads(json.dumps(finite(dict(record or {}))))
        self._adopted = set(adopted)
        self._recorded = record is None
        if record is not None and (folder / RECORD).exists():
            self._compare()
            self._recorded = True
        elif record is not None and folder.is_dir():
            self._refuse_without_record(sorted(folder.glob("*.npz")))

    def _compare(self) -> None:
        """Refuse a record that is not this one."""
        stored = read_sealed(
            self.folder / RECORD,
            f"Nobody knows what the results in {self.folder} belong to: measure again with another --out.",
        )
        record, adopted = self.record, self._adopted
        refuse_others(self.folder, stored, record, adopted)
        self.record = record | {k: stored[k] for k in adopted if k in stored}

    def _refuse_without_record(self, files: Sequence[Path]) -> None:
        if files:
            raise InputError(
                f"{files[0]} has no {RECORD} beside it, so nobody knows what it belongs to. Delete it or choose "
                "another --out."
            )

    def write_record(self) -> None:
        """Write the record, so that whoever comes later is held against it; it is written with the first result."""
        if not self._recorded:
            write_sealed(self.folder / RECORD, self.record)
            self._recorded = True

    def read(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays that are kept under a name; None where there are none, or, with a warning, damaged ones."""
        path = self.folder / f"{name}.npz"
        try:
            return read_arrays(path, "It is measured again.")
        except FileNotFoundError:
            return None
        except DamageError as error:
            warnings.warn(str(error), stacklevel=2)
            return None

    def write(self, name: str, arrays: Mapping[str, npt.ArrayLike]) -> None:
        """Keep arrays under a name, whole or not at all."""
        self.write_record()
        write_arrays(self.folder / f"{name}.npz", arrays)

    def measured(
        self, name: str, measure: Callable[[], Mapping[str, npt.NDArray[Any]]]
    ) -> Mapping[str, npt.NDArray[Any]]:
        """The arrays that are kept under a name, measured and kept first where they are not."""
        stored = self.read(name)
        if stored is not None:
            return stored
        arrays = measure()
        self.write(name, arrays)
        return arrays

    def rows(self, name: str, columns: Sequence[str], parse: Callable[[list[str]], Row]) -> RowLog[Row]:
        """The table of this name in the store's folder.

        Args:
            name: of the file, as `radii.csv`.
            columns: their names.
            parse: a row from its cells.

        Raises:
            InputError: a table, and no record that says what it belongs to.
        """
        path = self.folder / name
        if not self._recorded:
            with self.lock("record"):
                if (self.folder / RECORD).exists():  # another process was faster
                    self._compare()
                else:
                    self._refuse_without_record([path] if path.exists() else [])
                    self.write_record()
                self._recorded = True
        return RowLog(path, columns, parse, lambda: self.lock("append"))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock, waiting for it; it ends with the process that holds it, however that ends."""
        with self._opened(name) as stream:
            lock(stream, wait=True)
            yield

    @contextmanager
    def claim(self, name: str) -> Iterator[Lease | None]:
        """Hold a lock, or None where another process holds it."""
        with self._opened(name) as stream:
            yield Lease(stream) if lock(stream, wait=False) else None

    def seconds(self, prefix: str) -> float:
        """The time that was noted in the claims whose names start so; NaN, with a warning, where a note is damaged."""
        return math.fsum(_noted(path) for path in sorted((self.folder / LOCKS).glob(f"{prefix}*")))

    def _opened(self, name: str) -> IO[bytes]:
        path = self.folder / LOCKS / name
        try:
            make_folder(path.parent)
            return path.open("a+b")
        except OSError as error:
            reason = why(error) or error.strerror or error
            raise InputError(
                f"cannot write {path}: {reason}. Delete {path.parent}, or choose another --out."
            ) from error


class Lease:
    """A lock that is held; the time spent under it can be noted."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def spent(self, seconds: float) -> None:
        """Note the time, for `ResultsStore.seconds`."""
        note = f"{seconds:.3f}"
        self._stream.truncate(0)
        self._stream.write(f"{note} {line_digest([note])}".encode())
        self._stream.flush()


def refuse_others(
    folder: Path, stored: Mapping[str, object], own: Mapping[str, object], adopted: Container[str] = ()
) -> None:
    """Refuse results that depend on other values than these.

    Args:
        folder: where the results lie.
        stored: what they depend on, as plain values.
        own: what is expected.
        adopted: what may differ.

    Raises:
        InputError: with what differs, there and here.
    """
    names = [k for k in dict.fromkeys([*own, *stored]) if k not in adopted and own.get(k) != stored.get(k)]
    if names:
        differences = "; ".join(f"{k}: {_short(stored.get(k))} there, {_short(own.get(k))} here" for k in names)
        raise InputError(f"{folder} holds the results of another evaluation ({differences}). Choose another --out.")


def keyed(name: str, *parts: object) -> str:
    """A name that holds for these values only: those that a result depends on.

    Example:
        >>> keyed("grad cam", "weights", 3)
        'grad-cam-9a7c901db0345bf5'
    """
    return f"{name.replace(' ', '-')}-{digest(repr(parts).encode())[:16]}"


def _noted(path: Path) -> float:
    note = path.read_bytes() if path.is_file() else b""
    if not note:
        return 0.0
    seconds, _, check = note.decode("utf-8", errors="replace").partition(" ")
    if check == line_digest([seconds]):
        return float(seconds)
    warnings.warn(f"{path} is damaged: how long the search took is not known.", stacklevel=4)
    return math.nan


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
