"""A table of one's own, CSV or Parquet: one row per image, with its labels and, if there are any, part and patient."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits
from pellucid.data.decoding.image import read_image
from pellucid.data.issues import FaultyDataError, Issue, check_root
from pellucid.data.readers.splits import check_disjoint, cut_parts
from pellucid.data.readers.table.boxes import names_of_rows, read_boxes
from pellucid.data.readers.table.columns import SUFFIXES, find_column, need_column, read_columns
from pellucid.data.readers.table.options import USUAL, ColumnOptions, TableOptions
from pellucid.data.readers.table.rows import find_files, read_ids, read_parts, read_patients
from pellucid.data.readers.table.targets import read_targets
from pellucid.data.regions import Region, Regions
from pellucid.types import InputError
from pellucid.utils.settings import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.data.readers.table.columns import Columns

LAYOUT = (
    "a CSV or Parquet table, or a folder that holds one: one row per image, with its path, its class, list of "
    "labels or columns of 0 and 1, and, if there are any, split, patient and id; boxes in boxes.csv."
)
BOXES = "boxes.csv"

CARD = DatasetCard(
    name="table",
    title="Images named by a table",
    task="multiclass",
    classes=(),
    native_channels=3,
    notes="Classes and task come from the table and the options.",
)


def open_table(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open the images that a table names.

    Which columns were taken for what is said in a warning.

    Args:
        root: the table, or a folder that holds exactly one beside `boxes.csv`.
        seed: chooses the patients of the parts that are cut off.
        options: see `TableOptions`.

    Returns:
        Those of `train`, `validation` and `test` that there are images for; no patient is in two of them.

    Raises:
        InputError: naming the table, for one that cannot be read, or a column that is missing or could be several.
        FaultyDataError: naming the line of every row that cannot be used (no such file, a path that leaves the folder,
            a path or id that is there twice, a label or part that makes no sense, a box that is none), and every
            patient in two parts; a check goes on with the others.

    Example:
        >>> open_table("/no/such/place")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: /no/such/place: no such folder or file. Expected: a CSV or Parquet table, ...
    """
    settings = validate(TableOptions, options, f"options of {CARD.name}")
    source = find_table(check_root(root, CARD.name, LAYOUT, file=True))
    columns = read_columns(source, encoding=settings.encoding, delimiter=settings.delimiter)
    boxes = open_boxes(source, settings)
    splits: Splits = {}
    wrong: list[Issue] = []
    try:
        rows = _read_rows(columns, boxes, settings)
        splits = rows.open(columns.usable(), seed)
        for note in rows.notes(splits, seed):
            warnings.warn(f"{source.name}: {note}.", stacklevel=2)
        check_disjoint(splits)
    except InputError as error:
        if not columns.faults and not (boxes is not None and boxes.faults):
            raise
        wrong += error.issues if isinstance(error, FaultyDataError) else [Issue(str(source), str(error))]
    faults = [*columns.faults, *(boxes.faults if boxes is not None else ()), *wrong]
    if faults:
        raise FaultyDataError(faults, splits)
    return splits


