"""What is known of images beside their labels, as whose they are and how they were made: from a table of one's own."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pellucid.data.readers.table.columns import read_columns
from pellucid.types import InputError
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.data.dataset import Dataset
    from pellucid.data.readers.table.columns import Columns

_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def read_metadata(
    path: str | Path, dataset: Dataset, whole: Dataset | None = None
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The columns of a table for the images of a dataset.

    The column that names the most images (as the dataset calls them, by their file's name with or without its folder
    and ending) is the one that its rows are found by; one of patients where that reaches more than twice as many.

    Args:
        path: a CSV or Parquet file with a header.
        dataset: N images.
        whole: the images that these were drawn from, where a limit left some out.

    Returns:
        Every other column with one text for each image, empty where the table does not know it; and, in words, by what
        the rows were found, how many of the images the table does not name, how many of its rows name images that were
        left out, and how many name none.

    Raises:
        InputError: a table that cannot be read, that names none of the images, or that says two things of one.
    """
    path = Path(path)
    columns = read_columns(path)
    if columns.faults:
        first, more = columns.faults[0], len(columns.faults) - 1
        raise InputError(f"{first.file}: {first.reason}" + (f" (and {more:,} more such lines)." if more else "."))
    namings = _namings(dataset)
    counts = {
        (column, naming): len({i for cell in columns.cells[column] for i in places.get(cell, ())})
        for naming, places in namings.items()
        for column in columns.cells
    }
    # a table of images may lack some and name the patients of all; a chance match of numbers is of few images
    (key, naming), most = max(
        counts.items(), key=lambda item: item[1] * (1 if item[0][1] == "patients" else 2), default=(("", ""), 0)
    )
    if not most:
        example = next(iter(columns.cells.values()), [""])[0]
        patients = "" if dataset.patients == dataset.ids else f", the patients as {dataset.patients[0]!r}"
        raise InputError(
            f"{path} names none of the {len(dataset):,} images: they are called as {dataset.ids[0]!r}{patients}, and "
            f"its first row begins with {example!r}. Give it a column with the names of the images, or of the patients."
        )
    row_of = _rows(columns, key, namings[naming])
    rest = [name for name in columns.cells if name != key]
    values = {
        name: tuple(columns.cells[name][row_of[i]] if i in row_of else "" for i in range(len(dataset))) for name in rest
    }
    unused = [cell for cell in columns.cells[key] if cell not in namings[naming]]
    others = _namings(whole).get(naming, {}) if whole is not None and unused else {}
    left_out = sum(cell in others for cell in unused)
    notes = [f"{path.name}: its column {key!r} names the {naming}"]
    if most < len(dataset):
        notes.append(f"{number_of(len(dataset) - most, 'image(s)')} of {len(dataset):,} are not in it")
    if left_out:
        notes.append(f"{_rows_of(left_out)} of images that were left out here (a limit on images, as --quick has)")
    if len(unused) > left_out:
        notes.append(f"{_rows_of(len(unused) - left_out)} of no image here")
    return values, [f"{'; '.join(notes)}."]


def _rows_of(count: int) -> str:
    return f"{number_of(count, 'row(s)')} of it {'is' if count == 1 else 'are'}"


def age_in_years(text: str) -> str:
    """An age as DICOM and older tables write it, in years; empty where it is none.

    Example:
        >>> age_in_years("058Y"), age_in_years("006M"), age_in_years("80"), age_in_years("?")
        ('58', '0.5', '80', '')
    """
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)([YMWD]?)", text.strip())
    return f"{float(match[1]) * _YEARS[match[2] or 'Y']:g}" if match else ""


def known(columns: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Those columns in which something is said of some image."""
    return {name: tuple(values) for name, values in columns.items() if any(values)}


def _namings(dataset: Dataset) -> dict[str, dict[str, list[int]]]:
    """Ways to name images: for each, which images a text stands for."""
    names = {
        "images": dataset.ids,
        "files": [PurePosixPath(name).name for name in dataset.ids],
        "files without their ending": [PurePosixPath(name).stem for name in dataset.ids],
    }
    namings: dict[str, dict[str, list[int]]] = {}
    for naming, texts in names.items():
        count = Counter(texts)
        namings[naming] = {text: [i] for i, text in enumerate(texts) if count[text] == 1}
    if dataset.patients != dataset.ids:
        of_patients: dict[str, list[int]] = {}
        for i, patient in enumerate(dataset.patients):
            of_patients.setdefault(str(patient), []).append(i)
        namings["patients"] = of_patients
    return namings


def _rows(columns: Columns, key: str, places: Mapping[str, list[int]]) -> dict[int, int]:
    """The row of each image that the table names."""
    row_of: dict[int, int] = {}
    others = [name for name in columns.cells if name != key]
    for row, cell in enumerate(columns.cells[key]):
        for i in places.get(cell, ()):
            first = row_of.setdefault(i, row)
            different = [n for n in others if columns.cells[n][first] != columns.cells[n][row]]
            if different:
                raise InputError(
                    f"{columns.source}: {columns.where(first)} and {columns.where(row)} are both of {cell!r} and say "
                    f"{columns.cells[different[0]][first]!r} and {columns.cells[different[0]][row]!r} for "
                    f"{different[0]!r}. Keep one row for each, or name each image."
                )
    return row_of
