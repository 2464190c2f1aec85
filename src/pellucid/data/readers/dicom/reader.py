"""A folder of DICOM files and a table of their labels, by SOP Instance UID, accession number or path."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits
from pellucid.data.dicom.file import read_dicom
from pellucid.data.dicom.header import read_header
from pellucid.data.issues import FaultyDataError, Issue, check_root
from pellucid.data.metadata import age_in_years, known
from pellucid.data.readers.dicom.images import by_number, by_path, find_dicom, read_headers
from pellucid.data.readers.dicom.options import KEYS, DicomOptions
from pellucid.data.readers.splits import check_disjoint, cut_parts
from pellucid.data.readers.table.boxes import names_of_rows, read_boxes
from pellucid.data.readers.table.columns import find_column, read_columns
from pellucid.data.readers.table.options import USUAL
from pellucid.data.readers.table.reader import BOXES, find_table, open_boxes
from pellucid.data.readers.table.rows import read_parts
from pellucid.data.readers.table.targets import read_targets
from pellucid.data.regions import Regions
from pellucid.types import Box, InputError
from pellucid.utils.settings import validate
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.data.dicom.header import Header
    from pellucid.data.readers.dicom.images import Found
    from pellucid.data.readers.table.columns import Columns
    from pellucid.data.regions import Region

LAYOUT = (
    "DICOM files in any folders, and a CSV or Parquet table: one row per image or examination, with its "
    "SOPInstanceUID, AccessionNumber or path, its class, list of labels or columns of 0 and 1, and, if there is one, "
    f"split; boxes in {BOXES}."
)
_NAMELESS = (
    "those of one study, or else of one accession number, count as one patient's, and a patient of several may be in "
    "two parts"
)

CARD = DatasetCard(
    name="dicom",
    title="DICOM files named by a table",
    task="multilabel",
    classes=(),
    native_channels=1,
    notes="Classes and task come from the table and the options. Images and patients are called by hashes.",
)


def open_dicom_folder(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open DICOM files named by a table.

    Pixels are read by `read_dicom`, uint16 where grey. Images and patients are called by hashes, so that nothing that
    names a patient comes into results; which columns were taken for what is said in a warning.

    Args:
        root: the folder that holds the DICOM files, at any depth, whatever they are called.
        seed: chooses the patients of the parts that are cut off.
        options: see `DicomOptions`.

    Returns:
        Those of `train`, `validation` and `test` that there are images for; no patient is in two of them.

    Raises:
        InputError: naming the table, for one that cannot be read, or a column that is missing or could be several.
        FaultyDataError: naming the line of every row that cannot be used: no such file, several of one UID, one that
            is no image, is damaged or has several frames, a label or part that makes no sense, a box that is none.

    Example:
        >>> open_dicom_folder("/no/such/place")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: /no/such/place: no such folder. Expected: DICOM files in any folders, ...
    """
    settings = validate(DicomOptions, options, f"options of {CARD.name}")
    folder = check_root(root, CARD.name, LAYOUT)
    source = find_table(folder if settings.table is None else folder / settings.table)
    columns = read_columns(source, encoding=settings.encoding, delimiter=settings.delimiter)
    keys = {key: find_column(columns, key, getattr(settings, key), names) for key, names in KEYS.items()}
    named_keys = [k for k in KEYS if getattr(settings, k) is not None] or [k for k in KEYS if keys[k] is not None]
    if not named_keys:
        raise InputError(
            f"{source}: no column SOPInstanceUID, AccessionNumber or path. Name one with the option uid, accession or "
            "path."
        )
    key, name = named_keys[0], keys[named_keys[0]]
    assert name is not None
    split = find_column(columns, "split", settings.split, USUAL["split"])
    targets = read_targets(columns, settings, {*keys.values(), split})
    parts = None if split is None else read_parts(columns, split)
    issues: list[Issue] = []
    images = by_path(columns, name, settings) if key == "path" else by_number(columns, key, name, folder, settings)
    regions = _regions(columns, name, KEYS[key], images, source, settings, issues)
    usable = [i for i, row in enumerate(images.rows) if row not in columns.faulty]
    issues = [*columns.faults, *issues]
    splits: Splits = {}
    if usable:
        patients = [_patient(images.headers[i], settings) for i in usable]
        if nameless := sum(not images.headers[i].patient_id for i in usable):
            warnings.warn(
                f"{source.name}: {number_of(nameless, 'image(s)')} without PatientID; {_NAMELESS}.", stacklevel=2
            )
        at = np.array(usable)
        of_rows = np.array(parts)[[images.rows[i] for i in usable]] if parts is not None else None
        given_parts = (
            {} if of_rows is None else {p: np.flatnonzero(of_rows == p) for p in dict.fromkeys(of_rows.tolist())}
        )
        fractions = {k: getattr(settings, k) for k in ("validation_fraction", "test_fraction")}
        card = replace(CARD, task=targets.task, classes=targets.classes)
        try:
            for part, rows in cut_parts(patients, given_parts, seed=seed, **fractions).items():
                splits[part] = _dataset(card, part, at[rows], images, targets.values, regions, settings, folder)
            check_disjoint(splits)
        except InputError as error:
            if not issues:
                raise
            issues += error.issues if isinstance(error, FaultyDataError) else [Issue(str(source), str(error))]
    elif not issues:
        raise InputError(f"{source}: names no image.")
    how_cut = f"cut by patient with seed {seed}" if split is None else f"from {split!r}"
    warnings.warn(
        f"{source.name}: images by {key} from {name!r}; {targets.description}; parts {how_cut}.", stacklevel=2
    )
    if issues:
        raise FaultyDataError(issues, splits)
    return splits


