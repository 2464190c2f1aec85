"""The phantom's shortcuts: eight things that say nothing of the chest, and how each is drawn.

Lead and tubes lie on the film, before its exposure; brightness, noise, frame and collimator change grey levels; the
trace of JPEG comes last. Like the chest they come out the same on every machine: see `anatomy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import cos, pi, sqrt
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from pellucid.data.readers.phantom.anatomy import bump, smooth

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.data.readers.phantom.anatomy import Array, Grid, Stream

Kind = Literal["letter", "side_marker", "tube", "frame", "collimator", "brightness", "noise", "jpeg"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Every kind, in the order of drawing."""
WITH_REGION: tuple[Kind, ...] = ("letter", "side_marker", "tube", "frame", "collimator")
"""Those that lie somewhere, so that a map can show them; the others change the whole image."""
NUMBERS = 8  # that say whether an image has a shortcut, and what it looks like there

# ITU-T T.81 (1992), table K.1: the steps of luminance at quality 50
_JPEG_STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_BITS = 13  # of the cosines' fraction


@dataclass(frozen=True)
class Shortcut:
    """One shortcut on one image.

    Attributes:
        kind: which.
        numbers: where it lies and how strong it is, seven numbers uniform in [0, 1).
    """

    kind: Kind
    numbers: tuple[float, ...]

    def cover(self, grid: Grid) -> Array | None:
        """0 to 1 where it lies on a grid of the whole image; None where it lies everywhere."""
        draw = _COVERS.get(self.kind)
        return None if draw is None else draw(self.numbers, grid)

    def mask(self, grid: Grid) -> npt.NDArray[np.bool_] | None:
        """Its pixels, boolean (size, size); None where it lies everywhere."""
        cover = self.cover(grid)
        return None if cover is None else cover >= 0.5

    def on_film(self, film: Array, grid: Grid) -> Array:
        """The attenuation with it; as it was where it is no thing that lies on the film."""
        if self.kind not in ("letter", "side_marker", "tube"):
            return film
        cover = self.cover(grid)
        assert cover is not None
        marked: Array = film + cover * np.maximum(1.05 - film, 0.0)
        return marked

    def on_level(self, level: Array, grid: Grid, grain: Stream) -> Array:
        """The grey levels, 0 black to 1 white, with it; as they were for what lies on the film, and for JPEG."""
        if self.kind == "brightness":
            return level + (0.10 + 0.04 * self.numbers[0])
        if self.kind == "noise":
            return level + grain.normal((grid.size, grid.size)) * (0.035 + 0.015 * self.numbers[0])
        if self.kind in ("frame", "collimator"):
            cover = self.cover(grid)
            assert cover is not None
            return level + cover * ((0.98 if self.kind == "frame" else 0.02) - level)
        return level

    def on_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image with the trace of JPEG at a quality of 15 to 29; as it was for every other kind."""
        return jpeg_trace(pixels, 15 + int(15 * self.numbers[0])) if self.kind == "jpeg" else pixels


def _bar(grid: Grid, x: float, y: float, width: float, height: float) -> Array:
    """An upright rectangle by its corner, 0 to 1."""
    edge = 1.2 / grid.size
    across = smooth((width / 2 - np.abs(grid.x - (x + width / 2))) * (1 / edge) + 0.5)
    down = smooth((height / 2 - np.abs(grid.y - (y + height / 2))) * (1 / edge) + 0.5)
    return across * down


def _letter(numbers: tuple[float, ...], grid: Grid) -> Array:
    """A letter L of lead, upright beside the patient's left shoulder."""
    x, y, height = 0.86 + 0.05 * numbers[0], 0.03 + 0.05 * numbers[1], 0.075 + 0.02 * numbers[2]
    thick = max(0.17 * height, 1 / grid.size)
    return np.maximum(_bar(grid, x, y, thick, height), _bar(grid, x, y + height - thick, 0.62 * height, thick))


