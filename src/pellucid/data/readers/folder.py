"""Images in one folder per class, with or without folders for the parts; Kermany et al. 2018 is one such."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pellucid.data.dataset import Dataset, DatasetCard, Splits, released_ids
from pellucid.data.decoding.image import read_image
from pellucid.data.issues import check_root
from pellucid.data.readers.class_folders import (
    NOT_CHOSEN,
    ClassImages,
    check_more_than_one_class,
    list_classes,
    part_folders,
)
from pellucid.data.readers.image_files import LeftOut
from pellucid.data.readers.splits import check_disjoint, cut_parts
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.settings import Names, Section, validate
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

KERMANY_LAYOUT = "train/, val/ and test/, each with NORMAL/*.jpeg and PNEUMONIA/*.jpeg."
LAYOUT = (
    "CLASS/*.png, or train/CLASS/*.png and so on with validation/ (or val/) and test/; JPEG, DICOM and others too, and "
    "in folders below a class, as CLASS/patient7/*.png."
)

CARD = DatasetCard(
    name="folder",
    title="Images in one folder per class",
    task="multiclass",
    classes=(),
    native_channels=3,
    notes="Classes and task come from the folders and the options.",
)

KERMANY_CARD = DatasetCard(
    name="kermany2018",
    title="Pediatric chest radiographs of Kermany et al. 2018",
    task="multilabel",
    classes=("PNEUMONIA",),
    citation=(
        "D. S. Kermany, M. Goldbaum, W. Cai et al.: Identifying Medical Diagnoses and Treatable Diseases by "
        "Image-Based Deep Learning. Cell 172(5), 2018; data: doi:10.17632/rscbjbr9sj."
    ),
    licence="CC BY 4.0 as commonly stated",
    url="https://data.mendeley.com/datasets/rscbjbr9sj/",
    native_channels=1,
    notes=(
        "5,856 images. The validation part is cut from the training folder by person number; the 16 published "
        "validation images are too few to choose by and are left out. Whether a patient occurs in training and in test "
        "cannot be known: many person numbers occur in both, always with bacteria in one and a virus in the "
        "other, and so may be two counts; no number occurs in both with the same cause."
    ),
)
# The number alone, without bacteria or virus and without NORMAL2: if one count runs through those, the
# validation part is clean; if each has its own, nothing is lost.
KERMANY_OPTIONS: dict[str, object] = {
    "positive": "PNEUMONIA",
    "patient_pattern": r"(person\d+|IM-\d+)",
    "numbering": "folder",
}


class FolderOptions(Section):
    """What may be chosen when a folder is opened.

    Attributes:
        classes: which of the class folders are taken, and the order of their classes; None for all of them, sorted by
            name.
        positive: the class whose presence is the one label of a multi-label task (1 in its folder, 0 in the
            others); None for a multiclass task of all the folders.
        validation: `split` cuts the validation part from the training images by patient and leaves a
            validation folder alone; `folder` takes the validation folder.
        validation_fraction: the share of patients to cut off for validation; 0 for none.
        test_fraction: the share of patients to cut off for testing where there are no folders for the parts;
            0 for none, 1 for nothing but a test part.
        patient_pattern: a regular expression with one group that finds the patient in an image's path below its
            class folder, which is its name, or `patient7/3.png`; None where every image counts as a patient of its own.
        numbering: `global` where a patient's name means the same patient everywhere, `folder` where numbers
            start again in each of the folders train and test, so that nothing can be said across them.
        bits: 16 keeps the depth of 16-bit grey images.
        licence: of the images, as reports are to state it; None for what is known of the dataset.
        citation: whom to credit for the images, as reports are to state it; None for what is known of the dataset.
    """

    classes: Names | None = Field(default=None, min_length=1)
    positive: str | None = None
    validation: Literal["split", "folder"] = "split"
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    test_fraction: float = Field(default=0.2, ge=0, le=1)
    patient_pattern: str | None = None
    numbering: Literal["global", "folder"] = "global"
    bits: Literal[8, 16] = 8
    licence: str | None = None
    citation: str | None = None


def open_folder(
    root: str | Path,
    *,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    card: DatasetCard = CARD,
    layout: str = LAYOUT,
) -> Splits:
    """Open a folder of images in one folder per class.

    Args:
        root: the folder.
        seed: chooses the patients of the parts that are cut off.
        options: see `FolderOptions`.
        card: what to say of the dataset; task and classes are filled in.
        layout: what to say is expected in the folder where it is missing or empty.

    Returns:
        The parts that there are of `train`, `validation` and `test`; no patient is in two of them.

    Raises:
        InputError: naming the folder or file, for a missing or empty folder, a class without images, a class
            that is not among the training classes, a file without a patient, or a patient in two parts.

    Example:
        >>> open_folder("/no/such/place")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: /no/such/place: no such folder. Expected: CLASS/*.png, or train/CLASS/...
    """
    settings = validate(FolderOptions, options, f"options of {card.name}")
    licence, citation = settings.licence, settings.citation
    card = replace(card, licence=card.licence if licence is None else licence)
    card = replace(card, citation=card.citation if citation is None else citation)
    pattern = _compile(settings.patient_pattern, card.name)
    folder = check_root(root, card.name, layout)
    left_out = LeftOut(folder)
    folders = part_folders(folder, left_out)
    if settings.validation == "split":
        _leave_alone(folders, left_out)
    elif "validation" not in folders:
        raise InputError(f"{folder}: options ask for the validation folder, but there is none (validation/ or val/).")
    given_parts: dict[str, np.ndarray] = {}
    whole = ClassImages.none()
    for part, place in folders.items():
        prefix = place.name if settings.numbering == "folder" else ""
        listed = list_classes(folder, place, pattern, left_out, prefix, only=settings.classes)
        given_parts[part] = np.arange(len(listed.ids)) + len(whole.ids)
        whole.extend(listed)
    if not folders:
        whole = list_classes(folder, folder, pattern, left_out, only=settings.classes)
    _check_chosen(settings.classes, whole, folder, left_out)
    check_more_than_one_class(folder, whole)
    left_out.tell()
    if pattern is None:
        _say_nested(folder, whole)
    rows = cut_parts(
        whole.patients,
        given_parts,
        validation_fraction=settings.validation_fraction,
        test_fraction=settings.test_fraction,
        seed=seed,
    )
    images = {part: whole.take(part_rows.tolist()) for part, part_rows in rows.items()}

    classes = settings.classes or _classes(images, folder)
    if settings.positive is None:
        card = replace(card, task="multiclass", classes=classes)
    else:
        if settings.positive not in classes:
            raise InputError(
                f"{folder}: no class folder {settings.positive!r} (option positive). "
                f"{nearest(settings.positive, classes)}"
            )
        card = replace(card, task="multilabel", classes=(settings.positive,))
    splits: Splits = {
        part: _dataset(card, part, part_images, classes, settings.bits) for part, part_images in images.items()
    }
    check_disjoint(splits)
    return splits


def open_kermany2018(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open the pediatric radiographs of Kermany et al. 2018: one label, PNEUMONIA.

    `options` are those of `FolderOptions` and go over the presets in `KERMANY_OPTIONS`; see the card's notes
    for what is known of the patients.
    """
    return open_folder(
        root, seed=seed, options={**KERMANY_OPTIONS, **(options or {})}, card=KERMANY_CARD, layout=KERMANY_LAYOUT
    )


def _check_chosen(names: tuple[str, ...] | None, images: ClassImages, folder: Path, left_out: LeftOut) -> None:
    """Refuse a class that is named twice, or that no part has."""
    if names is None:
        return
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"options of folder: classes: {repeated[0]!r} stands there more than once.")
    present = set(images.classes)
    for name in names:
        if name not in present:
            others = sorted({Path(path).name for path in left_out.paths(NOT_CHOSEN)} | present)
            raise InputError(f"{folder}: no class folder {name!r} (option classes). {nearest(name, others)}")


def _leave_alone(folders: dict[str, Path], left_out: LeftOut) -> None:
    """The validation folder, of which the option `validation` says that it is not wanted."""
    place = folders.pop("validation", None)
    if place is None:
        return
    if not folders:
        raise InputError(f"{place}: the only part there is, and the option validation=folder is needed to take it.")
    left_out.add("folder(s) of validation images, with the option validation=split", place)


def _say_nested(folder: Path, images: ClassImages) -> None:
    nested = [i for i, file in enumerate(images.files) if file.path.parent.name != images.classes[i]]
    if nested:
        warnings.warn(
            f"{folder}: {number_of(len(nested), 'image(s)')} in folders below their class, such as "
            f"{images.ids[nested[0]]}; each counts as a patient of its own. If these "
            "folders are patients: patient_pattern='^([^/]+)/'.",
            stacklevel=3,
        )


def _compile(pattern: str | None, name: str) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"options of {name}: patient_pattern: not a regular expression ({error}).") from error
    if compiled.groups != 1:
        raise InputError(f"options of {name}: patient_pattern: needs one group (…); found {compiled.groups}.")
    return compiled


def _classes(images: dict[str, ClassImages], folder: Path) -> tuple[str, ...]:
    """The classes, sorted: those of the training images, of which all other parts must be."""
    of_part = {part: set(value.classes) for part, value in images.items()}
    classes = (
        of_part["train"] | of_part.get("validation", set()) if "train" in of_part else set().union(*of_part.values())
    )
    for part, present in of_part.items():
        if present - classes:
            raise InputError(
                f"{folder}: class {min(present - classes)!r} is in {part} but not in train. "
                f"Classes: {', '.join(sorted(classes))}."
            )
    return tuple(sorted(classes))


def _dataset(
    card: DatasetCard, part: str, images: ClassImages, classes: tuple[str, ...], bits: Literal[8, 16]
) -> Dataset:
    files = tuple(images.files)
    if card.task == "multiclass":
        targets: np.ndarray = np.array([classes.index(c) for c in images.classes], dtype=np.int64)
    else:
        targets = np.array([[float(c in card.classes)] for c in images.classes], dtype=np.float32)
    return Dataset(
        card=card,
        split=part,
        ids=tuple(images.ids),
        stable_ids=released_ids(card.name, images.ids) if card.name == KERMANY_CARD.name else (),
        decoding={"bits": bits},
        patients=tuple(images.patients),
        targets=targets,
        read=lambda i: read_image(files[i].path, bits=bits),
        files=files,
        bits=bits,
    )
