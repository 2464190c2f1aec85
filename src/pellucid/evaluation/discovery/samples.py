"""The images that are searched: their labels, what the model answers, and where people marked findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.metrics.validation import one_hot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.types import Pixels, Task

    Rows = npt.NDArray[np.int64]
    Masks = npt.NDArray[np.bool_]

COMMON = 0.1
"""Share of a class's marked images from which on a pixel counts as where the class is usually marked."""


@dataclass(frozen=True, eq=False)
class MarkedPairs:
    """Where people marked findings, with a margin.

    Attributes:
        rows: (P,), the image of each marked pair of image and class.
        columns: (P,), its class.
        masks: boolean (P, H, W), with the margin.
        frame: H and W.
    """

    rows: Rows
    columns: Rows
    masks: Masks
    frame: tuple[int, int]

    @classmethod
    def of(cls, images: FittedImages, classes: Sequence[str], margin: float) -> MarkedPairs:
        """The marks of a dataset's images that are called as the model's classes, none where it has none."""
        frame = (images.spec.height, images.spec.width)
        regions = images.dataset.regions
        pairs = [] if regions is None else regions.pairs([name for name in classes if name in regions.labels])
        masks = np.zeros((len(pairs), *frame), bool)
        reach = max(1, round(margin * max(frame)))
        if regions is not None:
            for mask, (row, name) in zip(masks, pairs, strict=True):
                own = regions.mask(row, name, images.places[row])
                mask[:] = scipy.ndimage.binary_dilation(own, iterations=reach) if own.any() else own
        rows, columns = ([pair[0] for pair in pairs], [list(classes).index(pair[1]) for pair in pairs])
        return cls(np.array(rows, np.int64), np.array(columns, np.int64), masks, frame)

    def is_marked(self, count: int, classes: int) -> Masks:
        """Boolean (N, K), of which images a finding of which class is marked."""
        marked = np.zeros((count, classes), bool)
        marked[self.rows, self.columns] = True
        return marked

    def usual(self, column: int) -> FloatArray:
        """Share of the class's marked images in which each pixel is marked: (H, W); NaN where none is marked."""
        own = self.masks[self.columns == column]
        return np.asarray(own.mean(0), np.float64) if len(own) else np.full(self.frame, np.nan)

    def of_images(self, rows: Rows, column: int | None = None) -> Masks:
        """Boolean (n, H, W), what is marked on each of these images, of one class or of any."""
        images, place = np.unique(rows, return_inverse=True)
        union = np.zeros((len(images), *self.frame), bool)
        at = np.minimum(np.searchsorted(images, self.rows), len(images) - 1)
        picked = (images[at] == self.rows) & (True if column is None else self.columns == column)
        np.logical_or.at(union, at[picked], self.masks[picked])
        return union[place]

    def touched(self, windows: Masks, labels: FloatArray) -> Masks:
        """Boolean (N, W, K): where a window may hold what makes the image a positive of the class.

        That is where the image's own mark touches it; of a positive that nobody marked, of a class that is marked on
        others, where the others' marks are common.

        Args:
            windows: boolean (W, H, W').
            labels: (N, K).
        """
        flat = windows.reshape(len(windows), -1).astype(np.float32)
        touched = np.zeros((len(labels), len(windows), labels.shape[1]), bool)
        for start in range(0, len(self.rows), 128):
            part = slice(start, start + 128)
            own = self.masks[part].reshape(len(self.masks[part]), -1).astype(np.float32) @ flat.T > 0
            touched[self.rows[part], :, self.columns[part]] = own
        marked = self.is_marked(*labels.shape)
        for column in np.unique(self.columns):
            typical = flat @ (self.usual(int(column)) >= COMMON).ravel().astype(np.float32) > 0
            unmarked = np.flatnonzero((labels[:, column] == 1) & ~marked[:, column])
            touched[unmarked, :, column] = typical
        return touched


@dataclass(frozen=True, eq=False)
class Samples:
    """N images that are searched.

    Attributes:
        pixels: uint8 or uint16 (N, C, H, W).
        ids: of the images.
        labels: float (N, K), 0 or 1, NaN where unknown.
        odds: float64 (N, K), the model's log-odds.
        patients: (N,), the number of each image's patient.
        marks: where people marked findings.
        classes: K names.
        task: of the model.
        columns: of metadata, by name the number of each image's group (N,), −1 where not known, and the groups' names.
    """

    pixels: Pixels
    ids: tuple[str, ...]
    labels: FloatArray
    odds: FloatArray
    patients: Rows
    marks: MarkedPairs
    classes: tuple[str, ...]
    task: Task
    columns: dict[str, tuple[Rows, tuple[str, ...]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        images: FittedImages,
        pixels: Pixels,
        odds: FloatArray,
        margin: float,
        columns: dict[str, tuple[Rows, tuple[str, ...]]],
    ) -> Samples:
        """A dataset's images, whose classes are the model's."""
        dataset = images.dataset
        _, patients = np.unique(np.array(dataset.patients, dtype=str), return_inverse=True)
        marks = MarkedPairs.of(images, dataset.classes, margin)
        labels = one_hot(dataset).astype(np.float64)
        return cls(pixels, dataset.ids, labels, odds, patients, marks, dataset.classes, dataset.task, columns)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the network's frame."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    @cached_property
    def gaps(self) -> FloatArray:
        """Of each class the mean log-odds of its positives less that of its negatives: (K,), NaN without either."""
        with np.errstate(invalid="ignore"):
            positives, negatives = (
                np.where(self.labels == value, self.odds, 0.0).sum(0) / (self.labels == value).sum(0)
                for value in (1, 0)
            )
        return np.asarray(positives - negatives, np.float64)

    def halves(self, seed: int) -> tuple[Rows, Rows]:
        """The images of one half of the patients, and of the other; rare classes in both."""
        rng = np.random.default_rng(seed)
        usable = np.nan_to_num(self.labels)
        rarest = np.where(usable > 0, usable.sum(0), np.inf).argmin(1)  # 0 for an image without any
        patients = rng.permutation(self.patients.max() + 1)[self.patients]
        _, first = np.unique(patients, return_index=True)
        order = first[np.lexsort((patients[first], rarest[first]))]
        in_first = np.zeros(len(first), bool)
        in_first[patients[order[::2]]] = True
        members = in_first[patients]
        return np.flatnonzero(members), np.flatnonzero(~members)

    def balanced(self, rows: Rows, count: int, rng: np.random.Generator) -> Rows:
        """At most `count` of the rows, of every class as many positives as there is room for, the others drawn."""
        if len(rows) <= count:
            return rows
        order = rng.permutation(rows)
        positive = self.labels[order] == 1
        # the n-th positive of a class, classes together: the earliest turn at which one of its classes takes an image
        turn = np.where(positive, np.cumsum(positive, axis=0), len(rows) + 1).min(1)
        picked = np.argsort(turn, kind="stable")[: count // 2]
        others = rng.permutation(np.setdiff1d(np.arange(len(order)), picked))[: count - len(picked)]
        return np.sort(order[np.concatenate([picked, others])])
