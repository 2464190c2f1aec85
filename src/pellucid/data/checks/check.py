"""Is a dataset whole, readable and without leaks? Counts of all there is, and every file with something wrong."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from pellucid.data.checks.duplicates import content_hash, find_duplicates, is_blank, pixel_hash
from pellucid.data.checks.report import CheckReport, PartReport
from pellucid.data.decoding.image import read_file
from pellucid.data.decoding.notes import collect_notes
from pellucid.data.decoding.tiff_gray import gray_layout
from pellucid.data.issues import FaultyDataError, Issue
from pellucid.data.readers.image_files import LeftOut, LeftOutWarning, list_images
from pellucid.data.readers.splits import split_hash
from pellucid.data.registry import get_entry
from pellucid.types import InputError
from pellucid.utils.parallel import in_threads
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pellucid.data.dataset import Dataset, Splits

_MANY_FRAMES = {".gif", ".png", ".tif", ".tiff", ".webp"}


def check_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> CheckReport:
    """Open a dataset, decode every image and mask, and report counts and all that is wrong.

    A folder, table or list that cannot be opened is one problem in the report, not an exception; where only some of it
    cannot be used, all of that is named and the rest is looked at. A patient in two parts is a problem, and so is a
    picture in two parts, by its pixels; one that is in the same part twice is a note.

    Args:
        name: the dataset's name in the registry.
        root: its folder.
        seed: as for `open_dataset`.
        options: as for `open_dataset`.
        progress: True for a progress bar, or a function of (done, count).
        workers: threads; by default two per processor.

    Raises:
        InputError: for an unknown dataset name.

    Example:
        >>> report = check_dataset("folder", "/no/such/place")
        >>> report.ok, report.problems[0].reason[:35]
        (False, '/no/such/place: no such folder. Exp')
    """
    entry = get_entry(name)
    folder = str(root) if root is not None else ""
    issues: list[Issue] = []
    splits: Splits = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            if root is not None and entry.needs_root and Path(root).is_dir():
                issues += entry.check(Path(root))
        except InputError as error:  # what is wrong may be so for opening too; it is said once
            issues += _issues_of(error, folder)
        try:
            splits = entry.open(root, seed, options)
        except InputError as error:
            issues += _issues_of(error, folder)
            splits = error.usable if isinstance(error, FaultyDataError) else {}
    left_out = [r for w in caught if isinstance(w.message, LeftOutWarning) for r in w.message.issues]
    if entry.name == "table" and root is not None:
        left_out += _not_named(Path(root), splits)
    issues += left_out
    issues += [
        Issue(folder, str(w.message).removeprefix(f"{folder}: "), serious=False)
        for w in caught
        if not isinstance(w.message, LeftOutWarning)
    ]
    inspections = {part: _inspect_all(dataset, progress, workers) for part, dataset in splits.items()}
    issues += [one.issue for inspected in inspections.values() for one in inspected if one.issue is not None]
    issues += _assumed(folder, [one for inspected in inspections.values() for one in inspected])
    images = {
        part: [one.compared_by for one in inspected[: len(splits[part])]] for part, inspected in inspections.items()
    }
    issues += find_duplicates(splits, images)
    unique = list(dict.fromkeys(issues))
    return CheckReport(
        dataset=name,
        root=folder,
        parts={part: _count(dataset) for part, dataset in splits.items()},
        problems=tuple(f for f in unique if f.serious),
        notes=tuple(f for f in unique if not f.serious),
        split_hash=split_hash(splits) if splits else "",
        content_hash=content_hash(
            (part, one.name, one.pixels) for part, inspected in inspections.items() for one in inspected
        )
        if splits
        else "",
        left_out=bool(left_out),
    )


def _issues_of(error: InputError, folder: str) -> tuple[Issue, ...]:
    return error.issues if isinstance(error, FaultyDataError) else (Issue(folder, str(error)),)


def _not_named(root: Path, splits: Splits) -> tuple[Issue, ...]:
    """The images that lie beside those of a table, in the same folders, and that no row of it brings in."""
    used = {file.path for dataset in splits.values() for file in dataset.files}
    unnamed = LeftOut(root if root.is_dir() else root.parent)
    for folder in sorted({path.parent for path in used}):
        others = [file.path for file in list_images(folder).values() if file.path not in used]
        if others:
            unnamed.add("image(s) beside those of the table, which it does not name or which cannot be used", *others)
    return unnamed.issues()


class _Inspection(NamedTuple):
    """What was seen of an image or mask: its name, the hash of its pixels, and whatever is to be said of it."""

    name: str
    pixels: bytes | None = None
    blank: bool = False
    issue: Issue | None = None
    notes: tuple[str, ...] = ()

    @property
    def compared_by(self) -> bytes | None:
        """The hash by which it may be found again; blank images are all alike."""
        return None if self.blank else self.pixels


def _inspect_all(
    dataset: Dataset, progress: bool | Callable[[int, int], None], workers: int | None
) -> list[_Inspection]:
    """The images of a part, in order, then its masks, each decoded once."""
    masks = [r for r in dataset.regions.items if r.mask is not None] if dataset.regions is not None else []

    def inspect(i: int) -> _Inspection:
        if i < len(dataset):
            return _inspect_image(dataset, i)
        region = masks[i - len(dataset)]
        assert region.mask is not None
        name = f"{dataset.ids[region.image]}, mask of {region.label}"
        try:
            return _Inspection(name, pixel_hash(region.mask()))
        except InputError as error:
            return _Inspection(name, issue=Issue(dataset.split, str(error)))

    total = len(dataset) + len(masks)
    return list(
        in_threads(
            inspect, total, title=f"check {dataset.card.name}/{dataset.split}", progress=progress, workers=workers
        )
    )


def _inspect_image(dataset: Dataset, i: int) -> _Inspection:
    name = dataset.ids[i]
    path = dataset.files[i].path if dataset.files else None
    try:
        with collect_notes() as notes:
            image = dataset.read(i)
    except InputError as error:
        file = str(path or dataset.split)
        return _Inspection(name, issue=Issue(file, str(error).removeprefix(f"{file}: ")))
    if is_blank(image):
        shade = Issue(str(path or name), "of one shade throughout: there is nothing to learn from it", serious=False)
        return _Inspection(name, pixel_hash(image), blank=True, issue=shade, notes=tuple(notes))
    suffix = path.suffix.lower() if path is not None else ""
    issue = _inspect_frames(path) if path is not None and suffix in _MANY_FRAMES else None
    return _Inspection(name, pixel_hash(image), issue=issue, notes=tuple(notes))


def _assumed(folder: str, inspections: Sequence[_Inspection]) -> list[Issue]:
    """What was assumed of images whose files contradict themselves, or turned: each once, with the number of images."""
    images: dict[str, list[tuple[str, str]]] = {}
    for one in inspections:
        for note in one.notes:
            assumption, _, detail = note.partition(": ")
            images.setdefault(assumption, []).append((one.name, f" ({detail})" if detail else ""))
    return [
        Issue(folder, f"{number_of(len(of), 'image(s)')}, such as {of[0][0]}{of[0][1]}: {assumption}", serious=False)
        for assumption, of in images.items()
    ]


def _inspect_frames(path: Path) -> Issue | None:
    """What is to be said of the frames behind the first, which is not decoded here."""
    try:
        data = read_file(path)
        layout = gray_layout(data)  # Pillow alone opens not all of the grey ones that are read
        with Image.open(io.BytesIO(data if layout is None else layout.data)) as image:
            frames = getattr(image, "n_frames", 1)
    except Exception as error:  # IndexError, TypeError, struct.error …: whatever Pillow meets in them
        return Issue(str(path), f"later frames are damaged ({type(error).__name__}); the first can be read")
    return Issue(str(path), f"has {frames} frames, of which the first is read", serious=False) if frames > 1 else None


def _count(dataset: Dataset) -> PartReport:
    targets = dataset.targets
    if dataset.task == "multiclass":
        labels = {c: int(np.sum(targets == k)) for k, c in enumerate(dataset.classes)}
        unknown: dict[str, int] = {}
    else:
        values = targets.astype(np.float64)
        labels = {c: int(np.sum(values[:, k] == 1)) for k, c in enumerate(dataset.classes)}
        unknown = {c: n for k, c in enumerate(dataset.classes) if (n := int(np.isnan(values[:, k]).sum()))}
    regions: dict[str, int] = {}
    for region in dataset.regions.items if dataset.regions is not None else ():
        regions[region.label] = regions.get(region.label, 0) + 1
    return PartReport(len(dataset), len(set(dataset.patients)), labels, unknown, dict(sorted(regions.items())))
