"""`radii.csv`: the smallest perturbations found so far, filled by as many processes as one likes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pellucid.utils.results_store import ResultsStore

RADII = "radii.csv"


class RadiusRow(NamedTuple):
    """One line of `radii.csv`.

    Attributes:
        kind: of the area.
        id: the image's, in its dataset.
        label: the label that was attacked; empty for a multiclass network.
        found: whether a perturbation was found, or none was needed.
        correct_at_start: whether one was needed.
        radius: root mean square of the smallest perturbation found; 0 where none was needed, NaN (empty in the file)
            where none was found.
        gradient_evaluations: spent on it.
        forward_passes: spent on it, those of the gradient evaluations included.
    """

    kind: str
    id: str
    label: str
    found: bool
    correct_at_start: bool
    radius: float
    gradient_evaluations: int
    forward_passes: int


class RadiusLog:
    """The radii that a store holds.

    Args:
        store: of one network, protocol and set of images.

    Attributes:
        rows: what has been read so far, by kind, id and label.

    Raises:
        InputError: radii that nobody knows what they belong to.
    """

    def __init__(self, store: ResultsStore) -> None:
        self.rows: dict[tuple[str, str, str], RadiusRow] = {}
        self._log = store.rows(RADII, RadiusRow._fields, _parsed)

    def append(self, rows: Iterable[RadiusRow]) -> None:
        """Add rows, at once and for good."""
        self._log.append(_plain(row) for row in rows)

    def read(self) -> None:
        """Take in what was added since the last time, by whomever."""
        for row in self._log.read():
            self.rows.setdefault(row[:3], row)


def _plain(row: RadiusRow) -> list[object]:
    radius = "" if math.isnan(row.radius) else repr(row.radius)
    return [*row[:3], int(row.found), int(row.correct_at_start), radius, *row[6:]]


def _parsed(cells: list[str]) -> RadiusRow:
    kind, name, label, is_found, correct, radius, gradients, passes = cells
    marks = {"0": False, "1": True}
    length = float(radius) if radius else math.nan
    return RadiusRow(kind, name, label, marks[is_found], marks[correct], length, int(gradients), int(passes))