def _side_marker(numbers: tuple[float, ...], grid: Grid) -> Array:
    """A ring of lead with a bead in it, anywhere along the image's left or right margin."""
    side, across, down, wide = numbers[:4]
    x = 0.065 + 0.05 * across
    x = x if side < 0.5 else 1 - x
    y, radius = 0.07 + 0.80 * down, 0.042 + 0.010 * wide
    edge = 1.2 / grid.size
    du, dv = grid.x - x, grid.y - y
    distance = np.sqrt(du * du + dv * dv)
    half = max(0.16 * radius, 0.55 / grid.size)
    ring = smooth((half - np.abs(distance - (radius - half))) * (1 / edge) + 0.5)
    bead = smooth((0.28 * radius - distance) * (1 / edge) + 0.5)
    return np.maximum(ring, bead)


def _tube(numbers: tuple[float, ...], grid: Grid) -> Array:
    """A feeding tube: down the midline from the top, then to the patient's left below the diaphragm."""
    end = 0.80 + 0.08 * numbers[0]
    turn = 0.58 + 0.06 * numbers[1]
    reach = 0.10 + 0.06 * numbers[2]
    t = np.maximum(grid.v - turn, 0.0) * (1 / 0.26)
    path = 0.02 * (numbers[3] - 0.5) + 0.016 * (bump((grid.v - 0.30) * (1 / 0.25)) - 0.5) + reach * t * t
    slope = (2 * reach / 0.26) * t
    half = max(0.009, 0.65 / grid.size)
    distance = np.abs(grid.u - path) / np.sqrt(1.0 + slope * slope)
    return smooth((half - distance) * (grid.size / 1.2) + 0.5) * smooth((end - grid.v) * (grid.size / 1.2) + 0.5)


def _frame(numbers: tuple[float, ...], grid: Grid) -> Array:
    """A white frame around the image, as of a scanned film."""
    width = max(0.018 + 0.014 * numbers[0], 1 / grid.size)
    inset = np.minimum(np.minimum(grid.x, 1 - grid.x), np.minimum(grid.y, 1 - grid.y))
    frame: Array = (inset < width).astype(np.float32)
    return frame


def _collimator(numbers: tuple[float, ...], grid: Grid) -> Array:
    """The shadow of a collimator's blade: a strip along the left or right margin, a little askew, its edge soft."""
    depth, tilt = 0.055 + 0.045 * numbers[1], 0.05 * (numbers[2] - 0.5)
    x = grid.x if numbers[0] < 0.5 else 1 - grid.x
    return smooth((depth + tilt * (grid.y - 0.5) - x) * (1 / max(0.02, 1.5 / grid.size)) + 0.5)


_COVERS = {
    "letter": _letter,
    "side_marker": _side_marker,
    "tube": _tube,
    "frame": _frame,
    "collimator": _collimator,
}


@cache
def _cosines() -> npt.NDArray[np.int64]:
    """The matrix of the cosine transform of eight values, times 2 ** 13, rounded."""
    rows = [[(sqrt(0.125) if k == 0 else 0.5 * cos((2 * j + 1) * k * pi / 16)) for j in range(8)] for k in range(8)]
    cosines: npt.NDArray[np.int64] = np.rint(np.array(rows) * 2**_BITS).astype(np.int64)
    return cosines


def jpeg_trace(pixels: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """What JPEG at a quality of 1 to 100 leaves of a grey image, uint8 (H, W), in whole numbers.

    The transform and the steps are those of ITU-T T.81; the steps are scaled as the Independent JPEG Group does.
    """
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % 8), (0, -width % 8)), mode="edge").astype(np.int64) - 128
    rows, columns = padded.shape[0] // 8, padded.shape[1] // 8
    blocks = padded.reshape(rows, 8, columns, 8).swapaxes(1, 2)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = np.minimum(np.maximum((_JPEG_STEPS * scale + 50) // 100, 1), 255)
    cosines = _cosines()
    unit = steps << (2 * _BITS)
    coefficients = (2 * (cosines @ blocks @ cosines.T) + unit) // (2 * unit)
    back = (cosines.T @ (coefficients * steps) @ cosines + (1 << (2 * _BITS - 1))) >> (2 * _BITS)
    whole = np.minimum(np.maximum(back.swapaxes(1, 2).reshape(padded.shape) + 128, 0), 255)
    trace: npt.NDArray[np.uint8] = whole[:height, :width].astype(np.uint8)
    return trace
