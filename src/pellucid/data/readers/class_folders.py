"""Folders that are classes, folders that are parts, and the images in them: what stands where, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.data.readers.image_files import IMAGE_KINDS, is_passed_over, list_images
from pellucid.data.readers.splits import PART_NAMES
from pellucid.types import InputError

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from pathlib import Path

    from pellucid.data.dataset import SourceFile
    from pellucid.data.readers.image_files import LeftOut

_UNCLEAR = ("eval", "evaluation", "holdout", "hold-out", "heldout")  # of validation, or of testing
_NO_PART = f"folder(s) of images called as no part is ({', '.join(PART_NAMES)})"
NOT_CHOSEN = "folder(s) of classes that the option classes does not name"
_LOOSE = "image(s) beside the folders of parts or classes, so of no class"


@dataclass(frozen=True)
class ClassImages:
    """Images of class folders: ids, patients, class names and files, row by row."""

    ids: list[str]
    patients: list[str]
    classes: list[str]
    files: list[SourceFile]

    @staticmethod
    def none() -> ClassImages:
        """No images."""
        return ClassImages([], [], [], [])

    def extend(self, others: ClassImages) -> None:
        """Add others behind these."""
        self.ids.extend(others.ids)
        self.patients.extend(others.patients)
        self.classes.extend(others.classes)
        self.files.extend(others.files)

    def take(self, rows: Sequence[int]) -> ClassImages:
        """The images `rows`, in this order."""
        return ClassImages(
            ids=[self.ids[i] for i in rows],
            patients=[self.patients[i] for i in rows],
            classes=[self.classes[i] for i in rows],
            files=[self.files[i] for i in rows],
        )


def part_folders(root: Path, left_out: LeftOut) -> dict[str, Path]:
    """The folders of the parts in a dataset's folder; none where it holds the folders of the classes.

    Raises:
        InputError: for two folders of one part, or one that may be a part or a class.
    """
    folders: dict[str, Path] = {}
    others: list[Path] = []
    for place in _folders(root):
        part = PART_NAMES.get(place.name.lower())
        if part is None:
            others.append(place)
        elif part in folders:
            raise InputError(f"{root}: two folders for the {part} part: {folders[part].name}/ and {place.name}/.")
        else:
            folders[part] = place
    if not folders:
        for place in others:
            if place.name.lower() in _UNCLEAR:
                raise InputError(
                    f"{place}: a part or a class? Rename it to validation/ or test/, or a class to something else."
                )
        return {}
    for place in others:
        if list_images(place, nested=True):
            left_out.add(_NO_PART, place)
    left_out.add_images(_LOOSE, root)
    return folders


def list_classes(
    root: Path,
    place: Path,
    pattern: re.Pattern[str] | None,
    left_out: LeftOut,
    prefix: str = "",
    only: Sequence[str] | None = None,
) -> ClassImages:
    """The images of the class folders in `place`, at any depth below them.

    Args:
        root: the dataset's folder, from which the images' ids are paths.
        place: the folder of the class folders.
        pattern: what finds the patient in an image's path below its class folder; each its own patient where None.
        left_out: told of what was left out.
        prefix: stands before the patients' names, so that those of two folders are told apart.
        only: the class folders to take; all by default.

    Raises:
        InputError: naming the folder or file, for no class folders, a class without images, or one that holds parts,
            and an image without a patient.
    """
    images = ClassImages.none()
    class_folders = _folders(place)
    if not class_folders:
        raise InputError(f"{place}: no class folders. Expected: CLASS/*.png in it.")
    left_out.add_images(_LOOSE, place)
    for class_folder in class_folders:
        if only is not None and class_folder.name not in only:
            left_out.add(NOT_CHOSEN, class_folder)
            continue
        files = list_images(class_folder, left_out, nested=True)
        if not files:
            raise InputError(
                f"{class_folder}: no images of this class ({IMAGE_KINDS}). Put some there, or take the folder away."
            )
        _check_no_parts(class_folder, files)
        for name, file in files.items():
            image_id = file.path.relative_to(root).as_posix()
            images.ids.append(image_id)
            images.patients.append(_patient(name, image_id, file.path, pattern, prefix))
            images.classes.append(class_folder.name)
            images.files.append(file)
    return images


def check_more_than_one_class(root: Path, images: ClassImages) -> None:
    """Refuse a single class of nothing but folders: they are the classes, and the root is one too high."""
    if len(set(images.classes)) != 1:
        return
    below = {file.path.parent for file in images.files}
    only = {path.parent for path in below}
    if len(below) > 1 and len(only) == 1 and next(iter(only)).name == images.classes[0]:
        names = ", ".join(sorted(f"{path.name}/" for path in below)[:3])
        raise InputError(
            f"{root}: one class, {images.classes[0]!r}, with nothing in it but folders ({names}). If these are the "
            f"classes, give {next(iter(only))} as the dataset's folder."
        )


def _check_no_parts(class_folder: Path, names: dict[str, SourceFile]) -> None:
    for name in names:
        first, slash, _ = name.partition("/")
        if slash and (first.lower() in PART_NAMES or first.lower() in _UNCLEAR):
            raise InputError(
                f"{class_folder}: taken for a class, but it holds {first}/, which is called as a part. If it is the "
                f"dataset's folder, give it; else the parts stand above the classes, as {first}/{class_folder.name}/."
            )


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(p for p in place.iterdir() if p.is_dir() and not is_passed_over(p.name))
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror}).") from error


def _patient(name: str, image_id: str, path: Path, pattern: re.Pattern[str] | None, prefix: str) -> str:
    if pattern is None:
        return image_id
    match = pattern.search(name)
    if match is None or not match[1]:
        raise InputError(f"{path}: patient_pattern {pattern.pattern!r} finds no patient in {name!r}; mend the pattern.")
    return f"{prefix}/{match[1]}" if prefix else str(match[1])
