"""Which files are images: one list, one walk through folders, and what the walk left out and why."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path, PurePosixPath

from pellucid.data.dataset import SourceFile
from pellucid.data.dicom.file import DICOM_SUFFIXES, is_dicom
from pellucid.data.issues import Issue
from pellucid.types import InputError
from pellucid.utils.words import number_of

PICTURE_SUFFIXES = frozenset(
    {
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif",
        ".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".j2k",
    }
)  # fmt: skip
IMAGE_SUFFIXES = PICTURE_SUFFIXES | DICOM_SUFFIXES
"""What the name of an image file ends in, in small letters; a DICOM file is one by its content, whatever its name."""

IMAGE_KINDS = f"DICOM files, {', '.join(sorted(IMAGE_SUFFIXES))}"
_NAMED = 3  # of the files that were left out for one reason
_NO_CLASS = ("__MACOSX", "__pycache__")  # folders that hold nothing of a dataset
_LITTER = ("Thumbs.db", "desktop.ini", "DICOMDIR")
_BESIDE = "file(s) that a Mac keeps beside others (._…)"
_HIDDEN = "hidden file(s)"
_FOLDER = "folder(s), not looked into"
_PIPE = "pipe(s), socket(s) or device(s)"
_OTHER = "file(s) not named as images are ({})"


class LeftOutWarning(UserWarning):
    """One line on what was left out; a check gives its issues instead."""

    def __init__(self, message: str, issues: tuple[Issue, ...]) -> None:
        super().__init__(message)
        self.issues = issues


class LeftOut:
    """What was left out of a dataset's folder, by the reason.

    Example:
        >>> left_out = LeftOut(Path("chests"))
        >>> left_out.add("hidden file(s)", Path("chests/cat/.a.png"))
        >>> [issue.reason for issue in left_out.issues()]
        ['left out: 1 hidden file, such as cat/.a.png']
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._paths: dict[str, list[str]] = {}

    def add(self, reason: str, *paths: Path) -> None:
        """Note files or folders that were left out."""
        named = (p.relative_to(self.root).as_posix() if p.is_relative_to(self.root) else str(p) for p in paths)
        self._paths.setdefault(reason, []).extend(named)

    def add_images(self, reason: str, folder: Path) -> None:
        """Note the image files that lie directly in a folder."""
        images = list_images(folder)
        if images:
            self.add(reason, *(file.path for file in images.values()))

    def paths(self, reason: str) -> tuple[str, ...]:
        """What was left out for a reason, below the dataset's folder."""
        return tuple(self._paths.get(reason, ()))

    def issues(self) -> tuple[Issue, ...]:
        """One for each reason, with the number of files and some of their names."""
        return tuple(Issue(str(self.root), f"left out: {text}", serious=False) for text in map(self._told, self._paths))

    def tell(self) -> None:
        """Warn in one line, if anything was left out."""
        if self._paths:
            paths = "; ".join(map(self._told, self._paths))
            warnings.warn(LeftOutWarning(f"{self.root}: left out: {paths}.", self.issues()), stacklevel=3)

    def _told(self, reason: str) -> str:
        paths = sorted(self._paths[reason])
        return f"{number_of(len(paths), reason)}, such as {', '.join(paths[:_NAMED])}"


def is_image_name(name: str) -> bool:
    """Whether a file is called as an image is.

    Example:
        >>> [is_image_name(name) for name in ("a.PNG", "b.jfif", "notes.txt")]
        [True, True, False]
    """
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def list_images(folder: Path, left_out: LeftOut | None = None, *, nested: bool = False) -> dict[str, SourceFile]:
    """The image files in a folder, sorted by name; with `nested` also those in all folders below it, as `a/b.png`.

    An image is called as one, or is a DICOM file. A link that leads nowhere or round in a circle counts as an image,
    which then cannot be read: left out, it would never be missed. A folder that several links lead to is entered once.

    Args:
        folder: where to look.
        left_out: told of what is no image or not looked at, and why; hidden files only where they are called as images.
        nested: whether folders below it are entered.

    Raises:
        InputError: naming a folder that cannot be read.
    """
    images: dict[str, SourceFile] = {}
    _walk(folder, "", images, left_out or LeftOut(folder), nested=nested, visited=set())
    return {name: images[name] for name in sorted(images)}


def _walk(
    folder: Path, prefix: str, images: dict[str, SourceFile], left_out: LeftOut, *, nested: bool, visited: set[str]
) -> None:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    below: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except OSError:
                    status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    below.append(entry.name)
                elif _is_image(folder / entry.name, status.st_mode, left_out):
                    images[prefix + entry.name] = SourceFile(folder / entry.name, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error
    for name in sorted(below):
        if is_passed_over(name):
            continue
        if nested:
            _walk(folder / name, f"{prefix}{name}/", images, left_out, nested=True, visited=visited)
        else:
            left_out.add(_FOLDER, folder / name)


def is_passed_over(folder: str) -> bool:
    """Whether a folder of this name is never part of a dataset: hidden ones, and those of other programs."""
    return folder.startswith(".") or folder in _NO_CLASS


def _is_image(path: Path, mode: int, left_out: LeftOut) -> bool:
    """Whether it is one by name and kind, or by content; why it is not, goes to `left_out`."""
    name, called = path.name, is_image_name(path.name)
    if name.startswith("."):
        if called:
            left_out.add(_BESIDE if name.startswith("._") else _HIDDEN, path)
        return False
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        left_out.add(_PIPE, path)
        return False
    if called or (name not in _LITTER and is_dicom(path)):
        return True
    if name not in _LITTER:
        left_out.add(_OTHER.format(path.suffix or "without a suffix"), path)
    return False
