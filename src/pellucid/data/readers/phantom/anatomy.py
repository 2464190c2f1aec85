"""The normal chest of the phantom: one patient's anatomy as numbers, and its drawing as attenuation.

Coordinates: an image covers [0, 1] × [0, 1], x to the right and y down; the body's own axes are u (0 at the
midline, positive to the image's right, the patient's left) and v (down), turned and shifted in the image. The
width of an image stands for 400 mm. Values are attenuations, about 0 (air) to 1 (bone over heart).

The same bits everywhere: random numbers come straight from the PCG64 bit generator (whose stream numpy
guarantees, unlike that of its distributions), and pixels are made with + − × ÷ √ and comparisons only, which
IEEE 754 rounds the same on every machine. There is no exp, sin, power, float sum or matrix product here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]  # float32; the stubs of numpy take float32 times a plain float for float64
Numbers = npt.NDArray[np.float64]

MILLIMETRES = 400.0  # what the width of an image stands for
HEART = 0.53  # attenuations above that of the lung
MEDIASTINUM = 0.52
ABDOMEN = 0.62
FLANK = 0.26


class Stream:
    """Random numbers of one purpose, the same for the same key on every machine and numpy version."""

    def __init__(self, seed: int, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))

    def uniform(self, count: int) -> Numbers:
        """`count` numbers, uniform in [0, 1)."""
        raw: npt.NDArray[np.uint64] = self._bits.random_raw(count)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def floats(self, count: int) -> tuple[float, ...]:
        """The same as plain floats, which leave a float32 array float32."""
        return tuple(self.uniform(count).tolist())

    def normal(self, shape: tuple[int, int]) -> Array:
        """Nearly normal numbers (mean 0, deviation 1): sums of the eight bytes of a 64-bit word."""
        raw: npt.NDArray[np.uint64] = self._bits.random_raw(shape[0] * shape[1])
        low = np.uint64(0x00FF00FF00FF00FF)
        pairs = (raw & low) + ((raw >> np.uint64(8)) & low)  # four sums of 16 bits, added without a carry
        halves = pairs + (pairs >> np.uint64(32))
        total = (halves + (halves >> np.uint64(16))) & np.uint64(0xFFFF)
        grain: Array = ((total.astype(np.float32) - 1020.0) * (1 / 209.0)).reshape(shape)
        return grain


def smooth(x: Array) -> Array:
    """0 below 0, 1 above 1, a cubic between."""
    t = np.maximum(x, 0.0)
    np.minimum(t, 1.0, out=t)
    s = t * -2.0
    s += 3.0
    s *= t
    s *= t
    return s


def bump(x: Array) -> Array:
    """A bell of height 1 that is 0 from |x| = 1 on."""
    t = x * x
    np.subtract(1.0, t, out=t)
    np.maximum(t, 0.0, out=t)
    t *= t
    return t


def noise(values: Numbers, p: Array, q: Array) -> Array:
    """A (g, g) grid of random values as a smooth field at the points (p, q), both in units of the grid."""
    g = values.shape[0]
    table = values.astype(np.float32).ravel()
    p, q = np.minimum(np.maximum(p, 0.0), g - 1.001), np.minimum(np.maximum(q, 0.0), g - 1.001)
    i, j = p.astype(np.int32), q.astype(np.int32)
    s, t = p - i, q - j
    s, t = s * s * (3.0 - 2.0 * s), t * t * (3.0 - 2.0 * t)
    at = j * g + i
    a, c = table.take(at), table.take(at + g)
    above = a + s * (table.take(at + 1) - a)
    below = c + s * (table.take(at + (g + 1)) - c)
    result: Array = above + t * (below - above)
    return result


def field(values: Numbers, grid: Grid) -> Array:
    """A (g, g) grid of random values as a smooth field over the image, its rows and columns in turn."""
    g, table = values.shape[0], values.astype(np.float32)
    p, q = grid.x[0] * (g - 1.001), grid.y * (g - 1.001)
    i, j = p.astype(np.int32), q[:, 0].astype(np.int32)
    s, t = smooth(p - i), smooth(q - j[:, None])
    rows = table[j] + t * (table[j + 1] - table[j])
    step = rows[:, 1:] - rows[:, :-1]
    result: Array = step.take(i, axis=1)
    result *= s
    result += rows.take(i, axis=1)
    return result


@dataclass(frozen=True)
class Pose:
    """How the body lies in the image: shift of its midline, and the cosine and sine of its tilt."""

    x: float
    y: float
    cosine: float
    sine: float

    def to_image(self, u: Numbers, v: Numbers) -> tuple[Numbers, Numbers]:
        """Points of the body in the image."""
        w = v - 0.5
        return self.x + u * self.cosine - w * self.sine, self.y + u * self.sine + w * self.cosine


@dataclass(frozen=True)
class Grid:
    """The pixel centres of a window of an image, in the body's axes.

    Attributes:
        size: the side of the whole image in pixels.
        rows: the window's rows.
        columns: the window's columns.
        x: (1, w), in the image.
        y: (h, 1), in the image.
        u: (h, w), in the body.
        v: (h, w), in the body.
    """

    size: int
    rows: slice
    columns: slice
    x: Array
    y: Array
    u: Array
    v: Array

    @classmethod
    def of(cls, pose: Pose, size: int, bounds: tuple[float, float, float, float] | None = None) -> Grid:
        """The whole image, or the window around `bounds` (u from, u to, v from, v to) of the body."""
        rows = columns = slice(0, size)
        if bounds is not None:
            rows, columns = _window(pose, size, bounds)
        xs = ((np.arange(columns.start, columns.stop) + 0.5) / size).astype(np.float32)[None, :]
        ys = ((np.arange(rows.start, rows.stop) + 0.5) / size).astype(np.float32)[:, None]
        right, down = xs - pose.x, ys - pose.y
        u = right * pose.cosine + down * pose.sine
        v = down * pose.cosine - right * pose.sine + 0.5
        return cls(size, rows, columns, xs, ys, u, v)

    def window(self, pose: Pose, bounds: tuple[float, float, float, float]) -> Grid:
        """The part of a whole image around `bounds` of the body."""
        rows, columns = _window(pose, self.size, bounds)
        at = (rows, columns)
        return Grid(self.size, rows, columns, self.x[:, columns], self.y[rows], self.u[at], self.v[at])

    def step(self, distance: Array, width: float) -> Array:
        """A soft edge: 0 to 1 as `distance` passes 0, over `width` or 1.5 pixels, whichever is wider."""
        return smooth(distance * (1.0 / max(width, 1.5 / self.size)) + 0.5)


def _window(pose: Pose, size: int, bounds: tuple[float, float, float, float]) -> tuple[slice, slice]:
    u0, u1, v0, v1 = bounds
    x, y = pose.to_image(np.array([u0, u1, u0, u1]), np.array([v0, v0, v1, v1]))
    return _pixels(y, size), _pixels(x, size)


def _pixels(at: Numbers, size: int) -> slice:
    first = min(max(floor(float(at.min()) * size) - 1, 0), size - 1)
    return slice(first, max(min(ceil(float(at.max()) * size) + 1, size), first + 1))


@dataclass(frozen=True)
class Heart:
    """A heart by its width: two ellipses (left ventricle, right atrium), its foot on the diaphragm.

    Width and height are equal for a heart of normal proportions.
    """

    width: float
    height: float
    v: float

    @classmethod
    def on(cls, width: float, height: float, diaphragm: float) -> Heart:
        """A heart whose foot lies a little below the level `diaphragm`."""
        return cls(width, height, diaphragm + 0.045 - 0.425 * height)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The window it lies in: u from, u to, v from, v to."""
        w, h = self.width, self.height
        return -0.38 * w, 0.66 * w, self.v - 0.5 * h, self.v + 0.45 * h

    def radius(self, u: Array, v: Array) -> Array:
        """0 at the centre to 1 at the border, and on."""
        w, dv = self.width, (v - self.v) * (self.width / self.height)
        du = u - 0.16 * w
        along, across = du * 0.819 + dv * 0.574, dv * 0.819 - du * 0.574
        left = along * along * (1 / (0.524 * w) ** 2) + across * across * (1 / (0.377 * w) ** 2)
        right = (u + 0.11 * w) * (1 / (0.25 * w))
        up = (dv + 0.02 * w) * (1 / (0.40 * w))
        return np.sqrt(np.minimum(left, right * right + up * up))

    def border(self, side: int, v: float) -> float:
        """|u| of its border at height v on one side (−1 the image's left), 0 where it does not reach."""
        w, dv = self.width, (v - self.v) * (self.width / self.height)
        if side < 0:
            up = (dv + 0.02 * w) / (0.40 * w)
            return 0.11 * w + 0.25 * w * sqrt(max(1 - up * up, 0.0))
        p, q = 1 / (0.524 * w) ** 2, 1 / (0.377 * w) ** 2
        a, b = p * 0.671 + q * 0.329, (p - q) * 0.470 * dv
        c = (p * 0.329 + q * 0.671) * dv * dv - 1
        return 0.16 * w + (sqrt(b * b - a * c) - b) / a if b * b > a * c else 0.0


