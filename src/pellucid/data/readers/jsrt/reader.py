"""JSRT (Shiraishi et al. 2000): 247 chest radiographs, with a lung nodule or without, raw or converted."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pellucid.data.dataset import Dataset, DatasetCard, Splits, released_ids
from pellucid.data.issues import MISSING, Issue, check_root, collect_issues
from pellucid.data.readers.jsrt.films import LAYOUT, RAW, Files, find_files, outlines
from pellucid.data.readers.jsrt.pixels import read_converted, read_raw
from pellucid.data.readers.jsrt.table import NODULES, NORMALS, TABLE, Nodule, read_rows
from pellucid.data.readers.splits import check_disjoint, patient_split
from pellucid.data.regions import Region, Regions
from pellucid.types import InputError
from pellucid.utils.settings import Section, validate
from pellucid.utils.words import first_of, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pellucid.types import Pixels

LABEL = "Nodule"

CARD = DatasetCard(
    name="jsrt",
    title="JSRT chest radiographs with and without a lung nodule",
    task="multilabel",
    classes=(LABEL,),
    citation=(
        "J. Shiraishi, S. Katsuragawa, J. Ikezoe et al.: Development of a Digital Image Database for Chest Radiographs "
        "With and Without a Lung Nodule. American Journal of Roentgenology 174(1), 2000. Outlines: B. van Ginneken, "
        "M. B. Stegmann, M. Loog: Segmentation of anatomical structures in chest radiographs using supervised methods: "
        "a comparative study on a public database. Medical Image Analysis 10(1), 2006."
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
        negative: whether converted films are negatives, bright where the film is dense, as the raw values are; they
            are then turned over.
    """

    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    test_fraction: float = Field(default=0.2, ge=0, le=1)
    negative: bool = False


def open_jsrt(root: str | Path, *, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """Open JSRT: one label, `Nodule`, by the films' names; where the nodules and the organs are, as far as it is there.

    Regions are a box around each nodule from the table's centre and diameter, and the outlines of lungs, heart and
    clavicles from masks, under their own labels. Films that the disk does not have are left out, with a warning.

    Args:
        root: the folder of the release; files are found up to five folders below it, whatever these are called.
        seed: chooses the images of the parts.
        options: see `JsrtOptions`.

    Returns:
        `train`, `validation` and `test`, less those of fraction 0.

    Raises:
        InputError: naming the folder, for no films, the option negative for raw ones, or a part that would have none.
        FaultyDataError: naming films of several kinds, every film or mask that is in two folders or has a name that is
            not the release's, every mask that cannot be used, every row of the table that cannot be read, and every
            film with a nodule of which the table has no row. A check goes on with the others.

    Example:
        >>> open_jsrt("/no/such/place")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: /no/such/place: no such folder. Expected: JPCLN001 … JPCLN154 and ...
    """
    settings = validate(JsrtOptions, options, f"options of {CARD.name}")
    folder = check_root(root, CARD.name, LAYOUT)
    files = find_files(folder)
    if settings.negative and files.kind == RAW:
        raise InputError(f"{folder}: its films are raw, and turned over anyway. Leave the option negative out.")
    nodules = _nodules(files)
    files.left_out.tell()
    if files.table is None:
        warnings.warn(
            f"{folder}: no {TABLE}: where the nodules are is not known. Labels are by the films' names.", stacklevel=2
        )
    return collect_issues(files.faults, lambda: _open_parts(folder, files, nodules, settings, seed), folder)


def check(folder: Path) -> list[Issue]:
    """Films that are missing, masks of films that are not there, and films without the outlines that others have."""
    files = find_files(folder)
    issues = files.faults + [Issue(name, MISSING) for name in (*NODULES, *NORMALS) if name not in files.films]
    masked = {mask.image for mask in files.masks}
    bare = [name for name in files.films if name not in masked] if masked else []
    for names, fault in (
        (
            [name for name in sorted(masked) if name not in files.films],
            "film(s) of which there are outlines and no image",
        ),
        (bare, "film(s) without outlines, which others have"),
    ):
        if names:
            issues.append(Issue(str(folder), f"{number_of(len(names), fault)}: {first_of(names)}", serious=False))
    return issues


def _nodules(files: Files) -> dict[str, Nodule] | None:
    """The nodules by film; None where there is no table. Films that should have one and have not are a fault."""
    if files.table is None:
        return None
    nodules, named = read_rows(files.table, files.faults)
    files.faults += [
        Issue(str(files.table), f"no row for {name}, which is there. Fetch the table again.")
        for name in NODULES
        if name in files.films and name not in named
    ]
    return nodules


def _open_parts(
    folder: Path, files: Files, nodules: Mapping[str, Nodule] | None, settings: JsrtOptions, seed: int
) -> Splits:
    """The parts; films with a nodule that no row of a table tells are in none."""
    total = len(NODULES) + len(NORMALS)
    if len(files.films) < total:
        warnings.warn(f"{folder}: {len(files.films)} of {total} films found; the others are left out.", stacklevel=2)
    members_of: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for kind in (NODULES, NORMALS):
        present = [
            name for name in kind if name in files.films and (nodules is None or name in nodules or name in NORMALS)
        ]
        for part, of_kind in _cut(present, settings, seed).items():
            members_of[part] += of_kind
    names = [name for members in members_of.values() for name in members]
    boxes = [Region(i, LABEL, nodules[name].box) for i, name in enumerate(names) if nodules and name in nodules]
    regions = Regions((*boxes, *outlines(files.masks, names, files.faults)))
    splits: Splits = {}
    for part, members in members_of.items():
        if members:
            marked = regions.subset([names.index(name) for name in members])
            splits[part] = _part(part, tuple(members), files, marked, _reader(files, settings))
    check_disjoint(splits)
    return splits


def _reader(files: Files, settings: JsrtOptions) -> Callable[[str], Pixels]:
    """From a film's name to its pixels."""
    if files.kind == RAW:
        return lambda name: read_raw(files.films[name].path)
    return lambda name: read_converted(files.films[name].path, negative=settings.negative)


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
    split: str, names: tuple[str, ...], files: Files, regions: Regions, pixels_of: Callable[[str], Pixels]
) -> Dataset:
    return Dataset(
        card=CARD,
        split=split,
        ids=names,
        patients=names,
        targets=np.array([[float(name in NODULES)] for name in names], dtype=np.float32),
        read=lambda i: pixels_of(names[i]),
        regions=regions if len(regions) else None,
        files=tuple(files.films[name] for name in names),
        bits=16,
        stable_ids=released_ids(CARD.name, names),
    )
