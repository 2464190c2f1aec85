"""Which images have a suspect, and at which pixels they differ from those without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used

from pellucid.models.inference import as_pixels
from pellucid.types import Box

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.evaluation.discovery.samples import Masks, Samples
    from pellucid.evaluation.metrics.bootstrap import FloatArray

HALF = 0.4
"""Share of the largest difference between images with and without it that a pixel of the region has."""
SURE = 4.0
"""Standard errors of that difference that it has, at least."""


def otsu(values: FloatArray) -> float:
    """Where to cut values (N,) in two so that the two differ most (Otsu 1979).

    Example:
        >>> otsu(np.array([0.0, 0.1, 1.0, 1.1]))
        0.55
    """
    ordered = np.sort(values)
    count = np.arange(1, len(ordered))
    below = np.cumsum(ordered)[:-1]
    means = below / count, (ordered.sum() - below) / (len(ordered) - count)
    best = int(np.argmax(count * (len(ordered) - count) * (means[1] - means[0]) ** 2))
    return float(ordered[best : best + 2].mean())


def where_it_differs(samples: Samples, present: Masks, column: int, near: Masks) -> Masks:
    """The pixels (H, W) around a window in which images with it differ from those without.

    Images are compared with others of the same label, so that the finding itself makes no difference.
    """
    total, variance, weight = (np.zeros(samples.frame) for _ in range(3))
    for value in (0, 1):
        of_label = samples.labels[:, column] == value
        groups = [np.flatnonzero(of_label & present), np.flatnonzero(of_label & ~present)]
        if min(map(len, groups)) < 2:
            continue
        pixels = [as_pixels(samples.pixels[rows]).mean(1).numpy().astype(np.float64) for rows in groups]
        share = len(groups[0]) * len(groups[1]) / (len(groups[0]) + len(groups[1]))
        total += share * (pixels[0].mean(0) - pixels[1].mean(0))
        variance += share**2 * sum(p.var(0, ddof=1) / len(p) for p in pixels)
        weight += share
    if not weight.any():
        return near
    difference = np.abs(total)
    sure = difference > SURE * np.sqrt(np.maximum(variance, 1e-12))
    strongest = np.where(near & sure, difference, 0).max()
    region = sure & (difference >= HALF * strongest)
    joined, _ = scipy.ndimage.label(scipy.ndimage.binary_dilation(region, iterations=1))
    touching = np.unique(joined[near & region])
    region &= np.isin(joined, touching[touching > 0])
    return region if strongest > 0 and region.any() else near


def square(corner: npt.NDArray[np.int64], side: int) -> Box:
    """A window from the row and column of its corner."""
    return Box(float(corner[1]), float(corner[0]), float(side), float(side))


def around(region: Masks, margin: int) -> Box:
    """The rectangle around a region, so many pixels larger on each side, inside the frame."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    bottom = min(int(rows[-1]) + 1 + margin, region.shape[0])
    right = min(int(columns[-1]) + 1 + margin, region.shape[1])
    return Box(float(left), float(top), float(right - left), float(bottom - top))


def covered(corners: npt.NDArray[np.int64], side: int, frame: tuple[int, int]) -> Masks:
    """Where any of the windows lies: (H, W)."""
    covered = np.zeros(frame, bool)
    offsets = np.arange(side)
    rows, columns = corners[:, 0, None, None] + offsets[:, None], corners[:, 1, None, None] + offsets
    covered[rows, columns] = True
    return covered
