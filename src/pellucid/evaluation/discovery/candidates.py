"""What might be a suspect: a place, a thing that lies now here, now there, a statistic of whole images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.content.whole_image import STATISTICS, WholeImage
from pellucid.evaluation.discovery.content.windows import BANDS, EVERYWHERE
from pellucid.evaluation.discovery.exchange import Pairs, Window, exchanged_log_odds
from pellucid.evaluation.discovery.inference import mean_differences
from pellucid.evaluation.discovery.samples import COMMON
from pellucid.types import Box

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.evaluation.discovery.exchange import Exchange
    from pellucid.evaluation.discovery.samples import Masks, Rows, Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.discovery.suspect import Kind
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.models.classifier import AnyClassifier

ROUNDING = 1e-12
PATCH_CELLS = 3
"""Cells on a side of the squares that a thing at varying places is looked for in."""
MOST_MARKED = 0.1
"""Of a side or margin, which marks often reach into: an image of which more than this is marked takes no part."""
MOST_MARKED_OF_ALL = 0.9
"""The same of the whole frame."""
PATCH_STEP = 2
"""Cells from one such square to the next: what is up to a cell wide lies whole in one of them."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something that may move a class.

    Attributes:
        kind: as of a suspect.
        name: in plain words.
        column: the class.
        exchanges: how it is put into another image; of what lies at varying places one for each, the strongest of
            which counts.
        region: boolean (H, W), where it is.
        squares: where a thing at varying places may lie, one for each exchange; None of other kinds.
        boxes: where it lies on each image, where that is known beforehand.
        takes_part: boolean (N,), the images that can be tested for it; None for all.
    """

    kind: Kind
    name: str
    column: int
    exchanges: tuple[Exchange, ...]
    region: Masks
    squares: Squares | None = None
    boxes: Boxes | None = None
    takes_part: Masks | None = None


@dataclass(frozen=True, eq=False)
class Boxes:
    """A rectangle of each image.

    Attributes:
        rectangles: int64 (N, 4), row and column of its upper left corner, height and width; −1 where an image has none.
        frame: H and W.
    """

    rectangles: Rows
    frame: tuple[int, int]

    @classmethod
    def squares(cls, corners: Rows, side: int, frame: tuple[int, int]) -> Boxes:
        """Squares of one size by their corners (N, 2), −1 where an image has none."""
        sides = np.where(corners[:, :1] >= 0, side, -1)
        return cls(np.concatenate([corners, sides, sides], 1), frame)

    def masks(self, rows: Rows) -> Masks:
        """Boolean (n, H, W), the rectangles of some images."""
        down, across = np.arange(self.frame[0])[None, :, None], np.arange(self.frame[1])[None, None, :]
        top, left, height, width = (self.rectangles[rows, place, None, None] for place in range(4))
        masks: Masks = (down >= top) & (down < top + height) & (across >= left) & (across < left + width)
        return masks & (top >= 0)

    def box(self, row: int) -> Box:
        """That of one image."""
        top, left, height, width = map(float, self.rectangles[row])
        return Box(left, top, width, height)


@dataclass(frozen=True, eq=False)
class Squares:
    """Squares of one size that overlap and together cover the frame.

    Attributes:
        corners: (R, 2), row and column of each one's upper left corner.
        side: in pixels.
        frame: H and W.
    """

    corners: Rows
    side: int
    frame: tuple[int, int]

    @classmethod
    def over(cls, frame: tuple[int, int], cells: int) -> Squares:
        """Squares of three cells on a side, two cells apart."""
        cell = min(frame) / cells
        side = round(PATCH_CELLS * cell)
        starts = [np.linspace(0, n - side, 1 + int(np.ceil((n - side) / (PATCH_STEP * cell)))).round() for n in frame]
        corners = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 2).astype(np.int64)
        return cls(corners, side, frame)

    def boxes(self, places: Rows) -> Boxes:
        """Squares by number as those of images; none where it is −1."""
        return Boxes.squares(np.where(places[:, None] >= 0, self.corners[places], -1), self.side, self.frame)

    @cached_property
    def masks(self) -> Masks:
        """Each of them, boolean (R, H, W)."""
        return self.boxes(np.arange(len(self.corners))).masks(np.arange(len(self.corners)))

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Each of them on every image."""
        return tuple(Window.fixed(mask) for mask in self.masks)

    def free_of_marks(self, samples: Samples, column: int) -> Masks:
        """Boolean (N, R), the squares of each image that touch no mark of the class.

        What is marked on one of the other label counts as well, so that what is left says nothing of the label.
        """
        masks = self.masks.reshape(len(self.corners), -1).astype(np.float32)
        rows = np.flatnonzero(samples.marks.columns == column)
        free = np.ones((len(samples), len(self.corners)), bool)
        for start in range(0, len(rows), 128):
            part = rows[start : start + 128]
            marked = samples.marks.masks[part].reshape(len(part), -1).astype(np.float32)
            np.logical_and.at(free, samples.marks.rows[part], marked @ masks.T == 0)
        return np.asarray(free[marks_left_out(samples, column)].all(1))


