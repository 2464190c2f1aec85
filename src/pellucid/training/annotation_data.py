"""The annotated images of a training set: which they are, what is marked on them, and the labels people corrected."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.annotations.shapes import shape_mask
from pellucid.data.decoding.file_pixels import placements
from pellucid.types import InputError, Marks
from pellucid.utils.words import first_of, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.annotations.records import AnnotationSet
    from pellucid.data.dataset import Dataset
    from pellucid.data.placement import Placement
    from pellucid.training.recipe import Recipe
    from pellucid.types import InputSpec


@dataclass(frozen=True)
class AnnotatedImages:
    """The marks on a training set at the size that the network sees, and where they are.

    Attributes:
        rows: int64 (M,), the annotated images of the training set, in order: marked, or with a verdict.
        pairs: int64 (P, 2), row and class of each image and class that something is marked for.
        regions: boolean (P, 2, H, W): what is relevant to the class there, and what is irrelevant.
    """

    rows: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]
    regions: npt.NDArray[np.bool_]
    _of_row: dict[int, list[int]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for pair, row in enumerate(self.pairs[:, 0].tolist()):
            self._of_row.setdefault(row, []).append(pair)

    def marks(self, rows: npt.NDArray[np.integer], device: torch.device) -> Marks | None:
        """The marks on the images of a batch, given by their rows; None where it has none."""
        marks_of_rows = [self._of_row.get(row, []) for row in rows.tolist()]
        slots = max(map(len, marks_of_rows), default=0)
        if slots == 0:
            return None
        frame = self.regions.shape[-2:]
        classes = np.full((len(rows), slots), -1, dtype=np.int64)
        regions = np.zeros((2, len(rows), slots, *frame), dtype=np.float32)
        for i, pairs in enumerate(marks_of_rows):
            classes[i, : len(pairs)] = self.pairs[pairs, 1]
            regions[:, i, : len(pairs)] = self.regions[pairs].swapaxes(0, 1)
        relevant, irrelevant = torch.from_numpy(regions).to(device)
        return Marks(torch.from_numpy(classes).to(device), relevant, irrelevant)


def annotated_images(annotations: AnnotationSet, dataset: Dataset, spec: InputSpec) -> AnnotatedImages:
    """Find the annotated images in a training set, and draw what is marked on them.

    Args:
        annotations: what people said of the dataset's images.
        dataset: the training images.
        spec: of the images as the network takes them.

    Raises:
        InputError: if none of the annotated images is among the training images.
    """
    row_of = {name: row for row, name in enumerate(dataset.ids)}
    names = sorted((name for name in annotations.image_ids if name in row_of), key=row_of.__getitem__)
    if not names:
        image_ids = annotations.image_ids
        raise InputError(
            f"none of the {len(image_ids)} annotated images is among the {len(dataset)} training images of "
            f"{dataset.card.name}{f', as {image_ids[0]!r}' if image_ids else ''}. Annotate images of its part "
            f"{dataset.split!r} (pellucid annotate serve … --split {dataset.split}), opened with the same options."
        )
    pairs: list[tuple[int, int]] = []
    regions = [np.zeros((0, 2, spec.height, spec.width), dtype=np.bool_)]
    places = placements(dataset.subset([row_of[name] for name in names]), spec)
    _warn_of_cut_marks(annotations, dict(zip(names, places, strict=True)), spec)
    for name, place in zip(names, places, strict=True):
        # one by one: all classes of all images at once would not fit into memory
        both = np.stack(annotations.masks([name], dataset.classes, [place]))[:, 0]
        marked = np.flatnonzero(both.any((0, 2, 3)))
        pairs += [(row_of[name], int(k)) for k in marked]
        regions.append(both[:, marked].swapaxes(0, 1))
    return AnnotatedImages(
        np.array([row_of[name] for name in names], dtype=np.int64),
        np.array(pairs, dtype=np.int64).reshape(-1, 2),
        np.concatenate(regions),
    )


def _warn_of_cut_marks(annotations: AnnotationSet, places: Mapping[str, Placement], spec: InputSpec) -> None:
    """Say how many marks the network does not see, as its geometry cuts images."""
    cut_marks = [mark for mark in annotations.marks if mark.image in places and not places[mark.image].sees_all]
    unseen = sum(not shape_mask(mark.shape, places[mark.image]).any() for mark in cut_marks)
    if unseen:
        warnings.warn(
            f"{unseen} of {len(annotations.marks)} marks lie outside what the network sees of their images "
            f"({spec.preprocess}): nothing is learned from them.",
            stacklevel=3,
        )


def corrected(annotations: AnnotationSet, dataset: Dataset) -> tuple[Dataset, int]:
    """The training set with the labels that people gave its images, and how many labels that changed.

    Of images with one class each it is the class that most people named, if no fewer doubted it. Where they named none,
    or as many another, the label stays, and a warning counts those that were contradicted.

    The fingerprint stays that of the data as they came; `describe` hashes the corrections.
    """
    targets = dataset.targets.copy()
    if dataset.task == "multilabel":
        labels = annotations.labels(dataset.ids, dataset.classes)
        is_known = ~np.isnan(labels)
        targets[is_known] = labels[is_known]
        changed = int((is_known & (targets != dataset.targets)).sum())
        return replace(dataset, targets=targets, uncorrected=dataset.targets), changed
    yes, no = annotations.votes(dataset.ids, dataset.classes)
    rows, most = np.arange(len(dataset)), yes.argmax(1)
    alone = (yes == yes.max(1, keepdims=True)).sum(1) == 1
    named = alone & (yes > no)[rows, most]
    targets[named] = most[named]
    unsettled = np.flatnonzero(~named & (yes.any(1) | (no > yes)[rows, dataset.targets.astype(np.int64)]))
    if len(unsettled):
        warnings.warn(
            f"{dataset.card.name}: people contradict the label of {number_of(len(unsettled), 'image(s)')}, or each "
            "other, and most name no other; the label stays. Say on the page which one it is: "
            f"{first_of((dataset.ids[row] for row in unsettled), 3)}.",
            stacklevel=2,
        )
    return replace(dataset, targets=targets, uncorrected=dataset.targets), int((targets != dataset.targets).sum())


def describe(images: AnnotatedImages, dataset: Dataset, changed: int, suspects: Sequence[str] = ()) -> dict[str, Any]:
    """What `run.toml` says of the annotations: a hash of all that training takes from them, and counts per kind.

    Args:
        images: of `annotated_images`.
        dataset: with the corrected labels.
        changed: how many labels were.
        suspects: which of them are marked, in a sentence each.
    """
    digest = hashlib.sha256()
    for part in (images.rows, images.pairs, np.packbits(images.regions), dataset.targets):
        digest.update(np.ascontiguousarray(part).tobytes())
    counts = images.regions.any((2, 3)).sum(0)
    return {
        "sha256": digest.hexdigest(),
        "images": len(images.rows),
        "marked_images": len(np.unique(images.pairs[:, 0])),
        "relevant": int(counts[0]),
        "irrelevant": int(counts[1]),
        "labels_changed": changed,
    } | ({"suspects": list(suspects)} if suspects else {})


def check_annotations(recipe: Recipe, annotations: AnnotationSet | None) -> None:
    """Refuse annotations that a recipe would leave aside, and a recipe for annotations without any.

    Raises:
        InputError: with what to set.
    """
    settings = recipe.objective.annotations
    used = settings is not None and settings.weight > 0
    if annotations is not None and not used:
        raise InputError(
            f"the recipe {recipe.name!r} gives annotations no weight, so they would change nothing. Set it: "
            "--set objective.annotations.weight=0.3, or take the recipe annotated."
        )
    if annotations is None and used:
        raise InputError(
            f"the recipe {recipe.name!r} learns from annotations, and there are none. Give them: --annotations "
            "annotations.db (pellucid annotate serve makes one) or --suspects DIR (of pellucid discover), or leave "
            "them out: --set objective.annotations=none."
        )
