"""Scoring a classifier's explanations on images with known regions: maps are made in batches and never kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.data.regions import CutOff
from pellucid.evaluation.metrics.boxes import SWEEP_THRESHOLDS, PredictedBoxes, heatmap_to_boxes
from pellucid.evaluation.metrics.heatmap_scores import SCORES, heatmap_scores
from pellucid.evaluation.metrics.localization import LocalizationInput
from pellucid.explainers import HEATMAPS, explain
from pellucid.explainers.registry import explains_all_classes_at_once, layer_option
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import InputError, device_of
from pellucid.utils.progress import advance
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    from torch import nn

    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.dataset import Dataset
    from pellucid.types import Pixels
    from pellucid.utils.results_store import ResultsStore

SCORES_RULES = 1
"""Counted up whenever maps are scored otherwise, so that what was kept before is not read as this."""


@dataclass(frozen=True)
class LocalizationTask:
    """Annotated images, and for each (image, class) pair the region that an explanation should fall on.

    Attributes:
        name: of the task.
        dataset: the annotated images only, N of them.
        images: uint8 or uint16 (N, C, H, W), as the classifier takes them.
        classes: the localised classes, by name.
        outputs: (C,), the classifier's output of each.
        pair_image: (M,), pairs with a region.
        pair_class: (M,), numbers in `classes`.
        masks: boolean (M, H, W), the union of the pair's regions.
        true_image: (G,), the image of each box.
        true_class: (G,).
        true_box: (G, 4), x, y, width, height in pixels of the H × W image.
        has_masks: whether the regions are masks rather than boxes.
        cut_off: what of them the classifier does not see.
    """

    name: str
    dataset: Dataset
    images: Pixels
    classes: tuple[str, ...]
    outputs: npt.NDArray[np.int64]
    pair_image: npt.NDArray[np.int64]
    pair_class: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_]
    true_image: npt.NDArray[np.int64]
    true_class: npt.NDArray[np.int64]
    true_box: npt.NDArray[np.float64]
    has_masks: bool
    cut_off: CutOff


def localization_task(
    images: FittedImages,
    classes: Sequence[str],
    *,
    name: str | None = None,
    regions: Mapping[str, Sequence[str]] | None = None,
    limit: int | None = None,
) -> LocalizationTask:
    """Prepare the annotated images of a dataset for scoring.

    Args:
        images: with regions, as the classifier takes them; those without one of the wanted regions are left out.
        classes: the classifier's classes.
        name: of the task; the dataset's by default.
        regions: class → the region labels that its explanation should fall on; by default, every class
            that the dataset has regions of.
        limit: at most so many annotated images, chosen at random with seed 0.

    Raises:
        InputError: if the dataset has no regions, or not those asked for, or the classifier sees none of them.

    Example:
        >>> from pellucid.data import open_dataset
        >>> from pellucid.data.cache.fitted_images import FittedImages
        >>> from pellucid.types import InputSpec
        >>> test = open_dataset("phantom", options={"size": 32, "train": 1, "validation": 1, "test": 8})["test"]
        >>> task = localization_task(FittedImages(test, InputSpec.square(1, 32)), test.classes)
        >>> set(task.classes) <= set(test.classes), len(task.masks) == len(task.pair_image), task.masks.shape[1:]
        (True, True, (32, 32))
    """
    dataset = images.dataset
    known_labels = dataset.regions.labels if dataset.regions is not None else ()
    if dataset.regions is None or not known_labels:
        raise InputError(f"{dataset.card.name}/{dataset.split} has no boxes or masks to score explanations on.")
    labels_of_class = {
        c: tuple(labels) for c, labels in (regions or {c: (c,) for c in classes if c in known_labels}).items()
    }
    for class_name, labels in labels_of_class.items():
        if class_name not in classes:
            raise InputError(f"the classifier has no class {class_name!r}. {nearest(class_name, classes)}")
        for label in labels:
            if label not in known_labels:
                raise InputError(f"{dataset.card.name} marks no {label!r}. {nearest(label, known_labels)}")
    if not labels_of_class:
        raise InputError(
            f"{dataset.card.name} marks {', '.join(known_labels)}, none of which is a class of the network "
            f"({', '.join(classes)}). Say which belong together, as in --region PNEUMONIA=Lesions (in Python: "
            "regions={'PNEUMONIA': ['Lesions']})."
        )
    names = tuple(labels_of_class)
    every_label = [label for labels in labels_of_class.values() for label in labels]
    rows = sorted({image for image, _ in dataset.regions.pairs(every_label)})
    fitted = images.subset(rows).limit(limit)
    annotated, places = fitted.dataset.regions, fitted.places
    assert annotated is not None
    at = set(annotated.pairs(every_label))
    pairs, masks, partly = [], [], 0
    marked_pairs = [
        (image, number)
        for image in range(len(fitted))
        for number, c in enumerate(names)
        if any((image, label) in at for label in labels_of_class[c])
    ]
    for image, number in marked_pairs:
        labels = labels_of_class[names[number]]
        mask = annotated.mask(image, labels, places[image])
        if mask.any() or places[image].sees_all:
            partly += annotated.is_cut(image, labels, places[image])
            pairs.append((image, number))
            masks.append(mask)
    cut_off = CutOff(len(marked_pairs), len(marked_pairs) - len(pairs), partly, images.spec.preprocess)
    if not pairs:
        raise InputError(
            f"{dataset.card.name}/{dataset.split}: there is nothing to score explanations on. {cut_off.note}"
        )
    if cut_off.unseen:  # an image of which no region is left is no image of the task
        marked_rows = sorted({image for image, _ in pairs})
        fitted, places = fitted.subset(marked_rows), [places[row] for row in marked_rows]
        annotated = fitted.dataset.regions
        assert annotated is not None
        pairs = [(marked_rows.index(image), number) for image, number in pairs]
    boxes = [
        (image, number, box)
        for image, number in pairs
        for label in labels_of_class[names[number]]
        for box in annotated.boxes(image, label, places[image])
    ]
    return LocalizationTask(
        name=name or dataset.card.name,
        dataset=fitted.dataset,
        images=fitted.pixels,
        classes=names,
        outputs=np.array([list(classes).index(c) for c in names], dtype=np.int64),
        pair_image=np.array([i for i, _ in pairs], dtype=np.int64),
        pair_class=np.array([c for _, c in pairs], dtype=np.int64),
        masks=np.stack(masks),
        true_image=np.array([i for i, _, _ in boxes], dtype=np.int64),
        true_class=np.array([c for _, c, _ in boxes], dtype=np.int64),
        true_box=np.array([tuple(b) for _, _, b in boxes], dtype=np.float64).reshape(-1, 4),
        has_masks=any(r.mask is not None for r in annotated.items if r.label in every_label),
        cut_off=cut_off,
    )


@dataclass(frozen=True)
class ExplanationScores:
    """What one classifier's maps of one method scored on a task.

    Attributes:
        scores: (M,) arrays by name, for the pairs with a region.
        boxes: drawn on the maps of `map_image`, `map_class`; None where boxes were not asked for.
        map_image: the image of each map that boxes were drawn on.
        map_class: its class.
        predicted: whether the classifier predicts the class on the image; None where only annotated pairs have maps.
    """

    scores: dict[str, npt.NDArray[np.float64]]
    boxes: PredictedBoxes | None = None
    map_image: npt.NDArray[np.int64] | None = None
    map_class: npt.NDArray[np.int64] | None = None
    predicted: npt.NDArray[np.bool_] | None = None

    def localization_input(self, task: LocalizationTask) -> LocalizationInput | None:
        """The boxes beside the true ones, for Wang et al.'s scores; None where none were drawn."""
        if self.boxes is None or self.map_image is None or self.map_class is None:
            return None
        return LocalizationInput(
            self.boxes,
            self.map_image,
            self.map_class,
            task.true_image,
            task.true_class,
            task.true_box,
            len(task.dataset),
            task.classes,
            self.predicted,
        )


