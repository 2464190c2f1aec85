"""ImageNet (ILSVRC 2012): folders named by WordNet id, or a folder of images with a table of their labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits
from pellucid.data.decoding.image import read_image
from pellucid.data.issues import Issue, check_root, collect_issues, issues_of
from pellucid.data.readers.image_files import LeftOut, list_images
from pellucid.data.readers.splits import check_disjoint, patient_split
from pellucid.data.text_tables import read_text_table
from pellucid.types import InputError
from pellucid.utils.imagenet_classes import imagenet_classes
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

CLASS_COUNT = 1000
LABELS = "labels.csv"
COLUMNS, NAMES = ("file", "class_index"), "wnid"  # the last may be missing
LAYOUT = (
    f"train/ and val/, each with one folder per class, as n01440764/*.JPEG; or images and {LABELS} "
    f"({', '.join(COLUMNS)}, and {NAMES} if known)."
)
SAMPLE_SHARE = 0.2  # of a sample, for each of validation and test
_WORDNET = re.compile(r"n\d{8}")
_OFFICIAL = re.compile(r"n\d{8}_\d+|ILSVRC2012_(val|test)_\d{8}")  # names of the release's own files

CARD = DatasetCard(
    name="imagenet",
    title="ImageNet (ILSVRC 2012)",
    task="multiclass",
    classes=(),
    citation=(
        "O. Russakovsky, J. Deng, H. Su et al.: ImageNet Large Scale Visual Recognition Challenge. International "
        "Journal of Computer Vision 115(3), 2015."
    ),
    licence="non-commercial research and education, by the terms of access of image-net.org",
    url="https://www.image-net.org/",
    native_channels=3,
    mirrorable=True,
    notes=(
        "1,000 classes, called by their WordNet ids where these are known. The official validation images are the test "
        "part; the validation part is cut from the training images."
    ),
)

SAMPLE_CARD = replace(
    CARD,
    title="a sample of ImageNet",
    notes="1,000 classes, called by their WordNet ids where these are known; the images that the table names.",
)


class ImagenetOptions(Section):
    """What may be chosen when ImageNet is opened.

    Attributes:
        validation_fraction: the share of the official training images that becomes the validation part; 0 for none.
        sample_split: of a folder with `labels.csv`, make a training part, a fifth for validation and a fifth for
            testing, instead of a test part alone. For trying out a pipeline, never for results.
    """

    validation_fraction: float = Field(default=0.01, ge=0, lt=1)
    sample_split: bool = False


@dataclass(frozen=True)
class _Images:
    """Images of one kind: ids, class numbers and files, row by row."""

    ids: list[str]
    labels: npt.NDArray[np.int64]
    files: list[SourceFile]

    def part(
        self,
        split: str,
        classes: tuple[str, ...],
        rows: npt.NDArray[np.int64] | None = None,
        *,
        card: DatasetCard = CARD,
    ) -> Dataset:
        """The images `rows`; all where None."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        indices = rows.tolist()
        ids = tuple(self.ids[i] for i in indices)
        files = tuple(self.files[i] for i in indices)
        return Dataset(
            card=replace(card, classes=classes),
            split=split,
            ids=ids,
            patients=ids,
            targets=self.labels[rows],
            read=lambda i: read_image(files[i].path),
            files=files,
            stable_ids=tuple(f"{CARD.name}/{f.path.stem}" if _OFFICIAL.fullmatch(f.path.stem) else "" for f in files),
        )


