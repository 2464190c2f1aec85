"""What the columns of a table say of each image: labels of 0 and 1, a list of findings, or one class."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.readers.label_words import is_absence, is_unknown, plain, warn_of_names
from pellucid.data.readers.table.columns import find_column
from pellucid.data.readers.table.options import USUAL
from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    from pellucid.data.readers.table.columns import Columns
    from pellucid.data.readers.table.options import ColumnOptions
    from pellucid.types import Task

_CODES = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}
_SEPARATORS = re.compile(r"[|;]")
_QUOTED = r"""'[^'\\]*'|"[^"\\]*\""""
_IN_BRACKETS = re.compile(rf"\[\s*(?:(?:{_QUOTED})(?:\s*,\s*(?:{_QUOTED}))*)?\s*\]")  # as pandas and JSON write it


@dataclass(frozen=True)
class Targets:
    """What a table says of its images.

    Attributes:
        task: `multiclass` or `multilabel`.
        values: int64 (N,), or float32 (N, K) with NaN where unknown.
        classes: the names of the classes.
        description: which columns it was read from, for messages.
    """

    task: Task
    values: npt.NDArray[np.generic]
    classes: tuple[str, ...]
    description: str


def read_targets(columns: Columns, settings: ColumnOptions, used: Collection[str | None]) -> Targets:
    """The targets, from the columns that the options name or that have a usual name.

    Where there are none, all columns that are not taken for something else are labels, if all of them hold 0, 1 or
    nothing. Rows whose cells make no sense are noted as faulty.

    Args:
        columns: the table.
        settings: the options.
        used: the columns that are something else.

    Raises:
        InputError: naming the table, for options that exclude each other, a column that is not there, or columns of
            which it cannot be said whether they are labels.
    """
    options = [option for option in ("category", "findings", "labels") if getattr(settings, option) is not None]
    if len(options) > 1:
        raise InputError(f"options of table: {' and '.join(options)} exclude each other; give one of them.")
    if settings.labels is not None:
        names: Sequence[str] = [find_column(columns, "labels", name, ()) or name for name in settings.labels]
        if not names or len(set(names)) < len(names):
            raise InputError("options of table: labels: give at least one column, and each once.")
        return _indicators(columns, settings, names)
    category = find_column(columns, "category", settings.category, () if options else USUAL["category"])
    findings = find_column(columns, "findings", settings.findings, () if options else USUAL["findings"])
    if category is not None and findings is not None:
        raise InputError(
            f"{columns.source}: are the labels in {category!r} (one class per image) or in {findings!r} (a list)? Give "
            f"category={category} or findings={findings}."
        )
    if category is not None:
        values, classes = class_targets(columns, category, settings.classes)
        return Targets("multiclass", values, classes, f"one class per image from {category!r}")
    if findings is not None:
        listed, classes = list_targets(columns, findings, settings.classes, settings.separator, settings.negative)
        return Targets("multilabel", listed, classes, f"a list of findings from {findings!r}")
    names = [name for name in columns.names if name not in used]
    fitting = [name for name in names if is_indicator(columns, name, settings.unknown)]
    if not fitting or fitting != names:
        others = ", ".join(repr(name) for name in names if name not in fitting) or "none"
        raise InputError(
            f"{columns.source}: which columns are the labels? Columns of 0 and 1: "
            f"{', '.join(map(repr, fitting)) or 'none'}; others: {others}. Give category=COLUMN for one class an "
            'image, findings=COLUMN for a list, or labels=["A", "B"] for columns of 0 and 1.'
        )
    return _indicators(columns, settings, names)


def _indicators(columns: Columns, settings: ColumnOptions, names: Sequence[str]) -> Targets:
    if settings.classes is not None:
        raise InputError("options of table: classes goes with category or findings; labels has its own order.")
    values = indicator_targets(columns, names, settings.unknown)
    if settings.labels is None:
        warn_of_names(names, columns.source.name, "Name the columns that are labels with the option labels.")
    return Targets("multilabel", values, tuple(names), f"labels of 0 and 1 from {', '.join(map(repr, names))}")


