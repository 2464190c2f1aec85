"""What a table says of each image beside its labels: file, name, patient, part."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.data.dataset import SourceFile
from pellucid.data.issues import MISSING, Issue
from pellucid.data.readers.splits import PART_NAMES
from pellucid.types import InputError

if TYPE_CHECKING:
    from pellucid.data.readers.table.columns import Columns

_PLAIN = re.compile(r"[^./\\:\0][^./\\:\0]*(?:[./][^./\\:\0]+)*")  # a/b.png: nothing to tidy, nothing that leads out


def find_files(
    columns: Columns, name: str, base: Path, *, outside: bool = False
) -> tuple[list[str], dict[int, SourceFile]]:
    """The path of each row, as `a/b.png`, and the files of the rows that have one.

    A row is faulty without a path, with one that another row has too, one that is absolute or leaves its folder by
    `..` (unless `outside`), and one where no file is. A link inside the folder may lead out of it.

    Raises:
        InputError: if `base` is no folder, or `name` a column of lists.
    """
    if not base.is_dir():
        raise InputError(f"{base}: no such folder (option images).")
    paths: list[str] = []
    files: dict[int, SourceFile] = {}
    first: dict[str, int] = {}
    folder = f"{base}{os.sep}"
    for row, cell in enumerate(columns.texts(name)):
        plain = _PLAIN.fullmatch(cell) is not None
        path = cell if plain or not cell else Path(cell).as_posix()
        paths.append(path)
        earlier = first.setdefault(path, row)
        if not cell:
            columns.refuse(row, f"{name} is empty")
        elif earlier != row:
            columns.refuse(row, f"{cell} is in {columns.where(earlier)} too")
        elif not plain and not outside and _leads_out(path):
            columns.refuse(row, f"{cell} leads out of {base}; with outside=true it may")
        else:
            try:
                status = os.stat(folder + path if plain else base / path)  # noqa: PTH116 - 112,120 Paths are slow
            except (FileNotFoundError, NotADirectoryError):
                columns.faulty.add(row)
                columns.faults.append(Issue(f"{cell} ({columns.source.name}, {columns.where(row)})", MISSING))
            except (OSError, ValueError) as error:  # a circle of links; a null character
                columns.refuse(row, f"{cell!r} cannot be read ({getattr(error, 'strerror', None) or error})")
            else:
                if stat.S_ISREG(status.st_mode):
                    files[row] = SourceFile(base / path, status.st_size, status.st_mtime_ns)
                else:
                    columns.refuse(row, f"{cell} is not a file")
    return paths, files


def _leads_out(path: str) -> bool:
    place = Path(path)
    return place.is_absolute() or bool(place.drive) or ".." in place.parts


def read_ids(columns: Columns, name: str) -> list[str]:
    """The name of each row; one that is empty or there twice is a fault."""
    first: dict[str, int] = {}
    for row, cell in enumerate(columns.texts(name)):
        earlier = first.setdefault(cell, row)
        if not cell:
            columns.refuse(row, f"{name} is empty")
        elif earlier != row:
            columns.refuse(row, f"{name} {cell!r} is in {columns.where(earlier)} too")
    return columns.texts(name)


def read_patients(columns: Columns, name: str) -> list[str]:
    """The patient of each row; none is a fault."""
    for row, cell in enumerate(columns.texts(name)):
        if not cell:
            columns.refuse(row, f"{name} is empty")
    return columns.texts(name)


def read_parts(columns: Columns, name: str) -> list[str]:
    """`train`, `validation` or `test` for each row; anything else is a fault."""
    cells = columns.texts(name)
    parts = {cell: PART_NAMES.get(cell.lower(), "") for cell in set(cells)}
    for row, cell in enumerate(cells if not all(parts.values()) else ()):
        if not parts[cell]:
            columns.refuse(row, f"{name} is {cell!r}; expected train, validation (or val, valid, dev) or test")
    return [parts[cell] for cell in cells]
