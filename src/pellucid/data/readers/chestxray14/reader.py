"""ChestX-ray14 (Wang et al. 2017) in its official layout: tables, box list, official patient-wise split."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits, released_ids
from pellucid.data.decoding.image import read_image
from pellucid.data.issues import MISSING, Issue, check_root, collect_issues
from pellucid.data.readers.chestxray14.tables import (
    BOXED_LABELS,
    BOXES,
    LABELS,
    LAYOUT,
    OFFICIAL_COUNT,
    TEST_LIST,
    TRAIN_LIST,
    Tables,
    read_tables,
)
from pellucid.data.readers.image_files import list_images
from pellucid.data.readers.splits import check_disjoint, patient_split
from pellucid.data.regions import Region, Regions
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.settings import Names, Section, validate
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


__all__ = ["BOXED_LABELS", "CARD", "LABELS", "ChestXray14Options", "check", "find_images", "open_chestxray14"]

CARD = DatasetCard(
    name="chestxray14",
    title="NIH ChestX-ray14",
    task="multilabel",
    classes=LABELS,
    citation=(
        "X. Wang, Y. Peng, L. Lu, Z. Lu, M. Bagheri, R. M. Summers: ChestX-ray8: Hospital-scale Chest X-ray "
        "Database and Benchmarks on Weakly-Supervised Classification and Localization of Common Thorax "
        "Diseases. CVPR 2017."
    ),
    licence="Free to use; NIH asks for the citation, a link to the download site and an acknowledgement.",
    url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    native_channels=1,
    notes=(
        "112,120 frontal radiographs. Labels were mined from radiology reports and are noisy. A radiologist drew 984 "
        "boxes of eight findings on 880 test images. The official split is by patient."
    ),
)


class ChestXray14Options(Section):
    """What may be chosen when ChestX-ray14 is opened.

    Attributes:
        validation_fraction: the share of the official training patients that becomes the validation part.
        labels: the findings that become targets, in this order; None for all 14.
        boxed_test_only: keep only the test images that carry boxes.
        boxed_for_training: the share of the patients with boxes who leave the test part with all their images; those
            that carry boxes are trained with. The official list has every boxed image in its test part, so that there
            would be none to learn from.
    """

    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    labels: Names | None = None
    boxed_test_only: bool = False
    boxed_for_training: float = Field(default=0.0, ge=0, lt=1)


def open_chestxray14(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open ChestX-ray14: the official test part, and the official training part less a validation part.

    With `boxed_for_training` the split is no longer the official one; a warning and the card's notes say so.

    Images that the lists name but the disk does not have are left out, with a warning that says how many are
    there. A part without any image is left out.

    Args:
        root: the folder of the release.
        seed: chooses the patients of the validation part.
        options: see `ChestXray14Options`.

    Returns:
        `train`, `validation` and `test`; no patient is in two of them.

    Raises:
        InputError: naming the file, for a table or list that is missing or not as released, a patient in two parts, or
            no images at all.
        FaultyDataError: naming the line of everything that is wrong in table, lists and boxes, such as an unknown
            finding or a box outside its image; a check goes on with the rest.
    """
    settings = validate(ChestXray14Options, options, f"options of {CARD.name}")
    columns = _target_columns(settings.labels)
    folder = check_root(root, CARD.name, LAYOUT)
    tables = read_tables(folder)
    return collect_issues(tables.faults, lambda: _open_parts(folder, tables, columns, settings, seed), folder)


def _open_parts(folder: Path, tables: Tables, columns: list[int], settings: ChestXray14Options, seed: int) -> Splits:
    files = find_images(folder)
    rows = {name: i for i, name in enumerate(tables.names)}
    official = {part: [rows[n] for n in names if n in files] for part, names in tables.parts.items()}
    present, listed = sum(map(len, official.values())), sum(map(len, tables.parts.values()))
    if not present:
        raise InputError(f"{folder}: none of the {listed:,} images of the lists is there. Expected: {LAYOUT}")
    if present < listed:
        warnings.warn(f"{folder}: {present:,} of {listed:,} images found; the others are left out.", stacklevel=2)
    if tables.boxes is None:
        warnings.warn(f"{folder}: no {BOXES}; there is no ground truth for localisation.", stacklevel=2)

    boxed = {name for name, _, _ in tables.boxes or ()}
    if not any(tables.names[i] in boxed for i in official["test"]):
        for option in ("boxed_test_only", "boxed_for_training"):
            if getattr(settings, option):
                raise InputError(f"{folder}: {option} is set, but no test image carries a box.")
    card = replace(CARD, classes=tuple(LABELS[c] for c in columns))
    parts = {"train": official["train"], "validation": [], "test": official["test"]}
    if parts["train"] and settings.validation_fraction > 0:
        train = np.array(parts["train"])
        rest, cut = patient_split([tables.patients[i] for i in train], settings.validation_fraction, seed)
        parts["train"], parts["validation"] = train[rest].tolist(), train[cut].tolist()
    if settings.boxed_for_training > 0:
        parts["test"], boxed_rows, left_out = _give_boxed(
            tables, parts["test"], boxed, settings.boxed_for_training, seed
        )
        parts["train"] = [*parts["train"], *boxed_rows]  # after the cut, so that the validation part stays what it was
        note = (
            f"boxed_for_training = {settings.boxed_for_training:g}: this is not the official split. "
            f"{len(boxed_rows):,} boxed images of the official test list are training images; {left_out:,} others of "
            f"their {len({tables.patients[i] for i in boxed_rows}):,} patients are left out."
        )
        card = replace(card, notes=f"{card.notes} {note}")
        warnings.warn(f"{folder}: {note}", stacklevel=2)
    if settings.boxed_test_only:
        parts["test"] = [i for i in parts["test"] if tables.names[i] in boxed]
    view = _View(card, tables, files, columns)
    splits = {part: view.part(part, part_rows) for part, part_rows in parts.items() if part_rows}
    check_disjoint(splits)
    return splits


