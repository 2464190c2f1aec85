"""One image of the phantom: what it shows, its pixels, and the mask and box of all that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pellucid.data.readers.phantom.anatomy import Anatomy, Grid, Stream
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
from pellucid.data.readers.phantom.shortcuts import KINDS, Shortcut
from pellucid.data.readers.phantom.shortcuts import NUMBERS as SHORTCUT_NUMBERS
from pellucid.types import Box, InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

    from pellucid.data.readers.phantom.anatomy import Array
    from pellucid.data.readers.phantom.options import PhantomOptions, PlantedShortcut

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_PATIENTS = (0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 7)  # of twelve images in turn: eight patients, 1.5 images each
_NOISE = 0.021  # deviation of the noise where the film is white, in [0, 1]


@dataclass(frozen=True)
class Scene:
    """Everything that one image shows, before it is drawn: findings can be taken out of it.

    Attributes:
        anatomy: the chest.
        findings: what is drawn, in the order of drawing.
        labels: of these, what counts as its finding: all, where no reason is asked for.
        shortcuts: those on it, in the order of drawing.
        key: the seed, the number of the part, and the image's index in it.
    """

    anatomy: Anatomy
    findings: tuple[Finding, ...]
    labels: frozenset[str]
    shortcuts: tuple[Shortcut, ...]
    key: tuple[int, int, int]


def make_scene(
    index: int,
    *,
    seed: int,
    options: PhantomOptions,
    split: str,
    present: Collection[str] | None = None,
    planted: Collection[str] | None = None,
) -> Scene:
    """What image `index` of a part shows; `present` and `planted` name what to show instead of what is drawn by lot.

    Args:
        index: of the image.
        seed: of the phantom.
        options: of the phantom.
        split: the part.
        present: findings.
        planted: kinds of shortcuts; those it does not name are left out, and all else stays as it is.
    """
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
    labels = frozenset(finding.label for finding in findings if options.reasons.holds(finding))
    shortcuts = []
    for number, kind in enumerate(KINDS):
        settings: PlantedShortcut | None = getattr(options.shortcuts, kind)
        if kind in planted if planted is not None else settings is not None:
            # the letter's numbers are the image's own
            own = draws[8:] if kind == "letter" else Stream(seed, part, 4, index, number).floats(SHORTCUT_NUMBERS)
            if planted is not None or (settings is not None and settings.lies(own[0], labels, split)):
                shortcuts.append(Shortcut(kind, own[1:]))
    return Scene(anatomy, findings, labels, tuple(shortcuts), (seed, part, index))


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
    for shortcut in scene.shortcuts:
        film = shortcut.on_film(film, grid)
    level = _expose(film, anatomy, Stream(seed, part, 2, index))
    for shortcut in scene.shortcuts:
        level = shortcut.on_level(level, grid, Stream(seed, part, 5, index))
    pixels: npt.NDArray[np.uint8] = np.minimum(np.maximum(level * 255.0 + 0.5, 0.0), 255.0).astype(np.uint8)
    for shortcut in scene.shortcuts:
        pixels = shortcut.on_pixels(pixels)
    return pixels


def _expose(film: Array, anatomy: Anatomy, noise: Stream) -> Array:
    """Attenuation to grey levels, 0 black to 1 white: exposure, the film's curve, quantum noise."""
    e = anatomy.exposure
    level = (film - 0.5) * (1.02 + 0.16 * e[5]) + (0.48 + 0.08 * (e[6] - 0.5))
    level = np.where(level > 0.8, 1.0 - 0.04 / np.maximum(level - 0.6, 0.2), level)
    level = np.where(level < 0.1, 0.01 / np.maximum(0.2 - level, 0.1), level).astype(np.float32)
    grain = noise.normal((film.shape[0], film.shape[1]))
    exposed: Array = level + grain * np.sqrt(level + 0.08) * (_NOISE * (0.7 + 0.6 * e[7]))
    return exposed


def part_number(split: str) -> int:
    """The number of a part; an InputError names the parts there are."""
    if split not in SPLITS:
        raise InputError(f"phantom has no {split!r} part; it has: {', '.join(SPLITS)}.")
    return SPLITS.index(split)


def patient_number(index: int) -> int:
    """The number of the patient whom image `index` of a part shows."""
    turn, place_in_turn = divmod(index, len(_PATIENTS))
    return turn * 8 + _PATIENTS[place_in_turn]


def shortcut_masks(scene: Scene, size: int) -> dict[str, npt.NDArray[np.bool_]]:
    """The pixels of an image's shortcuts by kind, boolean (size, size), of those that lie somewhere."""
    if not scene.shortcuts:
        return {}
    grid = Grid.of(scene.anatomy.pose, size)
    masks = {shortcut.kind: shortcut.mask(grid) for shortcut in scene.shortcuts}
    return {kind: mask for kind, mask in masks.items() if mask is not None}


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
    """The tight boxes of the findings that count and the shortcuts by label, in pixels of a (size, size) image."""
    box_of = {}
    for finding in scene.findings:
        if finding.label not in scene.labels:
            continue
        alteration = change(finding, scene.anatomy, size)
        box_of[finding.label] = _tight(alteration.region, alteration.grid.rows, alteration.grid.columns)
    whole = slice(0, size)
    return box_of | {kind: _tight(mask, whole, whole) for kind, mask in shortcut_masks(scene, size).items()}
