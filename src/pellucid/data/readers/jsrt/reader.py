"""JSRT (Shiraishi et al. 2000): 247 chest radiographs as raw 12-bit files, with a lung nodule or without."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pellucid.data.dataset import Dataset, DatasetCard, SourceFile, Splits, released_ids
from pellucid.data.issues import MISSING, Issue, check_root, collect_issues
from pellucid.data.readers.jsrt.table import NODULES, SIDE, Nodule, read_rows
from pellucid.data.readers.splits import check_disjoint, patient_split
from pellucid.data.regions import Region, Regions
from pellucid.types import InputError
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

LABEL = "Nodule"
FILE_BYTES = 2 * SIDE * SIDE
WHITE = 4095  # the largest value of 12 bits; black in the files, where a dense film is large
TOLERATED = 1e-3  # of the pixels may be above it; another byte order puts most of them there
TABLE = "CLNDAT_EN.txt"
NORMALS = tuple(f"JPCNN{i:03d}.IMG" for i in range(1, 94))
LAYOUT = (
    f"{NODULES[0]} … {NODULES[-1]} and {NORMALS[0]} … {NORMALS[-1]}, in one folder or in Nodule154images/ and "
    f"NonNodule93images/ or All247images/, and {TABLE}, here or in Clinical_Information/."
)
_NAME = re.compile(r"JPC[LN]N\d{3}\.IMG", re.IGNORECASE)
_DEPTH = 3  # folders below the root that are looked into: archives are often unpacked into a folder of their name
# value of the file → gray over the full range of 16 bits, bright where the film is
_GRAY = np.rint(np.arange(WHITE, -1, -1) * (65535 / WHITE)).astype(np.uint16)

CARD = DatasetCard(
    name="jsrt",
    title="JSRT chest radiographs with and without a lung nodule",
    task="multilabel",
    classes=(LABEL,),
    citation=(
        "J. Shiraishi, S. Katsuragawa, J. Ikezoe et al.: Development of a Digital Image Database for Chest Radiographs "
        "With and Without a Lung Nodule. American Journal of Roentgenology 174(1), 2000."
    ),
    licence="for research, after registration with the Japanese Society of Radiological Technology",
    url="http://db.jsrt.or.jp/eng.php",
    native_channels=1,
    notes=(
        "154 films with one nodule, 93 without, digitised at 0.175 mm. There is no official split: the parts are cut "
        "by image, each of another patient, those with and those without a nodule by themselves."
    ),
)


class JsrtOptions(Section):
    """What may be chosen when JSRT is opened.

    Attributes:
        validation_fraction: the share of the other images that becomes the validation part; 0 for none.
        test_fraction: the share of the images that becomes the test part; 0 for none, 1 for nothing but a test part.
    """

    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    test_fraction: float = Field(default=0.2, ge=0, le=1)


def open_jsrt(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open JSRT: one label, `Nodule`, and a box around each nodule from the table's centre and diameter.

    Images that the disk does not have are left out, with a warning.

    Args:
        root: the folder of the release; files are found up to three folders below it, whatever these are called.
        seed: chooses the images of the parts.
        options: see `JsrtOptions`.

    Returns:
        `train`, `validation` and `test`, less those of fraction 0.

    Raises:
        InputError: naming the folder, for no images, or a part that would have none.
        FaultyDataError: for a table that is missing while there are images with a nodule; naming every image that is in
            two folders, every row of the table that cannot be read, and every image with a nodule that has none. A
            check goes on with the others.

    Example:
        >>> open_jsrt("/no/such/place")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: /no/such/place: no such folder. Expected: JPCLN001.IMG … JPCLN154.IMG and ...
    """
    settings = validate(JsrtOptions, options, f"options of {CARD.name}")
    folder = check_root(root, CARD.name, LAYOUT)
    faults: list[Issue] = []
    files, nodules = _read_folder(folder, faults)
    return collect_issues(faults, lambda: _open_parts(folder, files, nodules, settings, seed), folder)


def _open_parts(
    folder: Path, files: Mapping[str, SourceFile], nodules: Mapping[str, Nodule], settings: JsrtOptions, seed: int
) -> Splits:
    """The parts; films with a nodule that no row of the table tells are in none."""
    names = [name for name in (*NODULES, *NORMALS) if name in files]
    if len(names) < len(NODULES) + len(NORMALS):
        total = len(NODULES) + len(NORMALS)
        warnings.warn(f"{folder}: {len(names)} of {total} images found; the others are left out.", stacklevel=2)
    members_of: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for kind in (NODULES, NORMALS):
        present = [name for name in kind if name in files and (name in nodules or name in NORMALS)]
        for part, of_kind in _cut(present, settings, seed).items():
            members_of[part] += of_kind
    splits: Splits = {}
    for part, members in members_of.items():
        if members:
            splits[part] = _part(part, tuple(members), files, nodules)
    check_disjoint(splits)
    return splits


