"""What every opener does first: check the folder, parse the options, list the image files."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pellucid.data.dataset import SourceFile
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


class Remark(NamedTuple):
    """Something that a check of a dataset has to say of one file; serious where it must be mended."""

    file: str
    reason: str
    serious: bool = True


MISSING = "named by the dataset's lists, but there is no such file"


def check_root(root: str | Path | None, name: str, layout: str) -> Path:
    """The dataset's folder, if it is there and holds anything.

    Raises:
        InputError: with the folder and the layout that is expected in it.
    """
    expected = f"Expected: {layout}"
    if root is None:
        raise InputError(f"{name} is read from disk: give its folder. {expected}")
    folder = Path(root).expanduser()
    if not folder.exists():
        raise InputError(f"{folder}: no such folder. {expected}")
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


def list_images(folder: Path) -> dict[str, SourceFile]:
    """The image files directly in a folder by name, sorted; hidden files and other kinds are left out.

    Raises:
        InputError: if the folder cannot be read.
    """
    found: dict[str, SourceFile] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - 112,120 Paths are slow
                if suffix in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file():
                    status = entry.stat()
                    found[entry.name] = SourceFile(folder / entry.name, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error
    return dict(sorted(found.items()))


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with their line numbers, empty ones left out.

    Raises:
        InputError: naming the file, if it cannot be read as text in columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if any(row):
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error}).") from error
