"""The files of JSRT in a folder: films, outlines of the organs, and the table of nodules."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar

from pellucid.data.dataset import SourceFile
from pellucid.data.decoding.image import image_size
from pellucid.data.dicom.file import is_dicom
from pellucid.data.issues import Issue, issues_of
from pellucid.data.readers.image_files import LeftOut, is_image_name, is_passed_over
from pellucid.data.readers.jsrt.table import NODULES, NORMALS, TABLE
from pellucid.data.readers.masks import MaskFile, mask_regions
from pellucid.types import InputError
from pellucid.utils.parallel import in_threads
from pellucid.utils.words import first_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pellucid.data.regions import Region

Key = TypeVar("Key")

RAW = "raw"
SEPARATOR = "__"  # between film and organ in a mask's name
DERIVED = {"Lungs": ("Left Lung", "Right Lung"), "Clavicles": ("Left Clavicle", "Right Clavicle")}
ORGANS = ("Left Lung", "Right Lung", "Heart", "Left Clavicle", "Right Clavicle", *DERIVED)
LAYOUT = (
    f"{NODULES[0]} … {NODULES[-1]} and {NORMALS[0]} … {NORMALS[-1]}, raw (.IMG) or all converted to one kind of image "
    f"or to DICOM; optionally {TABLE} with the nodules' places, and outlines of the organs as masks, 'left "
    f"lung/{NODULES[0]}.gif' or '{NODULES[0]}{SEPARATOR}Left Lung.png'; in any folders."
)
_DEPTH = 5  # folders below the root that are looked into: the outlines of SCR lie in scratch/fold1/masks/left lung
_ENDINGS = {"jpg": "JPEG", "jpe": "JPEG", "jfif": "JPEG", "tif": "TIFF"}
_OTHER = "image(s) not called as the films are"


@dataclass
class Files:
    """What a folder has.

    Attributes:
        films: by name, such as `JPCLN001`; all of one kind.
        kind: of these; `RAW`, or as `PNG`.
        masks: the outlines, of films that are there or not.
        table: of the nodules; None where there is none.
        faults: all that is wrong with the files.
        left_out: images of other names.
    """

    left_out: LeftOut
    films: dict[str, SourceFile] = field(default_factory=dict)
    kind: str = RAW
    masks: list[MaskFile] = field(default_factory=list)
    table: Path | None = None
    faults: list[Issue] = field(default_factory=list)


def find_files(folder: Path) -> Files:
    """The files of the release, in the folder and up to five folders below it.

    Raises:
        InputError: naming the folder, for one that cannot be read or that has none of the films.
    """
    files = Files(LeftOut(folder))
    films: dict[str, dict[str, Path]] = {}  # by kind
    masks: dict[tuple[str, str], Path] = {}
    unlabelled: list[Path] = []
    for path in _walk(folder):
        if path.name.upper() == TABLE.upper():
            files.table = files.table or path
            continue
        if not (is_image_name(path.name) or path.suffix.lower() in {".img", ""}):
            continue
        name, _, label = path.name.partition(".")[0].partition(SEPARATOR)
        name = name.upper()
        organ = _organ(label or path.parent.name * (path.parent != folder), label.replace("_", " "))
        if not name.startswith("JPC"):
            if is_image_name(path.name):
                files.left_out.add(_OTHER, path)
        elif name not in {*NODULES, *NORMALS}:
            called = f"called as no film of the release ({NODULES[0]} … {NODULES[-1]}, {NORMALS[0]} … {NORMALS[-1]})"
            files.faults.append(Issue(str(path), f"{called} nor as the mask of one. Rename it or take it away."))
        elif organ:
            _enter(masks, (name, organ), path, "outline", files.faults)
        elif any("mask" in part.lower() for part in path.relative_to(folder).parts[:-1]):
            unlabelled.append(path)
        elif (kind := _kind(path)) is not None:
            _enter(films.setdefault(kind, {}), name, path, "film", files.faults)
    files.masks = [MaskFile(name, organ, path) for (name, organ), path in masks.items()]
    if unlabelled:
        files.faults.append(Issue(str(unlabelled[0]), _unlabelled(len(unlabelled))))
    _take_kind(files, films, folder)
    return files


def _take_kind(files: Files, films: dict[str, dict[str, Path]], folder: Path) -> None:
    """The films of the kind that most are of; others are a fault."""
    if not films:
        others = files.left_out.paths(_OTHER)
        also = f" {number_of(len(others), _OTHER)}: {first_of(others, 3)}." if others else ""
        raise InputError(f"{folder}: none of the 247 films is there.{also} Expected: {LAYOUT}")
    files.kind = max(films, key=lambda kind: len(films[kind]))
    if len(films) > 1:
        files.faults.append(Issue(str(folder), _mixed(films)))
    for name, path in films[files.kind].items():
        status = path.stat()
        files.films[name] = SourceFile(path, status.st_size, status.st_mtime_ns)


def outlines(masks: Sequence[MaskFile], names: Sequence[str], faults: list[Issue]) -> list[Region]:
    """The outlines of the films `names` as regions, each organ under a label of its own, and the unions of `DERIVED`.

    Args:
        masks: those of other films are left out.
        names: the film of each row.
        faults: gets every mask that cannot be read, is no square as the films are, or marks nothing.
    """
    present = set(names)
    of_films = [mask for mask in masks if mask.image in present]

    def regions_of(i: int) -> Sequence[Region | Issue]:
        mask = of_films[i]
        size = image_size(mask.path)
        if size is not None and size[0] != size[1]:
            reason = f"the mask is {size[0]} × {size[1]} pixels; it must cover the whole of its film, which is square."
            return [Issue(str(mask.path), reason)]
        try:
            regions = mask_regions(names, [mask], derived=DERIVED).items
        except InputError as error:
            return issues_of(error, mask.path)
        if not regions:
            return [Issue(str(mask.path), "the mask marks nothing: no pixel is at least half as bright as white.")]
        return regions

    items: list[Region] = []
    for result in in_threads(regions_of, len(of_films), title="outlines"):
        for one in result:
            if isinstance(one, Issue):
                faults.append(one)
            else:
                items.append(one)
    return items


def _organ(text: str, otherwise: str) -> str:
    """The organ of which a name speaks, whether as `Left Lung`, `left_lung` or `leftlung`."""
    return next((organ for organ in ORGANS if _letters(organ) == _letters(text)), otherwise)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def _enter(paths: dict[Key, Path], key: Key, path: Path, what: str, faults: list[Issue]) -> None:
    if key in paths:
        faults.append(Issue(str(path), f"the same {what} as {paths[key]}. Take one of them away."))
    else:
        paths[key] = path


def _kind(path: Path) -> str | None:
    """What a film is kept as, by its content where it is DICOM, else by its ending; None for no image."""
    if is_dicom(path):
        return "DICOM"
    ending = PurePath(path.name).suffix.lower().removeprefix(".")
    if not ending:
        return None
    return RAW if ending == "img" else _ENDINGS.get(ending, ending.upper())


def _mixed(films: dict[str, dict[str, Path]]) -> str:
    several = len({name for of_kind in films.values() for name in of_kind})
    repeated = sum(len(of_kind) for of_kind in films.values()) - several
    counts = " and ".join(
        f"{number_of(len(of_kind), f'{kind} file(s)')}, such as {next(iter(of_kind.values())).name}"
        for kind, of_kind in sorted(films.items())
    )
    also = f"; {number_of(repeated, 'film(s)')} in more than one" if repeated else ""
    return (
        f"films of several kinds: {counts}{also}. Grey values of different conversions do not compare: keep one kind "
        "in the folder."
    )


def _unlabelled(count: int) -> str:
    return (
        f"it is not said of what this is a mask ({number_of(count, 'such file(s)')}): put each into a folder of the "
        f"organ's name ({', '.join(ORGANS)}), or call it as {NODULES[0]}{SEPARATOR}Left Lung.png."
    )


def _walk(place: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """The files of a folder and of those below it, sorted; links to folders are not followed."""
    try:
        entries = sorted(place.iterdir())
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror}).") from error
    for entry in entries:
        if is_passed_over(entry.name):
            continue
        if entry.is_dir():
            if depth and not entry.is_symlink():
                yield from _walk(entry, depth - 1)
        elif entry.is_file():
            yield entry
