"""What a method's suspects are worth, held against what was planted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

import pellucid as pl
from discovery.networks import SIZE, TEST, Drawings, options_of
from discovery.spray import clusters
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.data.readers.phantom.reader import open_phantom
from pellucid.data.readers.phantom.scene import make_scene, shortcut_masks
from pellucid.data.regions import Regions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from discovery.grid import Cell
    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import ConvolutionalClassifier

    Masks = npt.NDArray[np.bool_]

LISTED = 6  # suspects that are recorded


@dataclass(frozen=True, eq=False)
class Truth:
    """Of each kind planted, which test images have it, and where.

    Attributes:
        has: by kind, boolean (N,).
        masks: by kind that lies somewhere, the masks of the images that have it by their row.
    """

    has: Mapping[str, Masks]
    masks: Mapping[str, Mapping[int, Masks]]

    @classmethod
    def of(cls, cell: Cell) -> Truth:
        """What the judged images of a cell show."""
        options = options_of(cell, seen="judged")
        has = {plant.kind: np.zeros(TEST, bool) for plant in cell.plants}
        masks: dict[str, dict[int, Masks]] = {}
        for row in range(TEST):
            scene = make_scene(row, seed=cell.seed, options=options, split="test")
            for shortcut in scene.shortcuts:
                has[shortcut.kind][row] = True
            for kind, mask in shortcut_masks(scene, SIZE).items():
                masks.setdefault(kind, {})[row] = mask
        return cls(has, masks)

    def tells(self, kind: str, strength: npt.NDArray[Any], rows: Masks) -> float:
        """AUROC of telling, among `rows`, the images with a shortcut from those without by `strength`."""
        truth, usable = self.has[kind][rows], np.isfinite(strength[rows])
        if len(set(truth[usable])) < 2:
            return float("nan")
        return float(roc_auc_score(truth[usable], strength[rows][usable]))

    def overlap(self, kind: str, region: Masks) -> float:
        """Intersection over union of a region with all that the shortcut covers on any image; NaN without a place."""
        if kind not in self.masks:
            return float("nan")
        planted = np.any(list(self.masks[kind].values()), axis=0)
        return float((region & planted).sum() / (region | planted).sum())


def judged_images(cell: Cell) -> Dataset:
    """The test part of a cell as a user has it: with the findings' marks, and without a word of what was planted."""
    data = open_phantom(seed=cell.seed, options=options_of(cell, seen="judged"))["test"]
    assert data.regions is not None
    marks = tuple(region for region in data.regions.items if region.label in PHANTOM_CLASSES)
    return replace(data, regions=Regions(marks), metadata={})


def by_spray(
    network: ConvolutionalClassifier, images: npt.NDArray[np.uint8], drawings: Drawings, cell: Cell, truth: Truth
) -> dict[str, Any]:
    """The clusters of SpRAy as suspects."""
    suspects = clusters(network, images, drawings.labels, seed=cell.seed)
    records = []
    for suspect in suspects[:LISTED]:
        record = {"class": suspect.finding, "gap": suspect.gap, "images": int(suspect.members.sum())}
        for plant in cell.plants:
            area = truth.tells(plant.kind, suspect.members.astype(float), suspect.looked_at)
            # a cluster of those without it shows it as well
            record[plant.kind] = {"tells": max(area, 1 - area), "iou": truth.overlap(plant.kind, suspect.region)}
        records.append(record)
    return {"count": len(suspects), "suspects": records}


def by_discover(network: ConvolutionalClassifier, cell: Cell, truth: Truth) -> dict[str, Any]:
    """The suspects of `pl.discover` that nobody marked."""
    discovery = pl.discover(network, judged_images(cell))
    everywhere, records = np.ones(TEST, bool), []
    for suspect in discovery.unexpected[:LISTED]:
        effect = suspect.effects[0]
        record: dict[str, Any] = {"kind": suspect.kind, "name": suspect.name, "class": suspect.class_name}
        record |= {"cost": suspect.cost, "p": effect.p_corrected}
        strength = np.where(np.isfinite(suspect.strength), suspect.strength, suspect.present.astype(float))
        for plant in cell.plants:
            tells = truth.tells(plant.kind, strength, everywhere)
            record[plant.kind] = {"tells": tells, "iou": truth.overlap(plant.kind, suspect.region)}
        records.append(record)
    marked = [suspect.class_name for suspect in discovery.suspects if suspect.expected]
    return {
        "count": len(discovery.unexpected),
        "expected": marked,
        "suspects": records,
        "counts": dict(discovery.counts),
        "unanswered": dict(discovery.unanswered),
    }