def open_imagenet(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open ImageNet as it is usually unpacked, or a sample of it with a table of labels.

    With class folders, a class's number is the place of its WordNet id among those of `train/`, sorted: the usual
    number, where all 1,000 are there. The official validation images are `test`. With `labels.csv`, its numbers out of
    1,000 are taken and all images are `test`, unless `sample_split` is set; a class without a WordNet id there is
    called by its number, as `class-17`. Each image counts by itself.

    Args:
        root: the folder that holds `train/` and `val/`, or either; or images and `labels.csv`.
        seed: chooses the images of the parts that are cut off.
        options: see `ImagenetOptions`.

    Returns:
        Those of `train`, `validation` and `test` that there are images for.

    Raises:
        InputError: naming the folder or the table, for one that is not laid out so.
        FaultyDataError: naming every class folder that is not called by a WordNet id, holds no image or is of a test
            class that is not among the training classes; every line of the table with a label that makes no sense or an
            image that is not there. A check goes on with the others.

    Example:
        >>> open_imagenet("/no/such/place")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: /no/such/place: no such folder. Expected: train/ and val/, ...
    """
    settings = validate(ImagenetOptions, options, f"options of {CARD.name}")
    folder = check_root(root, CARD.name, LAYOUT)
    places = [folder / name for name in ("train", "val") if (folder / name).is_dir()]
    if places and settings.sample_split:
        raise InputError(f"{folder}: sample_split is for a folder with {LABELS}; this one has {places[0].name}/.")
    faults: list[Issue] = []
    if places:
        return collect_issues(faults, lambda: _open_folders(folder, settings.validation_fraction, seed, faults), folder)
    if (folder / LABELS).is_file():
        return collect_issues(faults, lambda: _open_sample(folder, seed, faults, split=settings.sample_split), folder)
    raise InputError(f"{folder}: no train/, no val/ and no {LABELS}. Expected: {LAYOUT}")


def check(folder: Path) -> list[Issue]:
    """Whether all classes are there, without which their numbers are not the usual ones."""
    places = [folder / name for name in ("train", "val") if (folder / name).is_dir()]
    if not places:
        return []
    count = len(_class_folders(places[0], []))
    note = (
        f"{count:,} of the {CLASS_COUNT:,} classes, numbered in their own order: the class numbers are not ImageNet's"
    )
    return [Issue(str(places[0]), note, serious=False)] if count != CLASS_COUNT else []


def _open_folders(root: Path, validation_fraction: float, seed: int, faults: list[Issue]) -> Splits:
    listed = {name: _class_folders(root / name, faults) for name in ("train", "val") if (root / name).is_dir()}
    first = next(iter(listed))
    classes = tuple(listed[first])
    for name in [name for name in listed.get("val", {}) if name not in classes]:
        message = f"class {name} is in val/ but not in train/, which has {len(classes):,} classes."
        faults.append(Issue(str(root), message))
        del listed["val"][name]
    splits: Splits = {}
    left_out = LeftOut(root)
    if "train" in listed:
        whole = _list(root, listed["train"], classes, faults, left_out)
        rest, cut = patient_split(whole.ids, validation_fraction, seed)
        splits["train"] = whole.part("train", classes, rest)
        if len(cut):
            splits["validation"] = whole.part("validation", classes, cut)
    if "val" in listed:
        splits["test"] = _list(root, listed["val"], classes, faults, left_out).part("test", classes)
    left_out.tell()
    check_disjoint(splits)
    return splits


def _class_folders(place: Path, faults: list[Issue]) -> dict[str, Path]:
    """The class folders by WordNet id, sorted."""
    try:
        folders = {p.name: p for p in place.iterdir() if not p.name.startswith(".") and p.is_dir()}
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror}).") from error
    message = (
        f"not called by a WordNet id such as n01440764. Expected: {LAYOUT} Images in other folders can be opened as "
        "the dataset 'folder'."
    )
    faults += [Issue(str(place / name), message) for name in sorted(folders) if not _WORDNET.fullmatch(name)]
    if not folders:
        raise InputError(f"{place}: no class folders. Expected: {LAYOUT}")
    return {name: folders[name] for name in sorted(folders) if _WORDNET.fullmatch(name)}


def _list(
    root: Path, folders: Mapping[str, Path], classes: tuple[str, ...], faults: list[Issue], left_out: LeftOut
) -> _Images:
    """The images of class folders; each folder is listed once, which for all of ImageNet takes seconds."""
    ids: list[str] = []
    labels: list[int] = []
    files: list[SourceFile] = []
    numbers = {name: k for k, name in enumerate(classes)}
    for name, place in folders.items():
        images = list_images(place, left_out)
        if not images:
            faults.append(Issue(str(place), "no images of this class. Unpack them again, or take the folder away."))
        prefix = place.relative_to(root).as_posix()
        ids += [f"{prefix}/{image}" for image in images]
        labels += [numbers[name]] * len(images)
        files += images.values()
    return _Images(ids, np.array(labels, dtype=np.int64), files)


def _open_sample(root: Path, seed: int, faults: list[Issue], *, split: bool) -> Splits:
    images, classes = _read_labels(root, faults)
    if not images.ids:
        return {}
    if not split:
        return {"test": images.part("test", classes, card=SAMPLE_CARD)}
    rest, test = patient_split(images.ids, SAMPLE_SHARE, seed, purpose="test")
    share = SAMPLE_SHARE / (1 - SAMPLE_SHARE)  # of what is left
    train, validation = patient_split([images.ids[i] for i in rest.tolist()], share, seed)
    return {
        "train": images.part("train", classes, rest[train]),
        "validation": images.part("validation", classes, rest[validation]),
        "test": images.part("test", classes, test),
    }


def _read_labels(root: Path, faults: list[Issue]) -> tuple[_Images, tuple[str, ...]]:
    """The images that the table names, and the names of all 1,000 classes as far as it has them."""
    table = root / LABELS
    lines = read_text_table(table)
    header = [name.strip() for name in next(lines, (0, []))[1]]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(f"{table}: no column {', '.join(missing)}. Expected: {', '.join(COLUMNS)}.")
    at_file, at_number = (header.index(name) for name in COLUMNS)
    at_name = header.index(NAMES) if NAMES in header else None
    names: dict[int, str] = {}
    sources: dict[str, SourceFile] = {}
    labels: list[int] = []
    for line, row in lines:
        place = f"{table}, line {line}"
        try:
            if len(row) != len(header):
                raise InputError(f"{place}: {len(row)} columns; the header has {len(header)}.")
            image = row[at_file].strip()
            label = _label(row[at_number].strip(), None if at_name is None else row[at_name].strip(), names, place)
            if image in sources:
                raise InputError(f"{place}: {image} is named twice.")
            if ".." in PurePath(image).parts or PurePath(image).is_absolute():
                raise InputError(f"{place}: {image} leads out of {root}; expected a path below it.")
            sources[image] = _source(root / image, place)
        except InputError as error:
            faults += issues_of(error, table)
        else:
            labels.append(label)
    if not sources and not faults:
        raise InputError(f"{table}: names no images.")
    if len(set(names.values())) < len(names):
        raise InputError(f"{table}: two class_index have the same wnid; expected one number per class.")
    own = imagenet_classes()
    if names and all(own[number] == name for number, name in names.items()):  # a part of the usual order
        return _Images(list(sources), np.array(labels, dtype=np.int64), list(sources.values())), own
    classes = tuple(names.get(k, f"class-{k}") for k in range(CLASS_COUNT))
    return _Images(list(sources), np.array(labels, dtype=np.int64), list(sources.values())), classes


def _label(number: str, wordnet: str | None, names: dict[int, str], place: str) -> int:
    """The class number of a line; the WordNet ids seen so far are kept in `names`."""
    label = int(number) if number.isdecimal() else CLASS_COUNT
    if label >= CLASS_COUNT:
        raise InputError(f"{place}: class_index {number!r}; expected 0 to {CLASS_COUNT - 1}.")
    if wordnet is not None and not _WORDNET.fullmatch(wordnet):
        raise InputError(f"{place}: wnid {wordnet!r}; expected a WordNet id such as n01440764.")
    if wordnet is not None and names.setdefault(label, wordnet) != wordnet:
        raise InputError(f"{place}: class {label} is {wordnet} here and {names[label]} further up.")
    return label


def _source(path: Path, place: str) -> SourceFile:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{place}: {path} cannot be read ({error.strerror}).") from error
    return SourceFile(path, status.st_size, status.st_mtime_ns)
