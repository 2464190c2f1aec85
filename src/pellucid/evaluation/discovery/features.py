"""Numbers of each image that may stand for what a class is told by: of windows, and of the whole.

They are the same whatever the network answers, and so may be picked on the very images that they are tested on.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from pellucid.evaluation.discovery.candidates import Boxes, Candidate, Places, whole_images
from pellucid.evaluation.discovery.content.image_features import FEATURES, ImageFeatures
from pellucid.evaluation.discovery.content.presence import otsu
from pellucid.evaluation.discovery.content.whole_image import WholeImage
from pellucid.evaluation.discovery.content.windows import BANDS, EVERYWHERE, FRAME, SIDES, all_windows, sides
from pellucid.evaluation.discovery.shares import shares_by_feature

if TYPE_CHECKING:
    from pellucid.evaluation.discovery.samples import Masks, Rows, Samples
    from pellucid.evaluation.discovery.suspect import Suspect
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.evaluation.metrics.statistics import Bootstrap

ANY_SIDE = "sides"
"""The name of the four sides of the frame, of which one on each image is meant."""
DARKEST, BRIGHTEST = "darkest side", "brightest side"
"""The side whose level lies furthest from what is usual there, below or above it."""
LEVEL = FEATURES[0]
BOX_CELLS = 2
"""Cells on a side of the square around a detail that is exchanged."""


@dataclass(frozen=True, eq=False)
class Feature:
    """A number of each image.

    Attributes:
        column: the class that it may stand for.
        name: what it is a number of: one of `FEATURES`, or a statistic of the whole image.
        place: of the window; empty for a statistic.
        window: boolean (H, W).
        values: (N,), NaN where an image takes no part.
        levels: (N,), the overall brightness of each image, to which what is exchanged in a window is brought; None of a
            statistic.
        sides: (N,), of each image which of `SIDES` is meant; None of other features.
    """

    column: int
    name: str
    place: str
    window: Masks
    values: FloatArray
    levels: FloatArray | None = None
    sides: Rows | None = None

    @property
    def is_statistic(self) -> bool:
        """Whether it is one of the whole image."""
        return not self.place

    @property
    def roams(self) -> bool:
        """Whether it is that of a detail which may lie elsewhere in each image's window, larger than the detail."""
        return self.is_of_detail and self.place in (*BANDS, EVERYWHERE)

    @property
    def is_of_detail(self) -> bool:
        """Whether an image has either more of it than is usual, or nothing."""
        return self.name in FEATURES and self.name != LEVEL

    @property
    def is_of_square(self) -> bool:
        """Whether its window is one of many squares."""
        return not self.is_statistic and self.place not in (*BANDS, EVERYWHERE, ANY_SIDE)

    def number(self, samples: Samples) -> int:
        """One of its own, the same in every search, so that the same images change places."""
        return crc32(f"{samples.classes[self.column]}/{self.name}/{self.place}".encode(), crc32(self.window.tobytes()))

    def candidate(self, samples: Samples, numbers: ImageFeatures, cells: int) -> Candidate:
        """What is exchanged to see what it does: the window, or of what roams the square around it on each image."""
        if self.is_statistic:
            return next(one for one in whole_images(samples, self.column) if one.name == self.name)
        places, takes_part = Places(samples, self.column), ~np.isnan(self.values)
        if self.sides is not None:
            rectangles = np.array([_rectangle(mask) for mask in _sides(samples.frame, cells)])
            boxes = Boxes(rectangles[self.sides], samples.frame)
            exchange = places.exchange(boxes.masks, self.levels)
            return Candidate("patch", self.name, self.column, (exchange,), self.window, None, boxes, takes_part)
        if not self.roams:
            exchange = places.exchange(lambda _: self.window, self.levels)
            return Candidate("place", self.place, self.column, (exchange,), self.window, takes_part=takes_part)
        side = round(BOX_CELLS * min(samples.frame) / cells)
        peaks = numbers.peaks(1 if self.name == FEATURES[1] else -1, self.window, places.cover)
        corners = np.clip(peaks - side // 2, 0, np.array(samples.frame) - side)
        boxes = Boxes.squares(np.where(peaks >= 0, corners, -1), side, samples.frame)
        exchange = places.exchange(boxes.masks, self.levels)
        title, takes_part = f"{self.name} of the {self.place}", takes_part & (peaks[:, 0] >= 0)
        return Candidate("patch", title, self.column, (exchange,), self.window, None, boxes, takes_part)


def _rectangle(mask: Masks) -> list[int]:
    """Row and column of the upper left corner, height and width of what is true in a mask (H, W)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1]


def _sides(frame: tuple[int, int], cells: int) -> Masks:
    """The four sides of the frame, boolean (4, H, W)."""
    bands = sides(*frame, cells)
    return np.stack([bands[name] for name in SIDES])


@dataclass(frozen=True, eq=False)
class Carrier:
    """The feature that stands for a candidate: an image has the more of it, the larger `slope` times it is.

    Attributes:
        feature: which.
        limits: between which it counts: the medians of the images on either side of Otsu's cut, so that a few with
            very much of it do not decide.
        slope: what one unit of it adds to the log-odds in the first swaps, by least squares among images of the same
            label.
        effect: (N,), what it adds to each image's log-odds in the further swaps; NaN where not measured.
        passes: that were meant for these swaps.
    """

    feature: Feature
    limits: tuple[float, float]
    slope: float
    effect: FloatArray
    passes: int

    @property
    def values(self) -> FloatArray:
        """The feature (N,) within its limits."""
        return np.clip(self.feature.values, *self.limits)

    @property
    def strength(self) -> FloatArray:
        """What the feature adds to the log-odds of each image (N,), less what it adds on average."""
        return np.asarray(self.slope * (self.values - np.nanmean(self.values)))

    def shares(self, labels: FloatArray, odds: FloatArray, bootstrap: Bootstrap) -> FloatArray:
        """See `shares_by_feature`."""
        return shares_by_feature(self.values, self.effect, labels, odds, bootstrap)

    def cut(self) -> float:
        """The value of the feature beyond which an image shows it: where Otsu cuts the strength in two."""
        return float(otsu(self.strength) / self.slope + np.nanmean(self.values))


class Features:
    """All features of images, by class."""

    def __init__(self, samples: Samples, cells: int) -> None:
        self.samples, self.cells, self.numbers = samples, cells, ImageFeatures(samples)
        windows, names, _ = all_windows(*samples.frame, cells)
        self.windows = np.concatenate([windows, np.ones((1, *samples.frame), bool)])
        self.names = [*names, EVERYWHERE]

    @cached_property
    def everywhere(self) -> FloatArray:
        """Of all windows, whatever is marked: (N, W, F)."""
        return self.numbers.of_windows(self.windows)

    def of_class(self, column: int) -> list[Feature]:
        """Those of one class, without what is marked for it."""
        places = Places(self.samples, column)
        cover = places.cover(np.arange(len(self.samples)))
        statistics, features, of_sides = self.statistics(column), [], {}
        levels = statistics[0].values
        for number, (name, window) in enumerate(zip(self.names, self.windows, strict=True)):
            values = self._values(places, cover, name, window, self.everywhere[:, number], levels)
            if name in SIDES:
                of_sides[name] = values[:, 0]
            which = range(len(FEATURES)) if name != EVERYWHERE else range(1, len(FEATURES))  # its level is a statistic
            features += [Feature(column, FEATURES[k], name, window, values[:, k], levels) for k in which]
        every_side = np.stack([of_sides[name] for name in SIDES], 1)
        return [*features, *self._of_any_side(column, every_side, levels), *statistics]

    def _of_any_side(self, column: int, of_sides: FloatArray, levels: FloatArray) -> list[Feature]:
        """The side of each image whose level (N, 4) lies furthest from what is usual there, below and above."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a side on which no image takes part
            apart = of_sides - np.nanmedian(of_sides, axis=0)
        frame = self.windows[self.names.index(FRAME)]
        features = []
        for name, sign in ((DARKEST, -1), (BRIGHTEST, 1)):
            size = np.where(np.isnan(apart), -np.inf, sign * apart)
            which = size.argmax(1)
            values = np.where(np.isinf(size.max(1)), np.nan, size.max(1))
            features.append(Feature(column, name, ANY_SIDE, frame, values, levels, which))
        return features

    def statistics(self, column: int) -> list[Feature]:
        """Those of the whole image."""
        features = []
        for one in whole_images(self.samples, column):
            exchange = one.exchanges[0]
            assert isinstance(exchange, WholeImage)
            features.append(Feature(column, one.name, "", one.region, exchange.measured(self.samples.pixels)))
        return features

    def _values(
        self, places: Places, cover: Masks, name: str, window: Masks, everywhere: FloatArray, levels: FloatArray
    ) -> FloatArray:
        """Features (N, F) of one window without what is marked, from those with it; its level less the image's own."""
        takes_part = places.takes_part(name, window, cover)
        values = self.numbers.without(everywhere, window, cover, takes_part)
        values[:, 0] -= levels
        return values

    def of_suspect(self, suspect: Suspect, column: int) -> Feature:
        """The feature that stands for a suspect of other images, or of another network, on these."""
        return self._one(column, str(suspect.details["feature"]), str(suspect.details["place"]), suspect.window)

    def _one(self, column: int, name: str, place: str, window: Masks | None) -> Feature:
        if not place:
            return next(one for one in self.statistics(column) if one.name == name)
        if place == ANY_SIDE:
            each = [self._one(column, LEVEL, side, None) for side in SIDES]
            of_sides, levels = np.stack([one.values for one in each], 1), each[0].levels
            assert levels is not None
            return next(one for one in self._of_any_side(column, of_sides, levels) if one.name == name)
        if window is None:
            window = self.windows[self.names.index(place)]
        places = Places(self.samples, column)
        cover = places.cover(np.arange(len(self.samples)))
        everywhere = self.numbers.of_windows(window[None])[:, 0]
        values = self._values(places, cover, place, window, everywhere, places.levels)
        return Feature(column, name, place, window, values[:, FEATURES.index(name)], places.levels)
