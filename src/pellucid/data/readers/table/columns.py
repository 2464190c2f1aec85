"""Tables of one's own, CSV or Parquet, as columns; which column means what; and rows that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pellucid.data.issues import Issue
from pellucid.data.text_tables import read_text_table
from pellucid.types import InputError
from pellucid.utils.resources import nearest, optional
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PARQUET = frozenset({".parquet", ".pq"})
SUFFIXES = frozenset({".csv", ".tsv", *PARQUET})
_REMEDY = "Save it as UTF-8, or name its encoding, as encoding=latin-1 or cp1252."


@dataclass(frozen=True)
class Columns:
    """A table by columns, and the rows of it that cannot be used.

    Attributes:
        source: its file.
        cells: the text of each cell by column, without spaces around it; empty where there is nothing.
        lists: the columns of a Parquet table whose cells are lists; None where there is nothing.
        places: the line of each row in a CSV file, its number in a Parquet file, both from 1.
        unit: `line` or `row`, for messages.
        faults: what is wrong, by row, or of rows that are not among the columns.
        faulty: the rows that have a fault.
    """

    source: Path
    cells: dict[str, list[str]]
    lists: dict[str, list[tuple[str, ...] | None]]
    places: list[int]
    unit: str
    faults: list[Issue] = field(default_factory=list)
    faulty: set[int] = field(default_factory=set)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that have a name, in order."""
        return (*self.cells, *self.lists)

    def __len__(self) -> int:
        return len(self.places)

    def texts(self, name: str) -> list[str]:
        """The cells of a column.

        Raises:
            InputError: for a column of lists.
        """
        if name not in self.cells:
            raise InputError(f"{self.source}: {name!r} is a column of lists; expected one value per row.")
        return self.cells[name]

    def where(self, row: int) -> str:
        """`line 7`, for messages."""
        return f"{self.unit} {self.places[row]}"

    def refuse(self, row: int, reason: str) -> None:
        """Note that a row cannot be used."""
        self.faulty.add(row)
        self.faults.append(Issue(str(self.source), f"{self.where(row)}: {reason}"))

    def usable(self) -> list[int]:
        """The rows without a fault."""
        return [row for row in range(len(self)) if row not in self.faulty]


def read_columns(path: Path, *, encoding: str | None = None, delimiter: str | None = None) -> Columns:
    """Read a table.

    Args:
        path: a Parquet file by its suffix, else CSV.
        encoding: of a CSV file; by default UTF-8, or UTF-16 with a byte-order mark.
        delimiter: between the cells of a CSV file; by default a comma, a tab in a file called .tsv.

    Raises:
        InputError: naming the file, if it cannot be read, has no rows, or two columns of one name. Rows with too many
            or too few cells are left out and noted in `faults`.
    """
    if path.suffix.lower() in PARQUET:
        return _read_parquet(path)
    rows = read_text_table(path, encoding=encoding, delimiter=delimiter or _delimiter(path), remedy=_REMEDY)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    _check_names(path, header)
    places: list[int] = []
    whole_rows: list[list[str]] = []
    faults: list[Issue] = []
    width = len(header)
    for line, row in rows:
        if len(row) == width:
            places.append(line)
            whole_rows.append(row)
        else:
            faults.append(
                Issue(str(path), f"line {line}: {number_of(len(row), 'cell(s)')}; the first line has {width}")
            )
    if not whole_rows and not faults:
        raise InputError(f"{path}: the table has no rows{_hint(header)}.")
    turned = [list(map(str.strip, column)) for column in zip(*whole_rows, strict=True)] if whole_rows else [[]] * width
    cells = {name: column for name, column in zip(header, turned, strict=True) if name}
    return Columns(path, cells, {}, places, "line", faults)


def find_column(columns: Columns, option: str, wish: str | None, usual: Sequence[str]) -> str | None:
    """The column that an option names; without one, the column that has a usual name, if there is one.

    Args:
        columns: the table.
        option: the option's name, for messages.
        wish: its value.
        usual: names to look for, in small letters; capitals, spaces and hyphens make no difference.

    Raises:
        InputError: for a column that is not there, or several with usual names.
    """
    if wish is not None:
        if wish not in columns.names:
            raise InputError(f"{columns.source}: no column {wish!r} (option {option}). {_there_are(columns, wish)}")
        return wish
    candidates = [name for name in columns.names if name.lower().replace(" ", "_").replace("-", "_") in usual]
    if len(candidates) > 1:
        raise InputError(
            f"{columns.source}: columns {' and '.join(map(repr, candidates))} could both be meant; say which with the "
            f"option {option}, as {option}={candidates[0]}."
        )
    return candidates[0] if candidates else None


def need_column(columns: Columns, option: str, wish: str | None, usual: Sequence[str], *, remedy: str = "") -> str:
    """As `find_column`, and an InputError where there is none; it ends with `remedy`, if that is no option."""
    column = find_column(columns, option, wish, usual)
    if column is None:
        there = ", ".join(map(repr, columns.names)) or "none"
        raise InputError(
            f"{columns.source}: no column {' or '.join(map(repr, usual[:3]))}; found: {there}"
            f"{_hint(columns.names)}. {remedy or f'Name it with the option {option}.'}"
        )
    return column


def _read_parquet(path: Path) -> Columns:
    arrow, parquet = (optional(f"pyarrow{part}", "parquet", str(path)) for part in ("", ".parquet"))
    try:
        file = parquet.ParquetFile(path)
        schema = file.schema_arrow
        _check_names(path, schema.names)
        plain = [f.name for f in schema if not _is_nested(arrow, f.type)]  # images that are in the table stay there
        table = file.read(columns=plain)
        values = {name: table.column(name).to_pylist() for name in plain}
    except InputError:
        raise
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as a Parquet table ({error}).") from error
    if table.num_rows == 0:
        raise InputError(f"{path}: the table has no rows.")
    of_lists = {f.name for f in schema if _is_list(arrow, f.type)}
    cells = {name: [_text(value) for value in column] for name, column in values.items() if name not in of_lists}
    lists = {
        name: [None if value is None else tuple(map(_text, value)) for value in column]
        for name, column in values.items()
        if name in of_lists
    }
    return Columns(path, cells, lists, list(range(1, table.num_rows + 1)), "row")


def _is_list(arrow: Any, kind: Any) -> bool:  # noqa: ANN401
    return bool(arrow.types.is_list(kind) or arrow.types.is_large_list(kind) or arrow.types.is_fixed_size_list(kind))


def _is_nested(arrow: Any, kind: Any) -> bool:  # noqa: ANN401
    if _is_list(arrow, kind):
        return _is_nested(arrow, kind.value_type) or _is_list(arrow, kind.value_type)
    types = arrow.types
    return bool(types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _text(value: object) -> str:
    """A value as a CSV file would hold it; not a number is nothing."""
    return "" if value is None or value != value else str(value).strip()  # noqa: PLR0124


def _check_names(path: Path, header: Sequence[str]) -> None:
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise InputError(f"{path}: two columns are called {', '.join(map(repr, twice))}.")


def _there_are(columns: Columns, name: str) -> str:
    return nearest(name, columns.names).removesuffix(".") + f"{_hint(columns.names)}."


def _hint(header: Sequence[str]) -> str:
    """What to try where a whole line came out as one cell."""
    marks = [mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]]
    return f"; is it divided by {marks[0]!r}? Then give delimiter={marks[0]!r}" if marks else ""


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","
