"""Weakly supervised localisation as Wang et al. (2017) score it: accuracy, and the false alarms it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pellucid.evaluation.metrics.bootstrap import FloatArray, chunks
from pellucid.evaluation.metrics.boxes import SWEEP_THRESHOLDS, WANG_THRESHOLDS, PredictedBoxes, iobb, iou
from pellucid.evaluation.metrics.statistics import Replicates, ratios
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.evaluation.metrics.bootstrap import Bootstrap


class OverlapThreshold(NamedTuple):
    """When a predicted box hits a true one: its overlap is greater than `threshold`."""

    overlap: Literal["IoU", "IoBB"]
    threshold: float

    def __str__(self) -> str:
        return f"{self.overlap}@{self.threshold:g}"


WANG_CRITERIA = (
    *(OverlapThreshold("IoBB", t) for t in (0.1, 0.25, 0.5, 0.75, 0.9)),
    *(OverlapThreshold("IoU", t) for t in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
)
SWEEP_CRITERIA = tuple(
    c for c in WANG_CRITERIA if c.threshold in ({0.1, 0.3, 0.5} if c.overlap == "IoU" else {0.1, 0.25, 0.5})
)


@dataclass(frozen=True)
class LocalizationInput:
    """The boxes drawn on heat maps of (image, class) pairs, and the true boxes.

    Images are numbered among the annotated ones, classes among the localised ones; boxes are in pixels of the
    map.

    Attributes:
        boxes: drawn on M heat maps, one per pair.
        map_image: (M,), the image of each heat map.
        map_class: (M,), the class that each heat map explains.
        true_image: (G,), the image of each true box.
        true_class: (G,), its class.
        true_box: (G, 4), x, y, width, height.
        images: how many annotated images there are.
        classes: the names of the localised classes.
        predicted: boolean (M,), whether the classifier predicts the class on the image; for gated scores.
    """

    boxes: PredictedBoxes
    map_image: npt.NDArray[np.integer]
    map_class: npt.NDArray[np.integer]
    true_image: npt.NDArray[np.integer]
    true_class: npt.NDArray[np.integer]
    true_box: FloatArray
    images: int
    classes: tuple[str, ...]
    predicted: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        maps, count = self.boxes.maps, len(self.true_image)
        gate = () if self.predicted is None else (self.predicted,)
        if any(np.shape(a) != (maps,) for a in (self.map_image, self.map_class, *gate)):
            raise InputError(f"boxes of {maps} heat maps need as many images, classes and predictions.")
        if np.shape(self.true_class) != (count,) or np.shape(self.true_box) != (count, 4):
            raise InputError(f"{count} true boxes need as many classes, and an array ({count}, 4).")
        images = np.concatenate([self.map_image, self.true_image])
        labels = np.concatenate([self.map_class, self.true_class])
        for name, numbers, limit in (("image", images, self.images), ("class", labels, len(self.classes))):
            if numbers.size and not 0 <= numbers.min() <= numbers.max() < limit:
                extent = f"{numbers.min()} to {numbers.max()}"
                raise InputError(f"{name} numbers must lie in [0, {limit}); found {extent}.")
        if len(np.unique(self.cell(self.map_image, self.map_class))) < maps:
            raise InputError("a pair of image and class has more than one heat map.")

    def cell(self, image: npt.NDArray[np.integer], label: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """One number for each pair of image and class, in [0, images · classes)."""
        return np.asarray(image, dtype=np.int64) * len(self.classes) + np.asarray(label, dtype=np.int64)


@dataclass(frozen=True)
class LocalizationCounts:
    """What was hit and what was not, image by image: N images, C classes, T criteria.

    Attributes:
        hits: (N, C, T), true boxes that are hit.
        false_positives: (N, C, T), predicted boxes that hit no true box of their class on their image.
        true_boxes: (N, C).
        predicted_boxes: (N, C).
        area: (N, C), the predicted boxes' areas added up, as shares of the image.
        maps: (N, C), 1 where a heat map was scored.
        criteria: the T criteria.
        classes: the C names.
    """

    hits: npt.NDArray[np.int64]
    false_positives: npt.NDArray[np.int64]
    true_boxes: npt.NDArray[np.int64]
    predicted_boxes: npt.NDArray[np.int64]
    area: FloatArray
    maps: npt.NDArray[np.int64]
    criteria: tuple[OverlapThreshold, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class LocalizationScore:
    """Accuracy with what it costs: tiny or huge boxes win one of the figures, never all of them.

    Attributes:
        accuracy: true boxes of the class that are hit, over all true boxes of the class.
        false_positives: AFP: false positives of the class over the true boxes of the set, of all classes.
        box_area: mean area of the class's predicted boxes, as a share of the image.
        boxes_per_map: predicted boxes of the class over its heat maps scored.
    """

    accuracy: Replicates
    false_positives: Replicates
    box_area: Replicates
    boxes_per_map: Replicates

    def to_json(self) -> dict[str, Any]:
        """Each figure as `Estimate.to_json` gives it."""
        return {name: figure.estimate().to_json() for name, figure in vars(self).items()}


LocalizationTable = dict[str, dict[str, LocalizationScore]]
"""By class, and under `mean` over classes, then by criterion such as ``IoU@0.1``."""


def match_boxes(
    inputs: LocalizationInput,
    *,
    gated: bool,
    thresholds: Sequence[float] = WANG_THRESHOLDS,
    criteria: Sequence[OverlapThreshold] = WANG_CRITERIA,
) -> LocalizationCounts:
    """Count hits and false positives, the boxes of all `thresholds` pooled.

    Args:
        inputs: predicted and true boxes.
        gated: score the pairs that the classifier predicts (a true box of a class that is not predicted on
            its image, or has no heat map there, is a miss); otherwise the pairs that have a true box.
        thresholds: of the heat map in [0, 255].
        criteria: what counts as a hit; overlaps must be greater, not equal.

    Raises:
        InputError: if `gated` and the input does not say what is predicted, or no boxes were drawn at a
            threshold.

    Source:
        X. Wang et al.: ChestX-ray8. CVPR 2017, arXiv 1705.02315. Pooling the thresholds is our reading.

    Example:
        >>> from pellucid.evaluation.metrics.boxes import heatmap_to_boxes
        >>> heat = np.zeros((1, 8, 8))
        >>> heat[0, 2:6, 2:6] = 1  # a square of 4 × 4, half of it in the true box
        >>> first, truth = np.array([0]), np.array([[2.0, 2.0, 2.0, 4.0]])  # x, y, width, height
        >>> inputs = LocalizationInput(heatmap_to_boxes(heat, [180]), first, first, first, first, truth, 1, ("Nodule",))
        >>> criteria = [OverlapThreshold("IoU", 0.4), OverlapThreshold("IoU", 0.5)]  # half is not more than half
        >>> counts = match_boxes(inputs, gated=False, thresholds=[180], criteria=criteria)
        >>> counts.hits[0, 0].tolist(), counts.false_positives[0, 0].tolist()
        ([1, 0], [0, 1])
    """
    if gated and inputs.predicted is None:
        raise InputError("gated localisation needs to know which classes are predicted on which image.")
    cells, shape = inputs.images * len(inputs.classes), (inputs.images, len(inputs.classes))
    of_map = inputs.cell(inputs.map_image, inputs.map_class)
    of_truth = inputs.cell(inputs.true_image, inputs.true_class)
    true_boxes = np.bincount(of_truth, minlength=cells)
    scored = inputs.predicted if gated and inputs.predicted is not None else true_boxes[of_map] > 0

    predicted = inputs.boxes.at(thresholds)
    is_scored = np.asarray(scored, dtype=bool)[predicted.map_index]
    boxes, home = predicted.boxes[is_scored].astype(np.float64), of_map[predicted.map_index[is_scored]]
    order = np.argsort(of_truth, kind="stable")
    truth = np.asarray(inputs.true_box, dtype=np.float64)[order]
    hit, spurious = _match(boxes, home, truth, of_truth[order], criteria=criteria, cells=cells)

    area = boxes[:, 2] * boxes[:, 3] / (predicted.size[0] * predicted.size[1])
    hits = np.zeros((cells, len(criteria)), dtype=np.int64)
    np.add.at(hits, of_truth[order], hit)
    return LocalizationCounts(
        hits.reshape(*shape, -1),
        spurious.reshape(*shape, -1),
        true_boxes.reshape(shape),
        np.bincount(home, minlength=cells).reshape(shape),
        np.asarray(np.bincount(home, area, minlength=cells), dtype=np.float64).reshape(shape),
        np.bincount(of_map[scored], minlength=cells).reshape(shape),
        tuple(criteria),
        inputs.classes,
    )


def _match(
    boxes: FloatArray,
    home: npt.NDArray[np.int64],
    truth: FloatArray,
    truth_home: npt.NDArray[np.int64],
    *,
    criteria: Sequence[OverlapThreshold],
    cells: int,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which true boxes, sorted by cell, are hit (G, T), and the false positives of each cell (cells, T)."""
    by_iou = np.array([c.overlap == "IoU" for c in criteria])
    limits = np.array([c.threshold for c in criteria])
    hit = np.zeros((len(truth), len(criteria)), dtype=bool)
    spurious = np.zeros((cells, len(criteria)), dtype=np.int64)
    for rows in chunks(len(boxes), 8 * len(criteria)):
        own, place = boxes[rows], home[rows]
        first, last = (np.searchsorted(truth_home, place, side) for side in ("left", "right"))
        rivals = last - first  # every predicted box meets every true box of its image and class
        box = np.repeat(np.arange(len(own)), rivals)
        true = np.arange(len(box)) - np.repeat(np.cumsum(rivals) - rivals, rivals) + np.repeat(first, rivals)
        overlaps = (iou(own[box], truth[true]), iobb(own[box], truth[true]))
        matches = np.where(by_iou, overlaps[0][:, None], overlaps[1][:, None]) > limits
        pair, criterion = np.nonzero(matches)
        useful = np.zeros((len(own), len(criteria)), dtype=bool)
        useful[box[pair], criterion] = True
        hit[true[pair], criterion] = True
        np.add.at(spurious, place, ~useful)
    return hit, spurious


