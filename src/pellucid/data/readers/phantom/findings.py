"""The eight findings of the phantom: where each lies, and the attenuation it adds to a chest.

A finding is an additive change of attenuation. Its mask is the set of pixels that it changes by at least
`VISIBLE` at contrast 1, about 10 of 255 grey levels over lung; for Cardiomegaly it is the whole silhouette of
the heart above the diaphragm, as a radiologist would box it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np

from pellucid.data.readers.phantom.anatomy import (
    ABDOMEN,
    MEDIASTINUM,
    MILLIMETRES,
    Grid,
    between,
    bump,
    noise,
    smooth,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy.typing as npt

    from pellucid.data.readers.phantom.anatomy import Anatomy, Array, Numbers

PHANTOM_CLASSES: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
)
VISIBLE = 0.035
NUMBERS = 160  # random numbers a finding may use: 32 of its own, then two 8 × 8 grids

_ZONES = tuple((side, level) for level in range(3) for side in (-1, 1))
_PLACED = ("Effusion", "Pneumothorax", "Mass", "Pneumonia", "Atelectasis", "Infiltration", "Nodule")
_LEVELS = {"Effusion": (2,), "Pneumothorax": (0,), "Atelectasis": (1, 2), "Mass": (0, 1, 2)}


@dataclass(frozen=True)
class Change:
    """What a finding does to a window of an image.

    Attributes:
        grid: the window.
        added: the attenuation added, (h, w).
        airless: 0 to 1, the share of the lung's markings that it takes away; None for none.
        region: the mask, (h, w).
    """

    grid: Grid
    added: Array
    airless: Array | None
    region: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """One finding of one image.

    Attributes:
        label: its name, of `PHANTOM_CLASSES`.
        side: −1 for the image's left, 1 for its right.
        level: 0 upper, 1 middle or 2 lower zone of the lung.
        numbers: 32 uniform numbers that shape it.
        grids: (2, 8, 8) grids of uniform numbers.
        limit: the greatest |u| at which it may lie, as a share of the rib cage (a pneumothorax outside it).
    """

    label: str
    side: int
    level: int
    numbers: tuple[float, ...]
    grids: Numbers
    limit: float = 1.0

    @classmethod
    def of(cls, label: str, zone: tuple[int, int], row: Numbers, limit: float = 1.0) -> Finding:
        """A finding in a zone (side, level) with its row of 160 uniform numbers."""
        return cls(label, *zone, tuple(row[:32].tolist()), row[32:].reshape(2, 8, 8), limit)


Attribute = Literal["size", "density", "side"]
"""What a finding's label may depend on."""
# by finding, the numbers that say how large it is, and how much attenuation it adds or takes away
_NUMBERS_OF: dict[str, dict[Attribute, int]] = {
    "Atelectasis": {"size": 4, "density": 21},
    "Cardiomegaly": {"size": 1},
    "Effusion": {"size": 1},
    "Infiltration": {"size": 4, "density": 6},
    "Mass": {"size": 4, "density": 5},
    "Nodule": {"size": 4, "density": 5},
    "Pneumonia": {"size": 4, "density": 11},
    "Pneumothorax": {"size": 4, "density": 7},
}


def attributes_of(label: str) -> tuple[Attribute, ...]:
    """The attributes of a finding; the heart is always on the same side."""
    return (*_NUMBERS_OF[label], "side") if label in _PLACED else tuple(_NUMBERS_OF[label])


def attributes(finding: Finding) -> dict[Attribute, float]:
    """What a finding looks like, each from 0 to 1 and uniform: smallest to largest, faintest to densest.

    Of `side` 0 is the image's left, and 1 its right.
    """
    values: dict[Attribute, float] = {name: finding.numbers[k] for name, k in _NUMBERS_OF[finding.label].items()}
    return values | ({"side": (finding.side + 1) / 2} if finding.label in _PLACED else {})


def place(present: Collection[str], numbers: Numbers) -> tuple[Finding, ...]:
    """Findings, each in a zone of its own while there are zones left, so that none hides another.

    Args:
        present: names of `PHANTOM_CLASSES`.
        numbers: (8, 160) uniform numbers, a row for each class.
    """
    findings = []
    free = [zone for zone in _ZONES if zone != (1, 2) or "Cardiomegaly" not in present]
    airy = 0
    for label in _PLACED:
        if label not in present:
            continue
        row = numbers[PHANTOM_CLASSES.index(label)]
        levels = _LEVELS.get(label, (0, 1, 2))
        allowed = [zone for zone in free if zone[1] in levels] or [z for z in _ZONES if z[1] in levels]
        side, level = allowed[int(row[0] * len(allowed))]
        free = [zone for zone in free if zone != (side, level)]
        airy = side if label == "Pneumothorax" else airy
        findings.append(Finding.of(label, (side, level), row, 0.86 if side == airy else 1.0))
    if "Cardiomegaly" in present:
        findings.insert(0, Finding.of("Cardiomegaly", (1, 2), numbers[1]))
    return tuple(findings)