def audit(folder: Path) -> list[Issue]:
    """Images that are missing, and raw files that are none of the release's."""
    faults: list[Issue] = []
    files, _ = _read_folder(folder, faults)
    issues = faults + [Issue(name, MISSING) for name in (*NODULES, *NORMALS) if name not in files]
    unknown = sorted(set(files) - {*NODULES, *NORMALS})
    issues += [Issue(str(files[name].path), "not a file of the release; left out", serious=False) for name in unknown]
    return issues


def read_raw(path: Path) -> npt.NDArray[np.uint16]:
    """One radiograph as uint16 (2048, 2048) over the full range, white where the film is clear, as it is looked at.

    The files have no header: 2048 rows of 2048 pixels of 16 bits, the high byte first, of which 12 are used; a large
    value is a dense, dark place of the film.

    Raises:
        InputError: with the file's name, if it cannot be read, has not exactly 8,388,608 bytes, or holds values beyond
            12 bits, as it would in the other byte order.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if len(data) != FILE_BYTES:
        size = f"{len(data):,} bytes" if len(data) < FILE_BYTES else f"more than {FILE_BYTES:,} bytes"
        raise InputError(
            f"{path}: {size}; a raw file of JSRT has {FILE_BYTES:,} (2048 × 2048 pixels of two bytes). Fetch it again."
        )
    values = np.frombuffer(data, dtype=">u2").reshape(SIDE, SIDE)
    beyond = int((values > WHITE).sum())
    if beyond > TOLERATED * values.size:
        raise InputError(
            f"{path}: {beyond:,} pixels are above {WHITE:,}, the largest value of 12 bits. It is another file, or its "
            "bytes were swapped: JSRT's come high byte first."
        )
    gray: npt.NDArray[np.uint16] = _GRAY[np.minimum(values, WHITE)]
    return gray


def _read_folder(folder: Path, faults: list[Issue]) -> tuple[dict[str, SourceFile], dict[str, Nodule]]:
    """The raw files by their official names, and the nodules."""
    files: dict[str, SourceFile] = {}
    tables: list[Path] = []
    for path in _walk(folder):
        name = path.name.upper()
        if name == TABLE.upper():
            tables.append(path)
        elif _NAME.fullmatch(name):
            if name in files:
                faults.append(Issue(str(path), f"the same image as {files[name].path}. Take one of them away."))
                continue
            status = path.stat()
            files[name] = SourceFile(path, status.st_size, status.st_mtime_ns)
    if not any(name in files for name in (*NODULES, *NORMALS)):
        raise InputError(f"{folder}: none of the 247 images is there. Expected: {LAYOUT}")
    with_nodule = [name for name in NODULES if name in files]
    if not tables:
        if with_nodule:
            message = f"no {TABLE}, which says where the nodules are. Expected: {LAYOUT}"
            faults.append(Issue(str(folder), message))
        return files, {}
    nodules, named = read_rows(tables[0], faults)
    faults += [
        Issue(str(tables[0]), f"no row for {name}, which is there. Fetch the table again.")
        for name in with_nodule
        if name not in named
    ]
    return files, nodules


def _walk(place: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """The files of a folder and of those below it, sorted; links to folders are not followed."""
    try:
        entries = sorted(place.iterdir())
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror}).") from error
    for entry in entries:
        if entry.name.startswith((".", "__")):
            continue
        if entry.is_dir():
            if depth and not entry.is_symlink():
                yield from _walk(entry, depth - 1)
        elif entry.is_file():
            yield entry


def _cut(names: list[str], settings: JsrtOptions, seed: int) -> dict[str, list[str]]:
    """The images of one kind by part; the decision depends on name and seed alone, so copies agree."""
    if not names or settings.test_fraction == 1:
        return {"test": names}
    rest, test = patient_split(names, settings.test_fraction, seed, purpose="test")
    others = [names[i] for i in rest.tolist()]
    remaining, cut = patient_split(others, settings.validation_fraction, seed)
    return {
        "train": [others[i] for i in remaining.tolist()],
        "validation": [others[i] for i in cut.tolist()],
        "test": [names[i] for i in test.tolist()],
    }


def _part(
    split: str, names: tuple[str, ...], files: Mapping[str, SourceFile], nodules: Mapping[str, Nodule]
) -> Dataset:
    sources = tuple(files[name] for name in names)
    marked = tuple(Region(i, LABEL, nodules[name].box) for i, name in enumerate(names) if name in nodules)
    return Dataset(
        card=CARD,
        split=split,
        ids=names,
        patients=names,
        targets=np.array([[float(name in NODULES)] for name in names], dtype=np.float32),
        read=lambda i: read_raw(sources[i].path),
        regions=Regions(marked) if marked else None,
        files=sources,
        bits=16,
        stable_ids=released_ids(CARD.name, names),
    )
