"""Pixel masks as ground truth of where; the COVID-19 findings (100 radiographs) are scored with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.dataset import Dataset, DatasetCard, Splits, released_ids
from pellucid.data.decoding.image import read_image
from pellucid.data.issues import Issue, check_root
from pellucid.data.readers.image_files import LeftOut, list_images
from pellucid.data.readers.image_names import match_names
from pellucid.data.regions import Region, Regions
from pellucid.data.text_tables import read_text_table
from pellucid.types import InputError
from pellucid.utils.settings import Section, validate
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.data.dataset import SourceFile

LAYOUT = "images/*.png, masks/<image>__<Class>.png of the same size, and metadata.csv (filename, view, modality)."
LESIONS = ("Ground Glass Opacities", "Consolidation")
SMALLEST = 1e-4  # of the image: one published mask is a single pixel in a corner
DERIVED = {"Lungs": ("Left Lung", "Right Lung"), "Lesions": LESIONS}

CARD = DatasetCard(
    name="covid-findings",
    title="COVID-19 chest radiographs with pixel masks of findings",
    task="multilabel",
    classes=LESIONS,
    citation=(
        "Masks: GeneralBlockchain, covid-19-chest-xray-segmentations-dataset, 2020. Images: J. P. Cohen, "
        "P. Morrison, L. Dao: COVID-19 Image Data Collection, arXiv:2003.11597, 2020."
    ),
    licence="mixed, image by image (metadata.csv); some are non-commercial, some not stated",
    url="https://github.com/GeneralBlockchain/covid-19-chest-xray-segmentations-dataset",
    native_channels=1,
    notes=(
        "100 radiographs, for scoring only. 'Lungs' is the union of both lungs, 'Lesions' of ground glass opacities "
        "and consolidation. Patients are not known: some images are of the same patient."
    ),
)


class CovidFindingsOptions(Section):
    """There is nothing to choose."""


@dataclass(frozen=True)
class MaskFile:
    """One mask on disk: the image it belongs to, its class, its file."""

    image: str
    label: str
    path: Path


def open_covid_findings(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open the radiographs with masks: one part, `test`, of the frontal images.

    Targets are 1 where a mask of the finding is there and covers at least `SMALLEST` of its image. Regions
    carry every class of mask and the derived labels of `DERIVED`.

    Raises:
        InputError: naming the file, for a folder that is not laid out so, a mask that cannot be read or has
            another size than its image.
    """
    del seed  # nothing is left to chance
    validate(CovidFindingsOptions, options, f"options of {CARD.name}")
    folder = check_root(root, CARD.name, LAYOUT)
    for part in ("images", "masks"):
        if not (folder / part).is_dir():
            raise InputError(f"{folder}: no folder {part}/. Expected: {LAYOUT}")
    left_out = LeftOut(folder)
    by_stem = _images_by_stem(folder / "images", left_out)
    masks = list_masks(folder / "masks", left_out=left_out)
    left_out.tell()
    frontal = _frontal(folder / "metadata.csv", by_stem)
    masked = {mask.image for mask in masks}
    names = tuple(n for n in by_stem if n in masked and (frontal is None or n in frontal))
    if not names:
        raise InputError(f"{folder}: no frontal image with a mask. Expected: {LAYOUT}")
    files = tuple(by_stem[name] for name in names)
    regions = mask_regions(names, masks, images=[f.path for f in files], derived=DERIVED, smallest=SMALLEST)
    marked = set(regions.pairs())
    dataset = Dataset(
        card=CARD,
        split="test",
        ids=names,
        patients=names,
        targets=np.array([[float((i, c) in marked) for c in LESIONS] for i in range(len(names))], dtype=np.float32),
        read=lambda i: read_image(files[i].path),
        regions=regions,
        files=files,
        stable_ids=released_ids(CARD.name, names),
    )
    return {"test": dataset}


def audit(folder: Path) -> list[Issue]:
    """Images without masks, masks without an image, masks that mark nothing or next to nothing."""
    stems = set(_images_by_stem(folder / "images"))
    masks = list_masks(folder / "masks")
    issues = [Issue(f"images/{name}.png", "has no mask") for name in sorted(stems - {m.image for m in masks})]
    for mask in masks:
        if mask.image not in stems:
            issues.append(Issue(str(mask.path), f"there is no image {mask.image}"))
            continue
        pixels = read_mask(mask.path)
        area = int(pixels.sum())
        if area < SMALLEST * pixels.size:
            note = f"the mask covers {number_of(area, 'pixel(s)')}; it counts as not marked"
            issues.append(Issue(str(mask.path), note, serious=False))
    return issues


def list_masks(directory: Path, separator: str = "__", *, left_out: LeftOut | None = None) -> list[MaskFile]:
    """The masks ``<image><separator><Class>.png`` of a folder; underscores in the class are read as spaces.

    Raises:
        InputError: naming the file, for an image file whose name has no separator.
    """
    masks = []
    for name, file in list_images(directory, left_out).items():
        image, separator_there, label = file.path.stem.rpartition(separator)
        if not separator_there or not image or not label:
            raise InputError(f"{file.path}: {name} is not named <image>{separator}<Class>.png.")
        masks.append(MaskFile(image, label.replace("_", " "), file.path))
    return masks


