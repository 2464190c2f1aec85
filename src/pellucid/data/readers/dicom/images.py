"""Which DICOM files the rows of a table are of: found below a folder, by UID, accession number or path."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.data.dicom.file import is_dicom
from pellucid.data.dicom.header import Header, read_header
from pellucid.data.readers.table.rows import find_files
from pellucid.types import InputError
from pellucid.utils.parallel import in_threads
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.data.readers.dicom.options import DicomOptions
    from pellucid.data.readers.table.columns import Columns

_OURS = "Pellucid"  # the manufacturer of our own heat maps, which may lie beside the images they explain


@dataclass(frozen=True)
class Found:
    """The images that a table's rows are of: the row and the header of each, and the headers by the images' names."""

    rows: list[int]
    headers: list[Header]
    named: dict[str, Header]


def find_dicom(folder: Path) -> list[Path]:
    """The DICOM files in a folder and all below it, sorted; hidden ones and DICOMDIR are left out.

    Links to folders are followed, each folder once, so that a link round in a circle ends.
    """
    visited: set[str] = set()
    dicom_files: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        files = (Path(place) / n for n in names if not n.startswith(".") and n != "DICOMDIR")
        dicom_files += [path for path in files if is_dicom(path)]
    return sorted(dicom_files)


def read_headers(paths: Sequence[Path]) -> list[tuple[Path, Header | InputError]]:
    """The header of each file, or what is wrong with it."""

    def read(i: int) -> Header | InputError:
        try:
            return read_header(paths[i])
        except InputError as error:
            return error

    return list(zip(paths, in_threads(read, len(paths), title="DICOM headers", progress=True), strict=True))


def by_path(columns: Columns, name: str, settings: DicomOptions) -> Found:
    """The images of a table that names files."""
    _, files = find_files(columns, name, columns.source.parent)
    rows = [row for row in files if row not in columns.faulty]
    images = Found([], [], {})
    for row, (_, header) in zip(rows, read_headers([files[row].path for row in rows]), strict=True):
        _take(images, columns, row, [header], settings)
    return images


def by_number(columns: Columns, key: str, name: str, folder: Path, settings: DicomOptions) -> Found:
    """The images of a table that names UIDs or accession numbers."""
    of_key: dict[str, list[Header]] = {}
    broken = 0
    for _, header in read_headers(find_dicom(folder)):
        if isinstance(header, InputError):
            broken += 1
        elif key == "uid":
            of_key.setdefault(header.uid, []).append(header)
        elif header.rows and header.manufacturer != _OURS:
            of_key.setdefault(header.accession, []).append(header)
    if broken:
        warnings.warn(
            f"{number_of(broken, 'DICOM file(s)')} cannot be read; `pellucid data check` names them.", stacklevel=3
        )
    images, first = Found([], [], {}), dict[str, int]()
    for row, cell in enumerate(columns.cells.get(name, ())):
        earlier = first.setdefault(cell, row)
        same = of_key.get(cell, [])
        if not cell:
            columns.refuse(row, f"{name} is empty")
        elif earlier != row:
            columns.refuse(row, f"{name} is that of {columns.where(earlier)}")
        elif not same:
            columns.refuse(row, f"no DICOM image in {folder} has this {name}")
        elif key == "uid" and len(same) > 1:
            columns.refuse(row, f"{same[0].path} and {same[1].path} have the same SOP Instance UID; take one away")
        else:
            _take(images, columns, row, same, settings)
    return images


def _take(
    images: Found, columns: Columns, row: int, headers: Sequence[Header | InputError], settings: DicomOptions
) -> None:
    """Take the images of a row, or note why they cannot be used."""
    for header in headers:
        if isinstance(header, InputError):
            columns.refuse(row, str(header))
        elif not header.rows:
            columns.refuse(row, f"{header.path} is no image")
        elif header.frames > 1 and settings.frame is None:
            columns.refuse(row, f"{header.path} has {header.frames} frames; choose one with the option frame")
        elif header.frames < (settings.frame or 1):
            columns.refuse(
                row, f"{header.path} has {number_of(header.frames, 'frame(s)')}; frame {settings.frame} is asked for"
            )
        elif (same := images.named.setdefault(header.name, header)) is not header:
            columns.refuse(row, f"{same.path} and {header.path} have the same SOP Instance UID; take one away")
        else:
            images.rows.append(row)
            images.headers.append(header)
