"""JSRT's table of nodules: where on the film each is and how large, row by row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pellucid.data.issues import Issue, issues_of
from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 2048
SPACING = 0.175  # millimetres per pixel
TABLE = "CLNDAT_EN.txt"
NODULES = tuple(f"JPCLN{i:03d}" for i in range(1, 155))
NORMALS = tuple(f"JPCNN{i:03d}" for i in range(1, 94))
_ROW = re.compile(r"(?=JPC[LN]N\d{3}\.IMG)", re.IGNORECASE)  # line ends are \r, and not dependable


class Nodule(NamedTuple):
    """One row of the release's table.

    Attributes:
        name: the film, such as `JPCLN001`.
        subtlety: from 1, extremely subtle, to 5, obvious.
        size: the diameter in millimetres.
        x: of its centre, in pixels of the 2048 × 2048 image from the left.
        y: from the top.
    """

    name: str
    subtlety: int
    size: float
    x: float
    y: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The square around the nodule as fractions x, y, width, height, cut at the image's border."""
        radius = self.size / SPACING / 2
        left, top = max(self.x - radius, 0.0), max(self.y - radius, 0.0)
        right, bottom = min(self.x + radius, SIDE), min(self.y + radius, SIDE)
        return left / SIDE, top / SIDE, (right - left) / SIDE, (bottom - top) / SIDE


def read_rows(path: Path, faults: list[Issue]) -> tuple[dict[str, Nodule], set[str]]:
    """The nodules of the rows that can be read, by film, and the films of all rows.

    A row runs from one file name to the next: file, subtlety, size in mm, age, sex, x, y, malignant or benign,
    position and diagnosis, parted by tabs (or spaces); an age may be `?`. What stands before the first is a header.

    Args:
        path: the table.
        faults: gets every row that cannot be read, has a nodule outside its image, or a file named twice.

    Raises:
        InputError: naming the file, if it cannot be read or has no row.
    """
    try:
        text = path.read_bytes().decode("latin-1")  # what is read of it is ASCII
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    nodules: dict[str, Nodule] = {}
    rows = _ROW.split(text)[1:]
    for number, row in enumerate(rows, 1):
        try:
            nodule = _read_row(row, f"{path}, row {number}")
            if nodules.setdefault(nodule.name, nodule) is not nodule:
                raise InputError(f"{path}, row {number}: {nodule.name} is there more than once.")
        except InputError as error:
            faults += issues_of(error, path)
    if not nodules and not faults:
        raise InputError(f"{path}: names no film such as {NODULES[0]}.IMG. Fetch the table again.")
    return nodules, {row[: len(NODULES[0])].upper() for row in rows}


def _read_row(row: str, where: str) -> Nodule:
    try:
        name, subtlety, size, _age, _sex, x, y = row.split(maxsplit=7)[:7]
        degree, diameter, across, down = int(subtlety), float(size), float(x), float(y)
    except ValueError:
        raise InputError(
            f"{where}: expected file, subtlety, size, age, sex, x, y and so on, as in 'JPCLN001.IMG 5 15 53 male 1634 "
            f"692 malignant …'; found {row[:80]!r}."
        ) from None
    name = name.upper().removesuffix(".IMG")
    if name not in NODULES:
        raise InputError(f"{where}: {name[:40]!r} is no film with a nodule ({NODULES[0]} … {NODULES[-1]}).")
    if not 1 <= degree <= 5:
        raise InputError(f"{where}: subtlety {degree}; expected 1 to 5.")
    if not 0 < diameter <= SIDE * SPACING:  # NaN fails too
        raise InputError(f"{where}: a size of {diameter:g} mm.")
    if not (0 <= across < SIDE and 0 <= down < SIDE):
        raise InputError(f"{where}: a nodule at {across:g}, {down:g}; the image has {SIDE} × {SIDE} pixels.")
    return Nodule(name, degree, diameter, across, down)