def heart_ratio(numbers: tuple[float, ...]) -> float:
    """The cardiothoracic ratio of a heart with Cardiomegaly, 0.58 to 0.68; normal ones have 0.40 to 0.48."""
    return between(numbers[1], (0.58, 0.68))


def change(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """What `finding` does to an image of `size` × `size` of `anatomy`, at contrast 1."""
    return _DRAWN[finding.label](finding, anatomy, size)


def _centre(finding: Finding, anatomy: Anatomy, radius: float) -> tuple[float, float]:
    """A place in the finding's zone for something of that radius, within the lung that is seen."""
    n = finding.numbers
    base = anatomy.right if finding.side < 0 else anatomy.left
    top, bottom = anatomy.apex + 0.065 + 0.5 * radius, base - 0.02 - 0.6 * radius
    third = (bottom - top) / 3
    v = top + third * (finding.level + between(n[2], (0.1, 0.9)))
    inner, outer = anatomy.lateral(finding.side, v)
    low, high = inner + 0.012 + 0.6 * radius, outer * finding.limit - 0.018 - 0.75 * radius
    return finding.side * between(n[3], (low, max(high, low + 0.01))), v


def _made(grid: Grid, added: Array, airless: Array | None = None) -> Change:
    """A change, with the mask that goes with it: at least the pixel that it changes most."""
    strength = np.abs(added)
    region = strength >= VISIBLE
    return Change(grid, added, airless, region if region.any() else strength == strength.max())


def _atelectasis(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """One to three plates, or a wedge that points to the hilum with borders drawn inwards by lost volume."""
    n = finding.numbers
    length = between(n[4], (0.065, 0.095))
    u, v = _centre(finding, anatomy, 0.075)
    grid = Grid.of(anatomy.pose, size, (u - 0.13, u + 0.13, v - 0.11, v + 0.11))
    to_hilum = (v - 0.45) / (abs(u) - 0.03)
    slant = between(n[5], (-0.45, 0.45)) if n[6] < 0.6 else min(max(to_hilum, -1.0), 1.0)
    cosine = 1 / sqrt(1 + slant * slant)
    du, dv = (grid.u - u) * finding.side, grid.v - v
    along, across = (du + slant * dv) * cosine, (dv - slant * du) * cosine
    t = along * (1 / length)
    if n[6] < 0.6:
        across = across + 0.012 * (n[7] - 0.5) * t * t
        plates = 1 + int(n[8] * 2.2)
        added = np.zeros_like(across)
        for k in range(plates):
            half = max(between(n[9 + k], (0.006, 0.0105)), 0.75 / size)
            offset = 0.034 * (k - 0.5 * (plates - 1)) + 0.008 * (n[12 + k] - 0.5)
            extent = 1.0 - 0.3 * n[15 + k]
            plate = grid.step(half - np.abs(across - offset), 0.009)
            added = np.maximum(added, plate * smooth((extent - np.abs(t + 0.3 * (n[18 + k] - 0.5))) * 5.0))
        added = added * between(n[21], (0.17, 0.24))
    else:
        s = np.minimum(np.maximum(0.5 * (t + 1.0), 0.0), 1.0)
        spread = 0.010 + between(n[9], (0.034, 0.050)) * s * s
        added = grid.step(spread - np.abs(across), 0.010) * smooth((1.0 - t) * 3.0) * smooth((1.0 + t) * 6.0)
        added = added * between(n[21], (0.19, 0.26))
    return _made(grid, added * anatomy.lung(grid))


def _cardiomegaly(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """A heart wider than 0.55 of the rib cage; it adds what it has beyond the normal heart."""
    heart = anatomy.enlarged(heart_ratio(finding.numbers)).heart
    grid = Grid.of(anatomy.pose, size, heart.bounds)
    below = anatomy.below(grid)
    others = np.maximum(anatomy.mediastinum(grid) * MEDIASTINUM, below * ABDOMEN)
    now = 1.08 * anatomy.heart_shadow(grid, heart)
    before = np.maximum(others, anatomy.heart_shadow(grid, anatomy.normal_heart))
    added = np.maximum(now, before) - before
    region = ((heart.radius(grid.u, grid.v) <= 1.0) & (below < 0.5)) | (added >= VISIBLE)
    return Change(
        grid,
        np.maximum(now, before) - before,
        0.8 * grid.step((1.0 - heart.radius(grid.u, grid.v)) * 0.2, 0.02),
        region,
    )


def _effusion(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """Fluid that fills the costophrenic angle under a meniscus which climbs the chest wall."""
    n, side = finding.numbers, finding.side
    base = anatomy.right if side < 0 else anatomy.left
    edge = anatomy.half + 0.03
    ends = (-edge, -0.03) if side < 0 else (0.03, edge)
    grid = Grid.of(anatomy.pose, size, (*ends, base - 0.30, base + 0.13))
    lateral = np.minimum(grid.u * (side / anatomy.half), 1.0)
    height = between(n[1], (0.0, 0.14))
    climb = lateral * lateral * lateral
    surface = base - height + 0.035 - between(n[4], (0.055, 0.10)) * climb
    fluid = grid.step(grid.v - surface, 0.030)
    depth = np.minimum(np.maximum(grid.v - surface, 0.0) * 8.0, 1.0)
    return _made(grid, fluid * (0.25 + 0.18 * depth) * anatomy.lung(grid) * (grid.u * side > 0), 0.8 * fluid)


def _turned(values: Numbers, p: Array, q: Array) -> Array:
    """Noise around (0, 0), from two grids across each other so that neither's axes show."""
    first = noise(values, 3.5 + 0.8 * p - 0.6 * q, 3.5 + 0.6 * p + 0.8 * q)
    return 0.5 * (first + noise(values.T, 3.5 + 0.28 * p + 0.96 * q, 3.5 - 0.96 * p + 0.28 * q))


def _cloud(
    finding: Finding, grid: Grid, centre: tuple[float, float], radii: tuple[float, float], ragged: float
) -> Array:
    """1 − r² of an ellipse whose border is made irregular by noise; below 0 outside."""
    p, q = (grid.u - centre[0]) * (1 / radii[0]), (grid.v - centre[1]) * (1 / radii[1])
    bumps = _turned(finding.grids[0], p * 2.2, q * 2.2)
    # at least 0.55: it stays inside 1.35 radii, and so inside its window
    return 1.0 - (p * p + q * q) * np.maximum(1.0 + ragged * (bumps - 0.5), 0.55)


def _infiltration(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """A faint, wide, patchy and netlike opacity."""
    n = finding.numbers
    a, b = between(n[4], (0.085, 0.115)), between(n[5], (0.09, 0.125))
    u, v = _centre(finding, anatomy, 0.09)
    grid = Grid.of(anatomy.pose, size, (u - 1.45 * a, u + 1.45 * a, v - 1.45 * b, v + 1.45 * b))
    envelope = smooth(_cloud(finding, grid, (u, v), (a, b), 1.8) * 1.5)
    cells = finding.grids
    fine = _turned(cells[1], (grid.u - u) * 33.0, (grid.v - v) * 33.0)
    net = 1.0 - np.minimum(np.abs(fine - 0.5) * 7.0, 1.0)  # ridges where the noise passes its middle
    patches = _turned(cells[0].T, (grid.u - u) * 17.0, (grid.v - v) * 17.0)
    added = envelope * (0.055 + 0.095 * net + 0.080 * patches) * between(n[6], (0.85, 1.15))
    return _made(grid, added * anatomy.lung(grid))


def _ball(finding: Finding, anatomy: Anatomy, size: int, *, radius: float, density: float, ragged: float) -> Change:
    """A round opacity, denser in its middle, with a lobed border."""
    u, v = _centre(finding, anatomy, radius)
    reach = 1.35 * radius + 1 / size
    grid = Grid.of(anatomy.pose, size, (u - reach, u + reach, v - reach, v + reach))
    stretch = 0.9 + 0.2 * finding.numbers[7]
    r2 = 1.0 - _cloud(finding, grid, (u, v), (radius * stretch, radius / stretch), ragged)
    inside = grid.step((1.0 - np.sqrt(np.maximum(r2, 0.0))) * radius, 0.011)
    added = inside * (0.62 + 0.38 * np.sqrt(np.maximum(1.0 - r2, 0.0))) * density
    return _made(grid, added * anatomy.lung(grid))


def _mass(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """A round dense opacity 34 to 60 mm across."""
    n = finding.numbers
    radius = between(n[4], (17, 30)) / MILLIMETRES
    return _ball(finding, anatomy, size, radius=radius, density=between(n[5], (0.25, 0.36)), ragged=0.9)


def _nodule(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """A round opacity 14 to 27 mm across."""
    n = finding.numbers
    radius = max(between(n[4], (7, 13.5)) / MILLIMETRES, 1.2 / size)
    return _ball(finding, anatomy, size, radius=radius, density=between(n[5], (0.23, 0.34)), ragged=0.2)


def _pneumonia(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """A dense consolidation with soft borders and air bronchograms; some end sharply at a fissure."""
    n = finding.numbers
    a, b = between(n[4], (0.09, 0.125)), between(n[5], (0.085, 0.125))
    u, v = _centre(finding, anatomy, 0.08)
    grid = Grid.of(anatomy.pose, size, (u - 1.45 * a, u + 1.45 * a, v - 1.45 * b, v + 1.45 * b))
    dense = smooth(_cloud(finding, grid, (u, v), (a, b), 1.9) * 0.95 + 0.05)
    mottle = _turned(finding.grids[1], (grid.u - u) * 24.0, (grid.v - v) * 24.0)
    if n[6] < 0.4:
        slope = between(n[7], (-0.2, 0.2))
        dense = dense * grid.step(v + 0.35 * b + slope * (grid.u - u) - grid.v, 0.012)
    tubes = np.zeros_like(dense)
    for k in range(3):
        fan = between(n[8 + k], (-0.25, 0.25)) + 0.5 * (k - 1)
        line = (grid.v - v) - fan * ((grid.u - u) * finding.side + a)
        tubes = np.maximum(tubes, bump(line * (1 / 0.009)))
    added = dense * (0.21 + 0.14 * mottle) * (1.0 - 0.30 * tubes) * between(n[11], (0.9, 1.15))
    return _made(grid, added * anatomy.lung(grid))


def _pneumothorax(finding: Finding, anatomy: Anatomy, size: int) -> Change:
    """Air between chest wall and lung: dark, without markings, bounded by the thin line of the pleura."""
    n, side = finding.numbers, finding.side
    edge = anatomy.half + 0.02
    ends = (-edge, -0.05) if side < 0 else (0.05, edge)
    grid = Grid.of(anatomy.pose, size, (*ends, anatomy.apex - 0.03, anatomy.apex + 0.52))
    au = grid.u * side
    gap, narrow = between(n[4], (0.05, 0.11)), between(n[5], (0.03, 0.075))
    # the gap closes downwards: the pleura meets the wall `reach` below the apex
    reach = between(n[6], (0.26, 0.46))
    closing = np.maximum((grid.v - anatomy.apex) * (1 / reach), 0.0)
    wall, _ = anatomy.wall(grid.v)
    pleura, slope = anatomy.wall(grid.v, gap, narrow)
    pleura = np.where(grid.v < anatomy.apex + gap, 0.0, pleura).astype(np.float32)
    share = smooth((closing - 0.35) * (1 / 0.65))
    pleura = pleura + (wall - pleura) * share
    outside = (au - pleura) / np.sqrt(1.0 + slope * slope)
    # above the top of the collapsed lung the distance to it is vertical
    outside = np.where(grid.v < anatomy.apex + gap, np.maximum(anatomy.apex + gap - grid.v, outside), outside)
    lung = anatomy.lung(grid) * smooth((1.0 - closing) * 12.0)
    air = grid.step(outside, 0.008) * lung
    line = bump(outside * (1 / max(0.0085, 1.1 / size))) * lung * (au > 0.09)
    added = (0.17 * line - between(n[7], (0.085, 0.12)) * air).astype(np.float32)
    change = _made(grid, added, air)
    return Change(grid, added, air, change.region | (air >= 0.5))


_DRAWN: dict[str, Callable[[Finding, Anatomy, int], Change]] = {
    "Atelectasis": _atelectasis,
    "Cardiomegaly": _cardiomegaly,
    "Effusion": _effusion,
    "Infiltration": _infiltration,
    "Mass": _mass,
    "Nodule": _nodule,
    "Pneumonia": _pneumonia,
    "Pneumothorax": _pneumothorax,
}