def mask_regions(
    names: Sequence[str],
    masks: Sequence[MaskFile],
    *,
    images: Sequence[Path] | None = None,
    derived: Mapping[str, Sequence[str]] | None = None,
    smallest: float = 0.0,
) -> Regions:
    """Masks as regions of a dataset's images, with the box around each.

    Every mask is read once here, for its box; an empty one marks nothing and is left out. A derived label is
    the union of several: one region for each of them, since `Regions.mask` takes the union. Masks of images
    that are not in `names` are left out.

    Args:
        names: the image of each row, as masks call it.
        masks: the masks on disk.
        images: the file of each row, where the size of every mask is to be checked against its image.
        derived: label → the labels that it is the union of.
        smallest: masks that cover less than this share of their image are left out.

    Raises:
        InputError: naming the file, for a mask that cannot be read or does not have the size of its image.
    """
    row = {name: i for i, name in enumerate(names)}
    sizes: dict[int, tuple[int, int]] = {}
    items: list[Region] = []
    for mask in masks:
        i = row.get(mask.image)
        if i is None:
            continue
        pixels = read_mask(mask.path)
        if images is not None:
            if i not in sizes:
                sizes[i] = _size(images[i])
            if pixels.shape != sizes[i]:
                (h, w), (ih, iw) = pixels.shape, sizes[i]
                raise InputError(f"{mask.path}: the mask is {w} × {h} pixels, its image {images[i].name} {iw} × {ih}.")
        box = bounding_box(pixels)
        if box is None or pixels.mean() < smallest:
            continue
        labels = [mask.label, *(new for new, parts in (derived or {}).items() if mask.label in parts)]
        items += [Region(i, label, box, partial(read_mask, mask.path)) for label in labels]
    return Regions(tuple(sorted(items, key=lambda r: (r.image, r.label))))


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """A mask file as boolean (H, W): set where any channel is at least half of full.

    Raises:
        InputError: with the file's name, if it cannot be read.
    """
    pixels = read_image(path)
    return np.asarray((pixels if pixels.ndim == 2 else pixels.max(axis=2)) >= 128)


def bounding_box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """The smallest box around a mask as fractions (x, y, width, height); None for an empty mask.

    Example:
        >>> bounding_box(np.array([[False, True], [False, True]]))
        (0.5, 0.0, 0.5, 1.0)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    height, width = mask.shape
    top, bottom, left, right = (int(v) for v in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    return left / width, top / height, (right - left) / width, (bottom - top) / height


def _size(path: Path) -> tuple[int, int]:
    return read_image(path).shape[:2]


def _images_by_stem(directory: Path, left_out: LeftOut | None = None) -> dict[str, SourceFile]:
    """The images by the name that masks call them; two that differ only in their ending are an error.

    Raises:
        InputError: naming all images that share a name.
    """
    images = list_images(directory, left_out)
    by_stem: dict[str, SourceFile] = {}
    sharing: dict[str, list[str]] = {}
    for name, file in images.items():
        by_stem[file.path.stem] = file
        sharing.setdefault(file.path.stem, []).append(name)
    several = [" and ".join(names) for names in sharing.values() if len(names) > 1]
    if several:
        raise InputError(
            f"{directory}: masks name their image without its ending, and cannot say which is meant of "
            f"{'; '.join(several[:20])}. Rename or take away all but one of each."
        )
    return by_stem


def _frontal(path: Path, images: Mapping[str, SourceFile]) -> set[str] | None:
    """The stems of the frontal radiographs by the metadata; None without it, where all count as frontal."""
    if not path.is_file():
        return None
    rows = (row for _, row in read_text_table(path))
    header = next(rows, [])
    missing = {"filename", "view", "modality"} - set(header)
    if missing:
        there = ", ".join(header) or "nothing"
        raise InputError(f"{path}: no column {', '.join(map(repr, sorted(missing)))}; found: {there}.")
    views: dict[str, set[bool]] = {}
    for row in rows:
        cells = dict(zip(header, row, strict=False))
        is_frontal = cells.get("modality") == "X-ray" and cells.get("view", "").upper().startswith(("PA", "AP"))
        views.setdefault(cells["filename"], set()).add(is_frontal)
    matches = match_names([file.path.name for file in images.values()], [[name] for name in views])
    view_of = list(views.values())
    unclear = [name for name, reason in matches.faults.items() if reason.startswith("could be")]
    frontal = set()
    for stem, file in images.items():
        name = file.path.name
        view = view_of[matches.rows[name]] if name in matches.rows else set()
        if len(view) > 1:
            unclear.append(name)
        elif True in view:
            frontal.add(stem)
    if unclear:
        raise InputError(
            f"{path}: it cannot be said whether these are frontal: {', '.join(unclear[:20])}: several rows could be "
            "theirs. Give each image one row, by its file name."
        )
    return frontal
