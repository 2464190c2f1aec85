"""The text files of the ChestX-ray14 release: data table, official lists, box list."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.issues import Issue, issues_of
from pellucid.data.metadata import age_in_years, known
from pellucid.data.readers.label_words import is_absence, is_unknown
from pellucid.data.regions import relative_box
from pellucid.data.text_tables import read_text_table
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
MORE = {"age": "Patient Age", "sex": "Patient Gender", "view": "View Position"}
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
        faults: what is wrong with lines of the files; the rest is without it.
        metadata: `age` in years, `sex` and `view` of each, as far as the table has them.
    """

    source: Path
    names: tuple[str, ...]
    patients: tuple[str, ...]
    targets: npt.NDArray[np.float32]
    parts: dict[str, tuple[str, ...]]
    boxes: tuple[tuple[str, str, tuple[float, float, float, float]], ...] | None
    faults: tuple[Issue, ...] = ()
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_tables(folder: Path) -> Tables:
    """Read data table, lists and boxes, and check them against each other; lines that are wrong are noted as faults.

    Raises:
        InputError: naming the file, for one that is missing or has not the columns of the release.
    """
    source = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if source is None:
        raise InputError(f"{folder}: neither {TABLES[0]} nor {TABLES[1]} is there. Expected: {LAYOUT}")
    faults: list[Issue] = []
    names, patients, targets, refused, metadata = _read_entries(source, faults)
    known_names = set(names)
    parts = {
        part: _read_list(folder / name, known_names, refused, source, faults)
        for part, name in (("train", TRAIN_LIST), ("test", TEST_LIST))
    }
    both = set(parts["train"]) & set(parts["test"])
    if both:
        shared = f"{number_of(len(both), 'image(s)')} also in {TRAIN_LIST}, such as {min(both)}"
        message = f"{shared}. Fetch the official lists again."
        faults.append(Issue(str(folder / TEST_LIST), message))
        parts["test"] = tuple(name for name in parts["test"] if name not in both)
    boxes = _read_boxes(folder / BOXES, faults) if (folder / BOXES).is_file() else None
    return Tables(source, names, patients, targets, parts, boxes, tuple(faults), metadata)


def _read_entries(
    path: Path, faults: list[Issue]
) -> tuple[tuple[str, ...], tuple[str, ...], npt.NDArray[np.float32], set[str], dict[str, tuple[str, ...]]]:
    """Names, patients and targets, the names of the lines that are left out, and what else is said of each."""
    rows = read_text_table(path)
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
    at_more = {name: columns.index(title) for name, title in MORE.items() if title in columns}
    more: dict[str, list[str]] = {name: [] for name in at_more}
    names: list[str] = []
    patients: list[str] = []
    coded: list[int] = []
    refused: set[str] = set()
    codes: dict[str, tuple[int, npt.NDArray[np.float32]]] = {}  # of each cell its number and its row of targets
    for line, row in rows:
        try:
            if len(row) <= last:
                raise InputError(f"{path}, line {line}: {len(row)} cells; expected at least {last + 1}.")
            findings = row[at_findings]
            if findings not in codes:
                codes[findings] = len(codes), _encode(findings, f"{path}, line {line}")
            patient = row[at_patient].strip()
            if not patient:
                raise InputError(f"{path}, line {line}: no patient.")
        except InputError as error:
            faults += issues_of(error, path)
            refused.update(name.strip() for name in row[at_name : at_name + 1])
            continue
        names.append(row[at_name].strip())
        patients.append(patient.zfill(8))
        coded.append(codes[findings][0])
        for name, place in at_more.items():
            cell = row[place].strip() if len(row) > place else ""
            more[name].append(age_in_years(cell) if name == "age" else cell)
    if not names and not faults:
        raise InputError(f"{path}: the table has no rows. Fetch it again.")
    targets = np.stack([row for _, row in codes.values()])[coded] if names else np.zeros((0, len(LABELS)), np.float32)
    if len(set(names)) < len(names):
        faults += _twice(path, names)
        first = {name: i for i, name in reversed(list(enumerate(names)))}
        places = sorted(first.values())
        names, patients, targets = [names[i] for i in places], [patients[i] for i in places], targets[places]
        more = {name: [values[i] for i in places] for name, values in more.items()}
    return tuple(names), tuple(patients), targets, refused, known(more)


def _twice(path: Path, names: Sequence[str]) -> list[Issue]:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    return [Issue(str(path), f"{name} is there more than once. Fetch the official file again.") for name in repeated]


def _encode(findings: str, where: str) -> npt.NDArray[np.float32]:
    """Findings such as "Mass|Nodule" as 14 zeros and ones; a cell that is empty or not known: NaN."""
    row = np.zeros(len(LABELS), dtype=np.float32)
    labels = [name.strip() for name in findings.split("|")]
    if len(labels) == 1 and is_unknown(labels[0]):
        return np.full_like(row, np.nan)
    for name in labels:
        row[_label(name, where)] = 1
    return row


def _label(name: str, where: str) -> int | list[int]:
    if is_absence(name):
        return []
    try:
        return LABELS.index(_BOX_SYNONYMS.get(name, name))
    except ValueError:
        raise InputError(f"{where}: unknown finding {name!r}. {nearest(name, (*LABELS, 'No Finding'))}") from None


def _read_list(
    path: Path, known_names: set[str], refused: set[str], table: Path, faults: list[Issue]
) -> tuple[str, ...]:
    """The names of a part, each once, as far as the table knows them; of those that it `refused` all is said there."""
    try:
        names = tuple(path.read_text(encoding="utf-8-sig").split())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the official split needs it. Expected: {LAYOUT}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    faults += [
        Issue(str(path), f"line {line}: {name} is not in {table.name}. Fetch both files again.")
        for line, name in enumerate(names, 1)
        if name not in known_names and name not in refused
    ]
    if len(set(names)) < len(names):
        faults += _twice(path, names)
    return tuple(name for name in dict.fromkeys(names) if name in known_names)


def _read_boxes(path: Path, faults: list[Issue]) -> tuple[tuple[str, str, tuple[float, float, float, float]], ...]:
    """The box list; its header reads "Image Index,Finding Label,Bbox [x,y,w,h],,,"."""
    rows = read_text_table(path)
    _, header = next(rows, (1, []))
    if [c.strip() for c in header[:2]] != ["Image Index", "Finding Label"] or not header[2:]:
        raise InputError(
            f"{path}: expected the columns 'Image Index', 'Finding Label' and 'Bbox [x,y,w,h]'; "
            f"found: {', '.join(filter(None, header)) or 'nothing'}. Fetch the official list again."
        )
    boxes = []
    for line, row in rows:
        try:
            boxes.append(_read_box(row, f"{path}, line {line}"))
        except InputError as error:
            faults += issues_of(error, path)
    return tuple(boxes)


def _read_box(row: Sequence[str], where: str) -> tuple[str, str, tuple[float, float, float, float]]:
    try:
        name, finding, *numbers = (cell.strip() for cell in row[:6])
        x, y, width, height = map(float, numbers)
    except ValueError:
        raise InputError(f"{where}: expected image, finding, x, y, w, h; found {', '.join(row)!r}.") from None
    column = _label(finding, where)
    if not isinstance(column, int):
        raise InputError(f"{where}: a box of 'No Finding'.")
    return name, LABELS[column], relative_box((x, y, width, height), BOX_FRAME, where)
