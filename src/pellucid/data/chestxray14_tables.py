"""The text files of the ChestX-ray14 release: data table, official lists, box list."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.opening import read_csv
from pellucid.data.regions import relative_box
from pellucid.resources import nearest
from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
BOXED_LABELS = LABELS[:8]
OFFICIAL_COUNT = 112_120
BOX_FRAME = (1024.0, 1024.0)  # whatever the size of the file

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")  # the first that is there is read
BOXES = "BBox_List_2017.csv"
TRAIN_LIST, TEST_LIST = "train_val_list.txt", "test_list.txt"
LAYOUT = (
    f"the official release: images/ or images_001/images … images_012/images, {TABLES[0]} or {TABLES[1]}, "
    f"{TRAIN_LIST}, {TEST_LIST}, and {BOXES} for the boxes."
)
_BOX_SYNONYMS = {"Infiltrate": "Infiltration"}  # the box list's own word


@dataclass(frozen=True)
class Tables:
    """All that the release's text files say, in the order of the data table.

    Attributes:
        source: the data table that was read.
        names: the image files' names.
        patients: the patient of each, eight digits as in the file name.
        targets: float32 (N, 14); a row of NaN where the table names no finding at all.
        parts: `train` and `test`, the names of each by the official lists.
        boxes: (image name, finding, relative box), or None where there is no box list.
    """

    source: Path
    names: tuple[str, ...]
    patients: tuple[str, ...]
    targets: npt.NDArray[np.float32]
    parts: dict[str, tuple[str, ...]]
    boxes: tuple[tuple[str, str, tuple[float, float, float, float]], ...] | None


def read_tables(folder: Path) -> Tables:
    """Read data table, lists and boxes, and check them against each other.

    Raises:
        InputError: naming file and line.
    """
    source = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if source is None:
        raise InputError(f"{folder}: neither {TABLES[0]} nor {TABLES[1]} is there. Expected: {LAYOUT}")
    names, patients, targets = _read_entries(source)
    known = set(names)
    parts = {
        part: _read_list(folder / name, known, source) for part, name in (("train", TRAIN_LIST), ("test", TEST_LIST))
    }
    both = set(parts["train"]) & set(parts["test"])
    if both:
        raise InputError(
            f"{folder / TEST_LIST}: {len(both)} image(s) are in {TRAIN_LIST} too, such as {min(both)}. "
            "Fetch the official lists again."
        )
    boxes = _read_boxes(folder / BOXES) if (folder / BOXES).is_file() else None
    return Tables(source, names, patients, targets, parts, boxes)


def _read_entries(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], npt.NDArray[np.float32]]:
    rows = read_csv(path)
    _, header = next(rows, (1, []))
    columns = [cell.strip() for cell in header]
    try:
        at_name, at_findings, at_patient = (columns.index(c) for c in ("Image Index", "Finding Labels", "Patient ID"))
    except ValueError:
        needed = [c for c in ("Image Index", "Finding Labels", "Patient ID") if c not in columns]
        there = ", ".join(filter(None, columns)) or "nothing"
        raise InputError(
            f"{path}: no column {', '.join(map(repr, needed))}; found: {there}. Fetch the official table again."
        ) from None
    last = max(at_name, at_findings, at_patient)
    names: list[str] = []
    patients: list[str] = []
    coded: list[int] = []
    codes: dict[str, tuple[int, npt.NDArray[np.float32]]] = {}  # of each cell its number and its row of targets
    for line, row in rows:
        if len(row) <= last:
            raise InputError(f"{path}, line {line}: {len(row)} cells; expected at least {last + 1}.")
        findings = row[at_findings]
        if findings not in codes:
            codes[findings] = len(codes), _encode(findings, f"{path}, line {line}")
        patient = row[at_patient].strip()
        if not patient:
            raise InputError(f"{path}, line {line}: no patient.")
        names.append(row[at_name].strip())
        patients.append(patient.zfill(8))
        coded.append(codes[findings][0])
    if not names:
        raise InputError(f"{path}: the table has no rows. Fetch it again.")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(f"{path}: {twice} is there more than once. Fetch the official table again.")
    return tuple(names), tuple(patients), np.stack([row for _, row in codes.values()])[coded]


def _encode(findings: str, where: str) -> npt.NDArray[np.float32]:
    """Findings such as "Mass|Nodule" as 14 zeros and ones; an empty cell says nothing: NaN."""
    row = np.zeros(len(LABELS), dtype=np.float32)
    given = [name.strip() for name in findings.split("|")]
    if given == [""]:
        return np.full_like(row, np.nan)
    for name in given:
        row[_label(name, where)] = 1
    return row


def _label(name: str, where: str) -> int | list[int]:
    if name == "No Finding":
        return []
    try:
        return LABELS.index(_BOX_SYNONYMS.get(name, name))
    except ValueError:
        raise InputError(f"{where}: unknown finding {name!r}. {nearest(name, (*LABELS, 'No Finding'))}") from None


def _read_list(path: Path, known: set[str], table: Path) -> tuple[str, ...]:
    try:
        names = tuple(path.read_text(encoding="utf-8-sig").split())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the official split needs it. Expected: {LAYOUT}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    for line, name in enumerate(names, 1):
        if name not in known:
            raise InputError(f"{path}, line {line}: {name} is not in {table.name}. Fetch both files again.")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(f"{path}: {twice} is there more than once. Fetch the official list again.")
    return names


def _read_boxes(path: Path) -> tuple[tuple[str, str, tuple[float, float, float, float]], ...]:
    """The box list; its header reads "Image Index,Finding Label,Bbox [x,y,w,h],,,"."""
    rows = read_csv(path)
    _, header = next(rows, (1, []))
    if [c.strip() for c in header[:2]] != ["Image Index", "Finding Label"] or not header[2:]:
        raise InputError(
            f"{path}: expected the columns 'Image Index', 'Finding Label' and 'Bbox [x,y,w,h]'; "
            f"found: {', '.join(filter(None, header)) or 'nothing'}. Fetch the official list again."
        )
    boxes = []
    for line, row in rows:
        where = f"{path}, line {line}"
        try:
            name, finding, *numbers = (cell.strip() for cell in row[:6])
            x, y, width, height = map(float, numbers)
        except ValueError:
            raise InputError(f"{where}: expected image, finding, x, y, w, h; found {', '.join(row)!r}.") from None
        column = _label(finding, where)
        if not isinstance(column, int):
            raise InputError(f"{where}: a box of 'No Finding'.")
        boxes.append((name, LABELS[column], relative_box((x, y, width, height), BOX_FRAME, where)))
    return tuple(boxes)