def is_indicator(columns: Columns, name: str, unknown: Sequence[str]) -> bool:
    """Whether every cell of a column is 0, 1, empty or one of `unknown`, and any is 0 or 1."""
    codes = [_code(cell, unknown) for cell in set(columns.cells.get(name, ()))]
    return None not in codes and not all(code != code for code in codes)  # noqa: PLR0124 (NaN)


def indicator_targets(columns: Columns, names: Sequence[str], unknown: Sequence[str]) -> npt.NDArray[np.float32]:
    """Columns of 0 and 1 as float32 (N, K); NaN where a cell is empty, `label_words.UNKNOWN` or one of `unknown`.

    Rows with another cell are noted as faulty.
    """
    targets = np.full((len(columns), len(names)), np.nan, dtype=np.float32)
    for k, name in enumerate(names):
        if name not in columns.cells:
            raise InputError(f"{columns.source}: {name!r} is a column of lists, not of 0 and 1; give findings={name}.")
        code_of = {cell: _code(cell, unknown) for cell in set(columns.cells[name])}
        words = {plain(cell) for cell in code_of}
        if {"1", "-1"} <= words and "0" not in words and not is_unknown("-1", unknown, ()):
            raise InputError(
                f"{columns.source}: {name!r} holds 1 and -1 and no 0. If -1 says that it is not known, give "
                'unknown=["-1"]; if it says no, write 0.'
            )
        wrong = {cell for cell, value in code_of.items() if value is None}
        targets[:, k] = [code_of[cell] for cell in columns.cells[name]]  # None becomes NaN
        for row, cell in enumerate(columns.cells[name]) if wrong else ():
            if cell in wrong:
                columns.refuse(row, f"{name} is {cell!r}; expected 0, 1, or nothing where it is unknown")
    return targets


