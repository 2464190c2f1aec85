"""Annotations as files: COCO JSON and CSV, out and in again without a loss, and other people's COCO files in."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pellucid.annotations.belonging import check_images
from pellucid.annotations.coco import to_coco
from pellucid.annotations.content import StoreContent, StoreInfo
from pellucid.annotations.csv_files import FIELDS, read_rows, write_rows
from pellucid.annotations.foreign import foreign_content
from pellucid.annotations.from_regions import regions_as_marks
from pellucid.annotations.records import Kind, LabelAnswer, Mark, Note, Visit
from pellucid.annotations.shapes import shape_from_json, shape_to_json
from pellucid.annotations.store import open_store
from pellucid.data.readers.coco.annotations import compact_polygons
from pellucid.types import InputError
from pellucid.utils.resources import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pellucid.data.dataset import Dataset

FORMATS = {"coco": ".json", "csv": ".csv"}
VERSION = 1


def export_annotations(source: str | Path, path: Path, kind: str) -> dict[str, int]:
    """Write all annotations of a database to a file; how many of each sort there are.

    Args:
        source: the database.
        path: the file.
        kind: `coco` or `csv`.
    """
    with open_store(source) as store:
        content = store.content()
    records = to_records(content)
    if kind == "csv":
        write_rows(path, records)
    else:
        write_json(path, {**to_coco(content), "pellucid": {"version": VERSION, "records": records}})
    return _counts(content)


def import_annotations(
    path: Path | None,
    source: str | Path,
    dataset: Dataset | None,
    *,
    annotator: str = "import",
    kind: Kind = "relevant",
) -> dict[str, int]:
    """Read a file into a database, which is made where it is new; how many of each sort it holds.

    Args:
        path: a file of `export_annotations`, or somebody else's COCO JSON of boxes or polygons; None for the boxes and
            masks of the dataset itself.
        source: the database.
        dataset: of somebody else's file, the dataset it annotates; our own say that themselves.
        annotator: of all but our own files, who drew it.
        kind: of all but our own files, what the regions are.

    Raises:
        InputError: a file that cannot be read, with what is wrong and where; nothing of it is kept. No file, and no
            dataset with regions.
    """
    if path is not None:
        content = read_file(path, dataset, annotator, kind)
    elif dataset is not None:
        content = regions_as_marks(dataset, annotator=annotator, kind=kind)
    else:
        raise InputError("name a file of annotations, or with --data a dataset whose own boxes or masks are meant.")
    info = content.info
    if dataset is not None:
        check_images(content.info, content.sizes, content.images, dataset, str(path))
        info = StoreInfo.of(dataset)
    with open_store(source, create=info) as store:
        if dataset is not None:
            stored = store.content()
            check_images(stored.info, stored.sizes, stored.images, dataset, store.name)
        store.add_all(content, is_checked=dataset is not None)
    return _counts(content)


def read_file(path: Path, dataset: Dataset | None, annotator: str, kind: Kind) -> StoreContent:
    """The content of a file; see `import_annotations`."""
    if path.suffix.lower() == ".csv":
        return from_records(read_rows(path), str(path))
    try:
        value = json.loads(path.read_bytes(), object_hook=compact_polygons)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a COCO file holds an object; found {type(value).__name__}.")
    ours = value.get("pellucid")
    if "pellucid" in value and not isinstance(ours, dict):
        raise InputError(f"{path}: its part 'pellucid' is an object; found {ours!r:.60}.")
    if ours is None:
        content, notes = foreign_content(value, str(path), dataset, annotator, kind)
        for note in notes:
            warnings.warn(f"{path}: {note}.", stacklevel=2)
        return content
    if ours.get("version") != VERSION:
        version = "names no version" if "version" not in ours else f"is of version {ours['version']!r}"
        raise InputError(f"{path}: its part `pellucid` {version}; this version of pellucid reads version {VERSION}.")
    if not isinstance(ours.get("records"), list):
        raise InputError(f"{path}: `records` in its part `pellucid` must be a list; found {ours.get('records')!r:.50}.")
    return from_records(ours["records"], str(path))


def to_records(content: StoreContent) -> list[dict[str, str]]:
    """All content as flat rows of text; numbers are written so that they come back exactly."""
    rows: list[dict[str, str]] = []

    def add(record: str, **cells: str) -> None:
        rows.append({name: cells.get(name, "") for name in FIELDS} | {"record": record})

    add("dataset", value=json.dumps(asdict(content.info)))
    for image, size in content.sizes.items():
        add("image", image=image, value="" if size is None else f"{size[0]}x{size[1]}")
    for mark in content.marks:
        add(
            "mark",
            id=mark.id,
            image=mark.image,
            **{"class": mark.class_name},
            kind=mark.kind,
            value=json.dumps(shape_to_json(mark.shape)),
            annotator=mark.annotator,
            created=mark.created.isoformat(),
            undone="yes" if mark.undone else "no",
        )
    for verdict in content.verdicts:
        cells = {"class": verdict.class_name, "value": verdict.present}
        add("verdict", image=verdict.image, **cells, **_by(verdict))
    for note in content.notes:
        add("note", image=note.image, value=note.text, **_by(note))
    for visit in content.visits:
        add("visit", image=visit.image, value=visit.state, **_by(visit))
    return rows


def from_records(records: list[Any], where: str) -> StoreContent:
    """The content of the rows of `to_records`.

    Raises:
        InputError: naming `where` and the row, for one that is not as it should be.
    """
    info: StoreInfo | None = None
    sizes: dict[str, tuple[int, int] | None] = {}
    marks: list[Mark] = []
    verdicts: list[LabelAnswer] = []
    notes: list[Note] = []
    visits: list[Visit] = []
    for number, entry in enumerate(records, 1):
        try:
            row = _texts(entry)
            record: str = row["record"]
            value: Any = row["value"]
            if record == "dataset":
                info = _info(json.loads(value))
            elif record == "image":
                sizes[row["image"]] = _size(value) if value else None
            elif record == "mark":
                marks.append(_mark(row))
            elif record == "verdict":
                verdicts.append(LabelAnswer(row["image"], row["class"], value, row["annotator"], _time(row["created"])))
            elif record == "note":
                notes.append(Note(row["image"], value, row["annotator"], _time(row["created"])))
            elif record == "visit":
                visits.append(Visit(row["image"], value, row["annotator"], _time(row["created"])))
            else:
                raise InputError(f"unknown record {record!r}.")
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            message = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{where}: record {number}: {message}") from error
    if info is None:
        raise InputError(f"{where}: it does not say which dataset it belongs to; was it written by pellucid?")
    spoken = {m.class_name for m in marks} | {v.class_name for v in verdicts}
    unknown = sorted(spoken - set(info.classes))
    if unknown:
        raise InputError(f"{where}: it speaks of classes that its dataset does not have: {', '.join(unknown[:5])}.")
    return StoreContent(info, sizes, tuple(marks), tuple(verdicts), tuple(notes), tuple(visits))


def _texts(row: object) -> dict[str, str]:
    """A record, all of whose fields are text that a database holds."""
    if not isinstance(row, dict):
        raise InputError(f"a record is an object; found {row!r:.60}.")
    for key, value in row.items():
        _check_text(key, value)
    return row


def _check_text(key: str, value: object) -> None:
    if not isinstance(value, str) or "\0" in value or value.encode("utf-8", "ignore").decode() != value:
        raise InputError(f"{key} is text; found {value!r:.60}.")


def _info(about: object) -> StoreInfo:
    names = {field.name for field in fields(StoreInfo)}
    if not isinstance(about, dict) or set(about) != names:
        raise InputError(f"a dataset has {', '.join(sorted(names))}; found {about!r:.200}.")
    classes = about["classes"]
    if not isinstance(classes, list) or not classes:
        raise InputError(f"classes is a list of names; found {classes!r:.60}.")
    for key, value in [*about.items(), *(("a class", name) for name in classes)]:
        if key != "classes":
            _check_text(key, value)
    return StoreInfo(**{**about, "classes": tuple(classes)})


def _mark(row: Mapping[str, str]) -> Mark:
    if row["undone"] not in ("yes", "no"):
        raise InputError(f"undone is yes or no; found {row['undone']!r}.")
    if not 0 < len(row["id"]) <= 36:
        raise InputError(f"a mark's id has from 1 to 36 characters; found {row['id'][:50]!r}.")
    kind: Any = row["kind"]
    shape = shape_from_json(json.loads(row["value"]))
    created = _time(row["created"])
    return Mark(row["image"], row["class"], kind, shape, row["annotator"], created, row["undone"] == "yes", row["id"])


def _by(entry: LabelAnswer | Note | Visit) -> dict[str, str]:
    return {"annotator": entry.annotator, "created": entry.created.isoformat()}


def _time(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return when.astimezone(UTC) if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    size = int(width), int(height)
    if not 1 <= min(size) <= max(size) < 1 << 31:
        raise InputError(f"an image's size is WIDTHxHEIGHT in pixels; found {text!r}.")
    return size


def _counts(content: StoreContent) -> dict[str, int]:
    undone = sum(mark.undone for mark in content.marks)
    return {
        "marks": len(content.marks) - undone,
        "marks taken back": undone,
        "verdicts": len(content.verdicts),
        "notes": len(content.notes),
    }
