"""Which images have a suspect, and at which pixels they differ from those without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used

from pellucid.models.inference import as_pixels
from pellucid.types import Box

if TYPE_CHECKING:
    from pellucid.evaluation.discovery.samples import Masks, Samples
    from pellucid.evaluation.metrics.bootstrap import FloatArray

UNUSUAL = 5.0
"""Robust deviations from the median of images without it, from which on a pixel is unusual."""
FAINT = 0.02
"""Of full brightness: a deviation is counted as this at least."""
OFTEN = 0.25
"""Share of the largest excess of unusual images at any pixel that a pixel of the region has."""
SURE = 3.0
"""Standard errors of that excess that it has, at least."""
APART = 0.3
"""Share of the largest separation of the two kinds of images by a pixel's value that a pixel of the region has."""
REACH = 1 / 6
"""Of the frame's shorter side: so far beyond the window that was exchanged pixels of the region may lie."""
SURELY_APART = 3.0
"""Standard errors of that separation that it has, at least."""
FEWEST = 10
"""Images without it from which on their deviation is known."""
NORMAL = 1.4826
"""Of a normal distribution: standard deviations in a median absolute deviation."""


def otsu(values: FloatArray) -> float:
    """Where to cut values (N,) in two so that the two differ most (Otsu 1979); NaN take no part, NaN without two.

    Example:
        >>> otsu(np.array([0.0, 0.1, 1.0, 1.1]))
        0.55
    """
    ordered = np.sort(values[~np.isnan(values)])
    if len(ordered) < 2:
        return float("nan")
    count = np.arange(1, len(ordered))
    below = np.cumsum(ordered)[:-1]
    means = below / count, (ordered.sum() - below) / (len(ordered) - count)
    best = int(np.argmax(count * (len(ordered) - count) * (means[1] - means[0]) ** 2))
    return float(ordered[best : best + 2].mean())


def where_it_differs(samples: Samples, strength: FloatArray, present: Masks, column: int, near: Masks) -> Masks:
    """The pixels (H, W) around a window by which images with it are told from those without.

    Either by their ranks (Mann & Whitney 1947), or since they are unusual more often: a thin thing that lies now here,
    now there by a few pixels is at none of them in most images. Without it is the half of the images that have least of
    it; images are compared with others of the same label, so that the finding itself makes no difference.
    """
    least = (strength <= np.nanmedian(strength)) & ~present
    unusual = np.zeros((2, *samples.frame))
    count = np.zeros(2)
    apart, variance, weights = np.zeros(samples.frame), 0.0, 0.0
    for value in (0, 1):
        of_label = samples.labels[:, column] == value
        groups = [np.flatnonzero(of_label & group) for group in (present, least)]
        if min(map(len, groups)) < 2:
            continue
        own, other = (as_pixels(samples.pixels[rows]).mean(1).numpy() for rows in groups)
        if len(other) >= FEWEST:
            middle = np.median(other, 0)
            limit = UNUSUAL * np.maximum(NORMAL * np.median(np.abs(other - middle), 0), FAINT)
            for group, pixels in enumerate((own, other)):
                unusual[group] += (np.abs(pixels - middle) > limit).sum(0)
                count[group] += len(pixels)
        n, m = map(len, groups)
        weight = n * m / (n + m)
        ranks = scipy.stats.rankdata(np.concatenate([own, other]), axis=0)[:n].sum(0) - n * (n + 1) / 2
        apart += weight * (2 * ranks / (n * m) - 1)
        variance += weight**2 * (n + m + 1) / (3 * n * m)
        weights += weight
    if not weights:
        return near
    reach = max(1, round(REACH * min(samples.frame)))
    within = scipy.ndimage.binary_dilation(near, np.ones((3, 3), bool), iterations=reach)
    apart = np.abs(apart)
    by_rank = within & (apart > SURELY_APART * np.sqrt(variance))
    by_rank &= apart >= APART * np.where(near & by_rank, apart, 0).max()
    region = by_rank
    if count.all():
        shares, mean = unusual / count[:, None, None], unusual.sum(0) / count.sum()
        excess = shares[0] - shares[1]
        sure = within & (excess > SURE * np.sqrt(np.maximum(mean * (1 - mean), 1e-9) * (1 / count).sum()))
        region = region | (sure & (excess >= OFTEN * np.where(near & sure, excess, 0).max()))
    joined, _ = scipy.ndimage.label(scipy.ndimage.binary_dilation(region))
    touching = np.unique(joined[near & region])
    region &= np.isin(joined, touching[touching > 0])
    return region if region.any() else near


def around(region: Masks, margin: int) -> Box:
    """The rectangle around a region, so many pixels larger on each side, inside the frame."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    bottom = min(int(rows[-1]) + 1 + margin, region.shape[0])
    right = min(int(columns[-1]) + 1 + margin, region.shape[1])
    return Box(float(left), float(top), float(right - left), float(bottom - top))