@dataclass(frozen=True)
class _Rows:
    """What a table says of its images, row by row; rows with a fault are still among them."""

    card: DatasetCard
    settings: TableOptions
    ids: list[str]
    patients: list[str]
    parts: list[str] | None
    targets: npt.NDArray[np.generic]
    files: dict[int, SourceFile]
    regions: list[Region]
    description: str

    def open(self, usable: list[int], seed: int) -> Splits:
        """The parts of the usable rows: those that the table gives, and by patient what it leaves open."""
        if not usable:
            return {}
        at = np.array(usable)
        given_parts = {}
        if self.parts is not None:
            named = np.array(self.parts)[at]
            given_parts = {part: np.flatnonzero(named == part) for part in set(named.tolist())}
        parts = cut_parts(
            [self.patients[i] for i in usable],
            given_parts,
            validation_fraction=self.settings.validation_fraction,
            test_fraction=self.settings.test_fraction,
            seed=seed,
        )
        return {part: self._part(part, at[part_rows]) for part, part_rows in parts.items()}

    def _part(self, split: str, rows: npt.NDArray[np.int64]) -> Dataset:
        table_rows = rows.tolist()
        place = {row: i for i, row in enumerate(table_rows)}
        files = tuple(self.files[row] for row in table_rows)
        bits = self.settings.bits
        marked = tuple(replace(r, image=place[r.image]) for r in self.regions if r.image in place)
        return Dataset(
            card=self.card,
            split=split,
            ids=tuple(self.ids[row] for row in table_rows),
            patients=tuple(self.patients[row] for row in table_rows),
            targets=self.targets[rows],
            read=lambda i: read_image(files[i].path, bits=bits),
            regions=Regions(marked) if marked else None,
            files=files,
            bits=bits,
            decoding={"bits": bits},
        )

    def notes(self, splits: Splits, seed: int) -> Iterator[str]:
        """Which columns were taken for what, and what is odd but may be meant so."""
        yield (
            self.description
            if self.parts is not None
            else f"{self.description}; no parts, cut by patient with seed {seed}"
        )
        classes = self.card.classes
        looked_at = [splits["train"]] if "train" in splits else list(splits.values())
        with_examples = {k for part in looked_at for k in _present(part.targets)}
        absent = [name for k, name in enumerate(classes) if k not in with_examples]
        if splits and absent:
            yield f"no {'training ' * ('train' in splits)}image has the class {', '.join(absent)}"
        others = {region.label for region in self.regions} - set(classes)
        if others:
            yield f"boxes of {', '.join(sorted(others))}, which is no class; they serve as regions all the same"
        wrong = [r for r in self.regions if r.label in classes and not self._agrees(r)]
        if wrong:
            named = f"{wrong[0].label} on {self.ids[wrong[0].image]}"
            yield f"{len(wrong)} box(es) of a class that the table does not give the image, such as {named}"

    def _agrees(self, region: Region) -> bool:
        target = self.targets[region.image]
        column = self.card.classes.index(region.label)
        return bool(target == column if self.targets.ndim == 1 else target[column] == 1)


def _read_rows(columns: Columns, boxes: Columns | None, settings: TableOptions) -> _Rows:
    """All columns of a table by their meaning; what is wrong with a row is noted there."""
    path = need_column(columns, "path", settings.path, USUAL["path"])
    split = find_column(columns, "split", settings.split, USUAL["split"])
    patient = find_column(columns, "patient", settings.patient, USUAL["patient"])
    name = find_column(columns, "id", settings.id, USUAL["id"])
    targets = read_targets(columns, settings, {path, split, patient, name})
    paths, files = find_files(columns, path, columns.source.parent / settings.images, outside=settings.outside)
    ids = paths if name is None else read_ids(columns, name)
    names = names_of_rows(ids, paths, columns.texts(path))  # of two rows of one name the second is refused
    places = {row: file.path for row, file in files.items()}
    notes = [f"images from {path!r}", targets.description]
    notes += [f"{what} from {column!r}" for what, column in (("names", name), ("parts", split)) if column is not None]
    notes.append(f"patients from {patient!r}" if patient is not None else "no patients, each image counts by itself")
    return _Rows(
        card=replace(CARD, task=targets.task, classes=targets.classes),
        settings=settings,
        ids=ids,
        patients=ids if patient is None else read_patients(columns, patient),
        parts=None if split is None else read_parts(columns, split),
        targets=targets.values,
        files=files,
        regions=[] if boxes is None else read_boxes(boxes, USUAL["path"], names, places),
        description="; ".join(notes),
    )


def _present(targets: npt.NDArray[np.generic]) -> list[int]:
    """The classes that any of these images has."""
    classes: list[int] = (
        np.unique(targets) if targets.ndim == 1 else np.flatnonzero((targets == 1).any(axis=0))
    ).tolist()
    return classes


def find_table(place: Path) -> Path:
    """The table that a path means: itself, or the only one in a folder beside `boxes.csv`.

    Raises:
        InputError: naming the folder and the tables in it, where there is not exactly one.
    """
    if place.is_file():
        return place
    try:
        files = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror}).") from error
    tables = [p for p in files if p.name != BOXES and p.is_file()]
    if len(tables) != 1:
        named = ": " + ", ".join(p.name for p in tables[:5]) if tables else ""
        raise InputError(f"{place}: {len(tables) or 'no'} tables{named}; give the file itself. Expected: {LAYOUT}")
    return tables[0]


def open_boxes(source: Path, settings: ColumnOptions) -> Columns | None:
    """The table of boxes beside a table of images; None where there is none and none is asked for."""
    path = source.parent / (settings.boxes or BOXES)
    if not path.is_file():
        if settings.boxes is not None:
            raise InputError(f"{path}: no such file (option boxes).")
        return None
    return read_columns(path, encoding=settings.encoding, delimiter=settings.delimiter)
