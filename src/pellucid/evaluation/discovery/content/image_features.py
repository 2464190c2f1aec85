"""What an image shows in a window, as numbers: its level, and the brightest and the darkest of its fine detail.

They need no forward pass, and are the same whatever the network: who has a thing is told from these numbers more surely
than from what one exchange moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used

from pellucid.models.inference import as_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.evaluation.discovery.samples import Masks, Rows, Samples
    from pellucid.evaluation.metrics.bootstrap import FloatArray

FEATURES = ("level", "brightest detail", "darkest detail")
BLUR = 1 / 32
"""Of the frame's shorter side: the deviation of the Gaussian whose difference from the image is its detail."""
TOP = 1 / 400
"""Of the frame's pixels: so many are averaged for the brightest and the darkest detail."""
CHUNK = 64
"""Images whose pixels are sorted together."""


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The features of images in windows of the frame.

    Attributes:
        samples: N images.
    """

    samples: Samples

    @cached_property
    def grey(self) -> FloatArray:
        """Mean over the channels, in [0, 1]: (N, H, W)."""
        return np.asarray(as_pixels(self.samples.pixels).mean(1).numpy(), np.float32)

    @cached_property
    def detail(self) -> FloatArray:
        """What a blur takes away: (N, H, W)."""
        deviation = BLUR * min(self.samples.frame)
        return np.asarray(self.grey - scipy.ndimage.gaussian_filter(self.grey, (0, deviation, deviation)), np.float32)

    def of_windows(self, windows: Masks) -> FloatArray:
        """The features (N, W, 3) in windows (W, H, W'), whatever is marked."""
        rows, everything = np.arange(len(self.samples)), np.ones((1, *self.samples.frame), bool)
        return np.stack([self._of(rows, window, everything) for window in windows], 1)

    def without(self, features: FloatArray, window: Masks, cover: Masks, takes_part: Masks) -> FloatArray:
        """The features (N, 3) of one window, made again without what is marked in it.

        Args:
            features: (N, 3), of `of_windows`.
            window: boolean (H, W').
            cover: boolean (N, H, W'), what is left out on each image.
            takes_part: boolean (N,); of the others the features are NaN.
        """
        own = np.where(takes_part[:, None], features, np.nan)
        touched = np.flatnonzero(takes_part & cover[:, window].any(1))
        if len(touched):
            own[touched] = self._of(touched, window, ~cover[touched])
        return own

    def peaks(self, sign: int, window: Masks, cover_of: Callable[[Rows], Masks]) -> Rows:
        """Where the brightest (`sign` 1) or darkest (−1) detail of each image lies in a window (H, W): (N, 2).

        Args:
            sign: which of them.
            window: boolean (H, W).
            cover_of: of rows (n,) boolean (n, H, W), what is left out; −1 where nothing else is in the window.
        """
        places = np.full((len(self.samples), 2), -1)
        for start in range(0, len(places), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(places)))
            free: Masks = window & ~cover_of(rows)
            size = np.where(free, sign * self.detail[rows], -np.inf).reshape(len(rows), -1)
            at = np.stack(np.unravel_index(size.argmax(1), window.shape), 1)
            places[rows] = np.where(np.isfinite(size.max(1))[:, None], at, -1)
        return places

    def _of(self, rows: Rows, window: Masks, free: Masks) -> FloatArray:
        """Features (n, 3) of some images in one window, where they are `free` (n, H, W), or (1, H, W) of all."""
        count = max(3, round(TOP * window.size))
        features = np.empty((len(rows), len(FEATURES)))
        usable = free[:, window]
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            allowed = usable if len(usable) == 1 else usable[start : start + CHUNK]
            level, detail = (np.asarray(of[part][:, window], np.float64) for of in (self.grey, self.detail))
            features[start : start + CHUNK, 0] = np.where(allowed, level, 0).sum(1) / allowed.sum(1)
            for place, sign in ((1, 1.0), (2, -1.0)):
                values = np.where(allowed, sign * detail, -np.inf)
                largest = np.partition(values, -count, axis=1)[:, -count:]
                features[start : start + CHUNK, place] = largest.mean(1)
        return features