def strongest(worth: FloatArray, free: Masks) -> tuple[FloatArray, Rows]:
    """Of each image the square that is worth the most: its worth (N,) and its number (N,), NaN and −1 without one.

    Args:
        worth: (N, R), of each square.
        free: boolean (N, R), the squares that count.
    """
    values = np.where(free, worth, -np.inf)
    best = values.argmax(1)
    has_one = free.any(1)
    return np.where(has_one, values[np.arange(len(values)), best], np.nan), np.where(has_one, best, -1)


def beside(worth: FloatArray, level: FloatArray) -> FloatArray:
    """Worth (D, R) less what of it goes with the level (D,) of the images, by least squares, whatever their labels.

    Where all of an image is brighter, so is each part, and what a part adds another one may take away.
    """
    apart = level - level.mean()
    return np.asarray(worth - apart[:, None] * (apart @ worth) / max(float(apart @ apart), ROUNDING))


def places(
    model: AnyClassifier,
    samples: Samples,
    rows: Rows,
    columns: Rows,
    windows: Masks,
    settings: DiscoverySettings,
    batch_size: int,
) -> FloatArray:
    """How strongly what each window shows goes with each class, by what it is worth to the class in other images.

    Args:
        model: the classifier.
        samples: all images.
        rows: those that are used.
        columns: the classes.
        windows: boolean (W, H, W').
        settings: how much is spent.
        batch_size: images at a time.

    Returns:
        z (W, K), NaN where nothing is known.
    """
    rng = np.random.default_rng(settings.seed + 1)
    donors = samples.balanced(rows, settings.screened, rng)
    pairs = Pairs.of(donors, rng.choice(rows, min(settings.recipients, len(rows)), replace=False), rng)
    odds = exchanged_log_odds(
        model, samples.pixels, pairs, [Window.fixed(mask) for mask in windows], samples.task, batch_size=batch_size
    )
    worth = np.where(samples.marks.touched(windows, samples.labels)[donors], np.nan, pairs.centred(odds))
    labels = np.broadcast_to(samples.labels[donors][:, None], worth.shape)
    z = np.full(worth.shape[1:], np.nan)
    z[:, columns] = mean_differences(
        worth[..., columns].reshape(len(donors), -1), labels[..., columns].reshape(len(donors), -1)
    )[1].reshape(len(windows), -1)
    return z


def best_windows(z: FloatArray, windows: Masks, count: int) -> list[int]:
    """The windows of the largest z (W,), none overlapping a better one by half of the smaller."""
    picked: list[int] = []
    flat = windows.reshape(len(windows), -1)
    sizes = flat.sum(1)
    for window in np.argsort(-np.nan_to_num(z, nan=-np.inf), kind="stable"):
        if np.isnan(z[window]) or z[window] <= 0 or len(picked) == count:
            break
        shared = (flat[picked] & flat[window]).sum(1) / np.minimum(sizes[picked], sizes[window])
        if (shared < 0.5).all():
            picked.append(int(window))
    return picked