def _give_boxed(
    tables: Tables, test: Sequence[int], boxed: Collection[str], share: float, seed: int
) -> tuple[list[int], list[int], int]:
    """Take a share of the patients with boxes out of the test rows.

    Returns:
        The rows that stay, those of the boxed images of who leaves, and how many other images they have.
    """
    marked = [i for i in test if tables.names[i] in boxed]
    _, cut = patient_split([tables.patients[i] for i in marked], share, seed, purpose="boxed_for_training")
    to_train = [marked[i] for i in cut.tolist()]
    leaving = {tables.patients[i] for i in to_train}
    staying = [i for i in test if tables.patients[i] not in leaving]
    return staying, to_train, len(test) - len(staying) - len(to_train)


@dataclass(frozen=True)
class _View:
    """What every part of one opened dataset has in common."""

    card: DatasetCard
    tables: Tables
    files: Mapping[str, SourceFile]
    columns: list[int]

    def part(self, split: str, rows: Sequence[int]) -> Dataset:
        """The images of the table's `rows`."""
        names = tuple(self.tables.names[i] for i in rows)
        sources = tuple(self.files[name] for name in names)
        at = {name: i for i, name in enumerate(names)}
        boxes = self.tables.boxes or ()
        marked = tuple(Region(at[name], label, box) for name, label, box in boxes if name in at)
        return Dataset(
            card=self.card,
            split=split,
            ids=names,
            patients=tuple(self.tables.patients[i] for i in rows),
            targets=np.ascontiguousarray(self.tables.targets[np.asarray(rows)][:, self.columns]),
            read=lambda i: read_image(sources[i].path),
            regions=Regions(marked) if marked else None,
            files=sources,
            stable_ids=released_ids(CARD.name, names),
            metadata={key: tuple(values[i] for i in rows) for key, values in self.tables.metadata.items()},
        )


def find_images(folder: Path) -> dict[str, SourceFile]:
    """The image files of the release by name, each folder listed once."""
    places = [folder / "images"]
    for numbered in sorted(p for p in folder.glob("images_*") if re.fullmatch(r"images_\d+", p.name)):
        places += [numbered / "images", numbered]
    files: dict[str, SourceFile] = {}
    for place in places:
        if place.is_dir():
            for name, file in list_images(place).items():
                files.setdefault(name, file)
    return files


def check(folder: Path) -> list[Issue]:
    """What is missing from a copy, and where tables, lists, boxes and files disagree."""
    tables = read_tables(folder)
    files = find_images(folder)
    listed = {name for names in tables.parts.values() for name in names}
    issues = [Issue(name, MISSING) for names in tables.parts.values() for name in names if name not in files]
    names_in_table = set(tables.names)
    issues += tables.faults
    issues += [
        Issue(str(tables.source), f"{name}: in neither {TRAIN_LIST} nor {TEST_LIST}")
        for name in tables.names
        if name not in listed
    ]
    issues += [
        Issue(str(tables.source), f"{name}: patient {patient}, but the file's name says {name[:8]}")
        for name, patient in zip(tables.names, tables.patients, strict=True)
        if name[:8] != patient
    ]
    if tables.boxes is None:
        issues.append(Issue(str(folder / BOXES), "no such file; there is no ground truth for localisation"))
    positive = {name: tables.targets[i] for i, name in enumerate(tables.names)}
    for name, label, _ in tables.boxes or ():
        if name not in names_in_table:
            issues.append(Issue(str(folder / BOXES), f"{name}: a box of {label}, but the data table lacks the image"))
        elif positive[name][LABELS.index(label)] != 1:
            issues.append(Issue(str(folder / BOXES), f"{name}: a box of {label}, which the data table does not name"))
    extra = sum(name not in names_in_table for name in files)
    if extra:
        issues.append(Issue(str(folder), number_of(extra, "image(s) that the data table does not name"), serious=False))
    if len(names_in_table) != OFFICIAL_COUNT:
        note = f"names {len(names_in_table):,} of the {OFFICIAL_COUNT:,} official images: a part of the dataset"
        issues.append(Issue(str(tables.source), note, serious=False))
    return issues


def _target_columns(labels: tuple[str, ...] | None) -> list[int]:
    if labels is None:
        return list(range(len(LABELS)))
    for label in labels:
        if label not in LABELS:
            raise InputError(f"options of {CARD.name}: labels: unknown finding {label!r}. {nearest(label, LABELS)}")
    if not labels or len(set(labels)) < len(labels):
        raise InputError(f"options of {CARD.name}: labels: give at least one finding, and each once.")
    return [LABELS.index(label) for label in labels]