@dataclass(frozen=True)
class Anatomy:
    """One image of one patient: everything about the chest but its findings and its noise.

    Attributes:
        pose: how the body lies.
        half: half the inner width of the rib cage.
        apex: v of the tops of the lungs.
        right: v of the right dome of the diaphragm (the image's left).
        left: v of the left dome.
        angle: how far the costophrenic angles lie below the domes.
        heart: the heart as drawn.
        normal_heart: the heart this patient would have without cardiomegaly.
        traits: 64 numbers, what else differs between patients, uniform in [0, 1).
        exposure: 16 numbers, what differs between images, uniform in [0, 1).
    """

    pose: Pose
    half: float
    apex: float
    right: float
    left: float
    angle: float
    heart: Heart
    normal_heart: Heart
    traits: tuple[float, ...]
    exposure: tuple[float, ...]

    @classmethod
    def draw(cls, patient: Stream, image: Stream) -> Anatomy:
        """The anatomy of one image: the patient's build, and how this image was taken."""
        t, e = patient.floats(64), image.floats(16)
        tilt = 0.018 * (e[0] + e[1] - 1) + 0.01 * (t[0] - 0.5)  # tangent of half the angle
        pose = Pose(
            0.5 + 0.03 * (e[2] - 0.5) + 0.02 * (t[1] - 0.5),
            0.5 + 0.03 * (e[3] - 0.5),
            (1 - tilt * tilt) / (1 + tilt * tilt),
            2 * tilt / (1 + tilt * tilt),
        )
        half = 0.355 + 0.045 * t[2]
        apex = 0.13 + 0.035 * t[3]
        right = 0.685 + 0.065 * t[4] + 0.035 * (e[4] - 0.5)
        left = right + 0.012 + 0.018 * t[5]
        width = (0.40 + 0.08 * t[6]) * 2 * half
        heart = Heart.on(width, width, left)
        return cls(pose, half, apex, right, left, 0.075 + 0.035 * t[7], heart, heart, t, e)

    def enlarged(self, ratio: float) -> Anatomy:
        """The same chest with a heart of that cardiothoracic ratio."""
        width = ratio * 2 * self.half
        return replace(self, heart=Heart.on(width, 0.45 * width + 0.55 * self.normal_heart.height, self.left))

    def wall(self, v: Array, gap: float = 0.0, narrow: float = 0.0) -> tuple[Array, Array]:
        """|u| of the inside of the rib cage at height v, and its slope; of a lower or narrower one too."""
        height = 0.56
        c = np.minimum(np.maximum(1.0 - (v - (self.apex + gap)) * (1 / height), 0.0), 1.0)
        f = np.sqrt(np.maximum(1.0 - c * c * c, 1e-4))
        start = 0.115
        reach = self.half - narrow - start
        return start + reach * f, np.minimum((reach * 1.5 / height) * (c * c) / f, 5.0)

    def wall_at(self, v: float) -> float:
        """`wall` at one height."""
        return float(self.wall(np.array([v], dtype=np.float32))[0][0])

    def dome(self, u: Array) -> Array:
        """The diaphragm: v at u."""
        au = np.abs(u)
        t = (au - 0.19) * np.where(au > 0.19, 1 / (self.half - 0.19), 1 / 0.19).astype(np.float32)
        t = np.maximum(np.minimum(t, 1.1), -1.0)
        t2 = t * t
        fall = np.where(t > 0, self.angle * t2 * (0.35 + 0.65 * t2), 0.028 * t2).astype(np.float32)
        return fall + np.where(u < 0, self.right, self.left).astype(np.float32)

    def cage(self, grid: Grid, wall_and_slope: tuple[Array, Array] | None = None) -> Array:
        """1 inside the rib cage, 0 outside, below the diaphragm too; `wall_and_slope` is `wall` on this grid."""
        wall, slope = wall_and_slope or self.wall(grid.v)
        distance = (wall - np.abs(grid.u)) / np.sqrt(1.0 + slope * slope)
        return grid.step(distance, 0.014) * grid.step(grid.v - self.apex, 0.012)

    def mediastinum(self, grid: Grid) -> Array:
        """1 on the band of the spine and the great vessels."""
        t, v = self.traits, grid.v
        taper = np.minimum(np.maximum(1.0 - (v - self.apex) * (1 / 0.13), 0.0), 1.0)
        knob = bump((v - (0.335 + 0.03 * t[10])) * (1 / 0.055))
        conus = bump((v - 0.49) * (1 / 0.15))
        left = 0.050 + 0.012 * t[11] + (0.026 + 0.018 * t[12]) * knob + 0.052 * conus
        right = 0.056 + 0.012 * t[13] + 0.030 * bump((v - 0.47) * (1 / 0.20))
        border = np.where(grid.u > 0, left, right) + 0.035 * taper * taper
        neck = smooth((v - self.apex + 0.17) * (1 / 0.18))
        return grid.step(border - np.abs(grid.u), 0.02) * (0.45 + 0.55 * neck)

    def heart_shadow(self, grid: Grid, heart: Heart) -> Array:
        """The attenuation of a heart, densest at its middle."""
        r = heart.radius(grid.u, grid.v)
        edge = grid.step((1.0 - r) * (0.4 * heart.width), 0.016)
        return edge * (HEART * 0.86 + HEART * 0.22 * np.maximum(1.0 - r * r, 0.0))

    def below(self, grid: Grid) -> Array:
        """1 below the diaphragm."""
        return grid.step(grid.v - self.dome(grid.u), 0.014)

    def lung(self, grid: Grid) -> Array:
        """1 where lung is seen: inside the cage, above the diaphragm, beside mediastinum and heart."""
        clear = (1.0 - self.mediastinum(grid)) * (1.0 - self.below(grid)) * self.cage(grid)
        r = self.heart.radius(grid.u, grid.v)
        return clear * (1.0 - grid.step((1.0 - r) * (0.4 * self.heart.width), 0.016))

    def lateral(self, side: int, v: float) -> tuple[float, float]:
        """|u| from and to which lung is seen at height v of one side."""
        return max(0.095, self.heart.border(side, v) + 0.005), self.wall_at(v)


def between(value: float, ends: tuple[float, float]) -> float:
    """A number in [0, 1) stretched to [ends[0], ends[1])."""
    return ends[0] + (ends[1] - ends[0]) * value
