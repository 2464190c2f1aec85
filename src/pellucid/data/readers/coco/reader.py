"""COCO 2017 as released: every category an image shows, with boxes and masks of each object."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits
from pellucid.data.decoding.image import read_image
from pellucid.data.decoding.orientation import UPRIGHT, turn_upright
from pellucid.data.issues import MISSING, Issue, check_root, collect_issues
from pellucid.data.readers.coco.annotations import Instances, read_instances
from pellucid.data.readers.coco.frames import Frames, read_frames
from pellucid.data.readers.coco.masks import draw_mask, outline_hash
from pellucid.data.readers.image_files import list_images
from pellucid.data.readers.splits import check_disjoint, patient_split
from pellucid.data.regions import Region, Regions
from pellucid.types import InputError
from pellucid.utils.settings import Section, validate
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

FOLDERS = ("train2017", "val2017")
OFFICIAL_COUNTS = {"train2017": 118_287, "val2017": 5_000}
OFFICIAL_CATEGORIES = 80
_OFFICIAL = re.compile(r"(train|val)2017/\d{12}\.jpg")  # the release's own files, not those of somebody's own set
LAYOUT = (
    "train2017/*.jpg and val2017/*.jpg, or either, with annotations/instances_train2017.json and "
    "annotations/instances_val2017.json."
)

CARD = DatasetCard(
    name="coco",
    title="COCO 2017",
    task="multilabel",
    classes=(),
    citation=(
        "T.-Y. Lin, M. Maire, S. Belongie et al.: Microsoft COCO: Common Objects in Context. European Conference on "
        "Computer Vision, 2014."
    ),
    licence="annotations CC BY 4.0; the images are Flickr users', each under the licence that its entry names",
    url="https://cocodataset.org/",
    native_channels=3,
    mirrorable=True,
    notes=(
        "80 categories, in the order of their ids. The official validation images are the test part; the validation "
        "part is cut from the training images. A crowd counts as present and is no region."
    ),
)


class CocoOptions(Section):
    """What may be chosen when COCO is opened.

    Attributes:
        validation_fraction: the share of the images of train2017 that becomes the validation part; 0 for none.
        masks: whether regions are the outlines of the objects where the annotations have them (drawn by pycocotools,
            extra `coco`), rather than their boxes.
    """

    validation_fraction: float = Field(default=0.05, ge=0, lt=1)
    masks: bool = True


@dataclass(frozen=True)
class _Part:
    """One of the release's folders: its annotations, and which of its images are there."""

    folder: str
    instances: Instances
    files: dict[str, SourceFile]
    frames: Frames

    @property
    def there(self) -> npt.NDArray[np.int64]:
        """The annotations' images that are there, by row."""
        return np.array([i for i, name in enumerate(self.instances.names) if name in self.files], dtype=np.int64)

    def ids(self, rows: npt.NDArray[np.int64]) -> tuple[str, ...]:
        """What the images `rows` are called, such as `val2017/000000000139.jpg`."""
        return tuple(f"{self.folder}/{self.instances.names[i]}" for i in rows.tolist())

    def dataset(self, split: str, rows: npt.NDArray[np.int64], *, masks: bool) -> Dataset:
        """The images `rows` with all that is marked on them."""
        instances = self.instances
        place = np.full(len(instances.names), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        image = place[instances.image]  # of each object, among the rows; -1 where it is not
        targets = np.zeros((len(rows), len(instances.categories)), dtype=np.float32)
        targets[image[image >= 0], instances.category[image >= 0]] = 1
        fits = ~np.isin(instances.image, list(self.frames.faults))
        marked = instances.marked[(image[instances.marked] >= 0) & fits[instances.marked]]
        marked = marked[np.argsort(image[marked], kind="stable")]
        boxes = self.frames.turn_boxes(instances.relative_boxes()[marked], instances.image[marked])
        columns = (marked, image[marked], instances.category[marked], boxes)
        regions = tuple(
            self.region(i, k, (x, y, w, h), row, masks=masks)
            for row, i, k, (x, y, w, h) in zip(*(column.tolist() for column in columns), strict=True)
        )
        ids = self.ids(rows)
        files = tuple(self.files[instances.names[i]] for i in rows.tolist())
        return Dataset(
            card=replace(CARD, classes=instances.categories),
            split=split,
            ids=ids,
            patients=ids,
            targets=targets,
            read=lambda i: read_image(files[i].path),
            regions=Regions(regions) if regions else None,
            files=files,
            stable_ids=tuple(f"{CARD.name}/{i}" if _OFFICIAL.fullmatch(i) else "" for i in ids),
        )

    def region(
        self, image: int, category: int, box: tuple[float, float, float, float], row: int, *, masks: bool
    ) -> Region:
        """The place that an object marks on an image: its outline, where it has one and that is wanted, or its box."""
        label, outline = self.instances.categories[category], self.instances.outlines[row]
        if not masks or not outline:
            return Region(image, label, box)
        return Region(image, label, box, partial(self.mask, row), outline_hash(outline))

    def mask(self, row: int) -> npt.NDArray[np.bool_]:
        """The outline of one object as boolean (height, width)."""
        instances = self.instances
        width, height = instances.frames[instances.image[row]].astype(int).tolist()
        where = f"{instances.path}: annotation {instances.ids[row]}"
        mask = draw_mask(instances.outlines[row], (width, height), instances.boxes[row].tolist(), where)
        pixels = turn_upright(mask.view(np.uint8), self.frames.turns.get(int(instances.image[row]), UPRIGHT))
        return pixels.astype(bool)

    def issues(self) -> list[Issue]:
        """What is wrong with the boxes, and the frames that are not their images' (serious); how others are read."""
        instances = self.instances
        issues = instances.issues()
        for row, reason in self.frames.faults.items():
            issues.append(Issue(str(instances.path), f"{instances.names[row]}: {reason}"))
        turned = [instances.names[row] for row in self.frames.turns]
        if turned:
            note = (
                f"{number_of(len(turned), 'image(s)')} annotated as stored, not upright, such as {turned[0]}; their "
                "boxes and outlines are turned with them"
            )
            issues.append(Issue(str(instances.path), note, serious=False))
        crowds = int(instances.crowd.sum())
        if crowds:
            note = number_of(crowds, "annotation(s) of crowds (iscrowd), counted as present and not as regions")
            issues.append(Issue(str(instances.path), note, serious=False))
        return issues


def open_coco(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open COCO 2017 as released, or a part of it in the same layout.

    Targets are 1 for every category with an object on the image. Regions are the objects' outlines or boxes. A crowd
    (`iscrowd`) counts as present and is no region; neither is a box without an area. Boxes and outlines are in pixels
    of the size that the annotations give the image; the file's own may be another in the same proportion, so that a
    copy of reduced images opens with the released annotations. Images that the annotations name but the disk does not
    have are left out, with a warning.

    Args:
        root: the folder that holds `annotations/` and `train2017/` or `val2017/` or both.
        seed: chooses the images of the validation part.
        options: see `CocoOptions`.

    Returns:
        `train` and `validation` from train2017, `test` from val2017: those that there are images for.

    Raises:
        InputError: naming the file, for annotations that are missing, no JSON, not COCO's or at odds with each other
            (see `read_instances`).
        FaultyDataError: naming every box that is not finite or lies outside its image, and every image whose size is of
            another proportion than its file; a check goes on without them.
    """
    settings = validate(CocoOptions, options, f"options of {CARD.name}")
    folder = check_root(root, CARD.name, LAYOUT)
    parts = _open_parts(folder)
    faults = [issue for part in parts.values() for issue in part.issues() if issue.serious]
    return collect_issues(faults, lambda: _cut_parts(folder, parts, settings, seed), folder)


def _cut_parts(folder: Path, parts: Mapping[str, _Part], settings: CocoOptions, seed: int) -> Splits:
    splits: Splits = {}
    for name, part in parts.items():
        rows = part.there
        if len(rows) < len(part.instances.names):
            there = f"{len(rows):,} of {len(part.instances.names):,} images found"
            warnings.warn(f"{folder / name}: {there}; the others are left out.", stacklevel=2)
        if not len(rows):
            continue
        if name == "val2017":
            splits["test"] = part.dataset("test", rows, masks=settings.masks)
            continue
        rest, cut = patient_split(part.ids(rows), settings.validation_fraction, seed)
        splits["train"] = part.dataset("train", rows[rest], masks=settings.masks)
        if len(cut):
            splits["validation"] = part.dataset("validation", rows[cut], masks=settings.masks)
    if not splits:
        raise InputError(f"{folder}: none of the images that the annotations name is there. Expected: {LAYOUT}")
    check_disjoint(splits)
    return splits


def check(folder: Path) -> list[Issue]:
    """Images that are missing, boxes that make no sense or have no area, and what is not the whole release."""
    issues: list[Issue] = []
    for name, part in _open_parts(folder).items():
        names = set(part.instances.names)
        issues += [Issue(f"{name}/{image}", MISSING) for image in part.instances.names if image not in part.files]
        issues += part.issues()
        extra = sum(image not in names for image in part.files)
        if extra:
            note = number_of(extra, "image(s) that the annotations do not name")
            issues.append(Issue(str(folder / name), note, serious=False))
        if len(names) != OFFICIAL_COUNTS[name]:
            note = f"names {len(names):,} of the {OFFICIAL_COUNTS[name]:,} official images: a part of the dataset"
            issues.append(Issue(str(part.instances.path), note, serious=False))
        if len(part.instances.categories) != OFFICIAL_CATEGORIES:
            note = f"{len(part.instances.categories)} categories; COCO has {OFFICIAL_CATEGORIES}"
            issues.append(Issue(str(part.instances.path), note, serious=False))
    return issues


def _open_parts(root: Path) -> dict[str, _Part]:
    """Those of train2017 and val2017 that have annotations."""
    parts: dict[str, _Part] = {}
    for name in FOLDERS:
        place, path = root / name, root / "annotations" / f"instances_{name}.json"
        if path.is_file():
            instances, files = read_instances(path), list_images(place) if place.is_dir() else {}
            parts[name] = _Part(name, instances, files, read_frames(instances, files))
        elif place.is_dir():
            raise InputError(f"{path}: no such file, but {name}/ is there. Expected: {LAYOUT}")
    if not parts:
        raise InputError(f"{root}: no {' and no '.join(f'{name}/' for name in FOLDERS)}. Expected: {LAYOUT}")
    if len({part.instances.categories for part in parts.values()}) > 1:
        raise InputError(f"{root / 'annotations'}: train2017 and val2017 list different categories.")
    return parts