def marks_left_out(samples: Samples, column: int) -> Rows:
    """The images whose marks each image leaves out, so that what is left says nothing of the label: (N, 4).

    They are the image itself and one of the other label, so that positives and negatives leave out the same: what is
    marked on one of each. For one that nobody marked, and that is no negative, stands one that somebody did.
    """
    own = np.arange(len(samples))
    labels, other, stands = samples.labels[:, column], own.copy(), own.copy()
    rng = np.random.default_rng(column)
    for value in (0, 1):
        of_label = labels == value
        if (labels == 1 - value).any():
            other[of_label] = rng.choice(np.flatnonzero(labels == 1 - value), of_label.sum())
    is_marked = samples.marks.is_marked(*samples.labels.shape)[:, column]
    marked, lacking = np.flatnonzero(is_marked), np.flatnonzero(~is_marked & (labels != 0))
    if len(marked):
        stands[lacking] = rng.choice(marked, len(lacking))
    return np.stack([own, stands, other, stands[other]], 1)


class Places:
    """Windows as candidates of one class: what is marked in them is cut out, and takes no part.

    Of each image its own mark is cut out and that of one of the other label (`marks_left_out`), so that what is cut out
    says nothing of the label.
    """

    def __init__(self, samples: Samples, column: int) -> None:
        self.samples, self.column = samples, column
        self.left_out = marks_left_out(samples, column)
        marked = samples.marks.is_marked(*samples.labels.shape)[:, column]
        usual = samples.marks.usual(column)
        self.usual: Masks = np.nan_to_num(usual) >= COMMON if marked.any() else np.zeros(samples.frame, bool)
        # a positive that nobody marked may have the finding where it usually is
        self.unmarked: Masks = (samples.labels[:, column] == 1) & ~marked & bool(marked.any())

    @cached_property
    def levels(self) -> FloatArray:
        """The overall brightness of each image (N,), as it is measured of whole images."""
        return overall_level(self.samples, self.column)

    def cover(self, rows: Rows) -> Masks:
        """Boolean (n, H, W), what is cut out of some images."""
        return np.asarray(
            np.any([self.samples.marks.of_images(of, self.column) for of in self.left_out[rows].T], axis=0)
        )

    def takes_part(self, name: str, window: Masks, cover: Masks) -> Masks:
        """Boolean (N,), the images of which nothing of a window (H, W) is cut out, or of a band no more than little.

        Args:
            name: of the window.
            window: boolean (H, W).
            cover: of all images, as `cover` gives it.
        """
        if name == EVERYWHERE:
            return np.asarray(cover.mean((1, 2)) <= MOST_MARKED_OF_ALL)
        most = MOST_MARKED if name in BANDS else 0.0
        takes: Masks = cover[:, window].mean(1) <= most
        return takes & ~(self.unmarked & bool((window & self.usual).any()))

    def exchange(self, windows_of: Callable[[Rows], Masks], levels: FloatArray | None) -> Window:
        """What images show in windows (n, H, W), or (H, W) of all, of which what is marked is cut out."""
        return Window(lambda rows: windows_of(rows) & ~self.cover(rows), levels=levels)

    def candidate(self, name: str, window: Masks, cover: Masks) -> Candidate:
        """What images show in one window (H, W), brought to the level of the image that it is put into."""
        exchange = self.exchange(lambda _: window, self.levels)
        takes_part = self.takes_part(name, window, cover)
        return Candidate("place", name, self.column, (exchange,), window, takes_part=takes_part)


def at_varying_places(samples: Samples, column: int, squares: Squares) -> Candidate:
    """A thing that lies now here, now there, outside the marks of a class."""
    name = f"what speaks most for {samples.classes[column]} outside its marks, at varying places"
    return Candidate("patch", name, column, squares.windows, np.zeros(samples.frame, bool), squares)


def overall_level(samples: Samples, column: int) -> FloatArray:
    """The brightness of each image outside what is marked (N,), for one class."""
    exchange = whole_images(samples, column)[0].exchanges[0]
    assert isinstance(exchange, WholeImage)
    return exchange.measured(samples.pixels)


def whole_images(samples: Samples, column: int) -> list[Candidate]:
    """The statistics of whole images, for one class."""
    everywhere, left_out = np.ones(samples.frame, bool), marks_left_out(samples, column)
    return [
        Candidate("whole image", name, column, (WholeImage(statistic, samples.marks, left_out, column),), everywhere)
        for name, statistic in STATISTICS.items()
    ]