def list_targets(
    columns: Columns, name: str, classes: Sequence[str] | None, separator: str | None, negative: str
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """A column of lists as float32 (N, K) and the K classes; a row of NaN where there is no list.

    So it is where there is but a word of `label_words.UNKNOWN`. Such a word, or one for the absence of findings, is a
    class only where `classes` names it.

    Args:
        columns: the table.
        name: the column.
        classes: those that become targets; None for all that occur, sorted.
        separator: what stands between two of a list in a CSV file; None for `|` or `;`, and for lists in brackets as
            pandas and JSON write them, ``['Mass', 'Nodule']``. Rows with other brackets are noted as faulty.
        negative: another word for nothing than those of `label_words.ABSENCE`; where it is empty, so is a cell that
            says so.

    Raises:
        InputError: for a column that names no class.
    """
    lists = columns.lists[name] if name in columns.lists else _split(columns, name, separator)
    lists = _only_findings(columns, name, lists, classes or (), negative)
    different = set(lists)
    labels = _choose(columns, name, sorted({label for entry in different for label in entry or ()}), classes)
    if classes is None:
        warn_of_names(
            labels,
            f"{columns.source.name}, {name!r}",
            'Give negative="the word" where nothing was found; name the classes (classes) where it is one.',
        )
    odd = [c for c in labels if "," in c or "[" in c] if classes is None and separator is None else []
    if odd and name in columns.cells:
        warnings.warn(
            f"{columns.source.name}: a class in {name!r} is called {odd[0]!r}. If these are several, say what stands "
            "between them, as separator=','.",
            stacklevel=2,
        )
    rows: dict[tuple[str, ...] | None, npt.NDArray[np.float32]] = {}
    for entry in different:
        listed = set(entry or ())
        rows[entry] = np.array([np.nan if entry is None else float(c in listed) for c in labels], dtype=np.float32)
    return np.stack([rows[entry] for entry in lists]) if lists else np.zeros((0, len(labels)), np.float32), labels


def class_targets(
    columns: Columns, name: str, classes: Sequence[str] | None
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """A column of one class per image as int64 (N,) and the classes; -1 in faulty rows.

    Args:
        columns: the table.
        name: the column.
        classes: all that may occur, in order; None for those that occur, sorted, as numbers where all are.

    Raises:
        InputError: for fewer than two classes.
    """
    if name not in columns.cells:
        raise InputError(f"{columns.source}: {name!r} is a column of lists, not of one class; give findings={name}.")
    cells = columns.cells[name]
    labels = {cell for cell in set(cells) if not is_unknown(cell)}
    ordered = sorted(labels, key=int) if all(text.isdecimal() for text in labels) else sorted(labels)
    names = _choose(columns, name, ordered, classes)
    if len(names) < 2:
        raise InputError(
            f"{columns.source}: column {name!r} has one class, {names[0]!r}; expected two or more. If others may "
            f'occur, give all of them, as classes=["{names[0]}", "other"].'
        )
    if classes is None:
        warn_of_names(
            names,
            f"{columns.source.name}, {name!r}",
            "Leave those rows out, or name all classes (classes).",
            absence=False,
        )
    index = {label: k for k, label in enumerate(names)}
    for row, cell in enumerate(cells):
        if cell not in index:
            columns.refuse(row, f"{name} is {_instead_of_a_class(cell, names)}")
    return np.array([index.get(cell, -1) for cell in cells], dtype=np.int64), names


def _instead_of_a_class(cell: str, classes: Sequence[str]) -> str:
    if not cell:
        return "empty"
    if is_unknown(cell):
        return f"{cell!r}: not known. Leave the row out; if it is a class, name all of them with the option classes"
    return f"{cell!r}. {nearest(cell, classes)}"


def _code(cell: str, unknown: Sequence[str]) -> float | None:
    """What a cell says of a label: 1, 0, NaN where that is not known, None where it makes no sense."""
    return np.nan if is_unknown(cell, unknown) else _CODES.get(plain(cell))


def _only_findings(
    columns: Columns, name: str, lists: list[tuple[str, ...] | None], classes: Sequence[str], negative: str
) -> list[tuple[str, ...] | None]:
    """Lists without the words for nothing and for what is not known; None for what is not known.

    Rows that list a word for what is not known beside findings are noted as faulty.
    """
    findings_of: dict[tuple[str, ...] | None, tuple[str, ...] | None] = {}
    wrong: dict[tuple[str, ...] | None, str] = {}
    for entry in set(lists):
        words = [word for word in entry or () if word in classes or not is_absence(word, negative)]
        open_words = [word for word in words if word not in classes and is_unknown(word)]
        findings = tuple(word for word in words if word not in open_words)
        spoken = [word for word in open_words if word]
        if spoken and len(entry or ()) > len(spoken):
            wrong[entry] = spoken[0]
        empty = entry is None and negative == ""  # where an empty cell says that there is none
        no_list = entry is None or (bool(open_words) and not findings and len(words) == len(entry))
        findings_of[entry] = None if no_list and not empty else findings
    for row, entry in enumerate(lists) if wrong else ():
        if entry in wrong:
            columns.refuse(row, f"{name} lists {wrong[entry]!r}, not known, beside other findings")
    return [findings_of[entry] for entry in lists]


def _split(columns: Columns, name: str, separator: str | None) -> list[tuple[str, ...] | None]:
    """Cells as lists; None for an empty one, and for brackets that hold no quoted words, whose rows are faulty."""
    cells = columns.cells[name]
    lists: dict[str, tuple[str, ...] | None] = {"": None}
    wrong: set[str] = set()
    for cell in set(cells) - {""}:
        if separator is not None:
            parts = cell.split(separator)
        elif not (cell[0] == "[" and cell[-1] == "]"):
            parts = _SEPARATORS.split(cell)
        elif _IN_BRACKETS.fullmatch(cell):
            parts = [quoted[1:-1] for quoted in re.findall(_QUOTED, cell)]
        else:
            wrong.add(cell)
        lists[cell] = None if cell in wrong else tuple(part.strip() for part in parts)
    for row, cell in enumerate(cells) if wrong else ():
        if cell in wrong:
            columns.refuse(row, f"{name} is {cell!r}; expected a list such as Mass|Nodule or ['Mass', 'Nodule']")
    return [lists[cell] for cell in cells]


def _choose(columns: Columns, name: str, labels: Sequence[str], classes: Sequence[str] | None) -> tuple[str, ...]:
    if not labels:
        raise InputError(f"{columns.source}: column {name!r} names no class at all.")
    if classes is None:
        return tuple(labels)
    if not classes or len(set(classes)) < len(classes):
        raise InputError("options of table: classes: give at least one class, and each once.")
    return tuple(classes)