def localization_table(counts: LocalizationCounts, bootstrap: Bootstrap) -> LocalizationTable:
    """Accuracy, average false positives, box area and boxes per map, by class and their mean.

    Accuracy divides by the true boxes of the class, average false positives by those of the whole set (984 in
    ChestX-ray14): the denominators that Wang et al.'s published figures imply; see `LocalizationScore`.

    Args:
        counts: of N images.
        bootstrap: over the same N images.

    Raises:
        InputError: if the bootstrap is over another number of images.

    Example:
        >>> from pellucid.evaluation import Bootstrap
        >>> one = np.ones((4, 1), dtype=np.int64)  # four images of four patients, with one true and one drawn box each
        >>> hits = np.array([1, 1, 1, 0])[:, None, None]
        >>> criteria = (OverlapThreshold("IoU", 0.5),)
        >>> counts = LocalizationCounts(hits, 1 - hits, one, one, 0.1 * one, one, criteria, ("Nodule",))
        >>> score = localization_table(counts, Bootstrap(["p1", "p2", "p3", "p4"]))["Nodule"]["IoU@0.5"]
        >>> score.accuracy.estimate().value, score.false_positives.estimate().value
        (0.75, 0.25)
    """
    classes, criteria = counts.classes, counts.criteria
    wide = (len(counts.true_boxes), -1)  # (N, C * T)
    of_class = np.broadcast_to(counts.true_boxes[:, :, None], counts.hits.shape).reshape(wide)
    total = int(counts.true_boxes.sum())
    accuracy = ratios(counts.hits.reshape(wide), of_class, bootstrap, reason="no true box of this class", within=(0, 1))
    alarms = ratios(
        counts.false_positives.reshape(wide),
        counts.true_boxes.sum(1),
        bootstrap,
        reason="no true box in the set",
        within=(0, math.inf),
    )
    area = ratios(counts.area, counts.predicted_boxes, bootstrap, reason="no box was predicted", within=(0, 1))
    number = ratios(
        counts.predicted_boxes, counts.maps, bootstrap, reason="no heat map was scored", within=(0, math.inf)
    )
    sizes = [counts.true_boxes.sum(0), counts.predicted_boxes.sum(0), counts.maps.sum(0)]
    table: LocalizationTable = {
        name: {
            str(criterion): LocalizationScore(
                replace(accuracy[c * len(criteria) + t], n=int(sizes[0][c])),
                replace(alarms[c * len(criteria) + t], n=total),
                replace(area[c], n=int(sizes[1][c])),
                replace(number[c], n=int(sizes[2][c])),
            )
            for t, criterion in enumerate(criteria)
        }
        for c, name in enumerate(classes)
    }
    totals = {
        "accuracy": total,
        "false_positives": total,
        "box_area": int(sizes[1].sum()),
        "boxes_per_map": int(sizes[2].sum()),
    }
    table["mean"] = {
        str(criterion): LocalizationScore(
            **{
                name: Replicates.mean([getattr(table[c][str(criterion)], name) for c in classes], n=n, of="classes")
                for name, n in totals.items()
            }
        )
        for criterion in criteria
    }
    return table


def threshold_sweep(inputs: LocalizationInput, bootstrap: Bootstrap, *, gated: bool) -> dict[float, LocalizationTable]:
    """The table at each single threshold of the heat map: is a gain more than an artefact of {60, 180}?

    The boxes must have been drawn at all of them; `heatmap_to_boxes(maps, SWEEP_THRESHOLDS)` serves this and
    `match_boxes` alike.
    """
    return {
        t: localization_table(match_boxes(inputs, gated=gated, thresholds=(t,), criteria=SWEEP_CRITERIA), bootstrap)
        for t in SWEEP_THRESHOLDS
    }
