"""The COVID-19 findings: 100 radiographs with pixel masks, to score explanations on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.dataset import Dataset, DatasetCard, Splits, released_ids
from pellucid.data.decoding.image import read_image
from pellucid.data.issues import Issue, check_root
from pellucid.data.readers.image_files import LeftOut, list_images
from pellucid.data.readers.image_names import match_names
from pellucid.data.readers.masks import list_masks, mask_regions, read_mask
from pellucid.data.text_tables import read_text_table
from pellucid.types import InputError
from pellucid.utils.settings import Section, validate
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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


def check(folder: Path) -> list[Issue]:
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
