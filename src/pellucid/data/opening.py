"""What every opener does first: check the folder, parse the options, list the image files."""

from __future__ import annotations

import csv
import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from pellucid.data.dataset import SourceFile
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


class Remark(NamedTuple):
    """Something that a check of a dataset has to say of one file; serious where it must be mended."""

    file: str
    reason: str
    serious: bool = True


MISSING = "named by the dataset's lists, but there is no such file"

Options = TypeVar("Options", bound=BaseModel)


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


def parse_options(model: type[Options], options: Mapping[str, object] | None, name: str) -> Options:
    """The options of a dataset as its pydantic model.

    Raises:
        InputError: naming each option that is wrong, and the options there are.
    """
    try:
        return model.model_validate(dict(options or {}))
    except ValidationError as error:
        known = ", ".join(model.model_fields) or "none"
        wrong = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']) or 'options'}: {e['msg']}" for e in error.errors()
        )
        raise InputError(f"options of {name}: {wrong}. Options: {known}.") from error


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
                    found[entry.name] = SourceFile(Path(entry.path), status.st_size, status.st_mtime_ns)
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


def nearest(word: str, words: Iterable[str]) -> str:
    """The word most like `word`, as the end of a message: " Did you mean 'x'?", or nothing.

    Example:
        >>> nearest("Pnuemonia", ["Pneumonia", "Mass"])
        " Did you mean 'Pneumonia'?"
    """
    known = {w.lower(): w for w in words}
    close = difflib.get_close_matches(word.lower(), known, n=1)
    close = close or [w for w in known if word and w.startswith(word.lower())]
    return f" Did you mean {known[close[0]]!r}?" if close else ""