def boxes_in_mm(dataset: Dataset, image: int, label: str, *, frame: int | None = None) -> list[Box]:
    """The boxes of a finding on one image of a DICOM dataset, in millimetres from the image's top left corner.

    They are as true as the spacing: `Spacing.source` of the file's `read_header` says whether it is at the detector.
    Where the frames of a file differ in it, `frame` is needed: that which the dataset was opened with.

    Raises:
        InputError: naming the file, if its spacing is not known.
    """
    header = read_header(dataset.files[image].path, frame=frame)
    spacing = header.spacing
    if spacing is None:
        of_all = " that all its frames have" if header.frames > 1 and frame is None else ""
        why = header.spacing_note or f"no PixelSpacing and no ImagerPixelSpacing{of_all}"
        raise InputError(f"{header.path}: {why}, so no millimetres.")
    width, height = header.columns * spacing.column, header.rows * spacing.row
    regions = dataset.regions.items if dataset.regions is not None else ()
    scale = (width, height, width, height)
    own = (r.box for r in regions if r.image == image and r.label == label)
    return [Box(*(v * s for v, s in zip(box, scale, strict=True))) for box in own]


def check(folder: Path) -> list[Issue]:
    """DICOM files that cannot be read, spacings that make no sense, images marked as not for presentation."""
    issues = []
    for path, header in read_headers(find_dicom(folder)):
        if isinstance(header, InputError):
            issues.append(Issue(str(path), str(header).removeprefix(f"{path}: ")))
        elif not header.uid:
            issues.append(Issue(str(path), "no SOP Instance UID in it: cut off, or no object of its own"))
        elif header.spacing_note:
            issues.append(Issue(str(path), header.spacing_note, serious=False))
        elif header.raw:
            note = "marked FOR PROCESSING: its values are the detector's, and look unlike a radiograph for reading"
            issues.append(Issue(str(path), note, serious=False))
    return issues


def _regions(
    columns: Columns,
    name: str,
    names: Sequence[str],
    images: Found,
    source: Path,
    options: DicomOptions,
    issues: list[Issue],
) -> dict[int, list[Region]]:
    """The boxes of each image, by its place among those found."""
    boxes = open_boxes(source, options)
    if boxes is None:
        return {}
    places: dict[int, list[int]] = {}
    for i, row in enumerate(images.rows):
        places.setdefault(row, []).append(i)
    headers = {row: images.headers[own[0]] for row, own in places.items()}
    sizes = {h.path: (h.columns, h.rows) for h in headers.values()}
    row_names = names_of_rows(columns.texts(name))  # of two rows of one name the second is refused
    files = {row: header.path for row, header in headers.items()}
    regions: dict[int, list[Region]] = {}
    for region in read_boxes(boxes, (*names, name.lower()), row_names, files, size=sizes.get):
        own = places[region.image]
        if len(own) > 1:
            columns.refuse(region.image, f"a box, but {len(own)} images; name them by SOPInstanceUID")
        regions.setdefault(own[0], []).append(region)
    issues += boxes.faults
    return regions


def _patient(header: Header, settings: DicomOptions) -> str:
    return header.patient_id if settings.show_patients and header.patient_id else header.patient


def _dataset(
    card: DatasetCard,
    split: str,
    rows: np.ndarray,
    images: Found,
    targets: np.ndarray,
    regions: Mapping[int, Sequence[Region]],
    settings: DicomOptions,
    folder: Path,
) -> Dataset:
    image_rows = rows.tolist()
    headers = [images.headers[i] for i in image_rows]
    paths = [h.path for h in headers]
    stats = [path.stat() for path in paths]
    marked = tuple(replace(r, image=new) for new, old in enumerate(image_rows) for r in regions.get(old, ()))
    read_as = "".join(f"-{k}{v}" for k in ("window", "frame") if (v := getattr(settings, k)) is not None)
    named = [Path(os.path.relpath(h.path, folder)).as_posix() if settings.show_patients else h.name for h in headers]
    return Dataset(
        card=card,
        split=split,
        ids=tuple(name + read_as for name in named),
        patients=tuple(_patient(h, settings) for h in headers),
        targets=targets[[images.rows[i] for i in image_rows]],
        read=lambda i: read_dicom(paths[i], window=settings.window, frame=settings.frame),
        regions=Regions(marked) if marked else None,
        files=tuple(SourceFile(p, s.st_size, s.st_mtime_ns) for p, s in zip(paths, stats, strict=True)),
        origin=f"window {settings.window}, frame {settings.frame}",
        bits=16,
        stable_ids=tuple(f"{h.name}-{settings.frame or 1}" if h.uid else "" for h in headers),
        decoding={"window": settings.window, "frame": settings.frame},
        metadata=known(
            {
                "age": [age_in_years(h.age) for h in headers],
                "sex": [h.sex for h in headers],
                "view": [h.view for h in headers],
                "manufacturer": [h.manufacturer for h in headers],
            }
        ),
    )