def score_explanations(
    classifier: nn.Module,
    task: LocalizationTask,
    method: str,
    *,
    boxes: bool,
    predicted: npt.NDArray[np.bool_] | None = None,
    batch_size: int = 16,
    layer: str | None = None,
) -> ExplanationScores:
    """Explain every annotated pair of a task by one method, and score the maps.

    Methods that give the maps of all classes at once are also run on the pairs that `predicted` names, so that
    Wang et al.'s scores can be gated by the classifier's own predictions.

    Args:
        classifier: what is explained.
        task: images and regions.
        method: a name of `explainers.HEATMAPS`.
        boxes: whether boxes are drawn on the maps.
        predicted: boolean (N, C), which localised classes the classifier predicts on which image.
        batch_size: images (or pairs) at a time.
        layer: that the method explains at, of those that have this option.

    Raises:
        InputError: a method that gives no heat maps, or that the classifier does not fit.

    Example:
        >>> from pellucid.data import open_dataset
        >>> from pellucid.data.cache.fitted_images import FittedImages
        >>> from pellucid.models import create_model
        >>> test = open_dataset("phantom", options={"size": 32, "train": 1, "validation": 1, "test": 8})["test"]
        >>> model = create_model("small", classes=test.classes, task="multilabel", size=32)
        >>> task = localization_task(FittedImages(test, model.input_spec), model.classes)
        >>> scores = score_explanations(model, task, "cam", boxes=False).scores
        >>> "pointing" in scores, len(scores["pointing"]) == len(task.masks)
        (True, True)
    """
    if method not in HEATMAPS:
        raise InputError(f"only heat maps can be scored against regions; found {method!r}. {nearest(method, HEATMAPS)}")
    shape = (len(task.images), len(task.classes))
    at_once = explains_all_classes_at_once(method, classifier, layer)  # type: ignore[arg-type]
    if at_once and boxes and predicted is not None:
        map_mask = predicted.copy()
        map_mask[task.pair_image, task.pair_class] = True
    else:
        map_mask, predicted = np.zeros(shape, dtype=bool), None
        map_mask[task.pair_image, task.pair_class] = True
    map_image, map_class = np.nonzero(map_mask)
    row_of_pair = np.full(shape, -1, dtype=np.int64)
    row_of_pair[task.pair_image, task.pair_class] = np.arange(len(task.pair_image))
    options = layer_option(method, layer)
    scores = {name: np.full(len(task.pair_image), np.nan) for name in SCORES}
    box_parts: list[PredictedBoxes] = []
    device = device_of(classifier)
    for rows in in_batches(len(map_image), batch_size):
        images, pixel_row = np.unique(map_image[rows], return_inverse=True)
        pixels = as_pixels(task.images[images], device)
        outputs = torch.from_numpy(task.outputs[map_class[rows]]).to(device)
        inverse = torch.from_numpy(pixel_row).to(device)
        if at_once:
            maps = explain(method, classifier, pixels, "all", **options).maps[inverse, outputs]  # type: ignore[arg-type]
        else:
            maps = explain(method, classifier, pixels[inverse], outputs, **options).maps  # type: ignore[arg-type]
        heat = maps.float().cpu().numpy()
        pair = row_of_pair[map_image[rows], map_class[rows]]
        annotated = pair >= 0
        if annotated.any():
            for name, values in heatmap_scores(heat[annotated], task.masks[pair[annotated]]).items():
                scores[name][pair[annotated]] = values
        if boxes:
            box_parts.append(heatmap_to_boxes(heat, SWEEP_THRESHOLDS))
        advance(rows.stop - rows.start)
    if not boxes:
        return ExplanationScores(scores)
    gate = None if predicted is None else predicted[map_image, map_class]
    return ExplanationScores(scores, PredictedBoxes.concatenate(box_parts), map_image, map_class, gate)


