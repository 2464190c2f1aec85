"""One image of the phantom: what it shows, its pixels, and the mask and box of all that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pellucid.data.readers.phantom.anatomy import Anatomy, Grid, Stream, smooth
from pellucid.data.readers.phantom.chest import Detail, draw_chest
from pellucid.data.readers.phantom.findings import (
    NUMBERS,
    PHANTOM_CLASSES,
    Change,
    Finding,
    change,
    heart_ratio,
    place,
)
from pellucid.types import Box, InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

    from pellucid.data.readers.phantom.anatomy import Array
    from pellucid.data.readers.phantom.options import PhantomOptions

SHORTCUT_LABEL = "Shortcut"
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_PATIENTS = (0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 7)  # of twelve images in turn: eight patients, 1.5 images each
_NOISE = 0.021  # deviation of the noise where the film is white, in [0, 1]


@dataclass(frozen=True)
class Marker:
    """A letter L of lead, upright beside the patient's left shoulder: its corner and height in the image."""

    x: float
    y: float
    height: float

    def draw(self, grid: Grid) -> Array:
        """0 to 1 where the letter lies."""
        thick = max(0.17 * self.height, 1 / grid.size)
        edge = 1.2 / grid.size

        def bar(x: float, y: float, width: float, height: float) -> Array:
            across = smooth((width / 2 - np.abs(grid.x - (x + width / 2))) * (1 / edge) + 0.5)
            down = smooth((height / 2 - np.abs(grid.y - (y + height / 2))) * (1 / edge) + 0.5)
            return across * down

        stem = bar(self.x, self.y, thick, self.height)
        foot = bar(self.x, self.y + self.height - thick, 0.62 * self.height, thick)
        return np.maximum(stem, foot)


@dataclass(frozen=True)
class Scene:
    """Everything that one image shows, before it is drawn: findings can be taken out of it.

    Attributes:
        anatomy: the chest.
        findings: what it has, in the order of drawing.
        marker: the shortcut, or None.
        key: the seed, the number of the part, and the image's index in it.
    """

    anatomy: Anatomy
    findings: tuple[Finding, ...]
    marker: Marker | None
    key: tuple[int, int, int]


def make_scene(
    index: int, *, seed: int, options: PhantomOptions, split: str, present: Collection[str] | None = None
) -> Scene:
    """What image `index` of a part shows; `present` names findings to show instead of those drawn by lot."""
    part = part_number(split)
    if seed < 0 or index < 0:
        raise InputError(f"a phantom's seed and index must be at least 0; found seed {seed}, index {index}.")
    image = Stream(seed, part, 1, index)
    anatomy = Anatomy.draw(Stream(seed, part, 0, patient_number(index)), image)
    draws = image.floats(16)
    if present is None:
        present = {name for name, p in zip(PHANTOM_CLASSES, draws, strict=False) if p < options.prevalence}
    numbers = image.uniform(len(PHANTOM_CLASSES) * NUMBERS).reshape(-1, NUMBERS)
    findings = place(present, numbers)
    for finding in findings:
        if finding.label == "Cardiomegaly":
            anatomy = anatomy.enlarged(heart_ratio(finding.numbers))
    has_marker = False
    if options.shortcut is not None:
        agrees = draws[8] < options.shortcut_strength
        has_marker = bool(draws[8] < 0.5 if split == "test" else agrees == (options.shortcut in present))
    marker = Marker(0.86 + 0.05 * draws[9], 0.03 + 0.05 * draws[10], 0.075 + 0.02 * draws[11])
    return Scene(anatomy, findings, marker if has_marker else None, (seed, part, index))


def draw_scene(scene: Scene, size: int, contrast: float = 1.0) -> npt.NDArray[np.uint8]:
    """The image of a scene, uint8 (size, size)."""
    anatomy, (seed, part, index) = scene.anatomy, scene.key
    grid = Grid.of(anatomy.pose, size)
    chest = draw_chest(anatomy, Detail.draw(Stream(seed, part, 3, patient_number(index))), grid)
    film, markings = chest.attenuation, chest.markings
    for finding in scene.findings:
        alteration = change(finding, anatomy, size)
        at = (alteration.grid.rows, alteration.grid.columns)
        if alteration.airless is not None:
            markings[at] *= np.maximum(1.0 - contrast * alteration.airless, 0.0)
        film[at] += contrast * alteration.added
    film = film + markings
    if scene.marker is not None:
        film = film + scene.marker.draw(grid) * np.maximum(1.05 - film, 0.0)
    return _expose(film, anatomy, Stream(seed, part, 2, index))


def _expose(film: Array, anatomy: Anatomy, noise: Stream) -> npt.NDArray[np.uint8]:
    """Attenuation to grey levels: exposure, the film's curve, quantum noise, rounding."""
    e = anatomy.exposure
    level = (film - 0.5) * (1.02 + 0.16 * e[5]) + (0.48 + 0.08 * (e[6] - 0.5))
    level = np.where(level > 0.8, 1.0 - 0.04 / np.maximum(level - 0.6, 0.2), level)
    level = np.where(level < 0.1, 0.01 / np.maximum(0.2 - level, 0.1), level).astype(np.float32)
    grain = noise.normal((film.shape[0], film.shape[1]))
    level = level + grain * np.sqrt(level + 0.08) * (_NOISE * (0.7 + 0.6 * e[7]))
    pixels: npt.NDArray[np.uint8] = np.minimum(np.maximum(level * 255.0 + 0.5, 0.0), 255.0).astype(np.uint8)
    return pixels


def part_number(split: str) -> int:
    """The number of a part; an InputError names the parts there are."""
    if split not in SPLITS:
        raise InputError(f"phantom has no {split!r} part; it has: {', '.join(SPLITS)}.")
    return SPLITS.index(split)


def patient_number(index: int) -> int:
    """The number of the patient whom image `index` of a part shows."""
    turn, place_in_turn = divmod(index, len(_PATIENTS))
    return turn * 8 + _PATIENTS[place_in_turn]


def marker_mask(marker: Marker, anatomy: Anatomy, size: int) -> npt.NDArray[np.bool_]:
    """The pixels of a marker, boolean (size, size)."""
    mask: npt.NDArray[np.bool_] = marker.draw(Grid.of(anatomy.pose, size)) >= 0.5
    return mask


def full_mask(alteration: Change) -> npt.NDArray[np.bool_]:
    """The mask of a finding, boolean (size, size)."""
    mask = np.zeros((alteration.grid.size, alteration.grid.size), dtype=bool)
    mask[alteration.grid.rows, alteration.grid.columns] = alteration.region
    return mask


def _tight(mask: npt.NDArray[np.bool_], rows: slice, columns: slice) -> Box:
    """The rectangle around the set pixels of a window."""
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = columns.start + int(across[0]), rows.start + int(down[0])
    return Box(x, y, int(across[-1] - across[0]) + 1, int(down[-1] - down[0]) + 1)


def boxes(scene: Scene, size: int) -> dict[str, Box]:
    """The tight boxes of the findings and the marker by label, in pixels of a (size, size) image."""
    box_of = {}
    for finding in scene.findings:
        alteration = change(finding, scene.anatomy, size)
        box_of[finding.label] = _tight(alteration.region, alteration.grid.rows, alteration.grid.columns)
    if scene.marker is not None:
        whole = slice(0, size)
        box_of[SHORTCUT_LABEL] = _tight(marker_mask(scene.marker, scene.anatomy, size), whole, whole)
    return box_of