def kept_scores(
    store: ResultsStore, name: str, score: Callable[[], ExplanationScores]
) -> ExplanationScores | InputError:
    """Scores that are kept under a name, made and kept where there are none; why, where the classifier is refused.

    Args:
        store: where they are kept.
        name: of the scores there.
        score: makes them; an `InputError` that it raises is returned, and nothing is kept.

    Raises:
        InputError: of the store.
    """
    refusals: list[InputError] = []

    def compute() -> dict[str, npt.NDArray[Any]]:
        try:
            return arrays_of(score())
        except InputError as error:
            refusals.append(error)
            raise

    try:
        return scores_of(store.measured(name, compute))
    except InputError:
        if not refusals:
            raise
        return refusals[0]


def arrays_of(result: ExplanationScores) -> dict[str, npt.NDArray[Any]]:
    """Scores and boxes as named arrays."""
    arrays: dict[str, npt.NDArray[Any]] = {f"score_{k}": v for k, v in result.scores.items()}
    if result.boxes is not None and result.map_image is not None and result.map_class is not None:
        arrays |= {
            "box_map": result.boxes.map_index,
            "box_threshold": result.boxes.threshold,
            "box": result.boxes.boxes,
            "box_size": np.array(result.boxes.size),
            "box_thresholds": np.array(result.boxes.thresholds),
            "map_image": result.map_image,
            "map_class": result.map_class,
        }
        if result.predicted is not None:
            arrays["predicted"] = result.predicted
    return arrays


def scores_of(arrays: Mapping[str, npt.NDArray[Any]]) -> ExplanationScores:
    """What `arrays_of` was given."""
    scores = {k.removeprefix("score_"): values for k, values in arrays.items() if k.startswith("score_")}
    if "box" not in arrays:
        return ExplanationScores(scores)
    boxes = PredictedBoxes(
        arrays["box_map"],
        arrays["box_threshold"],
        arrays["box"],
        len(arrays["map_image"]),
        (int(arrays["box_size"][0]), int(arrays["box_size"][1])),
        tuple(float(t) for t in arrays["box_thresholds"]),
    )
    return ExplanationScores(scores, boxes, arrays["map_image"], arrays["map_class"], arrays.get("predicted"))
